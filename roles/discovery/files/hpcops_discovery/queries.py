"""Reads: filters on what is indexed, label selectors, and pages that go on after a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic_core import PydanticCustomError
from sqlalchemy import ColumnElement, Connection, Row, Select, and_, exists, func, select, true, tuple_

from . import documents, selectors
from .access import Principal
from .shapes import Action, Health, HostState, Kind, Name, Revision, Word
from .tables import clusters, events, health, heartbeats, hosts, services, terms

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000


def _selector(text: str) -> str:
    try:
        selectors.parse(text)
    except selectors.SelectorError as error:
        raise PydanticCustomError("selector", "{reason}", {"reason": str(error)}) from error
    return text


Several = Annotated[list[Name], Query(max_length=1000)]
Words = Annotated[list[Word], Query(max_length=1000)]
Selector = Annotated[
    str,
    Query(
        max_length=1024,
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description="environment=prod, tier!=web, rack in (a, b), rack notin (a, b), gpu, !gpu; commas mean and.",
        examples=["environment=prod,!legacy"],
    ),
    AfterValidator(_selector),
]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]


class Filter(BaseModel):
    """Several values of one parameter mean any of them."""

    model_config = ConfigDict(extra="forbid")


class HostFilter(Filter):
    cluster: Several = []
    name: Several = []
    state: Annotated[list[HostState], Query()] = []
    role: Several = []
    partition: Several = []
    feature: Words = []
    rack: Words = []
    switch: Words = []
    provider: Words = []
    instance_id: Words = []
    label: Selector = ""


class HostQuery(HostFilter):
    limit: Limit = DEFAULT_LIMIT
    after: Name | None = None


class ServiceFilter(Filter):
    cluster: Several = []
    name: Several = []
    host: Several = []
    health: Annotated[list[Health], Query()] = []
    label: Selector = ""


class ServiceQuery(ServiceFilter):
    limit: Limit = DEFAULT_LIMIT
    after: Annotated[
        str | None, Query(pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$", max_length=800)
    ] = None


class EventQuery(Filter):
    cluster: Several = []
    kind: Annotated[list[Kind], Query()] = []
    key: Annotated[str | None, Query(pattern=r"^[!-~]{1,800}$")] = None
    action: Annotated[list[Action], Query()] = []
    limit: Limit = DEFAULT_LIMIT
    after: Revision = 0


class BeatQuery(Filter):
    cluster: Several = []
    host: Several = []
    limit: Limit = DEFAULT_LIMIT
    after: Annotated[str | None, Query(pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]*$", max_length=600)] = None


class InventoryQuery(Filter):
    cluster: Several = []
    state: Annotated[list[HostState], Query()] = ["planned", "ready", "active", "maintenance"]
    vars: Annotated[
        Literal["lean", "full"], Query(description="lean: what the roles use; full: all that is known.")
    ] = "lean"


class WatchQuery(Filter):
    since: Annotated[Revision, Query(description="The revision that the client has.")]
    health_since: Annotated[Revision | None, Query(description="Wake up for changes of health as well.")] = None
    wait: Annotated[int, Query(ge=0, le=300, description="Seconds to wait for news.")] = 60


def allowed_clusters(principal: Principal, asked: Sequence[str]) -> Sequence[str] | None:
    """Which clusters to look in; none: everywhere."""
    for cluster in asked:
        principal.demand(cluster)
    if asked or principal.clusters is None:
        return list(asked) or None
    return sorted(principal.clusters)


@dataclass
class Page:
    items: list[str]
    next: Any


def _page(connection: Connection, query: Select[Any], limit: int, text: Any, key: Any) -> Page:
    rows: Sequence[Row[Any]] = connection.execute(query.limit(limit + 1)).all()
    following = key(rows[limit - 1]) if len(rows) > limit else None
    return Page([text(row) for row in rows[:limit]], following)


# --- Clusters and hosts --------------------------------------------------------------------------------------------


def cluster_rows(connection: Connection, principal: Principal) -> Sequence[Row[Any]]:
    query = select(clusters).order_by(clusters.c.name)
    if principal.clusters is not None:
        query = query.where(clusters.c.name.in_(sorted(principal.clusters)))
    return connection.execute(query).all()


def host_page(connection: Connection, principal: Principal, wanted: HostQuery) -> Page:
    query = select(hosts)
    within = allowed_clusters(principal, wanted.cluster)
    if within is not None:
        query = query.where(hosts.c.cluster.in_(within))
    for name in ("name", "state", "rack", "switch", "provider", "instance_id"):
        values = getattr(wanted, name)
        if values:
            query = query.where(hosts.c[name].in_(values))
    asked = [_Term(kind, tuple(getattr(wanted, kind)), ("",)) for kind in ("role", "partition", "feature")]
    asked += _labels("label", wanted.label)
    query, key = _with_terms(query, hosts.c.name, [term for term in asked if term.names])
    if wanted.after is not None:
        query = query.where(key > wanted.after)
    return _page(connection, query.order_by(key), wanted.limit, documents.host, lambda row: row.name)


@dataclass(frozen=True)
class _Term:
    """The owner must have the term, under one of the names, with one of the values (none: any); or must not."""

    kind: str
    names: tuple[str, ...]
    values: tuple[str, ...]
    wanted: bool = True


def _labels(kind: str, selector: str) -> list[_Term]:
    return [_Term(kind, (one.key,), one.values, one.wanted) for one in selectors.parse(selector)]


def _with_terms(
    query: Select[Any], owner: ColumnElement[Any], asked: Sequence[_Term]
) -> tuple[Select[Any], ColumnElement[Any]]:
    """The query with what is asked of the terms, and the column to order by.

    A single value is joined: the index has its owners in order, so that a page reads as many rows as it shows.
    """
    key = owner
    for term in asked:
        single = term.wanted and len(term.names) == len(term.values) == 1
        table = terms.alias()
        conditions = [table.c.kind == term.kind, table.c.name.in_(term.names)]
        if term.values:
            conditions.append(table.c.value.in_(term.values))
        if single:
            conditions[1:] = [table.c.name == term.names[0], table.c.value == term.values[0]]
            query = query.join(table, and_(table.c.owner == key, *conditions))
            key = table.c.owner if key is owner else key
        else:
            found = exists().where(table.c.owner == key, *conditions)
            query = query.where(found if term.wanted else ~found)
    return query, key


# --- Services ------------------------------------------------------------------------------------------------------

SERVICE_ROWS = (
    select(
        services, health.c.status, health.c.since, health.c.output, hosts.c.address, hosts.c.state.label("host_state")
    )
    .join(
        health,
        and_(*(health.c[name] == services.c[name] for name in ("cluster", "name", "host"))),
    )
    .join(hosts, hosts.c.name == services.c.host)
)


def service_query(principal: Principal, wanted: ServiceFilter) -> Select[Any]:
    """Services of hosts that are not retired."""
    query = SERVICE_ROWS.where(hosts.c.state != "retired").order_by(
        services.c.cluster, services.c.name, services.c.host
    )
    within = allowed_clusters(principal, wanted.cluster)
    if within is not None:
        query = query.where(services.c.cluster.in_(within))
    for values, column in (
        (wanted.name, services.c.name),
        (wanted.host, services.c.host),
        (wanted.health, health.c.status),
    ):
        if values:
            query = query.where(column.in_(values))
    owner = services.c.cluster + "/" + services.c.name + "/" + services.c.host
    return _with_terms(query, owner, _labels("service-label", wanted.label))[0]


def service_page(connection: Connection, principal: Principal, wanted: ServiceQuery) -> Page:
    query = service_query(principal, wanted)
    if wanted.after is not None:
        query = query.where(
            tuple_(services.c.cluster, services.c.name, services.c.host) > tuple_(*wanted.after.split("/"))
        )
    return _page(connection, query, wanted.limit, documents.service, lambda row: f"{row.cluster}/{row.name}/{row.host}")


# --- Events and heartbeats -----------------------------------------------------------------------------------------


def event_conditions(principal: Principal, asked: Sequence[str] = ()) -> list[ColumnElement[bool]]:
    """What belongs to no cluster, only a caller without limits sees."""
    within = allowed_clusters(principal, asked)
    return [] if within is None else [events.c.cluster.in_(within)]


def event_page(connection: Connection, principal: Principal, wanted: EventQuery) -> Page:
    query = (
        select(events)
        .where(events.c.id > wanted.after, *event_conditions(principal, wanted.cluster))
        .order_by(events.c.id)
    )
    if wanted.kind:
        query = query.where(events.c.kind.in_(wanted.kind))
    if wanted.action:
        query = query.where(events.c.action.in_(wanted.action))
    if wanted.key is not None:
        query = query.where(events.c.key == wanted.key)
    return _page(connection, query, wanted.limit, documents.event, lambda row: row.id)


def events_since(connection: Connection, principal: Principal, revision: int, upto: int, limit: int) -> list[Row[Any]]:
    query = (
        select(events)
        .where(events.c.revision > revision, events.c.revision <= upto, events.c.action != "denied")
        .where(*event_conditions(principal))
        .order_by(events.c.id)
        .limit(limit)
    )
    return list(connection.execute(query).all())


def seen_page(connection: Connection, principal: Principal, wanted: BeatQuery) -> Page:
    query = select(heartbeats).join(hosts, hosts.c.name == heartbeats.c.host)
    within = allowed_clusters(principal, wanted.cluster)
    if within is not None:
        query = query.where(hosts.c.cluster.in_(within))
    if wanted.host:
        query = query.where(heartbeats.c.host.in_(wanted.host))
    key = (heartbeats.c.host, heartbeats.c.service)
    if wanted.after is not None:
        query = query.where(tuple_(*key) > tuple_(*wanted.after.split("/")))
    return _page(
        connection, query.order_by(*key), wanted.limit, documents.seen, lambda row: f"{row.host}/{row.service}"
    )


def summary(connection: Connection, principal: Principal) -> dict[str, Any]:
    """Counts for the status page."""
    within = allowed_clusters(principal, ())
    seen = hosts.c.cluster.in_(within) if within is not None else true()
    by_state = select(hosts.c.cluster, hosts.c.state, func.count()).where(seen).group_by(hosts.c.cluster, hosts.c.state)
    by_partition = (
        select(hosts.c.cluster, terms.c.name, hosts.c.state, func.count())
        .join(hosts, hosts.c.name == terms.c.owner)
        .where(terms.c.kind == "partition", seen)
        .group_by(hosts.c.cluster, terms.c.name, hosts.c.state)
        .order_by(hosts.c.cluster, terms.c.name)
    )
    return {"states": connection.execute(by_state).all(), "partitions": connection.execute(by_partition).all()}
