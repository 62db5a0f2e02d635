"""Writes: everything of a request in one transaction or nothing, each fault with its index, each change an event."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue, ValidationError
from sqlalchemy import Connection, Table, bindparam, delete, exists, insert, select, tuple_, update
from sqlalchemy.sql import ColumnElement

from . import documents
from .access import Principal
from .clock import at, now
from .database import Database, Write, execute_many, in_batches
from .problems import Problem, field_error, invalid, pointer
from .queries import SERVICE_ROWS
from .shapes import (
    TRANSITIONS,
    Action,
    Change,
    ClusterWrite,
    FieldError,
    HostWrite,
    Kind,
    NamedHostPatch,
    Outcome,
    ServiceWrite,
)
from .tables import clusters, events, health, heartbeats, hosts, services, terms

Key = tuple[str, ...]


@dataclass(frozen=True)
class Options:
    """How a write is meant: a dry run keeps nothing, a diff shows each object before and after."""

    dry_run: bool = False
    diff: bool = False


@dataclass
class Draft:
    """One object of a request, beside its present row."""

    index: int
    key: Key
    row: Any
    spec: str
    columns: dict[str, Any]
    action: Action = "updated"

    @property
    def owner(self) -> str:
        return "/".join(self.key)


class Faults:
    """What is wrong with a request, gathered over all its objects."""

    def __init__(self, prefix: Sequence[str | int]) -> None:
        self._prefix = prefix
        self.errors: list[FieldError] = []

    def add(
        self, index: int, key: str, place: Sequence[str | int], code: str, detail: str, current: str | None = None
    ) -> None:
        location = [*self._prefix, index, *place] if self._prefix else [*place]
        self.errors.append(
            FieldError(
                pointer=pointer(location),
                detail=detail,
                index=index,
                key=key,
                code=code,
                current=json.loads(current) if current else None,
            )
        )

    def add_validation(self, index: int, key: str, error: ValidationError) -> None:
        for item in error.errors(include_input=False, include_url=False):
            found = field_error({**item, "loc": ("body", *item["loc"])})
            location = pointer([*self._prefix, index]) if self._prefix else ""
            self.errors.append(
                found.model_copy(update={"pointer": location + found.pointer, "index": index, "key": key})
            )

    def stop_if_any(self) -> None:
        if not self.errors:
            return
        status = 409 if any(error.code == "conflict" for error in self.errors) else 422
        problem = invalid(self.errors, status)
        if status == 409 and len(self.errors) == 1:
            problem.document.current = self.errors[0].current
        raise problem


@contextmanager
def _job(database: Database, principal: Principal, collection: str | None, options: Options) -> Iterator[Job]:
    with database.write() as write:
        yield Job(write, principal, Faults([collection] if collection else []), options)


class Job:
    """A write of one kind of object, by one caller."""

    def __init__(self, write: Write, principal: Principal, faults: Faults, options: Options) -> None:
        self.write = write
        self.connection = write.connection
        self.principal = principal
        self.faults = faults
        self.options = options
        self.at = now()

    def finish(self, drafts: Iterable[Draft], table: Table, kind: Kind, total: int) -> Outcome:
        """Write, unless something is wrong, and say what was done."""
        wanted = list(drafts)
        self.faults.stop_if_any()
        changed = self._apply(table, kind, wanted)
        if kind == "service":
            self._begin_health(changed)
        kept = bool(changed) and not self.options.dry_run
        if kept:
            self.write.commit_revision()
        else:
            self.write.discard()
        count = Counter(draft.action for draft in changed)
        show = self.options.diff or self.options.dry_run
        return Outcome(
            revision=self.write.revision if kept else self.write.before.revision,
            dry_run=self.options.dry_run,
            unchanged=total - len(changed),
            **{action: count[action] for action in ("created", "updated", "retired", "removed")},
            changes=[
                Change(
                    index=draft.index,
                    key=draft.owner,
                    action=draft.action,
                    before=json.loads(draft.row.spec) if show and draft.row is not None else None,
                    after=json.loads(draft.spec) if show and draft.spec else None,
                )
                for draft in changed
            ],
        )

    def expects(
        self, draft_index: int, key: str, expected: int | None, row: Any, document: Callable[[Any], str]
    ) -> None:
        actual = row.revision if row is not None else 0
        if expected is None or expected == actual:
            return
        if row is None:
            detail = f"'{key}' does not exist; revision {expected} was expected"
        elif expected == 0:
            detail = f"'{key}' exists already, at revision {actual}"
        else:
            detail = f"'{key}' is at revision {actual}; {expected} was expected"
        self.faults.add(draft_index, key, ["revision"], "conflict", detail, document(row) if row is not None else None)

    def _apply(self, table: Table, kind: Kind, drafts: Sequence[Draft]) -> list[Draft]:
        """Write what differs. Returns that."""
        changed = [draft for draft in drafts if draft.row is None or draft.row.spec != draft.spec]
        names = [column.name for column in table.primary_key.columns]
        new = [draft for draft in changed if draft.row is None]
        old = [draft for draft in changed if draft.row is not None and draft.action != "removed"]
        common = {"revision": self.write.revision, "updated": self.at}
        for draft in new:
            draft.action = "created"
        execute_many(
            self.connection,
            insert(table),
            [
                {**dict(zip(names, draft.key, strict=True)), **draft.columns, "spec": draft.spec, **common}
                for draft in new
            ],
        )
        # An index costs nothing where its column is left alone.
        differing = {
            name for draft in old for name, value in draft.columns.items() if getattr(draft.row, name) != value
        }
        where: list[ColumnElement[bool]] = [table.c[name] == bindparam(f"key_{name}") for name in names]
        execute_many(
            self.connection,
            update(table).where(*where),
            [
                {f"key_{name}": part for name, part in zip(names, draft.key, strict=True)}
                | {name: draft.columns[name] for name in differing}
                | {"spec": draft.spec, **common}
                for draft in old
            ],
        )
        self._write_terms(kind, changed)
        self._write_events(kind, changed)
        return changed

    def _write_terms(self, kind: Kind, changed: Sequence[Draft]) -> None:
        gone, new = [], []
        for draft in changed:
            before = documents.terms_of(kind, draft.row.spec) if draft.row is not None else set()
            after = documents.terms_of(kind, draft.spec) if draft.spec else set()
            gone += [(*term, draft.owner) for term in before - after]
            new += [(*term, draft.owner) for term in after - before]
        key = terms.primary_key.columns
        where = [column == bindparam(f"key_{column.name}") for column in key]
        names = [column.name for column in key]
        execute_many(
            self.connection,
            delete(terms).where(*where),
            [{f"key_{name}": part for name, part in zip(names, term, strict=True)} for term in gone],
        )
        # In the index's order, since all of them are looked for there.
        execute_many(self.connection, insert(terms), [dict(zip(names, term, strict=True)) for term in sorted(new)])

    def _begin_health(self, changed: Sequence[Draft]) -> None:
        """What has no check passes; what has a new one is unknown until it was checked."""
        wanted = [
            draft for draft in changed if draft.action != "removed" and _check_of(draft.row) != _check_in(draft.spec)
        ]
        for batch in in_batches([draft.key for draft in wanted]):
            key = tuple_(health.c.cluster, health.c.name, health.c.host)
            self.connection.execute(delete(health).where(key.in_(batch)))
        rows = [
            {
                **dict(zip(("cluster", "name", "host"), draft.key, strict=True)),
                "status": "passing" if _check_in(draft.spec) is None else "unknown",
                "streak": 0,
                "since": self.at,
                "output": "not checked" if _check_in(draft.spec) is None else "not checked yet",
            }
            for draft in wanted
        ]
        if rows:
            self.connection.execute(insert(health), rows)
            self.write.health_changed()

    def _write_events(self, kind: Kind, changed: Sequence[Draft]) -> None:
        rows = [
            {
                "revision": self.write.revision,
                "at": self.at,
                "actor": self.principal.name,
                "action": draft.action,
                "kind": kind,
                "key": draft.owner,
                "cluster": draft.key[0] if kind != "host" else draft.columns["cluster"],
                "before": draft.row.spec if draft.row is not None else None,
                "after": draft.spec or None,
                "detail": "",
            }
            for draft in changed
        ]
        execute_many(self.connection, insert(events), rows)


# --- Hosts ---------------------------------------------------------------------------------------------------------


def write_hosts(
    database: Database, principal: Principal, items: Sequence[HostWrite], *, options: Options, bulk: bool = True
) -> Outcome:
    """Bring each host into the given state as a whole."""
    with _job(database, principal, "hosts" if bulk else None, options) as job:
        rows = _present_hosts(job.connection, [item.name for item in items])
        return job.finish(_hosts(job, enumerate(items), rows), hosts, "host", len(items))


def patch_hosts(
    database: Database, principal: Principal, patches: Sequence[NamedHostPatch], *, options: Options, bulk: bool = True
) -> Outcome:
    """Merge each patch over its host; a host that is new must be complete."""
    with _job(database, principal, "hosts" if bulk else None, options) as job:
        wanted = [patch.model_dump(exclude_unset=True) for patch in patches]
        rows = _present_hosts(job.connection, [patch["name"] for patch in wanted])
        merged = list(_merged(job.faults, wanted, rows, must_exist=not bulk))
        return job.finish(_hosts(job, merged, rows), hosts, "host", len(wanted))


def _merged(
    faults: Faults, patches: Sequence[dict[str, Any]], rows: Mapping[str, Any], *, must_exist: bool
) -> Iterator[tuple[int, HostWrite]]:
    for index, patch in enumerate(patches):
        row = rows.get(patch["name"])
        if row is None and must_exist:
            raise Problem(404, f"there is no host '{patch['name']}'")
        expected = patch.pop("revision", None)
        whole = merge(json.loads(row.spec), patch) if row is not None else merge({}, patch)
        try:
            host = HostWrite.model_validate(whole)
        except ValidationError as error:
            faults.add_validation(index, patch["name"], error)
        else:
            yield index, host.model_copy(update={"revision": expected})


def merge(target: JsonValue, patch: JsonValue) -> Any:
    """RFC 7386: dicts are merged, null takes away, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def _present_hosts(connection: Connection, names: Sequence[str]) -> dict[str, Any]:
    return {
        row.name: row
        for batch in in_batches(names)
        for row in connection.execute(select(hosts).where(hosts.c.name.in_(batch)))
    }


def _hosts(job: Job, items: Iterable[tuple[int, HostWrite]], rows: Mapping[str, Any]) -> Iterator[Draft]:
    known = set(job.connection.execute(select(clusters.c.name)).scalars())
    seen: dict[str, int] = {}
    instances: dict[tuple[str, str | None], tuple[str, int]] = {}
    for index, item in items:
        row = rows.get(item.name)
        job.principal.demand(item.cluster)
        if row is not None:
            job.principal.demand(row.cluster)
        _check_host(job.faults, index, item, row, known)
        job.expects(index, item.name, item.revision, row, documents.host)
        if item.name in seen:
            job.faults.add(index, item.name, ["name"], "duplicate", f"'{item.name}' is also at index {seen[item.name]}")
        seen.setdefault(item.name, index)
        if item.instance_id is not None:
            instance = (item.instance_id, item.provider)
            other, _at = instances.setdefault(instance, (item.name, index))
            if other != item.name:
                detail = f"'{item.instance_id}' is also given to '{other}'"
                job.faults.add(index, item.name, ["instance_id"], "duplicate", detail)
        state = item.state or (row.state if row is not None else "planned")
        host = item if item.state else item.model_copy(update={"state": state})
        columns = {
            name: getattr(host, name) for name in ("cluster", "state", "rack", "switch", "provider", "instance_id")
        }
        yield Draft(
            index,
            (item.name,),
            row,
            documents.spec_of(host),
            {**columns, "address": item.addresses.get("main")},
            "retired" if state == "retired" else "updated",
        )
    _check_instances(job, instances)


def _check_host(faults: Faults, index: int, item: HostWrite, row: Any, known: set[str]) -> None:
    if item.cluster not in known:
        detail = f"there is no cluster '{item.cluster}'; make it first"
        faults.add(index, item.name, ["cluster"], "unknown_cluster", detail)
    if item.instance_id is not None and item.provider is None:
        faults.add(index, item.name, ["provider"], "missing", "is needed with an instance_id")
    if row is None:
        if item.state == "retired":
            faults.add(index, item.name, ["state"], "transition", "a host that does not exist cannot be retired")
        return
    if item.cluster != row.cluster and row.state != "retired":
        detail = f"'{item.name}' belongs to cluster '{row.cluster}'; retire it there first"
        faults.add(index, item.name, ["cluster"], "other_cluster", detail)
    if item.state is not None and item.state != row.state and item.state not in TRANSITIONS[row.state]:
        allowed = ", ".join(sorted(TRANSITIONS[row.state]))
        detail = f"a host that is {row.state} can become {allowed}; not {item.state}"
        faults.add(index, item.name, ["state"], "transition", detail)


def _check_instances(job: Job, instances: Mapping[tuple[str, str | None], tuple[str, int]]) -> None:
    for batch in in_batches(list(instances)):
        wanted = select(hosts.c.name, hosts.c.instance_id, hosts.c.provider).where(
            hosts.c.instance_id.in_([instance for instance, _provider in batch])
        )
        for row in job.connection.execute(wanted):
            name, index = instances.get((row.instance_id, row.provider), (row.name, 0))
            if name != row.name:
                detail = f"'{row.instance_id}' of '{row.provider}' is the host '{row.name}'"
                job.faults.add(index, name, ["instance_id"], "duplicate", detail)


# --- Services ------------------------------------------------------------------------------------------------------


def write_services(
    database: Database, principal: Principal, items: Sequence[ServiceWrite], *, options: Options
) -> Outcome:
    with _job(database, principal, "services", options) as job:
        return job.finish(_services(job, items), services, "service", len(items))


def _services(job: Job, items: Sequence[ServiceWrite]) -> Iterator[Draft]:
    known = set(job.connection.execute(select(clusters.c.name)).scalars())
    present = {(row.cluster, row.name, row.host): row for row in _present_services(job.connection, items)}
    places = {
        row.name: row
        for batch in in_batches(sorted({item.host for item in items}))
        for row in job.connection.execute(
            select(hosts.c.name, hosts.c.cluster, hosts.c.state).where(hosts.c.name.in_(batch))
        )
    }
    seen: dict[Key, int] = {}
    for index, item in enumerate(items):
        key = (item.cluster, item.name, item.host)
        owner = "/".join(key)
        job.principal.demand(item.cluster)
        if item.cluster not in known:
            detail = f"there is no cluster '{item.cluster}'; make it first"
            job.faults.add(index, owner, ["cluster"], "unknown_cluster", detail)
        place = places.get(item.host)
        if place is not None:
            job.principal.demand(place.cluster)  # its address is shown with the service
        if place is None or place.state == "retired":
            word = "is retired" if place is not None else "does not exist"
            job.faults.add(index, owner, ["host"], "unknown_host", f"the host '{item.host}' {word}")
        if key in seen:
            job.faults.add(index, owner, ["name"], "duplicate", f"'{owner}' is also at index {seen[key]}")
        seen.setdefault(key, index)
        row = present.get(key)
        job.expects(index, owner, item.revision, row, documents.service)
        yield Draft(index, key, row, documents.spec_of(item), {})


def _present_services(connection: Connection, items: Sequence[ServiceWrite]) -> Iterator[Any]:
    for batch in in_batches(sorted({item.host for item in items})):
        yield from connection.execute(SERVICE_ROWS.where(services.c.host.in_(batch)))


def _check_in(spec: str) -> Any:
    return json.loads(spec).get("check")


def _check_of(row: Any) -> Any:
    return _check_in(row.spec) if row is not None else "none yet"


def remove_service(database: Database, principal: Principal, key: Key, *, options: Options) -> Outcome:
    """Take a service out. Its events stay."""
    principal.demand(key[0])
    with _job(database, principal, None, options) as job:
        where = [column == part for column, part in zip(services.primary_key.columns, key, strict=True)]
        row = job.connection.execute(select(services).where(*where)).first()
        if row is None:
            raise Problem(404, f"there is no service '{'/'.join(key)}'")
        job.connection.execute(delete(services).where(*where))
        job.connection.execute(delete(heartbeats).where(heartbeats.c.host == key[2], heartbeats.c.service == key[1]))
        return job.finish([Draft(0, key, row, "", {}, action="removed")], services, "service", 1)


# --- Clusters ------------------------------------------------------------------------------------------------------


def write_cluster(
    database: Database, principal: Principal, name: str, item: ClusterWrite, *, options: Options
) -> Outcome:
    principal.demand(name)
    with _job(database, principal, None, options) as job:
        row = job.connection.execute(select(clusters).where(clusters.c.name == name)).first()
        job.expects(0, name, item.revision, row, documents.cluster)
        return job.finish([Draft(0, (name,), row, documents.spec_of(item), {})], clusters, "cluster", 1)


def remove_cluster(database: Database, principal: Principal, name: str, *, options: Options) -> Outcome:
    """Take a cluster out that has no hosts, not even retired ones, and no services."""
    principal.demand(name)
    with _job(database, principal, None, options) as job:
        row = job.connection.execute(select(clusters).where(clusters.c.name == name)).first()
        if row is None:
            raise Problem(404, f"there is no cluster '{name}'")
        used = exists().where(hosts.c.cluster == name) | exists().where(services.c.cluster == name)
        if job.connection.execute(select(used)).scalar():
            detail = f"cluster '{name}' has hosts or services, or had hosts that are retired"
            raise Problem(409, detail, current=json.loads(documents.cluster(row)))
        job.connection.execute(delete(clusters).where(clusters.c.name == name))
        return job.finish([Draft(0, (name,), row, "", {}, action="removed")], clusters, "cluster", 1)


# --- Events --------------------------------------------------------------------------------------------------------


def prune_events(database: Database, before: float) -> int:
    """Remove the events from before that time, and return how many. All at once: watchers get a revision's events or none."""
    with database.write() as write:
        return write.connection.execute(delete(events).where(events.c.at < at(before))).rowcount
