"""A controller that runs what the site asks for, refuses what would break it, and survives both."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.hpcops.cluster.tests.support.hosts import PREFIX, container, eventually, names, variables_of
from ansible_collections.hpcops.cluster.tests.support.runs import Run, run_playbook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host

CONTROLLER = names("slurmctld")[0]
NODE = "c1"
testinfra_hosts = [f"docker://{PREFIX}{CONTROLLER}"]


def apply(variables: dict[str, Any] | None = None) -> Run:
    """Run the role on the controller alone."""
    return run_playbook("--limit", CONTROLLER, "--tags", "slurmctld", variables=variables)


def process(host: Host) -> str:
    return str(host.check_output("systemctl show slurmctld --property=MainPID --value"))


def started(host: Host) -> str:
    """Which start of the unit this is; slurmctld's process may change without one when it reconfigures."""
    return str(host.check_output("systemctl show slurmctld --property=InvocationID"))


def sums(host: Host) -> str:
    return str(host.check_output("sha256sum /etc/slurm/*.conf"))


def answers(host: Host) -> bool:
    ping = host.run("scontrol ping")
    return ping.rc == 0 and "is UP" in ping.stdout


def configuration(host: Host) -> dict[str, str]:
    """The parameters that the running slurmctld uses."""
    pairs = (line.split("=", 1) for line in host.check_output("scontrol show config").splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def record(host: Host, kind: str, name: str) -> dict[str, str]:
    """What scontrol shows of one node, partition or job."""
    words = host.check_output(f"scontrol --future --oneliner show {kind} {name}").split()
    return dict(word.split("=", 1) for word in words if "=" in word)


@pytest.fixture(name="node_is_ready", autouse=True, scope="module")
def node_is_ready_fixture() -> None:
    controller = container(CONTROLLER)
    look = "sinfo --noheader --nodes=c1 --partition=main --format=%T"
    eventually(lambda: str(controller.check_output(look)), lambda state: state == "idle", 60)


@pytest.fixture(name="job")
def job_fixture(host: Host) -> Iterator[str]:
    """A job that runs until the test is over, and that slurmctld will remember even if it crashes."""
    number = str(
        host.check_output("sbatch --parsable --chdir=/tmp --output=/dev/null --mem=50 --wrap='sleep 600'")
    ).strip()
    eventually(lambda: record(host, "job", number)["JobState"], lambda state: state == "RUNNING")
    # slurmctld saves its state some time after each change; the one of the job's start may be saved already.
    changed_at = float(host.check_output("date +%s.%N"))
    host.check_output(f"scontrol update jobid={number} comment=saved")
    saved = "stat --format=%.9Y /var/lib/slurm/slurmctld/job_state"
    eventually(lambda: float(host.check_output(saved)), lambda time: time > changed_at)
    yield number
    host.check_output(f"scancel {number}")


def test_parameters_of_the_site_are_in_effect(host: Host) -> None:
    running = configuration(host)
    assert running["MessageTimeout"] == "33 sec"
    assert set(running["SchedulerParameters"].split(",")) == {"bf_interval=45", "defer"}


def test_options_of_the_site_add_to_those_of_the_role(host: Host) -> None:
    assert set(configuration(host)["SlurmctldParameters"].split(",")) == {"enable_configless", "idle_on_node_suspend"}


def test_null_removes_a_parameter_of_the_role(host: Host) -> None:
    running = configuration(host)
    assert "DefMemPerCPU" not in running
    assert running["DefMemPerNode"] == "UNLIMITED"


def test_nodes_that_are_equal_share_a_line(host: Host) -> None:
    lines = re.findall(r"^NodeName=(\S+)", host.file("/etc/slurm/slurm.conf").content_string, re.MULTILINE)
    assert sorted(lines) == ["c1", "spare[1-2]"]
    assert record(host, "node", "spare2")["RealMemory"] == record(host, "node", "c1")["RealMemory"] == "1000"


def test_partition_takes_its_nodes_from_a_node_set(host: Host) -> None:
    assert record(host, "partition", "featured")["Nodes"] in ("c1", "bought")
    assert host.check_output("srun --partition=featured --mem=50 hostname").strip() == "c1"


def test_job_beyond_the_limit_of_its_partition_is_refused(host: Host) -> None:
    refused = host.run("srun --partition=featured --time=1:30:00 --mem=50 --immediate=5 true")
    assert refused.rc != 0
    assert "time limit" in refused.stderr.lower()


def test_jobs_get_generic_resources(host: Host) -> None:
    assert record(host, "node", "c1")["Gres"].startswith("widget:3")
    assert host.check_output("srun --gres=widget:3 --mem=50 hostname").strip() == "c1"
    refused = host.run("srun --gres=widget:4 --mem=50 true")
    assert refused.rc != 0
    assert "Requested node configuration is not available" in refused.stderr


def test_topology_is_known_to_the_scheduler(host: Host) -> None:
    shown = host.check_output("scontrol show topology")
    assert re.search(r"SwitchName=leaf1 Level=0 .*Nodes=c1\b", shown)
    assert re.search(r"SwitchName=spine Level=1 .*Switches=leaf\[1-2\]", shown)


REFUSED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "unknown parameter": (
        {"slurmctld_parameters": {"MessageTimout": 5}},
        ("MessageTimout", "did you mean MessageTimeout"),
    ),
    "word for a number": ({"slurmctld_parameters": {"MessageTimeout": "soon"}}, ("MessageTimeout", "soon")),
    "unknown key of a partition": (
        {"slurmctld_partitions": [{"PartitionName": "main", "Nodes": "ALL", "MaxTimes": 60}]},
        ("PartitionName main", "MaxTimes", "did you mean MaxTime"),
    ),
    "value that the installed release does not know": (
        {"slurmctld_parameters": {"PreemptMode": "NICELY"}},
        ("PreemptMode", "NICELY"),
    ),
    "unknown key of a generic resource": (
        {"slurmctld_gres": [{"NodeName": ["c1"], "Name": "widget", "Number": 3}]},
        ("gres.conf", "Number"),
    ),
    "unknown key of a switch": (
        {"slurmctld_topology": [{"SwitchName": "leaf1", "Node": ["c1"]}]},
        ("topology.conf", "leaf1", "did you mean Nodes"),
    ),
    # The installed parser has nothing against these.
    "partition of an unknown node": (
        {"slurmctld_partitions": [{"PartitionName": "main", "Nodes": ["c1", "ghost"], "Default": True}]},
        ("partition main", "ghost"),
    ),
    "missing plugin": ({"slurmctld_parameters": {"SelectType": "select/foo"}}, ("select/foo",)),
}


@pytest.mark.parametrize(("variables", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_broken_change_is_refused_and_touches_nothing(
    host: Host, variables: dict[str, Any], words: tuple[str, ...]
) -> None:
    before = process(host), sums(host)
    run = apply(variables).failed()
    for word in words:
        assert word in run.failure
    assert not run.changed
    assert (process(host), sums(host)) == before
    assert answers(host)


def test_jobs_survive_a_change_that_takes_effect_at_once(host: Host, job: str) -> None:
    before, start = record(host, "job", job), started(host)
    try:
        parameters = {**variables_of(CONTROLLER)["slurmctld_parameters"], "MessageTimeout": 44}
        run = apply({"slurmctld_parameters": parameters}).succeeded()
        assert [task for task, _host in run.changed] == [
            "hpcops.cluster.slurmctld : Bring the configuration to the primary controller"
        ]
        assert started(host) == start
        assert configuration(host)["MessageTimeout"] == "44 sec"
        after = record(host, "job", job)
        assert (after["JobState"], after["StartTime"], after["Restarts"]) == ("RUNNING", before["StartTime"], "0")
    finally:
        apply().succeeded()
    assert configuration(host)["MessageTimeout"] == "33 sec"
    assert record(host, "job", job)["JobState"] == "RUNNING"


def backup_timer(host: Host) -> tuple[bool, bool]:
    """Whether backups are made, and still are after a boot."""
    timer = host.service("hpcops-backup@state.timer")
    return bool(timer.is_running), bool(timer.is_enabled)


def test_state_is_backed_up(host: Host) -> None:
    assert backup_timer(host) == (True, True)
    host.check_output("systemctl start hpcops-backup@state.service")
    (saved, *_others) = json.loads(host.check_output("hpcops-backup list state --json"))
    assert not saved["problem"]


def test_state_is_slurms_and_ports_are_declared(host: Host) -> None:
    paths = (
        "/etc/slurm /etc/slurm/slurm.conf /var/lib/slurm/slurmctld /etc/systemd/system/slurmctld.service.d/hpcops.conf"
    )
    assert host.check_output(f"stat --format='%U:%G %a' {paths}").splitlines() == [
        "root:root 755",
        "root:root 644",
        "slurm:slurm 700",
        "root:root 644",
    ]
    assert "Ports=6817" in host.check_output("systemctl cat slurmctld").splitlines()


def test_nodes_follow_a_change_that_old_releases_restart_for(host: Host, job: str) -> None:
    node, site = container(NODE), variables_of(CONTROLLER)["slurmctld_parameters"]
    options = [*site["SlurmctldParameters"], "power_save_interval=20"]

    def same() -> bool:
        return bool(
            node.check_output("cat /run/slurm/conf/slurm.conf") == host.check_output("cat /etc/slurm/slurm.conf")
        )

    try:
        apply({"slurmctld_parameters": {**site, "SlurmctldParameters": options}, "slurmctld_backup": False}).succeeded()
        assert backup_timer(host) == (False, False)
        assert "power_save_interval=20" in configuration(host)["SlurmctldParameters"]
        eventually(same)
        assert record(host, "job", job)["JobState"] == "RUNNING"
        start = started(host)
        host.check_output("rm /etc/systemd/system/slurmctld.service.d/hpcops.conf")
    finally:
        apply().succeeded()
    eventually(same)
    assert backup_timer(host) == (True, True)
    # The unit's settings are in force again, which took a restart.
    assert started(host) != start
    shown = host.check_output("systemctl show slurmctld --property=NeedDaemonReload,Restart,RuntimeDirectory")
    assert set(shown.splitlines()) == {"NeedDaemonReload=no", "Restart=on-failure", "RuntimeDirectory=slurmctld"}
    assert "/var/lib/slurm/slurmctld" in host.check_output("systemctl show slurmctld --property=RequiresMountsFor")
    assert "is not the state of this cluster" in host.check_output("systemctl cat slurmctld")
    assert record(host, "job", job)["JobState"] == "RUNNING"


def test_a_stopped_slurmctld_is_started_by_the_next_run(host: Host, job: str) -> None:
    host.check_output("systemctl stop slurmctld")
    run = apply().succeeded()
    assert [task for task, _host in run.changed] == [
        "hpcops.cluster.slurmctld : Run slurmctld on the primary controller"
    ]
    assert answers(host)
    assert record(host, "job", job)["JobState"] == "RUNNING"


def test_a_killed_slurmctld_is_started_again(host: Host) -> None:
    before = process(host)
    host.check_output("systemctl kill --kill-whom=main --signal=KILL slurmctld")
    eventually(lambda: answers(host), seconds=60)
    assert process(host) != before
    host.check_output("scancel --user=root")  # one that was cancelled just before may have come back
