# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes to a running cluster: refused, made in the least disruptive way, rolled back, interrupted and finished."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.hpcops.cluster.tests.support.hosts import (
    DISTRO,
    INVENTORY,
    PREFIX,
    container,
    eventually,
    names,
    seen_before,
)
from ansible_collections.hpcops.cluster.tests.support.runs import Run, run_playbook

if TYPE_CHECKING:
    from testinfra.host import Host

PRIMARY, BACKUP = sorted(names("slurmctld"))
testinfra_hosts = [f"docker://{PREFIX}{PRIMARY}"]
# Up to 23.02 a running slurmctld re-reads only a part of its configuration.
OLD = DISTRO == "bookworm"
# What is decided on the control machine, or has shown itself on one release, is not tested on each.
once = pytest.mark.skipif(DISTRO != "trixie", reason="the release has no part in it")
ALONE = [{"PartitionName": "main", "Nodes": "ALL", "Default": True}]
TWO = [*ALONE, {"PartitionName": "first", "Nodes": ["c1"]}]


def change(*arguments: str, **variables: Any) -> Run:
    """Run the role slurmctld on the controllers with other variables."""
    return run_playbook(*arguments, variables=variables, playbook="controllers.yml")


def parameters(**more: Any) -> dict[str, Any]:
    """The scenario's own parameters, and more."""
    return {"slurmctld_parameters": {"DefMemPerCPU": 100, "SlurmctldTimeout": 15, **more}}


def without(*nodes: str) -> dict[str, Any]:
    """The cluster without some nodes."""
    left = [name for name in ("c1", "c2") if name not in nodes]
    return {"slurmctld_nodes": [{"NodeName": name, "CPUs": 2, "RealMemory": 1000} for name in left]}


def configured(run: Run, name: str = PRIMARY) -> dict[str, Any]:
    """What slurm_config returned on a controller."""
    return next(
        result
        for task, host, result in run.results
        if "Bring the configuration" in task and host == name and "plan" in result
    )


def files(name: str) -> str:
    """The files of a controller, and whether a change of them is pending."""
    return str(
        container(name).check_output("cd /etc/slurm && sha256sum *.conf && ls .before/pending 2>/dev/null || true")
    )


def daemon(name: str, unit: str = "slurmctld") -> str:
    return str(container(name).check_output(f"systemctl show {unit} --property=MainPID --property=InvocationID"))


def shown(host: Host, name: str) -> str:
    """A parameter as slurmctld runs with it."""
    match = re.search(rf"^{name}\s*= (.*?)\s*$", host.check_output("scontrol show config"), re.MULTILINE)
    assert match, name
    return match[1]


def node(host: Host, name: str, key: str) -> str:
    text = host.check_output(f"scontrol --oneliner show node {name}")
    match = re.search(rf"\b{key}=(\S*)", text)
    assert match, text
    return match[1]


def a_job_runs(host: Host, *options: str) -> str:
    return str(host.check_output(f"srun {' '.join(options)} --immediate=30 hostname")).strip()


@pytest.fixture(name="cluster", autouse=True)
def cluster_fixture(host: Host) -> None:
    """All nodes wait for jobs."""
    look = "sinfo --noheader --Node --partition=main --format='%N %T'"
    eventually(lambda: host.check_output(look).split("\n"), lambda seen: seen == ["c1 idle", "c2 idle"], 60)


@contextmanager
def job(host: Host, *options: str) -> Iterator[str]:
    """A job that runs until it is over here."""
    command = f"sbatch --parsable --chdir=/tmp --output=/dev/null {' '.join(options)} --wrap='sleep 600'"
    number = str(host.check_output(command)).strip()
    state = f"squeue --noheader --jobs={number} --format=%T"
    eventually(lambda: host.check_output(state).strip(), lambda seen: seen == "RUNNING")
    try:
        yield number
    finally:
        host.run(f"scancel {number}")
        eventually(lambda: host.run(state).stdout.strip() == "")


# --- Refused ---------------------------------------------------------------------------------------------------------

BROKEN = {
    "unknown key": (parameters(SchedulerTimeSlise=30), "SchedulerTimeSlise"),
    "partition with an unknown node": (
        {"slurmctld_partitions": [{"PartitionName": "main", "Nodes": ["c1", "c7"]}]},
        "c7",
    ),
    "plugin that does not exist": (parameters(SchedulerType="sched/foo"), "sched/foo"),
    "controller that does not exist": ({"slurm_controllers": ["ctl1", "ctl2", "ctl7"]}, "SlurmctldHost ctl7"),
    "program that is another one on each controller": (parameters(PrologSlurmctld="/etc/hostname"), "/etc/hostname"),
    "RealMemory as a word": ({"slurm_node_real_memory": "lots"}, "slurm_node_real_memory"),
    "time that is none": (
        {"slurmctld_partitions": [{"PartitionName": "main", "Nodes": "ALL", "MaxTime": "soon"}]},
        "soon",
    ),
}


BY_SLURM = ("partition with an unknown node", "plugin that does not exist")


@seen_before
@pytest.mark.parametrize("case", [pytest.param(case, marks=() if case in BY_SLURM else once) for case in BROKEN])
def test_broken_change_is_refused_and_nothing_is_touched(host: Host, case: str) -> None:
    variables, says = BROKEN[case]
    before = [files(PRIMARY), files(BACKUP), daemon(PRIMARY), daemon(BACKUP)]
    if "plugin" in case:  # which only the trial finds
        assert says in change("--check", **variables).failed().failure
    assert says in change(**variables).failed().failure
    assert [files(PRIMARY), files(BACKUP), daemon(PRIMARY), daemon(BACKUP)] == before
    assert a_job_runs(host, "--nodelist=c1") == "c1"
    assert host.run("ls -d /run/slurm-candidate-*").stdout == "", "the trial left something behind"


@seen_before
def test_node_with_a_running_job_is_not_taken_away_unless_forced(host: Host) -> None:
    before = files(PRIMARY)
    with job(host, "--nodelist=c2") as number:
        refused = change(**without("c2"), slurmctld_partitions=TWO).failed().failure
        assert f"job {number} of root (running in main on c2)" in refused
        assert files(PRIMARY) == before
        assert host.check_output(f"squeue --noheader --jobs={number} --format=%T").strip() == "RUNNING"
        change(**without("c2"), slurmctld_partitions=TWO, slurmctld_force=True).succeeded()
        assert host.check_output("sinfo --noheader --Node --partition=main --format=%N").split() == ["c1"]
    change().succeeded()


@seen_before
def test_shape_of_a_node_does_not_change_under_a_job_and_what_does_leaves_it_alone(host: Host) -> None:
    c1, c2 = {"NodeName": "c1", "CPUs": 2, "RealMemory": 1000}, {"NodeName": "c2", "CPUs": 2, "RealMemory": 1000}
    apart = [
        {"PartitionName": "main", "Nodes": ["c1"], "Default": True},
        {"PartitionName": "first", "Nodes": ["c1", "c2"]},
    ]
    with job(host, "--nodelist=c2") as number:
        refused = change(slurmctld_nodes=[c1, {**c2, "CPUs": 1}]).failed().failure
        assert f"node c2: job {number} of root" in refused
        change(slurmctld_nodes=[c1, {**c2, "RealMemory": 900}], slurmctld_partitions=apart).succeeded()
        assert host.check_output(f"squeue --noheader --jobs={number} --format='%T %P'").strip() == "RUNNING main"
        change().succeeded()


@once
def test_node_that_a_waiting_job_has_named_is_not_taken_away(host: Host) -> None:
    number = host.check_output("sbatch --parsable --hold --nodelist=c2 --wrap=true").strip()
    try:
        assert f"job {number} of root (pending in main on c2)" in change(**without("c2")).failed().failure
    finally:
        host.check_output(f"scancel {number}")


@seen_before
def test_partition_with_a_waiting_job_is_not_taken_away(host: Host) -> None:
    number = host.check_output("sbatch --parsable --hold --partition=first --wrap=true").strip()
    try:
        assert f"job {number} of root (pending in first)" in change(slurmctld_partitions=ALONE).failed().failure
    finally:
        host.check_output(f"scancel {number}")


# --- Planned ---------------------------------------------------------------------------------------------------------


@once
def test_check_and_apply_have_the_same_plan_and_only_an_approved_one_is_made(host: Host, tmp_path: Path) -> None:
    wanted = parameters(MessageTimeout=33, SchedulerParameters={"defer": True})
    plan_file = tmp_path / "plan.json"
    check = change(
        "--check", "--diff", **wanted, slurm_config_plan_file=str(plan_file), slurm_change_ticket="CHG-7"
    ).succeeded()
    record = json.loads(plan_file.read_text())
    assert record["ticket"] == "CHG-7"
    assert record["author"]
    assert record["time"]
    assert [(each["name"], each["before"], each["after"]) for each in record["plan"]["changes"]] == [
        ("MessageTimeout", None, "33"),
        ("SchedulerParameters", None, "defer"),
    ]
    assert configured(check)["plan"] == record["plan"]
    assert "MessageTimeout: added: 33 [reconfigure]" in configured(check)["diff"][0]["prepared"]
    assert shown(host, "MessageTimeout") == "10 sec"

    approved = {"slurm_config_approved_plan_file": str(plan_file)}
    more = parameters(MessageTimeout=33, SchedulerParameters={"defer": True}, KillWait=31)
    refused = change(**more, **approved).failed().failure
    assert "KillWait" in refused
    assert "MessageTimeout" not in refused
    apply = change(**wanted, **approved).succeeded()
    assert configured(apply)["plan"] == record["plan"]
    assert shown(host, "MessageTimeout") == "33 sec"
    assert not change(**wanted, **approved).succeeded().changed, "what is done needs no approval"

    change(**parameters(MessageTimeout=33)).succeeded()
    assert "have changed since it was made" in change(**wanted, **approved).failed().failure
    change().succeeded()


# What a change takes: variables (of the cluster, or of node c2), the action and whose slurmd must restart (on old releases, on others),
# and how to see it.
def is_shown(name: str, value: str) -> Any:
    return lambda host: shown(host, name) == value


def node_has(key: str, value: str) -> Any:
    return lambda host: node(host, "c2", key) == value


CLASSES: dict[str, tuple[dict[str, Any], tuple[str, str], tuple[str, str], Any]] = {
    "timeout": (
        {"slurmctld_parameters": {"MessageTimeout": 34}},
        ("reconfigure", ""),
        ("reconfigure", ""),
        is_shown("MessageTimeout", "34 sec"),
    ),
    "partition": (
        {"slurmctld_partitions": [*TWO, {"PartitionName": "third", "Nodes": ["c2"]}]},
        ("reconfigure", ""),
        ("reconfigure", ""),
        lambda host: a_job_runs(host, "--partition=third") == "c2",
    ),
    "plugin": (
        {"slurmctld_parameters": {"SelectTypeParameters": "CR_CPU_Memory"}},
        ("restart_slurmctld", ""),
        ("reconfigure", ""),
        is_shown("SelectTypeParameters", "CR_CPU_MEMORY"),
    ),
    "weight of a node": ({"c2": {"Weight": 7}}, ("reconfigure", ""), ("reconfigure", ""), node_has("Weight", "7")),
    "memory of a node": (
        {"c2": {"RealMemory": 900}},
        ("restart_slurmd", "ALL"),
        ("reconfigure", ""),
        node_has("RealMemory", "900"),
    ),
    "port of all nodes": (
        {"slurmctld_parameters": {"SlurmdPort": 6918}},
        ("restart_slurmd", "ALL"),
        ("restart_slurmd", "ALL"),
        is_shown("SlurmdPort", "6918"),
    ),
    "port of a node": (
        {"c2": {"Port": 6828}},
        ("restart_slurmd", "ALL"),
        ("restart_slurmd", "c2"),
        node_has("Port", "6828"),
    ),
    # Last, since slurmd that restarts would look for the former one.
    "port of the controller": (
        {"slurmctld_parameters": {"SlurmctldPort": 6917}},
        ("restart_slurmctld", ""),
        ("restart_slurmctld", ""),
        is_shown("SlurmctldPort", "6917"),
    ),
}


def restart_slurmd(nodes: str) -> None:
    for name in names("slurmd"):
        if nodes == "ALL" or name == nodes:
            container(name).check_output("systemctl restart slurmd")


@pytest.fixture(name="so_far", scope="module")
def so_far_fixture() -> dict[str, Any]:
    """Changes that are made one on top of the other."""
    return {"slurmctld_partitions": TWO, **parameters(), "c2": {}}


def variables_of_all(so_far: dict[str, Any]) -> dict[str, Any]:
    c1 = {"NodeName": "c1", "CPUs": 2, "RealMemory": 1000}
    nodes = [c1, {**c1, "NodeName": "c2", **so_far["c2"]}]
    return {**{name: value for name, value in so_far.items() if name != "c2"}, "slurmctld_nodes": nodes}


@pytest.mark.parametrize("case", CLASSES)
def test_what_the_plan_says_of_a_change_suffices(host: Host, so_far: dict[str, Any], case: str) -> None:
    variables, old, new, is_active = CLASSES[case]
    action, slurmd = old if OLD else new
    for name, value in variables.items():
        so_far[name] = {**so_far[name], **value} if isinstance(value, dict) else value
    wanted = variables_of_all(so_far)
    unit = "systemctl show slurmctld --property=InvocationID"
    before = host.check_output(unit)
    result = configured(change(**wanted).succeeded())
    assert (result["plan"]["action"], result["restart_slurmd"]) == (action, slurmd)
    assert (host.check_output(unit) == before) == (action == "reconfigure")
    restart_slurmd(slurmd)
    assert is_active(host)
    both = "srun --nodes=2 --ntasks=2 --immediate=20 hostname"
    eventually(lambda: sorted(host.run(both).stdout.split()), lambda seen: seen == ["c1", "c2"])


def test_all_these_changes_are_taken_back(host: Host, so_far: dict[str, Any]) -> None:
    """The controller's port by itself: a backup could not ask for jobs where the primary answers elsewhere already."""
    so_far["slurmctld_parameters"].pop("SlurmctldPort")
    change(**variables_of_all(so_far)).succeeded()
    result = configured(change().succeeded())
    assert result["restart_slurmd"] == "ALL"
    restart_slurmd("ALL")
    assert shown(host, "SlurmctldPort") == "6817"
    eventually(lambda: host.run("srun --nodes=2 --immediate=20 true").rc == 0)
    assert not change().succeeded().changed


# --- Rolled back -----------------------------------------------------------------------------------------------------


@seen_before
def test_change_that_kills_slurmctld_is_rolled_back(host: Host) -> None:
    """The port is taken, which no check can know: the trial runs in a network of its own."""
    before = [files(PRIMARY), files(BACKUP)]
    host.check_output("systemd-run --unit=squatter python3 -m http.server 6999")
    try:
        with job(host, "--nodelist=c2") as number:
            failure = change(**parameters(SlurmctldPort=6999)).failed().failure
            assert "The former files are back, and slurmctld answers with them" in failure
            # The last words of 22.05 do not reach the journal.
            assert ("status=1/FAILURE" if OLD else "6999") in failure or "in use" in failure
            assert [files(PRIMARY), files(BACKUP)] == before
            assert host.check_output(f"squeue --noheader --jobs={number} --format=%T").strip() == "RUNNING"
            assert a_job_runs(host, "--nodelist=c1") == "c1"
    finally:
        host.run("systemctl stop squatter")
    assert not change().succeeded().changed


# --- Interrupted -----------------------------------------------------------------------------------------------------

# In place of scontrol: before it reconfigures, it waits until it is let go.
WAITS = """#!/bin/sh
while [ "$1" = reconfigure ] && [ -e /run/hold ]; do sleep 0.2; done
exec /usr/bin/scontrol "$@"
"""
WAITING = "pgrep --full 'local/bin/scontrol reconfigur[e]'"


@contextmanager
def cut_in_the_middle(host: Host, **variables: Any) -> Iterator[None]:
    """A run of the role that is killed, with its connections, when the files are replaced and slurmctld does not know yet."""
    host.check_output(
        "touch /run/hold && printf %s "
        + shlex.quote(WAITS)
        + " >/usr/local/bin/scontrol && chmod 755 /usr/local/bin/scontrol"
    )
    command = [
        "ansible-playbook",
        f"--inventory={INVENTORY}",
        f"--extra-vars={json.dumps(variables)}",
        "controllers.yml",
    ]
    folder = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
    run = subprocess.Popen(
        command,
        cwd=os.environ["MOLECULE_SCENARIO_DIRECTORY"],
        env={**os.environ, "ANSIBLE_CONFIG": str(folder / "ansible.cfg")},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        eventually(lambda: host.run(WAITING).rc == 0, seconds=60)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        yield
    finally:
        host.check_output("rm -f /run/hold /usr/local/bin/scontrol")


def runs_everywhere(host: Host, wanted: dict[str, Any]) -> None:
    assert shown(host, "MessageTimeout") == "44 sec"
    assert shown(host, "HASH_VAL") == "Match"
    assert files(PRIMARY) == files(BACKUP)
    assert "pending" not in files(PRIMARY)
    assert sorted(a_job_runs(host, "--nodes=2").split()) == ["c1", "c2"]
    assert not change(**wanted).succeeded().changed


@seen_before
def test_change_whose_module_was_killed_is_noticed_and_finished(host: Host) -> None:
    wanted = parameters(MessageTimeout=44)
    with cut_in_the_middle(host, **wanted):
        host.check_output(f"waiting=$({WAITING}); kill -KILL $(ps -o ppid= -p $waiting) $waiting")
    assert shown(host, "MessageTimeout") == "10 sec"
    assert "pending" in files(PRIMARY)
    assert "pending" not in files(BACKUP)
    assert change("--check", **wanted).succeeded().changed, "check mode would not finish it"
    result = configured(change(**wanted).succeeded())
    assert any("was interrupted" in warning for warning in result["warnings"])
    assert [each["name"] for each in result["plan"]["changes"]] == ["MessageTimeout"]
    runs_everywhere(host, wanted)
    change().succeeded()


@once
def test_interrupted_change_can_be_taken_back(host: Host) -> None:
    with cut_in_the_middle(host, **parameters(MessageTimeout=44)):
        host.check_output(f"waiting=$({WAITING}); kill -KILL $(ps -o ppid= -p $waiting) $waiting")
    assert "MessageTimeout=44" in host.file("/etc/slurm/slurm.conf").content_string
    change().succeeded()
    assert "MessageTimeout" not in host.file("/etc/slurm/slurm.conf").content_string
    assert shown(host, "HASH_VAL") == "Match"
    assert not change().succeeded().changed


@once
def test_change_whose_connection_was_cut_is_finished_by_the_module_while_the_next_run_waits(host: Host) -> None:
    wanted = parameters(MessageTimeout=44)
    with cut_in_the_middle(host, **wanted):
        host.check_output("(sleep 10; rm /run/hold) >/dev/null 2>&1 &")
        change(**wanted).succeeded()
    runs_everywhere(host, wanted)
    change().succeeded()
