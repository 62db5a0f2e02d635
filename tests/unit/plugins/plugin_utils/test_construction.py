# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables and groups that are made from a host's own."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import InventoryError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._construction import Rules
from ansible_collections.hpcops.cluster.plugins.plugin_utils._expressions import native

HOST: dict[str, Any] = {
    "rack": "r1",
    "none": None,
    "empty": "",
    "no_list": [],
    "tags": ["a", "", "b"],
    "map": {"x": "1", "y": ""},
    "number": 5,
}


class Native:
    """Evaluates natively alone."""

    def value(self, expression: Any, variables: Mapping[str, Any]) -> Any:
        reader = native(expression)
        assert reader is not None
        return reader(variables)

    def condition(self, expression: Any, variables: Mapping[str, Any]) -> bool:
        return bool(self.value(expression, variables))

    def text(self, template: Any, variables: Mapping[str, Any]) -> Any:
        return template


def rules(**options: Any) -> Rules:
    return Rules(**{"compose": {}, "groups": {}, "keyed_groups": [], **options})


@pytest.mark.parametrize(
    ("entry", "groups"),
    [
        ({"key": "rack"}, ["_r1"]),
        ({"key": "rack", "prefix": "rack"}, ["rack_r1"]),
        ({"key": "rack", "prefix": "rack", "separator": "-"}, ["rack-r1"]),
        ({"key": "rack", "separator": ""}, ["r1"]),
        ({"key": "tags", "prefix": "t"}, ["t_a", "t_", "t_b"]),
        ({"key": "tags", "prefix": "t", "default_value": "other"}, ["t_a", "t_other", "t_b"]),
        ({"key": "map", "prefix": "m"}, ["m_x_1", "m_y_"]),
        ({"key": "map", "prefix": "m", "default_value": "none"}, ["m_x_1", "m_y_none"]),
        ({"key": "map", "prefix": "m", "trailing_separator": False}, ["m_x_1", "m_y"]),
        ({"key": "none", "prefix": "p", "default_value": "no"}, ["p_no"]),
        ({"key": "empty", "prefix": "p", "default_value": "no"}, ["p_no"]),
        ({"key": "empty", "prefix": "p"}, []),
        ({"key": "no_list", "prefix": "p"}, []),
        ({"key": "absent", "prefix": "p"}, []),
        ({"key": "number", "prefix": "p"}, []),
    ],
)
def test_keyed_entry_makes_the_groups_that_constructed_makes(entry: dict[str, Any], groups: list[str]) -> None:
    assert rules(keyed_groups=[entry]).construct("n1", HOST, Native()).groups == groups


def test_leading_separator_is_left_out_on_request() -> None:
    made = rules(keyed_groups=[{"key": "rack"}], leading_separator=False).construct("n1", HOST, Native())
    assert made.groups == ["r1"]


def test_keyed_group_has_its_parent() -> None:
    made = rules(keyed_groups=[{"key": "rack", "prefix": "rack", "parent_group": "racks"}])
    assert made.construct("n1", HOST, Native()).parents == [("racks", "rack_r1")]


def test_groups_and_keyed_groups_see_composed_variables() -> None:
    made = rules(
        compose={"where": "rack", "again": "where"}, groups={"here": "again == 'r1'"}, keyed_groups=[{"key": "where"}]
    ).construct("n1", HOST, Native())
    assert made.variables == {"where": "r1", "again": "r1"}
    assert made.groups == ["here", "_r1"]


def test_what_a_host_has_is_never_changed() -> None:
    before = copy.deepcopy(HOST)
    rules(compose={"rack": "'r2'"}, keyed_groups=[{"key": "map"}]).construct("n1", HOST, Native())
    assert before == HOST


@pytest.mark.parametrize(
    "option",
    [
        {"compose": {"x": "absent"}},
        {"groups": {"x": "absent == 1"}},
        {"keyed_groups": [{"key": "absent"}]},
        {"keyed_groups": [{"key": "empty"}]},
        {"keyed_groups": [{"key": "number"}]},
    ],
)
def test_strict_names_option_and_host(option: dict[str, Any]) -> None:
    assert rules(**option).construct("n1", HOST, Native()).variables == {}
    with pytest.raises(InventoryError, match=f"^{next(iter(option))}: .*host n1"):
        rules(**option, strict=True).construct("n1", HOST, Native())


@pytest.mark.parametrize(
    "entry", [{}, {"prefix": "x"}, "rack", {"key": "rack", "default_value": "x", "trailing_separator": True}]
)
def test_entry_that_makes_no_sense_is_refused(entry: Any) -> None:
    with pytest.raises(InventoryError, match=r"^keyed_groups: "):
        rules(keyed_groups=[entry])
