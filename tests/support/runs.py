# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Further runs of a Molecule scenario's playbooks on its hosts."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.hpcops.cluster.tests.support.hosts import INVENTORY, PATIENCE


@dataclass(frozen=True)
class Run:
    """What came of a run of ansible-playbook."""

    code: int
    text: str  # everything it printed
    results: list[tuple[str, str, dict[str, Any]]]  # task, host, result

    @property
    def failure(self) -> str:
        """Messages of the tasks that failed."""
        return "\n".join(str(result.get("msg")) for _task, _host, result in self.results if result.get("failed"))

    @property
    def changed(self) -> list[tuple[str, str]]:
        """Task and host of each change."""
        return [(task, host) for task, host, result in self.results if result.get("changed")]

    def succeeded(self) -> Run:
        assert self.code == 0, self.failure or self.text
        return self

    def failed(self) -> Run:
        assert self.code != 0, f"it went through and changed {self.changed}"
        return self


def run_playbook(*arguments: str, variables: dict[str, Any] | None = None, playbook: str = "converge.yml") -> Run:
    """Run the scenario's playbook on its hosts once more, with other variables than its inventory's."""
    environment = dict(
        os.environ,
        ANSIBLE_CONFIG=str(Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "ansible.cfg"),
        ANSIBLE_STDOUT_CALLBACK="ansible.posix.json",
        ANSIBLE_FORCE_COLOR="false",
        ANSIBLE_NOCOLOR="true",
    )
    environment.pop("ANSIBLE_CALLBACKS_ENABLED", None)  # what they print would be among the results
    command = ["ansible-playbook", "--inventory", INVENTORY]
    command += ["--extra-vars", json.dumps(variables or {}), *arguments, playbook]
    done = subprocess.run(
        command,
        cwd=os.environ["MOLECULE_SCENARIO_DIRECTORY"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600 * PATIENCE,
        check=False,
    )
    results = []
    report = re.search(r"^\{\n.*", done.stdout, re.DOTALL | re.MULTILINE)  # at -vvv other text goes before
    for play in json.loads(report.group())["plays"] if report else []:
        for task in play["tasks"]:
            results += [(str(task["task"]["name"]), str(host), dict(result)) for host, result in task["hosts"].items()]
    return Run(done.returncode, done.stdout + done.stderr, results)
