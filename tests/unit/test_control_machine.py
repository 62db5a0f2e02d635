# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done on the control machine is done as who runs the play.

`ansible_become: true` for all hosts of an inventory holds for localhost, too, and goes before the keyword become of a task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted([*(ROOT / "roles").glob("*/tasks/*.yml"), *(ROOT / "playbooks").rglob("*.yml")])
ON_THE_CONTROLLER = {"ansible.builtin.set_fact", "ansible.builtin.debug", "ansible.builtin.assert"}
"""Actions that start nothing anywhere."""


def tasks_of(content: Any, outer: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Plays and tasks, with the variables and the delegation of what they are in."""
    for each in content if isinstance(content, list) else []:
        own = {**each, "vars": {**outer.get("vars", {}), **(each.get("vars") or {})}}
        own.setdefault("delegate_to", outer.get("delegate_to"))
        yield own
        for inner in ("block", "rescue", "always", "pre_tasks", "tasks", "post_tasks"):
            yield from tasks_of(each.get(inner), own)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_tasks_on_the_control_machine_ask_for_no_other_account(path: Path) -> None:
    for task in tasks_of(yaml.safe_load(path.read_text()), {}):
        there = "localhost" in (task.get("delegate_to"), task.get("hosts"))
        if there and not ON_THE_CONTROLLER & set(task) and not task.get("block"):
            assert task["vars"].get("ansible_become") is False, task["name"]
