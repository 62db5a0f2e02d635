"""For people and for whoever watches over the service itself."""

from __future__ import annotations

import base64
import binascii

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from .. import metrics, status
from ..access import Denied, Principal, client_of
from ..database import State, newest_schema
from ..problems import Problem
from ..site import Site, TheSite

router = APIRouter(tags=["system"])
PUBLIC = Principal("public", "read", None)
NO_SCRIPTS = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


@router.get("/healthz", response_class=PlainTextResponse)
async def healthz() -> str:
    """The process runs."""
    return "ok\n"


@router.get("/readyz", response_class=PlainTextResponse)
def readyz(site: TheSite) -> str:
    """The process can serve: the database answers, with the schema that this release needs."""
    if site.feed.closed:
        raise Problem(503, "This process is about to end.")
    schema = site.database.schema()
    if schema != newest_schema():
        raise Problem(
            503, f"The database has the schema {schema}; this release needs {newest_schema()}: hpcops-discovery migrate"
        )
    return "ok\n"


@router.get("/metrics", response_class=PlainTextResponse)
def get_metrics(site: TheSite) -> Response:
    metrics.revision.set(site.database.state().revision)
    return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


@router.get("/", response_class=HTMLResponse, include_in_schema=False)
async def status_page(site: TheSite, request: Request) -> Response:
    """What there is, for a person. A browser asks for a token as the password of any user."""
    state, principal = await _viewer(site, request)
    html = await run_in_threadpool(_render, site, principal, state)
    headers = {"Content-Security-Policy": NO_SCRIPTS, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return HTMLResponse(html, headers=headers)


def _render(site: Site, principal: Principal, state: State) -> str:
    with site.database.read() as connection:
        return status.render(connection, principal, state)


async def _viewer(site: Site, request: Request) -> tuple[State, Principal]:
    if site.settings.status_public:
        return await run_in_threadpool(site.database.state), PUBLIC
    state, principal = await run_in_threadpool(site.access.identify, _password(request))
    if principal is None:
        raise site.access.unauthenticated(client_of(request), "Basic")
    if not principal.may("read"):
        raise Denied(principal, f"token '{principal.name}' has the scope {principal.scope}; this needs read")
    return state, principal


def _password(request: Request) -> str | None:
    scheme, _blank, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2] if scheme.lower() == "basic" else None
    except (binascii.Error, UnicodeDecodeError):
        return None
