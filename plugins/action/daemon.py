# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A daemon that runs, starts at boot and answers needs nothing but the question."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ansible_collections.hpcops.cluster.plugins.plugin_utils._asking import AskingAction

PROPERTIES = "LoadState,ActiveState,UnitFileState,NeedDaemonReload,MainPID"
WANTED = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", "NeedDaemonReload": "no"}
OPTIONS = {"name", "state", "enabled", "probe", "only_if", "timeout", "journal_lines", "log_file"}


class ActionModule(AskingAction):
    """The action behind hpcops.cluster.daemon."""

    module = "hpcops.cluster.daemon"

    def question(self, arguments: Mapping[str, Any]) -> str | None:
        """The unit's state, and its probe. Only an enabled, running service can be settled without the module."""
        name, probe = arguments.get("name"), arguments.get("probe") or []
        plain = arguments.get("state", "started") == "started" and arguments.get("enabled", True) is True
        if not plain or not isinstance(name, str) or not isinstance(probe, list) or set(arguments) - OPTIONS:
            return None
        unit = name if "." in name else f"{name}.service"
        show = shlex.join(["systemctl", "show", unit, f"--property={PROPERTIES}"])
        return f"{show} && {shlex.join(map(str, probe))} >/dev/null 2>&1" if probe else show

    def settled(self, arguments: Mapping[str, Any], answer: str) -> dict[str, Any] | None:
        """The module's result, when every property is as wanted (and the probe has succeeded)."""
        status = dict(line.strip().split("=", 1) for line in answer.splitlines() if "=" in line)
        if {name: status.get(name) for name in WANTED} != WANTED:
            return None
        return {"actions": [], "installed": True, "pid": int(status.get("MainPID", 0))}
