# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API's answer becomes hosts, groups and variables, whatever is in it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import InventoryError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._discovery_hosts import (
    DiscoverySource,
    Wanted,
    snapshot_of,
)

ANSWER: dict[str, Any] = {
    "revision": 7,
    "clusters": {
        "alpha": {"vars": {"slurm_cluster_name": "alpha"}},
        "beta": {"vars": {"slurm_cluster_name": "beta"}},
    },
    "hosts": {
        "a1": {
            "cluster": "alpha",
            "state": "active",
            "roles": ["slurmd", "login"],
            "partitions": ["batch-1"],
            "labels": {"env": "prod", "serial": "17"},
            "vars": {"slurm_node_cpus": 4, "discovery_rack": "r1"},
        },
        "b1": {"cluster": "beta", "state": "planned", "vars": {"ansible_host": "10.0.0.1"}},
    },
}


def hosts(**changes: Any) -> dict[str, Any]:
    """The answer with something else about a1."""
    changed = copy.deepcopy(ANSWER)
    changed["hosts"]["a1"].update(changes)
    return changed


@pytest.mark.parametrize(
    ("wanted", "groups"),
    [
        (
            Wanted(),
            {
                "slurmd",
                "login",
                "partition_batch_1",
                "state_active",
                "state_planned",
                "label_env_prod",
                "label_serial_17",
            },
        ),
        (Wanted(group_by=("role",)), {"slurmd", "login"}),
        (Wanted(group_by=("partition", "state")), {"partition_batch_1", "state_active", "state_planned"}),
        (Wanted(group_by=("label",), label_keys=("env", "absent")), {"label_env_prod"}),
        (Wanted(group_by=("label",), label_keys=()), set()),
        (Wanted(group_by=()), set()),
    ],
)
def test_groups_are_made_from_what_is_wanted(wanted: Wanted, groups: set[str]) -> None:
    found = snapshot_of(ANSWER, wanted).groups
    assert set(found) == groups | {"cluster_alpha", "cluster_beta"}
    assert all(
        names == (["b1"] if name in ("cluster_beta", "state_planned") else ["a1"]) for name, names in found.items()
    )


@pytest.mark.parametrize(
    ("wanted", "variables"),
    [
        (Wanted(also=("discovery_rack",)), {"slurm_node_cpus": 4, "discovery_rack": "r1"}),
        (Wanted(also=("discovery_state",)), {"slurm_node_cpus": 4, "discovery_state": "active"}),
        (
            Wanted(extent="full"),
            {
                "slurm_node_cpus": 4,
                "discovery_rack": "r1",
                "discovery_cluster": "alpha",
                "discovery_state": "active",
                "discovery_roles": ["slurmd", "login"],
                "discovery_partitions": ["batch-1"],
                "discovery_labels": {"env": "prod", "serial": "17"},
            },
        ),
    ],
)
def test_variables_are_lean_and_more_on_request(wanted: Wanted, variables: dict[str, Any]) -> None:
    assert snapshot_of(ANSWER, wanted).hosts["a1"] == variables
    assert wanted.query["vars"] == ["full"]


def test_lean_inventory_asks_for_no_more() -> None:
    assert Wanted(clusters=("alpha",), states=("ready",)).query == {
        "cluster": ["alpha"],
        "state": ["ready"],
        "vars": ["lean"],
    }
    assert snapshot_of(ANSWER, Wanted()).hosts["b1"] == {"ansible_host": "10.0.0.1"}


def test_expressions_see_what_groups_are_made_from() -> None:
    found = snapshot_of(ANSWER, Wanted(expressions=True))
    assert found.facts["a1"]["discovery_labels"] == {"env": "prod", "serial": "17"}
    assert found.facts["b1"]["discovery_roles"] == []
    assert snapshot_of(ANSWER, Wanted()).facts == {}


def test_cluster_without_hosts_has_its_group_and_variables() -> None:
    answer = {**ANSWER, "hosts": {}}
    found = snapshot_of(answer, Wanted())
    assert found.groups == {"cluster_alpha": [], "cluster_beta": []}
    assert found.group_vars["cluster_beta"] == {"slurm_cluster_name": "beta"}


def test_answer_is_not_changed() -> None:
    before = copy.deepcopy(ANSWER)
    snapshot_of(ANSWER, Wanted(extent="full", expressions=True))
    assert before == ANSWER


HOSTILE = "{{ lookup('pipe', 'id') }}"


def test_hostile_label_is_a_harmless_group_and_stays_as_it_is() -> None:
    found = snapshot_of(hosts(labels={"x": HOSTILE, "a:&!b": "*,all"}), Wanted(extent="full"))
    assert {name for name in found.groups if name.startswith("label")} == {
        "label_x____lookup__pipe____id_____",
        "label_a___b___all",
    }
    assert found.hosts["a1"]["discovery_labels"]["x"] == HOSTILE


@pytest.mark.parametrize("name", ["class", "a-b", "{{ x }}", "", "hpcops_inventory_status", "9x"])
def test_variable_that_cannot_be_called_so_is_left_out_and_named(name: str) -> None:
    found = snapshot_of(hosts(vars={name: 1, "good": HOSTILE}), Wanted())
    assert found.hosts["a1"] == {"good": HOSTILE}
    assert len(found.warnings) == 1
    assert name in found.warnings[0]


@pytest.mark.parametrize("role", ["all", "ungrouped", "hpcops_inventory_failed"])
def test_role_cannot_take_a_group_that_has_another_meaning(role: str) -> None:
    found = snapshot_of(hosts(roles=[role]), Wanted())
    assert role not in found.groups
    assert "another meaning" in found.warnings[0]


def test_two_things_in_one_group_are_named() -> None:
    found = snapshot_of(hosts(partitions=["a-b", "a_b"]), Wanted())
    assert "partition a-b and partition a_b would both be the group partition_a_b" in found.warnings[0]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({}, "no clusters and hosts"),
        ({"clusters": [], "hosts": {}}, "no clusters and hosts"),
        ({"clusters": {"a-b": {}, "a_b": {}}, "hosts": {}}, "would both be the group cluster_a_b"),
        (hosts(cluster="gamma"), "host a1 is in no cluster"),
        (hosts(vars=[]), "host a1 has vars of another kind"),
        (hosts(labels=[], roles="slurmd"), "host a1 has labels, roles of another kind"),
        ({**ANSWER, "hosts": {"localhost": ANSWER["hosts"]["a1"]}}, "'localhost', which cannot be one"),
        ({**ANSWER, "hosts": {HOSTILE: ANSWER["hosts"]["a1"]}}, "cannot be one"),
        ({**ANSWER, "hosts": {"a1": None}}, "host a1 is in no cluster"),
    ],
)
def test_answer_of_another_shape_is_refused(answer: dict[str, Any], message: str) -> None:
    with pytest.raises(InventoryError, match=message):
        snapshot_of(answer, Wanted())


def test_cluster_that_the_api_does_not_have_is_refused() -> None:
    with pytest.raises(InventoryError, match="no cluster gamma"):
        snapshot_of(ANSWER, Wanted(clusters=("alpha", "gamma")))


class Api:
    """Answers with what it is given, or raises it; what was asked is kept."""

    url, principal = "https://x", "hash"

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[Any] = []

    def get(self, *asked: Any) -> Any:
        self.asked.append(asked)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_whole_inventory_is_the_only_part_and_is_asked_for_with_its_tag() -> None:
    api: Any = Api((ANSWER, "tag"))
    source = DiscoverySource(api, Wanted(clusters=("alpha",)))
    (key,) = source.parts.values()
    assert (list(source.parts), key["url"], key["principal"]) == (["https://x"], "https://x", "hash")
    assert key["clusters"] == ("alpha",)
    expected = snapshot_of(ANSWER, Wanted(clusters=("alpha",)))
    assert source.fetch({"https://x": "old"}) == {"https://x": (expected, "tag")}
    assert api.asked == [("/v1/inventory", Wanted(clusters=("alpha",)).query, "old")]
    assert source.whole({"https://x": expected}) is expected
    assert source.fetch({}) == {}


@pytest.mark.parametrize("answer", [None, InventoryError("down"), ({"clusters": []}, "tag")])
def test_unchanged_answer_is_none_and_a_fault_is_the_parts_own(answer: Any) -> None:
    api: Any = Api(answer)
    (said,) = DiscoverySource(api, Wanted()).fetch({"https://x": None}).values()
    assert said is None if answer is None else isinstance(said, InventoryError)


def test_name_that_cannot_be_one_is_shown_by_its_first_hundred_characters() -> None:
    changed = copy.deepcopy(ANSWER)
    changed["hosts"] = {"-" * 120: {}}
    with pytest.raises(InventoryError, match=rf"with the name '{'-' * 100}', which cannot"):
        snapshot_of(changed, Wanted())


@pytest.mark.parametrize(
    "name",
    [
        "ansible_ssh_common_args",
        "ansible_connection",
        "ansible_python_interpreter",
        "ansible_become_exe",
        "hpcops_discovery_url",
        "slurmctld_extra_files",
        "slurm_elastic_boot_commands",
        "slurm_source_url",
        "slurm_cluster_name",
        "lookup",
    ],
)
def test_a_writer_of_hosts_cannot_set_what_runs_elsewhere(name: str) -> None:
    found = snapshot_of(hosts(vars={name: "x", "site_rack": "r1"}), Wanted())
    assert found.hosts["a1"] == {"site_rack": "r1"}
    assert name in found.warnings[0]
    assert "allow_variables" in found.warnings[0]


def test_a_writer_of_a_cluster_cannot_set_what_runs_elsewhere() -> None:
    answer = copy.deepcopy(ANSWER)
    answer["clusters"]["alpha"]["vars"].update(ansible_connection="local", site_rack="r1")
    found = snapshot_of(answer, Wanted())
    assert found.group_vars["cluster_alpha"] == {"slurm_cluster_name": "alpha", "site_rack": "r1"}


@pytest.mark.parametrize("pattern", ["slurm_source_url", "slurm_source_*", "*"])
def test_operator_may_let_the_api_set_a_reserved_variable(pattern: str) -> None:
    found = snapshot_of(hosts(vars={"slurm_source_url": "https://x"}), Wanted(allowed=(pattern,)))
    assert found.hosts["a1"] == {"slurm_source_url": "https://x"}
    assert not found.warnings


@pytest.mark.parametrize(
    ("name", "value", "is_kept"),
    [
        ("ansible_host", "10.0.0.1", True),
        ("ansible_host", "fd00::1", True),
        ("ansible_host", "a1.example.org", True),
        ("ansible_host", "-oProxyCommand=id", False),
        ("ansible_host", "fe80::1%x\n10.0.0.66 ctl", False),
        ("ansible_host", "a1 b1", False),
        ("ansible_host", ["10.0.0.1"], False),
        ("ansible_host", "0.0.0.0", False),
        ("ansible_port", 22, True),
        ("ansible_port", "22 -oProxyCommand=id", False),
        ("ansible_port", 70000, False),
        ("ansible_user", "admin", True),
        ("ansible_user", "-oProxyCommand=id", False),
        ("ansible_user", "a b", False),
    ],
)
def test_an_address_is_no_option_of_the_connections_program(name: str, value: object, is_kept: bool) -> None:
    found = snapshot_of(hosts(vars={name: value}), Wanted())
    assert found.hosts["a1"] == ({name: value} if is_kept else {})
    assert bool(found.warnings) != is_kept
