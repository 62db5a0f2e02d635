"""An object's JSON text as it is served: what was written, then what the server knows of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from .clock import at


def spec_of(shape: BaseModel) -> str:
    """The text that is stored. Equal objects have equal texts."""
    return shape.model_dump_json(exclude={"revision"}, exclude_none=True)


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
