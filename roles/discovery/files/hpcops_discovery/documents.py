"""An object's JSON text as it is served: what was written, then what the server knows of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import from_json, to_json

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


def joined(values: Mapping[str, Any], **texts: str) -> str:
    """An object of these values, and of texts that are JSON already."""
    members = [to_json(values).decode()[1:-1], *(f'"{name}":{text}' for name, text in texts.items())]
    return f"{{{','.join(filter(None, members))}}}"


def array(items: Iterable[str]) -> str:
    """An array of texts that are JSON already."""
    return f"[{','.join(items)}]"


def _with(row: Any, **more: Any) -> str:
    rest = to_json({**more, "revision": row.revision, "updated": row.updated}).decode()
    return f"{row.spec[:-1]},{rest[1:]}"


def host(row: Any) -> str:
    return _with(row)


def cluster(row: Any) -> str:
    return _with(row, name=row.name)


def service(row: Any) -> str:
    address = {"address": row.address} if row.address else {}
    return _with(row, **address, health={"status": row.status, "since": row.since, "output": row.output})


def event(row: Any) -> str:
    names = ("id", "revision", "at", "actor", "action", "kind", "key", "cluster", "detail")
    specs = {name: getattr(row, name) for name in ("before", "after") if getattr(row, name) is not None}
    return joined({name: getattr(row, name) for name in names}, **specs)


def seen(row: Any) -> str:
    return joined({"host": row.host, "service": row.service, "seen": at(row.seen), "status": row.status})


def page(items: Iterable[str], revision: int, **more: Any) -> str:
    return joined({"revision": revision, **more}, items=array(items))
