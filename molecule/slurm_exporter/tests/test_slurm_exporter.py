# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm's metrics are told by slurmctld itself where it can, else by a program that runs as it shall (here a stand-in)."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.hpcops.cluster.tests.support.hosts import Report, container, eventually, names
from ansible_collections.hpcops.cluster.tests.support.runs import run_playbook

if TYPE_CHECKING:
    from testinfra.host import Host

(CONTROLLER,) = names("slurmctld")
(NODE,) = names("slurmd")
RELEASE = tuple(int(part) for part in container(CONTROLLER).check_output("slurmctld -V").split()[-1].split(".")[:2])
PATHS = ("jobs", "nodes", "partitions", "scheduler")
UNIT = "/etc/systemd/system/slurm_exporter.service"
# Runs that concern the controller alone.
ALONE = f"--limit={CONTROLLER}"
native = pytest.mark.skipif(RELEASE < (25, 11), reason="slurmctld tells no metrics before 25.11")


@pytest.fixture(name="controller")
def controller_fixture() -> Host:
    return container(CONTROLLER)


@pytest.fixture(name="stand_in")
def stand_in_fixture() -> Iterator[Host]:
    """A controller that has the program, which is a stand-in here."""
    if RELEASE < (25, 11):
        yield container(CONTROLLER)
        return
    run_playbook(ALONE, "--tags=exporter", variables={"slurm_exporter_native": False}).succeeded()
    yield container(CONTROLLER)
    run_playbook(ALONE, "--tags=exporter").succeeded()


def answer(host: Host, url: str, options: str = "") -> tuple[str, str]:
    """Status and text."""
    done = host.run(f"curl --silent --max-time 20 {options} --write-out '\n%{{http_code}}' {url}")
    text, _newline, status = done.stdout.rpartition("\n")
    return status, text


def told(path: str, token: str = "") -> dict[str, float]:
    """slurmctld's own metrics without labels, as another host reads them."""
    authorized = f"--header 'Authorization: Bearer {token}'" if token else ""
    _status, text = answer(container(NODE), f"http://ctl:6817/metrics/{path}", authorized)
    return {name: float(value) for name, value in re.findall(r"^(slurm_\w+)(?:\{.*\})? (\S+)$", text, re.MULTILINE)}


@native
@pytest.mark.parametrize("path", PATHS)
def test_slurmctld_tells_another_host_something_at_each_path(path: str) -> None:
    assert told(path)


@native
def test_submitted_job_is_counted(controller: Host) -> None:
    before = told("jobs")["slurm_jobs_pending"]
    job = controller.check_output("sbatch --parsable --hold --chdir=/tmp --output=/dev/null --wrap=true")
    try:
        eventually(lambda: told("jobs")["slurm_jobs_pending"], lambda number: number == before + 1)
    finally:
        controller.check_output(f"scancel {job}")


@native
def test_slurmctld_that_answers_and_tells_nothing_is_noticed(controller: Host) -> None:
    try:
        refused = run_playbook(ALONE, variables={"slurmctld_metrics": False}).failed()
        assert "slurmctld answers and tells nothing" in refused.failure
        assert answer(controller, "http://localhost:6817/metrics/jobs") == ("200", "")
    finally:
        run_playbook(ALONE).succeeded()
    assert told("jobs")


@native
@pytest.mark.skipif(RELEASE < (26, 5), reason="slurmctld asks no reader who he is before 26.05")
def test_reader_without_a_token_is_refused_where_jobs_are_private(controller: Host) -> None:
    private = {"slurmctld_parameters": {"PrivateData": ["jobs"], "MetricsAuthUsers": "slurm"}}
    try:
        run_playbook(ALONE, variables=private).succeeded()
        assert (
            eventually(lambda: answer(controller, "http://localhost:6817/metrics/jobs")[0], lambda code: code != "200")
            == "401"
        )
        token = controller.check_output("scontrol token username=slurm lifespan=60").partition("=")[2]
        assert told("jobs", token)
    finally:
        run_playbook(ALONE).succeeded()
    assert told("jobs")


@native
def test_scrape_of_a_thousand_queued_jobs_is_measured(
    controller: Host, report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    """Figures alone: how long each path takes, and slurmctld's RPCs and cycles beside it."""
    sbatch = "sbatch --quiet --hold --job-name=many --chdir=/tmp --output=/dev/null --wrap=true"
    begin = time.monotonic()
    controller.check_output(f"for job in $(seq 1000); do {sbatch} || exit 1; done")
    try:
        report("1,000 jobs submitted", time.monotonic() - begin)
        assert told("jobs")["slurm_jobs_pending"] >= 1000
        controller.check_output("sdiag --reset")
        for path in (*PATHS, "jobs-users-accts"):
            took = "curl --silent --output /dev/null --write-out %{time_total}"
            seconds = controller.check_output(f"{took} http://localhost:6817/metrics/{path}")
            size = len(answer(controller, f"http://localhost:6817/metrics/{path}")[1])
            with capsys.disabled():
                print(f"\n    /metrics/{path}: {float(seconds) * 1000:.1f} ms, {size} bytes")
        diagnosis = controller.check_output("sdiag")
        with capsys.disabled():
            for line in diagnosis.splitlines():
                if re.search(r"Server thread|Agent queue size|Last cycle|REQUEST_", line):
                    print(f"    {line.strip()}")
    finally:
        controller.check_output("scancel --name=many")
    eventually(lambda: told("jobs")["slurm_jobs_pending"], lambda number: number == 0, seconds=60)


def test_other_host_reads_the_stand_in_over_tls_with_the_password(stand_in: Host) -> None:
    other = container(NODE)
    authority = stand_in.file("/etc/slurm_exporter/ca.crt").content_string
    other.check_output(f"cat >/tmp/ca.crt <<'END'\n{authority}\nEND")
    url, ca = "https://ctl:9341/metrics", "--cacert /tmp/ca.crt"
    password = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "metrics").read_text(encoding="utf-8").strip()
    assert answer(other, url, f"{ca} --user prometheus:{password}")[0] == "200"
    assert answer(other, url, ca)[0] == "401"
    assert answer(other, url, f"{ca} --user prometheus:wrong")[0] == "401"
    assert answer(other, "http://ctl:9341/metrics", f"--user prometheus:{password}")[0] == "400"


def test_stand_in_runs_as_an_account_without_rights_that_may_ask_slurmctld(stand_in: Host) -> None:
    pid = stand_in.check_output("systemctl show --property=MainPID --value slurm_exporter")
    assert stand_in.check_output(f"stat --format=%U /proc/{pid}") == "slurm_exporter"
    assert re.search(r"^CapEff:\s0+$", stand_in.check_output(f"cat /proc/{pid}/status"), re.MULTILINE)
    assert '"--command.timeout=5s"' in stand_in.file(UNIT).content_string
    # What the real program does, with the same account and the limits of the unit.
    limits = stand_in.check_output(
        "sed -n '/^\\[Service\\]/,/^\\[Install\\]/p' /etc/systemd/system/slurm_exporter.service"
        " | grep -E '^(Capab|Lock|Memory|NoNew|Private|Protect|Restrict|SystemCall|UMask|User|Group)' | sed 's/^/--property=/'"
    ).splitlines()
    quoted = " ".join(f"'{limit}'" for limit in limits if "RestartSec" not in limit)
    asked = stand_in.check_output(
        f"systemd-run --quiet --wait --pipe {quoted} sh -c 'squeue --noheader; sinfo --noheader; sdiag'"
    )
    assert "main*" in asked
    assert "Server thread count" in asked


def test_stand_in_is_told_what_to_ask_for_and_a_dry_run_tells_so(stand_in: Host) -> None:
    changed: dict[str, Any] = {
        "slurm_exporter_native": False,
        "slurm_exporter_command_timeout": 9,
        "slurm_exporter_collectors": ["sacct_efficiency"],
        "slurm_exporter_disabled_collectors": ["gpus"],
    }
    before = stand_in.file(UNIT).content_string
    assert run_playbook(ALONE, "--tags=exporter", "--check", variables=changed).succeeded().changed
    assert stand_in.file(UNIT).content_string == before
    try:
        run_playbook(ALONE, "--tags=exporter", variables=changed).succeeded()
        assert (
            '"--command.timeout=9s" "--collector.sacct_efficiency" "--no-collector.gpus"'
            in stand_in.file(UNIT).content_string
        )
        assert not run_playbook(ALONE, "--tags=exporter", variables=changed).succeeded().changed
    finally:
        run_playbook(ALONE, "--tags=exporter", variables={"slurm_exporter_native": False}).succeeded()


@native
def test_stand_in_is_gone_where_slurmctld_tells_itself(controller: Host) -> None:
    run_playbook(ALONE, "--tags=exporter", variables={"slurm_exporter_native": False}).succeeded()
    assert controller.service("slurm_exporter").is_running
    run_playbook(ALONE, "--tags=exporter").succeeded()
    assert controller.run("ss -Hltn 'sport = :9341'").stdout == ""
    assert not controller.file(UNIT).exists
    assert not run_playbook(ALONE, "--tags=exporter").succeeded().changed


def test_release_that_does_not_exist_is_refused() -> None:
    variables = {"slurm_exporter_native": False, "slurm_exporter_version": "9.9.9"}
    refused = run_playbook(ALONE, "--tags=exporter", variables=variables).failed()
    assert "9.9.9" in refused.failure
    assert not refused.changed


@pytest.mark.skipif(RELEASE >= (25, 11), reason="slurmctld tells metrics itself")
def test_metrics_of_a_slurmctld_that_tells_none_are_refused() -> None:
    refused = run_playbook(ALONE, "--tags=exporter", variables={"slurm_exporter_native": True}).failed()
    assert "tells no metrics itself" in refused.failure
