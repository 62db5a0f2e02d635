# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster works without munge, and its key changes while jobs and commands run."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.hpcops.cluster.tests.support.hosts import (
    PREFIX,
    Report,
    asking,
    container,
    eventually,
    names,
    said,
)
from ansible_collections.hpcops.cluster.tests.support.runs import Run, run_playbook

if TYPE_CHECKING:
    from testinfra.host import Host

CONTROLLER = names("slurmctld")[0]
ACCOUNTING = names("slurmdbd")[0]
LOGIN = names("login")[0]
NODE, LAST = sorted(names("slurmd"))
HOSTS = (CONTROLLER, ACCOUNTING, NODE, LAST, LOGIN)
KEYS = "/etc/slurm/slurm.jwks"
KEY_FILE = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "slurm.key")
# Where users are.
testinfra_hosts = [f"docker://{PREFIX}{LOGIN}"]
# A version of the API that all releases from 24.11 on have.
PING = """import ssl, sys, urllib.request as http
request = http.Request("https://localhost:6843/slurm/v0.0.42/ping", headers={"X-SLURM-USER-TOKEN": sys.argv[1]})
print(http.urlopen(request, context=ssl._create_unverified_context()).read().decode())"""


@pytest.fixture(autouse=True)
def whole_fixture(host: Host) -> Iterator[None]:
    """Every node takes jobs before a test, and after it."""
    everything_runs(host)
    yield
    everything_runs(host)


def everything_runs(host: Host) -> None:
    nodes = "sinfo --noheader --Node --format='%N %t'"
    eventually(lambda: said(host, nodes).splitlines(), lambda seen: {each[:2] for each in seen} == {"c1", "c2"}, 120)
    eventually(lambda: set(said(host, nodes).split()[1::2]), lambda seen: seen <= {"idle", "mix", "alloc"}, 120)
    clusters = "sacctmgr --noheader --parsable2 list cluster format=cluster"
    eventually(lambda: said(host, clusters), lambda seen: seen == "auth", 60)


def submit(host: Host, script: str, options: str = "") -> str:
    command = f"sbatch --parsable --mem=50 --cpus-per-task=1 --chdir=/tmp --output=/dev/null {options}"
    return str(host.check_output(f"{command} --wrap='{script}'")).strip()


def completed(host: Host, *numbers: str) -> None:
    """Each job has run to its end once, and accounting has it."""
    look = f"sacct --noheader --allocations --parsable2 --jobs={','.join(numbers)} --format=State,Restarts"
    eventually(lambda: said(host, look).split(), lambda seen: seen == ["COMPLETED|0"] * len(numbers), 120)


def keys() -> set[str]:
    """Checksums of the keys that the hosts have."""
    return {container(name).check_output(f"sha256sum {KEYS}").split()[0] for name in HOSTS}


def rotate(*arguments: str, **variables: Any) -> Run:
    return run_playbook(*arguments, variables=variables, playbook="hpcops.cluster.rotate_slurm_key")


def nothing_left_over() -> None:
    assert len(keys()) == 1
    assert len(json.loads(container(CONTROLLER).check_output(f"cat {KEYS}"))["keys"]) == 1
    assert not KEY_FILE.with_name("slurm.key.new").exists()


def test_cluster_runs_jobs_without_munge(host: Host) -> None:
    for name in HOSTS:
        assert container(name).run("pgrep -x munged").stdout == ""
    assert "auth/slurm" in host.check_output("scontrol show config | grep '^AuthType '")
    assert "cred/slurm" in host.check_output("scontrol show config | grep '^CredType '")
    assert sorted(said(host, "srun --mem=50 --nodes=2 hostname").split()) == ["c1", "c2"]
    completed(host, submit(host, "srun hostname"))


def test_commands_are_accepted_from_ordinary_users(host: Host) -> None:
    assert host.run("runuser -u nobody -- squeue").rc == 0
    assert "uid=65534" in host.check_output("runuser -u nobody -- srun --mem=50 --chdir=/tmp id")


def test_only_slurm_can_read_the_key() -> None:
    for name in HOSTS:
        file = container(name).file(KEYS)
        assert (file.user, file.group, file.mode) == ("slurm", "slurm", 0o600)
    assert KEY_FILE.stat().st_mode & 0o777 == 0o600


def test_verification_passes() -> None:
    run_playbook(playbook="hpcops.cluster.verify").succeeded()


def test_tokens_work_beside_it(host: Host) -> None:
    token = container(CONTROLLER).check_output("scontrol token lifespan=600").split("=", 1)[1].strip()
    assert host.run(f"SLURM_JWT={token} squeue").rc == 0
    assert host.run(f"SLURM_JWT={token} sacctmgr --noheader list cluster").rc == 0
    assert host.run("SLURM_JWT=none squeue").rc != 0
    answer = host.check_output(f"python3 -c '{PING}' {token}")
    assert json.loads(answer)["pings"][0]["pinged"] == "UP"


def test_key_changes_under_jobs_that_start_steps_and_under_commands(host: Host, report: Report) -> None:
    before, former = keys(), KEY_FILE.read_text().strip()
    # Two of them, since the end of one step would wake another of the same job.
    on_two, on_one = (submit(host, "sleep 1000", f"--job-name=steps --nodes={nodes}") for nodes in (2, 1))
    running = "squeue --noheader --states=running --name=steps --format=%i"
    eventually(lambda: said(host, running).split(), lambda seen: set(seen) == {on_one, on_two}, 60)
    number = submit(host, "sleep 100; srun true")
    commands = {
        "squeue on the login node": (host, "squeue"),
        "sbatch on the login node": (
            host,
            "sbatch --hold --job-name=asked --mem=10 --chdir=/tmp --output=/dev/null --wrap=true",
        ),
        "squeue on a compute node": (container(NODE), "squeue"),
        "squeue on the controller": (container(CONTROLLER), "squeue"),
        "sacct on the login node": (host, "sacct"),
        "srun on a compute node, in a job": (container(NODE), f"srun --jobid={on_one} --mem=20 true"),
        "srun on two nodes, in a job": (host, f"srun --jobid={on_two} --mem=20 --nodes=2 true"),
    }
    with ExitStack() as stack:
        answers = {what: stack.enter_context(asking(*command)) for what, command in commands.items()}
        run = rotate("-vvvv", "--diff").succeeded()
    host.check_output(f"scancel --name=asked; scancel {on_one} {on_two}")
    failed = {what: [error for _begin, _end, error in each if error] for what, each in answers.items()}
    for what, each in answers.items():
        report(
            f"{what}: {len(failed[what])} of {len(each)} failed; the slowest took",
            max(end - begin for begin, end, _error in each),
        )
    for key in (former, KEY_FILE.read_text().strip()):
        assert len(key) == 64
        assert key not in run.text
        assert base64.b64encode(key.encode()).decode() not in run.text
    assert failed == {what: [] for what in failed}
    nothing_left_over()
    assert keys() != before
    completed(host, number, submit(host, "true"))


def test_playbook_site_keeps_the_new_key() -> None:
    assert run_playbook().succeeded().changed == []


def test_dry_run_changes_no_key() -> None:
    before = keys()
    assert "would get another key" in rotate("--check", "--diff").succeeded().text
    assert keys() == before
    nothing_left_over()


def test_host_that_cannot_have_the_key_takes_all_back(host: Host) -> None:
    before = keys()
    last = container(LAST)
    last.check_output(f"mount --bind {KEYS} {KEYS}")
    try:
        refused = rotate(slurm_auth_rotation_wait=1).failed()
        assert f"{LAST}: the keys could not be written there" in refused.failure
        assert "All hosts are back at the step before" in refused.failure
        assert keys() == before
        assert "a rotation of the key was interrupted" in run_playbook("--tags=slurmd").failed().failure
    finally:
        last.check_output(f"umount {KEYS}")
    rotate(slurm_auth_rotation_wait=65).succeeded()
    nothing_left_over()
    completed(host, submit(host, "true"))


def test_limit_does_not_part_the_cluster() -> None:
    refused = rotate(f"--limit=all:!{LAST}").failed()
    assert f"{LAST}: not reachable, or left out by --limit" in refused.failure


def test_running_cluster_refuses_another_way_of_authentication() -> None:
    refused = run_playbook("--tags=slurmdbd", variables={"slurm_auth": "munge"}).failed()
    assert "slurm_auth: the cluster runs with slurm" in refused.failure


def test_playbook_for_munge_is_told_from_this_one() -> None:
    refused = rotate(slurm_auth="munge").failed()
    assert "the playbook rotate_munge changes" in refused.failure
