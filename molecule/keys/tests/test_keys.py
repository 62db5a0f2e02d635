# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys change while jobs run; where a host cannot follow, all go back."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
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
NODE, LAST = sorted(names("slurmd"))
HOSTS = (CONTROLLER, ACCOUNTING, NODE, LAST)
STATE = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
MUNGE_KEY_FILE, JWT_KEY_FILE = STATE / "munge.key", STATE / "jwt.key"
# Where users are: what answers there is what counts.
testinfra_hosts = [f"docker://{PREFIX}{NODE}"]


@pytest.fixture(autouse=True)
def whole_fixture(host: Host) -> Iterator[None]:
    """Every node takes jobs before a test, and after it."""
    everything_runs(host)
    yield
    everything_runs(host)


def everything_runs(host: Host) -> None:
    eventually(lambda: said(host, "sinfo --noheader --Node --format='%N %t'").split(), idle, 120)
    clusters = "sacctmgr --noheader --parsable2 list cluster format=cluster"
    eventually(lambda: said(host, clusters), lambda seen: seen == "keys", 60)


def idle(seen: list[str]) -> bool:
    return seen[::2] == ["c1", "c2"] and set(seen[1::2]) <= {"idle", "mix", "alloc"}


def submit(host: Host, script: str) -> str:
    command = "sbatch --parsable --mem=50 --cpus-per-task=1 --chdir=/tmp --output=/dev/null"
    return str(host.check_output(f"{command} --wrap='{script}'")).strip()


def completed(host: Host, *numbers: str) -> None:
    """Each job has run to its end once, and accounting has it: of a job that started again there is a line more."""
    look = f"sacct --noheader --allocations --duplicates --parsable2 --jobs={','.join(numbers)} --format=State"
    eventually(lambda: said(host, look).split(), lambda seen: seen == ["COMPLETED"] * len(numbers), 120)


def keeps(run: Run, *keys: str) -> None:
    """What the run printed shows none of the keys."""
    for key in keys:
        assert len(key) >= 64
        assert key not in run.text
        assert base64.b64encode(key.encode()).decode() not in run.text


@contextmanager
def only_with_its_present(host: Host, key: str, unit: str) -> Iterator[None]:
    """The daemon does not start with another key than the one it has."""
    folder = f"/run/systemd/system/{unit}.service.d"
    host.check_output(
        f"sha256sum {key} >/root/only.key && mkdir -p {folder} && systemctl daemon-reload &&"
        f" printf '[Service]\\nExecStartPre=+/usr/bin/sha256sum --check /root/only.key\\n' >{folder}/test.conf"
    )
    host.check_output("systemctl daemon-reload")
    try:
        yield
    finally:
        host.check_output(f"rm -r {folder} && systemctl daemon-reload")


# --- MUNGE -----------------------------------------------------------------------------------------------------------


def rotate_munge(*arguments: str, **variables: Any) -> Run:
    return run_playbook(*arguments, variables=variables, playbook="hpcops.cluster.rotate_munge")


def munge_keys() -> set[str]:
    """Checksums of the keys that the hosts have."""
    return {container(name).check_output("sha256sum /etc/munge/munge.key").split()[0] for name in HOSTS}


def munged() -> list[str]:
    return [container(name).check_output("systemctl show munge --property=MainPID --value") for name in HOSTS]


def apart() -> float:
    """Seconds from the first stop of a munged to the last start, on the hosts' common clock."""
    stamps = ("InactiveEnter", "ActiveEnter")
    show = "systemctl show munge --value --property={}TimestampMonotonic"
    stopped, started = ([int(container(name).check_output(show.format(stamp))) for name in HOSTS] for stamp in stamps)
    return (max(started) - min(stopped)) / 1e6


def nothing_left_over() -> None:
    for name in HOSTS:
        assert container(name).check_output("ls /etc/munge").split() == ["munge.key"]
        assert container(name).run("systemctl list-units --all --plain --no-legend 'hpcops-munge*'").stdout == ""
    assert not MUNGE_KEY_FILE.with_name("munge.key.new").exists()


def test_munge_key_changes_under_a_running_job(host: Host, report: Report) -> None:
    before, number = munge_keys(), submit(host, "sleep 45")
    former = MUNGE_KEY_FILE.read_text().strip()
    with asking(host, "squeue") as answers:
        run = rotate_munge("-vvvv", "--diff").succeeded()
    failed = [error for _begin, _end, error in answers if error]
    report(f"{len(failed)} of {len(answers)} requests failed; the hosts' munged had different keys for", apart())
    assert len(munge_keys()) == 1
    assert munge_keys() != before
    keeps(run, former, MUNGE_KEY_FILE.read_text().strip())
    assert MUNGE_KEY_FILE.stat().st_mode & 0o777 == 0o600
    nothing_left_over()
    completed(host, number, submit(host, "true"))


def test_playbook_site_keeps_the_new_munge_key() -> None:
    rotate_munge().succeeded()
    assert run_playbook().succeeded().changed == []


def test_dry_run_changes_no_munge_key() -> None:
    before, files = munge_keys(), MUNGE_KEY_FILE.read_text()
    run = rotate_munge("--check", "--diff").succeeded()
    assert f"All {len(HOSTS)} hosts would get another key" in run.text
    assert munge_keys() == before
    assert MUNGE_KEY_FILE.read_text() == files
    nothing_left_over()


def test_host_that_cannot_have_the_key_is_noticed_before_any_swap() -> None:
    before, running = munge_keys(), munged()
    last = container(LAST)
    last.check_output("mkdir /etc/munge/munge.key.new")
    try:
        refused = rotate_munge().failed()
    finally:
        last.check_output("rmdir /etc/munge/munge.key.new")
    assert "no key was swapped" in refused.failure
    assert LAST in refused.failure
    assert NODE not in refused.failure
    assert (munge_keys(), munged()) == (before, running)
    nothing_left_over()


def test_host_whose_munged_does_not_start_takes_all_back(host: Host) -> None:
    before, number = munge_keys(), submit(host, "sleep 60")
    with only_with_its_present(container(LAST), "/etc/munge/munge.key", "munge"):
        refused = rotate_munge().failed()
    assert "Not all hosts work with the new key" in refused.failure
    assert "All hosts have their former key back, and understand each other" in refused.failure
    assert munge_keys() == before
    nothing_left_over()
    completed(host, number)
    assert run_playbook("--tags=munge").succeeded().changed == []


def test_host_that_is_down_is_left_out_only_on_demand(host: Host) -> None:
    before = munge_keys()
    subprocess.run(["docker", "kill", f"{PREFIX}{LAST}"], check=True, stdout=subprocess.DEVNULL)
    try:
        refused = rotate_munge().failed()
        assert f"{LAST}: not reachable" in refused.failure
        assert MUNGE_KEY_FILE.with_name("munge.key.new").exists() is False
        done = rotate_munge(rotate_munge_unreachable="skip").succeeded()
        assert f"--limit {LAST}" in done.text
    finally:
        subprocess.run(["docker", "start", f"{PREFIX}{LAST}"], check=True, stdout=subprocess.DEVNULL)
    eventually(lambda: container(LAST).run("systemctl is-active munge").rc == 0)
    assert len(munge_keys()) == 2
    credential = host.check_output("munge --no-input")
    assert container(LAST).run(f"echo '{credential}' | unmunge").rc != 0
    late = ("--tags=munge", f"--limit={LAST}")
    assert "munge_key: " in run_playbook(*late).failed().failure
    assert "munge_replace_key=true" in done.text
    run_playbook(*late, variables={"munge_replace_key": True}).succeeded()
    assert len(munge_keys()) == 1
    assert munge_keys() != before


def test_limit_does_not_part_the_cluster() -> None:
    refused = rotate_munge(f"--limit=all:!{LAST}").failed()
    assert f"{LAST}: not reachable, or left out by --limit" in refused.failure


def test_munge_key_from_the_inventory_is_the_one_to_change_to(host: Host) -> None:
    key = base64.b64encode(secrets.token_bytes(64)).decode()
    assert rotate_munge(munge_key=key).succeeded().changed
    again = rotate_munge(munge_key=key).succeeded()
    assert again.changed == []
    assert "all hosts have this key already" in again.text
    assert run_playbook("--tags=munge", variables={"munge_key": key}).succeeded().changed == []
    completed(host, submit(host, "true"))
    rotate_munge().succeeded()


def test_site_waits_for_a_rotation_that_was_interrupted() -> None:
    waiting = MUNGE_KEY_FILE.with_name("munge.key.new")
    waiting.write_text(secrets.token_hex(64))
    refused = run_playbook("--tags=munge").failed()
    assert "munge_key_file: " in refused.failure
    assert "a rotation of the key was interrupted" in refused.failure
    rotate_munge().succeeded()
    assert not waiting.exists()
    assert run_playbook("--tags=munge").succeeded().changed == []


# --- Tokens ----------------------------------------------------------------------------------------------------------


def rotate_jwt(*arguments: str, **variables: Any) -> Run:
    return run_playbook(*arguments, variables=variables, playbook="hpcops.cluster.rotate_jwt")


def token() -> str:
    return str(container(CONTROLLER).check_output("scontrol token lifespan=600")).split("=", 1)[1].strip()


def accepted(host: Host, secret: str) -> tuple[bool, bool]:
    """Whether slurmctld and slurmdbd accept the token."""
    commands = ("squeue", "sacctmgr --noheader list cluster")
    controller, accounting = (host.run(f"SLURM_JWT={secret} timeout 20 {command}").rc == 0 for command in commands)
    return controller, accounting


def no_former_key_is_left() -> None:
    for name in (CONTROLLER, ACCOUNTING):
        assert container(name).run("ls /etc/slurm/*.before /run/hpcops*").stdout == ""
    assert not JWT_KEY_FILE.with_name("jwt.key.new").exists()


def test_new_key_for_tokens_ends_those_of_the_former(host: Host) -> None:
    former, key, number = token(), JWT_KEY_FILE.read_text().strip(), submit(host, "sleep 45")
    assert accepted(host, former) == (True, True)
    run = rotate_jwt("-vvvv", "--diff").succeeded()
    keeps(run, key, JWT_KEY_FILE.read_text().strip())
    assert accepted(host, former) == (False, False)
    assert accepted(host, token()) == (True, True)
    assert JWT_KEY_FILE.read_text().strip() != key
    no_former_key_is_left()
    completed(host, number)
    assert run_playbook().succeeded().changed == []


def test_dry_run_changes_no_key_for_tokens(host: Host) -> None:
    former = token()
    assert "would be refused" in rotate_jwt("--check", "--diff").succeeded().text
    assert accepted(host, former) == (True, True)
    no_former_key_is_left()


def test_daemon_that_does_not_start_brings_the_former_key_for_tokens_back(host: Host) -> None:
    former = token()
    with only_with_its_present(container(ACCOUNTING), "/etc/slurm/slurmdbd-jwt.key", "slurmdbd"):
        refused = rotate_jwt().failed()
    assert "slurmdbd runs" in refused.failure
    assert "The former key is back everywhere" in refused.failure
    assert accepted(host, former) == (True, True)
    no_former_key_is_left()
    assert run_playbook("--tags=slurmdbd,slurmctld").succeeded().changed == []


def test_key_for_tokens_from_the_inventory_is_the_one_to_change_to(host: Host) -> None:
    former, key = token(), base64.b64encode(secrets.token_bytes(32)).decode()
    assert rotate_jwt(slurm_jwt_key=key).succeeded().changed
    assert accepted(host, former) == (False, False)
    again = rotate_jwt(slurm_jwt_key=key).succeeded()
    assert again.changed == []
    assert "all hosts have this key already" in again.text
    rotate_jwt().succeeded()


def test_key_for_tokens_is_not_parted() -> None:
    refused = rotate_jwt(f"--limit={CONTROLLER}").failed()
    assert f"{ACCOUNTING}: not reachable, or left out by --limit" in refused.failure


def test_control_machine_without_the_key_for_tokens_replaces_none(host: Host) -> None:
    former, kept = token(), JWT_KEY_FILE.rename(JWT_KEY_FILE.with_name("elsewhere"))
    try:
        refused = run_playbook("--tags=slurmctld,slurmdbd").failed()
        assert f"slurm_jwt_key_file: {JWT_KEY_FILE} does not exist on this machine" in refused.failure
        assert not JWT_KEY_FILE.exists()
    finally:
        kept.rename(JWT_KEY_FILE)
    assert accepted(host, former) == (True, True)


def test_cluster_without_tokens_is_told_so() -> None:
    assert "slurm_jwt is false" in rotate_jwt(slurm_jwt=False).failed().failure
