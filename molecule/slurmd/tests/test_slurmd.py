"""Compute nodes that fetch their configuration, run jobs, and do not depend on each other."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from ansible_collections.hpcops.cluster.tests.support.hosts import PREFIX, container, eventually, names
from ansible_collections.hpcops.cluster.tests.support.runs import run_playbook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host

CONTROLLER = names("slurmctld")[0]
C1, C2 = sorted(names("slurmd"))
testinfra_hosts = [f"docker://{PREFIX}{CONTROLLER}"]
ONLY_SLURMD = ("--tags", "slurmd")


@pytest.fixture(name="c1")
def c1_fixture() -> Host:
    return container(C1)


@pytest.fixture(name="c2")
def c2_fixture() -> Host:
    return container(C2)


def process(host: Host, service: str = "slurmd") -> str:
    return str(host.check_output(f"systemctl show {service} --property=MainPID --value"))


def listens(node: Host) -> bool:
    return bool(node.run("ss -Hltn 'sport = :6818' | grep -q .").rc == 0)


def states(controller: Host) -> set[str]:
    """Each node with its state; a star means that it does not respond."""
    return set(controller.check_output("sinfo --noheader --Node --format='%N:%T'").split())


def nodes_are_ready(controller: Host, seconds: float = 60) -> None:
    eventually(lambda: states(controller), lambda seen: seen == {"c1:idle", "c2:idle"}, seconds)


@pytest.fixture(name="ready", autouse=True)
def ready_fixture(host: Host) -> None:
    nodes_are_ready(host)


@pytest.fixture(name="job")
def job_fixture(host: Host, c1: Host) -> Iterator[str]:
    """A job on c1 that ends when /tmp/end appears there."""
    c1.check_output("rm -f /tmp/end")
    script = "until [ -e /tmp/end ]; do sleep 0.2; done"
    number = str(
        host.check_output(f"sbatch --parsable --nodelist=c1 --chdir=/tmp --output=/dev/null --wrap='{script}'")
    ).strip()
    eventually(lambda: job_state(host, number), lambda state: state == "RUNNING")
    yield number
    host.check_output(f"scancel {number}")


def job_state(controller: Host, number: str) -> str:
    words = controller.check_output(f"scontrol --oneliner show job {number}").split()
    return str(dict(word.split("=", 1) for word in words if "=" in word)["JobState"])


def test_job_runs_on_both_nodes(host: Host) -> None:
    assert set(host.check_output("srun --nodes=2 --ntasks-per-node=1 hostname").split()) == {"c1", "blade7"}


def test_node_may_be_named_otherwise_than_its_host(host: Host) -> None:
    assert host.check_output("srun --nodelist=c2 sh -c 'echo $SLURMD_NODENAME on $(hostname)'") == "c2 on blade7"


@pytest.mark.parametrize("name", [C1, C2])
def test_node_fetches_its_configuration_from_the_controller(host: Host, name: str) -> None:
    node = container(name)
    assert not node.file("/etc/slurm/slurm.conf").exists
    fetched = node.check_output("cat /run/slurm/conf/slurm.conf")
    assert fetched.strip() == host.check_output("cat /etc/slurm/slurm.conf").strip()
    assert "molecule" in node.check_output("scontrol show config | grep ^ClusterName")


def test_unit_declares_its_port_and_restarts_and_the_spool_is_slurms(c1: Host) -> None:
    assert "Ports=6818" in c1.check_output("systemctl cat slurmd").splitlines()
    assert set(c1.check_output("systemctl show slurmd --property=Restart,UnitFileState").splitlines()) == {
        "Restart=on-failure",
        "UnitFileState=enabled",
    }
    paths = "/var/lib/slurm/slurmd /etc/default/slurmd /etc/systemd/system/slurmd.service.d/hpcops.conf"
    assert c1.check_output(f"stat --format='%U:%G %a' {paths}").splitlines() == [
        "slurm:slurm 755",
        "root:root 644",
        "root:root 644",
    ]


def test_host_with_less_than_its_node_line_promises_is_refused(c1: Host) -> None:
    before = process(c1)
    found = dict(word.split("=") for word in c1.check_output("slurmd -C").split("\n")[0].split())["RealMemory"]
    run = run_playbook("--limit", C1, *ONLY_SLURMD, variables={"slurm_node_real_memory": 99999999}).failed()
    assert f"RealMemory is {found} on the host and 99999999 in its node line" in run.failure
    assert not run.changed
    assert process(c1) == before


def test_changed_options_restart_slurmd_of_that_node_alone(host: Host, c1: Host, c2: Host, job: str) -> None:
    before, others = process(c1), (process(c2), process(host, "slurmctld"))
    only_c1 = f"{{{{ '-v' if inventory_hostname == '{C1}' else '' }}}}"
    try:
        run = run_playbook(*ONLY_SLURMD, variables={"slurmd_options": only_c1}).succeeded()
        assert {name for _task, name in run.changed} == {C1}
        assert process(c1) != before
        assert (process(c2), process(host, "slurmctld")) == others
        assert " -v" in c1.check_output(f"tr '\\0' ' ' < /proc/{process(c1)}/cmdline")
    finally:
        run_playbook(*ONLY_SLURMD).succeeded()
    # The job that ran all the time neither stopped nor was started again.
    assert job_state(host, job) == "RUNNING"
    c1.check_output("touch /tmp/end")
    eventually(lambda: job_state(host, job), lambda state: state not in ("RUNNING", "COMPLETING"))
    assert job_state(host, job) == "COMPLETED"


def test_run_limited_to_one_node_leaves_the_other_alone(c1: Host, c2: Host) -> None:
    before, other = process(c1), process(c2)
    settings = c2.check_output("cat /etc/default/slurmd")
    try:
        run_playbook("--limit", C1, *ONLY_SLURMD, variables={"slurmd_options": "-v"}).succeeded()
        assert process(c1) != before
        assert (process(c2), c2.check_output("cat /etc/default/slurmd")) == (other, settings)
    finally:
        run_playbook("--limit", C1, *ONLY_SLURMD).succeeded()


def test_run_limited_to_one_node_works_while_another_is_dead(host: Host) -> None:
    subprocess.run(["docker", "stop", "--time=1", f"{PREFIX}{C2}"], check=True, stdout=subprocess.DEVNULL)
    try:
        run = run_playbook("--limit", C1).succeeded()
        assert not run.changed
        assert host.check_output("srun --nodelist=c1 hostname") == "c1"
    finally:
        subprocess.run(["docker", "start", f"{PREFIX}{C2}"], check=True, stdout=subprocess.DEVNULL)
    # Until the controller has missed it, the dead node counts as idle: its own word first.
    eventually(lambda: listens(container(C2)), seconds=90)
    nodes_are_ready(host, 90)
    assert host.check_output("srun --nodelist=c2 hostname") == "blade7"


def test_slurmd_waits_for_a_controller_that_starts_later(host: Host, c1: Host) -> None:
    host.check_output("systemctl stop slurmctld")
    try:
        c1.check_output("systemctl stop slurmd")
        c1.check_output("systemctl start --no-block slurmd")
        tried = "systemctl show slurmd --property=ExecMainStartTimestampMonotonic --value"
        stopped = c1.check_output("systemctl show slurmd --property=InactiveEnterTimestampMonotonic --value")
        eventually(lambda: int(c1.check_output(tried)), lambda start: start > int(stopped))
        assert not listens(c1)
    finally:
        host.check_output("systemctl start slurmctld")
    eventually(lambda: listens(c1), seconds=90)
    nodes_are_ready(host, 90)
    assert host.check_output("srun --nodelist=c1 hostname") == "c1"


def test_a_killed_slurmd_is_started_again_and_keeps_its_job(host: Host, c1: Host, job: str) -> None:
    before = process(c1)
    c1.check_output("systemctl kill --kill-whom=main --signal=KILL slurmd")
    eventually(lambda: process(c1), lambda now: now not in ("0", before), 60)
    c1.check_output("touch /tmp/end")
    eventually(lambda: job_state(host, job), lambda state: state not in ("RUNNING", "COMPLETING"), 60)
    assert job_state(host, job) == "COMPLETED"
