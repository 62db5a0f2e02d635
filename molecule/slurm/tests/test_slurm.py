"""A login node: ordinary users submit jobs from it, and its configuration comes from the controller alone."""

from __future__ import annotations

import time

import pytest
from testinfra.host import Host

from ansible_collections.hpcops.cluster.tests.support.hosts import PREFIX, names
from ansible_collections.hpcops.cluster.tests.support.runs import run_playbook

LOGIN = names("login")[0]
testinfra_hosts = [f"docker://{PREFIX}{LOGIN}"]


def as_user(host: Host, command: str, login: bool = True) -> str:
    """Output of a command in the ordinary user's session."""
    return str(host.check_output(f"su {'-' if login else ''} alice -c {command!r}")).strip()


@pytest.fixture(name="finished_job")
def finished_job_fixture(host: Host) -> dict[str, str]:
    number = as_user(host, "sbatch --parsable --chdir=/tmp --wrap=hostname")
    for _attempt in range(60):
        words = as_user(host, f"scontrol --oneliner show job {number}").split()
        job = dict(word.split("=", 1) for word in words if "=" in word)
        if job["JobState"] not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"):
            return job
        time.sleep(0.5)
    raise AssertionError(f"job {number} does not end: {job}")


def test_job_of_an_ordinary_user_reaches_completed_state(finished_job: dict[str, str]) -> None:
    assert finished_job["JobState"] == "COMPLETED"
    assert finished_job["UserId"].startswith("alice(")


def test_squeue_shows_a_waiting_job_to_its_user(host: Host) -> None:
    number = as_user(host, "sbatch --parsable --chdir=/tmp --begin=now+1hour --wrap=true")
    try:
        assert number in as_user(host, "squeue --me --noheader --format=%i").split()
    finally:
        as_user(host, f"scancel {number}")


def test_a_session_that_is_no_login_knows_the_controller_as_well(host: Host) -> None:
    assert "ctl" in as_user(host, "sinfo --noheader --Node --format=%N", login=False)


def test_stale_configuration_gave_way_to_the_controllers(host: Host) -> None:
    assert not host.file("/etc/slurm/slurm.conf").exists
    assert "molecule" in as_user(host, "scontrol show config | grep ^ClusterName")


def test_an_ordinary_user_cannot_read_the_munge_key(host: Host) -> None:
    answer = host.run("su alice -c 'cat /etc/munge/munge.key'")
    assert answer.rc != 0
    assert "Permission denied" in answer.stderr


def test_an_ordinary_user_cannot_stop_another_users_job(host: Host) -> None:
    number = host.check_output("su - -c 'sbatch --parsable --chdir=/tmp --begin=now+1hour --wrap=true'").strip()
    try:
        answer = host.run(f"su - alice -c 'scancel {number}'")
        assert "Access/permission denied" in answer.stderr
    finally:
        host.check_output(f"su - -c 'scancel {number}'")


def test_stopped_sackd_runs_again_and_a_former_way_to_the_controllers_is_gone(host: Host) -> None:
    """Nothing of sackd's own changes, so that nothing but its task starts it."""
    host.check_output("systemctl disable --now sackd && echo SLURM_CONF_SERVER=stale:6817 >>/etc/environment")
    run = run_playbook().succeeded()
    assert [task for task, _host in run.changed] == [
        "hpcops.cluster.slurm : Tell every session where the controllers are",
        "hpcops.cluster.slurm : Run sackd",
    ]
    assert host.service("sackd").is_enabled
    assert "SLURM_CONF_SERVER" not in host.check_output("cat /etc/environment")
    assert host.check_output("stat --format='%U:%G %a' /etc/environment /etc/default/sackd").split("\n") == [
        "root:root 644",
        "root:root 644",
    ]
    assert "ctl" in as_user(host, "sinfo --noheader --Node --format=%N")


def test_sackd_restarts_for_other_controllers(host: Host) -> None:
    run_playbook(variables={"slurm_controllers": ["ctl", "spare(192.0.2.9)"]}).succeeded()
    command = host.check_output("tr '\\0' ' ' </proc/$(systemctl show sackd --property=MainPID --value)/cmdline")
    assert "--conf-server ctl:6817,192.0.2.9:6817" in command
    assert "ctl" in as_user(host, "sinfo --noheader --Node --format=%N")
