# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm's commands, as the modules that deal with nodes use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import ControllerError
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_node_states import (
    Job,
    Node,
    parse_jobs,
    parse_nodes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ansible.module_utils.basic import AnsibleModule


class Scontrol:
    """Asks slurmctld, and tells it what to do."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._module.run_command_environ_update = {"LC_ALL": "C", "TZ": "UTC", "SLURM_TIME_FORMAT": "standard"}

    def run(self, arguments: Sequence[str], program: str = "scontrol") -> str:
        """What the command prints; ControllerError with its words when it fails."""
        command = [self._module.get_bin_path(program, required=True), *arguments]
        code, out, err = self._module.run_command(command)
        if code != 0:
            words = (err.strip() or out.strip() or f"exit status {code}").replace("\n", "; ")
            raise ControllerError(f"{program} {' '.join(arguments)[:200]}: {words}")
        return str(out)

    def nodes(self) -> dict[str, Node]:
        """All nodes, those that are yet to come too."""
        return parse_nodes(self.run(["--all", "--future", "--oneliner", "show", "node"]))

    def jobs(self) -> list[Job]:
        """The jobs that hold nodes."""
        return parse_jobs(self.run(["--all", "--local", "--noheader", "--format=%i|%u|%T|%N"], program="squeue"))

    def reboot_program(self) -> str:
        """The cluster's RebootProgram; empty when there is none."""
        for line in self.run(["show", "config"]).splitlines():
            key, _equals, value = line.partition("=")
            if key.strip() == "RebootProgram":
                return "" if value.strip() == "(null)" else value.strip()
        return ""
