# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A configuration that stands on the controller needs nothing but the question, and does not travel there."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from ansible_collections.hpcops.cluster.plugins.plugin_utils._asking import AskingAction

# One line for each path: the checksum of the file, or "absent".
LOOK = 'look() { if [ -e "$1" ] || [ -L "$1" ]; then sha256sum <"$1"; else echo absent; fi; }'


class ActionModule(AskingAction):
    """The action behind hpcops.cluster.slurm_config."""

    module = "hpcops.cluster.slurm_config"

    def question(self, arguments: Mapping[str, Any]) -> str | None:
        """What each file of the set is now."""
        files, absent = arguments.get("files"), arguments.get("absent", [])
        directory = arguments.get("directory", "/etc/slurm")
        if not isinstance(files, Mapping) or not isinstance(absent, list) or "slurm.conf" not in files:
            return None
        if not all(isinstance(text, str) for text in (*files.values(), *absent)) or not str(directory).startswith("/"):
            return None
        paths = [posixpath.join(directory, name) for name in (*files, *absent)]
        return "\n".join([LOOK, *(f"look {shlex.quote(path)}" for path in paths)])

    def settled(self, arguments: Mapping[str, Any], answer: str) -> dict[str, Any] | None:
        """The module's result, when every file is as wanted."""
        found = [line.split()[0] for line in answer.splitlines() if line.strip()]
        wanted = [sha256(text.encode()).hexdigest() for text in arguments["files"].values()]
        if found != wanted + ["absent"] * len(arguments.get("absent", [])):
            return None
        return {"changed_files": [], "action": "none", "reasons": [], "diff": []}
