"""Around each request: a limit for its body, a log line, and figures."""

from __future__ import annotations

import logging
import time

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import metrics
from .problems import Problem

log = logging.getLogger("hpcops_discovery.request")
# They are asked all the time, and say nothing of what goes on.
QUIET = ("/healthz", "/readyz", "/metrics", "/v1/heartbeats")


class BodyLimit:
    """Refuses a body that is too large, before all of it was read."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._most:
            await self._problem().response()(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._most:
                raise ClientDisconnect  # nobody shall go on reading
            return message

        async def unless_exceeded(message: Message) -> None:
            if received <= self._most:
                await send(message)

        try:
            await self._app(scope, counted, unless_exceeded)
        except ClientDisconnect:
            if received <= self._most:
                raise
        if received > self._most:
            await self._problem().response()(scope, receive, send)

    def _problem(self) -> Problem:
        return Problem(413, f"A body may have {self._most} bytes.", headers={"Connection": "close"})


class Observe:
    """One log line and one count for each request; never its query, headers or body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        begin = time.perf_counter()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            self._note(scope, status, time.perf_counter() - begin)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        metrics.requests.labels(route, scope["method"], str(status)).inc()
        if route != "/v1/watch":
            metrics.durations.labels(route).observe(seconds)
        if scope["path"] in QUIET and status < 400:
            return
        extra = {
            "client": scope["client"][0] if scope.get("client") else "local",
            "principal": scope.get("state", {}).get("principal", ""),
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "milliseconds": round(seconds * 1000, 1),
        }
        log.info("%s %s %d", scope["method"], scope["path"], status, extra=extra)
