"""A deployed cluster runs jobs, tells what is broken, and keeps its secrets."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ansible_collections.hpcops.cluster.tests.support.hosts import DISTRO, container, eventually
from ansible_collections.hpcops.cluster.tests.support.runs import Run, run_playbook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host

RUN_DIRECTORY = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])


def cluster_host(role: str) -> Host:
    return container(role)


def as_alice(command: str) -> str:
    """What the command prints in a login session of an ordinary user."""
    return str(cluster_host("login").check_output(f"su --login alice --command 'cd /tmp && {command}'"))


def verify(report: Path) -> tuple[Run, dict[str, Any]]:
    """Run the playbook verify; its outcome and its report."""
    run = run_playbook(variables={"verify_report": str(report)}, playbook="hpcops.cluster.verify")
    return run, json.loads(report.read_text()) if report.exists() else {}


@pytest.fixture(name="stopped_slurmd")
def stopped_slurmd_fixture() -> Iterator[str]:
    """Name of a compute node whose slurmd does not run during the test."""
    node = cluster_host("c2")
    node.check_output("systemctl stop slurmd")
    try:
        yield node.check_output("hostname")
    finally:
        node.check_output("systemctl start slurmd")


def test_acceptance_passes_on_a_healthy_cluster(tmp_path: Path) -> None:
    run, report = verify(tmp_path / "report.json")
    run.succeeded()
    assert report["failed"] == 0
    names = {result["name"] for result in report["results"]}
    assert "a batch job completes and accounting shows it" in names
    assert "an srun over 2 nodes completes and accounting shows it" in names


def test_acceptance_fails_and_names_the_node_whose_daemon_is_down(tmp_path: Path, stopped_slurmd: str) -> None:
    run, report = verify(tmp_path / "report.json")
    run.failed()
    failed = {(result["host"], result["name"]) for result in report["results"] if not result["passed"]}
    assert (stopped_slurmd, "slurmd runs") in failed


def test_ordinary_user_runs_a_job_from_the_login_node() -> None:
    output = cluster_host("login").check_output(
        "su --login alice --command 'cd /tmp && srun --nodes=2 id --user --name'"
    )
    assert output.split() == ["alice", "alice"]


@pytest.mark.skipif(
    DISTRO != "trixie", reason="bookworm's mpi/pmix finds its library nowhere, and forky's Slurm has no mpi/pmix"
)
@pytest.mark.parametrize("role", ["login", "ctl"])
def test_mpi_programs_start_from_hosts_without_slurmd(role: str) -> None:
    """mpi/pmix loads its library where srun runs, too."""
    cluster_host(role).check_output("su --login alice --command 'cd /tmp && srun --mpi=pmix --nodes=2 true'")


def test_users_jobs_are_in_accounting_under_their_name() -> None:
    job = as_alice("sbatch --parsable --wait --output=/dev/null --wrap=true")
    eventually(
        lambda: as_alice(f"sacct --allocations --noheader --parsable2 --jobs={job} --format=User,State"),
        lambda line: line == "alice|COMPLETED",
    )


def test_ordinary_user_sees_queue_nodes_and_accounting() -> None:
    job = as_alice("sbatch --parsable --hold --wrap=true")
    assert as_alice(f"squeue --noheader --jobs={job} --format=%u") == "alice"
    assert "batch" in as_alice("sinfo --noheader")
    assert as_alice("sacctmgr --noheader --parsable2 list cluster format=Cluster") == "demo"
    as_alice(f"scancel {job}")


@pytest.mark.parametrize("role", ["ctl", "db", "c1", "login"])
def test_ordinary_user_can_read_no_key(role: str) -> None:
    host = cluster_host(role)
    keys = host.check_output(
        "find /etc /var/lib -name '*.key' -o -name '*.jwks' -o -name slurmdbd.conf -o -name '*-token'"
    ).split()
    assert "/etc/munge/munge.key" in keys
    readable = host.run("su alice --command 'for key; do ! test -r $key || echo $key; done' sh " + " ".join(keys))
    assert readable.stdout == ""


def test_collected_hardware_is_what_slurmd_measures(tmp_path: Path) -> None:
    variables = {"collect_hardware_directory": str(tmp_path), "collect_hardware_memory_percent": 50}
    run_playbook(variables=variables, playbook="hpcops.cluster.collect_hardware").succeeded()
    node = cluster_host("c1")
    measured = dict(word.split("=") for word in node.check_output("slurmd -C").splitlines()[0].split() if "=" in word)
    written = yaml.safe_load((tmp_path / node.check_output("hostname") / "slurm_hardware.yml").read_text())
    assert written["slurm_node_cpus"] == int(measured["CPUs"])
    assert written["slurm_node_threads_per_core"] == int(measured["ThreadsPerCore"])
    assert abs(written["slurm_node_real_memory"] - int(measured["RealMemory"]) // 2) <= 1


@pytest.mark.skipif(
    not os.environ.get("HPCOPS_VERBOSITY"), reason="the run by Ansible's own strategy is the one at -vvvv"
)
def test_run_at_vvvv_with_diff_contains_no_secret() -> None:
    log = (RUN_DIRECTORY / "run.log").read_text(errors="replace")
    assert "TASK [hpcops.cluster.munge : Install the key" in log
    assert "+++ after" in log, "the run did not show differences"
    assert re.search(r"EXEC |mitogen|ESTABLISH", log), "the run was not at -vvvv"
    key = cluster_host("ctl").check_output("base64 --wrap=0 /etc/munge/munge.key")
    raw_key = cluster_host("ctl").check_output("cat /etc/munge/munge.key")
    password = re.search(
        r"^StoragePass=(.+)$", cluster_host("db").check_output("cat /etc/slurm/slurmdbd.conf"), re.MULTILINE
    )
    assert password
    metrics = RUN_DIRECTORY / "metrics"
    for name, secret in {
        **({"password for metrics": metrics.read_text(encoding="utf-8").strip()} if metrics.exists() else {}),
        "munge key": raw_key,
        "encoded munge key": key,
        "database password": password.group(1).strip('"'),
        "key that signs tokens": cluster_host("ctl").check_output("base64 --wrap=0 /etc/slurm/slurmctld-jwt.key"),
    }.items():
        assert len(secret) >= 16
        assert secret not in log, f"the {name} is in the log of the run"


def test_daemons_start_at_boot() -> None:
    for role, units in {
        "ctl": ["slurmctld", "munge"],
        "db": ["slurmdbd", "mariadb", "munge"],
        "c1": ["slurmd", "munge"],
    }.items():
        for unit in units:
            assert cluster_host(role).service(unit).is_enabled, f"{unit} on {role}"
