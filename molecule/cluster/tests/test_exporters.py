"""Each host of a cluster tells its metrics to who knows the password, also what its daemons are as processes."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ansible_collections.hpcops.cluster.tests.support.hosts import container, names

if TYPE_CHECKING:
    from testinfra.host import Host

pytestmark = pytest.mark.skipif(not names("prometheus"), reason="forky's cluster is the one that is monitored")
HOSTS = ["ctl", "db", "login", "c1", "c2"]
ASKING = "login"
PORTS = {"node_exporter": 9100, "process_exporter": 9256}
SECRET = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "metrics")
PASSWORD = SECRET.read_text(encoding="utf-8").strip() if SECRET.exists() else ""


@pytest.fixture(name="asking", scope="module")
def asking_fixture() -> Host:
    """A host that asks the others as Prometheus does: over the network, the certificates' authority known."""
    host = container(ASKING)
    host.check_output("apt-get install --yes --quiet curl")
    return host


def metrics(asking: Host, name: str, exporter: str) -> str:
    return str(asking.check_output(f"{ask(name, exporter)} --user prometheus:{PASSWORD}"))


def ask(name: str, exporter: str) -> str:
    authority = f"/etc/{exporter}/ca.crt"
    return f"curl --silent --fail --max-time 20 --cacert {authority} https://{name}:{PORTS[exporter]}/metrics"


@pytest.mark.parametrize("exporter", PORTS)
@pytest.mark.parametrize("name", HOSTS)
def test_exporter_answers_who_knows_the_password_and_nobody_else(asking: Host, name: str, exporter: str) -> None:
    assert "process_cpu_seconds_total" in metrics(asking, name, exporter)
    assert asking.run(ask(name, exporter)).rc == 22
    assert asking.run(f"{ask(name, exporter)} --user prometheus:{PASSWORD}x").rc == 22


@pytest.mark.parametrize(
    ("host", "daemons"),
    [
        ("ctl", ["slurmctld", "munged", "slurmrestd"]),
        ("db", ["slurmdbd", "mariadbd", "munged"]),
        ("c1", ["slurmd", "munged"]),
    ],
)
def test_daemons_are_told_whatever_the_distribution_calls_them(asking: Host, host: str, daemons: list[str]) -> None:
    text = metrics(asking, host, "process_exporter")
    for daemon in daemons:
        found = re.search(rf'^namedprocess_namegroup_num_procs{{groupname="{daemon}"}} (\d+)', text, re.MULTILINE)
        assert found, daemon
        assert int(found[1]) >= 1, daemon


def test_nodes_tell_the_checksum_of_the_configuration_that_their_controller_has(asking: Host) -> None:
    found = {}
    for host in ("ctl", "c1", "c2"):
        container(host).check_output("systemctl restart hpcops-platform-metrics")
        text = metrics(asking, host, "node_exporter")
        found[host] = set(
            re.findall(r'^hpcops_config_hash\{path="[^"]*/slurm.conf",sha256="(\w+)"\} 1', text, re.MULTILINE)
        )
    assert len(found["ctl"]) == 1
    assert found["c1"] == found["c2"] == found["ctl"]


def test_time_of_the_last_run_of_site_is_told(asking: Host) -> None:
    for name in HOSTS:
        container(name).check_output("systemctl restart hpcops-platform-metrics")
        assert re.search(
            r"^hpcops_last_run_timestamp_seconds \d+", metrics(asking, name, "node_exporter"), re.MULTILINE
        ), name
