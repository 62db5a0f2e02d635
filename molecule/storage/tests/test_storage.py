# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""File systems are mounted as they should be; what would hide, overwrite or wait for something is refused."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

from ansible_collections.hpcops.cluster.tests.support.hosts import PREFIX, eventually, names, said, variables_of
from ansible_collections.hpcops.cluster.tests.support.runs import run_playbook

if TYPE_CHECKING:
    from testinfra.host import Host

(NAME,) = names("all")
testinfra_hosts = [f"docker://{PREFIX}{NAME}"]
MOUNTS: list[dict[str, Any]] = variables_of(NAME)["storage_mounts"]


def mounted(host: Host) -> list[str]:
    """Mount points of the scenario, in the order in which they were mounted."""
    return [path for path in said(host, "findmnt --list --noheadings --output=TARGET").splitlines() if path in PATHS]


def kind_of_view(host: Host) -> str:
    return said(host, "findmnt --noheadings --output=FSTYPE /srv/view")


PATHS = [mount["path"] for mount in MOUNTS]


def test_fuse_file_system_shows_what_its_program_makes(host: Host) -> None:
    assert kind_of_view(host) in ("fuse", "fuse.bindfs")  # as its release has it
    assert said(host, "cat /srv/view/file") == "real"
    assert "Read-only file system" in host.run("touch /srv/view/new").stderr


def test_software_cannot_be_written(host: Host) -> None:
    assert said(host, "cat /software/tools-1/file") == "real"
    assert "Read-only file system" in host.run("touch /software/tools-1/new").stderr


def test_program_in_the_state_directory_does_not_run(host: Host) -> None:
    assert host.run("/srv/state/id").rc == 0
    assert "Permission denied" in host.run("/var/lib/state/id").stderr


def test_home_is_mounted_when_somebody_goes_there(host: Host) -> None:
    host.check_output("systemctl stop home.mount")
    assert said(host, "systemctl is-active home.mount") == "inactive"
    assert said(host, "ls /home") == "alice"
    assert said(host, "systemctl is-active home.mount") == "active"


def test_mounts_are_there_after_a_boot(host: Host) -> None:
    subprocess.run(["docker", "restart", "--time=10", f"{PREFIX}{NAME}"], check=True, capture_output=True)
    eventually(lambda: sorted(set(mounted(host))), lambda found: found == sorted(PATHS), seconds=60)
    assert said(host, "cat /srv/view/file") == "real"
    assert said(host, "ls /home") == "alice"


def test_what_would_hide_something_is_refused_and_nothing_is_touched(host: Host) -> None:
    """Not mount points: /opt/full has content, /opt/link leads elsewhere, /opt/file is one. /srv/view has another mount already."""
    host.check_output(
        "mkdir -p /opt/full /opt/fine && touch /opt/full/treasure /opt/file && ln -sfn /srv/real /opt/link"
    )
    wanted = [
        {"path": f"/opt/{name}", "source": "/srv/real", "type": "bind"} for name in ("full", "link", "file", "fine")
    ]
    wanted += [
        {"path": "/srv/view", "source": "/srv/real", "type": "bind"},
        {"path": "/mnt/nfs", "source": "127.0.0.1:/x", "type": "nfs4"},  # nobody listens there
    ]
    before = mounted(host), said(host, "ls /etc/systemd/system | grep mount")
    run = run_playbook(variables={"storage_mounts": wanted}).failed()
    for sentence in (
        "/opt/full: has content, which the mount would hide (1 entries)",
        "/opt/link: is a symbolic link",
        "/opt/file: is no directory",
        f"/srv/view: /srv/real ({kind_of_view(host)}) is mounted there, not /srv/real",
        "/mnt/nfs: the server of 127.0.0.1:/x does not answer (127.0.0.1 port 2049",
    ):
        assert sentence in run.failure
    assert "/opt/fine" not in run.failure
    assert (mounted(host), said(host, "ls /etc/systemd/system | grep mount")) == before
    assert host.file("/opt/full/treasure").exists


def test_mount_that_hangs_is_reported_and_not_waited_for(host: Host) -> None:
    program = said(host, "pgrep -x bindfs")
    host.check_output(f"kill -STOP {program}")
    try:
        assert host.run("timeout --signal=KILL 2 ls /srv/view").rc != 0, "it does not hang"
        run = run_playbook(variables={"storage_timeout": 2}).failed()
    finally:
        host.check_output(f"kill -CONT {program}")
    assert run.failure.startswith("/srv/view: the mount of /srv/real does not answer within 2 s")
    assert said(host, "cat /srv/view/file") == "real"


def test_changed_options_wait_for_the_next_mount_and_what_is_absent_goes(host: Host) -> None:
    changed: dict[str, dict[str, Any]] = {
        "/software/tools-1": {"options": ["noexec"]},
        "/srv/view": {"state": "absent"},
        "/home": {"automount": False},
    }
    wanted = [mount | changed.get(mount["path"], {}) for mount in MOUNTS]
    run = run_playbook(variables={"storage_mounts": wanted}).succeeded()
    assert "/software/tools-1 stays mounted as it is" in run.text
    assert "noexec" not in said(host, "findmnt --noheadings --output=OPTIONS /software/tools-1")
    assert "/srv/view" not in mounted(host)
    assert not host.file("/etc/systemd/system/srv-view.mount").exists
    assert said(host, "systemctl is-enabled home.mount") == "enabled"
    assert said(host, "ls /home") == "alice"
    assert run_playbook(variables={"storage_mounts": wanted}).succeeded().changed == []

    host.check_output("systemctl restart 'software-tools\\x2d1.mount'")
    assert "noexec" in said(host, "findmnt --noheadings --output=OPTIONS /software/tools-1")
