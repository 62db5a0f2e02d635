# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts to node lines: what shares a line, what is refused and how, and that no node and no attribute is lost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import NodeVariableError
from ansible_collections.hpcops.cluster.plugins.module_utils._hostlist import expand
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_conf import render
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_nodes import fold_nodes
from ansible_collections.hpcops.cluster.tests.unit.slurm_reader import read

Line = dict[str, Any]


def folded(hosts: dict[str, dict[str, Any]], release: str = "24.11") -> list[Line]:
    """Return the lines for hosts whose variables are given without their prefix."""
    prefixed = ((host, {f"slurm_node_{name}": value for name, value in each.items()}) for host, each in hosts.items())
    return fold_nodes(prefixed, release=release)


def unfolded(lines: list[Line]) -> dict[str, Line]:
    """Return each node's own parameters, as Slurm deals a line's addresses and ports out to its names."""
    nodes = {}
    for line in lines:
        names = expand(line["NodeName"])
        for place, name in enumerate(names):
            node = {key: value for key, value in line.items() if key != "NodeName"}
            for key in ("NodeAddr", "NodeHostname", "BcastAddr", "Port"):
                if key in node:
                    values = expand(str(node[key]))
                    assert len(values) in (1, len(names))
                    node[key] = values[place if len(values) > 1 else 0]
            assert name not in nodes
            nodes[name] = node
    return nodes


@pytest.mark.parametrize(
    ("hosts", "lines"),
    [
        ({}, []),
        ({"c1": {}}, [{"NodeName": "c1"}]),
        ({"c2.example.org": {}, "c1.example.org": {}}, [{"NodeName": "c[1-2]"}]),
        ({"box": {"name": "gpu7"}}, [{"NodeName": "gpu7"}]),
        (
            {"c1": {"cpus": 2, "gres": ["gpu:a100:4"]}, "c2": {"cpus": 2, "gres": ["gpu:a100:4"]}, "d1": {"cpus": 4}},
            [{"NodeName": "c[1-2]", "CPUs": 2, "Gres": "gpu:a100:4"}, {"NodeName": "d1", "CPUs": 4}],
        ),
        ({"c1": {"cpus": "2"}, "c2": {"cpus": 2}}, [{"NodeName": "c[1-2]", "CPUs": 2}]),
        ({"c1": {"cpus": None, "features": []}}, [{"NodeName": "c1"}]),
        ({"c1": {"features": ["ib", "ssd"]}}, [{"NodeName": "c1", "Features": "ib,ssd"}]),
        ({"c1": {"features": "ib"}}, [{"NodeName": "c1", "Features": "ib"}]),
        (
            {"c1": {"state": "CLOUD", "weight": 1, "cpus": 2}},
            [{"NodeName": "c1", "CPUs": 2, "Weight": 1, "State": "CLOUD"}],
        ),
        ({"c1": {"parameters": {"tresweights": {"CPU": 1.5}}}}, [{"NodeName": "c1", "TRESWeights": "CPU=1.5"}]),
        ({"c1": {"cpus": 2, "parameters": {"CPUs": 4}}}, [{"NodeName": "c1", "CPUs": 4}]),
        ({"c1": {"cpus": 2, "parameters": {"Procs": 4}}}, [{"NodeName": "c1", "CPUs": 4}]),
        ({"c1": {"cpus": 2, "parameters": {"CPUs": None}}}, [{"NodeName": "c1"}]),
        (
            {"c1": {"addr": "10.0.0.1"}, "c2": {"addr": "10.0.0.2"}, "c3": {"addr": "10.0.0.9"}},
            [{"NodeName": "c[1-3]", "NodeAddr": "10.0.0.[1-2,9]"}],
        ),
        (
            {"c9": {"addr": "10.0.0.9"}, "c10": {"addr": "10.0.0.10"}},
            [{"NodeName": "c[9-10]", "NodeAddr": "10.0.0.[9-10]"}],
        ),
        (
            {"c1": {"addr": "10.0.0.2"}, "c2": {"addr": "10.0.0.1"}},
            [{"NodeName": "c1", "NodeAddr": "10.0.0.2"}, {"NodeName": "c2", "NodeAddr": "10.0.0.1"}],
        ),
        (
            {"c1": {"addr": "a.example.org"}, "c2": {"addr": "b.example.org"}},
            [{"NodeName": "c1", "NodeAddr": "a.example.org"}, {"NodeName": "c2", "NodeAddr": "b.example.org"}],
        ),
        (
            {"c1": {"addr": "10.0.0.1"}, "c2": {}},
            [{"NodeName": "c1", "NodeAddr": "10.0.0.1"}, {"NodeName": "c2"}],
        ),
        ({"c1": {"addr": "c1", "hostname": "c1"}, "c2": {}}, [{"NodeName": "c[1-2]"}]),
        (
            {"c1": {"addr": "h1", "hostname": "h1"}, "c2": {"hostname": "h2"}},
            [{"NodeName": "c[1-2]", "NodeHostname": "h[1-2]"}],
        ),
        (
            {
                "c1": {"hostname": "boxa", "port": 7001},
                "c2": {"hostname": "boxa", "port": 7002},
                "c3": {"hostname": "boxb", "port": 7001},
                "c4": {"hostname": "boxb", "port": 7002},
            },
            [
                {"NodeName": "c[1-2]", "NodeHostname": "boxa", "Port": "[7001-7002]"},
                {"NodeName": "c[3-4]", "NodeHostname": "boxb", "Port": "[7001-7002]"},
            ],
        ),
    ],
)
def test_nodes_that_are_equal_share_a_line(hosts: dict[str, dict[str, Any]], lines: list[Line]) -> None:
    assert folded(hosts) == lines


def test_a_line_begins_with_the_name_and_then_follows_one_order() -> None:
    (line,) = folded({"c1": {"state": "UNKNOWN", "parameters": {"Reason": "new"}, "cpus": 2, "addr": "10.0.0.1"}})
    assert list(line) == ["NodeName", "NodeAddr", "CPUs", "State", "Reason"]


def test_the_order_of_the_hosts_does_not_matter() -> None:
    hosts = {f"c{number}": {"cpus": number % 2 + 1, "addr": f"10.0.0.{number}"} for number in range(1, 9)}
    assert folded(hosts) == folded(dict(reversed(hosts.items())))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"real_memory": "lots"}, "slurm_node_real_memory is 'lots'; Slurm reads a whole number"),
        ({"cpus": 65536}, "slurm_node_cpus is '65536'; Slurm reads a whole number from 0 to 65535"),
        ({"cpus": True}, "slurm_node_cpus is true"),
        ({"cpus": [2]}, "slurm_node_cpus is a list; give one value"),
        ({"state": {"a": 1}}, "slurm_node_state is a mapping; give one value"),
        ({"state": ""}, "slurm_node_state is empty"),
        ({"addr": ""}, "slurm_node_addr is empty"),
        ({"addr": "10.0.0.[1-2]"}, "slurm_node_addr '10.0.0.[1-2]' cannot be a host name"),
        ({"port": 0}, "slurm_node_port is '0'; it must be a port number from 1 to 65535"),
        ({"port": "ssh"}, "slurm_node_port is 'ssh'"),
        ({"port": True}, "slurm_node_port is 'YES'"),
        ({"gres": {"gpu": 4}}, "slurm_node_gres is a mapping; give one value"),
        ({"gres": [["gpu"]]}, "slurm_node_gres must be a list of texts"),
        ({"gres": ["gpu", None]}, "slurm_node_gres has null inside"),
        ({"name": "c[1-2]"}, "'c[1-2]' cannot be the name of a Slurm node; give the host a slurm_node_name"),
        ({"name": ""}, "'' cannot be the name of a Slurm node"),
        ({"name": "DEFAULT"}, "'DEFAULT' cannot be the name of a Slurm node"),
        ({"name": True}, "'True' cannot be the name of a Slurm node"),
        ({"realmemory": 1}, "slurm_node_realmemory is not a variable of a node; did you mean slurm_node_real_memory?"),
        ({"xyzzy": 1}, "slurm_node_xyzzy is not a variable of a node; other parameters go into slurm_node_parameters"),
        ({"parameters": ["Reason"]}, "slurm_node_parameters must be a mapping"),
        ({"parameters": {"Reasn": "x"}}, "slurm_node_parameters: 'Reasn' is not a parameter"),
        ({"parameters": {"Topology": "x"}}, "known in 25.05, 25.11, 26.05"),
        ({"parameters": {"NodeName": "c2"}}, "slurm_node_parameters has NodeName; give slurm_node_name instead"),
        ({"parameters": {"Weight": "heavy"}}, "slurm_node_parameters: Weight is 'heavy'"),
    ],
)
def test_a_bad_value_is_refused_with_host_and_variable(variables: dict[str, Any], message: str) -> None:
    with pytest.raises(NodeVariableError) as error:
        folded({"n7.example.org": variables})
    assert str(error.value).startswith("host n7.example.org: ")
    assert message in str(error.value)


def test_an_address_is_no_node_name() -> None:
    with pytest.raises(
        NodeVariableError, match=r"host 10\.0\.0\.1: an address has no short name; give .* slurm_node_name"
    ):
        folded({"10.0.0.1": {}})


def test_two_hosts_of_one_name_are_both_named() -> None:
    with pytest.raises(NodeVariableError, match=r"hosts c1\.north and c1\.south are both the Slurm node c1"):
        folded({"c1.north": {}, "c1.south": {}})


def test_a_parameter_of_a_later_release_is_known_there() -> None:
    assert folded({"c1": {"parameters": {"Topology": "t:s1"}}}, release="25.05") == [
        {"NodeName": "c1", "Topology": "t:s1"}
    ]


HOSTS = st.dictionaries(
    st.from_regex(r"[a-b]{1,2}[0-2]{0,3}(-ib)?", fullmatch=True),
    st.fixed_dictionaries(
        {},
        optional={
            "cpus": st.integers(1, 3),
            "real_memory": st.sampled_from([7000, "7000", "UNLIMITED"]),
            "features": st.lists(st.sampled_from(["ib", "ssd"]), unique=True),
            "addr": st.from_regex(r"10\.0\.[0-1]\.[0-9]{1,2}|h[01]{1,2}|x\.org", fullmatch=True),
            "hostname": st.from_regex(r"h[0-9]{1,2}", fullmatch=True),
            "port": st.integers(7000, 7003),
            "parameters": st.fixed_dictionaries({"Reason": st.sampled_from(["new", "bad fan", "#1"])}),
        },
    ),
    max_size=12,
)


@given(HOSTS)
def test_folding_loses_no_node_and_no_attribute(hosts: dict[str, dict[str, Any]]) -> None:
    alone: dict[str, Line] = {}
    for host, variables in hosts.items():
        alone.update(unfolded(folded({host: variables})))
    assert unfolded(folded(hosts)) == alone
    assert set(alone) == set(hosts)


@given(HOSTS)
def test_the_lines_are_rendered_and_read_back_as_they_are(hosts: dict[str, dict[str, Any]]) -> None:
    lines = folded(hosts)
    text = render({}, release="24.11", lines=lines)
    assert [dict(pairs) for pairs in read(text)] == [{key: str(value) for key, value in line.items()} for line in lines]


def test_addresses_that_rise_and_those_that_stay_are_on_different_lines() -> None:
    hosts = {
        f"c{number}": {"cpus": 1, "addr": address} for number, address in enumerate(["n1", "n1", "n2", "n3", "x"], 1)
    }
    assert len(unfolded(folded(hosts))) == 5
    assert [line["NodeAddr"] for line in folded(hosts)] == ["n1", "n[2-3]", "x"]
