# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task that has a secret among its arguments shows neither them nor a difference.

Secret are the options with no_log in a role's argument specification, what variables make of them, what Ansible generates as a
password, and files that are marked as sensitive or read as a whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.parent for path in (ROOT / "roles").glob("*/tasks"))
# These run other tasks, or show nothing of what they compare.
SILENT = re.compile(r"ansible\.builtin\.(include|import)_(role|tasks)$|hpcops\.cluster\.validate$")
GENERATED = re.compile(r"'ansible\.builtin\.password'|\bsensitive\b[\"']?: [Tt]rue")


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def secret_options(options: Mapping[str, Any]) -> Iterator[str]:
    """Names of the options that are secret, or hold something that is."""
    for name, option in options.items():
        if option.get("no_log") or any(secret_options(option.get("options") or {})):
            yield name


def mentioned(text: str, names: Set[str]) -> set[str]:
    """The names whose values are in the text: not where only their length, their users or their
    presence matters, nor as the name in a message.
    """
    return {
        name
        for name in names
        if re.search(rf"(?<![\w.])(?<!if ){name}\b(?!\s*\|\s*(?:length|map\(attribute='user'\))|\.\w|:)", text)
    }


def secret_names() -> set[str]:
    specs = [load(role / "meta" / "argument_specs.yml")["argument_specs"] for role in ROLES]
    names = {name for spec in specs for entry in spec.values() for name in secret_options(entry.get("options") or {})}
    variables: dict[str, str] = {}
    for role in ROLES:
        for path in [*role.glob("defaults/main.yml"), *role.glob("vars/main.yml"), *role.glob("vars/main/*.yml")]:
            variables |= {name: json.dumps(value) for name, value in (load(path) or {}).items()}
    while True:
        more = {name for name, text in variables.items() if GENERATED.search(text) or mentioned(text, names)} - names
        if not more:
            return names
        names |= more


SECRETS = secret_names()


def tasks_of(entries: list[dict[str, Any]], inherited: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Tasks with what their blocks give them."""
    for entry in entries:
        common = dict(inherited) | {key: entry[key] for key in ("no_log", "diff") if key in entry}
        if "block" not in entry:
            yield common | entry
        for part in ("block", "rescue", "always"):
            yield from tasks_of(entry.get(part, []), common)


def handles_a_secret(role: Path, task: Mapping[str, Any]) -> bool:
    action = next(key for key in task if "." in key)
    if SILENT.match(action):
        return False
    text = json.dumps({key: value for key, value in task.items() if key in (action, "vars", "loop", "environment")})
    if action == "ansible.builtin.slurp":  # its answer is the file
        return any(re.search(rf"\b{name}\b", text) for name in SECRETS)
    for template in re.findall(r"'ansible\.builtin\.template', '([^']+)'", text):
        path = role / "templates" / template
        text += path.read_text() if path.exists() else ""
    return bool(GENERATED.search(text) or mentioned(text, SECRETS))


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_task_that_handles_a_secret_does_not_show_it(role: Path) -> None:
    for path in sorted([*role.glob("tasks/*.yml"), *role.glob("handlers/*.yml")]):
        for task in tasks_of(load(path) or [], {}):
            if handles_a_secret(role, task):
                where = f"{path.relative_to(ROOT)}: {task['name']}"
                assert task.get("no_log"), f"{where}: no_log is missing"
                if "hpcops.cluster.config_files" in task:
                    assert task.get("diff") is False, f"{where}: diff is not false"


def test_secrets_are_known_through_the_variables_that_are_made_of_them() -> None:
    known = {
        "munge_key",
        "__munge_next_file_entry",
        "__slurmdbd_defaults",
        "mariadb_users",
        "__os_base_exporter_access",
    }
    assert known <= SECRETS
