"""A short way for heartbeats, ahead of what other requests need: the hosts of a site send them all the time."""

from __future__ import annotations

from types import SimpleNamespace

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .access import Access, Denied
from .heartbeats import Heartbeats, Outdated
from .problems import Problem
from .shapes import Beats

# As the figures name it.
ROUTE = SimpleNamespace(path="/v1/heartbeats")


class ShortWay:
    """Answers heartbeats that are in order. Others go the usual way, which says what is wrong with them."""

    def __init__(self, app: ASGIApp, access: Access, heartbeats: Heartbeats) -> None:
        self._app = app
        self._access = access
        self._heartbeats = heartbeats

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != ROUTE.path or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            await Problem(400, "The body ends too early.").response()(scope, receive, send)
            return
        if await self._recorded(request, body):
            scope["route"] = ROUTE
            await Response(status_code=204)(scope, receive, send)
        else:
            await self._app(scope, _again(body, receive), send)

    async def _recorded(self, request: Request, body: bytes) -> bool:
        scheme, _blank, token = request.headers.get("authorization", "").partition(" ")
        caller = self._access.recall(token) if scheme == "Bearer" else None
        json = request.headers.get("content-type") == "application/json"
        if caller is None or not caller.principal.may("heartbeat") or not json or request.scope["query_string"]:
            return False
        try:
            beats = Beats.model_validate_json(body).beats
            await self._heartbeats.record(caller.principal, beats, caller.version)
        except (ValidationError, Outdated, Denied, Problem, SQLAlchemyError):
            return False
        return True


def _again(body: bytes, receive: Receive) -> Receive:
    """What reads a request's body that was read before."""
    unread = [body]

    async def read() -> Message:
        return {"type": "http.request", "body": unread.pop(), "more_body": False} if unread else await receive()

    return read
