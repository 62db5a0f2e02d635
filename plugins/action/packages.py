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
    "dnf": ["rpm", "--query", "--all", "--queryformat", r"%{NAME}\tii\t%{VERSION}-%{RELEASE}\n"],
}
QUERIES["dnf5"] = QUERIES["dnf"]
# How they say that no repository has a package.
UNKNOWN = ("No package ", "no available installation candidate", "No match for argument")


def parse(output: str) -> dict[str, str]:
    """Return the versions of the installed packages that the query's output shows."""
    installed: dict[str, str] = {}
    for line in output.splitlines():
        fields = line.split("\t")
        if len(fields) == 3 and fields[1].strip() == "ii":
            installed[fields[0]] = fields[2]
    return installed


def missing(wanted: list[str], installed: dict[str, str]) -> list[str]:
    """Return those of the wanted packages, "name" or "name=version pattern", that are not installed so."""
    absent = []
    for package in wanted:
        name, _separator, pattern = package.partition("=")
        if name not in installed or not fnmatch.fnmatchcase(installed[name], pattern or "*"):
            absent.append(package)
    return absent


def unwanted(patterns: list[str], installed: dict[str, str]) -> list[str]:
    """Return the installed packages whose name is matched by one of the patterns."""
    return sorted(name for name in installed if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns))


class ActionModule(ActionBase):
    """The action behind hpcops.cluster.packages."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask for what is installed in one short command; hand the rest to ansible.builtin.package."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        names = self._names("name")
        absent = self._names("absent")

        manager = task_vars.get("ansible_facts", {}).get("pkg_mgr", "")
        if manager in QUERIES:
            patterns = [name.partition("=")[0] for name in names] + absent
            answer = self._low_level_execute_command(shlex.join(QUERIES[manager] + patterns), sudoable=True)
            installed = parse(answer["stdout"])
            names = missing(names, installed)
            absent = unwanted(absent, installed)
            if not names and not absent:
                return {"changed": False}

        removed: dict[str, Any] = {"changed": False}
        if absent:
            removed = self._package(absent, "absent", task_vars)
            if removed.get("failed") or not names:
                return removed
        result = self._package(
            names if manager == "apt" else [name.replace("=", "-") for name in names], "present", task_vars
        )
        reasons = f"{result.get('msg')} {result.get('failures')}"
        if self._task.check_mode and result.get("failed") and any(text in reasons for text in UNKNOWN):
            # The repository that has them may be one that this very run would have declared.
            result = {
                "changed": True,
                "msg": f"Would install packages that no repository of this host has yet: {', '.join(names)}",
            }
        result["changed"] = result.get("changed", False) or removed["changed"]
        return result

    def _names(self, option: str) -> list[str]:
        value = self._task.args.get(option, [] if option == "absent" else None)
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise AnsibleActionFail(f"packages: '{option}' must be a list of package names")
        return value

    def _package(self, names: list[str], state: str, task_vars: dict[str, Any]) -> dict[str, Any]:
        task = self._task.copy()
        task.args = {"name": names, "state": state}
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
