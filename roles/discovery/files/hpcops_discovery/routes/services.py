"""Services, their health, and the heartbeats that some of it comes from."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response

from .. import changes, documents, queries
from ..access import Heartbeater, Reader, Writer
from ..problems import Problem
from ..shapes import Beats, Name, Outcome, SeenPage, Service, ServicePage, ServicesWrite
from ..site import TheSite
from ..tables import services
from .common import answer, outcome, unchanged, write_options

router = APIRouter(prefix="/v1", tags=["services"])
Options = Annotated[changes.Options, Depends(write_options)]
InPath = Annotated[Name, Path()]


@router.get("/services", response_model=ServicePage)
def list_services(
    site: TheSite, caller: Reader, request: Request, wanted: Annotated[queries.ServiceQuery, Query()]
) -> Response:
    """Services of hosts that are not retired, by cluster, name and host, a page at a time."""
    if same := unchanged(request, caller, health=True):
        return same
    with site.database.read() as connection:
        page = queries.service_page(connection, caller.principal, wanted)
    return answer(documents.page(page.items, caller.state.revision, next=page.next), caller, health=True)


@router.post("/services", response_model=Outcome)
def post_services(site: TheSite, caller: Writer, body: ServicesWrite, options: Options) -> Response:
    """Make each service be so as a whole: all of them, or none."""
    result = changes.write_services(site.database, caller.principal, body.services, options=options)
    site.feed.nudge()
    return outcome(result)


@router.get("/services/{cluster}/{name}/{host}", response_model=Service)
def get_service(site: TheSite, caller: Reader, cluster: InPath, name: InPath, host: InPath) -> Response:
    caller.principal.demand(cluster)
    wanted = (services.c.cluster == cluster, services.c.name == name, services.c.host == host)
    with site.database.read() as connection:
        row: Any = connection.execute(queries.SERVICE_ROWS.where(*wanted)).first()
    if row is None:
        raise Problem(404, f"there is no service '{cluster}/{name}/{host}'")
    return answer(documents.service(row), caller, health=True)


@router.delete("/services/{cluster}/{name}/{host}", response_model=Outcome)
def delete_service(
    site: TheSite, caller: Writer, cluster: InPath, name: InPath, host: InPath, options: Options
) -> Response:
    result = changes.remove_service(site.database, caller.principal, (cluster, name, host), options=options)
    site.feed.nudge()
    return outcome(result)


@router.post("/heartbeats", status_code=204)
async def post_heartbeats(site: TheSite, caller: Heartbeater, body: Beats) -> Response:
    """These hosts are alive. Changes no revision."""
    await site.heartbeats.record(caller.principal, body.beats)
    return Response(status_code=204)


@router.get("/heartbeats", response_model=SeenPage)
def list_heartbeats(site: TheSite, caller: Reader, wanted: Annotated[queries.BeatQuery, Query()]) -> Response:
    """When hosts were last heard of."""
    with site.database.read() as connection:
        page = queries.seen_page(connection, caller.principal, wanted)
    return answer(documents.page(page.items, caller.state.revision, next=page.next))
