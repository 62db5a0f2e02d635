"""Hosts. They are retired, by their state, and never deleted."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from sqlalchemy import select

from .. import changes, documents, queries
from ..access import Reader, Writer
from ..problems import Problem, invalid
from ..shapes import (
    FieldError,
    Host,
    HostPage,
    HostPatch,
    HostsPatch,
    HostsWrite,
    HostWrite,
    Name,
    NamedHostPatch,
    Outcome,
)
from ..site import TheSite
from ..tables import hosts
from .common import answer, outcome, unchanged, write_options

router = APIRouter(prefix="/v1/hosts", tags=["hosts"])
Options = Annotated[changes.Options, Depends(write_options)]
HostName = Annotated[Name, Path()]


@router.get("", response_model=HostPage)
def list_hosts(
    site: TheSite, caller: Reader, request: Request, wanted: Annotated[queries.HostQuery, Query()]
) -> Response:
    """Hosts by name, a page at a time."""
    if same := unchanged(request, caller):
        return same
    with site.database.read() as connection:
        page = queries.host_page(connection, caller.principal, wanted)
    return answer(documents.page(page.items, caller.state.revision, next=page.next), caller)


@router.post("", response_model=Outcome)
def post_hosts(site: TheSite, caller: Writer, body: HostsWrite, options: Options) -> Response:
    """Make each host be so as a whole: all of them, or none."""
    result = changes.write_hosts(site.database, caller.principal, body.hosts, options=options)
    site.feed.nudge()
    return outcome(result)


@router.patch("", response_model=Outcome)
def patch_hosts(site: TheSite, caller: Writer, body: HostsPatch, options: Options) -> Response:
    """Merge each patch over its host (RFC 7386): all of them, or none. A host that is new must be complete."""
    result = changes.patch_hosts(site.database, caller.principal, body.hosts, options=options)
    site.feed.nudge()
    return outcome(result)


@router.get("/{name}", response_model=Host)
def get_host(site: TheSite, caller: Reader, name: HostName) -> Response:
    with site.database.read() as connection:
        row: Any = connection.execute(select(hosts).where(hosts.c.name == name)).first()
    if row is None:
        raise Problem(404, f"there is no host '{name}'")
    caller.principal.demand(row.cluster)
    return answer(documents.host(row), caller)


@router.put("/{name}", response_model=Outcome)
def put_host(site: TheSite, caller: Writer, name: HostName, body: HostWrite, options: Options) -> Response:
    """Make the host be so as a whole."""
    if body.name != name:
        raise invalid([FieldError(pointer="/name", detail=f"is not '{name}', as in the path", code="mismatch")])
    result = changes.write_hosts(site.database, caller.principal, [body], options=options, bulk=False)
    site.feed.nudge()
    return outcome(result)


@router.patch("/{name}", response_model=Outcome)
def patch_host(site: TheSite, caller: Writer, name: HostName, body: HostPatch, options: Options) -> Response:
    """Merge the patch over the host (RFC 7386)."""
    if body.name not in (None, name):
        raise invalid([FieldError(pointer="/name", detail=f"is not '{name}', as in the path", code="mismatch")])
    named = NamedHostPatch.model_construct(body.model_fields_set | {"name"}, **{**dict(body), "name": name})
    result = changes.patch_hosts(site.database, caller.principal, [named], options=options, bulk=False)
    site.feed.nudge()
    return outcome(result)
