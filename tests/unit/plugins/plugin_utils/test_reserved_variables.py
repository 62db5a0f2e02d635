# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables that a source of hosts must not set."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ansible_collections.hpcops.cluster.plugins.plugin_utils._reserved_variables import COMMANDS, is_reserved

ROOT = Path(__file__).resolve().parents[4]
# Variables of roles that are called like one that decides what runs.
SUSPICIOUS = re.compile(
    r"_(arguments|ca|certificate|check|checksum|command|commands|credentials|directory|epilog|extra_files|files?|hooks?|key"
    r"|mounts|options|packages?|password|paths?|plugstack|programs?|prolog|repositor\w+|scripts?|settings|sudo|sysctl|token"
    r"|tokens|uid|unit|units|url|user|users|wheelhouse)$"
)
HARMLESS = {
    "discovery_heartbeat_units",  # names of units whose state is asked
    "node_exporter_systemd_units",  # a pattern of names
    "os_base_hosts_file",  # whether the file is written
    "os_base_time_source_options",  # words after a time source, in chrony's own file
    "prometheus_alertmanager_external_url",  # text in notifications
    "prometheus_external_url",
    "prometheus_runbooks_url",
}


def role_variables() -> set[str]:
    found: set[str] = set()
    for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"):
        for specification in yaml.safe_load(path.read_text())["argument_specs"].values():
            found |= set(specification.get("options") or {})
    return found


@pytest.mark.parametrize(
    "name",
    [
        "ansible_ssh_common_args",
        "ansible_connection",
        "ansible_python_interpreter",
        "ansible_become_password",
        "hpcops_discovery_url",
        "hpcops_inventory_status",
        "inventory_dir",
        "hostvars",
        "lookup",
        "__slurm_build",
        "slurm_cluster_name",
        "slurmctld_parameters",
        "slurmctld_extra_files",
        "slurmctld_cloud_programs",
        "enroot_hooks",
        "slurm_elastic_boot_commands",
        "reboot_health_check",
    ],
)
def test_name_that_decides_what_runs_is_reserved(name: str) -> None:
    assert is_reserved(name)


@pytest.mark.parametrize(
    "name", ["ansible_host", "ansible_port", "ansible_user", "slurm_node_cpus", "os_base_timezone", "rack", "ansible"]
)
def test_name_that_describes_a_host_is_free(name: str) -> None:
    assert not is_reserved(name)


def test_every_role_variable_with_a_suspicious_name_is_reserved_or_known_to_be_harmless() -> None:
    suspicious = {name for name in role_variables() if SUSPICIOUS.search(name)}
    assert sorted(name for name in suspicious if not is_reserved(name)) == sorted(HARMLESS)


def test_every_reserved_name_of_a_role_is_one_of_its_variables() -> None:
    prefixes = tuple(f"{path.name}_" for path in (ROOT / "roles").iterdir())
    assert {name for name in COMMANDS - role_variables() if name.startswith(prefixes)} == {
        "slurm_config_approved_plan_file",  # the two names for which slurmctld's defaults look
        "slurm_config_plan_file",
    }
