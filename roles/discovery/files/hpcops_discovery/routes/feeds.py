"""What other programs live on: the inventory, Prometheus' targets, changes as they happen."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from sqlalchemy import select

from .. import documents, queries
from ..access import Reader
from ..database import State
from ..export import Answer, target_groups
from ..shapes import EventPage, Inventory, News, TargetGroup
from ..site import Site, TheSite
from ..tables import events, hosts
from .common import JSON, answer, unchanged

router = APIRouter(prefix="/v1")
MAX_EVENTS = 1000


@router.get("/inventory", response_model=Inventory, tags=["feeds"])
async def get_inventory(
    site: TheSite, caller: Reader, request: Request, wanted: Annotated[queries.InventoryQuery, Query()]
) -> Response:
    """All hosts with their variables in one answer. Retired hosts only where state asks for them."""
    within = queries.allowed_clusters(caller.principal, wanted.cluster)
    if same := unchanged(request, caller):
        return same
    made = await run_in_threadpool(site.inventory.answer, caller.state, within, wanted.state, wanted.vars)
    return await _sent(made, request, caller.etag())


async def _sent(made: Answer, request: Request, etag: str) -> Response:
    headers = {"ETag": etag, "Vary": "Authorization, Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        packed = made.packed or await run_in_threadpool(made.gzip)
        return Response(packed, media_type=JSON, headers={**headers, "Content-Encoding": "gzip"})
    return Response(made.plain, media_type=JSON, headers=headers)


@router.get("/prometheus/targets", response_model=list[TargetGroup], tags=["feeds"])
def get_targets(
    site: TheSite, caller: Reader, request: Request, wanted: Annotated[queries.ServiceFilter, Query()]
) -> Response:
    """Services that have metrics, in Prometheus' HTTP SD format."""
    if same := unchanged(request, caller, health=True):
        return same
    with site.database.read() as connection:
        query = queries.service_query(caller.principal, wanted).add_columns(hosts.c.spec.label("host_spec"))
        rows = connection.execute(query).all()
    return answer(target_groups(rows), caller, health=True)


@router.get("/events", response_model=EventPage, tags=["changes"])
def list_events(site: TheSite, caller: Reader, wanted: Annotated[queries.EventQuery, Query()]) -> Response:
    """Who changed what, when, and what it was before and after; refusals as well. Oldest first."""
    with site.database.read() as connection:
        page = queries.event_page(connection, caller.principal, wanted)
    return answer(documents.page(page.items, caller.state.revision, next=page.next))


@router.get("/watch", response_model=News, tags=["changes"])
async def watch(site: TheSite, caller: Reader, wanted: Annotated[queries.WatchQuery, Query()]) -> Response:
    """Wait until the site has another revision, and say what changed since the given one."""

    def is_news(state: State) -> bool:
        other_health = wanted.health_since is not None and state.health_revision != wanted.health_since
        return state.revision != wanted.since or state.epoch != caller.state.epoch or other_health

    state = await site.feed.wait(caller.state, is_news, wanted.wait)
    return answer(await run_in_threadpool(_news, site, caller, wanted.since, state))


def _news(site: Site, caller: Reader, since: int, state: State) -> str:
    with site.database.read() as connection:
        kept = select(events.c.revision).where(events.c.action != "denied").order_by(events.c.revision).limit(1)
        first = connection.execute(kept).scalar()
        rows = queries.events_since(connection, caller.principal, since, state.revision, MAX_EVENTS + 1)
    more = len(rows) > MAX_EVENTS
    reset = since > state.revision or (since < state.revision and (first is None or first > since + 1))
    revision = state.revision
    if more:
        # A write of more than a page is not cut: the client reads everything again.
        last = rows[MAX_EVENTS].revision
        rows = [row for row in rows if row.revision < last]
        revision, reset = (rows[-1].revision, reset) if rows else (state.revision, True)
    sent = ",".join(documents.event(row) for row in rows)
    flags = f'"reset":{str(reset).lower()},"more":{str(more).lower()}'
    return f'{{"revision":{revision},"health_revision":{state.health_revision},{flags},"events":[{sent}]}}'
