"""The cluster's hosts accept each other's credentials, and nobody else's."""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ansible_collections.hpcops.cluster.tests.support.hosts import container, names, said
from ansible_collections.hpcops.cluster.tests.support.runs import run_playbook

if TYPE_CHECKING:
    from testinfra.host import Host

A, B = sorted(names("all"))
KEY_FILE = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "munge.key")


def credential_decodes(sender: Host, receiver: Host) -> bool:
    credential = sender.check_output("munge --string=hello")
    return bool(receiver.run(f"echo '{credential}' | unmunge").rc == 0)


@pytest.mark.parametrize(("sender", "receiver"), itertools.permutations(names("all"), 2))
def test_credential_decodes_on_the_other_host(sender: str, receiver: str) -> None:
    credential = container(sender).check_output("munge --string=hello")
    answer = container(receiver).run(f"echo '{credential}' | unmunge")
    assert answer.rc == 0, answer.stdout
    assert "hello" in answer.stdout


def test_credential_of_another_key_is_refused(host: Host) -> None:
    host.check_output("mungekey --create --keyfile /tmp/other.key")
    host.check_output("chown munge: /tmp/other.key")
    try:
        files = " ".join(f"--{name}-file=/tmp/other.{name}" for name in ("key", "pid", "log", "seed"))
        host.check_output(f"runuser -u munge -- munged {files} --socket=/tmp/other.socket")
        credential = host.check_output("munge --socket=/tmp/other.socket --string=hello")
        answer = host.run(f"echo '{credential}' | unmunge")
        assert answer.rc != 0
        assert "Invalid credential" in answer.stdout + answer.stderr
    finally:
        host.run("pkill -F /tmp/other.pid; rm -f /tmp/other.*")


def test_only_munge_can_read_the_key(host: Host) -> None:
    key = host.file("/etc/munge/munge.key")
    assert (key.user, key.group, key.mode) == ("munge", "munge", 0o400)
    assert host.run("runuser -u nobody -- cat /etc/munge/munge.key").rc != 0
    assert host.check_output("stat --format='%U:%G %a' /etc/munge") == "munge:munge 700"


def test_munge_has_the_same_number_everywhere(host: Host) -> None:
    assert host.user("munge").uid == 450


def test_munged_starts_at_boot(host: Host) -> None:
    assert host.service("munge").is_enabled


def test_munged_has_the_threads_that_the_role_gives_it(host: Host) -> None:
    command = host.check_output("tr '\\0' ' ' </proc/$(systemctl show munge --property=MainPID --value)/cmdline")
    assert "--num-threads=10 " in command


def test_control_machine_without_the_key_replaces_none_and_makes_none() -> None:
    kept = KEY_FILE.rename(KEY_FILE.with_name("elsewhere"))
    try:
        for arguments in (["--check"], []):
            refused = run_playbook(*arguments).failed()
            assert f"munge_key_file: {KEY_FILE} does not exist on this machine" in refused.failure
            assert refused.changed == []
            assert not KEY_FILE.exists()
    finally:
        kept.rename(KEY_FILE)
    assert run_playbook().succeeded().changed == []


def test_new_key_is_in_force_at_once_and_shown_nowhere() -> None:
    """It is rejected before somebody asks for it. One host gets the key. The other one has it already, and its munged does not run."""
    a, b = container(A), container(B)
    key, former = secrets.token_hex(64), a.check_output("cat /etc/munge/munge.key").encode()
    KEY_FILE.write_text(f"{key}\n")
    b.check_output(f"printf %s {key} >/etc/munge/munge.key && systemctl disable --now munge")
    fingerprint, present = (hashlib.sha256(base64.b64encode(each)).hexdigest()[:12] for each in (key.encode(), former))
    for arguments in (["--check"], []):
        refused = run_playbook(*arguments, f"--limit={A}").failed()
        assert f"has the key {present}" in refused.failure
        assert f"{KEY_FILE} is the key {fingerprint}" in refused.failure
        assert refused.changed == []
    run = run_playbook("-vvv", "--diff", variables={"munge_replace_key": True}).succeeded()
    assert {(task.removeprefix("hpcops.cluster.munge : "), name) for task, name in run.changed} == {
        ("Install the key and munged's options", A),
        ("Munge has its key", A),
        ("Run munged", B),
    }
    for secret in (key, base64.b64encode(key.encode()).decode()):
        assert secret not in run.text
    for sender, receiver in ((a, b), (b, a)):
        assert credential_decodes(sender, receiver), said(receiver, "journalctl --unit=munge --lines=5 --no-pager")
    assert b.service("munge").is_enabled
