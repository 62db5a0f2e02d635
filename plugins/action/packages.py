# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Install packages, asking the package manager only when something is missing."""

from __future__ import annotations

import fnmatch
import shlex
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# How each package manager's database is asked: one line "name<TAB>state<TAB>version" for each installed package.
QUERIES = {
    "apt": ["dpkg-query", "--show", "--showformat", r"${Package}\t${db:Status-Abbrev}\t${Version}\n"],
    "dnf": ["rpm", "--query", "--queryformat", r"%{NAME}\tii\t%{VERSION}-%{RELEASE}\n"],
}
QUERIES["dnf5"] = QUERIES["dnf"]


def missing(wanted: list[str], output: str) -> list[str]:
    """Those of the wanted packages, "name" or "name=version pattern", that the query's output does not show as installed."""
    installed: dict[str, str] = {}
    for line in output.splitlines():
        fields = line.split("\t")
        if len(fields) == 3 and fields[1].strip() == "ii":
            installed[fields[0]] = fields[2]
    absent = []
    for package in wanted:
        name, _separator, pattern = package.partition("=")
        if name not in installed or not fnmatch.fnmatchcase(installed[name], pattern or "*"):
            absent.append(package)
    return absent


class ActionModule(ActionBase):
    """The action behind hpcops.cluster.packages."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask for what is installed in one short command; hand the rest to ansible.builtin.package."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        names = self._task.args.get("name")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise AnsibleActionFail("packages: 'name' must be a list of package names")

        manager = task_vars.get("ansible_facts", {}).get("pkg_mgr", "")
        if manager in QUERIES:
            command = QUERIES[manager] + [name.partition("=")[0] for name in names]
            answer = self._low_level_execute_command(shlex.join(command), sudoable=True)
            names = missing(names, answer["stdout"])
            if not names:
                return {"changed": False}

        task = self._task.copy()
        task.args = {"name": names if manager == "apt" else [name.replace("=", "-") for name in names], "state": "present"}
        package = self._shared_loader_obj.action_loader.get(
            "ansible.builtin.package",
            task=task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        result: dict[str, Any] = package.run(task_vars=task_vars)
        return result
