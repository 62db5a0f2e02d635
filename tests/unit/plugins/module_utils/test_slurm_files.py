# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration files as data: what Slurm's parser reads in them is what is read here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import SlurmParameterError
from ansible_collections.hpcops.cluster.plugins.module_utils._hostlist import expand
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_conf import render
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_files import (
    entries,
    members,
    partition_nodes,
    read,
    words,
)

Pairs = list[tuple[str, str]]


def lines(text: str) -> list[Pairs]:
    return [list(entry.pairs) for entry in entries({"slurm.conf": text}, "slurm.conf")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=1", [("A", "1")]),
        ("  A = 1  ", [("A", "1")]),
        ("A=1 B=2\tC=3", [("A", "1"), ("B", "2"), ("C", "3")]),
        ("A+=1", [("A", "1")]),
        ('A="b c" D=e', [("A", "b c"), ("D", "e")]),
        ('A=""', [("A", "")]),
        ("A=b=c", [("A", "b=c")]),
        ("A=1 A=2", [("A", "1"), ("A", "2")]),
        # A quotation mark is one where it opens a value and a blank follows its partner; else it is a character.
        ('A=b"c', [("A", 'b"c')]),
        ('A="b"c', [("A", '"b"c')]),
        ('A=b"', [("A", 'b"')]),
        ('A="b # c"', [("A", '"b')]),
        ("A=1 # B=2", [("A", "1")]),
        ("A=1#2", [("A", "1")]),
        (r"A=1\#2", [("A", "1#2")]),
        (r"A=1\\#2", [("A", "1\\")]),
        (r"A=1\\\#2", [("A", "1\\#2")]),
        (r"A=b\\c", [("A", r"b\c")]),
        (r"A=b\c", [("A", "bc")]),
        ("A=b\u2028c", [("A", "b\u2028c")]),
        ("A=b\u00a0c", [("A", "b\u00a0c")]),
    ],
)
def test_a_line_is_read_as_the_parser_reads_it(text: str, found: Pairs) -> None:
    assert lines(text) == [found]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=1 \\\n B=2", [[("A", "1"), ("B", "2")]]),
        ("A=1,\\\n2", [[("A", "1,2")]]),
        ("A=1,\\  \n2", [[("A", "1,2")]]),
        ("A=1,\\ # the rest follows\n2", [[("A", "1,2")]]),
        ("A=1 \\\n\nB=2", [[("A", "1")], [("B", "2")]]),
        ("A=1\\\\\nB=2", [[("A", "1\\")], [("B", "2")]]),
        ("# A=1 \\\nB=2", [[("B", "2")]]),
        ("A=1 \\", [[("A", "1")]]),
        ("A=1\r\nB=2\r\n", [[("A", "1")], [("B", "2")]]),
        ("A=1\vB=2", [[("A", "1"), ("B", "2")]]),
        ("", []),
        ("# nothing\n\n \t\n", []),
    ],
)
def test_lines_are_joined_and_parted_as_by_the_parser(text: str, found: list[Pairs]) -> None:
    assert lines(text) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\n\nB", "slurm.conf: line 3 cannot be read from 'B' on"),
        ("A=1 \\\nB=2 C", "slurm.conf: line 1 cannot be read from 'C' on"),
        ('A="b c', "slurm.conf: line 1 cannot be read from 'c' on"),
        ("A=", "slurm.conf: line 1 cannot be read from 'A=' on"),
        ("NodeName=c[1", "slurm.conf: line 1: host list 'c[1'"),
        ("NodeName=c1 NodeAddr=a[1", "slurm.conf: line 1: host list 'a[1'"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(SlurmParameterError) as error:
        read({"slurm.conf": text})
    assert str(error.value).startswith(message)


# What a quoted or unquoted value can hold; a quotation mark and a blank in one value cannot be written.
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters='"'), min_size=1),
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Z"]), min_size=1).filter(lambda text: text[0] != '"'),
)


@given(st.lists(texts), st.dictionaries(st.sampled_from(["Reason", "Features", "Gres"]), texts))
def test_what_is_rendered_is_read_back(values: list[str], attributes: dict[str, str]) -> None:
    written = render(
        {"Prolog": values}, release="24.11", lines=[{"NodeName": ["c2", "c1"], **attributes}, {"PartitionName": "p"}]
    )
    configuration = read({"slurm.conf": written})
    assert configuration.parameters.get("prolog", []) == values
    expected = {name.lower(): value for name, value in attributes.items()}
    assert configuration.nodes == {"c1": expected, "c2": expected}
    assert list(configuration.partitions) == ["p"]


@given(st.lists(texts, min_size=1))
def test_a_line_is_written_as_it_was_read(values: list[str]) -> None:
    text = render({"Prolog": values}, release="24.11")
    found = list(entries({"slurm.conf": text}, "slurm.conf"))
    assert [list(entry.pairs) for entry in found] == lines("\n".join(" ".join(entry.written) for entry in found))


def test_names_of_parameters_are_the_same_in_any_case_and_the_last_value_counts() -> None:
    configuration = read({"slurm.conf": "ClusterName=a\nclustername=b\nSLURMCTLDHOST=x\nSlurmctldHost=y\n"})
    assert configuration.value("ClusterName") == "b"
    assert configuration.parameters["slurmctldhost"] == ["x", "y"]
    assert configuration.value("StateSaveLocation") == ""


def test_of_a_key_that_is_repeated_on_a_line_the_last_counts() -> None:
    assert read({"slurm.conf": "NodeName=c1 CPUs=1 cpus=2 Procs=3"}).nodes == {"c1": {"cpus": "3"}}


def test_default_lines_hold_for_the_lines_after_them_and_add_up() -> None:
    text = """
    NodeName=first CPUs=1
    NodeName=DEFAULT CPUs=2 Feature=ib
    nodename=default RealMemory=5
    NodeName=c[1-2] Features=ssd
    PartitionName=DEFAULT MaxTime=1
    PartitionName=p Nodes=c1
    PartitionName=default MaxTime=2 State=UP
    PartitionName=q Nodes=c2 State=DOWN
    """
    configuration = read({"slurm.conf": text})
    common = {"cpus": "2", "realmemory": "5", "features": "ssd"}
    assert configuration.nodes == {"first": {"cpus": "1"}, "c1": common, "c2": common}
    assert configuration.partitions == {
        "p": {"nodes": "c1", "maxtime": "1"},
        "q": {"nodes": "c2", "maxtime": "2", "state": "DOWN"},
    }


def test_addresses_belong_to_the_nodes_one_by_one_or_to_all() -> None:
    text = "NodeName=c[1-2],a NodeAddr=10.0.0.[7-8],x NodeHostname=box Port=[7001-7003] BcastAddr=y[1]"
    assert read({"slurm.conf": text}).nodes == {
        name: {"nodeaddr": address, "nodehostname": "box", "port": port, "bcastaddr": "y1"}
        for name, address, port in (("c1", "10.0.0.7", "7001"), ("c2", "10.0.0.8", "7002"), ("a", "x", "7003"))
    }


def test_what_is_defined_again_is_noted() -> None:
    text = "NodeName=c[1-2]\nNodeName=c2\nPartitionName=p\nPartitionName=p"
    assert read({"slurm.conf": text}).twice == ["node c2", "partition p"]


def test_lines_of_a_kind_are_kept_apart_from_parameters() -> None:
    text = "PowerAction=a Program=/a\nPowerAction=b Program=/b\nDownNodes=c1 State=DOWN\nClusterName=x"
    configuration = read({"slurm.conf": text})
    assert list(configuration.parameters) == ["clustername"]
    assert [entry.pairs[0][1] for entry in configuration.lines] == ["a", "b"]
    assert [entry.pairs[0][1] for entry in configuration.down] == ["c1"]


# --- Included files --------------------------------------------------------------------------------------------------


def test_an_included_file_of_the_set_stands_where_it_is_included() -> None:
    files = {
        "slurm.conf": "NodeName=DEFAULT CPUs=2\ninclude nodes.conf\nNodeName=last\n",
        "nodes.conf": "NodeName=c1\nNodeName=DEFAULT CPUs=4\n",
        "plugstack.conf": "required x.so",
    }
    configuration = read(files)
    assert configuration.nodes == {"c1": {"cpus": "2"}, "last": {"cpus": "4"}}
    assert configuration.includes == []
    assert list(configuration.others) == ["plugstack.conf"]
    assert [entry.where for entry in entries(files, "slurm.conf")][1] == "nodes.conf: line 1"


@pytest.mark.parametrize("name", ["/etc/slurm/nodes.conf", "other.conf", "%c.conf", "gone.conf"])
def test_an_included_file_outside_the_set_is_noted(name: str) -> None:
    assert read({"slurm.conf": f"Include {name}\nClusterName=x", "gone.conf": None}).includes == [name]


@pytest.mark.parametrize(
    "files",
    [
        {"slurm.conf": "Include slurm.conf"},
        {"slurm.conf": "Include a.conf", "a.conf": "Include b.conf", "b.conf": "\nInclude a.conf"},
    ],
)
def test_a_file_that_includes_itself_is_refused(files: dict[str, str]) -> None:
    with pytest.raises(SlurmParameterError, match="includes itself"):
        read(files)


# --- Members ---------------------------------------------------------------------------------------------------------

CLUSTER = """
NodeName=c[1-2] Features=ib,ssd
NodeName=c3 Feature=ib
NodeName=c4 Features=ibx
NodeSet=named Nodes=c[3-4]
NodeSet=fast Feature=ib
nodeset=both nodes=c4 feature=ssd
NodeSet=everything Nodes=ALL
PartitionName=none
PartitionName=empty Nodes=""
PartitionName=mixed Nodes=fast,c4,c1
"""


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("c[1-2]", ["c1", "c2"]),
        ("c9", ["c9"]),
        ("ALL", ["c1", "c2", "c3", "c4"]),
        ("all", ["c1", "c2", "c3", "c4"]),
        ("named", ["c3", "c4"]),
        ("fast", ["c1", "c2", "c3"]),
        ("both", ["c4", "c1", "c2"]),
        ("everything", ["c1", "c2", "c3", "c4"]),
        ("c1,fast,c1", ["c1", "c2", "c3"]),
    ],
)
def test_a_list_of_nodes_has_the_members_that_it_names(text: str, nodes: list[str]) -> None:
    assert members(text, read({"slurm.conf": CLUSTER})) == nodes


@pytest.mark.parametrize(("partition", "nodes"), [("none", []), ("empty", []), ("mixed", ["c1", "c2", "c3", "c4"])])
def test_a_partition_has_the_nodes_of_its_line(partition: str, nodes: list[str]) -> None:
    assert partition_nodes(read({"slurm.conf": CLUSTER}), partition) == nodes


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ("gpu:a100:4", ["gpu:a100:4"]),
        ("gpu:a100:4(S:0,1),nic:2", ["gpu:a100:4(S:0,1)", "nic:2"]),
        ("a[1,3],b,", ["a[1,3]", "b"]),
    ],
)
def test_a_list_is_parted_at_its_own_commas(text: str, parts: list[str]) -> None:
    assert words(text) == parts


@pytest.mark.parametrize("addresses", ["10.0.0.[7-8]", "10.0.0.[5-8]"])
def test_addresses_that_are_neither_one_nor_one_each_are_noted_and_stay_with_every_node(addresses: str) -> None:
    count = len(expand(addresses))
    configuration = read({"slurm.conf": f"NodeName=c[1-3] NodeAddr={addresses}"})
    assert configuration.uneven == [f"slurm.conf: line 1: NodeAddr has {count} values for 3 nodes"]
    assert configuration.nodes == {f"c{number}": {"nodeaddr": addresses} for number in (1, 2, 3)}


def test_parameters_of_cgroup_conf_are_read() -> None:
    configuration = read(
        {"slurm.conf": "ClusterName=x", "cgroup.conf": "ConstrainCores=no\nConstrainRAMSpace=yes\nconstraincores=yes"}
    )
    assert configuration.cgroup == {"constraincores": ["no", "yes"], "constrainramspace": ["yes"]}
    assert configuration.names["constrainramspace"] == "ConstrainRAMSpace"
