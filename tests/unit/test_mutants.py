# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that breaks code finds what a small tree's tests notice, and what they do not."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULE = '''"""A module."""
from __future__ import annotations


def is_one(number: int | None) -> bool:
    return number == 1


def next_of(number: int) -> int:
    number += 1
    return number
'''
TEST = """import sys

sys.path.insert(0, "plugins/module_utils")
from _small import is_one


def test_small():
    assert is_one(1) and not is_one(0) and not is_one(2)
"""
TASKS = """---
# The first comment stays.
- name: Write it   # with spaces
  ansible.builtin.copy:
    content: |
      a: b
    dest: /etc/a
    mode: "0600"
    owner: root
  no_log: true
  when: wanted == 'yes'
  notify:  [It is read]

# The second one too.
- name: Several
  when:
    - first
    - second
  block:
    - name: Inner
      ansible.builtin.command: {argv: [a, b]}
      changed_when: false

    - {name: Flow, ansible.builtin.debug: {msg: x}, no_log: true}
"""


@pytest.fixture(name="mutants", scope="module")
def mutants_fixture() -> Any:
    """The program, which is no package."""
    pytest.importorskip("cosmic_ray")
    spec = importlib.util.spec_from_file_location("mutants", ROOT / "tests" / "tools" / "mutants.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutants"] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(name="tree")
def tree_fixture(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    for name, text in {
        "plugins/module_utils/_small.py": MODULE,
        "tests/unit/test_small.py": TEST,
        "tests/unit/test_role_small.py": 'def test_role():\n    assert "no_log" in open("roles/small/tasks/main.yml").read()\n',
        "roles/small/tasks/main.yml": "- name: A\n  ansible.builtin.debug: {msg: x}\n  no_log: true\n",
    }.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text, encoding="utf-8")
    return tree


def kinds(mutants: Any, path: str, text: str) -> dict[tuple[str, int], str]:
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    found = [*mutants.task_mutants(path, text, node), *mutants.metadata_mutants(path, text, node)]
    return {(mutant.kind, mutant.line): mutant.make() for mutant in found}


def alone(tree: Path, program: str) -> list[str]:
    """Lines that a program prints in a process of its own: forks of a process with threads, such as this one, can wait for ever."""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tree)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests" / "tools")},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return done.stdout.splitlines()


CHANGE_OF_A_MODULE = """
import pathlib, sys, mutants

tree, name = pathlib.Path(sys.argv[1]), "plugins/module_utils/_small.py"
wanted = {("ReplaceComparisonOperator_Eq_NotEq", 6), ("RemoveStatement", 10)}
chosen = [mutant for mutant in mutants.python_mutants(name, (tree / name).read_text()) if (mutant.kind, mutant.line) in wanted]
tests = mutants.tests_of(tree, "_small")
start = lambda at, log, step: mutants.run_pytest(at, tests, log, False) if step == 0 else None
print(tests, mutants.report("_small", chosen, [tree], start, 60))
"""


def test_change_of_a_module_survives_only_where_no_test_looks(mutants: Any, tree: Path) -> None:
    assert alone(tree, CHANGE_OF_A_MODULE) == [
        "plugins/module_utils/_small.py:10: survived: RemoveStatement",
        "-    number += 1",
        "+    pass",
        "_small: 1 of 2 noticed",
        "['tests/unit/test_small.py'] (2, 1)",
    ]
    assert (tree / "plugins" / "module_utils" / "_small.py").read_text(encoding="utf-8") == MODULE


def test_change_of_a_role_survives_only_where_no_test_looks(mutants: Any, tree: Path) -> None:
    program = "import pathlib, sys, mutants; mutants.judge_role([pathlib.Path(sys.argv[1])], 'small', 1, 0, False)"
    assert alone(tree, program)[-1] in {"small: 0 of 1 noticed", "small: 1 of 1 noticed"}
    every = {mutant.kind: mutant.make() for mutant in mutants.role_mutants(tree, "small")}
    assert every == {
        "RemoveTask": "- ansible.builtin.meta: noop\n",
        "Remove no_log": "- name: A\n  ansible.builtin.debug: {msg: x}\n",
    }


def test_mutant_that_hangs_is_ended_and_counts_as_noticed(mutants: Any, tree: Path) -> None:
    mutant = mutants.Mutant("plugins/module_utils/_small.py", 1, "Hang", lambda: "x")

    def start(at: Path, log: Path, step: int) -> int:
        process: int = mutants.run_program(at, ["sleep", "60"], log)
        return process

    assert [noticed for _mutant, _before, noticed in mutants.judge([mutant], [tree], start, 0.1)] == [True]
    assert (tree / mutant.path).read_text(encoding="utf-8") == MODULE


def test_annotations_and_docstrings_are_left_alone(mutants: Any) -> None:
    assert {mutant.line for mutant in mutants.python_mutants("x", MODULE)} == {6, 10, 11}


def test_sample_is_the_same_for_a_seed_and_takes_each_line_before_it_takes_one_twice(mutants: Any) -> None:
    everything = list(mutants.python_mutants("x", MODULE))
    chosen = mutants.sample(everything, 3, 7)
    assert [mutant.line for mutant in chosen] == [6, 10, 11]
    assert chosen == mutants.sample(everything, 3, 7)
    assert len(mutants.sample(everything, 1000, 7)) == len(everything)


def test_tests_of_a_module_that_none_imports_are_those_of_its_users(mutants: Any, tree: Path) -> None:
    (tree / "plugins" / "module_utils" / "_inner.py").write_text("", encoding="utf-8")
    (tree / "plugins" / "module_utils" / "_small.py").write_text(
        "from x.module_utils import _inner\n", encoding="utf-8"
    )
    assert mutants.tests_of(tree, "_inner") == ["tests/unit/test_small.py"]
    assert mutants.tests_of(tree, "_nothing") == []


def test_change_of_tasks_keeps_all_other_lines(mutants: Any) -> None:
    for (kind, _line), text in kinds(mutants, "x", TASKS).items():
        yaml.safe_load(text)
        assert "# The first comment stays.\n" in text, kind
        assert "\n\n# The second one too.\n" in text, kind


@pytest.mark.parametrize(
    ("mutant", "old", "new"),
    [
        (("Remove no_log", 10), "  no_log: true\n  when", "  when"),
        (("Remove notify", 12), "\n  notify:  [It is read]", ""),
        (("Negate when", 11), "when: wanted == 'yes'", "when: 'not (wanted == ''yes'')'"),
        (("Negate when", 16), "    - first\n", "    - 'not (first)'\n"),
        (("Change mode", 8), '"0600"', '"0777"'),
        (("Change owner", 9), "owner: root", "owner: nobody"),
        (("Remove changed_when", 22), "\n      changed_when: false", ""),
        (("Remove no_log", 24), "{msg: x}, no_log: true}", "{msg: x}, vars: {}}"),
        (
            ("RemoveTask", 24),
            "{name: Flow, ansible.builtin.debug: {msg: x}, no_log: true}",
            "ansible.builtin.meta: noop",
        ),
        (
            ("RemoveTask", 20),
            "name: Inner\n      ansible.builtin.command: {argv: [a, b]}\n      changed_when: false\n",
            "ansible.builtin.meta: noop\n",
        ),
    ],
)
def test_each_kind_of_change_is_made_in_its_place(mutants: Any, mutant: tuple[str, int], old: str, new: str) -> None:
    assert TASKS.count(old) == 1
    assert kinds(mutants, "x", TASKS)[mutant] == TASKS.replace(old, new)


def test_template_loses_what_is_written_and_no_statement(mutants: Any) -> None:
    text = "{{ ansible_managed | comment }}\n# comment\n{% if a %}\na = {{ a }}\n{% endif %}\n\nb = 1\n"
    found = [mutant.make() for mutant in mutants.template_mutants("x", text)]
    assert found == [text.replace("a = {{ a }}\n", ""), text.replace("b = 1\n", "")]


def test_every_change_of_every_role_can_be_read(mutants: Any) -> None:
    """One of each file and kind: they are many."""
    for role in sorted(path.parent.name for path in ROOT.glob("roles/*/tasks")):
        first = {(mutant.path, mutant.kind): mutant for mutant in mutants.role_mutants(ROOT, role)}
        for mutant in first.values():
            if mutant.path.endswith(".yml"):
                yaml.load(mutant.make(), Loader=yaml.CSafeLoader)
