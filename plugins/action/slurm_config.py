# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the control machine does of slurm_config: fetch the present files, plan, and check what can be checked without Slurm.

A configuration that stands on the controller needs nothing but the question, and does not travel there.
"""

from __future__ import annotations

import base64
import itertools
import posixpath
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError
from ansible_collections.hpcops.cluster.plugins.module_utils._hostlist import expand
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_files import members, partition_nodes, read
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_plan import ALL, Plan, make_plan, not_approved
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_rules import problems
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_set import (
    BEFORE,
    PENDING,
    Files,
    before_interruption,
)
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_trial import ADDRESS, trial_text

# One line for each path: the file in base64, or "absent".
LOOK = 'look() { if [ -e "$1" ] || [ -L "$1" ]; then base64 --wrap=0 <"$1" && echo .; else echo absent; fi; }'


class ActionModule(ActionBase):
    """The action behind hpcops.cluster.slurm_config."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Plan; when there is something to do and nothing speaks against it, let the module do it."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments: dict[str, Any] = dict(self._task.args)
        wanted = wanted_files(arguments)
        directory = str(arguments.get("directory", "/etc/slurm"))
        release = str(arguments.get("release", ""))
        present, before = self._look(directory, list(wanted))
        try:
            plan = make_plan(before, wanted, release)
            if before is present and present == wanted:
                return {"changed": False, "plan": plan.as_data(), **NOTHING}
            found = problems(wanted, release, before)
            if not found and arguments.get("approved_plan") is not None:
                refused = not_approved(plan, arguments["approved_plan"])
                found = [f"approved_plan: this change is not approved: {refused}"] if refused else []
            if found:
                message = "The new configuration is refused, and nothing was replaced:\n" + "\n".join(found)
                return {**result, "failed": True, "msg": message, "plan": plan.as_data()}
            arguments["plan"] = for_module(plan, before, wanted)
        except HpcopsError as error:
            raise AnsibleActionFail(str(error)) from error
        done: dict[str, Any] = self._execute_module(
            module_name="hpcops.cluster.slurm_config", module_args=arguments, task_vars=task_vars
        )
        return done

    def _look(self, directory: str, names: Sequence[str]) -> tuple[Files, Files]:
        """Return the files as they are, and as they were before: the same unless an earlier change was interrupted."""
        former = posixpath.join(directory, BEFORE)
        paths = [posixpath.join(folder, name) for folder in (directory, former) for name in names]
        paths.append(posixpath.join(former, PENDING))
        answer = self._low_level_execute_command(
            "\n".join([LOOK, *(f"look {shlex.quote(path)}" for path in paths)]), sudoable=True
        )
        lines = [line.strip() for line in answer["stdout"].splitlines() if line.strip()]
        if answer["rc"] != 0 or len(lines) != len(paths):
            raise AnsibleActionFail(
                f"{directory} cannot be read: {answer['stderr'].strip() or answer['stdout'].strip()}"
            )
        texts = [
            None if line == "absent" else base64.b64decode(line.rstrip(".")).decode(errors="surrogateescape")
            for line in lines
        ]
        present, kept = dict(zip(names, texts)), dict(zip(names, texts[len(names) :]))
        return present, present if texts[-1] is None else before_interruption(present, kept, texts[-1])


NOTHING = {"changed_files": [], "action": "none", "restart_slurmd": "", "diff": []}


def wanted_files(arguments: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the set that is asked for."""
    files, absent = arguments.get("files"), arguments.get("absent") or []
    if not isinstance(files, Mapping) or not isinstance(files.get("slurm.conf"), str):
        raise AnsibleActionFail("files must be a mapping of names to texts, and slurm.conf one of them")
    if not isinstance(absent, (list, tuple)):
        raise AnsibleActionFail("absent must be a list of names")
    for name in (*files, *absent):
        if not isinstance(name, str) or not name or "/" in name or name.startswith("."):
            raise AnsibleActionFail(f"files: {name!r} is not the name of a file in the directory")
    for name in absent:
        if name in files:
            raise AnsibleActionFail(f"{name} is both in files and in absent; leave one out")
    return {**{name: str(text) for name, text in files.items()}, **dict.fromkeys(absent)}


def for_module(plan: Plan, before: Files, wanted: Files) -> dict[str, Any]:
    """Return what the module needs to know of the plan."""
    configuration = read(wanted)
    leaving: set[str] = set()
    for change in plan.changes:
        if change.kind == "node" and (change.after is None or "State=" in change.after):
            leaving.update(expand(change.name))
    if plan.slurmd:
        leaving.update(configuration.nodes if plan.slurmd == ALL else expand(plan.slurmd))
    for entry in configuration.down:
        leaving.update(members(entry.pairs[0][1], configuration))
    in_partitions = itertools.chain.from_iterable(
        partition_nodes(configuration, partition) for partition in configuration.partitions
    )
    leaving.update(configuration.nodes.keys() - in_partitions)  # sinfo shows no others
    return {
        "data": plan.as_data(),
        "text": plan.text,
        "trial": trial_text(wanted),
        "address": ADDRESS,
        "controllers": [name for name in configuration.parameters.get("slurmctldhost", []) if "(" not in name],
        "user": configuration.value("SlurmUser") or "root",
        "log_file": configuration.value("SlurmctldLogFile"),
        # What slurmctld has to show afterwards, and nodes that it need not bring back.
        "values": {
            change.name: (change.before, change.after)
            for change in plan.changes
            if change.file == "slurm.conf" and change.kind == "parameter"
        },
        "leaving": sorted(leaving),
    }
