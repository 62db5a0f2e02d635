# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all inventory plugins share; the plugins themselves are in tests/unit/plugins/inventory."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from ansible_collections.hpcops.cluster.plugins.plugin_utils._source_inventory import Expressions, _collecting_nothing


@pytest.mark.parametrize("was_on", [True, False])
def test_no_garbage_is_looked_for_while_an_answer_is_read(was_on: bool) -> None:
    before = gc.isenabled()
    (gc.enable if was_on else gc.disable)()
    try:
        with _collecting_nothing():
            assert not gc.isenabled()
        assert gc.isenabled() is was_on
    finally:
        (gc.enable if before else gc.disable)()


class Templar:
    """Answers every question, and keeps what was asked with which variables."""

    def __init__(self) -> None:
        self.available_variables: dict[str, Any] = {}
        self.asked: list[Any] = []

    def evaluate_conditional(self, expression: Any) -> str:
        self.asked.append((expression, self.available_variables))
        return "yes"


def test_simple_condition_needs_no_template_engine() -> None:
    templar: Any = Templar()
    assert Expressions(templar, None).condition("a", {"a": True}) is True
    assert Expressions(templar, None).condition("a == 'x'", {"a": "y"}) is False
    assert templar.asked == []


def test_what_is_no_truth_value_and_what_extra_variables_may_change_is_asked_of_the_template_engine() -> None:
    templar: Any = Templar()
    assert Expressions(templar, None).condition("a", {"a": "text"}) is True
    assert Expressions(templar, {"a": 2}).condition("a", {"a": False, "b": 1}) is True
    assert templar.asked == [("a", {"a": "text"}), ("a", {"a": 2, "b": 1})]
