# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each host of the inventory is a target under one role, by its name and the port of what runs there."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hpcops.cluster.plugins.filter.prometheus_targets import prometheus_targets

GROUPS = {"all": ["a", "b", "c"], "slurmctld": ["a"], "mariadb": ["a", "b"], "slurmd": ["c"], "slurmrestd": []}
ROLES = ["slurmctld", "mariadb", "slurmrestd", "slurmd", "login"]


def test_what_runs_everywhere_is_told_by_role_and_each_host_once() -> None:
    assert prometheus_targets(GROUPS, ROLES, {"node": 9100}, labels={"cluster": "x"}) == [
        {"job": "node", "targets": ["a:9100"], "labels": {"cluster": "x", "role": "slurmctld"}},
        {"job": "node", "targets": ["b:9100"], "labels": {"cluster": "x", "role": "mariadb"}},
        {"job": "node", "targets": ["c:9100"], "labels": {"cluster": "x", "role": "slurmd"}},
    ]


def test_what_runs_on_a_group_is_told_of_all_its_hosts() -> None:
    entries = [{"group": "mariadb", "job": "db", "port": "3306"}, {"group": "none", "job": "x", "port": 1}]
    assert prometheus_targets(GROUPS, ROLES, by_group=entries) == [
        {"job": "db", "targets": ["a:3306", "b:3306"], "labels": {"role": "mariadb"}}
    ]


def test_inventory_without_hosts_has_no_targets() -> None:
    assert prometheus_targets({}, ROLES, {"node": 9100}, [{"group": "x", "job": "x", "port": 1}]) == []


@given(st.dictionaries(st.sampled_from(ROLES), st.lists(st.sampled_from("abcdef"), unique=True)))
def test_every_host_of_a_role_is_told_exactly_once(groups: dict[str, list[str]]) -> None:
    told = [target for entry in prometheus_targets(groups, ROLES, {"node": 1}) for target in entry["targets"]]
    assert sorted(told) == sorted({f"{host}:1" for hosts in groups.values() for host in hosts})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"groups": [], "roles": ROLES}, "the groups must be a mapping, not list"),
        ({"groups": GROUPS, "roles": "slurmd"}, "roles must be a list, not str"),
        ({"groups": {"slurmd": "a"}, "roles": ROLES}, "the group slurmd must be a list"),
        ({"groups": GROUPS, "roles": ROLES, "by_group": [{"group": "x"}]}, r"by_group\[0\] lacks job, port"),
        ({"groups": GROUPS, "roles": ROLES, "everywhere": [9100]}, "everywhere must be a mapping"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(AnsibleFilterError, match=says):
        prometheus_targets(**arguments)
