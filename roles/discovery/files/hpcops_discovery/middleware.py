"""Around each request: who may send a body, a limit for it, a log line, and figures."""

from __future__ import annotations

import logging
import time

from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import metrics, shapes
from .access import Access, Denied, bearer_of, client_of
from .problems import Problem, of_database

log = logging.getLogger("hpcops_discovery.request")
# They are asked all the time, and say nothing of what goes on.
QUIET = ("/healthz", "/readyz", "/metrics", "/v1/heartbeats")
# Who may send a body where; elsewhere a writer. Routes ask again, with the tokens of that moment.
BODIES: dict[str, shapes.Scope] = {"heartbeats": "heartbeat", "clusters": "admin"}
# A host's heartbeat has some hundred bytes; its token lies on the host.
HEARTBEAT_BYTES = 1 << 20
LOGGED_PATH = 200


class Gate:
    """Reads nothing of a body before its sender is known to be allowed to send it."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            problem = await self._refusal(Request(scope))
            if problem is not None:
                await problem.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _refusal(self, request: Request) -> Problem | None:
        path, token, address = request.url.path, bearer_of(request), client_of(request)
        needed = BODIES.get(path.removeprefix("/v1/").partition("/")[0], "write")
        recalled = self._access.recall(token) if token is not None else None
        try:
            if recalled is not None and recalled.principal.may(needed):
                principal = recalled.principal
            else:
                _state, principal = await run_in_threadpool(self._access.identify, token, address)
            request.state.principal = principal.name
            if not principal.may(needed):
                what, denied = f"{request.method} {path}", Denied.of_scope(principal, needed)
                return await run_in_threadpool(self._access.denied, address, what, denied)
        except Problem as problem:
            return problem
        except SQLAlchemyError as error:
            return of_database(error)
        return None


class BodyLimit:
    """Refuses a body that is too large, before all of it was read."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = min(self._most, HEARTBEAT_BYTES) if scope["path"] == "/v1/heartbeats" else self._most
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > most:
            await self._problem(most).response()(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                raise ClientDisconnect  # nobody shall go on reading
            return message

        async def unless_exceeded(message: Message) -> None:
            if received <= most:
                await send(message)

        try:
            await self._app(scope, counted, unless_exceeded)
        except ClientDisconnect:
            if received <= most:
                raise
        if received > most:
            await self._problem(most).response()(scope, receive, send)

    def _problem(self, most: int) -> Problem:
        return Problem(413, f"A body may have {most} bytes.", headers={"Connection": "close"})


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
        path = scope["path"][:LOGGED_PATH]
        extra = {
            "client": scope["client"][0] if scope.get("client") else "local",
            "principal": scope.get("state", {}).get("principal", ""),
            "method": scope["method"],
            "path": path,
            "status": status,
            "milliseconds": round(seconds * 1000, 1),
        }
        log.info("%s %s %d", scope["method"], path, status, extra=extra)
