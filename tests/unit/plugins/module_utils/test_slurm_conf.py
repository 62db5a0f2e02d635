# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration files from data: what is written, what is refused and how, and that Slurm's parser reads it back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import SlurmParameterError
from ansible_collections.hpcops.cluster.plugins.module_utils._hostlist import expand
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_conf import merge, render
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_parameters import schema
from ansible_collections.hpcops.cluster.tests.unit.slurm_reader import read


def written(params: dict[str, Any], file: str = "slurm.conf", release: str = "24.11", **more: Any) -> str:
    return render(params, file=file, release=release, **more)


def line(**values: Any) -> str:
    return written({}, lines=[values]).rstrip("\n")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("ClusterName", "demo", "ClusterName=demo"),
        ("clustername", "demo", "ClusterName=demo"),
        ("SlurmctldTimeout", 60, "SlurmctldTimeout=60"),
        ("SlurmctldTimeout", "60", "SlurmctldTimeout=60"),
        ("MaxJobCount", "64K", "MaxJobCount=64K"),
        ("MaxJobCount", "UNLIMITED", "MaxJobCount=UNLIMITED"),
        ("MinJobAge", "0x10", "MinJobAge=0x10"),
        ("DisableRootJobs", True, "DisableRootJobs=YES"),
        ("DisableRootJobs", False, "DisableRootJobs=NO"),
        ("DisableRootJobs", "no", "DisableRootJobs=no"),
        ("DisableRootJobs", 1, "DisableRootJobs=1"),
        ("EnforcePartLimits", True, "EnforcePartLimits=YES"),
        ("PriorityDecayHalfLife", "7-0", "PriorityDecayHalfLife=7-0"),
        ("GresTypes", ["gpu", "mps"], "GresTypes=gpu,mps"),
        ("GresTypes", ("gpu",), "GresTypes=gpu"),
        ("SlurmctldHost", "ctl1", "SlurmctldHost=ctl1"),
        ("SlurmctldHost", ["ctl1(10.0.0.1)", "ctl2"], "SlurmctldHost=ctl1(10.0.0.1)\nSlurmctldHost=ctl2"),
        ("Prolog", ["a.sh", "b.sh"], "Prolog=a.sh\nProlog=b.sh"),
        ("SlurmctldParameters", {"enable_configless": None}, "SlurmctldParameters=enable_configless"),
        (
            "SchedulerParameters",
            {"bf_continue": True, "bf_window": 1440, "defer": False},
            "SchedulerParameters=bf_continue,bf_window=1440",
        ),
        ("PriorityWeightTRES", {"CPU": 1000, "Mem": 0.25}, "PriorityWeightTRES=CPU=1000,Mem=0.25"),
        ("MailProg", "/usr/bin/mail -x", 'MailProg="/usr/bin/mail -x"'),
        ("MailProg", '"/usr/bin/mail -x"', 'MailProg="/usr/bin/mail -x"'),
        ("MailProg", "", 'MailProg=""'),
        ("MailDomain", "a#b\\c", "MailDomain=a\\#b\\\\c"),
        ("MailDomain", 'a"b', 'MailDomain=a"b'),
    ],
)
def test_a_value_is_written_as_slurm_reads_it(name: str, value: Any, text: str) -> None:
    assert written({name: value}) == f"{text}\n"


@pytest.mark.parametrize("value", [None, [], {}, {"defer": False}])
def test_what_says_nothing_has_no_line(value: Any) -> None:
    assert written({"SchedulerParameters": value}) == ""


@pytest.mark.parametrize(
    ("file", "name", "value", "message"),
    [
        (
            "slurm.conf",
            "SlurmctldTimeout",
            "soon",
            "SlurmctldTimeout is 'soon'; Slurm reads a whole number from 0 to 65535",
        ),
        ("slurm.conf", "SlurmctldTimeout", 65536, "SlurmctldTimeout is '65536'"),
        ("slurm.conf", "SlurmctldTimeout", -1, "SlurmctldTimeout is '-1'"),
        ("slurm.conf", "SlurmctldTimeout", 1.5, "SlurmctldTimeout is '1.5'"),
        ("slurm.conf", "SlurmctldTimeout", "08", "SlurmctldTimeout is '08'"),
        ("slurm.conf", "SlurmctldTimeout", "1k", "SlurmctldTimeout is '1k'"),
        ("slurm.conf", "SlurmctldTimeout", "", "SlurmctldTimeout is ''"),
        ("slurm.conf", "SlurmctldTimeout", [60], "SlurmctldTimeout is a list"),
        ("slurm.conf", "SlurmctldTimeout", {"a": 1}, "SlurmctldTimeout is a mapping"),
        ("slurm.conf", "JobRequeue", True, "JobRequeue is true; Slurm reads a whole number"),
        ("slurm.conf", "MaxMemPerNode", "7G", "MaxMemPerNode is '7G'"),
        ("slurm.conf", "DisableRootJobs", "maybe", "DisableRootJobs is 'maybe'; Slurm reads true or false"),
        ("slurm.conf", "DisableRootJobs", 2, "DisableRootJobs is '2'"),
        ("cgroup.conf", "AllowedRAMSpace", "95%", "AllowedRAMSpace is '95%'; Slurm reads a number"),
        ("slurm.conf", "GresTypes", ["gpu", None], "GresTypes has null inside"),
        ("slurm.conf", "GresTypes", [["gpu"]], "GresTypes has a list inside"),
        ("slurm.conf", "LaunchParameters", {"a": [1]}, "LaunchParameters has a list inside"),
        ("slurm.conf", "MailProg", "a\nb", "MailProg has a line break"),
        ("slurm.conf", "MailProg", 'a "b" c', "cannot read a quotation mark inside a quoted value"),
        ("slurm.conf", "CoreSpecPlugin", "x", "CoreSpecPlugin is defunct in Slurm 24.11"),
        ("slurm.conf", "NodeName", "c1", "it opens a line; give it in lines"),
        ("slurm.conf", "SlurmctldTimout", 1, "'SlurmctldTimout' is not a parameter of Slurm 24.11; did you mean"),
        ("slurm.conf", "SlurmctldTimout", None, "did you mean SlurmctldTimeout?"),
    ],
)
def test_a_value_that_slurm_would_refuse_is_refused_by_name(file: str, name: str, value: Any, message: str) -> None:
    with pytest.raises(SlurmParameterError) as error:
        written({name: value}, file=file)
    assert str(error.value).startswith(f"{file}: ")
    assert message in str(error.value)


@pytest.mark.parametrize("value", ["hunter2#", "hunter2\n", 'hunter2 "'])
def test_a_password_is_in_no_message(value: str) -> None:
    with pytest.raises(SlurmParameterError, match="StoragePass") as error:
        written({"StoragePass": value}, file="slurmdbd.conf")
    assert "hunter2" not in str(error.value)


def test_several_values_are_refused_where_the_release_takes_one() -> None:
    with pytest.raises(SlurmParameterError, match=r"Prolog has 2 values; Slurm 22\.05 takes one .* from 24\.05"):
        written({"Prolog": ["/a", "/b"]}, release="22.05")
    assert written({"Prolog": ["/a"]}, release="22.05") == "Prolog=/a\n"


def test_a_parameter_of_another_release_can_be_taken_back() -> None:
    assert written({"MetricsType": None}, release="22.05") == ""


@pytest.mark.parametrize(
    ("defaults", "params", "merged"),
    [
        ({"A": 1, "B": 2}, {}, {"A": 1, "B": 2}),
        ({"A": 1, "B": 2}, {"b": 3, "C": 4}, {"A": 1, "b": 3, "C": 4}),
        ({"A": 1}, {"a": None}, {"a": None}),
        ({"A": {"x": None, "y": 1}}, {"A": {"y": 2, "z": True}}, {"A": {"x": None, "y": 2, "z": True}}),
        ({"A": {"x": None}}, {"A": "y"}, {"A": "y"}),
        ({"A": ["x"]}, {"A": ["y"]}, {"A": ["y"]}),
        ({"A": "x"}, {"A": {"y": 1}}, {"A": {"y": 1}}),
    ],
)
def test_parameters_are_laid_over_the_defaults(
    defaults: dict[str, Any], params: dict[str, Any], merged: dict[str, Any]
) -> None:
    result = merge(params, defaults)
    assert list(result.items()) == list(merged.items())


def test_a_list_adds_to_a_default_of_options() -> None:
    merged = merge(
        {"slurmctldparameters": ["idle_on_node_suspend", "max_dbd_msg_action=exit"]},
        {"SlurmctldParameters": {"a": True}},
    )
    assert merged == {"slurmctldparameters": {"a": True, "idle_on_node_suspend": True, "max_dbd_msg_action": "exit"}}


def test_a_parameter_given_twice_is_refused() -> None:
    with pytest.raises(SlurmParameterError, match="ClusterName and clustername are the same parameter"):
        written({"ClusterName": "a", "clustername": "b"})


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"NodeName": "c[1-2]", "CPUs": 2}, "NodeName=c[1-2] CPUs=2"),
        ({"CPUs": 2, "NodeName": "c1"}, "NodeName=c1 CPUs=2"),
        ({"cpus": 2, "nodename": ["c2", "c1"]}, "NodeName=c[1-2] CPUs=2"),
        ({"NodeName": "c1", "CPUs": None, "Features": []}, "NodeName=c1"),
        ({"NodeName": "c1", "Features": ["ib", "ssd"]}, "NodeName=c1 Features=ib,ssd"),
        ({"NodeName": "c1", "Reason": "bad fan"}, 'NodeName=c1 Reason="bad fan"'),
        (
            {"NodeName": ["c2", "c1"], "NodeAddr": ["10.0.0.1", "10.0.0.2"]},
            "NodeName=c2,c1 NodeAddr=10.0.0.[1-2]",
        ),
        (
            {"NodeName": ["c1", "c2"], "NodeHostname": "box", "Port": [7001, 7002]},
            "NodeName=c[1-2] NodeHostname=box Port=[7001-7002]",
        ),
        (
            {"PartitionName": "p", "Nodes": ["c1", "c2"], "Default": True, "MaxTime": "1-0", "OverSubscribe": False},
            "PartitionName=p Nodes=c[1-2] Default=YES MaxTime=1-0 OverSubscribe=NO",
        ),
        ({"PartitionName": "p", "Nodes": "ALL"}, "PartitionName=p Nodes=ALL"),
        ({"PartitionName": "p", "Nodes": ["c1", "ALL"]}, "PartitionName=p Nodes=ALL,c1"),
        ({"PartitionName": "p", "Nodes": []}, 'PartitionName=p Nodes=""'),
        ({"PartitionName": "p", "TRESBillingWeights": {"CPU": 1.0}}, "PartitionName=p TRESBillingWeights=CPU=1.0"),
        ({"NodeSet": "fast", "Feature": "ib"}, "NodeSet=fast Feature=ib"),
        ({"DownNodes": ["c1", "c2"], "State": "DOWN"}, "DownNodes=c[1-2] State=DOWN"),
    ],
)
def test_a_line_is_written_with_its_kind_first(values: dict[str, Any], text: str) -> None:
    assert line(**values) == text


def test_names_of_node_sets_are_not_folded() -> None:
    text = written({}, lines=[{"NodeSet": "s1", "Nodes": ["c1"]}, {"PartitionName": "p", "Nodes": ["s1", "s2", "s3"]}])
    assert text.splitlines()[1] == "PartitionName=p Nodes=s1,s[2-3]"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"CPUs": 2}, "line 1 has none of DownNodes, FrontendName, NodeName, NodeSet, PartitionName; it has CPUs"),
        ({}, "it has nothing"),
        ({"NodeName": "c1", "nodename": "c2"}, "line 1: a key is there twice: NodeName, nodename"),
        ({"NodeName": "c1", "CPUs": "lots"}, "line 1 (NodeName c1): CPUs is 'lots'; Slurm reads a whole number"),
        (
            {"NodeName": "c1", "RealMemroy": 1},
            "line 1 (NodeName c1): 'RealMemroy' is not a parameter of a NodeName line",
        ),
        ({"NodeName": "c1", "PartitionName": "p"}, "'PartitionName' is not a parameter of a NodeName line"),
        (
            {"NodeSet": ["a"], "Feature": None, "Fature": "x"},
            "(NodeSet ['a']): 'Fature' is not a parameter",
        ),
        ({"NodeName": ["c" * 100], "CPUs": -1}, "line 1 (NodeName ['cccccc"),
        ({"NodeName": []}, "NodeName is empty; leave the line out"),
        ({"NodeName": None}, "NodeName has null inside"),
        ({"NodeName": ["c 1"]}, "line 1 (NodeName ['c 1']): NodeName 'c 1' cannot be a host name"),
        ({"NodeName": ["c1", "c2"], "NodeAddr": ["a", "b", "c"]}, "NodeAddr has 3 values for 2 nodes"),
        ({"NodeName": "c[1-3]", "NodeAddr": "10.0.0.[1-2]"}, "NodeAddr has 2 values for 3 nodes"),
    ],
)
def test_a_line_that_slurm_would_refuse_is_refused_by_number_and_key(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SlurmParameterError) as error:
        line(**values)
    assert str(error.value).startswith("slurm.conf: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("file", "params", "lines", "text"),
    [
        ("cgroup.conf", {"CgroupPlugin": "disabled"}, [], "CgroupPlugin=disabled\n"),
        ("slurmdbd.conf", {"DbdHost": "db1", "StoragePass": "a b"}, [], 'DbdHost=db1\nStoragePass="a b"\n'),
        (
            "gres.conf",
            {"AutoDetect": "off"},
            [
                {"NodeName": ["g1", "g2"], "Name": "gpu", "File": "/dev/nvidia[0-3]"},
                {"Count": 1, "Name": "tape"},
                {"NodeName": "g3", "AutoDetect": "nvidia"},
            ],
            "AutoDetect=off\n\nNodeName=g[1-2] Name=gpu File=/dev/nvidia[0-3]\nName=tape Count=1\n"
            "NodeName=g3 AutoDetect=nvidia\n",
        ),
        (
            "topology.conf",
            {},
            [{"SwitchName": "s0", "Nodes": ["c1", "c2"]}, {"SwitchName": "top", "Switches": ["s0", "s1"]}],
            "SwitchName=s0 Nodes=c[1-2]\nSwitchName=top Switches=s[0-1]\n",
        ),
        (
            "topology.conf",
            {"BlockSizes": [2, 4]},
            [{"BlockName": "b1", "Nodes": ["c1", "c2"]}],
            "BlockSizes=2,4\n\nBlockName=b1 Nodes=c[1-2]\n",
        ),
    ],
)
def test_every_file_is_written(file: str, params: dict[str, Any], lines: list[dict[str, Any]], text: str) -> None:
    assert written(params, file=file, lines=lines) == text


def test_a_file_without_lines_refuses_one() -> None:
    with pytest.raises(SlurmParameterError, match=r"cgroup\.conf has no lines beside its parameters"):
        written({}, file="cgroup.conf", lines=[{"NodeName": "c1"}])


# What Slurm's parser can say at all: no line break or other control character, no quotation mark beside blanks.
TEXTS = st.text(
    st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"'), max_size=30
) | st.from_regex(r"[!-~][!-~]*", fullmatch=True).filter(lambda text: text[0] != '"')
TEXT_KEYS = sorted(
    parameter.name
    for parameter in schema("slurm.conf", "24.11").main.parameters.values()
    if parameter.type == "string" and not parameter.defunct
)
OPTIONS = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)


@given(st.dictionaries(st.sampled_from(TEXT_KEYS), TEXTS, max_size=20))
def test_every_text_is_read_back_by_the_parser(params: dict[str, str]) -> None:
    assert read(written(params)) == [[(name, value)] for name, value in params.items()]


@given(st.dictionaries(OPTIONS, st.none() | st.booleans() | st.integers(0, 10**6), min_size=1))
def test_every_option_is_read_back_by_the_parser(options: dict[str, Any]) -> None:
    shown = {name: value for name, value in options.items() if value is not False}
    lines = read(written({"SchedulerParameters": options}))
    expected = {name: "" if value is None or value is True else str(value) for name, value in shown.items()}
    read_back = dict(part.partition("=")[::2] for each in lines for _key, text in each for part in text.split(","))
    assert read_back == expected


@given(
    st.lists(
        st.tuples(
            st.lists(st.from_regex(r"[a-c][0-3]{0,3}", fullmatch=True), min_size=1, max_size=10, unique=True),
            st.integers(0, 65535),
            st.text(
                st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"'), min_size=1, max_size=20
            ),
        ),
        max_size=5,
    )
)
def test_every_line_is_read_back_by_the_parser(nodes: list[tuple[list[str], int, str]]) -> None:
    data = [{"Reason": reason, "CPUs": cpus, "NodeName": names} for names, cpus, reason in nodes]
    lines = [dict(pairs) for pairs in read(written({}, lines=data))]
    assert [(sorted(expand(each["NodeName"])), int(each["CPUs"]), each["Reason"]) for each in lines] == [
        (sorted(names), cpus, reason) for names, cpus, reason in nodes
    ]
