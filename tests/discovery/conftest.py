"""Databases and clients. Every test of the API runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import glob
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hpcops_discovery.access import put_token
from hpcops_discovery.database import Database
from hpcops_discovery.settings import Settings
from support import ADMIN, ALPHA, NODE, READER, WRITER, Client, host, in_thread

NUMBERS = itertools.count()


class PostgreSQL:
    """A server of the distribution's PostgreSQL in a folder of its own, run by its own account where the tests are root's."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self.folder = folder
        self._as = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        if self._as:
            account = pwd.getpwnam("postgres")
            os.chown(folder, account.pw_uid, account.pw_gid)
        self._run(
            "initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", str(folder / "data")
        )
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as, str(self._programs / program), *arguments]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        # No test stops the machine: nothing needs to reach the disk itself.
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder} -c max_connections=200 -c fsync=off"
        data, log = str(self.folder / "data"), str(self.folder / "log")
        self._run("pg_ctl", "start", "--wait", f"--pgdata={data}", f"--log={log}", f"--options={options}")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "stop", "--wait", f"--pgdata={self.folder / 'data'}", f"--mode={mode}")

    def database(self, template: str | None = None) -> str:
        """Make a database, and return its URL."""
        name = f"test{next(NUMBERS)}"
        options = ["--template", template] if template else []
        self._run("createdb", f"--host={self.folder}", "--username=postgres", *options, name)
        return f"postgresql+psycopg://postgres@/{name}?host={self.folder}"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/pg_ctl"))
    if not found:
        pytest.skip("SKIPPED: no PostgreSQL server is installed here")
    folder = Path(tempfile.mkdtemp(prefix="hpcops-postgresql."))
    server = PostgreSQL(Path(found[-1]).parent, folder)
    yield server
    server.stop("immediate")
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """For each kind of database, one with a schema and tokens, that the tests' own are copies of."""
    return {"folder": tmp_path_factory.mktemp("template")}


def fill(url: str) -> None:
    database = Database(url)
    database.migrate()
    put_token(database, "admin", ADMIN, "admin", None, None)
    put_token(database, "writer", WRITER, "write", None, None)
    put_token(database, "reader", READER, "read", None, None)
    put_token(database, "node", NODE, "heartbeat", None, None)
    put_token(database, "alpha", ALPHA, "write", ["alpha"], None)
    database.close()


@pytest.fixture
def sqlite_url(templates: dict[str, Any], tmp_path: Path) -> str:
    template: Path = templates["folder"] / "template.db"
    if not template.exists():
        fill(f"sqlite:///{template}")
    shutil.copy(template, tmp_path / "discovery.db")
    return f"sqlite:///{tmp_path}/discovery.db"


@pytest.fixture
def postgresql_url(templates: dict[str, Any], postgresql: PostgreSQL) -> str:
    if "postgresql" not in templates:
        url = postgresql.database()
        fill(url)
        templates["postgresql"] = url.partition("@/")[2].partition("?")[0]
    return postgresql.database(templates["postgresql"])


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(database_url=database_url, health_checks=False, failures_per_minute=1000, workers=1)


@pytest.fixture
def api(settings: Settings) -> Iterator[Client]:
    """An administrator's client of the application, which a thread of this process serves on a real socket."""
    with in_thread(settings) as client:
        yield client


@pytest.fixture
def site(api: Client) -> Client:
    """Two clusters and some hosts."""
    for name in ("alpha", "beta"):
        api.ok("PUT", f"/v1/clusters/{name}", json={"slurm": {"SlurmctldTimeout": 300}})
    hosts = [
        host(
            "a1", roles=["slurmd"], partitions=["batch"], rack="r1", labels={"env": "prod", "tier": "1"}, state="active"
        ),
        host("a2", roles=["slurmd"], partitions=["batch", "gpu"], rack="r1", labels={"env": "prod"}, state="ready"),
        host("a3", roles=["slurmctld"], rack="r2", labels={"env": "test", "gone": ""}),
        host("b1", "beta", roles=["slurmd"], partitions=["batch"], rack="r2", state="active"),
    ]
    hosts[1]["slurm_node"] = {"cpus": 4, "features": ["avx"], "gres": ["gpu:h100:8"]}
    hosts[0]["addresses"] = {"main": "10.0.0.1", "bmc": "fe80::1"}
    api.ok("POST", "/v1/hosts", json={"hosts": hosts})
    return api


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to make test-matrix what the kind of database has little part in: who may ask, what is said of a wrong request, what the status
    page shows, and how services are checked once somebody holds the lease."""
    if "HPCOPS_MATRIX" in os.environ:
        return
    left = [
        item
        for item in items
        if item.path.name in ("test_access.py", "test_bad_input.py", "test_health.py", "test_status_page.py")
        and isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and item.callspec.params.get("database_url") == "postgresql"
        and "openapi" not in item.name
        and "lease" not in item.name
    ]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]
