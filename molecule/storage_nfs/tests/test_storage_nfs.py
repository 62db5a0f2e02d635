# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real NFS server with two clients: what one writes the other reads, and what becomes of it all while the server is away."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator

import pytest
import testinfra
from testinfra.host import Host

from ansible_collections.hpcops.cluster.tests.support.hosts import (
    INVENTORY,
    Report,
    eventually,
    names,
    said,
    variables_of,
)
from ansible_collections.hpcops.cluster.tests.support.runs import run_playbook

(SERVER,) = names("server")
CLIENTS = names("clients")
STATE = "/var/lib/slurm/state"


def kernel(name: str) -> Host:
    """A host with a kernel of its own."""
    return testinfra.get_host(f"ansible://{name}", ansible_inventory=INVENTORY)


@pytest.fixture(name="one", scope="module")
def one_fixture() -> Host:
    return kernel(CLIENTS[0])


@pytest.fixture(name="two", scope="module")
def two_fixture() -> Host:
    return kernel(CLIENTS[1])


@pytest.fixture(name="server", scope="module")
def server_fixture() -> Host:
    return kernel(SERVER)


@pytest.fixture(name="stopped_server")
def stopped_server_fixture(server: Host) -> Iterator[Host]:
    """The server's host runs, and nobody answers there."""
    server.check_output("systemctl stop nfs-server")
    yield server
    server.check_output("systemctl start nfs-server")


def as_alice(command: str) -> str:
    """Root of a client is nobody on the server."""
    return f"setpriv --reuid=2000 --regid=2000 --clear-groups sh -c {shlex.quote(command)}"


def options(host: Host, path: str) -> set[str]:
    return set(said(host, f"findmnt --noheadings --output=OPTIONS {path} | tail -n 1").split(","))


def test_what_one_client_writes_the_other_reads(one: Host, two: Host) -> None:
    one.check_output(as_alice("mkdir /home/alice && echo written by one >/home/alice/file"))
    assert two.check_output("cat /home/alice/file") == "written by one"
    two.check_output(as_alice("echo and by two >>/home/alice/file"))
    assert one.check_output("cat /home/alice/file").splitlines()[-1] == "and by two"


def test_each_purpose_has_its_options(one: Host) -> None:
    assert {"hard", "nosuid", "nodev"} <= options(one, "/home")
    assert {"hard", "sync", "noac", "lookupcache=none", "noexec"} <= options(one, STATE)
    assert said(one, "systemctl is-enabled home.automount") == "enabled"


def test_server_runs_as_its_files_say(server: Host) -> None:
    assert said(server, "cat /proc/fs/nfsd/threads") == "4"
    assert "+3" not in said(server, "cat /proc/fs/nfsd/versions").split()
    assert server.service("nfs-server").is_enabled
    assert "Ports=2049" in said(server, "systemctl cat nfs-server").splitlines()


def test_exported_directories_belong_to_whom_they_should(server: Host) -> None:
    assert said(server, "stat --format='%u:%g %a' /srv/home /srv/state").splitlines() == ["0:0 1777", "64030:64030 700"]


def test_root_of_a_client_is_nobody_on_the_server(two: Host) -> None:
    assert "Permission denied" in two.run(f"ls {STATE}").stderr


def test_quota_of_the_server_holds_for_the_client(server: Host, two: Host) -> None:
    refused = two.run(as_alice("dd if=/dev/zero of=/home/alice/large bs=1M count=6 conv=fsync"))
    assert "Disk quota exceeded" in refused.stderr
    assert " 4096 " in server.check_output("repquota --no-names --user /srv/home | grep '^#2000'")
    two.check_output(as_alice("rm /home/alice/large"))


def test_writing_waits_for_a_server_that_comes_back(stopped_server: Host, one: Host, two: Host, report: Report) -> None:
    """The role names the mount and does not wait for it; a program does, and loses nothing."""
    two.check_output(as_alice("echo meanwhile >/home/alice/later") + " >/dev/null 2>&1 &")
    run = run_playbook(f"--limit={CLIENTS[1]}").failed()
    assert "/home: the mount of 198.18.78.250:/srv/home does not answer within 5 s" in run.failure
    assert not run.changed
    start = time.monotonic()
    stopped_server.check_output("systemctl start nfs-server")
    eventually(lambda: said(two, "timeout 2 cat /home/alice/later"), lambda seen: seen == "meanwhile", 90)
    report("a client's write is done after the NFS server is back", time.monotonic() - start)
    assert one.check_output("cat /home/alice/later") == "meanwhile"


def test_server_that_does_not_answer_is_named_before_anything_is_written(stopped_server: Host, two: Host) -> None:
    more = [{"path": "/mnt/more", "source": "198.18.78.250:/srv/home", "type": "nfs4"}]
    run = run_playbook(f"--limit={CLIENTS[1]}", variables={"storage_mounts": more}).failed()
    assert "/mnt/more: the server of 198.18.78.250:/srv/home does not answer (198.18.78.250 port 2049" in run.failure
    assert not two.file("/etc/systemd/system/mnt-more.mount").exists


def test_controller_without_its_state_does_not_start(stopped_server: Host, one: Host) -> None:
    assert said(one, "systemctl is-active slurmctld") == "active"
    one.check_output(f"systemctl kill --signal=KILL slurmctld; systemctl stop slurmctld; umount --lazy --force {STATE}")
    assert one.run("timeout 100 systemctl start slurmctld").rc != 0
    assert said(one, "systemctl is-active slurmctld") != "active"
    assert said(one, f"ls -A {STATE}") == "", "it has begun a state beside the real one"
    stopped_server.check_output("systemctl start nfs-server")
    one.check_output("systemctl start slurmctld")
    eventually(lambda: one.run("scontrol ping").stdout, lambda seen: "is UP" in seen, 60)
    assert said(one, f"findmnt --noheadings --output=FSTYPE {STATE}") == "nfs4"


# The last one: it leaves nothing exported.
def test_changed_exports_are_in_force_without_a_restart_of_the_server(server: Host, two: Host) -> None:
    started = "systemctl show nfs-server --property=ActiveEnterTimestampMonotonic --value"
    before, exports = said(server, started), variables_of(SERVER)["storage_exports"]
    more = {"path": "/srv/more", "clients": [{"hosts": "198.18.78.252", "options": ["ro"]}]}
    run_playbook(f"--limit={SERVER}", variables={"storage_exports": [*exports, more]}).succeeded()
    assert said(server, started) == before
    server.check_output("echo here >/srv/more/file")
    two.check_output("mkdir -p /mnt/more && mount -t nfs4 198.18.78.250:/srv/more /mnt/more")
    assert said(two, "cat /mnt/more/file") == "here"
    assert "Read-only file system" in two.run("touch /mnt/more/new").stderr
    two.check_output("umount /mnt/more")

    run_playbook(f"--limit={SERVER}", variables={"storage_exports": []}).succeeded()
    assert said(server, "exportfs -s") == ""
    assert two.run("timeout 20 mount -t nfs4 -o retry=0 198.18.78.250:/srv/more /mnt/more").rc != 0
