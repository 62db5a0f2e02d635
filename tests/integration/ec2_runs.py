"""Ansible as its user starts it, on an inventory of the plugin ec2."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from ansible_collections.hpcops.cluster.tests.integration.ansible_runs import Programs
from ansible_collections.hpcops.cluster.tests.support.ec2_service import KEYS, Ec2, role

ONE, TWO = "111111111111", "222222222222"
FRANKFURT, VIRGINIA = "eu-central-1", "us-east-1"
HOSTILE = "{{ lookup('pipe', 'touch evil') }}"


@dataclass
class Ec2Ansible(Programs):
    """A folder with a configuration of the plugin, and Ansible's programs on it."""

    service: Ec2

    @property
    def source(self) -> Path:
        return self.folder / "site.ec2.yml"

    def configure(self, **options: Any) -> None:
        common = {
            "plugin": "hpcops.cluster.ec2",
            "endpoint_url": self.service.url,
            "accounts": [{"name": "one", "role_arn": role(ONE)}, {"name": "two", "role_arn": role(TWO)}],
            "regions": [FRANKFURT, VIRGINIA],
            "cache_dir": str(self.folder / "cache"),
            "retries": 0,
        }
        self.source.write_text(json.dumps({**common, **options}))

    def start(self, program: str, *arguments: str, **settings: str) -> CompletedProcess[str]:
        clean = {"AWS_CONFIG_FILE": str(self.folder / "aws"), "AWS_EC2_METADATA_DISABLED": "true", **KEYS}
        return super().start(program, *arguments, **{**clean, **settings})

    def refused(self, **settings: str) -> str:
        """The error of a run that ends because of the inventory."""
        done = self.run("ansible", "all", "--list-hosts", ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED="1", **settings)
        assert done.returncode != 0, done.stdout
        return " ".join(done.stderr.split())


def fill(service: Ec2) -> None:
    """Start n1 and n2 in one account's Frankfurt, n3 in the other's, and n4 in its Virginia."""
    service.launch(ONE, FRANKFURT, 1, hpcops__host="n1", hpcops__roles="slurmd", hpcops__cluster="alpha", rack="r1")
    service.launch(ONE, FRANKFURT, 1, hpcops__host="n2", hpcops__roles="slurmd, login", hpcops__partitions="batch gpu")
    service.launch(TWO, FRANKFURT, 1, Name="n3", evil=HOSTILE, hpcops__slurm_node_cpus="4")
    service.launch(TWO, VIRGINIA, 1, Name="n4", hpcops__slurm_node_gres="gpu:h100:8,shard:16")
