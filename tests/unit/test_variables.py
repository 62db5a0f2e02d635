# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of variables that nothing sets has those of a small tree that it should have."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TREE = {
    "roles/small/tasks/main.yml": "- ansible.builtin.import_role: {name: other}\n  vars: {other_by_a_role: 2}\n",
    "roles/small/defaults/main.yml": "small_unset: 1\nsmall_same: 1\nsmall_scenario: 1\nsmall_text: 1\nsmall_vault: x\n",
    "roles/other/tasks/main.yml": "[]\n",
    "roles/other/defaults/main.yml": "other_by_a_role: 1\nother_test: {}\nother_call: []\nother_computed: 1\nother_ini: 1\n",
    "molecule/small/molecule.yml": "a: [{b: {small_scenario: 2, small_same: 1, small_text: '1'}}]\nc: {small_vault: !vault y}\n",
    "molecule/small/tests/test_small.py": "run(other_call=[1], other_computed=run())\n",
    "tests/unit/test_x.py": "CASES = [{'other_test': {'a': 1}, other: 1}]\n",
    "inventories/site/hosts": "[all:vars]\nother_ini=2\n",
}


@pytest.fixture(name="tool", scope="module")
def tool_fixture() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "tests" / "tools" / "variables.py"))


@pytest.fixture(name="tree")
def tree_fixture(tmp_path: Path) -> Path:
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_only_what_nothing_sets_to_another_value_is_listed(
    tool: dict[str, Any], tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool["main"](["--root", str(tree)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "small: 2",
        "  small_unset",
        "  small_same",
        "2 variables are set to nothing but their default",
    ]


def test_roles_can_be_chosen(tool: dict[str, Any], tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tool["main"](["--root", str(tree), "other"])
    assert capsys.readouterr().out == "0 variables are set to nothing but their default\n"
