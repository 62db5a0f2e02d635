# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups are named after what they are made from, and two origins of one name do not pass unnoticed."""

from __future__ import annotations

import pytest

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import InventoryError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._groups import FAILED, Groups, group_name, is_host_name


@pytest.mark.parametrize(("name", "group"), [("a-b.c", "a_b_c"), ("1a", "_1a"), ("a1", "a1"), ("é", "_")])
def test_group_is_called_as_ansible_lets_it(name: str, group: str) -> None:
    assert group_name(name) == group


@pytest.mark.parametrize(
    ("name", "good"),
    [
        *((name, True) for name in ("n1", "n", "n1.example-2.org", "127.0.0.2", "n" * 253)),
        *((name, False) for name in ("n1.", "-n", "", "localhost", "127.0.0.1", "n" * 254)),
    ],
)
def test_host_has_a_name_that_it_may_have(name: str, good: bool) -> None:
    assert is_host_name(name) is good


def test_hosts_are_collected_by_origin() -> None:
    groups = Groups()
    groups.add(("role", "login"))
    groups.add(("label", "env", "prod"), ["n1"])
    groups.add(("label", "env", "prod"), ["n2"])
    groups.add(("label", "env", ""), ["n3"])
    assert groups.members == {"login": [], "label_env_prod": ["n1", "n2"], "label_env": ["n3"]}
    assert groups.warnings() == []


@pytest.mark.parametrize(("one", "other"), [("a-b", "a.b"), ("a.b", "a-b")])
def test_two_origins_of_one_group_are_told_once(one: str, other: str) -> None:
    groups = Groups()
    for name in (one, other, other):
        groups.add(("state", name), [name])
    assert groups.members == {"state_a_b": [one, other, other]}
    assert groups.warnings() == [f"state {one} and state {other} would both be the group state_a_b; rename one of them"]


@pytest.mark.parametrize(
    "origins",
    [
        [("cluster", "a-b"), ("cluster", "a.b")],
        [("role", "cluster_a"), ("cluster", "a")],
    ],
)
def test_cluster_shares_its_group_with_nothing(origins: list[tuple[str, ...]]) -> None:
    groups = Groups()
    groups.add(origins[0])
    with pytest.raises(InventoryError, match="would both be the group cluster_a"):
        groups.add(origins[1])


def test_a_role_cannot_join_a_clusters_group_nor_stop_its_inventory() -> None:
    groups = Groups()
    groups.add(("cluster", "a"), ["a1"])
    groups.add(("role", "cluster_a"), ["evil"])
    assert groups.members == {"cluster_a": ["a1"]}
    assert "would both be the group cluster_a" in groups.warnings()[0]


@pytest.mark.parametrize("name", ["all", "ungrouped", FAILED])
def test_name_with_another_meaning_makes_no_group(name: str) -> None:
    groups = Groups()
    groups.add(("role", name), ["n1"])
    assert groups.members == {}
    assert groups.warnings() == [f"role {name} makes no group: the name has another meaning"]


def test_no_more_than_twenty_warnings_are_given() -> None:
    groups = Groups()
    for number in range(25):
        groups.add(("state", f"{number}-"))
        groups.add(("state", f"{number}."))
    assert len(groups.warnings()) == 20
