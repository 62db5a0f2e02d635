"""Clusters."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from .. import changes, documents, queries
from ..access import Admin, Reader
from ..problems import Problem
from ..shapes import Cluster, ClusterPage, ClusterWrite, Name, Outcome
from ..site import TheSite
from .common import answer, outcome, unchanged, write_options

router = APIRouter(prefix="/v1/clusters", tags=["clusters"])
Options = Annotated[changes.Options, Depends(write_options)]
ClusterName = Annotated[Name, Path()]


@router.get("", response_model=ClusterPage)
def list_clusters(site: TheSite, caller: Reader, request: Request) -> Response:
    """All clusters that the token is for."""
    if same := unchanged(request, caller):
        return same
    with site.database.read() as connection:
        rows = queries.cluster_rows(connection, caller.principal)
    return answer(documents.page(map(documents.cluster, rows), caller.state.revision), caller)


@router.get("/{name}", response_model=Cluster)
def get_cluster(site: TheSite, caller: Reader, name: ClusterName) -> Response:
    caller.principal.demand(name)
    with site.database.read() as connection:
        found: Any = [row for row in queries.cluster_rows(connection, caller.principal) if row.name == name]
    if not found:
        raise Problem(404, f"there is no cluster '{name}'")
    return answer(documents.cluster(found[0]), caller)


@router.put("/{name}", response_model=Outcome)
def put_cluster(site: TheSite, caller: Admin, name: ClusterName, body: ClusterWrite, options: Options) -> Response:
    """Make the cluster be so."""
    result = changes.write_cluster(site.database, caller.principal, name, body, options=options)
    site.feed.nudge()
    return outcome(result)


@router.delete("/{name}", response_model=Outcome)
def delete_cluster(site: TheSite, caller: Admin, name: ClusterName, options: Options) -> Response:
    """Remove a cluster that never had hosts, and has no services."""
    result = changes.remove_cluster(site.database, caller.principal, name, options=options)
    site.feed.nudge()
    return outcome(result)
