"""The status page: what there is and how it is, for people, without scripts."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import Connection, case, func, select

from . import queries
from .access import Principal
from .clock import now
from .database import State
from .queries import ServiceFilter
from .shapes import HOST_STATES
from .tables import events, health, services

SERVICES = 200
EVENTS = 20
WORST_FIRST = ("critical", "warning", "unknown", "passing")
_templates = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True, undefined=StrictUndefined
)
_templates.filters["moment"] = lambda moment: moment[:16].replace("T", " ")


def render(connection: Connection, principal: Principal, state: State) -> str:
    """The page, of the clusters that the principal sees."""
    counts = queries.summary(connection, principal)
    clusters: dict[str, dict[str, int]] = {row.name: {} for row in queries.cluster_rows(connection, principal)}
    for cluster, host_state, number in counts["states"]:
        clusters[cluster][host_state] = number
    partitions: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for cluster, name, host_state, number in counts["partitions"]:
        partitions[cluster, name][host_state] = number
    found = queries.service_query(principal, ServiceFilter()).order_by(None)
    rank = case({status: place for place, status in enumerate(WORST_FIRST)}, value=health.c.status)
    shown = connection.execute(
        found.order_by(rank, services.c.cluster, services.c.name, services.c.host).limit(SERVICES)
    ).all()
    counted = connection.execute(
        found.with_only_columns(health.c.status, func.count().label("number")).group_by(health.c.status)
    )
    by_health: dict[str, int] = {row.status: row.number for row in counted}
    last = select(events).where(*queries.event_conditions(principal)).order_by(events.c.id.desc()).limit(EVENTS)
    return _templates.get_template("status.html").render(
        at=now(),
        revision=state.revision,
        states=HOST_STATES,
        total=sum(sum(states.values()) for states in clusters.values()),
        clusters=clusters,
        partitions=partitions,
        health={status: by_health[status] for status in WORST_FIRST if status in by_health},
        services=[_service(row) for row in shown],
        hidden=sum(by_health.values()) - len(shown),
        events=connection.execute(last).all(),
    )


def _service(row: Any) -> dict[str, Any]:
    shown = {name: getattr(row, name) for name in ("cluster", "name", "host", "status", "since", "output")}
    return {**shown, "port": json.loads(row.spec)["port"]}
