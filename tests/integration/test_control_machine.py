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


@pytest.mark.parametrize(("folder", "is_read"), [("secrets", True), (".secrets", False)])
def test_a_key_in_the_inventorys_folder_is_no_host(
    starter: Starter, tmp_path: Path, folder: str, is_read: bool
) -> None:
    inventory = tmp_path / "site"
    (inventory / folder).mkdir(parents=True)
    (inventory / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"c1": WHOLE}}}))
    key = "Ab3" * 42 + "Cd"
    (inventory / folder / "munge.key").write_text(f"{key}\n")
    playbook = str(ROOT / "playbooks" / "check_inventory.yml")
    done = starter.start(tmp_path, "ansible-playbook", "-i", str(inventory), playbook)
    assert (done.returncode != 0) is is_read
    assert ("a name as long as a key (the first begins with Ab3A)" in done.stderr) is is_read
    assert key not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("present", "given", "has_file", "replace", "problem"),
    [
        ("", False, False, False, ""),
        ("abc", False, True, False, ""),
        ("xyz abc", True, False, False, ""),
        ("abc", False, False, False, "does not exist on this machine, and c1 already has the cluster's key abc"),
        ("def", False, True, False, "c1 has the key def, and FILE is the key abc"),
        ("def", True, False, False, "c1 has the key def, and site_key is the key abc"),
        ("def", True, False, True, ""),
        ("def", False, False, True, ""),
    ],
)
def test_a_hosts_key_is_replaced_only_on_demand(
    starter: Starter, tmp_path: Path, present: str, given: bool, has_file: bool, replace: bool, problem: str
) -> None:
    file, generated = tmp_path / "file", tmp_path / "generated"
    if has_file:
        file.touch()
    variables = {
        "os_base_secret_variable": "site_key",
        "os_base_secret_given": given,
        "os_base_secret_file": str(file),
        "os_base_secret_probe": f"printf '{present}'",
        "__os_base_secret_wanted": f"{{{{ lookup('ansible.builtin.pipe', 'touch {generated}; echo abc') }}}}",
        "os_base_secret_replace": replace,
        "os_base_secret_switch": "site_replace",
        "os_base_secret_rotation": "rotate_site",
    }
    role = {"name": "hpcops.cluster.os_base", "tasks_from": "validate_secret"}
    play = {"hosts": "all", "gather_facts": False, "vars": variables, "tasks": [{"ansible.builtin.import_role": role}]}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"c1": WHOLE}}}))
    for arguments in ((), ("--check",)):
        done = starter.start(tmp_path, "ansible-playbook", "-i", "hosts.yml", "play.yml", *arguments)
        assert (done.returncode == 0) is (problem == ""), done.stdout
        assert problem.replace("FILE", str(file)) in " ".join(done.stdout.replace("\\n", " ").split())
    assert not (generated.exists() and present and not given and not has_file), "the key was generated"
