# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Without a GPU: what is around NVIDIA's programs. Prolog and epilog are plain programs, and run for real."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.hpcops.cluster.tests.support.hosts import PREFIX, container, names
from ansible_collections.hpcops.cluster.tests.support.runs import run_playbook

if TYPE_CHECKING:
    from testinfra.host import Host

(NAME,) = names("gpu")
(OTHER,) = [name for name in names("exporters") if name != NAME]
testinfra_hosts = [f"docker://{PREFIX}{NAME}"]
PASSWORD = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "metrics").read_text(encoding="utf-8").strip()
JOBS = "/run/dcgm_exporter-jobs"
UNIT = "/etc/systemd/system/dcgm_exporter.service"
NO_GPU = not container(NAME).run("ls /proc/driver/nvidia/gpus").stdout


def answer(host: Host, options: str, url: str) -> tuple[str, str]:
    """Status and text."""
    done = host.run(f"curl --silent --max-time 20 {options} --write-out '\n%{{http_code}}' {url}/metrics")
    text, _newline, status = done.stdout.rpartition("\n")
    return status, text


def slurm_runs(host: Host, program: str, **environment: str) -> None:
    """A prolog or epilog with no more environment than it needs."""
    given = " ".join(f"{name}={value}" for name, value in environment.items())
    done = host.run(f"env --ignore-environment PATH=/usr/bin:/bin {given} /usr/local/libexec/hpcops-dcgm-{program}")
    assert (done.rc, done.stdout, done.stderr) == (0, "", "")


def noted(host: Host) -> dict[str, list[str]]:
    """Which jobs each GPU has, as dcgm-exporter would read it."""
    files = host.check_output(f"ls {JOBS}").split()
    return {file: host.check_output(f"cat {JOBS}/{file}").split() for file in files}


def test_without_a_gpu_another_host_reads_the_stand_in_over_tls_with_the_password(host: Host) -> None:
    other = container(OTHER)
    authority = host.file("/etc/dcgm_exporter/ca.crt").content_string
    other.check_output(f"cat >/tmp/ca.crt <<'END'\n{authority}\nEND")
    url, ca = "https://host:9400", "--cacert /tmp/ca.crt"
    assert answer(other, f"{ca} --user prometheus:{PASSWORD}", url)[0] == "200"
    assert answer(other, ca, url)[0] == "401"
    assert answer(other, f"{ca} --user prometheus:wrong", url)[0] == "401"
    assert answer(other, f"--user prometheus:{PASSWORD}", "http://host:9400")[0] == "400"


def test_without_a_gpu_the_stand_in_is_told_counters_jobs_and_host_engine(host: Host) -> None:
    assert host.service("nvidia-dcgm").is_running
    command = host.file(UNIT).content_string
    for option in (
        "--collectors=/etc/dcgm_exporter/counters.csv",
        f"--hpc-job-mapping-dir={JOBS}",
        "--remote-hostengine-info=localhost:5555",
    ):
        assert f'"{option}"' in command
    assert "DCGM_FI_DEV_GPU_TEMP, gauge, " in host.file("/etc/dcgm_exporter/counters.csv").content_string


def test_without_a_gpu_its_process_has_no_rights(host: Host) -> None:
    pid = host.check_output("systemctl show --property=MainPID --value dcgm_exporter")
    assert host.check_output(f"stat --format=%U /proc/{pid}") == "dcgm_exporter"
    assert re.search(r"^CapEff:\s0+$", host.check_output(f"cat /proc/{pid}/status"), re.MULTILINE)
    # It reads what the prolog notes, and cannot write there.
    as_it = "runuser --user=dcgm_exporter --"
    assert host.run(f"{as_it} ls {JOBS}").rc == 0
    assert host.run(f"{as_it} touch {JOBS}/0").rc != 0


def test_prolog_notes_the_jobs_of_each_gpu_and_epilog_takes_them_away(host: Host) -> None:
    slurm_runs(host, "prolog", SLURM_JOB_ID="11", SLURM_JOB_GPUS="0,1")
    slurm_runs(host, "prolog", SLURM_JOB_ID="111", SLURM_JOB_GPUS="1")
    assert noted(host) == {"0": ["11"], "1": ["11", "111"]}
    slurm_runs(host, "epilog", SLURM_JOB_ID="11", SLURM_JOB_GPUS="0,1")
    assert noted(host) == {"1": ["111"]}
    slurm_runs(host, "epilog", SLURM_JOB_ID="111")
    assert noted(host) == {}


def test_prolog_that_runs_twice_notes_a_job_once(host: Host) -> None:
    slurm_runs(host, "prolog", SLURM_JOB_ID="12", SLURM_JOB_GPUS="0")
    slurm_runs(host, "prolog", SLURM_JOB_ID="12", SLURM_JOB_GPUS="0")
    assert noted(host) == {"0": ["12"]}
    slurm_runs(host, "epilog", SLURM_JOB_ID="12")


def test_prolog_takes_cuda_s_list_where_slurm_gives_none_and_parts_of_gpus(host: Host) -> None:
    slurm_runs(host, "prolog", SLURM_JOB_ID="13", CUDA_VISIBLE_DEVICES="2,3.1")
    assert noted(host) == {"2": ["13"], "3.1": ["13"]}
    slurm_runs(host, "epilog", SLURM_JOB_ID="13")


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_JOB_ID": "14"},
        {"SLURM_JOB_GPUS": "0"},
        {"SLURM_JOB_ID": "14", "SLURM_JOB_GPUS": ""},
        {"SLURM_JOB_ID": "14", "CUDA_VISIBLE_DEVICES": "GPU-5c9c1a2e"},
        {"SLURM_JOB_ID": "14", "SLURM_JOB_GPUS": "../../etc/passwd"},
        {"SLURM_JOB_ID": "14", "SLURM_JOB_GPUS": ".."},
        {},
    ],
    ids=["no GPU", "no job", "no GPUs", "a GPU's UUID", "a path", "the folder above", "nothing"],
)
def test_job_without_numbers_of_gpus_is_noted_nowhere(host: Host, environment: dict[str, str]) -> None:
    slurm_runs(host, "prolog", **environment)
    slurm_runs(host, "epilog", **environment)
    assert noted(host) == {}


def test_many_jobs_that_begin_and_end_at_once_lose_none_of_each_other(host: Host) -> None:
    run = "env SLURM_JOB_GPUS=0 SLURM_JOB_ID=$job /usr/local/libexec/hpcops-dcgm"
    host.check_output(f"for job in $(seq 101 140); do {run}-prolog & done; wait")
    assert sorted(noted(host)["0"]) == [str(job) for job in range(101, 141)]
    host.check_output(f"for job in $(seq 101 139); do {run}-epilog & done; wait")
    assert noted(host) == {"0": ["140"]}
    slurm_runs(host, "epilog", SLURM_JOB_ID="140")


def test_prolog_works_where_the_directory_has_gone_with_a_boot(host: Host) -> None:
    host.check_output(f"rm -rf {JOBS}")
    slurm_runs(host, "epilog", SLURM_JOB_ID="15")
    slurm_runs(host, "prolog", SLURM_JOB_ID="15", SLURM_JOB_GPUS="0")
    assert noted(host) == {"0": ["15"]}
    host.check_output(f"rm -rf {JOBS}; systemd-tmpfiles --create /etc/tmpfiles.d/dcgm_exporter.conf")
    assert noted(host) == {}


def test_without_a_gpu_changed_counters_restart_it_and_a_dry_run_tells_so(host: Host) -> None:
    variables = {"dcgm_exporter_counters": ["DCGM_FI_DEV_GPU_TEMP, gauge, temperature"]}
    pid = "systemctl show --property=MainPID --value dcgm_exporter"
    before = host.check_output(pid)
    assert run_playbook("--check", variables=variables).succeeded().changed
    assert host.check_output(pid) == before
    try:
        run_playbook(variables=variables).succeeded()
        assert host.check_output("wc -l </etc/dcgm_exporter/counters.csv") == "1"
        assert host.check_output(pid) != before
    finally:
        run_playbook().succeeded()


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        pytest.param(
            {"dcgm_exporter_needs_gpu": True},
            "no GPU that NVIDIA's driver drives",
            marks=pytest.mark.skipif(not NO_GPU, reason="this host has a GPU"),
        ),
        ({"dcgm_exporter_counters": ["GPU_TEMP gauge"]}, "Not so: GPU_TEMP gauge"),
        ({"dcgm_exporter_jobs_directory": "jobs"}, "no absolute path"),
        ({"dcgm_exporter_version": "9.9.9", "dcgm_exporter_url": "https://github.com/x/y.tar.gz"}, "9.9.9"),
        ({"dcgm_exporter_listen_address": "0.0.0.0", "hpcops_metrics_password": ""}, "would tell everybody"),
    ],
    ids=["no GPU", "no counter", "no path", "no such release", "open to all"],
)
def test_wrong_value_is_refused_and_it_runs_as_before(host: Host, variables: dict[str, Any], says: str) -> None:
    refused = run_playbook(variables=variables).failed()
    assert says in refused.failure
    assert not refused.changed
    assert host.service("dcgm_exporter").is_running


@pytest.mark.skipif(NO_GPU, reason="needs a GPU with NVIDIA's driver, and NVIDIA's package repository")
def test_temperature_of_a_gpu_is_told_with_the_job_that_has_it(host: Host) -> None:
    variables = {
        "dcgm_exporter_install": "package",
        "dcgm_exporter_engine_packages": ["datacenter-gpu-manager-4-core", "datacenter-gpu-manager-4-cuda12"],
    }
    slurm_runs(host, "prolog", SLURM_JOB_ID="4711", SLURM_JOB_GPUS="0")
    try:
        run_playbook(variables=variables).succeeded()
        known = f"--cacert /etc/dcgm_exporter/ca.crt --user prometheus:{PASSWORD}"
        _status, text = answer(host, known, "https://localhost:9400")
        assert re.search(r'^DCGM_FI_DEV_GPU_TEMP\{.*gpu="0".*hpc_job="4711".*\} \d+$', text, re.MULTILINE)
    finally:
        slurm_runs(host, "epilog", SLURM_JOB_ID="4711")
        run_playbook().succeeded()
