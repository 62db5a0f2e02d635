"""The service-discovery API and EC2 in one inventory folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ansible_collections.hpcops.cluster.tests.integration.ansible_runs import Ansible, Programs
from ansible_collections.hpcops.cluster.tests.integration.ec2_runs import FRANKFURT, Ec2Ansible
from ansible_collections.hpcops.cluster.tests.support.discovery_service import READER, ROOT
from ansible_collections.hpcops.cluster.tests.support.ec2_service import Fault

DEFAULT = "123456789012"  # whose the default credentials are, at moto


@dataclass
class Folder(Programs):
    """A copy of the example."""

    @property
    def source(self) -> Path:
        return self.folder / "hybrid"


@pytest.fixture(autouse=True)
def instances_fixture(ec2_ansible: Ec2Ansible) -> Iterator[None]:
    """Instances of the default account, which other tests take for empty."""
    service = ec2_ansible.service
    launched = service.launch(DEFAULT, FRANKFURT, 1, hpcops__host="a1", hpcops__roles="slurmd", hpcops__cluster="alpha")
    launched += service.launch(
        DEFAULT, FRANKFURT, 1, hpcops__host="e1", hpcops__roles="slurmd", hpcops__cluster="alpha"
    )
    launched += service.launch(DEFAULT, FRANKFURT, 1, Name="of somebody else")
    yield
    service.client(DEFAULT, FRANKFURT).terminate_instances(InstanceIds=launched)


def test_host_that_both_know_appears_once_with_the_variables_of_both(
    ansible: Ansible, ec2_ansible: Ec2Ansible, tmp_path: Path
) -> None:
    service = ec2_ansible.service
    shutil.copytree(ROOT / "inventories" / "hybrid", tmp_path / "hybrid")
    settings = {
        "ANSIBLE_CONFIG": str(tmp_path / "hybrid" / "ansible.cfg"),
        "AWS_ACCESS_KEY_ID": "AKIAHUB",
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-hub",
        "AWS_ENDPOINT_URL": service.url,
        "HPCOPS_DISCOVERY_URL": ansible.service.url,
        "HPCOPS_DISCOVERY_TOKEN": READER,
        "HPCOPS_DISCOVERY_CA_FILE": str(ansible.service.ca_file),
        "HPCOPS_INVENTORY_CACHE_DIR": str(tmp_path / "cache"),
    }
    folder = Folder(tmp_path, ansible.starter)
    listed = folder.listed(**settings)
    assert sorted(listed["cluster_alpha"]["hosts"]) == ["a1", "a2", "a3", "a4", "e1"]
    assert sorted(listed["slurmd"]["hosts"]) == ["a1", "a2", "a3", "b1", "e1"]
    assert sorted(listed["_meta"]["hostvars"]) == ["a1", "a2", "a3", "a4", "b1", "e1"]
    both = listed["_meta"]["hostvars"]["a1"]
    assert both["slurm_node_cpus"] == 4
    assert both["ec2_state"] == {"__ansible_unsafe": "running"}
    assert both["ansible_host"] == {"__ansible_unsafe": "10.0.0.1"}
    assert both["slurm_cluster_name"] == {"__ansible_unsafe": "alpha"}
    assert [status["hosts"] for status in both["hpcops_inventory_status"].values()] == [2, 5]

    service.faults.append(Fault(code="UnauthorizedOperation", status=403))
    done = folder.run("ansible", "all", "--list-hosts", **settings)
    assert done.returncode != 0
    assert "account default, region eu-central-1: ec2:DescribeInstances is denied" in " ".join(done.stderr.split())
