# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measuring a host takes nothing but the question; the module says what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_hardware import MEASURE, judge, read_measure
from ansible_collections.hpcops.cluster.plugins.plugin_utils._asking import AskingAction


class ActionModule(AskingAction):
    """The action behind hpcops.cluster.slurm_hardware_info."""

    module = "hpcops.cluster.slurm_hardware_info"

    def question(self, arguments: Mapping[str, Any]) -> str | None:
        """The measurement."""
        known = set(arguments) <= {"expected", "cgroup"} and isinstance(arguments.get("expected", {}), Mapping)
        return MEASURE if known and arguments.get("cgroup", "auto") in ("auto", "v2", "v1", "disabled") else None

    def settled(self, arguments: Mapping[str, Any], answer: str) -> dict[str, Any] | None:
        """The module's result, unless the host is not what is expected."""
        tree, hardware = read_measure(answer)
        try:
            problem, warnings = judge(tree, hardware, arguments.get("expected", {}), arguments.get("cgroup"))
        except ValueError:  # a number that is none: the module's to refuse
            return None
        return None if problem else {"hardware": hardware, "cgroup": tree, "warnings": warnings}
