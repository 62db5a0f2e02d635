"""What clients cannot do to the server, whoever they are: real sockets that are silent, slow, many, or send too much."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hpcops_discovery import connection
from hpcops_discovery.access import Access, put_token
from hpcops_discovery.connection import HEAD_BYTES, STRANGERS, STRANGERS_PER_ADDRESS
from hpcops_discovery.database import Database, State
from hpcops_discovery.middleware import HEARTBEAT_BYTES
from hpcops_discovery.settings import Settings
from support import ADMIN, NODE, READER, TRUST, Client, eventually, serving

MIB = 1 << 20
HEAD = b"POST /v1/hosts HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds that a test can wait for."""
    monkeypatch.setattr(connection, "HEAD_SECONDS", 1.0)
    monkeypatch.setattr(connection, "BODY_SECONDS", 2.0)


@pytest.fixture
def dial(fast: None, site: Client) -> Iterator[Callable[..., socket.socket]]:
    """Connections to the server, from any address of this machine."""
    with contextlib.ExitStack() as stack:

        def connect(source: str = "127.0.0.1") -> socket.socket:
            port = site.base_url.port
            made = stack.enter_context(socket.create_connection(("127.0.0.1", port or 80), 15, (source, 0)))
            made.settimeout(15)
            return made

        yield connect


def is_open(client: socket.socket) -> bool:
    client.settimeout(0.05)
    try:
        return client.recv(4096) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


def ends(client: socket.socket, within: float) -> None:
    begin = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while client.recv(65536):
            pass
    assert time.monotonic() - begin < within


def status_of(client: socket.socket) -> int:
    """The status of the answer, when it is complete to the end of its headers."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += client.recv(65536) or pytest.fail(f"no answer: {received!r}")
    return int(received.split()[1])


# --- Time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "begin",
    [b"", b"\r\n", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: "],
    ids=["silent", "blank lines", "first line", "header"],
)
def test_connection_without_a_whole_head_ends(dial: Callable[..., socket.socket], begin: bytes) -> None:
    client = dial()
    client.sendall(begin)
    ends(client, within=5)


def test_drops_of_a_head_do_not_keep_a_connection(dial: Callable[..., socket.socket]) -> None:
    client = dial()
    client.sendall(b"GET /healthz HTTP/1.1\r\n")
    begin = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while time.monotonic() - begin < 10:
            client.sendall(b"X-A: b\r\n")
            time.sleep(0.1)
    assert time.monotonic() - begin < 5


def test_second_head_of_a_connection_has_no_more_time_than_the_first(dial: Callable[..., socket.socket]) -> None:
    client = dial()
    client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status_of(client) == 200
    client.sendall(b"\r\n")
    ends(client, within=5)


def test_body_that_never_ends_does_not_keep_a_connection(dial: Callable[..., socket.socket]) -> None:
    client = dial()
    client.sendall(HEAD + f"Authorization: Bearer {ADMIN}\r\nContent-Length: 1000\r\n\r\n{{".encode())
    ends(client, within=7)


def test_watcher_outlives_the_limits_of_time(fast: None, site: Client) -> None:
    since = site.ok("GET", "/v1/clusters")["revision"]
    assert site.ok("GET", f"/v1/watch?since={since}&wait=4")["events"] == []


def test_handshake_of_tls_that_never_comes_ends(sqlite_url: str, tmp_path: Path, certificate: Path) -> None:
    tls: dict[str, Any] = {"tls_certificate": str(certificate / "cert.pem"), "tls_key": str(certificate / "key.pem")}
    with serving(tmp_path, sqlite_url, **tls) as server:
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as raw, socket.create_connection(("127.0.0.1", port)) as two:
            context = ssl.create_default_context(cafile=certificate / "cert.pem")
            context.check_hostname = False
            with context.wrap_socket(two) as silent:
                for client in (raw, silent):
                    client.settimeout(30)
                    ends(client, within=15)


# --- Size ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts",
    [
        (b"X-A: b\r\n" * 1000,) * 100,
        (b"X-A: " + b"b" * 100_000,) + (b"b" * 100_000,) * 10,
        (b"X-A: " + b"b" * (HEAD_BYTES + 1) + b"\r\n\r\n",),
    ],
    ids=["many headers", "long header", "long header at once"],
)
def test_large_head_is_refused(dial: Callable[..., socket.socket], parts: tuple[bytes, ...]) -> None:
    client = dial()
    with contextlib.suppress(ConnectionError):
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        for part in parts:
            client.sendall(part)
    with contextlib.suppress(ConnectionError):
        assert b" 431 " in client.recv(4096)
    ends(client, within=1)


def test_long_path_is_refused(dial: Callable[..., socket.socket]) -> None:
    client = dial()
    client.sendall(b"GET /" + b"a" * (HEAD_BYTES + 1) + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status_of(client) == 431


def test_trailer_that_never_ends_is_refused(dial: Callable[..., socket.socket]) -> None:
    client = dial()
    client.sendall(
        HEAD + f"Authorization: Bearer {ADMIN}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\nX-A: ".encode()
    )
    with contextlib.suppress(ConnectionError):
        for _part in range(100):
            client.sendall(b"b" * 100_000)
    ends(client, within=1)


def test_head_of_usual_size_is_taken(site: Client) -> None:
    site.ok("GET", "/v1/clusters", headers={"X-A": "b" * (HEAD_BYTES - 1000)})


@pytest.mark.parametrize(
    ("token", "path", "status"),
    [
        ("", "/v1/hosts", 401),
        ("hpcd_not-a-token", "/v1/heartbeats", 401),
        (READER, "/v1/hosts", 403),
        (NODE, "/v1/services", 403),
        (READER, "/v1/heartbeats", 403),
        (NODE, "/v1/clusters/alpha", 403),
    ],
)
def test_body_of_somebody_who_may_not_send_it_is_not_waited_for(
    dial: Callable[..., socket.socket], token: str, path: str, status: int
) -> None:
    client = dial()
    head = HEAD.replace(b"/v1/hosts", path.encode()) + (f"Authorization: Bearer {token}\r\n".encode() if token else b"")
    client.sendall(head + f"Expect: 100-continue\r\nContent-Length: {60 * MIB}\r\n\r\n".encode())
    assert status_of(client) == status


def test_heartbeat_of_a_megabyte_is_refused(site: Client) -> None:
    body = b'{"beats": [' + b" " * HEARTBEAT_BYTES + b'{"host": "a1"}]}'
    site.of(NODE).refused(413, "POST", "/v1/heartbeats", content=body, headers={"Content-Type": "application/json"})


def memory_of(process: int) -> float:
    """MiB at the peak."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def test_large_bodies_without_a_token_cost_no_memory(sqlite_url: str, tmp_path: Path) -> None:
    body = (b"[]," * (20 * MIB))[:-1]
    with serving(tmp_path, sqlite_url) as server:
        (worker,) = server.children()
        before = memory_of(worker)

        def send() -> None:
            with contextlib.suppress(httpx.TransportError):
                answer = httpx.post(f"{server.url}/v1/hosts", content=b'{"hosts":[' + body, timeout=60, verify=TRUST)
                assert answer.status_code == 401

        threads = [threading.Thread(target=send) for _sender in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert memory_of(worker) - before < 20
        assert server.client().get("/v1/clusters").status_code == 200


# --- Number ----------------------------------------------------------------------------------------------------------


def test_address_has_a_share_of_the_connections_and_its_oldest_ones_end(
    dial: Callable[..., socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 30.0)
    other = dial("127.0.0.2")
    many = [dial() for _client in range(STRANGERS_PER_ADDRESS + 10)]
    eventually(lambda: [is_open(client) for client in many] == [False] * 10 + [True] * STRANGERS_PER_ADDRESS)
    assert is_open(other)
    client = dial()
    client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status_of(client) == 200


def test_strangers_of_many_addresses_leave_room_and_end_where_most_are(
    dial: Callable[..., socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 30.0)
    few = dial("127.0.1.1")
    sources = [f"127.0.0.{number}" for number in range(1, 7)]
    many = [dial(source) for source in sources for _client in range(STRANGERS_PER_ADDRESS)]
    eventually(lambda: sum(map(is_open, many)) == STRANGERS - 1)
    assert is_open(few)


def test_client_with_a_token_keeps_its_connection_in_a_flood(
    site: Client, dial: Callable[..., socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 30.0)
    known = dial()
    request = f"GET /v1/clusters HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {READER}\r\n\r\n".encode()
    known.sendall(request)
    assert status_of(known) == 200
    many = [dial() for _client in range(2 * STRANGERS_PER_ADDRESS)]
    eventually(lambda: sum(map(is_open, many)) <= STRANGERS_PER_ADDRESS)
    known.settimeout(15)
    known.sendall(request)
    assert status_of(known) == 200


def test_address_has_a_limit_with_tokens_too(
    site: Client, dial: Callable[..., socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PER_ADDRESS", 8)
    many = [dial("127.0.0.3") for _client in range(12)]
    eventually(lambda: sum(map(is_open, many)) == 8)
    many[0].close()
    eventually(lambda: is_open(dial("127.0.0.3")))


# --- Failures --------------------------------------------------------------------------------------------------------


def test_failures_of_all_processes_count_together(sqlite_url: str, tmp_path: Path) -> None:
    with serving(tmp_path, sqlite_url, workers=2, failures_per_minute=30) as server:
        statuses = []
        for _attempt in range(80):
            with httpx.Client(verify=TRUST, headers={"Authorization": "Bearer x"}) as client:
                statuses.append(client.get(f"{server.url}/v1/hosts").status_code)
        assert statuses.count(401) <= 30
        assert set(statuses) == {401, 429}


def test_refused_address_costs_no_query_and_a_valid_token_of_it_works(
    settings: Settings, site: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(settings.database_url)
    access = Access(database, 3)
    access.identify(READER, "10.0.0.1")
    asked, statuses = [], []
    state = database.state

    def counted() -> State:
        asked.append(1)
        return state()

    monkeypatch.setattr(database, "state", counted)
    for _attempt in range(6):
        with pytest.raises(Exception, match=r"Send a token|Too many") as refused:
            access.identify("x", "10.0.0.1")
        statuses.append(getattr(refused.value, "status", 0))
    assert (statuses, len(asked)) == ([401] * 3 + [429] * 3, 3)
    assert access.identify(READER, "10.0.0.1")[1].name == "reader"
    put_token(database, "reader", READER, "write", None, None)
    assert access.identify(READER, "10.0.0.1")[1].scope == "write"


def test_line_of_the_log_is_short_whatever_was_asked_for(sqlite_url: str, tmp_path: Path) -> None:
    with serving(tmp_path, sqlite_url) as server:
        for token in ("x", NODE):
            server.client(token).get("/v1/" + "a" * 30_000)
            server.client(token).post("/v1/" + "a" * 30_000, json={})
    lines = server.log.read_text().splitlines()
    assert any("/v1/aaaa" in line for line in lines)
    assert max(map(len, lines)) < 2000
    assert all(isinstance(json.loads(line), dict) for line in lines)
    database = Database(sqlite_url)
    with database.read() as read:
        assert max(len(key) for (key,) in read.exec_driver_sql("SELECT key FROM events")) <= 200
    database.close()
    assert os.path.getsize(server.log) < 20_000
