# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units that mounts become, what is refused before a host is touched, and what is read from the kernel's list."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.hpcops.cluster.plugins.module_utils._mounts import (
    HEADER,
    Mount,
    faults,
    is_the_same,
    mounted,
    on_top,
    unit_name,
)

MOUNTINFO = r"""
21 1 0:20 / / rw,relatime - ext4 /dev/vda1 rw
30 21 0:31 / /home rw,relatime - autofs systemd-1 rw,fd=42
31 30 0:45 / /home rw,nosuid - nfs4 nfs1:/srv/home rw,hard
32 21 0:20 /srv/real /software/tools ro - ext4 /dev/vda1 rw
33 21 0:50 / /with\040blank rw - fuse bindfs rw
34 21 0:51 / /late rw - autofs systemd-1 rw
35 21 254:3 / /srv/data rw - xfs /dev/mapper/vg-data rw
36 21 254:3 /sub /srv/part rw - xfs /dev/mapper/vg-data rw
37 21 0:52 / /projects rw - ceph hpc@b3acfc0d-575f-41d3-9c91-0e7ed3dbb3fa.projects=/ rw
38 21 0:53 / /old rw - ceph 10.2.0.5:6789,10.2.0.6:6789:/a rw
39 21 0:54 / /scratch rw - lustre 10.2.0.1@tcp:10.2.0.2@tcp:/scratch rw
"""
HOME = {"path": "/home", "source": "nfs1:/srv/home", "type": "nfs4", "purpose": "home"}


def text_of(entry: dict[str, Any], kind: str = "mount") -> list[str]:
    """Lines of the unit, without its header, blanks and description."""
    mount = Mount.of(entry)
    unit = mount.units()[f"{unit_name(mount.path)}.{kind}"]
    assert unit.startswith(HEADER)
    return [line for line in unit.splitlines()[1:] if line and not line.startswith("Description=")]


def test_home_is_mounted_on_use_and_its_mount_unit_is_not_enabled() -> None:
    assert text_of(HOME, "automount") == [
        "[Unit]",
        "[Automount]",
        "Where=/home",
        "TimeoutIdleSec=600",
        "[Install]",
        "WantedBy=remote-fs.target",
    ]
    assert text_of(HOME) == [
        "[Unit]",
        "[Mount]",
        "What=nfs1:/srv/home",
        "Where=/home",
        "Type=nfs4",
        "Options=nosuid,nodev,hard",
        "TimeoutSec=60",
    ]


def test_own_options_come_after_those_of_the_purpose() -> None:
    state = {"path": "/s", "source": "n:/s", "type": "nfs4", "purpose": "state", "options": ["vers=4.2", "exec"]}
    assert "Options=nosuid,nodev,noexec,hard,sync,noac,lookupcache=none,vers=4.2,exec" in text_of(state)
    assert "WantedBy=remote-fs.target" in text_of(state)


def test_unit_of_cephfs_that_no_test_mounts() -> None:
    entry = {
        "path": "/projects",
        "source": "hpc@.projects=/",
        "type": "ceph",
        "purpose": "scratch",
        "options": ["secretfile=/etc/ceph/hpc.secret", "mon_addr=10.2.0.5:6789/10.2.0.6"],
    }
    assert text_of(entry)[2:] == [
        "What=hpc@.projects=/",
        "Where=/projects",
        "Type=ceph",
        "Options=nosuid,nodev,noatime,secretfile=/etc/ceph/hpc.secret,mon_addr=10.2.0.5:6789/10.2.0.6",
        "TimeoutSec=60",
        "[Install]",
        "WantedBy=remote-fs.target",
    ]
    assert Mount.of(entry).servers == [("10.2.0.5", 6789), ("10.2.0.6", 6789)]


def test_unit_of_lustre_that_no_test_mounts() -> None:
    entry = {
        "path": "/scratch",
        "source": "10.2.0.1@tcp:10.2.0.2@tcp:/scratch",
        "type": "lustre",
        "purpose": "scratch",
        "options": ["flock", "_netdev"],
    }
    assert text_of(entry)[2:] == [
        "What=10.2.0.1@tcp:10.2.0.2@tcp:/scratch",
        "Where=/scratch",
        "Type=lustre",
        "Options=nosuid,nodev,noatime,flock,_netdev",
        "TimeoutSec=60",
        "[Install]",
        "WantedBy=remote-fs.target",
    ]
    assert Mount.of(entry).servers == [("10.2.0.1", 988), ("10.2.0.2", 988)]
    assert Mount.of(entry | {"source": "10.2.0.1@o2ib:/scratch"}).servers == [], "InfiniBand has no port to ask"


def test_fuse_waits_for_the_network_and_percent_signs_stay_what_they_are() -> None:
    lines = text_of({"path": "/a", "source": "host:/100%", "type": "fuse.sshfs"})
    assert {"After=network-online.target", "What=host:/100%%", "WantedBy=multi-user.target"} <= set(lines)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/home", "home"),
        ("/srv/my-data", r"srv-my\x2ddata"),
        ("/srv/.hidden", "srv-.hidden"),
        ("/.snap", r"\x2esnap"),
        ("/srv/käse", r"srv-k\xc3\xa4se"),
    ],
)
def test_unit_is_called_as_systemd_escape_calls_it(path: str, name: str) -> None:
    assert unit_name(path) == name


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"path": "home"}, "'home' is no mount point"),
        ({"path": "/home/"}, "is no mount point"),
        ({"path": "/srv/../home"}, "is no mount point"),
        ({"source": ""}, "source '' is empty"),
        ({"source": "nfs1"}, "is no SERVER:/DIRECTORY"),
        ({"type": "smb"}, "type 'smb' is not known"),
        ({"options": ["ro,hard"]}, "Write one option an entry"),
        ({"purpose": "backup"}, "purpose 'backup' is not known. Choose home, scratch, software, state"),
        ({"format": True}, "only ext4 and xfs"),
        ({"format": True, "type": "xfs", "source": "UUID=1234"}, "only ext4 and xfs"),
        ({"format": True, "type": "bind", "source": "/dev/vdb"}, "only ext4 and xfs"),
        ({"options": ["port=nfs"]}, "option 'port=nfs' is no number"),
        ({"type": "bind"}, "is no absolute path"),
        ({"type": "xfs"}, "is no device"),
        ({"purpose": "state", "options": ["soft"]}, "slurmctld might see an empty one"),
    ],
)
def test_what_cannot_be_mounted_is_said_in_a_sentence(change: dict[str, Any], says: str) -> None:
    (fault,) = faults([HOME | change])
    assert says in fault


def test_ipv6_server_is_asked_by_its_address() -> None:
    assert Mount.of(HOME | {"source": "[fd00::1]:/x", "options": ["port=2050"]}).servers == [("fd00::1", 2050)]


@pytest.mark.parametrize("options", [["proto=rdma", "port=20049"], ["rdma"]])
def test_nfs_over_rdma_has_no_port_to_ask(options: list[str]) -> None:
    assert Mount.of(HOME | {"options": options}).servers == []


def test_the_trap_of_an_automount_is_no_mount() -> None:
    table = mounted(MOUNTINFO.strip())
    found = on_top(table, "/home")
    assert found is not None
    assert found.source == "nfs1:/srv/home"
    assert on_top(table, "/late") is None
    assert on_top(table, "/with blank") is not None


@pytest.mark.parametrize(
    ("entry", "same"),
    [
        (HOME, True),
        (HOME | {"source": "nfs1:/srv/home/"}, True),
        (HOME | {"source": "nfs2:/srv/home"}, False),
        (HOME | {"type": "nfs"}, True),
        (HOME | {"type": "lustre"}, False),
        ({"path": "/software/tools", "source": "/srv/real", "type": "bind"}, True),
        ({"path": "/software/tools", "source": "/srv/other", "type": "bind"}, False),
        ({"path": "/with blank", "source": "/x", "type": "fuse.bindfs"}, True),
        ({"path": "/srv/data", "source": "/dev/vg/data", "type": "xfs"}, True),
        ({"path": "/srv/data", "source": "/dev/vg/data", "type": "ext4"}, False),
        ({"path": "/srv/part", "source": "/dev/vg/data", "type": "xfs"}, False),
        ({"path": "/projects", "source": "hpc@.projects=/", "type": "ceph"}, True),
        ({"path": "/projects", "source": "hpc@.homes=/", "type": "ceph"}, False),
        ({"path": "/projects", "source": "hpc@00000000-575f-41d3-9c91-0e7ed3dbb3fa.projects=/", "type": "ceph"}, False),
        ({"path": "/old", "source": "mon1,mon2:/a", "type": "ceph"}, True),
        ({"path": "/old", "source": "mon1,mon2:/b", "type": "ceph"}, False),
        ({"path": "/scratch", "source": "mgs1@tcp:mgs2@tcp:/scratch", "type": "lustre"}, True),
        ({"path": "/scratch", "source": "mgs1@tcp:mgs2@tcp:/work", "type": "lustre"}, False),
    ],
)
def test_what_is_mounted_is_known_again(entry: dict[str, Any], same: bool) -> None:
    table = mounted(MOUNTINFO.strip())
    mount = Mount(entry["path"], entry["source"], entry["type"])
    found = on_top(table, entry["path"])
    assert found is not None
    assert is_the_same(mount, found, table, "254:3") is same


@pytest.mark.parametrize(
    ("source", "kind"), [("/srv/a:/b", "bind"), ("/dev/a:/b", "ext4"), ("/dev/a:/b", "xfs"), ("host:/b", "fuse.sshfs")]
)
def test_what_is_mounted_from_no_server_waits_for_none(source: str, kind: str) -> None:
    assert Mount("/x", source, kind).servers == []


def test_idle_mount_goes_after_ten_minutes_unless_another_time_is_given() -> None:
    assert "TimeoutIdleSec=600\n" in Mount("/x", "n:/x", "nfs4", automount=True).units()["x.automount"]
    assert "TimeoutIdleSec=60" in text_of(HOME | {"idle": 60}, "automount")
