"""Runs the application's processes behind one socket: systemd's, or one of their own."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from . import logs, settings
from .settings import Settings

# Where systemd puts the first socket that it hands over.
FIRST_SOCKET = 3
# How long a process that ends waits for the first request of a connection that it has accepted.
FIRST_REQUEST_SECONDS = 2.0


class Connection(HttpToolsProtocol):
    """A client's connection. uvicorn closes one whose first request it has not read yet, as if it were idle."""

    def shutdown(self) -> None:
        if self.cycle is None:
            self.loop.call_later(FIRST_REQUEST_SECONDS, super().shutdown)
        else:
            super().shutdown()


def serve(config_file: Path | None, wanted: Settings) -> None:
    if config_file is not None:
        os.environ[settings.VARIABLE] = str(config_file)
    logs.configure(wanted.log_level)
    with tempfile.TemporaryDirectory(prefix="metrics.", dir=os.environ.get("RUNTIME_DIRECTORY")) as folder:
        # Before the first import of prometheus_client in a worker: its figures lie there.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        config = uvicorn.Config(
            "hpcops_discovery.app:process_app",
            factory=True,
            http=Connection,
            host=wanted.listen_address,
            port=wanted.listen_port,
            workers=wanted.workers,
            ssl_certfile=wanted.tls_certificate,
            ssl_keyfile=wanted.tls_key,
            timeout_graceful_shutdown=wanted.drain_seconds,
            timeout_keep_alive=75,
            timeout_worker_healthcheck=30,
            backlog=2048,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
        # On SIGHUP it brings each process's successor into service before it ends the process.
        Multiprocess(config, sockets=[_handed_over() or config.bind_socket()]).run()


def _handed_over() -> socket.socket | None:
    """The socket that systemd listens on; connections wait in it while no process runs."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS", "0") == "0":
        return None
    found = socket.socket(fileno=FIRST_SOCKET)
    found.set_inheritable(True)
    return found
