# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is declared gets in and nothing else; jobs run behind firewalls; a change that locks out is taken back."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.hpcops.cluster.tests.support.hosts import PREFIX, container, eventually, names, said
from ansible_collections.hpcops.cluster.tests.support.runs import Run, run_playbook

if TYPE_CHECKING:
    from testinfra.host import Host

(CTL,), (C1, C2), (STRANGER,) = names("slurmctld"), sorted(names("slurmd")), names("strangers")
testinfra_hosts = [f"docker://{PREFIX}{CTL}"]
STATE = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
ADDRESS, ADDRESS6 = "198.18.79.18", "2001:2:0:79::12"
KEY = ["-i", str(STATE / "id"), "-o", "IdentitiesOnly=yes"]
SSH = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
BY_SSH = {
    "ansible_connection": "ssh",
    "ansible_host": ADDRESS,
    "ansible_user": "root",
    "ansible_ssh_private_key_file": str(STATE / "id"),
    "ansible_ssh_common_args": " ".join([*SSH, "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=3"]),
    "ansible_ssh_retries": 0,
}

# Two versions each of three packages, the second in an archive that is the distribution's security archive by its word.
ARCHIVE = r"""
set -eu
. /etc/os-release
mkdir --parents /srv/canary/tree/DEBIAN
cd /srv/canary
for name in any held slurm; do
  for version in 1 2; do
    printf '%s\n' "Package: $name-canary" "Version: $version" 'Architecture: all' 'Maintainer: nobody' 'Description: dies first' \
      >tree/DEBIAN/control
    dpkg-deb --build tree "$name-$version.deb"
  done
  dpkg --install "$name-1.deb"
  { cat tree/DEBIAN/control
    echo "Filename: ./$name-2.deb"
    echo "Size: $(stat --format=%s "$name-2.deb")"
    echo "SHA256: $(sha256sum "$name-2.deb" | cut -d' ' -f1)"
    echo; } >>Packages
done
apt-mark hold held-canary
printf '%s\n' 'Origin: Debian' 'Label: Debian-Security' "Codename: $VERSION_CODENAME-security" 'SHA256:' \
  " $(sha256sum Packages | cut -d' ' -f1) $(stat --format=%s Packages) Packages" >Release
echo 'deb [trusted=yes] file:/srv/canary ./' >/etc/apt/sources.list.d/canary.list
apt-get update
"""


# Writes down what comes to the port at which hosts await a DHCP server.
DHCP_CLIENT = """
import pathlib, socket
client = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
client.bind(('::', 546))
pathlib.Path('/tmp/lease').write_bytes(client.recv(99))
"""
DHCP_SERVER = """
import socket, sys
server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
server.bind(('::', int(sys.argv[1])))
server.sendto(sys.argv[1].encode(), (sys.argv[2], 546, 0, socket.if_nametoindex('eth0')))
"""


def reaches(name: str, port: int, address: str = ADDRESS) -> bool:
    """Whether the host can connect to the controller's port."""
    return bool(container(name).run(f"timeout 2 bash -c '</dev/tcp/{address}/{port}'").rc == 0)


def log_in(user: str, *options: str, address: str = ADDRESS) -> subprocess.CompletedProcess[str]:
    command = [
        "ssh",
        *(options or KEY),
        *SSH,
        "-o",
        "ConnectTimeout=3",
        "-o",
        "BatchMode=yes",
        f"{user}@{address}",
        "id -un",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def harden(account: str = "root", **variables: Any) -> Run:
    """Run the role on the controller, by SSH."""
    by_ssh = STATE / "by_ssh.json"
    there = {**BY_SSH, "ansible_user": account, "ansible_become": account != "root"}
    by_ssh.write_text(json.dumps({"all": {"hosts": {CTL: there}}}), encoding="utf-8")
    return run_playbook("--tags=os_hardening", f"--limit={CTL}", f"--inventory={by_ssh}", variables=variables)


def failed_task(run: Run) -> str:
    """Name of the task at which a run ended."""
    (task,) = [
        task for task, _host, result in run.failed().results if result.get("failed") or result.get("unreachable")
    ]
    return task.split(" : ")[-1]


@pytest.fixture(name="listener")
def listener_fixture(host: Host) -> Iterator[int]:
    """A port of the controller that nobody declared, at which somebody listens."""
    host.check_output("systemd-run --quiet --unit=undeclared python3 -m http.server --bind :: 8080")
    eventually(lambda: host.run("timeout 2 bash -c '</dev/tcp/127.0.0.1/8080'").rc == 0)
    yield 8080
    host.check_output("systemctl stop undeclared")


def test_declared_ports_are_open_to_the_cluster_alone(host: Host, listener: int) -> None:
    assert said(host, "/usr/local/libexec/hpcops-firewall ports").splitlines() == ["6817", "6819"]
    for port in (6817, 6819, 22):
        assert reaches(C1, port)
        assert not reaches(STRANGER, port)
    assert reaches(C1, 22, ADDRESS6)
    assert not reaches(STRANGER, 22, ADDRESS6)
    assert log_in("root", address=ADDRESS6).stdout == "root\n"
    for name in (C1, STRANGER):
        assert not reaches(name, listener), f"{name} reaches a port that nobody declared"
    assert host.run(f"timeout 2 bash -c '</dev/tcp/127.0.0.1/{listener}'").rc == 0


def test_answers_of_dhcp_servers_come_in_and_nothing_else_to_their_port(host: Host) -> None:
    local = host.check_output("ip -6 -oneline address show dev eth0 scope link").split()[3].split("/")[0]
    host.check_output(f"systemd-run --quiet --unit=dhcp-client python3 -c {shlex.quote(DHCP_CLIENT)}")
    eventually(lambda: ":546 " in said(host, "ss --udp --listening --numeric"))
    for port in (5470, 547):
        container(STRANGER).check_output(f"python3 -c {shlex.quote(DHCP_SERVER)} {port} {local}")
    assert eventually(lambda: said(host, "cat /tmp/lease")) == "547"


def test_jobs_run_behind_firewalls_on_every_pair_of_daemons(host: Host) -> None:
    """Controller and nodes, nodes and each other, srun of a node and its steps, accounting."""
    for name in (CTL, C1):
        lines = said(container(name), "cd /tmp && srun --nodes=2 --immediate=60 hostname")
        assert sorted(lines.splitlines()) == ["c1", "c2"]
    number = said(host, "sbatch --parsable --nodes=2 --chdir=/tmp --output=/dev/null --wrap='srun hostname'")
    look = f"sacct --noheader --allocations --parsable2 --jobs={number} --format=State"
    eventually(lambda: said(host, look), lambda seen: seen == "COMPLETED", 60)


def test_firewall_is_there_after_a_boot(host: Host) -> None:
    subprocess.run(["docker", "restart", "--time=10", f"{PREFIX}{C2}"], check=True, capture_output=True)
    c2 = container(C2)
    eventually(lambda: said(c2, "/usr/local/libexec/hpcops-firewall status"), lambda seen: seen == "loaded", 60)
    assert "policy drop" in said(c2, "nft list chain inet hpcops input")
    eventually(lambda: said(host, "sinfo --noheader --nodes=c2 --format=%T"), lambda seen: seen == "idle", 90)


def test_firewall_that_locks_the_play_out_is_taken_back(host: Host) -> None:
    before = said(host, "nft list table inet hpcops")
    assert failed_task(harden(os_hardening_admin_networks={})) == "Connect anew"
    eventually(lambda: log_in("root").returncode == 0, seconds=40)
    assert said(host, "nft list table inet hpcops") == before
    assert harden().succeeded().changed  # the rules that were tried are still written down
    assert said(host, "/usr/local/libexec/hpcops-firewall status") == "loaded"


def test_other_tables_of_the_host_stay_and_more_ports_are_open_to_those_named(host: Host, listener: int) -> None:
    host.check_output("nft 'add table inet other; add chain inet other forward'")
    harden(
        os_hardening_more_ports=[{"ports": [str(listener)], "from": ["198.18.79.100", "2001:2:0:79::64"]}]
    ).succeeded()
    assert "chain forward" in said(host, "nft list table inet other")
    for address in (ADDRESS, ADDRESS6):
        assert reaches(STRANGER, listener, address)
        assert not reaches(C1, listener, address)
    harden().succeeded()


def test_only_keys_of_members_get_in() -> None:
    assert log_in("root").stdout == "root\n"
    assert log_in("alice").stdout == "alice\n"
    assert "Permission denied (publickey)" in log_in("bob").stderr
    assert "Permission denied (publickey)" in log_in("alice", "-o", "PreferredAuthentications=password").stderr


def test_sshd_that_would_not_start_is_refused_and_nothing_changes(host: Host) -> None:
    file = "/etc/ssh/sshd_config.d/00-hpcops.conf"
    before = host.file(file).content_string
    failed = harden(os_hardening_sshd_settings={"Ciphers": "rot13"}).failed()
    assert "Bad SSH2 cipher spec 'rot13'" in failed.text
    assert host.file(file).content_string == before


def test_sshd_that_locks_the_play_out_is_taken_back() -> None:
    refused = harden(os_hardening_ssh_groups=["operators"]).failed()
    assert "this play has come in as root, who is in none of the groups operators" in refused.failure
    assert failed_task(harden(os_hardening_sshd_settings={"AllowUsers": "alice"})) == "Connect anew"
    eventually(lambda: log_in("root").returncode == 0, seconds=40)
    assert not harden().succeeded().changed


def test_operators_may_do_what_sudo_says_and_no_more(host: Host) -> None:
    allowed = host.run("runuser --user=alice -- sudo --non-interactive --user=slurm scontrol ping")
    assert "is UP" in allowed.stdout
    assert host.run("runuser --user=alice -- sudo --non-interactive id").rc != 0
    assert host.run("runuser --user=bob -- sudo --non-interactive --user=slurm scontrol ping").rc != 0
    before = host.file("/etc/sudoers.d/hpcops-operators").content_string
    harden(os_hardening_sudo=[{"name": "operators", "rules": ["%operators ALL=("]}]).failed()
    assert host.file("/etc/sudoers.d/hpcops-operators").content_string == before


def test_evidence_tells_what_was_expected_and_found(host: Host) -> None:
    file = STATE / "evidence" / f"{CTL}.json"
    evidence = json.loads(file.read_text(encoding="utf-8"))
    assert evidence
    assert not [entry for entry in evidence if not entry["passed"]]
    assert {"host", "control", "command", "expected", "actual", "passed"} == set(evidence[0])
    page = (STATE / "evidence" / "index.html").read_text(encoding="utf-8")
    assert "3 hosts" in page
    assert " 0 failed" in page

    host.check_output("chmod 0644 /etc/munge/munge.key")
    try:
        assert harden().succeeded().changed
    finally:
        host.check_output("chmod 0400 /etc/munge/munge.key")
    (failed,) = [entry for entry in json.loads(file.read_text(encoding="utf-8")) if not entry["passed"]]
    assert failed["control"] == "the keys of the cluster can be read by nobody else"
    assert "644 /etc/munge/munge.key" in failed["actual"]
    harden().succeeded()


def test_security_updates_are_made_but_for_slurm_and_what_is_held(host: Host) -> None:
    host.check_output(ARCHIVE)
    try:
        host.check_output("unattended-upgrade")
        versions = host.check_output("dpkg-query --show --showformat='${Package} ${Version}\n' '*-canary'")
        assert versions.splitlines() == ["any-canary 2", "held-canary 1", "slurm-canary 1"]
    finally:
        host.check_output(
            "rm /etc/apt/sources.list.d/canary.list; apt-get purge --yes --allow-change-held-packages '*-canary'"
        )


def test_account_of_the_play_gets_in_without_a_job_and_others_do_not(host: Host) -> None:
    host.check_output("echo 'alice ALL=(root) NOPASSWD: ALL' >/etc/sudoers.d/alice")
    jobs_only: dict[str, Any] = {
        "account": "alice",
        "os_hardening_jobs_only": True,
        "os_hardening_ssh_groups": ["root", "operators", "bob"],
    }
    try:
        assert "this play has come in as alice, who has no job here" in harden(**jobs_only).failed().failure
        harden(**jobs_only, os_hardening_jobs_exempt_groups=["operators"]).succeeded()
        assert log_in("alice").stdout == "alice\n"
        assert log_in("root").stdout == "root\n"
        refused = log_in("bob", *KEY, "-o", "LogLevel=INFO")
        assert "you have no active jobs on this node" in refused.stderr
    finally:
        host.check_output("rm /etc/sudoers.d/alice")


def test_what_is_switched_off_is_gone_and_comes_back(host: Host, listener: int) -> None:
    file = host.file("/etc/ssh/sshd_config.d/00-hpcops.conf")
    assert file.exists
    harden(os_hardening_firewall=False, os_hardening_sshd=False).succeeded()
    assert host.run("nft list table inet hpcops").rc != 0
    assert not host.service("hpcops-firewall").is_enabled
    assert not file.exists
    for address in (ADDRESS, ADDRESS6):
        assert reaches(STRANGER, listener, address)
    assert log_in("bob").stdout == "bob\n"
    harden().succeeded()
    assert not reaches(STRANGER, listener)
    assert "Permission denied (publickey)" in log_in("bob").stderr
