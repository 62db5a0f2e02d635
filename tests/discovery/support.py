"""The service as the tests run it: in this process, or as processes of its own behind a real socket."""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from forked import Loaded
from hpcops_discovery.app import create_app
from hpcops_discovery.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "roles" / "discovery" / "files"
ADMIN = "admin-token-of-the-tests-0123456789abcdef"
WRITER = "writer-token-of-the-tests-0123456789abcdef"
READER = "reader-token-of-the-tests-0123456789abcdef"
NODE = "heartbeat-token-of-the-tests-0123456789"
ALPHA = "alpha-writer-token-of-the-tests-0123456789"
# One for all clients: reading the system's certificates takes longer than most tests.
TRUST = ssl.create_default_context()


def host(name: str, cluster: str = "alpha", **more: Any) -> dict[str, Any]:
    return {"name": name, "cluster": cluster, **more}


def service(name: str, on: str, cluster: str = "alpha", **more: Any) -> dict[str, Any]:
    return {"name": name, "cluster": cluster, "host": on, "port": 9100, **more}


class Client(httpx.Client):
    """A client that has a token, and shows the problem where an answer is not as expected."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"verify": TRUST, **options})

    def of(self, token: str) -> Client:
        """The same server, asked by somebody else."""
        return Client(base_url=self.base_url, headers={"Authorization": f"Bearer {token}"}, timeout=60)

    def ok(self, method: str, path: str, **options: Any) -> Any:
        answer = self.request(method, path, **options)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text[:2000]}"
        return answer.json() if answer.content else None

    def refused(self, status: int, method: str, path: str, **options: Any) -> dict[str, Any]:
        """The problem document."""
        answer = self.request(method, path, **options)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text[:2000]}"
        assert answer.headers["content-type"] == "application/problem+json"
        document: dict[str, Any] = answer.json()
        assert document["status"] == status
        assert document["type"].startswith("urn:hpcops:discovery:")
        return document

    def names(self, path: str, **query: Any) -> list[str]:
        return [item["name"] for item in self.ok("GET", path, params=query)["items"]]


def eventually(what: Callable[[], Any], within: float = 30) -> Any:
    """The first true answer; the last one fails the test."""
    deadline = time.monotonic() + within
    while True:
        found = what()
        if found or time.monotonic() > deadline:
            assert found, f"not within {within} s: {found!r}"
            return found
        time.sleep(0.05)


def cli(config: Path, *arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the administrator's command."""
    command = ["-m", "hpcops_discovery", "--config", str(config), *arguments]
    done = _loaded_command().run(command, cwd=SOURCE, env=os.environ, stdin=stdin)
    if check:
        done.check_returncode()
    return done


@functools.cache
def _loaded_command() -> Loaded:
    loaded = Loaded(["hpcops_discovery.cli"], env={**os.environ, "PYTHONPATH": str(SOURCE)})
    atexit.register(loaded.close)
    return loaded


def write_config(path: Path, **settings: Any) -> Path:
    # What JSON calls a value, TOML calls it as well, for text, numbers and truth.
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def in_thread(settings: Settings) -> Iterator[Client]:
    """The application, served by a thread of this process on a real socket, and an administrator's client."""
    config = uvicorn.Config(
        create_app(settings), port=0, log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    listening = config.bind_socket()
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        eventually(lambda: server.started)
        with Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=60) as client:
            client.headers["Authorization"] = f"Bearer {ADMIN}"
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@dataclass
class Server:
    """Processes of the service, and the log that they write."""

    config: Path
    log: Path
    url: str
    process: subprocess.Popen[bytes]
    clients: list[Client] = field(default_factory=list)

    def client(self, token: str = ADMIN, **options: Any) -> Client:
        made = Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=60, **options)
        self.clients.append(made)
        return made

    def ready(self, **options: Any) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5, **options).status_code == 200
        except httpx.TransportError:
            return False

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        found = [int(child) for child in path.read_text().split()]
        # One of them is multiprocessing's own bookkeeper.
        return [child for child in found if "resource_tracker" not in Path(f"/proc/{child}/cmdline").read_text()]

    def kill_all(self) -> None:
        """As if the machine had stopped."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=60)


@contextmanager
def serving(
    folder: Path, url: str, *, name: str = "server", env: Mapping[str, str] | None = None, **settings: Any
) -> Iterator[Server]:
    """Run the service as the unit does, until it is ready; stop it afterwards."""
    port = settings.pop("listen_port", None) or free_port()
    wanted = {"database_url": url, "listen_port": port, "workers": 1, "health_checks": False, **settings}
    config = write_config(folder / f"{name}.toml", **wanted)
    log = folder / f"{name}.log"
    command = [sys.executable, "-m", "hpcops_discovery", "--config", str(config), "serve"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=SOURCE, stdout=output, stderr=output, start_new_session=True, env={**os.environ, **(env or {})}
        )
    scheme = "https" if "tls_certificate" in settings else "http"
    server = Server(config, log, f"{scheme}://127.0.0.1:{port}", process)
    trusted = {"verify": False if scheme == "https" else TRUST}
    try:
        eventually(lambda: server.ready(**trusted), within=90)
        yield server
    finally:
        for client in server.clients:
            client.close()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                server.kill_all()
