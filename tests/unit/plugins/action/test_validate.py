# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All rules that are violated are reported together, each by a message that is made only then.

All cases are tasks of one run of Ansible, in check mode and for a host that cannot be reached.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[4]
VARIABLES: dict[str, Any] = {"three": 3, "password": "hunter2", "key": "{{ password }}"}
UNDEFINED = "{{ no_such_variable }}"


def rule(that: Any, message: Any = UNDEFINED) -> dict[str, Any]:
    return {"that": that, "message": message}


SOUND: dict[str, Any] = {
    "no rule": [],
    "a message that cannot be made": [rule("three == 3")],
    "several expressions": [rule(["three > 2", "three < 4", True])],
}
VIOLATED: dict[str, tuple[Any, str]] = {
    "one of several expressions": ([rule(["three == 3", "three == 4"], "three: is {{ three }}.")], "three: is 3."),
    "an expression on which the next one relies": ([rule(["four is defined", "four == 4"], "four.")], "four."),
    "a constant": ([rule(False, "never.")], "never."),
    "a rule beside sound ones": ([rule("three == 3"), rule("three == 4", "three."), rule("three > 2")], "three."),
    "two rules": ([rule("three == 4", "first."), rule("three == 3"), rule("three > 4", "second.")], "first.\nsecond."),
    "a rule about a secret": ([rule("key | length > 8", "key: too short.")], "key: too short."),
}
REFUSED: dict[str, tuple[Any, str]] = {
    "an expression that is no boolean": ([rule("three")], "must have a boolean result"),
    "an expression that fails": ([rule("four == 4")], "'four' is undefined"),
    "a message that fails": ([rule("three == 4")], "'no_such_variable' is undefined"),
    "a text in place of rules": ("three == 3", "'rules' must be a list"),
    "a template in place of rules": ("{{ [] }}", "'rules' must be a list"),
    "a text in place of a rule": (["three == 3"], "'that' and 'message'"),
    "a rule without a message": ([{"that": "three == 3"}], "'that' and 'message'"),
    "a rule with something else": ([{**rule("three == 3"), "when": True}], "'that' and 'message'"),
    "a rule without an expression": ([rule([])], "'that' is a conditional expression"),
    "a number in place of an expression": ([rule(3)], "'that' is a conditional expression"),
}


@pytest.fixture(name="results", scope="module")
def results_fixture(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Each case's result by its name."""
    work = tmp_path_factory.mktemp("validate")
    cases = {**SOUND, **{name: rules for name, (rules, _message) in {**VIOLATED, **REFUSED}.items()}}
    tasks = [
        {"name": name, "hpcops.cluster.validate": {"rules": rules}, "ignore_errors": True}
        for name, rules in cases.items()
    ]
    play = {"hosts": "all", "gather_facts": False, "vars": VARIABLES, "tasks": tasks}
    (work / "playbook.yml").write_text(json.dumps([play]), encoding="utf-8")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
        "ANSIBLE_HOME": str(work / "home"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
    }
    ansible_playbook = str(Path(sys.executable).with_name("ansible-playbook"))  # of the release that is tested
    run = subprocess.run(
        [ansible_playbook, "-vvv", "--check", "--inventory=host.invalid,", str(work / "playbook.yml")],
        env=environment,
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert VARIABLES["password"] not in run.stdout + run.stderr
    output = json.loads(run.stdout[run.stdout.index("\n{") :])
    return {task["task"]["name"]: task["hosts"]["host.invalid"] for task in output["plays"][0]["tasks"]}


@pytest.mark.parametrize("name", SOUND)
def test_sound_rules_change_nothing(results: dict[str, Any], name: str) -> None:
    assert (results[name]["changed"], results[name].get("failed", False)) == (False, False)


@pytest.mark.parametrize("name", VIOLATED)
def test_violated_rules_are_all_reported(results: dict[str, Any], name: str) -> None:
    assert results[name]["failed"]
    assert results[name]["msg"] == VIOLATED[name][1]


def test_the_expressions_that_were_not_true_are_named(results: dict[str, Any]) -> None:
    assert results["one of several expressions"]["violated"] == ["three == 4"]
    assert results["two rules"]["violated"] == ["three == 4", "three > 4"]


@pytest.mark.parametrize("name", REFUSED)
def test_rules_that_cannot_be_evaluated_are_refused(results: dict[str, Any], name: str) -> None:
    assert results[name]["failed"]
    assert REFUSED[name][1] in results[name]["msg"]
    assert "violated" not in results[name]
