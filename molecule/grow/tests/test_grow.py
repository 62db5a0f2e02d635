# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes come, go and are replaced, while the others work on. The tests follow a cluster's life, in their order."""

from __future__ import annotations

import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.hpcops.cluster.tests.support.hosts import DISTRO, PREFIX, container, eventually, names
from ansible_collections.hpcops.cluster.tests.support.runs import Run, run_playbook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testinfra.host import Host

CONTROLLER = names("slurmctld")[0]
C1, C2 = sorted(names("slurmd"))
C3 = names("spare")[0]
# Up to 23.02 every slurmd must restart when a node comes or goes.
OLD = DISTRO == "bookworm"
NEW_NODE = f"--limit={C3},{CONTROLLER}"
testinfra_hosts = [f"docker://{PREFIX}{CONTROLLER}"]


@pytest.fixture(name="with_c3", scope="session")
def with_c3_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The second source of inventory, by which c3 is a compute node."""
    path = tmp_path_factory.mktemp("inventory") / "with_c3.json"
    path.write_text(json.dumps({"slurmd": {"hosts": {C3: {}}}}))
    return path


def run(playbook: str, *arguments: str | Path, **variables: Any) -> Run:
    """Run a playbook of the collection; a path among the arguments is a further source of inventory."""
    options = [each if isinstance(each, str) else f"--inventory={each}" for each in arguments]
    return run_playbook(*options, variables=variables, playbook=f"hpcops.cluster.{playbook}")


def hosts(done: Run) -> set[str]:
    return {host for _task, host, _result in done.results}


def said(done: Run) -> str:
    """What the debug tasks printed."""
    return "\n".join(str(result["msg"]) for _task, _host, result in done.results if "msg" in result)


def states(host: Host) -> dict[str, str]:
    lines = host.check_output("sinfo --noheader --Node --format='%N %T'").splitlines()
    return dict(line.split() for line in lines)


def node(host: Host, name: str = "c3") -> str:
    return str(host.check_output(f"scontrol --oneliner show node {name}"))


def conf(host: Host) -> str:
    return str(host.check_output("cat /etc/slurm/slurm.conf"))


def services(*platforms: str) -> list[str]:
    """The invocations of slurmd; a reconfiguration gives it another process, a restart another invocation."""
    show = "systemctl show slurmd --property=InvocationID,ActiveState,UnitFileState"
    return [container(name).check_output(show) for name in platforms]


def state_of(host: Host, number: str) -> str:
    match = re.search(r"JobState=(\w+)", host.check_output(f"scontrol show job {number}"))
    assert match
    return match[1]


@contextmanager
def job(host: Host, name: str) -> Iterator[str]:
    """A job on a node, which ends with exit status 0 when the file /tmp/end is there."""
    container(name).run("rm -f /tmp/end")
    script = "until [ -e /tmp/end ]; do sleep 0.3; done"
    others = ",".join({"c1", "c2", "c3"} & states(host).keys() - {name})
    submit = f"sbatch --parsable --exclude={others} --chdir=/tmp --output=/dev/null --wrap='{script}'"
    number = str(host.check_output(submit)).strip()
    try:
        eventually(lambda: state_of(host, number), lambda state: state == "RUNNING")
        yield number
    finally:
        host.run(f"scancel {number}")


def let_end(name: str) -> None:
    container(name).check_output("touch /tmp/end")


def idle(host: Host, *wanted: str) -> None:
    eventually(lambda: states(host), lambda seen: seen == dict.fromkeys(wanted, "idle"), 90)


# --- Refused ---------------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[str, tuple[str, ...], dict[str, Any], str]] = {
    "no new nodes": ("grow", (), {}, "grow_nodes is not given"),
    "empty pattern": ("grow", (), {"grow_nodes": ""}, "grow_nodes is empty"),
    "unknown host": ("grow", (), {"grow_nodes": "nobody"}, 'grow_nodes: "nobody" matches no compute node'),
    "controller": ("grow", (), {"grow_nodes": f"{C3},{CONTROLLER}"}, f"matches {CONTROLLER}, which the group"),
    "without controllers": ("grow", (f"--limit={C3}",), {}, "leaves the controllers out"),
    "no compute node": ("grow", (), {"grow_nodes": C3}, f"matches {C3}, not in the group slurmd"),
    "batch": ("grow", (NEW_NODE,), {"grow_batch": "half"}, 'grow_batch: "half"'),
    "nothing to remove": ("shrink", (), {}, "shrink_nodes is empty"),
    "unknown node": ("shrink", (), {"shrink_nodes": "c[1,8-9]"}, "knows c[8-9]"),
    "no host list": ("shrink", (), {"shrink_nodes": "c[3-"}, 'shrink_nodes is no host list: "c[3-"'),
    "all nodes": ("shrink", (), {"shrink_nodes": "c[1-3]"}, "are all nodes"),
    "no such way": ("shrink", (), {"shrink_nodes": "c1", "shrink_when_busy": "kill"}, 'shrink_when_busy: "kill"'),
    "lines of its own": ("shrink", (), {"shrink_nodes": "c1", "slurmctld_nodes": []}, "slurmctld_nodes is set"),
    "nothing to replace": ("replace_node", (), {"replace_nodes": ""}, "replace_nodes is empty"),
    "unknown replaced": ("replace_node", (), {"replace_nodes": "c9"}, "replace_nodes: c9 is the node of no host"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_value_is_refused_before_anything_is_touched(with_c3: Path, case: str) -> None:
    playbook, arguments, variables, says = WRONG[case]
    sources = [] if case == "no compute node" else [with_c3]
    refused = run(playbook, *sources, *arguments, **variables).failed()
    assert says in " ".join(refused.failure.split())
    assert not refused.changed


def test_partition_that_names_a_node_keeps_it_in_service(host: Host) -> None:
    named = [{"PartitionName": "main", "Nodes": ["c1", "c2"], "Default": True}]
    refused = run("shrink", shrink_nodes="c2", slurmctld_partitions=named).failed()
    assert "c2" in refused.failure
    assert states(host)["c2"] == "idle"


def test_node_that_cannot_be_prepared_keeps_the_controllers_from_learning(host: Host, with_c3: Path) -> None:
    before = conf(host)
    packages = f"{{{{ ['no-such-package'] if inventory_hostname == '{C3}' else [] }}}}"
    limit = f"--limit={C2},{C3},{CONTROLLER}"
    failed = run("grow", with_c3, limit, os_base_packages=packages).failed()
    assert "no-such-package" in failed.failure
    assert f"{C3} could not be prepared" in failed.failure
    assert conf(host) == before
    short = run("grow", with_c3, NEW_NODE, munge_key="c2hvcnQ=").failed()
    assert "munge_key" in short.failure
    assert conf(host) == before


# --- Growing ---------------------------------------------------------------------------------------------------------


def test_new_node_joins_while_the_others_work_on(host: Host, with_c3: Path) -> None:
    before, text = services(C1, C2), conf(host)
    with job(host, "c1") as number:
        steps = container(C1).check_output("pgrep slurmstepd")
        run("grow", with_c3, NEW_NODE, "--check").succeeded()
        assert conf(host) == text
        grown = run("grow", with_c3, NEW_NODE).succeeded()
        assert hosts(grown) == {C3, CONTROLLER}
        assert services(C1, C2) == before
        assert states(host)["c3"] == "idle"
        if OLD:
            assert f"slurmd must restart on {C1.removesuffix('1')}[1-2]" in said(grown)
            limit = f"--limit={C1},{C2}"
            run("site", with_c3, "--tags=slurmd", limit, slurmd_restart=True).succeeded()
            assert services(C1, C2) != before
        else:
            assert "slurmd must restart" not in said(grown)
        assert state_of(host, number) == "RUNNING"
        assert container(C1).check_output("pgrep slurmstepd") == steps
        let_end("c1")
        eventually(lambda: state_of(host, number), lambda state: state == "COMPLETED")
    assert set(host.check_output("srun --nodelist=c1,c3 --nodes=2 hostname").split()) == {"c1", "c3"}
    again = run("grow", with_c3, grow_nodes=C3).succeeded()
    assert not again.changed
    assert hosts(again) == {C3, CONTROLLER}


def turns(done: Run) -> list[str]:
    """The hosts in the order in which they were worked on, each once for as long as it had its turn."""
    return [host for host, _results in groupby(host for _task, host, _result in done.results)]


def test_nodes_arrive_in_batches_until_one_fails(host: Host, with_c3: Path) -> None:
    both = f"--limit={C2},{C3},{CONTROLLER}"
    one_by_one = [CONTROLLER, C2, C3, CONTROLLER, C2, C3]
    assert turns(run("grow", with_c3, both, grow_batch=1).succeeded())[:6] == one_by_one
    broken = {"os_base_packages": f"{{{{ ['no-such-package'] if inventory_hostname == '{C2}' else [] }}}}"}
    failed = run("grow", with_c3, both, grow_batch=1, **broken).failed()
    assert turns(failed) == [CONTROLLER, C2], "the run went on after a batch that failed"
    tolerated = run("grow", with_c3, both, grow_max_failures=1, **broken).failed()
    assert "no-such-package" in tolerated.failure
    assert "could not be prepared" not in tolerated.failure
    joined = [host for task, host, _result in tolerated.results if "Wait until slurmctld can use the node" in task]
    assert joined == [C3]
    assert host.check_output("srun --nodelist=c3 hostname") == "c3"


def test_node_that_does_not_become_usable_is_reported_with_slurms_reason(host: Host, with_c3: Path) -> None:
    host.check_output("scontrol update nodename=c3 state=drain reason='fan is dead'")
    try:
        failed = run("grow", with_c3, NEW_NODE, slurmd_join_timeout=3).failed()
        assert "Reason=fan is dead" in failed.failure
        assert "Last lines of journal" in failed.failure
    finally:
        host.check_output("scontrol update nodename=c3 state=resume")


# --- Replacing -------------------------------------------------------------------------------------------------------


def make_anew(name: str) -> None:
    """Another host under the same name, bare as the first one was."""
    subprocess.run(["docker", "rm", "--force", "--volumes", f"{PREFIX}{name}"], check=True, stdout=subprocess.DEVNULL)
    options = [f"--name={PREFIX}{name}", f"--hostname={name}", f"--network=grow-{DISTRO}", f"--network-alias={name}"]
    options += [f"--cap-add={each}" for each in ("SYS_ADMIN", "NET_ADMIN", "SYS_NICE", "IPC_LOCK", "SYS_PTRACE")]
    options += [f"--security-opt={each}=unconfined" for each in ("seccomp", "apparmor")]
    options += ["--tmpfs=/run:exec", "--tmpfs=/tmp:exec", "--label=owner=molecule", "--label=hpcops=scenario"]
    options += [f"--label=hpcops.runner={os.environ.get('HPCOPS_RUNNER', '')}"]
    command = ["docker", "run", "--detach", *options, f"hpcops-test:{DISTRO}", "/usr/local/sbin/init"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    booted = "systemctl is-system-running --wait"
    eventually(
        lambda: container(name).run(booted).stdout, lambda state: state.strip() in ("running", "degraded"), seconds=60
    )


def test_replaced_node_returns_with_its_new_hardware(host: Host, with_c3: Path, tmp_path: Path) -> None:
    drained = run("replace_node", with_c3, replace_nodes="c3", replace_ticket="CHG-9").succeeded()
    assert "replace_swapped=true" in said(drained)
    assert "Reason=hpcops[CHG-9]: to be replaced" in node(host)
    assert "DRAIN" in node(host)
    assert "ActiveState=inactive" in services(C3)[0]
    again = run("replace_node", with_c3, replace_nodes="c3", replace_ticket="CHG-9").succeeded()
    assert not again.changed

    make_anew(C3)
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"slurmd": {"hosts": {C3: {"slurm_node_real_memory": 900}}}}))
    swapped = {"replace_nodes": "c3", "replace_ticket": "CHG-9", "replace_swapped": True}
    run("replace_node", with_c3, other, NEW_NODE, **swapped).succeeded()
    assert "RealMemory=900 " in node(host)
    assert states(host)["c3"] == "idle"
    assert host.check_output("srun --nodelist=c3 hostname") == "c3"


def test_drain_by_hand_is_not_taken_back(host: Host, with_c3: Path) -> None:
    host.check_output("scontrol update nodename=c3 state=drain reason='fan is dead'")
    try:
        returned = run("replace_node", with_c3, NEW_NODE, replace_nodes="c3", replace_swapped=True).succeeded()
        assert "c3 (IDLE+DRAIN: fan is dead, by root)" in said(returned)
        assert states(host)["c3"] == "drained"
    finally:
        host.check_output("scontrol update nodename=c3 state=resume")


# --- Shrinking -------------------------------------------------------------------------------------------------------


def test_node_with_a_job_that_does_not_end_stays_drained(host: Host, with_c3: Path) -> None:
    idle(host, "c1", "c2", "c3")
    text = conf(host)
    with job(host, "c3") as number:
        shrink = {"shrink_nodes": "c3", "shrink_ticket": "CHG-1", "shrink_timeout": 2}
        failed = run("shrink", with_c3, **shrink).failed()
        assert number in failed.failure
        assert "scontrol update nodename=c3 state=resume" in failed.failure
        assert "Reason=hpcops[CHG-1]: to be removed" in node(host)
        asked = run("shrink", with_c3, **shrink, shrink_when_busy="ask").failed()
        assert f"Jobs {number} are left on the nodes" in asked.failure
        assert "there was no answer" in asked.failure
        assert states(host)["c3"] in ("draining", "drained*", "draining*")
        assert conf(host) == text
        assert state_of(host, number) == "RUNNING"


def test_node_goes_when_its_job_has_ended(host: Host, with_c3: Path) -> None:
    host.check_output("scontrol update nodename=c3 state=resume")
    idle(host, "c1", "c2", "c3")
    before = services(C1, C2)
    with job(host, "c1") as other, job(host, "c3") as number, ThreadPoolExecutor() as pool:
        shrinking = pool.submit(run, "shrink", with_c3, shrink_nodes="c3", shrink_ticket="CHG-1", shrink_timeout=300)
        eventually(lambda: states(host)["c3"], lambda state: state == "draining", 120)
        assert state_of(host, number) == "RUNNING"
        let_end("c3")
        shrunk = shrinking.result().succeeded()
        assert state_of(host, number) == "COMPLETED"
        assert f"{C3} are still in the group slurmd" in said(shrunk)
        assert states(host).keys() == {"c1", "c2"}
        assert "NodeName=c[1-2] " in conf(host)
        assert "ActiveState=inactive\nUnitFileState=disabled" in services(C3)[0]
        assert (services(C1, C2) == before) == (not OLD)
        let_end("c1")
        eventually(lambda: state_of(host, other), lambda state: state == "COMPLETED")
    assert not run("shrink", with_c3, shrink_nodes="c3", shrink_ticket="CHG-1").succeeded().changed


def test_node_out_of_the_inventory_goes_and_its_job_is_requeued(host: Host, with_c3: Path) -> None:
    run("grow", with_c3, NEW_NODE).succeeded()
    with job(host, "c3") as number:
        run("shrink", shrink_nodes="c3", shrink_timeout=0, shrink_when_busy="requeue").succeeded()
        assert states(host).keys() == {"c1", "c2"}
        assert state_of(host, number) == "PENDING"


# --- Limited ---------------------------------------------------------------------------------------------------------


def test_dead_node_stays_in_the_configuration_of_a_limited_run(host: Host) -> None:
    subprocess.run(["docker", "stop", "--time=1", f"{PREFIX}{C2}"], check=True, stdout=subprocess.DEVNULL)
    try:
        done = run("site", f"--limit=all:!{C2}").succeeded()
        assert not done.changed
        assert "NodeName=c[1-2] " in conf(host)
    finally:
        subprocess.run(["docker", "start", f"{PREFIX}{C2}"], check=True, stdout=subprocess.DEVNULL)
