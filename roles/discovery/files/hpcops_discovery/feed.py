"""Tells waiting requests that something changed, whichever process changed it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import SQLAlchemyError

from . import metrics
from .database import Database, State

# How soon a change made by another process is seen. Own changes are seen at once.
POLL_SECONDS = 0.25
log = logging.getLogger(__name__)


class Feed:
    """One reader of the database's state for all watchers of a process, which reads only while somebody waits."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting = 0
        self._reader: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._nudge = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closed = False

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()

    def nudge(self) -> None:
        """Look now. May be called from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._nudge.set)

    def close(self) -> None:
        """Let all watchers go, since the process is about to end."""
        self.closed = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def wait(self, known: State, is_news: Callable[[State], bool], seconds: float) -> State:
        """The first state that is news, or the present one when the time is over."""
        deadline = asyncio.get_running_loop().time() + seconds
        self._waiting += 1
        metrics.watchers.inc()
        try:
            if self._reader is None or self._reader.done():
                self._reader = asyncio.create_task(self._read(known))
            while True:
                news = self._news  # before the look: what changes after it sets this one
                state = await run_in_threadpool(self._database.state)
                over = asyncio.get_running_loop().time() >= deadline
                if is_news(state) or over or self.closed:
                    return state
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(deadline):
                        await news.wait()
        finally:
            self._waiting -= 1
            metrics.watchers.dec()

    async def _read(self, known: State) -> None:
        while self._waiting and not self.closed:
            try:
                state = await run_in_threadpool(self._database.state)
            except SQLAlchemyError as error:
                log.warning("watchers wait on; the database cannot be asked: %s", error)
                state = known
            if state != known:
                known = state
                self._wake()
            self._nudge.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._nudge.wait(), POLL_SECONDS)
