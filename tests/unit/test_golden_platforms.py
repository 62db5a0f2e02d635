# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts would get on the platforms that no test here can run: Ubuntu and EL, with SchedMD's packages.

Rendered from the roles' own defaults, variables and templates with made-up facts, and compared with tests/unit/golden/PLATFORM.txt.
After a change that is meant: GOLDEN_UPDATE=1 pytest tests/unit/test_golden_platforms.py, and read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "unit" / "golden"
ROLES = ("os_base", "munge", "mariadb", "slurm", "slurmctld", "slurmdbd", "slurmd", "slurm_elastic")

# The facts that the roles read, as `ansible -m setup` reports them there.
PLATFORMS: dict[str, dict[str, str]] = {
    "ubuntu-22.04": {
        "os_family": "Debian",
        "distribution": "Ubuntu",
        "distribution_release": "jammy",
        "pkg_mgr": "apt",
    },
    "ubuntu-24.04": {
        "os_family": "Debian",
        "distribution": "Ubuntu",
        "distribution_release": "noble",
        "pkg_mgr": "apt",
    },
    "el-9": {
        "os_family": "RedHat",
        "distribution": "Rocky",
        "distribution_release": "Blue Onyx",
        "distribution_major_version": "9",
        "pkg_mgr": "dnf",
    },
    "el-10": {
        "os_family": "RedHat",
        "distribution": "AlmaLinux",
        "distribution_release": "Purple Lion",
        "distribution_major_version": "10",
        "pkg_mgr": "dnf",
    },
}
# The host whose package list is shown for each part of a cluster.
COMPONENTS = {
    "login node": ["sackd"],
    "controller": ["slurmctld"],
    "accounting": ["slurmdbd"],
    "REST": ["slurmrestd"],
    "compute node": ["slurmd"],
}
SITE = {
    "ansible_managed": "Ansible managed",
    "ansible_check_mode": False,
    "inventory_hostname": "c1",
    "inventory_hostname_short": "c1",
    "inventory_dir": "/inventory",
    "groups": {},
    "hostvars": {"c1": {"slurm_node_cpus": 64, "slurm_node_real_memory": 256000}},
    "slurm_cluster_name": "golden",
    "slurm_controllers": ["ctl1", "ctl2"],
    "slurm_install_method": "repository",
    "slurm_version": "25.05.5",
}
REPOSITORIES = {
    "Debian": {"uris": ["https://packages.example.org/slurm"], "suites": ["./"], "key": "/etc/apt/keyrings/slurm.asc"},
    "RedHat": {"uris": ["https://packages.example.org/slurm"], "key": "https://packages.example.org/slurm.asc"},
}


class Platform:
    """The roles' variables on a host with the platform's facts."""

    def __init__(self, name: str) -> None:
        facts = {"architecture": "x86_64", "hostname": "c1", **PLATFORMS[name]}
        loader = DataLoader()
        variables: dict[str, Any] = {}
        for kind in ("defaults", "vars"):  # the order of their precedence
            for role in ROLES:
                folder = ROOT / "roles" / role / kind
                for path in [folder / "main.yml", *sorted((folder / "main").glob("*.yml"))]:
                    if path.exists():
                        variables |= loader.load_from_file(str(path), trusted_as_template=True) or {}
        variables |= {"ansible_facts": facts, **SITE, "slurm_repository": REPOSITORIES[facts["os_family"]]}
        self.variables = variables
        self.templar = Templar(loader=loader, variables=self.variables)

    def value(self, expression: str, **extra: Any) -> Any:
        self.templar.available_variables = {**self.variables, **extra}
        return self.templar.template(trust_as_template("{{ " + expression + " }}"))

    def file(self, path: str, role: str, template: str, **extra: Any) -> str:
        self.templar.available_variables = {**self.variables, **extra}
        text = self.templar.template(trust_as_template((ROOT / "roles" / role / "templates" / template).read_text()))
        return f"== {path}\n{text.rstrip()}\n"


def rendered(name: str) -> str:
    """Everything about a platform that differs from another's, in the order in which it is put on hosts."""
    platform = Platform(name)
    repository = {"__os_base_repository": platform.value("__slurm_repository")}
    extension = platform.value("__os_base_platform.repository_format")
    options = platform.value("__slurm_defaults_directory")
    parts = [
        platform.file(
            f"{platform.value('__os_base_platform.repository_directory')}/slurm.{extension}",
            "os_base",
            f"repository.{extension}.j2",
            **repository,
        )
    ]
    if platform.value("__os_base_platform.pin_directory"):
        parts.append(
            platform.file(
                f"{platform.value('__os_base_platform.pin_directory')}/slurm", "os_base", "pins.j2", **repository
            )
        )
    packages: list[tuple[str, str, dict[str, Any]]]
    packages = [
        ("every host", "__os_base_platform.packages + [__os_base_platform.chrony_package] + __munge_packages", {})
    ]
    packages += [
        (host, "__slurm_packages", {"slurm_components": components}) for host, components in COMPONENTS.items()
    ]
    packages += [("database", "__mariadb_platform.packages", {}), ("build host", "__slurm_build.tools", {})]
    parts.append(
        "== packages\n"
        + "".join(f"{host}: {' '.join(platform.value(what, **extra))}\n" for host, what, extra in packages)
    )
    paths = [
        "__os_base_platform.chrony_file",
        "__munge_options_file",
        "__mariadb_platform.settings_file",
        "__slurm_packaging.plugin_directory",
    ]
    parts.append("== paths\n" + "".join(f"{platform.value(path)}\n" for path in paths))
    parts.append(platform.file(f"{options}/slurmd", "slurmd", "slurmd.j2"))
    parts.append(platform.file(f"{options}/sackd", "slurm", "sackd.j2"))
    parts += [
        platform.file(f"/etc/systemd/system/{daemon}.service.d/hpcops.conf", daemon, f"{daemon}.service.j2")
        for daemon in ("slurmctld", "slurmdbd", "slurmd")
    ]
    return "\n".join(parts)


@pytest.mark.parametrize("name", PLATFORMS)
def test_platform_gets_what_its_golden_file_says(name: str) -> None:
    golden = GOLDEN / f"{name}.txt"
    text = rendered(name)
    if os.environ.get("GOLDEN_UPDATE"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("name", PLATFORMS)
def test_distribution_method_is_known_to_be_missing(name: str) -> None:
    assert Platform(name).value("slurm_release", slurm_install_method="distribution") == ""


def test_controller_whose_name_does_not_resolve_is_reached_by_its_address() -> None:
    platform, controllers = Platform("ubuntu-24.04"), ["ctl1", "ctl2(10.0.0.2)"]
    for addresses in ("__slurm_controller_addresses", "__slurmd_controller_addresses"):
        assert platform.value(addresses, slurm_controllers=controllers) == "ctl1:6817,10.0.0.2:6817"
    shown = platform.value("__slurm_elastic_conf_server", slurm_controllers=controllers)
    assert shown == "ctl1:6817,10.0.0.2:6817"


def test_nodes_find_what_a_build_host_serves() -> None:
    extra = {"slurm_install_method": "build", "slurm_repository": {}, "slurm_build_host": "build1"}
    repositories = {name: Platform(name).value("__slurm_repository", **extra) for name in PLATFORMS}
    assert {name: repository["uris"] for name, repository in repositories.items()} == {
        "ubuntu-22.04": ["http://build1:8008/ubuntu-jammy/"],
        "ubuntu-24.04": ["http://build1:8008/ubuntu-noble/"],
        "el-9": ["http://build1:8008/el-9/"],
        "el-10": ["http://build1:8008/el-10/"],
    }
    assert not [name for name, repository in repositories.items() if "trusted" in repository]
    assert Platform("el-9").value("__slurm_repository", **extra, slurm_build_public_key="KEY")["key"] == "KEY"


def test_each_hub_decodes_each_hosts_credential_in_a_rotation() -> None:
    """What a host returned is the standard input of a check, and no part of its command."""
    names = ["ctl", "c1", "c2"]
    results = {
        name: {"results": [{"name": "munged runs", "passed": True, "detail": f"MUNGE:{name}; id"}]} for name in names
    }
    results["c2"]["results"][0]["passed"] = False
    party = {
        "__munge_party": names,
        "munge_rotation_hubs": ["ctl"],
        "__munge_socket": "--socket=/s",
        "hostvars": {name: {"__munge_encoded": results[name]} for name in names},
    }

    def decoded(host: str) -> list[tuple[str, str, str]]:
        checks = Platform("ubuntu-24.04").value("__munge_decoding", **party, inventory_hostname=host)
        return [(check["name"], check["stdin"], check["command"]) for check in checks]

    command = "unmunge --keys=STATUS --socket=/s"
    assert decoded("ctl") == [
        ("a credential of ctl decodes", "MUNGE:ctl; id", command),
        ("a credential of c1 decodes", "MUNGE:c1; id", command),
    ]
    assert decoded("c1") == [("a credential of ctl decodes", "MUNGE:ctl; id", command)]


@pytest.mark.parametrize(
    ("url", "addresses", "port"),
    [
        ("http://169.254.169.254", ["169.254.169.254", "fd00:ec2::254"], ""),
        ("http://172.17.0.1:5141", ["172.17.0.1"], " tcp dport 5141"),
        ("http://[fd00::1]:80", ["fd00::1"], " tcp dport 80"),
    ],
)
def test_metadata_service_is_closed_at_its_addresses(url: str, addresses: list[str], port: str) -> None:
    platform = Platform("ubuntu-24.04")
    assert platform.value("__slurm_elastic_metadata_addresses", slurm_elastic_metadata_url=url) == addresses
    assert platform.value("__slurm_elastic_metadata_port", slurm_elastic_metadata_url=url) == port
