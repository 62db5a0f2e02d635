"""One service-discovery API over TLS and one EC2 for all tests, and Ansible as its user starts it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ansible_collections.hpcops.cluster.tests.integration.ansible_runs import Ansible, Starter
from ansible_collections.hpcops.cluster.tests.support.discovery_service import PYTHON, Service, discovery_service

if TYPE_CHECKING:
    from ansible_collections.hpcops.cluster.tests.integration.ec2_runs import Ec2Ansible
    from ansible_collections.hpcops.cluster.tests.support.ec2_service import Ec2


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    if not PYTHON.exists():
        pytest.skip("SKIPPED: the service's environment is not there; tests/gates/discovery.sh makes it")
    with discovery_service(tmp_path_factory.mktemp("service")) as running:
        for name in ("alpha", "beta"):
            running.ask("PUT", f"/v1/clusters/{name}", {"slurm": {"SlurmctldTimeout": 300}})
        yield running


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    with Starter(tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture
def ansible(service: Service, starter: Starter, tmp_path: Path) -> Ansible:
    """Ansible on two clusters: a1 to a4 of alpha, of which a4 is its controller, and b1 of beta."""
    if service.process is None:
        service.start()
    labels = {"env": "prod", "evil": "{{ lookup('pipe', 'touch evil') }}"}
    hosts = [
        {
            "name": name,
            "cluster": "alpha" if name.startswith("a") else "beta",
            "state": "planned",
            "roles": ["slurmctld" if name == "a4" else "slurmd"],
            "partitions": ["batch"],
            "labels": labels if name == "a1" else {},
            "addresses": {"main": "10.0.0.1"},
            "rack": "r1",
            "slurm_node": {"cpus": 4, "gres": ["gpu:h100:8"]},
            "variables": {"evil": "{{ lookup('pipe', 'touch evil') }}"},
        }
        for name in ("a1", "a2", "a3", "a4", "b1")
    ]
    service.ask("POST", "/v1/hosts", {"hosts": hosts})
    made = Ansible(tmp_path, starter, service)
    made.configure()
    return made


@pytest.fixture(scope="session")
def ec2() -> Iterator[Ec2]:
    """EC2 as moto imitates it, with hosts in two accounts and two regions."""
    # Only here, since moto takes long to load.
    from ansible_collections.hpcops.cluster.tests.integration.ec2_runs import fill
    from ansible_collections.hpcops.cluster.tests.support.ec2_service import ec2_service

    with ec2_service() as running:
        fill(running)
        yield running


@pytest.fixture
def ec2_ansible(ec2: Ec2, starter: Starter, tmp_path: Path) -> Ec2Ansible:
    """Ansible on both accounts; nothing goes wrong yet."""
    from ansible_collections.hpcops.cluster.tests.integration.ec2_runs import Ec2Ansible

    ec2.faults.clear()
    ec2.asked.clear()
    made = Ec2Ansible(tmp_path, starter, ec2)
    made.configure()
    return made
