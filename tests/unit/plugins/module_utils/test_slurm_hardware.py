"""A host is compared with its node line by what slurmd measures, and both values are named."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_hardware import judge, read_measure

MEASURED = {"NodeName": "c1", "CPUs": 2, "RealMemory": 24000}


def test_a_measurement_is_read() -> None:
    output = "v2\nNodeName=c1 CPUs=2 Boards=1 RealMemory=24000\nUpTime=0-01:00:00\n"
    assert read_measure(output) == ("v2", {"CPUs": 2, "Boards": 1, "RealMemory": 24000})


@pytest.mark.parametrize("value", ["{{lookup('pipe','id')}}", "2x", "-2", "\u0662", "1" * 16, "", "0x10", "2;id"])
def test_a_compromised_node_reports_numbers_or_nothing(value: str) -> None:
    output = f"{{{{evil}}}}\nCPUs={value} Evil={{{{1}}}} RealMemory=24000\nslurm_source_url: x\n"
    assert read_measure(output) == ("none", {"RealMemory": 24000})


@pytest.mark.parametrize("output", ["none\n", "v1", ""])
def test_a_host_without_slurmd_has_no_hardware(output: str) -> None:
    assert read_measure(output)[1] == {}


@pytest.mark.parametrize(
    ("tree", "expected", "cgroup", "problem"),
    [
        ("v2", {"RealMemory": 25000}, "v2", "RealMemory is 24000 on the host and 25000 in its node line"),
        ("v2", {"CPUs": "4"}, None, "CPUs is 2 on the host and 4 in its node line"),
        ("none", {}, "v2", "slurmctld_cgroup is v2, but this host's cgroup tree is none"),
        ("v2", {}, "v1", "slurmctld_cgroup is v1, but this host's cgroup tree is v2"),
    ],
)
def test_a_host_that_cannot_be_the_node_is_told_why(
    tree: str, expected: dict[str, Any], cgroup: str, problem: str
) -> None:
    found, _warnings = judge(tree, MEASURED, expected, cgroup)
    assert found is not None
    assert problem in found


@pytest.mark.parametrize(
    ("tree", "expected", "cgroup", "warnings"),
    [
        ("v2", {"CPUs": 2, "RealMemory": 23000, "Gres": "gpu:1"}, "v2", 0),
        ("none", {"CPUs": 2}, "auto", 1),
        ("v1", {"CPUs": 1}, "disabled", 2),
        ("v2", {"CPUs": 2}, "auto", 0),
        ("v3", {"CPUs": 2}, "auto", 1),
        ("v1", {}, None, 0),
    ],
)
def test_a_host_that_can_be_the_node_may_come_with_warnings(
    tree: str, expected: dict[str, Any], cgroup: str, warnings: int
) -> None:
    problem, found = judge(tree, MEASURED, expected, cgroup)
    assert problem is None
    assert len(found) == warnings
