# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which servers count as answering, that nothing which hangs is waited for, and what is formatted."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from ansible_collections.hpcops.cluster.plugins.module_utils._child import child
from ansible_collections.hpcops.cluster.plugins.module_utils._mounts import Mount
from ansible_collections.hpcops.cluster.plugins.modules import mounts
from ansible_collections.hpcops.cluster.plugins.modules.mounts import Host, answers, number_of

# What nfsd of Linux 6.1 sends back for the call: accepted, no verifier, success.
SUCCESS = bytes.fromhex("80000018 68706373 00000001 00000000 00000000 00000000 00000000")

# Where on a device, what is there, and what wipefs calls it: version and last page of swap, and its magic; a Linux partition.
SWAP = (1024, bytes([1, 0, 0, 0, 0xFF, 0x3F, 0, 0]) + bytes(3054) + b"SWAPSPACE2", "swap")
PARTITIONS = (446, bytes([0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0]) + bytes(48) + b"\x55\xaa", "dos")


@contextmanager
def server(reply: Callable[[bytes], bytes] | None) -> Iterator[int]:
    """Port of a server that takes one call; without a reply it keeps silent."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _address = listening.accept()
            with connection:
                call = connection.recv(100)
                if reply:
                    connection.sendall(reply(call))
                else:
                    connection.recv(1)  # until the other side has gone

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


def test_nfs_server_is_known_by_its_answer_to_the_call() -> None:
    calls = []

    def reply(call: bytes) -> bytes:
        calls.append(call)
        return SUCCESS

    with server(reply) as port:
        assert answers("127.0.0.1", port, nfs=True, timeout=5) == ""
    # Last fragment of 40 bytes; call, RPC 2, program 100003, version 4, procedure 0 (RFC 5531).
    assert calls[0].hex() == "80000028687063730000000000000002000186a300000004" + "00000000" * 5


def test_another_server_on_the_port_is_none() -> None:
    with server(lambda _call: b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        assert answers("127.0.0.1", port, nfs=True, timeout=5) == "what answers there is no NFS server"


def test_silent_and_absent_servers_are_told_apart() -> None:
    with server(None) as port:
        assert answers("127.0.0.1", port, nfs=True, timeout=0.2) == "timed out"
    assert "refused" in answers("127.0.0.1", port, nfs=False, timeout=0.2)


def test_program_that_does_not_end_in_time_is_left_behind() -> None:
    start = time.monotonic()
    assert child(["sh", "-c", "trap '' TERM; sleep 20"], 0.2) is None
    assert time.monotonic() - start < 10
    assert child(["sh", "-c", "echo out; echo err >&2; exit 3"], 10) == (3, "out\nerr")


def test_program_may_say_more_than_a_pipe_holds() -> None:
    found = child(["seq", "40000"], 20)
    assert found is not None
    assert found[1].endswith("40000")


@pytest.fixture(name="device")
def device_fixture(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A file in /dev, on which the programs work as on a device; nothing but mounting is different."""
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin:/sbin")
    with tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="hpcops-device-") as image:
        image.truncate(64 * 1024 * 1024)
        yield image.name


def host(*overwrite: str) -> Host:
    with patch_module_args({"overwrite": list(overwrite)}):
        return Host(
            AnsibleModule(
                {"overwrite": {"type": "list", "elements": "str"}, "timeout": {"type": "int", "default": 10}},
                supports_check_mode=True,
            )
        )


def mount(device: str, kind: str = "ext4", wanted: bool = True) -> Mount:
    return Mount("/mnt/nothing/there", device, kind, format=wanted)


def write(device: str, offset: int, content: bytes) -> None:
    with open(device, "r+b") as handle:
        handle.seek(offset)
        handle.write(content)


def carried(device: str) -> str:
    """Type and identity of what is on it."""
    return subprocess.check_output(["wipefs", "--noheadings", "--output", "TYPE,UUID", device], text=True).strip()


def test_device_that_carries_nothing_is_formatted_where_that_is_wanted(device: str) -> None:
    assert "there is no ext4 on" in host().refusal(mount(device, wanted=False))
    assert host().refusal(mount(device)) == ""
    host().format(mount(device))
    before = carried(device)
    assert before.startswith("ext4 ")
    host(device).format(mount(device))
    assert carried(device) == before, "a file system that is there already was made anew"
    assert "carries ext4, and is not formatted" in host().refusal(mount(device, "xfs"))


@pytest.mark.parametrize(("offset", "content", "carries"), [SWAP, PARTITIONS], ids=["swap", "partition table"])
def test_device_that_carries_something_is_formatted_only_when_it_is_named(
    device: str, offset: int, content: bytes, carries: str
) -> None:
    write(device, offset, content)
    assert f"{device} carries {carries}, and is not formatted" in host("/dev/other").refusal(mount(device))
    assert host(device).refusal(mount(device)) == ""
    host(device).format(mount(device))
    assert re.fullmatch(r"ext4 +\S+", carried(device))


def test_device_that_got_something_after_the_first_look_stays_as_it_is(
    device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    late = host()
    assert late.refusal(mount(device)) == ""
    write(device, *SWAP[:2])
    before = carried(device)
    with patch_module_args({}), pytest.raises(SystemExit):
        late.format(mount(device))
    assert "carries swap, and is not formatted" in capsys.readouterr().out
    assert carried(device) == before


def test_device_is_known_by_its_number_whatever_its_name(tmp_path: Path) -> None:
    other_name = tmp_path / "vg-data"
    other_name.symlink_to("/dev/null")
    assert number_of(str(other_name)) == "1:3"
    assert number_of(str(tmp_path / "absent")) == ""


def test_what_fstab_mounts_too_is_refused_also_where_it_is_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fstab = tmp_path / "fstab"
    fstab.write_text("# /dev/vda1 /dev/shm ext4\n\nproc /proc proc defaults 0 0\n", encoding="utf-8")
    monkeypatch.setattr(mounts, "FSTAB", str(fstab))
    assert f"{fstab} mounts it as well" in host().refusal(Mount("/proc", "nfs1:/x", "nfs4"))
    assert "is mounted there, not nfs1:/x" in host().refusal(Mount("/dev/shm", "nfs1:/x", "nfs4"))
