# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A misspelled variable or group is found, and what the collection and its tests use is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ansible_collections.hpcops.cluster.plugins.lookup.unknown_names import role_options
from ansible_collections.hpcops.cluster.plugins.plugin_utils._known_names import (
    GROUPS,
    named_once,
    unknown_groups,
    unknown_variables,
)

ROOT = Path(__file__).resolve().parents[4]
OPTIONS = {"slurm": ["slurm_version"], "slurmctld": ["slurmctld_partitions"], "slurm_exporter": ["slurm_exporter_port"]}
WHOLE = dict.fromkeys(GROUPS, 1)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("slurmctld_partitions", []),
        ("slurmctld_partitons", ["slurmctld_partitons in group all (did you mean slurmctld_partitions?)"]),
        ("slurm_exporter_prt", ["slurm_exporter_prt in group all (did you mean slurm_exporter_port?)"]),
        ("slurm_zzz", ["slurm_zzz in group all"]),
        ("slurm_site_zone", []),
        ("slurm_node_cpus", []),
        ("rack", []),
        ("slurm", []),
        ("my_slurmctld_partitons", []),
    ],
)
def test_variable_that_no_role_has_is_found_with_the_nearest(name: str, found: list[str]) -> None:
    assert list(unknown_variables({name: "group all"}, OPTIONS, ["slurm_site_*"])) == found


@pytest.mark.parametrize(
    ("hosts", "found"),
    [
        (WHOLE, []),
        ({**WHOLE, "slurmdbd": 0, "slurmdb": 1}, ["group slurmdb (did you mean slurmdbd?)"]),
        ({"slurmdb": 1}, ["group slurmdb (did you mean slurmd or slurmdbd?)"]),
        ({"slrumd": 1}, ["group slrumd (did you mean slurmd?)"]),
        ({"logins": 1}, ["group logins (did you mean login?)"]),
        ({**WHOLE, "slurm": 5}, []),
        ({"slurmdb": 0}, []),
        ({"compute": 4, "all": 4}, []),
    ],
)
def test_group_that_is_almost_one_without_hosts_is_found(hosts: dict[str, int], found: list[str]) -> None:
    assert list(unknown_groups(hosts)) == found


def test_name_is_shown_where_it_stands_first() -> None:
    assert named_once([("group all", {"a": 1}), ("host c1", {"a": 2, "b": 3})]) == {"a": "group all", "b": "host c1"}


def names_of_inventories() -> dict[str, str]:
    """Variables of the scenarios', the example and the demo inventories, and those that scenarios' tests give to runs."""
    found: dict[str, str] = {}
    for path in [
        *ROOT.glob("molecule/*/molecule.yml"),
        *ROOT.glob(".config/molecule/*.yml"),
        *ROOT.glob("inventories/**/*.yml"),
    ]:
        for name in re.findall(r"^\s*-?\s*([a-z_][a-z0-9_]+):", path.read_text(encoding="utf-8"), re.MULTILINE):
            found.setdefault(name, str(path.relative_to(ROOT)))
    for path in [*ROOT.glob("molecule/*/tests/*.py"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("tests/demo/*.sh")]:
        for pair in re.findall(r'"([a-z_][a-z0-9_]+)": |\b([a-z_][a-z0-9_]+)=', path.read_text(encoding="utf-8")):
            found.setdefault("".join(pair), str(path.relative_to(ROOT)))
    return found


def test_names_that_the_collection_uses_are_known() -> None:
    names = names_of_inventories()
    assert len(names) > 500
    del names["slurm_build"]  # a group
    assert list(unknown_variables(names, role_options(), [])) == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("molecule/*/molecule.yml")), ids=lambda path: path.parent.name)
def test_groups_of_scenarios_are_known(path: Path) -> None:
    platforms = yaml.safe_load(path.read_text(encoding="utf-8")).get("platforms", [])
    hosts = {group: 1 for platform in platforms for group in platform.get("groups", [])}
    assert list(unknown_groups(hosts)) == []
