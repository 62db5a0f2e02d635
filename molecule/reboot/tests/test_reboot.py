"""Nodes are drained, returned and rebooted by a real slurmctld, and what others have drained stays as they left it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.hpcops.cluster.tests.support.hosts import PATIENCE, container, eventually, names
from ansible_collections.hpcops.cluster.tests.support.runs import Run, run_playbook

if TYPE_CHECKING:
    from pathlib import Path

    from testinfra.host import Host

CONTROLLER = names("slurmctld")[0]
NODES = ("c1", "c2", "c3")
ONE_AT_A_TIME = {"reboot_share": 34, "reboot_timeout": 90, "reboot_health_timeout": 15}
SAMPLES = "/root/samples"


def controller() -> Host:
    return container(CONTROLLER)


def node(name: str) -> Host:
    return container(CONTROLLER.removesuffix("ctl") + name)


def scontrol(arguments: str) -> str:
    return str(controller().check_output(f"scontrol {arguments}"))


def seen(name: str) -> dict[str, str]:
    """State, BootTime and Reason of a node as slurmctld has them."""
    return dict(re.findall(r" (State|BootTime|Reason)=(.*?)(?= \w+=| \[|$)", scontrol(f"--oneliner show node {name}")))


def state_of(name: str) -> str:
    return seen(name)["State"]


def boot_times() -> dict[str, str]:
    """When slurmctld thinks the nodes have booted, which at each registration may differ by a second."""
    return {name: seen(name)["BootTime"] for name in NODES}


def boots() -> dict[str, str]:
    """What differs after a host has really rebooted: when its first process was started."""
    return {name: str(node(name).check_output("cut --delimiter=' ' --fields=22 /proc/1/stat")) for name in NODES}


def job_field(job: str, field: str) -> str:
    found = re.search(rf"\b{field}=(\S+)", scontrol(f"--oneliner show job {job}"))
    assert found
    return found.group(1)


def batch_job(name: str, seconds: int) -> str:
    """A batch job that runs on the node."""
    command = f"sbatch --parsable --nodelist={name} --chdir=/tmp --output=/dev/null --wrap='sleep {seconds}'"
    job = str(controller().check_output(command))
    eventually(lambda: job_field(job, "JobState"), lambda state: state == "RUNNING")
    return job


def by_hand(name: str, state: str, reason: str) -> None:
    scontrol(f"update nodename={name} state={state} reason='{reason}'")


def slurm_node(*arguments: str, **options: Any) -> Run:
    return run_playbook(*arguments, variables=options, playbook="slurm_node.yml")


def outcome(run: Run) -> dict[str, Any]:
    """What the module returned."""
    return run.results[-1][2]


def reboot(*arguments: str, **variables: Any) -> Run:
    return run_playbook(*arguments, variables={**ONE_AT_A_TIME, **variables}, playbook="hpcops.cluster.reboot")


@pytest.fixture(name="in_service", autouse=True)
def in_service_fixture() -> None:
    """All nodes are idle before each test, whatever the former one has left."""
    controller().check_output("systemctl start slurmctld")
    eventually(lambda: controller().run("scontrol ping").stdout, lambda text: "is UP" in text)
    controller().check_output("scancel --user=root")
    for name in NODES:
        node(name).check_output("rm -f /etc/unhealthy && systemctl start slurmd")
        if re.search("DRAIN|DOWN", state_of(name)):
            by_hand(name, "resume", "between tests")
    eventually(lambda: [state_of(name) for name in NODES], lambda states: set(states) == {"IDLE"}, seconds=60)


# --- The module ---


def test_no_job_starts_on_a_drained_node_until_the_drain_is_taken_back() -> None:
    drain = {"nodes": ["c1"], "state": "drained", "reason": "new kernel", "ticket": "CHG-7"}
    assert outcome(slurm_node(**drain).succeeded())["changed_nodes"] == ["c1"]
    assert seen("c1")["Reason"] == "hpcops[CHG-7]: new kernel"
    job = str(controller().check_output("sbatch --parsable --nodelist=c1 --chdir=/tmp --output=/dev/null --wrap=true"))
    assert not slurm_node(**drain).succeeded().changed
    assert job_field(job, "JobState") == "PENDING"

    slurm_node(nodes=["c1"], state="undrained", ticket="CHG-7").succeeded()
    assert state_of("c1") != "IDLE+DRAIN"
    eventually(lambda: job_field(job, "JobState"), lambda state: state == "COMPLETED", seconds=180)


def test_drains_of_others_are_left_alone_with_their_reasons() -> None:
    drains = {"c1": "fan is noisy", "c2": "hpcops[CHG-8]: firmware", "c3": "hpcops: firmware"}
    for name, reason in drains.items():
        by_hand(name, "drain", reason)
    for state in ("drained", "undrained", "resumed"):
        run = slurm_node(nodes=["c[1-3]"], state=state, reason="new kernel", ticket="CHG-7").succeeded()
        assert not run.changed
        assert {each["node"]: each["reason"] for each in outcome(run)["left_alone"]} == drains
        assert {each["set_by"] for each in outcome(run)["left_alone"]} == {"root"}
        assert {name: seen(name)["Reason"] for name in NODES} == drains
        assert {state_of(name) for name in NODES} == {"IDLE+DRAIN"}


def test_a_node_that_was_set_down_by_hand_stays_down() -> None:
    by_hand("c1", "down", "disk")
    for state in ("drained", "undrained", "resumed", "rebooted"):
        run = slurm_node(nodes=["c[1-2]"], state=state, reason="new kernel", timeout=90).succeeded()
        assert "c1" not in outcome(run)["changed_nodes"]
        assert (state_of("c1"), seen("c1")["Reason"]) == ("DOWN", "disk")


def test_an_unknown_node_is_named_and_nothing_changed() -> None:
    run = slurm_node(nodes=["c[1-3]", "c9"], state="drained", reason="new kernel").failed()
    assert "slurmctld knows no node c9" in run.failure
    assert [state_of(name) for name in NODES] == ["IDLE"] * 3


def test_nothing_is_changed_when_slurmctld_cannot_be_asked() -> None:
    controller().check_output("systemctl stop slurmctld")
    for state in ("drained", "rebooted"):
        run = slurm_node(nodes=["c1"], state=state, reason="new kernel").failed()
        assert "slurmctld cannot be asked, so nothing was changed" in run.failure
    controller().check_output("systemctl start slurmctld")
    assert eventually(lambda: controller().run("scontrol show node c1").stdout)
    assert "DRAIN" not in state_of("c1")


def test_a_drain_waits_for_the_running_job() -> None:
    job = batch_job("c1", round(10 * PATIENCE))
    run = slurm_node(nodes=["c1"], state="drained", reason="new kernel").succeeded()
    assert outcome(run)["before"]["c1"].startswith(("MIXED", "ALLOCATED"))
    assert job_field(job, "JobState") == "COMPLETED"
    assert state_of("c1") == "IDLE+DRAIN"


def test_jobs_that_do_not_end_in_time_are_named_and_the_drain_stays() -> None:
    job = batch_job("c1", 600)
    run = slurm_node(nodes=["c[1-2]"], state="drained", reason="new kernel", timeout=1).failed()
    assert f"job {job} of root on c1 (running)" in run.failure
    assert [each["id"] for each in outcome(run)["jobs"]] == [job]
    assert state_of("c1").endswith("+DRAIN")
    assert job_field(job, "JobState") == "RUNNING"

    ignored = slurm_node(nodes=["c1"], state="drained", reason="new kernel", timeout=1, when_busy="ignore").succeeded()
    assert [each["id"] for each in outcome(ignored)["jobs"]] == [job]


def test_batch_jobs_are_requeued_on_demand() -> None:
    job = batch_job("c1", 600)
    run = slurm_node(nodes=["c1"], state="drained", reason="new kernel", timeout=1, when_busy="requeue").succeeded()
    assert outcome(run)["requeued"] == [job]
    assert job_field(job, "JobState") == "PENDING"
    assert job_field(job, "Restarts") == "1"
    assert state_of("c1") == "IDLE+DRAIN"


def test_a_job_that_cannot_be_requeued_is_named() -> None:
    controller().check_output("cd /tmp && (srun --nodelist=c1 sleep 600 >/dev/null 2>&1 &)")
    eventually(lambda: state_of("c1"), lambda state: state != "IDLE")
    run = slurm_node(nodes=["c1"], state="drained", reason="new kernel", timeout=1, when_busy="requeue").failed()
    (job,) = outcome(run)["jobs"]
    assert f"These cannot be requeued: {job['id']}" in run.failure


def test_a_dry_run_tells_the_change_and_makes_none() -> None:
    run = slurm_node("--check", "--diff", nodes=["c[1-2]"], state="drained", reason="new kernel").succeeded()
    assert outcome(run)["after"] == {"c1": "IDLE+DRAIN", "c2": "IDLE+DRAIN"}
    assert "c1: IDLE+DRAIN" in outcome(run)["diff"]["after"]
    before = boots()
    slurm_node("--check", nodes=["c1"], state="rebooted", reason="new kernel").succeeded()
    assert [state_of(name) for name in NODES] == ["IDLE"] * 3
    assert boots() == before


def test_a_rebooted_node_can_be_kept_down_until_it_is_resumed() -> None:
    before = boots()
    slurm_node(nodes=["c1"], state="rebooted", next_state="down", reason="new kernel", ticket="CHG-7").succeeded()
    assert state_of("c1") == "DOWN"
    assert boots()["c1"] != before["c1"]
    slurm_node(nodes=["c1"], state="resumed", ticket="CHG-8").succeeded()
    assert state_of("c1") == "DOWN"
    slurm_node(nodes=["c1"], state="resumed", ticket="CHG-7").succeeded()
    assert state_of("c1") == "IDLE"


# --- The playbook ---


def start_sampling() -> None:
    """Write down, several times a second, which nodes of the three slurmctld does not have in service."""
    loop = f"while sleep 0.2; do sinfo --noheader --Node --partition=all --format='%N %T' | tr '\\n' ' '; echo; done >{SAMPLES}"
    controller().check_output(f'systemd-run --unit=sampling sh -c "{loop}"')


def sampled() -> list[set[str]]:
    controller().check_output("systemctl stop sampling")
    lines = controller().check_output(f"cat {SAMPLES}").splitlines()
    pairs = ([*zip(words[::2], words[1::2])] for words in map(str.split, lines))
    return [
        {name for name, state in each if state not in ("idle", "mixed", "allocated", "completing")} for each in pairs
    ]


def test_all_nodes_are_rebooted_one_at_a_time_and_a_drain_by_hand_survives() -> None:
    by_hand("c2", "drain", "fan is noisy")
    job = batch_job("c3", round(12 * PATIENCE))
    before = boot_times()
    booted = boots()
    start_sampling()
    reboot(reboot_ticket="CHG-7").succeeded()
    samples = [out - {"c2"} for out in sampled()]

    after = boot_times()
    assert all(after[name] > before[name] for name in NODES)
    assert (state_of("c2"), seen("c2")["Reason"]) == ("IDLE+DRAIN", "fan is noisy")
    assert (state_of("c1"), state_of("c3")) == ("IDLE", "IDLE")
    assert job_field(job, "JobState") == "COMPLETED"
    assert job_field(job, "Restarts") == "0"
    assert {name for out in samples for name in out} == {"c1", "c3"}, "the samples have missed a reboot"
    assert max(map(len, samples)) == 1
    rebooted = boots()
    assert all(rebooted[name] != booted[name] for name in NODES), "a container was not restarted"
    assert not run_playbook("--check").succeeded().changed, "a reboot has undone what a role had set"


def test_a_failed_health_check_stops_it_and_the_next_run_continues() -> None:
    node("c2").check_output("touch /etc/unhealthy")
    check = {"reboot_health_check": ["test ! -e /etc/unhealthy"], "reboot_ticket": "CHG-7", "reboot_health_timeout": 2}
    before = boots()
    run = reboot(**check).failed()
    stopped = boots()
    assert "test ! -e /etc/unhealthy" in run.failure
    assert stopped["c1"] != before["c1"]
    assert stopped["c2"] != before["c2"]
    assert stopped["c3"] == before["c3"]
    assert [state_of(name) for name in NODES] == ["IDLE", "IDLE+DRAIN", "IDLE"]
    assert seen("c2")["Reason"] == "hpcops[CHG-7]: rolling reboot"

    since = re.search(r"-e reboot_since=(\S+Z)", run.failure)
    assert since, run.failure
    node("c2").check_output("rm /etc/unhealthy")
    reboot(**check, reboot_since=since.group(1)).succeeded()
    after = boots()
    assert (after["c1"], after["c2"]) == (stopped["c1"], stopped["c2"])
    assert after["c3"] != stopped["c3"]
    assert [state_of(name) for name in NODES] == ["IDLE"] * 3


def test_a_partition_or_limit_is_rebooted_alone() -> None:
    before = boots()
    reboot(reboot_partitions=["part"]).succeeded()
    between = boots()
    assert [name for name in NODES if between[name] != before[name]] == ["c2"]
    reboot("--limit", names("slurmd")[2]).succeeded()
    after = boots()
    assert [name for name in NODES if after[name] != between[name]] == ["c3"]


def test_a_dry_run_of_the_playbook_reboots_nothing() -> None:
    before = boots()
    reboot("--check", "--diff").succeeded()
    assert boots() == before
    assert [state_of(name) for name in NODES] == ["IDLE"] * 3


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"reboot_share": 0}, "reboot_share is 0; give a percentage from 1 to 100"),
        ({"reboot_share": "some"}, "some"),
        ({"reboot_partitions": ["nope"]}, "there is no partition nope"),
        ({"reboot_nodes": ["c[1-9]"]}, "slurmctld knows no node c4"),
        ({"reboot_when_busy": "kill"}, "when_busy"),
        ({"reboot_since": "yesterday"}, "is no time"),
    ],
)
def test_wrong_values_are_refused_before_anything_is_touched(variables: dict[str, Any], problem: str) -> None:
    run = reboot(**variables).failed()
    assert problem in run.failure
    assert not run.changed
    assert [state_of(name) for name in NODES] == ["IDLE"] * 3


def test_a_controller_that_cannot_be_reached_does_not_matter(tmp_path: Path) -> None:
    dead = tmp_path / "dead.yml"
    dead.write_text("slurmctld: {hosts: {dead: {ansible_connection: ssh, ansible_host: 127.0.0.9, ansible_port: 9}}}")
    run = reboot("--check", "--inventory", str(dead)).succeeded()
    assert len(run.changed) == 6, "three batches are drained and rebooted, each from one host"


def test_nothing_is_rebooted_when_slurmctld_cannot_be_asked() -> None:
    controller().check_output("systemctl stop slurmctld")
    run = reboot().failed()
    assert "slurmctld cannot be asked, so nothing was touched" in run.failure
    assert not run.changed


def test_a_cluster_without_reboot_program_is_told_which_variable_to_set() -> None:
    run_playbook("--tags=slurmctld", variables={"slurmctld_parameters": {"RebootProgram": None}}).succeeded()
    try:
        assert "slurmctld_parameters.RebootProgram" in reboot().failed().failure
        run = slurm_node(nodes=["c1"], state="rebooted", reason="new kernel").failed()
        assert "slurmctld_parameters.RebootProgram" in run.failure
    finally:
        run_playbook("--tags=slurmctld").succeeded()
