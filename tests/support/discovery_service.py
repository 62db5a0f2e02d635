"""The service-discovery API as a process of its own over TLS, for tests and benchmarks of what asks it."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.hpcops.cluster.tests.support.forked import Loaded

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".cache" / "venv-discovery" / "bin" / "python"
SOURCE = ROOT / "roles" / "discovery" / "files"
ADMIN = "admin-token-of-the-tests-0123456789abcdef"
READER = "reader-token-of-the-tests-0123456789abcdef"
ALPHA = "alpha-reader-token-of-the-tests-0123456789"
WRITER = "alpha-writer-token-of-the-tests-0123456789"
CERTIFICATE = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout key.pem -out cert.pem -subj /CN=x"


@dataclass
class Service:
    """A running API, with tokens for an administrator, a reader, and a reader and a writer of the cluster alpha alone."""

    folder: Path
    port: int
    loaded: Loaded
    process: subprocess.Popen[bytes] | None = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.folder / "service.log"

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> Path:
        return self.folder / "cert.pem"

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Make the request as administrator; a refusal is an error that shows the problem."""
        headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        trusted = ssl.create_default_context(cafile=str(self.ca_file))
        try:
            with urllib.request.urlopen(request, timeout=300, context=trusted) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read()[:2000]!r}") from error

    def command(self, *arguments: str) -> list[str]:
        return ["-m", "hpcops_discovery", "--config", str(self.folder / "config.toml"), *arguments]

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return self.loaded.run(self.command(*arguments), cwd=SOURCE, env=os.environ, stdin=stdin)

    def start(self) -> None:
        with self.log.open("ab") as output:
            command = [str(PYTHON), *self.command("serve")]
            self.process = subprocess.Popen(command, cwd=SOURCE, stdout=output, stderr=output)
        deadline = time.monotonic() + 120
        while self.run("ping").returncode != 0:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=60)
            self.process = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def discovery_service(folder: Path) -> Iterator[Service]:
    """Run the API with its data in a folder, until the end."""
    with Loaded(["hpcops_discovery.cli"], python=str(PYTHON), env={**os.environ, "PYTHONPATH": str(SOURCE)}) as loaded:
        yield from _service(Service(folder, _free_port(), loaded))


def _service(service: Service) -> Iterator[Service]:
    folder = service.folder
    make = ["openssl", *CERTIFICATE.split(), "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(make, cwd=folder, check=True, capture_output=True)
    settings = {
        "database_url": f"sqlite:///{folder}/discovery.db",
        "listen_port": service.port,
        "workers": 1,
        "failures_per_minute": 1000,
        "log_level": "warning",
        "health_checks": False,
        "tls_certificate": str(folder / "cert.pem"),
        "tls_key": str(folder / "key.pem"),
    }
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items()]
    (folder / "config.toml").write_text("".join(lines))
    service.run("migrate").check_returncode()
    for name, token, *more in (
        ("admin", ADMIN, "--scope", "admin"),
        ("reader", READER),
        ("alpha", ALPHA, "--cluster", "alpha"),
        ("writer", WRITER, "--scope", "write", "--cluster", "alpha"),
    ):
        service.run("token", "set", name, *more, stdin=token).check_returncode()
    service.start()
    try:
        yield service
    finally:
        service.stop()
