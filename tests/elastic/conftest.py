"""A cluster of the tests: moto's EC2 behind a proxy that fails as AWS does, a model of Slurm's power saving, and the program."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.hpcops.cluster.tests.support.ec2_service import KEYS, Ec2, ec2_service
from hpcops_elastic import asking
from hpcops_elastic.aws import Cloud, Instance
from hpcops_elastic.config import Config
from hpcops_elastic.hosts import fold
from hpcops_elastic.journal import ALIVE, Journal
from hpcops_elastic.reconciling import Finding, Reconciler, node_of
from hpcops_elastic.service import Service
from model_of_slurm import OFF, RISING, SINKING, UP, ModelOfSlurm

ONE, TWO = "111111111111", "222222222222"
FRANKFURT, VIRGINIA = "eu-central-1", "us-east-1"
IMAGE = "ami-12c6146b"
BIG, SMALL = "c5.4xlarge", "c5.xlarge"


@pytest.fixture(scope="session")
def ec2_server() -> Iterator[Ec2]:
    saved = dict(os.environ)
    os.environ.update({**KEYS, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null"})
    with ec2_service() as service:
        yield service
    os.environ.clear()
    os.environ.update(saved)


@pytest.fixture
def ec2(ec2_server: Ec2) -> Iterator[Ec2]:
    """The service, without what a former test has left there."""
    yield ec2_server
    ec2_server.reset()


def subnets(ec2: Ec2, account: str, region: str) -> list[str]:
    return sorted(each["SubnetId"] for each in ec2.client(account, region).describe_subnets()["Subnets"])


@dataclass
class Clock:
    """Time that a test may push forward."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass
class Cluster:
    """One cluster: its configuration, its journal, its Slurm."""

    ec2: Ec2
    config: Config
    slurm: ModelOfSlurm
    clock: Clock = field(default_factory=Clock)
    journal: Journal = field(init=False)

    def __post_init__(self) -> None:
        self.journal = Journal(self.config.journal, self.clock)
        self.cloud = Cloud(self.config)
        self.restart()

    def restart(self) -> None:
        """A new process of the service, on the same journal."""
        self.service = Service(self.config, self.journal, self.cloud, self.slurm)  # type: ignore[arg-type]
        self.journal.note(ALIVE, self.clock())

    def resume(self, nodes: Sequence[str], jobs: Any = None) -> str:
        """As slurmctld does, with each job's nodes; without jobs, one job has all of them."""
        self.journal.note(ALIVE, self.clock())
        self.slurm.move(nodes, RISING)
        whole = {"jobs": [{"job_id": 7, "nodes_resume": fold(nodes), "nodes_alloc": fold(nodes)}]}
        return asking.resume(self.config, self.journal, fold(nodes), jobs or whole)

    def suspend(self, nodes: Sequence[str]) -> None:
        self.slurm.move(nodes, SINKING)
        asking.suspend(self.config, self.journal, fold(nodes))
        self.slurm.move(nodes, OFF)

    def work(self, until: Callable[[], bool], seconds: float = 90.0) -> None:
        """Let the service work until it is so."""
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, self.rows("wants") + self.rows("instances") + self.rows("cooling")
            self.service.step()
            self.obey()
            self.clock.ahead += 0.1  # what waits for seconds need not take them
            time.sleep(0.01)

    def obey(self) -> None:
        """What slurmctld does with nodes that are to be powered down."""
        sinking = self.slurm.power(SINKING)
        if sinking:
            asking.suspend(self.config, self.journal, fold(sinking))
            self.slurm.move(sinking, OFF)

    def settle(self) -> None:
        """Let the service work until nothing is left to do."""
        self.work(
            lambda: (
                not any(
                    self.rows(table)
                    for table in (
                        "wants WHERE state != 'launched'",
                        "instances WHERE state = 'ending'",
                        "launches WHERE state = 'sent'",
                        "failures",
                    )
                )
            )
        )

    def pass_time(self, seconds: float) -> None:
        self.clock.ahead += seconds
        self.journal.note(ALIVE, self.clock())

    def reconcile(self, dry_run: bool = False) -> list[Finding]:
        return Reconciler(self.config, self.journal, self.cloud, self.slurm).step(dry_run)  # type: ignore[arg-type]

    def reconcile_twice(self) -> list[Finding]:
        """With the time in between that makes a doubt a finding."""
        self.reconcile()
        self.pass_time(self.config.timing.grace + 1)
        return self.reconcile()

    def boot(self) -> None:
        """Each running instance registers as its node, which Slurm awaits."""
        awaited = set(self.slurm.power(RISING))
        self.slurm.move([name for each in self.alive() if (name := node_of(each)) in awaited], UP)

    def alive(self) -> list[Instance]:
        """This cluster's instances that are not ended, as EC2 has them."""
        found = []
        for account, region in self.config.regions:
            found += [each for each in self.cloud.instances(account, region) if each.state in ("pending", "running")]
        return found

    def rows(self, what: str) -> list[dict[str, Any]]:
        return [dict(row) for row in self.journal.rows(f"SELECT * FROM {what}")]

    def calls(self, action: str = "RunInstances") -> list[dict[str, str]]:
        return [asked.form for asked in self.ec2.asked if asked.action == action]


def settings(ec2: Ec2, folder: Path, **changes: Any) -> dict[str, Any]:
    """A configuration as data: one group of 2,000 nodes in two zones of one account, and then in another account."""
    first, second = subnets(ec2, ONE, FRANKFURT)[:2]
    other = subnets(ec2, TWO, VIRGINIA)[0]
    arn = "arn:aws:iam::{}:role/elastic"
    given: dict[str, Any] = {
        "cluster": "alpha",
        "accounts": [
            {"name": "one", "role_arn": arn.format(ONE), "call_burst": 100, "call_rate": 100},
            {"name": "two", "role_arn": arn.format(TWO), "call_burst": 100, "call_rate": 100},
        ],
        "instance_types": {BIG: {"vcpus": 16, "price": 0.8}, SMALL: {"vcpus": 4, "price": 0.2, "spot_price": 0.06}},
        "groups": [
            {
                "name": "cpu",
                "prefix": "cpu-",
                "count": 2000,
                "instance_types": [BIG, SMALL],
                "places": [
                    {"account": "one", "region": FRANKFURT, "subnets": [first, second], "image": IMAGE},
                    {"account": "two", "region": VIRGINIA, "subnets": [other], "image": IMAGE},
                ],
                "user_data": "#!/bin/sh\nnodes='@NODES@'\n",
            }
        ],
        "journal": str(folder / "journal.sqlite"),
        "endpoint_url": ec2.url,
    }
    group = changes.pop("group", {})
    given["groups"][0].update(group)
    given.update(changes)
    return given


@pytest.fixture
def make_cluster(ec2: Ec2, tmp_path: Path) -> Callable[..., Cluster]:
    """Make a cluster with these changes of the configuration; group holds those of its one group."""

    def make(name: str = "alpha", **changes: Any) -> Cluster:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        config = Config(**settings(ec2, folder, cluster=name, **changes))
        nodes = [node for group in config.groups for node in group.nodes]
        return Cluster(ec2, config, ModelOfSlurm(folder / "slurm.sqlite", nodes))

    return make


@pytest.fixture
def cluster(make_cluster: Callable[..., Cluster]) -> Cluster:
    return make_cluster()
