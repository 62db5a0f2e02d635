# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a set of files, found without Slurm: each wrong reference is caught, each right one accepted."""

from __future__ import annotations

from typing import Optional

import pytest

from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_rules import problems

Files = dict[str, Optional[str]]
BASE = r"""
ClusterName=demo
GresTypes=gpu,nic
NodeName=c[1-4] Features=ib
NodeName=g[1-2] Gres=gpu:a100:4(S:0-1),nic
NodeSet=fast Feature=ib
NodeSet=gpus Nodes=g[1-2]
PartitionName=main Nodes=c[1-4]
"""


def found(files: Files | str, release: str = "24.11", before: Files | None = None) -> list[str]:
    return problems({"slurm.conf": files} if isinstance(files, str) else files, release, before)


def test_a_good_set_has_no_problems() -> None:
    assert found(BASE) == []


# --- Names and types -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("SlurmctldTimout=1", "'SlurmctldTimout' is not a parameter of Slurm 24.11; did you mean SlurmctldTimeout?"),
        ("SlurmctldTimeout=soon", "slurm.conf: line 9: SlurmctldTimeout is 'soon'; Slurm reads a whole number"),
        ("SLURMCTLDTIMEOUT=-1", "SlurmctldTimeout is '-1'"),
        ("MetricsType=x", "'MetricsType' is not a parameter of Slurm 24.11; known in 25.11"),
        ("CoreSpecPlugin=x", "CoreSpecPlugin is defunct in Slurm 24.11; remove it"),
        ("Nodes=c1", "slurm.conf: line 9: 'Nodes' is not a parameter of Slurm 24.11; it belongs on a NodeSet or"),
        ("CPUs=2 NodeName=d1", "'CPUs' is not a parameter of Slurm 24.11; it belongs on a NodeName line"),
        ("NodeName=d1 CPUs=two", "slurm.conf: line 9: CPUs is 'two'"),
        ("PartitionName=p Nodez=c1", "'Nodez' is not a parameter of a PartitionName line"),
        ("PartitionName=p Default=maybe", "Default is 'maybe'; Slurm reads true or false"),
        ("no pairs", "slurm.conf: line 9 cannot be read from 'no pairs' on"),
        # The parser reads one parameter in a line.
        ("KillWait=1 MinJobAge=2", "slurm.conf: line 9: KillWait, MinJobAge need a line each"),
    ],
)
def test_what_the_parser_would_refuse_is_said_with_its_line(line: str, problem: str) -> None:
    messages = found(BASE + line)
    assert any(problem in message for message in messages), messages


def test_all_that_is_wrong_is_said_at_once() -> None:
    messages = found(f"{BASE}A=1\nB=2\nNodeName=d1 CPUs=x\nNodeName=d2 CPUs=x\nPartitionName=p Nodes=z")
    assert [message.split(":")[1].strip() for message in messages] == [
        *("line 9", "line 10", "line 11", "line 12"),
        "partition p",
    ]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("cgroup.conf", "ConstrainCores=sure", "cgroup.conf: line 1: ConstrainCores is 'sure'"),
        ("cgroup.conf", "ConstrainKmemSpace=no", "'ConstrainKmemSpace' is not a parameter of Slurm 24.11"),
        ("gres.conf", "NodeName=g1 Name=gpu Fil=/dev/g", "'Fil' is not a parameter"),
        ("topology.conf", "SwitchName=s Node=c1", "'Node' is not a parameter of a SwitchName line"),
    ],
)
def test_the_other_files_are_checked_too(name: str, text: str, problem: str) -> None:
    messages = found({"slurm.conf": BASE, name: text})
    assert len(messages) == 1
    assert problem in messages[0]


# --- References ------------------------------------------------------------------------------------------------------

RIGHT = [
    "PartitionName=p Nodes=ALL",
    "PartitionName=p Nodes=all",
    "PartitionName=p Nodes=fast,gpus,c1",
    'PartitionName=p Nodes="c1,g2"',
    'PartitionName=p Nodes=""',
    "PartitionName=p",
    "partitionname=p nodes=c[1-2,4]",
    "PartitionName=p Nodes=c1,\\\nc2",
    "PartitionName=p Nodes=c1 # and z1",
    "PartitionName=DEFAULT Nodes=c1\nPartitionName=p",
    "PartitionName=p Nodes=later\nNodeName=later",
    "PartitionName=p Nodes=z Nodes=c1",
    "NodeSet=s Nodes=ALL",
    "NodeSet=s Feature=none_has_it",
    "DownNodes=c[1-2] State=DOWN",
    "DownNodes=ALL State=DOWN",
    "NodeName=d[1-3] NodeAddr=10.0.0.[7-9] Port=[1-3]",
    "NodeName=d[1-3] NodeHostname=box NodeAddr=10.0.0.[7]",
    "NodeName=d1 Gres=gpu",
    "NodeName=d1 Gres=gpu:2(S:0,1),nic:mlx:1",
    "NodeName=DEFAULT Gres=gpu:1\nNodeName=d1",
    'NodeName=d1 Gres=""',
]
WRONG = [
    ("PartitionName=p Nodes=z1", "partition p: Nodes names z1; there is no such node or node set in slurm.conf"),
    ("PartitionName=p Nodes=c[3-6]", "partition p: Nodes names c5, c6; there is no such node or node set"),
    ("PartitionName=p Nodes=Fast", "partition p: Nodes names Fast;"),
    ("partitionname=p nodes=z1", "partition p: Nodes names z1;"),
    ('PartitionName=p Nodes="c1,z2"', "Nodes names z2;"),
    ("PartitionName=p Nodes=c1,\\\nz1", "Nodes names z1;"),
    ("PartitionName=DEFAULT Nodes=z1\nPartitionName=p", "partition p: Nodes names z1;"),
    ("PartitionName=p Nodes=c1 Nodes=z1", "Nodes names z1;"),
    ("PartitionName=p Nodes=c[1", "partition p: Nodes: host list 'c[1'"),
    ("PartitionName=p Nodes=z[1-30]", "z20 and 10 others; there is no such node"),
    ("NodeSet=s Nodes=z1", "node set s: Nodes names z1; there is no such node in slurm.conf"),
    ("NodeSet=s Nodes=fast", "node set s: Nodes names fast;"),
    ("DownNodes=c1,z1 State=DOWN", "slurm.conf: line 9: DownNodes names z1; there is no such node"),
    ("NodeName=d1 Gres=gpux:1", "node d1 has the GRES 'gpux', which GresTypes in slurm.conf lacks (it has gpu, nic)"),
    ("NodeName=d[1-9] Gres=gpu,mps:100", "node d[1-9] has the GRES 'mps', which GresTypes"),
    ("NodeName=DEFAULT Gres=mps\nNodeName=d1", "node d1 has the GRES 'mps'"),
    ("NodeName=c4 CPUs=2", "slurm.conf: node c4 is defined twice"),
    ("PartitionName=main Nodes=c1", "slurm.conf: partition main is defined twice"),
    (
        "NodeName=d[1-3] NodeAddr=a[1-2]",
        "slurm.conf: line 9: NodeAddr has 2 values for 3 nodes; give one, or one each",
    ),
    ("NodeName=d[1-3] port=[1-2]", "Port has 2 values for 3 nodes"),
]
FILES_RIGHT = [
    ("gres.conf", "NodeName=g[1-2] Name=gpu File=/dev/nvidia[0-3]"),
    ("gres.conf", "nodename=g1 name=gpu"),
    ("gres.conf", "Name=nic Count=1"),
    ("gres.conf", "AutoDetect=off"),
    ("topology.conf", "SwitchName=s1 Nodes=c[1-2]\nSwitchName=s2 Nodes=c[3-4]\nSwitchName=top Switches=s[1-2]"),
    ("topology.conf", "SwitchName=top Switches=s1\nswitchname=s1 nodes=c1 LinkSpeed=100"),
    ("topology.conf", "BlockName=b1 Nodes=c[1-4]\nBlockSizes=4"),
]
FILES_WRONG = [
    ("gres.conf", "NodeName=g[2-3] Name=gpu", "gres.conf: line 1: NodeName names g3; there is no such node"),
    ("gres.conf", "NodeName=g1 Name=mps", "gres.conf: line 1: Name is 'mps', which GresTypes in slurm.conf lacks"),
    ("gres.conf", "Name=mps", "Name is 'mps'"),
    ("topology.conf", "SwitchName=s1 Nodes=c[4-5]", "topology.conf: line 1: Nodes names c5; there is no such node"),
    (
        "topology.conf",
        "SwitchName=s1 Nodes=c1\nSwitchName=top Switches=s[1-3]",
        "topology.conf: line 2: Switches names s2, s3; there is no such switch in topology.conf",
    ),
    ("topology.conf", "SwitchName=top Switches=ALL", "Switches names ALL"),
    ("topology.conf", "BlockName=b1 Nodes=z1", "topology.conf: line 1: Nodes names z1"),
]


@pytest.mark.parametrize("line", RIGHT)
def test_a_right_reference_is_accepted(line: str) -> None:
    assert found(BASE + line) == []


@pytest.mark.parametrize(("line", "problem"), WRONG)
def test_a_wrong_reference_is_refused(line: str, problem: str) -> None:
    messages = found(BASE + line)
    assert len(messages) == 1, messages
    assert problem in messages[0]


@pytest.mark.parametrize(("name", "text"), FILES_RIGHT)
def test_a_right_reference_from_another_file_is_accepted(name: str, text: str) -> None:
    assert found({"slurm.conf": BASE, name: text}) == []


@pytest.mark.parametrize(("name", "text", "problem"), FILES_WRONG)
def test_a_wrong_reference_from_another_file_is_refused(name: str, text: str, problem: str) -> None:
    messages = found({"slurm.conf": BASE, name: text})
    assert len(messages) == 1, messages
    assert problem in messages[0]


def test_without_gres_types_no_gres_is_known() -> None:
    (message,) = found("NodeName=c1 Gres=gpu:1")
    assert message == "slurm.conf: node c1 has the GRES 'gpu', which GresTypes in slurm.conf lacks (it has none)"


# --- Included files --------------------------------------------------------------------------------------------------


def test_an_included_file_of_the_set_is_checked_with_it() -> None:
    files: Files = {
        "slurm.conf": f"{BASE}Include more.conf",
        "more.conf": "NodeName=d1 CPUs=x\nPartitionName=p Nodes=z",
    }
    assert [message.split(" ")[:3] for message in found(files)] == [
        ["more.conf:", "line", "1:"],
        ["slurm.conf:", "partition", "p:"],
    ]


@pytest.mark.parametrize(
    "text",
    [
        "PartitionName=p Nodes=z1",
        "NodeName=d1 Gres=mps:1",
        "DownNodes=z1 State=DOWN",
    ],
)
def test_what_an_unknown_included_file_may_define_is_not_missed(text: str) -> None:
    assert found(f"{BASE}{text}\nInclude /etc/slurm/site.conf") == []


def test_a_cluster_name_may_move_to_an_unknown_included_file() -> None:
    assert found("Include site.conf", before={"slurm.conf": "ClusterName=demo"}) == []
    assert found("ClusterName=demo", before={"slurm.conf": "Include site.conf\nClusterName=other"}) == []


def test_an_included_file_that_is_not_to_exist_is_refused() -> None:
    (message,) = found({"slurm.conf": f"{BASE}Include more.conf", "more.conf": None})
    assert message == "slurm.conf: line 9: it includes more.conf, which is not to exist"


# --- What cannot become something else -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [
        ("ClusterName=a", "ClusterName=b", True),
        ("ClusterName=a", "", True),
        ("ClusterName=a", "ClusterName=b\nStateSaveLocation=/b", False),
        ("ClusterName=a", "ClusterName=A", False),
        ("", "ClusterName=b", False),
        (None, "ClusterName=b", False),
        ("no pairs", "ClusterName=b", False),
    ],
)
def test_a_cluster_keeps_its_name_while_it_keeps_its_state(before: str | None, after: str, refused: bool) -> None:
    messages = found(after, before={"slurm.conf": before})
    assert [message.startswith("slurm.conf: ClusterName cannot change from 'a'") for message in messages] == (
        [True] if refused else []
    )
