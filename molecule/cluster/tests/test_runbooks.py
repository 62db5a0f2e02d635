"""Every command of the runbooks succeeds on a healthy cluster, and what they say of repair brings back what was broken."""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ansible_collections.hpcops.cluster.tests.support.hosts import (
    INVENTORY,
    PREFIX,
    container,
    eventually,
    names,
    seen_before,
)
from ansible_collections.hpcops.cluster.tests.support.runbooks import ALL, Command, commands_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

PARTS = ["Symptoms", "Impact", "First five minutes", "Diagnosis", "Repair", "Verify", "Rollback", "Escalation"]
NODE = names("slurmd")[0]
HOSTS = {
    "ctl": "ctl",
    "db": "db",
    "rest": names("slurmrestd")[0],
    "mon": "mon",
    "node": NODE,
    "host": NODE,
}
WORDS = {"INVENTORY": INVENTORY, "NODE": NODE, "USER": "alice"}
# Whose commands the scenario slurm_elastic runs.
OWN_SCENARIO = {"cloud"}


def run(command: Command) -> subprocess.CompletedProcess[str]:
    text = command.filled(WORDS)
    if command.where == "control":
        arguments = ["sh", "-c", text]
    elif command.where == "login":
        arguments = ["docker", "exec", f"{PREFIX}login", "su", "--login", "alice", "--command", text]
    else:
        arguments = ["docker", "exec", f"{PREFIX}{HOSTS[command.where]}", "sh", "-c", text]
    return subprocess.run(
        arguments,
        cwd=os.environ["MOLECULE_SCENARIO_DIRECTORY"],
        env={**os.environ, "ANSIBLE_CONFIG": str(Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@functools.cache
def on_a_healthy_cluster(where: str, command: str) -> subprocess.CompletedProcess[str]:
    """What a command does that several runbooks have, as the acceptance test: once."""
    return run(Command("", where, command))


@pytest.mark.parametrize("runbook", ALL)
def test_runbook_has_all_parts_and_the_list_names_it(runbook: str) -> None:
    assert re.findall(r"^## (.+)$", text_of(runbook), re.MULTILINE) == PARTS
    assert f"[{runbook}]({runbook}.md)" in text_of("README")
    assert {command.part for command in commands_of(runbook)} >= {"First five minutes", "Repair"}


monitored = pytest.mark.skipif(not names("prometheus"), reason="forky's cluster is the one that is monitored")


@pytest.mark.parametrize(
    "runbook",
    [
        pytest.param(each, marks=monitored if each == "monitoring" else seen_before)
        for each in ALL
        if each not in OWN_SCENARIO
    ],
)
def test_commands_of_the_runbook_succeed_on_a_healthy_cluster(runbook: str) -> None:
    failed = []
    for command in commands_of(runbook):
        if not command.runs_here:
            continue
        done = on_a_healthy_cluster(command.where, command.command)
        if done.returncode != 0:
            failed.append(f"{command.where}: {command.command}: {done.stderr[-600:]} {done.stdout[-600:]}")
    assert not failed, "; ".join(failed).replace("\n", " ")


def on(host: str, command: str) -> Callable[[], bool]:
    return lambda: container(HOSTS[host]).run(f"timeout 10 {command}").rc == 0


# What breaks it, and what succeeds only when it works.
ANSWERS = """case $(curl --silent --insecure --output /dev/null --write-out '%{http_code}' https://127.0.0.1:6843/openapi) in
    401 | 500) ;; *) exit 1 ;; esac"""  # who has no token is refused; 22.05 does it in its way
BROKEN: dict[str, tuple[str, str, Callable[[], bool]]] = {
    "mariadb": (
        "db",
        "systemctl kill --signal=KILL mariadb; systemctl stop mariadb",
        on("ctl", "sacctmgr --noheader list cluster"),
    ),
    "munge": (
        "node",
        "dd if=/dev/urandom of=/etc/munge/munge.key bs=128 count=1 status=none && systemctl restart munge",
        on("node", "scontrol show node"),
    ),
    "backup": ("db", "rm -rf /var/backups/hpcops/database/*", on("db", "hpcops-backup verify database")),
    "certificates": (
        "rest",
        "echo broken >/etc/slurmrestd/tls.crt",
        on("rest", "openssl x509 -noout -in /etc/slurmrestd/tls.crt"),
    ),
    "configuration": (
        "ctl",
        "echo '# by hand' >>/etc/slurm/slurm.conf",
        on("ctl", "sh -c '! grep --quiet \"by hand\" /etc/slurm/slurm.conf'"),
    ),
    "monitoring": (
        "mon",
        "systemctl stop hpcops-prometheus",
        on("mon", "systemctl is-active --quiet hpcops-prometheus"),
    ),
    "nodes": (
        "ctl",
        f"scontrol update nodename={NODE} state=drain reason=broken",
        on("ctl", f"sh -c '! sinfo --noheader --Node --states=down,drain --nodes={NODE} | grep --quiet .'"),
    ),
    "slurmctld": ("ctl", "systemctl stop slurmctld", on("ctl", "sinfo")),
    "slurmdbd": ("db", "systemctl stop slurmdbd", on("ctl", "sacctmgr --noheader list cluster")),
    "slurmrestd": ("rest", "systemctl stop slurmrestd nginx", on("rest", f"sh -c {shlex.quote(ANSWERS)}")),
}


# What cannot be broken here, since the scenario does not have it.
ELSEWHERE = {
    "cloud": "an account of a cloud",
    "discovery": "the API: scenario discovery",
    "enroot": "containers: scenario enroot",
    "gpu": "a GPU",
    "os_hardening": "a firewall: scenario os_hardening",
    "storage": "file systems to mount: scenario storage_nfs",
}


def test_every_runbook_is_broken_here_or_says_why_not() -> None:
    assert sorted([*BROKEN, *ELSEWHERE]) == ALL


@pytest.mark.parametrize(
    "runbook", [pytest.param(each, marks=monitored if each == "monitoring" else seen_before) for each in sorted(BROKEN)]
)
def test_repair_of_the_runbook_brings_back_what_was_broken(runbook: str) -> None:
    host, fault, works = BROKEN[runbook]
    eventually(works, seconds=60)
    container(HOSTS[host]).check_output(fault)
    assert not works(), "the fault is none"
    for command in commands_of(runbook):
        if command.part == "Repair" and command.runs_here:
            # What answers a moment later than it was started is asked again, as people do.
            eventually(functools.partial(run, command), lambda done: done.returncode == 0, 60)
    eventually(works, seconds=60)
    job = Command("", "login", "cd /tmp && srun --nodes=2 --immediate=60 true")
    eventually(lambda: run(job), lambda done: done.returncode == 0, 90)
