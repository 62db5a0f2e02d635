"""Whether services answer. One process of the site does the checking: the one that holds the lease in the database."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from fastapi.concurrency import run_in_threadpool
from pydantic import TypeAdapter
from pydantic_core import from_json
from sqlalchemy import Row, and_, bindparam, or_, select, tuple_, update
from sqlalchemy.exc import SQLAlchemyError

from . import metrics
from .clock import now
from .database import Database, in_batches
from .queries import SERVICE_ROWS
from .shapes import Check, Health, HeartbeatCheck, HttpCheck, TcpCheck
from .tables import health, heartbeats, hosts, leases

LEASE = "health"
LEASE_SECONDS = 30.0
TICK_SECONDS = 0.5
HEARTBEAT_SECONDS = 5.0
AT_ONCE = 100
_check: TypeAdapter[Any] = TypeAdapter(Check)
log = logging.getLogger(__name__)


# --- Hysteresis ----------------------------------------------------------------------------------------------------


def step(status: Health, streak: int, *, passed: bool, rise: int, fall: int) -> tuple[Health, int]:
    """The status after one more result. The streak counts equal results in a row: successes up, failures down."""
    if passed:
        streak = min(max(streak, 0) + 1, rise)
        return ("passing" if streak >= rise or status in ("unknown", "passing") else status), streak
    streak = max(min(streak, 0) - 1, -fall)
    if -streak >= fall:
        return "critical", streak
    return ("warning" if status in ("unknown", "passing") else status), streak


@dataclass(frozen=True)
class Target:
    """A service to check."""

    key: tuple[str, str, str]
    address: str
    port: int
    scheme: str
    check: TcpCheck | HttpCheck | HeartbeatCheck
    known_since: float

    @property
    def authority(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Result:
    """What a check found. A final one does not wait for a streak."""

    target: Target
    passed: bool
    output: str
    final: bool = False


def read_targets(database: Database) -> list[Target]:
    with database.read() as connection:
        rows = connection.execute(SERVICE_ROWS.where(hosts.c.state != "retired")).all()
    return [target for row in rows if (target := _target(row)) is not None]


def _target(row: Row[Any]) -> Target | None:
    spec = from_json(row.spec)
    if spec.get("check") is None:
        return None
    since = datetime.fromisoformat(row.since).timestamp()
    address = row.address or row.host
    check = _check.validate_python(spec["check"])
    return Target((row.cluster, row.name, row.host), address, spec["port"], spec["scheme"], check, since)


def apply_results(database: Database, results: Sequence[Result]) -> int:
    """Write what changed. Returns how many services have another status now."""
    by_key = {result.target.key: result for result in results}
    key = tuple_(health.c.cluster, health.c.name, health.c.host)
    with database.read() as connection:
        rows = [
            row
            for batch in in_batches(list(by_key))
            for row in connection.execute(select(health).where(key.in_(batch)))
        ]
    if not any(_values(row, by_key[(row.cluster, row.name, row.host)]) for row in rows):
        return 0
    with database.write() as write:
        rows = [
            row
            for batch in in_batches(list(by_key))
            for row in write.connection.execute(select(health).where(key.in_(batch)))
        ]
        changed = [values for row in rows if (values := _values(row, by_key[(row.cluster, row.name, row.host)]))]
        turned = [values for values in changed if values["turned"]]
        if not changed:
            return 0
        where = and_(*(health.c[name] == bindparam(f"key_{name}") for name in ("cluster", "name", "host")))
        names = ("key_cluster", "key_name", "key_host", "status", "streak", "since", "output")
        write.connection.execute(
            update(health).where(where), [{name: values[name] for name in names} for values in changed]
        )
        if turned:
            write.health_changed()
    for values in turned:
        service = "/".join(values[f"key_{name}"] for name in ("cluster", "name", "host"))
        log.info("service %s is %s: %s", service, values["status"], values["output"])
        metrics.transitions.labels(values["status"]).inc()
    return len(turned)


def _values(row: Row[Any], result: Result) -> dict[str, Any] | None:
    """The row's new values, where they differ."""
    check = result.target.check
    status: Health
    if result.final:
        status, streak = ("passing", check.rise) if result.passed else ("critical", -check.fall)
    else:
        status, streak = step(row.status, row.streak, passed=result.passed, rise=check.rise, fall=check.fall)
    if (status, streak) == (row.status, row.streak):
        return None
    turned = status != row.status
    return {
        **{f"key_{name}": getattr(row, name) for name in ("cluster", "name", "host")},
        "status": status,
        "streak": streak,
        "since": now() if turned else row.since,
        "output": result.output,
        "turned": turned,
    }


# --- Checks --------------------------------------------------------------------------------------------------------


class Prober:
    """Asks services."""

    def __init__(self, ca_file: Path | None) -> None:
        trusted = ssl.create_default_context()
        if ca_file is not None:
            trusted.load_verify_locations(ca_file)
        any_certificate = ssl.create_default_context()
        any_certificate.check_hostname = False
        any_certificate.verify_mode = ssl.CERT_NONE
        limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=0)
        self._clients = {
            True: httpx.AsyncClient(verify=trusted, limits=limits, trust_env=False),
            False: httpx.AsyncClient(verify=any_certificate, limits=limits, trust_env=False),
        }

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    async def probe(self, target: Target) -> Result:
        """Never fails: what goes wrong is the result."""
        check = target.check
        assert not isinstance(check, HeartbeatCheck)
        try:
            async with asyncio.timeout(check.timeout):
                return await (self._http(target, check) if isinstance(check, HttpCheck) else self._tcp(target))
        except TimeoutError:
            return Result(target, False, f"no answer within {check.timeout} s")
        except (OSError, httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            return Result(target, False, (str(error) or type(error).__name__)[:200])

    async def _tcp(self, target: Target) -> Result:
        _reader, writer = await asyncio.open_connection(target.address, target.port)
        writer.close()
        return Result(target, True, "connected")

    async def _http(self, target: Target, check: HttpCheck) -> Result:
        scheme = "https" if target.scheme == "https" else "http"
        answer = await self._clients[check.verify].get(
            f"{scheme}://{target.authority}{check.path}",
            headers={"Host": f"{target.key[2]}:{target.port}", "User-Agent": "hpcops-discovery"},
            extensions={"sni_hostname": target.key[2]},
        )
        return Result(target, answer.status_code < 400, f"HTTP {answer.status_code}")


class Beats:
    """Turns heartbeats, and those that do not come, into results."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counted: dict[tuple[str, str], float] = {}

    def results(self, targets: Sequence[Target]) -> list[Result]:
        if not targets:
            return []
        with self._database.read() as connection:
            rows = connection.execute(select(heartbeats).where(heartbeats.c.service != "")).all()
        latest = {(row.host, row.service): row for row in rows}
        found = (self._result(target, latest.get((target.key[2], target.key[1]))) for target in targets)
        return [result for result in found if result is not None]

    def _result(self, target: Target, row: Row[Any] | None) -> Result | None:
        assert isinstance(target.check, HeartbeatCheck)
        seen = row.seen if row is not None else target.known_since
        if time.time() - seen > target.check.ttl:
            return Result(target, False, f"no heartbeat for more than {target.check.ttl} s", final=True)
        key = (target.key[2], target.key[1])
        if row is None or self._counted.get(key) == row.seen:
            return None
        self._counted[key] = row.seen
        return Result(target, row.status == "passing", f"heartbeat: {row.status}", final=row.status == "critical")


# --- The checking process ------------------------------------------------------------------------------------------


class Checker:
    """Checks while it holds the lease; waits for it otherwise."""

    def __init__(self, database: Database, ca_file: Path | None, changed: Callable[[], None]) -> None:
        self._database = database
        self._ca_file = ca_file
        self._changed = changed
        self._holder = secrets.token_hex(8)
        self._beats = Beats(database)
        self._results: list[Result] = []
        self._due: dict[Target, float] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Until it is cancelled."""
        prober = Prober(self._ca_file)
        try:
            while True:
                try:
                    await self._lead(prober)
                except SQLAlchemyError as error:
                    log.warning("health checks pause; the database cannot be asked: %s", error)
                except Exception:  # whatever it is, services must go on being checked
                    log.exception("health checks pause")
                metrics.checking.set(0)
                await asyncio.sleep(LEASE_SECONDS / 6 * (1 + random.random()))  # not a secret
        finally:
            for task in self._running:
                task.cancel()
            await prober.close()
            await run_in_threadpool(self.release)

    async def _lead(self, prober: Prober) -> None:
        renewed = beaten = float("-inf")
        known: tuple[str, int] | None = None
        while True:
            present = time.monotonic()
            if present - renewed > LEASE_SECONDS / 3:
                if not await run_in_threadpool(self.hold):
                    return
                if renewed == float("-inf"):
                    log.info("this process checks the services now")
                renewed = present
                metrics.checking.set(1)
            state = await run_in_threadpool(self._database.state)
            if known != (state.epoch, state.revision):
                known = (state.epoch, state.revision)
                self._plan(await run_in_threadpool(read_targets, self._database), present)
            self._start_due(prober, present)
            if present - beaten > HEARTBEAT_SECONDS:
                beaten = present
                waiting = [target for target in self._due if isinstance(target.check, HeartbeatCheck)]
                self._results += await run_in_threadpool(self._beats.results, waiting)
            if self._results:
                results, self._results = self._results, []
                if await run_in_threadpool(apply_results, self._database, results):
                    self._changed()
            await asyncio.sleep(TICK_SECONDS)

    def _plan(self, targets: Sequence[Target], present: float) -> None:
        """New targets are checked at once, but not all in the same moment."""
        spread = min(15.0, len(targets) / 200)
        self._due = {target: self._due.get(target, present + random.uniform(0, spread)) for target in targets}

    def _start_due(self, prober: Prober, present: float) -> None:
        for target, due in self._due.items():
            if due <= present and not isinstance(target.check, HeartbeatCheck):
                self._due[target] = present + target.check.interval
                task = asyncio.create_task(self._probe(prober, target))
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    async def _probe(self, prober: Prober, target: Target) -> None:
        async with self._gate:
            result = await prober.probe(target)
        metrics.checks.labels("passed" if result.passed else "failed").inc()
        self._results.append(result)

    def hold(self) -> bool:
        """Take or keep the lease."""
        present = time.time()
        free = or_(leases.c.holder == self._holder, leases.c.until < present)
        statement = update(leases).where(leases.c.name == LEASE, free)
        with self._database.engine.connect().execution_options(writes=True) as connection, connection.begin():
            done = connection.execute(statement.values(holder=self._holder, until=present + LEASE_SECONDS))
            return done.rowcount == 1

    def release(self) -> None:
        statement = update(leases).where(leases.c.name == LEASE, leases.c.holder == self._holder).values(until=0)
        try:
            with self._database.engine.connect().execution_options(writes=True) as connection, connection.begin():
                connection.execute(statement)
        except SQLAlchemyError as error:
            log.warning("the lease of the health checks ends by itself: %s", error)
