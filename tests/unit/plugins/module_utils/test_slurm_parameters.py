# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of what each release parses, and how a name that is not in them is explained."""

from __future__ import annotations

import pytest

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import SlurmParameterError
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_parameters import files, schema, short_release


@pytest.mark.parametrize("file", files())
@pytest.mark.parametrize("release", ["22.05", "24.11", "26.05"])
def test_each_file_has_a_table_for_the_releases_of_debian(file: str, release: str) -> None:
    known = schema(file, release)
    assert known.main.parameters or known.lines
    types = {parameter.type for table in (known.main, *known.lines.values()) for parameter in table.parameters.values()}
    assert types <= {"string", "array", "boolean", "float", "uint16", "uint32", "uint64"}


@pytest.mark.parametrize(
    ("release", "short"),
    [("24.11", "24.11"), ("24.11.5", "24.11"), ("22.05.8-4+deb12u3", "22.05"), (24.11, "24.11"), ("25.05", "25.05")],
)
def test_a_release_is_its_two_numbers(release: object, short: str) -> None:
    assert short_release(release) == short


@pytest.mark.parametrize("release", ["latest", "24", "24.1", "", None, "v24.11"])
def test_what_is_no_release_is_refused(release: object) -> None:
    with pytest.raises(SlurmParameterError, match=r"is not a Slurm release such as '24\.11'"):
        short_release(release)


def test_a_release_without_a_table_has_the_nearest_older_one() -> None:
    assert schema("slurm.conf", "23.02").main == schema("slurm.conf", "22.05").main
    assert schema("slurm.conf", "27.11").main == schema("slurm.conf", "26.05").main


def test_a_release_older_than_all_tables_is_refused() -> None:
    with pytest.raises(SlurmParameterError, match=r"21\.08 is older than the oldest release known, 22\.05"):
        schema("slurm.conf", "21.08")


def test_an_unknown_file_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SlurmParameterError, match=r"'plugstack\.conf' is not a file .* slurm\.conf, slurmdbd\.conf"):
        schema("plugstack.conf", "24.11")


@pytest.mark.parametrize(
    ("file", "release", "kinds"),
    [
        ("slurm.conf", "24.11", {"nodename", "nodeset", "partitionname", "downnodes", "frontendname"}),
        ("slurm.conf", "26.05", {"nodename", "nodeset", "partitionname", "downnodes", "poweraction"}),
        ("slurmdbd.conf", "24.11", set()),
        ("cgroup.conf", "24.11", set()),
        ("gres.conf", "24.11", {"nodename", "name", "autodetect"}),
        ("topology.conf", "22.05", {"switchname"}),
        ("topology.conf", "24.11", {"switchname", "blockname"}),
    ],
)
def test_a_file_has_the_lines_of_its_release(file: str, release: str, kinds: set[str]) -> None:
    assert set(schema(file, release).lines) == kinds


@pytest.mark.parametrize(
    ("file", "release", "kind", "name", "message"),
    [
        ("slurm.conf", "24.11", "", "SlurmctldTimout", "of Slurm 24.11; did you mean SlurmctldTimeout?"),
        ("slurm.conf", "24.11", "", "MetricsType", "of Slurm 24.11; known in 25.11, 26.05"),
        ("slurm.conf", "24.11", "", "NodeName", "it opens a line; give it in lines"),
        ("slurm.conf", "24.11", "", "RealMemory", "it belongs on a NodeName line"),
        ("slurm.conf", "24.11", "", "Xyzzy", "'Xyzzy' is not a parameter of Slurm 24.11"),
        (
            "slurm.conf",
            "24.11",
            "nodename",
            "RealMemroy",
            "of a NodeName line in Slurm 24.11; did you mean RealMemory?",
        ),
        ("slurm.conf", "24.11", "nodename", "Topology", "known in 25.05, 25.11, 26.05"),
        ("slurm.conf", "24.11", "nodename", "ClusterName", "it is a parameter of the whole file"),
        ("gres.conf", "24.11", "", "File", "it belongs on a NodeName or Name or AutoDetect line"),
        ("slurmdbd.conf", "24.11", "", "StoragePas", "did you mean StoragePass?"),
        ("topology.conf", "24.11", "", "BlockLevels", "known in 23.11"),
    ],
)
def test_an_unknown_name_is_explained(file: str, release: str, kind: str, name: str, message: str) -> None:
    known = schema(file, release)
    error = known.unknown(known.lines[kind] if kind else known.main, name)
    assert str(error).startswith(f"{file}: ")
    assert message in str(error)


def test_only_what_a_release_takes_no_more_is_defunct() -> None:
    parameters = schema("slurm.conf", "24.11").main.parameters
    assert not parameters["clustername"].defunct
    assert 0 < sum(parameter.defunct for parameter in parameters.values()) < len(parameters) / 4
