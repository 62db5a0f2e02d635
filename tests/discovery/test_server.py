"""The processes: reloads drop nothing, nobody keeps them from ending, figures are of all of them, logs hold no token."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from support import ADMIN, ALPHA, NODE, READER, TRUST, WRITER, Server, eventually, host, serving


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1"], cwd=folder, check=True, capture_output=True
    )
    return folder


def test_reload_takes_the_new_settings_and_drops_no_request(sqlite_url: str, tmp_path: Path) -> None:
    with serving(tmp_path, sqlite_url, workers=2, status_public=False) as server:
        stop = threading.Event()

        def ask() -> int:
            """Each request on a connection of its own."""
            asked = 0
            while not stop.is_set():
                answer = httpx.get(
                    f"{server.url}/v1/clusters", headers={"Authorization": f"Bearer {READER}"}, timeout=30, verify=TRUST
                )
                assert answer.status_code == 200
                asked += 1
            return asked

        before = set(server.children())
        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask) for _thread in range(4)]
            server.config.write_text(server.config.read_text().replace("status_public = false", "status_public = true"))
            os.kill(server.process.pid, signal.SIGHUP)
            eventually(lambda: len(after := set(server.children())) == 2 and not after & before, within=60)
            stop.set()
            assert sum(thread.result(30) for thread in asking) > 0
        assert httpx.get(f"{server.url}/").status_code == 200


def test_reload_with_a_broken_configuration_keeps_the_old_processes(sqlite_url: str, tmp_path: Path) -> None:
    with serving(tmp_path, sqlite_url) as server:
        before = server.children()
        server.config.write_text("nonsense = true\n" + server.config.read_text())
        os.kill(server.process.pid, signal.SIGHUP)
        eventually(lambda: "nonsense" in server.log.read_text())
        eventually(lambda: server.children() == before, within=60)
        assert server.ready()


def test_watchers_do_not_keep_a_process_from_ending(sqlite_url: str, tmp_path: Path) -> None:
    with serving(tmp_path, sqlite_url, drain_seconds=60) as server, ThreadPoolExecutor(3) as pool:
        clients = [server.client() for _watcher in range(3)]
        watching = [pool.submit(client.get, "/v1/watch?since=0&wait=300") for client in clients]
        eventually(lambda: "hpcops_discovery_watchers" in (text := clients[0].get("/metrics").text) and " 3.0" in text)
        begin = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begin < 45
        assert [answer.result().status_code for answer in watching] == [200, 200, 200]


@pytest.mark.parametrize("path", ["/v1/hosts", "/v1/heartbeats"])
def test_client_that_goes_away_in_the_middle_of_a_body_is_no_error(sqlite_url: str, tmp_path: Path, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN}\r\nContent-Type: application/json\r\n"
    with serving(tmp_path, sqlite_url) as server:
        with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as client:
            client.sendall(f'{head}Content-Length: 100\r\n\r\n{{"beats": ['.encode())
        eventually(lambda: f"POST {path} 400" in server.log.read_text())
    assert "Traceback" not in server.log.read_text()


def test_figures_are_those_of_all_processes(sqlite_url: str, tmp_path: Path) -> None:
    with serving(tmp_path, sqlite_url, workers=2) as server:
        for _request in range(30):
            with server.client() as client:
                client.ok("GET", "/v1/clusters")
        text = server.client().get("/metrics").text
        line = 'hpcops_discovery_requests_total{method="GET",route="/v1/clusters",status="200"} 30.0'
        assert line in text.splitlines()
        assert "hpcops_discovery_revision 0.0" in text


def test_tls_is_spoken_with_the_given_certificate(sqlite_url: str, tmp_path: Path, certificate: Path) -> None:
    tls: dict[str, Any] = {"tls_certificate": str(certificate / "cert.pem"), "tls_key": str(certificate / "key.pem")}
    with serving(tmp_path, sqlite_url, **tls) as server:
        trusted = ssl.create_default_context(cafile=certificate / "cert.pem")
        with server.client(verify=trusted) as client:
            client.ok("GET", "/v1/clusters")
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{server.url}/healthz")


def use_everything(server: Server) -> None:
    for token in (ADMIN, WRITER, READER, ALPHA, NODE, "hpcd_not-a-token-at-all"):
        with server.client(token) as client:
            client.get("/v1/hosts", params={"token": token})
            client.get("/v1/hosts/hpcd_not-a-token-at-all")
            client.put("/v1/clusters/alpha", json={"description": 7, token: token})
            client.post("/v1/hosts", json={"hosts": [host("n1", rack=token * 9)]})
            client.get("/", headers={"Authorization": f"Basic {token}"})
            client.request("GET", "/v1/hosts", headers={"X-Token": token})
            client.post(
                "/v1/hosts", content=f'{{"hosts": "{token}'.encode(), headers={"Content-Type": "application/json"}
            )


@pytest.mark.parametrize("level", ["debug", "info"] if "HPCOPS_MATRIX" in os.environ else ["debug"])
def test_no_token_is_in_the_log_at_any_level(database_url: str, tmp_path: Path, level: str) -> None:
    with serving(tmp_path, database_url, log_level=level, health_checks=True) as server:
        use_everything(server)
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert any(line.get("path") == "/v1/hosts" for line in lines)
    assert {"time", "level", "logger", "message"} <= set(lines[0])
    text = server.log.read_text()
    for token in (ADMIN, WRITER, READER, ALPHA, NODE, "hpcd_not-a-token-at-all"):
        assert token not in text
