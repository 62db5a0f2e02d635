"""A rolling reboot takes every node that needs it, and never more of a partition at once than its share."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import SlurmNodeError
from ansible_collections.hpcops.cluster.plugins.module_utils._reboot_plan import Selection, batches, reboot_plan
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_node_states import Node, parse_moment

NOW = parse_moment("2026-11-20T12:00:00Z")
OURS = "hpcops[CHG-7]: new kernel"
NODES = {
    node.name: node
    for node in (
        Node("c1", "IDLE", ("all",), NOW - 100),
        Node("c2", "MIXED", ("all", "part"), NOW - 100),
        Node("c3", "IDLE+DRAIN", ("all",), NOW - 100, "fan", "alice"),
        Node("c4", "DOWN", ("all",), NOW - 100, "disk", "root"),
        Node("c5", "DOWN+NOT_RESPONDING", ("all",), NOW - 100, "Not responding", "slurm"),
        Node("c6", "IDLE+CLOUD+POWERED_DOWN", ("all", "cloud"), None),
        Node("c7", "IDLE", ("all",), NOW + 5),
        Node("c8", "IDLE+DRAIN", ("all",), NOW + 5, OURS, "root"),
        Node("c9", "IDLE", ("all",), NOW - 100),
    )
}
HOSTS = {f"{name}.example.org": name for name in NODES if name != "c9"}


def planned(**selected: Any) -> dict[str, Any]:
    return reboot_plan(HOSTS, NODES, Selection(**{"share": 100, "ticket": "CHG-7", **selected}), NOW)


@pytest.mark.parametrize(
    ("partitions_of", "sizes", "share", "expected"),
    [
        ({}, {}, 10, []),
        ({"a": ["p"], "b": ["p"], "c": ["p"]}, {"p": 3}, 10, [["a"], ["b"], ["c"]]),
        ({"a": ["p"], "b": ["p"], "c": ["p"]}, {"p": 3}, 67, [["a", "b"], ["c"]]),
        ({"a": ["p"], "b": ["p"], "c": ["p"]}, {"p": 3}, 66, [["a"], ["b"], ["c"]]),
        ({"a": ["p"], "b": ["p"], "c": ["p"]}, {"p": 3}, 100, [["a", "b", "c"]]),
        # Two of the partition's ten are rebooted, and five percent of them is less than a node.
        ({"a": ["p"], "b": ["p"]}, {"p": 10}, 5, [["a"], ["b"]]),
        ({"a": ["p"], "b": ["q"]}, {"p": 10, "q": 10}, 10, [["a", "b"]]),
        # b is in both partitions, and both are full with it.
        ({"a": ["p"], "b": ["p", "q"], "c": ["q"]}, {"p": 2, "q": 2}, 50, [["a", "c"], ["b"]]),
    ],
)
def test_batches_hold_as_many_nodes_as_every_partition_allows(
    partitions_of: dict[str, list[str]], sizes: dict[str, int], share: int, expected: list[list[str]]
) -> None:
    assert batches(partitions_of, sizes, share) == expected


@given(
    partitions_of=st.dictionaries(
        st.integers(0, 60).map("c{}".format), st.sets(st.sampled_from("pqr"), min_size=1).map(sorted), max_size=40
    ),
    share=st.integers(1, 100),
)
def test_no_batch_exceeds_the_share_of_a_partition_and_each_node_is_in_one(
    partitions_of: dict[str, list[str]], share: int
) -> None:
    sizes = Counter(partition for partitions in partitions_of.values() for partition in partitions)
    result = batches(partitions_of, sizes, share)
    assert sorted(node for batch in result for node in batch) == sorted(partitions_of)
    for batch in result:
        assert batch
        for partition, count in Counter(p for node in batch for p in partitions_of[node]).items():
            assert count <= max(1, sizes[partition] * share // 100)


def test_ten_thousand_nodes_one_at_a_time_are_quickly_planned() -> None:
    names = {f"c{number}": ["p", "q"] for number in range(10_000)}
    assert len(batches(names, {"p": 10_000, "q": 20}, 1)) == 10_000


def test_nodes_are_taken_skipped_or_done_by_their_states() -> None:
    result = planned()
    assert sorted(name for batch in result["batches"] for name in batch) == ["c1", "c2", "c3", "c8"]
    assert result["reboot"] == ["c1", "c2", "c3"], "c8 has booted, and only has to be returned to service"
    assert result["done"] == ["c7"]
    assert {each["node"]: each["why"] for each in result["skipped"]} == {
        "c4": "it is DOWN (disk)",
        "c5": "it is DOWN+NOT_RESPONDING (Not responding)",
        "c6": "no host runs there (IDLE+CLOUD+POWERED_DOWN)",
    }
    assert result["since"] == "2026-11-20T12:00:00Z"


def test_hosts_are_in_the_order_of_the_batches() -> None:
    result = planned(share=1)
    nodes = [name for batch in result["batches"] for name in batch]
    assert [result["nodes"][host] for host in result["hosts"]] == nodes
    assert result["hosts"][0] == "c1.example.org"


def test_nodes_drained_by_others_can_be_skipped() -> None:
    result = planned(include_drained=False)
    assert {"node": "c3", "why": "alice has drained it (fan)"} in result["skipped"]
    assert result["reboot"] == ["c1", "c2"]


def test_a_partition_is_taken_alone() -> None:
    assert planned(partitions=["part"])["batches"] == [["c2"]]


def test_a_partitions_node_without_host_is_told() -> None:
    assert {"node": "c9", "why": "no host of this run is this node"} in planned(partitions=["all"])["skipped"]


def test_powered_down_nodes_do_not_make_a_partition_larger() -> None:
    nodes = {f"c{n}": Node(f"c{n}", "IDLE+POWERED_DOWN" if n > 2 else "IDLE", ("p",), 1) for n in range(1, 11)}
    assert reboot_plan({name: name for name in nodes}, nodes, Selection(share=50), NOW)["batches"] == [["c1"], ["c2"]]


def test_a_time_in_the_past_makes_nodes_done_that_have_booted_since() -> None:
    result = planned(since="2026-11-20 11:58")
    assert set(result["done"]) == {"c1", "c2", "c3", "c7"}
    assert result["batches"] == [["c8"]]


@pytest.mark.parametrize(
    ("selected", "problem"),
    [
        ({"share": 0}, "reboot_share is 0"),
        ({"share": 101}, "reboot_share is 101"),
        ({"partitions": ["nope"]}, "there is no partition nope with nodes; there are all, cloud, part"),
        ({"nodes": ["c[1-2]", "x1"]}, "slurmctld knows no node x1"),
        ({"nodes": ["c9"]}, "no host of this run is the node c9"),
        ({"nodes": ["c1"], "partitions": ["all"]}, "give one of them"),
        ({"since": "yesterday"}, "is no time"),
        ({"ticket": "a]b"}, "ticket"),
    ],
)
def test_wrong_values_are_refused(selected: dict[str, Any], problem: str) -> None:
    with pytest.raises(SlurmNodeError, match=problem):
        planned(**selected)
