# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the API or a host says runs nothing on the control machine. Each attack is seen to work where the defence is off."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from ansible_collections.hpcops.cluster.tests.integration.ansible_runs import Ansible, Starter
from ansible_collections.hpcops.cluster.tests.support.discovery_service import ROOT

WHOLE = {"ansible_python_interpreter": "{{ ansible_playbook_python }}", "ansible_connection": "local"}


@contextmanager
def variables_of_a2(ansible: Ansible, **variables: object) -> Iterator[None]:
    """Variables that a host has in the API, set by whoever may."""
    ansible.service.ask("PATCH", "/v1/hosts/a2", {"variables": variables})
    try:
        yield
    finally:
        ansible.service.ask("PATCH", "/v1/hosts/a2", {"variables": dict.fromkeys(variables)})


@pytest.mark.parametrize("name", ["ansible_ssh_common_args", "ansible_connection"])
def test_a_writer_of_one_cluster_cannot_run_a_command_on_the_control_machine(ansible: Ansible, name: str) -> None:
    owned = ansible.folder / "owned"
    value = {"ansible_ssh_common_args": f"-o ProxyCommand='touch {owned}'", "ansible_connection": "local"}[name]
    attack = ("ansible", "a2", "-m", "ansible.builtin.raw", "-a", f"touch {owned}")
    with variables_of_a2(ansible, **{name: value}):
        done = ansible.run(*attack)
        assert not owned.exists(), done.stdout + done.stderr
        assert name in done.stderr
        assert "allow_variables" in done.stderr
        ansible.configure(allow_variables=[name])
        ansible.run(*attack)
        assert owned.exists(), "the attack is none"


@pytest.mark.parametrize("name", ["hpcops_discovery_url", "hpcops_discovery_token", "slurmctld_extra_files"])
def test_a_writer_of_one_cluster_cannot_lead_the_operators_token_elsewhere(ansible: Ansible, name: str) -> None:
    with variables_of_a2(ansible, **{name: "https://attacker.example.org"}):
        assert name not in ansible.listed()["_meta"]["hostvars"]["a2"]
        ansible.configure(allow_variables=["hpcops_*", "slurmctld_*"])
        assert name in ansible.listed()["_meta"]["hostvars"]["a2"]


@pytest.mark.parametrize("field", ["CPUs", "RealMemory"])
def test_a_compromised_node_cannot_write_a_template_for_the_control_machine(
    starter: Starter, tmp_path: Path, field: str
) -> None:
    owned = tmp_path / "owned"
    program = tmp_path / "bin" / "slurmd"
    program.parent.mkdir()
    evil = f"{{{{lookup('ansible.builtin.pipe','touch${{IFS}}{owned}')}}}}"
    fields = {"CPUs": "2", "Boards": "1", "SocketsPerBoard": "1", "CoresPerSocket": "2", "ThreadsPerCore": "1"}
    fields["RealMemory"] = "1000"

    def print_fields(values: dict[str, str]) -> None:
        line = " ".join(f"{key}={value}" for key, value in values.items())
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{line}\nEND\n")
        program.chmod(0o755)

    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"slurmd": {"hosts": {"c1": WHOLE}}}))
    path = f"{program.parent}:{os.environ['PATH']}"
    playbook = str(ROOT / "playbooks" / "collect_hardware.yml")

    def collect() -> str:
        done = starter.start(tmp_path, "ansible-playbook", "-i", str(inventory), playbook, PATH=path)
        return done.stdout + done.stderr

    print_fields(fields)
    collect()
    written = tmp_path / "host_vars" / "c1" / "slurm_hardware.yml"
    assert yaml.safe_load(written.read_text())["slurm_node_cpus"] == 2
    written.unlink()

    print_fields({**fields, field: evil})
    assert "prints no numbers" in collect()
    assert not written.exists()
    assert not owned.exists()
