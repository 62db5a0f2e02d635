"""What was acknowledged is kept, and what was not is not there by half: processes die, disks fill, databases restart."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import PostgreSQL, fill
from support import Client, Server, eventually, host, serving

SIZE = 300


def bulk(generation: int, size: int = SIZE) -> dict[str, Any]:
    """The same hosts in each generation, all of them changed."""
    return {"hosts": [host(f"n{number:04}", labels={"generation": str(generation)}) for number in range(size)]}


def generations(client: Client) -> set[str]:
    return {found["labels"]["generation"] for found in client.ok("GET", "/v1/inventory")["hosts"].values()}


class Writer(threading.Thread):
    """Writes one generation after the other until the server goes away, and remembers the last that was acknowledged."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client
        self.acknowledged = -1
        self.begun = -1

    def run(self) -> None:
        for generation in range(100_000):
            self.begun = generation
            try:
                answer = self._client.post("/v1/hosts", json=bulk(generation))
            except httpx.TransportError:
                return
            assert answer.status_code == 200, answer.text
            self.acknowledged = generation


@pytest.mark.parametrize("delay", [0.01, 0.1, 0.23] if "HPCOPS_MATRIX" in os.environ else [0.1])
def test_kill_in_the_middle_of_writes_loses_nothing_acknowledged_and_halves_nothing(
    database_url: str, tmp_path: Path, delay: float
) -> None:
    with serving(tmp_path, database_url) as server:
        server.client().ok("PUT", "/v1/clusters/alpha", json={})
        writer = Writer(server.client())
        writer.start()
        eventually(lambda: writer.acknowledged >= 1)
        time.sleep(delay)
        server.kill_all()
        writer.join()
    with serving(tmp_path, database_url) as server:
        client = server.client()
        kept = generations(client)
        assert kept in ({str(writer.acknowledged)}, {str(writer.begun)})
        assert len(client.ok("GET", "/v1/inventory")["hosts"]) == SIZE
        revisions = {event["revision"] for event in client.ok("GET", "/v1/events?limit=1000")["items"]}
        assert revisions <= set(range(1, client.ok("GET", "/v1/clusters")["revision"] + 1))


# --- Two processes over one PostgreSQL -----------------------------------------------------------------------------------


@pytest.fixture
def pair(postgresql_url: str, tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    with serving(tmp_path, postgresql_url, name="one") as one, serving(tmp_path, postgresql_url, name="two") as two:
        one.client().ok("PUT", "/v1/clusters/alpha", json={})
        yield one, two


def test_conflicting_writes_at_two_processes_lose_nothing(pair: tuple[Server, Server]) -> None:
    clients = [server.client() for server in pair]
    clients[0].ok("PUT", "/v1/hosts/n1", json=host("n1", variables={"count": 0}))
    tries = {200: 0, 409: 0}

    def count_up(client: Client) -> None:
        """Read, add one, write at the revision that was read; again after a conflict."""
        for _increment in range(20):
            while True:
                seen = client.ok("GET", "/v1/hosts/n1")
                wanted = {"variables": {"count": seen["variables"]["count"] + 1}, "revision": seen["revision"]}
                status = client.patch("/v1/hosts/n1", json=wanted).status_code
                tries[status] += 1
                if status == 200:
                    break

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(count_up, clients))
    assert clients[0].ok("GET", "/v1/hosts/n1")["variables"]["count"] == 40
    assert tries[200] == 40


def test_change_at_one_process_is_seen_at_the_other_at_once(pair: tuple[Server, Server]) -> None:
    one, two = (server.client() for server in pair)
    since = two.ok("GET", "/v1/inventory")["revision"]
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(two.ok, "GET", f"/v1/watch?since={since}&wait=60")
        one.ok("PUT", "/v1/hosts/n1", json=host("n1"))
        assert "n1" in two.ok("GET", "/v1/inventory")["hosts"]
        assert [event["key"] for event in watching.result(30)["events"]] == ["n1"]


def test_kill_of_one_process_during_bulk_writes_leaves_no_half_and_the_other_goes_on(
    pair: tuple[Server, Server],
) -> None:
    one, two = pair
    writer = Writer(one.client())
    writer.start()
    eventually(lambda: writer.acknowledged >= 1)
    time.sleep(0.05)
    one.kill_all()
    writer.join()
    client = two.client()
    kept = generations(client)
    assert kept in ({str(writer.acknowledged)}, {str(writer.begun)})
    client.ok("POST", "/v1/hosts", json=bulk(-1))
    assert generations(client) == {"-1"}


def test_restart_of_the_database_is_survived(pair: tuple[Server, Server], postgresql: PostgreSQL) -> None:
    client = pair[0].client()
    client.ok("PUT", "/v1/hosts/n1", json=host("n1"))
    postgresql.stop()
    problem = client.refused(503, "GET", "/v1/hosts")
    assert "database" in problem["detail"]
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
    client.refused(503, "PUT", "/v1/hosts/n2", json=host("n2"))
    postgresql.start()
    for server in pair:
        eventually(server.ready)
        assert server.client().names("/v1/hosts") == ["n1"]
        server.client().ok("PATCH", "/v1/hosts/n1", json={"rack": f"r{server.process.pid}"})


# --- A full disk ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.getuid() != 0:
        pytest.skip("SKIPPED: only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("SKIPPED: no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_full_disk_refuses_writes_loses_nothing_and_ends_when_there_is_room(small_disk: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{small_disk}/discovery.db"
    fill(url)
    with serving(tmp_path, url) as server:
        client = server.client()
        client.ok("PUT", "/v1/clusters/alpha", json={})
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"x" * (2 << 20))
        acknowledged = -1
        for generation in range(1000):
            answer = client.post("/v1/hosts", json=bulk(generation))
            if answer.status_code != 200:
                break
            acknowledged = generation
        assert answer.status_code == 507, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert acknowledged >= 0
        assert generations(client) == {str(acknowledged)}
        ballast.unlink()
        eventually(lambda: client.post("/v1/hosts", json=bulk(5000)).status_code == 200)
        assert generations(client) == {"5000"}
        server.kill_all()
    with serving(tmp_path, url) as server:
        assert generations(server.client()) == {"5000"}


def test_processes_end_when_they_are_told_to(sqlite_url: str, tmp_path: Path) -> None:
    with serving(tmp_path, sqlite_url, workers=2) as server:
        os.kill(server.process.pid, signal.SIGTERM)
        assert server.process.wait(timeout=60) == 0
