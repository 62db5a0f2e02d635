"""Heartbeats: many requests share one transaction, and none touches a revision."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi.concurrency import run_in_threadpool
from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from . import metrics
from .access import Denied, Principal
from .database import Database, in_batches
from .problems import invalid
from .shapes import Beat, FieldError
from .tables import heartbeats, hosts

# Requests that arrive within this time are written together.
GATHER_SECONDS = 0.25


class Outdated(Exception):  # noqa: N818  # nobody's fault
    """Tokens have changed since the principal was known."""


@dataclass
class _Waiting:
    principal: Principal
    beats: Sequence[Beat]
    done: asyncio.Future[None]
    version: tuple[str, int] | None


class Heartbeats:
    """Gathers heartbeats, and answers each request when its own are written."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Waiting] = []
        self._writer: asyncio.Task[None] | None = None

    async def record(self, principal: Principal, beats: Sequence[Beat], version: tuple[str, int] | None = None) -> None:
        """Return when they are written. With a version, only if that of the tokens is still the same."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(principal, beats, done, version))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        while self._waiting:
            await asyncio.sleep(GATHER_SECONDS)
            batch, self._waiting = self._waiting, []
            try:
                faults = await run_in_threadpool(self._store, batch)
            except Exception as error:  # noqa: BLE001  # whatever it is, those who wait must get it
                faults = [error] * len(batch)
            for waiting, fault in zip(batch, faults, strict=True):
                if waiting.done.cancelled():
                    continue
                if fault is None:
                    waiting.done.set_result(None)
                else:
                    waiting.done.set_exception(fault)

    def _store(self, batch: Sequence[_Waiting]) -> list[Exception | None]:
        """Write what is in order, and say for each request what was not."""
        names = sorted({beat.host for waiting in batch for beat in waiting.beats})
        present = time.time()
        with self._database.engine.connect().execution_options(writes=True) as connection, connection.begin():
            found: dict[str, tuple[str, str]] = {}
            for some in in_batches(names):
                wanted = select(hosts.c.name, hosts.c.cluster, hosts.c.state).where(hosts.c.name.in_(some))
                found |= {row.name: (row.cluster, row.state) for row in connection.execute(wanted)}
            version = self._database.state_in(connection).access_version
            faults = [_fault(waiting, found, version) for waiting in batch]
            rows = {
                (beat.host, service): {"host": beat.host, "service": service, "seen": present, "status": status}
                for waiting, fault in zip(batch, faults, strict=True)
                if fault is None
                for beat in waiting.beats
                for service, status in {"": "passing", **beat.services}.items()
            }
            if rows:
                dialect = sqlite if self._database.sqlite else postgresql
                statement = dialect.insert(heartbeats)
                newer = {"seen": statement.excluded.seen, "status": statement.excluded.status}
                # In one order everywhere: two processes that write the same hosts must not wait for each other.
                connection.execute(
                    statement.on_conflict_do_update(index_elements=["host", "service"], set_=newer),
                    [row for _key, row in sorted(rows.items())],
                )
        metrics.beats.inc(len(rows))
        return faults


def _fault(waiting: _Waiting, found: dict[str, tuple[str, str]], version: tuple[str, int]) -> Exception | None:
    if waiting.version not in (None, version):
        return Outdated()
    errors = []
    for index, beat in enumerate(waiting.beats):
        cluster, state = found.get(beat.host, ("", "retired"))
        if state == "retired":
            word = "is retired" if cluster else "does not exist"
            errors.append(
                FieldError(
                    pointer=f"/beats/{index}/host",
                    detail=f"the host '{beat.host}' {word}",
                    index=index,
                    key=beat.host,
                    code="unknown_host",
                )
            )
        elif not waiting.principal.sees(cluster):
            return Denied(
                waiting.principal, f"token '{waiting.principal.name}' is not for cluster '{cluster}'", cluster
            )
    return invalid(errors) if errors else None
