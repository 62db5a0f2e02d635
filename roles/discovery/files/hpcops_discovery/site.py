"""What a process is made of."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Annotated

from fastapi import Depends, Request

from .access import Access
from .database import Database
from .export import InventoryExport
from .feed import Feed
from .health import Checker
from .heartbeats import Heartbeats
from .settings import Settings


@dataclass
class Site:
    """The parts that requests use."""

    settings: Settings
    database: Database
    access: Access
    inventory: InventoryExport
    feed: Feed
    heartbeats: Heartbeats

    @classmethod
    def of(cls, settings: Settings) -> Site:
        database = Database(settings.database_url)
        return cls(
            settings,
            database,
            Access(database, settings.failures_per_minute),
            InventoryExport(database),
            Feed(database),
            Heartbeats(database),
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the process serves: checks run, and watchers are let go as soon as it shall end."""
        self.feed.start()
        tasks = []
        if self.settings.health_checks:
            checker = Checker(self.database, self.settings.check_ca_file, self.feed.nudge)
            tasks.append(asyncio.create_task(checker.run()))
        with _before_termination(self.feed.close):
            yield
        self.feed.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.database.close()


@contextlib.contextmanager
def _before_termination(action: Callable[[], None]) -> Iterator[None]:
    """Act when the process is told to end: the server waits for its requests, and watchers would keep it waiting."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def act(number: int, frame: FrameType | None) -> None:
        action()
        handler = former[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number in former:
        signal.signal(number, act)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


async def site_of(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


TheSite = Annotated[Site, Depends(site_of)]
