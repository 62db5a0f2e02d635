# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which servers count as answering, and that nothing which hangs is waited for."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ansible_collections.hpcops.cluster.plugins.module_utils._child import child
from ansible_collections.hpcops.cluster.plugins.modules.mounts import answers

# What nfsd of Linux 6.1 sends back for the call: accepted, no verifier, success.
SUCCESS = bytes.fromhex("80000018 68706373 00000001 00000000 00000000 00000000 00000000")


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
