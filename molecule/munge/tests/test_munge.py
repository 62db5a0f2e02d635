"""The cluster's hosts accept each other's credentials, and nobody else's."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from ansible_collections.hpcops.cluster.tests.scenarios import container, names

if TYPE_CHECKING:
    from testinfra.host import Host


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


def test_munge_has_the_same_number_everywhere(host: Host) -> None:
    assert host.user("munge").uid == 450


def test_munged_starts_at_boot(host: Host) -> None:
    assert host.service("munge").is_enabled
