# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controllers, accounting and the database die and return while jobs run; none is lost, and each test tells how long it took."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.hpcops.cluster.tests.support.hosts import (
    PREFIX,
    Report,
    container,
    eventually,
    matrix_alone,
    names,
    said,
)
from ansible_collections.hpcops.cluster.tests.support.runs import Run, run_playbook

if TYPE_CHECKING:
    from testinfra.host import Host

PRIMARY, BACKUP = sorted(names("slurmctld"))
ACCOUNTING, SECOND = sorted(names("slurmdbd"))
# Where users are: what answers there is what counts.
NODE = names("slurmd")[0]
testinfra_hosts = [f"docker://{PREFIX}{NODE}"]
SBATCH = "sbatch --mem=50 --cpus-per-task=1 --chdir=/tmp --output=/dev/null"
STATE = "/var/lib/slurm/slurmctld"
COPY = ".hpcops-state"
MARK = f"{STATE}/{COPY}"


@pytest.fixture(autouse=True)
def whole_fixture(host: Host) -> Iterator[None]:
    """Everything runs before a test, and after it."""
    everything_runs(host)
    yield
    everything_runs(host)


def everything_runs(host: Host) -> None:
    eventually(lambda: said(host, "scontrol ping"), lambda seen: seen.count("is UP") == 2, 120)
    nodes = "sinfo --noheader --format=%T"
    eventually(lambda: said(host, nodes), lambda seen: seen in ("idle", "mixed", "allocated"), 60)
    clusters = "sacctmgr --noheader --parsable2 list cluster format=cluster"
    eventually(lambda: said(host, clusters), lambda seen: seen == "failover", 60)


def docker(*arguments: str) -> None:
    subprocess.run(["docker", *arguments], check=True, stdout=subprocess.DEVNULL)


def submit(host: Host, script: str) -> str:
    return str(host.check_output(f"{SBATCH} --parsable --wrap='{script}'")).strip()


def state(host: Host, number: str) -> str:
    """The job's state as accounting has it."""
    return said(host, f"sacct --noheader --allocations --parsable2 --jobs={number} --format=State")


def works_again(host: Host, command: str, seconds: float = 120) -> float:
    """Seconds until the command succeeds."""
    start = time.monotonic()
    eventually(lambda: host.run(f"timeout 5 {command}").rc == 0, seconds=seconds)
    return time.monotonic() - start


def completed(host: Host, *numbers: str) -> None:
    """Each job has run to its end, and accounting has it once."""
    eventually(lambda: {state(host, number) for number in numbers}, lambda seen: seen == {"COMPLETED"}, 120)


def submit_safely(host: Host, script: str) -> str:
    """A job that is in the controllers' state directory: slurmctld writes it some seconds after it has accepted the job."""
    number = submit(host, script)
    controller = container(PRIMARY)
    accepted = float(controller.check_output("date +%s.%N"))
    written = f"stat --format=%.9Y {STATE}/job_state"
    eventually(lambda: float(controller.check_output(written)) > accepted)
    return number


def failover(**variables: Any) -> Run:
    return run_playbook(variables=variables, playbook="hpcops.cluster.failover")


# --- Controllers -----------------------------------------------------------------------------------------------------


def test_power_cut_of_the_primary_controller_costs_no_job(host: Host, report: Report) -> None:
    before, waiting = submit(host, "sleep 15"), submit_safely(host, "sleep 1")
    docker("kill", f"{PREFIX}{PRIMARY}")
    try:
        seconds = works_again(host, f"{SBATCH} --wrap=true")
        report("a job is accepted after the primary controller's power cut", seconds)
        completed(host, before, waiting, submit(host, "true"))
        assert "at ctl2 is UP" in host.run("scontrol ping").stdout
    finally:
        docker("start", f"{PREFIX}{PRIMARY}")
    start = time.monotonic()
    eventually(lambda: "Slurmctld(primary) at ctl1 is UP" in host.run("scontrol ping").stdout, seconds=120)
    report("the primary controller is in control after it was switched on", time.monotonic() - start)
    completed(host, submit(host, "true"))


def test_killed_slurmctld_costs_no_job(host: Host, report: Report) -> None:
    number = submit_safely(host, "sleep 3")
    container(PRIMARY).check_output("systemctl kill --signal=KILL slurmctld")
    report("a job is accepted after kill -9 of slurmctld", works_again(host, f"{SBATCH} --wrap=true"))
    completed(host, number)


def test_control_moves_on_purpose_and_back(host: Host, report: Report) -> None:
    number = submit(host, "sleep 30")
    assert not failover(failover_to="ctl1").succeeded().changed, "it is in control already"
    start = time.monotonic()
    failover().succeeded()
    report("control has moved to the backup, with all of the playbook", time.monotonic() - start)
    ping = host.run("scontrol ping").stdout
    assert "at ctl1 is DOWN" in ping
    assert "at ctl2 is UP" in ping
    assert not failover(failover_to="ctl2").succeeded().changed
    completed(host, submit(host, "true"))
    failover(failover_to="ctl1").succeeded()
    completed(host, number)


@pytest.mark.parametrize("wanted", ["ctl7", ""])
def test_unknown_controller_is_named(wanted: str) -> None:
    refused = failover(failover_to=wanted).failed()
    assert f'failover_to: "{wanted}" is none of the controllers ctl1, ctl2' in refused.failure


def test_controller_without_the_shared_state_does_not_start(host: Host) -> None:
    backup = container(BACKUP)
    unmount = f"systemctl stop slurmctld && umount {STATE}"
    backup.check_output(f"{unmount} && systemctl start slurmctld")
    assert said(backup, f"findmnt --noheadings --output=TARGET {STATE}") == STATE, "slurmctld's unit has not mounted it"
    unit = "/etc/systemd/system/var-lib-slurm-slurmctld.mount"
    backup.check_output(f"{unmount} && mv {unit} /root && systemctl daemon-reload && rm -f {MARK}")
    try:
        assert backup.run("timeout 20 systemctl start slurmctld").rc != 0
        journal = backup.check_output("journalctl --unit=slurmctld --lines=30")
        assert "is not the state of this cluster. Is it mounted?" in journal
        backup.check_output(f"systemctl stop slurmctld; chown slurm: {STATE}")
        refused = run_playbook("--tags=slurmctld", f"--limit={BACKUP}").failed()
        assert "lacks the mark .hpcops-state" in refused.failure
        # As a first run of the primary would find it.
        backup.check_output(f"mv /etc/slurm/{COPY} /root")
        first = run_playbook(
            "--tags=slurmctld", f"--limit={BACKUP}", "--check", variables={"slurm_controllers": ["ctl2", "ctl1"]}
        )
        assert "lies in the root file system" in first.failed().failure
        backup.check_output(f"mv /root/{COPY} /etc/slurm; cp /proc/sys/kernel/random/uuid {MARK}")
        refused = run_playbook("--tags=slurmctld", f"--limit={BACKUP}").failed()
        assert "is another cluster's" in refused.failure
    finally:
        backup.check_output(
            f"mv /root/{os.path.basename(unit)} {unit}; [ ! -e /root/{COPY} ] || mv /root/{COPY} /etc/slurm"
        )
        docker("restart", "--time=1", f"{PREFIX}{BACKUP}")
    completed(host, submit(host, "true"))


# --- Accounting ------------------------------------------------------------------------------------------------------


def test_backup_of_slurmdbd_answers_while_the_primary_is_gone(host: Host, report: Report) -> None:
    before = submit(host, "sleep 2")
    docker("exec", f"{PREFIX}{ACCOUNTING}", "systemctl", "stop", "slurmdbd")
    try:
        seconds = works_again(host, "sacctmgr --noheader list cluster")
        report("accounting answers after slurmdbd's primary has stopped", seconds)
        completed(host, before, submit(host, "true"))
    finally:
        docker("exec", f"{PREFIX}{ACCOUNTING}", "systemctl", "start", "slurmdbd")
    completed(host, submit(host, "true"))


@matrix_alone
def test_primary_of_slurmdbd_has_the_new_configuration_before_its_backup(host: Host) -> None:
    """In this order a new release converts the database before anything else uses it."""

    def started(name: str) -> int:
        # Containers have one clock.
        show = "systemctl show --property=ActiveEnterTimestampMonotonic --value slurmdbd"
        return int(container(name).check_output(show))

    before = max(started(ACCOUNTING), started(SECOND))
    only = ("--tags=slurmdbd", "--limit=slurmdbd")
    run_playbook(*only, variables={"slurmdbd_parameters": {"MessageTimeout": 12}}).succeeded()
    assert before < started(ACCOUNTING) < started(SECOND)
    run_playbook(*only).succeeded()
    completed(host, submit(host, "true"))


def test_records_of_a_minute_without_database_arrive_later(host: Host, report: Report) -> None:
    docker("exec", f"{PREFIX}{ACCOUNTING}", "systemctl", "stop", "mariadb")
    start = time.monotonic()
    try:
        numbers = [submit(host, "true") for _each in range(5)]
        look = f"squeue --noheader --states=all --jobs={','.join(numbers)} --format=%T"
        eventually(lambda: set(host.run(look).stdout.split()), lambda seen: seen <= {"COMPLETED", "COMPLETING"}, 90)
        time.sleep(max(0.0, 60 - (time.monotonic() - start)))
    finally:
        docker("exec", f"{PREFIX}{ACCOUNTING}", "systemctl", "start", "mariadb")
    back = time.monotonic()
    completed(host, *numbers)
    report("all records have arrived after a minute without database", time.monotonic() - back)
