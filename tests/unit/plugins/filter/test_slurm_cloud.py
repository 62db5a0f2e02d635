# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter slurm_cloud: groups of cloud nodes as lines of slurm.conf, or a sentence that names the group."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.hpcops.cluster.plugins.filter.slurm_cloud import slurm_cloud
from ansible_collections.hpcops.cluster.plugins.filter.slurm_conf import slurm_conf

NODES = [{"NodeName": "c[1-2]"}, {"NodeName": "c9"}]
NODE = {"CPUs": 8, "RealMemory": 30000}
CPU = {"name": "cpu", "prefix": "cpu-", "count": 100, "partitions": ["cloud", "main"], "node": NODE, "market": "spot"}
ONE = {"name": "big", "prefix": "big", "first": 7, "count": 1, "partitions": ["cloud"], "node": NODE | {"Weight": 5}}
TIMES = {"SuspendTime": 300, "ResumeTimeout": 900, "SuspendTimeout": 30}


def test_partition_of_all_nodes_is_one_of_cloud_nodes_where_there_are_no_others() -> None:
    lines = slurm_cloud([ONE | {"partitions": ["main"]}], [], [{"PartitionName": "main", "Nodes": "ALL"}], 300, 900, 30)
    assert lines[-1] == {"PartitionName": "main", "Nodes": ["big"], **TIMES}


def test_partitions_without_groups_stay_as_they_are() -> None:
    assert slurm_cloud([], NODES, [{"PartitionName": "main", "Nodes": "ALL"}]) == [
        {"PartitionName": "main", "Nodes": "ALL"}
    ]


def test_groups_become_nodes_node_sets_and_partitions() -> None:
    partitions = [{"PartitionName": "main", "Nodes": "ALL", "Default": True}, {"PartitionName": "one", "Nodes": "c1"}]
    assert slurm_cloud([CPU, ONE], NODES, partitions, 300, 900, 30) == [
        {"NodeName": "cpu-[1-100]", "State": "CLOUD", "Weight": 1000, **NODE},
        {"NodeSet": "cpu", "Nodes": "cpu-[1-100]"},
        {"NodeName": "big7", "State": "CLOUD", "Weight": 5, **NODE},
        {"NodeSet": "big", "Nodes": "big7"},
        {"PartitionName": "main", "Nodes": ["c[1-2]", "c9", "cpu"], "Default": True},
        {"PartitionName": "one", "Nodes": "c1"},
        {"PartitionName": "cloud", "Nodes": ["cpu", "big"], **TIMES},
    ]


def test_what_a_partition_says_itself_stays() -> None:
    lines = slurm_cloud(
        [ONE], [], [{"PartitionName": "cloud", "SuspendTime": 60, "MaxTime": "1-00:00:00"}], 300, 900, 30
    )
    assert lines[-1] == {
        "PartitionName": "cloud",
        "Nodes": ["big"],
        **TIMES,
        "SuspendTime": 60,
        "MaxTime": "1-00:00:00",
    }


@pytest.mark.parametrize("release", ["22.05", "24.11", "26.05"])
def test_slurm_conf_takes_the_lines(release: str) -> None:
    lines = slurm_cloud([CPU], [{"NodeName": "c1"}], [{"PartitionName": "main", "Nodes": "ALL"}])
    text = slurm_conf({}, release, lines=[{"NodeName": "c1"}, *lines])
    assert "NodeName=cpu-[1-100] State=CLOUD Weight=1000 CPUs=8 RealMemory=30000\n" in text
    assert "PartitionName=cloud Nodes=cpu SuspendTime=600 ResumeTimeout=600 SuspendTimeout=60\n" in text
    assert "PartitionName=main Nodes=cpu,c1\n" in text


@pytest.mark.parametrize(
    ("groups", "partitions", "said"),
    [
        (
            [CPU | {"partitions": ["main"]}],
            [{"PartitionName": "main", "Nodes": "c1"}],
            "group cpu: none of its partitions",
        ),
        ([CPU | {"node": {"CPUs": 8}}], [], "group cpu: node has no RealMemory"),
        ([CPU | {"count": "many"}], [], "group cpu: count must be a number, not 'many'"),
        ([CPU | {"partitions": []}], [], "slurm_cloud: cpu has no partitions"),
        ([{"prefix": "x"}], [], r"slurm_cloud: \? has no name"),
        ("cpu", [], "slurm_cloud: the input must be a list"),
    ],
)
def test_wrong_groups_are_told(groups: Any, partitions: Any, said: str) -> None:
    with pytest.raises(AnsibleFilterError, match=said):
        slurm_cloud(groups, NODES, partitions)
