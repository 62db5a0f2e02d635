"""An object's JSON text as it is served: what was written, then what the server knows of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic_core import from_json

from .clock import at
from .shapes import Kind


def spec_of(shape: BaseModel) -> str:
    """The text that is stored. Equal objects have equal texts."""
    return shape.model_dump_json(exclude={"revision"}, exclude_none=True)


def terms_of(kind: Kind, spec: str) -> set[tuple[str, str, str]]:
    """What an object can be found by, besides its columns: kind, name and value."""
    found = from_json(spec)
    labels = found.get("labels", {}).items()
    if kind == "service":
        return {("service-label", key, value) for key, value in labels}
    named = {"role": found.get("roles"), "partition": found.get("partitions")}
    named["feature"] = found.get("slurm_node", {}).get("features")
    return {(term, name, "") for term, names in named.items() for name in names or ()} | {
        ("label", key, value) for key, value in labels
    }


def _with(row: Any, extra: str = "") -> str:
    return f'{row.spec[:-1]}{extra},"revision":{row.revision},"updated":"{row.updated}"}}'


def host(row: Any) -> str:
    return _with(row)


def cluster(row: Any) -> str:
    return f'{{"name":{json.dumps(row.name)},{_with(row)[1:]}'


def service(row: Any) -> str:
    address = f',"address":"{row.address}"' if row.address else ""
    health = json.dumps({"status": row.status, "since": row.since, "output": row.output})
    return _with(row, f'{address},"health":{health}')


def event(row: Any) -> str:
    fields = {
        name: getattr(row, name)
        for name in ("id", "revision", "at", "actor", "action", "kind", "key", "cluster", "detail")
    }
    specs = "".join(f',"{name}":{getattr(row, name)}' for name in ("before", "after") if getattr(row, name) is not None)
    return f"{json.dumps(fields)[:-1]}{specs}}}"


def seen(row: Any) -> str:
    return json.dumps({"host": row.host, "service": row.service, "seen": at(row.seen), "status": row.status})


def page(items: Iterable[str], revision: int, **more: Any) -> str:
    rest = "".join(f',"{name}":{json.dumps(value)}' for name, value in more.items())
    return f'{{"items":[{",".join(items)}],"revision":{revision}{rest}}}'
