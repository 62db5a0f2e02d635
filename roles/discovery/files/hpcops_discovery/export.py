"""The whole site in one answer, from bytes that are kept ready, and Prometheus' targets."""

from __future__ import annotations

import gzip
import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic_core import from_json, to_json
from sqlalchemy import select

from .database import Database, State
from .tables import clusters, hosts

Extent = Literal["lean", "full"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A host's line of the inventory."""

    cluster: str
    state: str
    lean: bytes
    full: bytes


@dataclass(slots=True)
class Answer:
    """A body, compressed when somebody first wants it so."""

    plain: bytes
    packed: bytes | None = None

    def gzip(self) -> bytes:
        if self.packed is None:
            # Higher levels take three times as long for a tenth less.
            self.packed = gzip.compress(self.plain, compresslevel=2, mtime=0)
        return self.packed


class InventoryExport:
    """Keeps each host's line, and reads only what changed since it last looked."""

    ANSWERS = 16

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._epoch = ""
        self._revision = -1
        self._clusters: dict[str, bytes] = {}
        self._entries: dict[str, Entry] = {}
        self._answers: OrderedDict[tuple[Any, ...], Answer] = OrderedDict()

    def answer(self, state: State, within: Collection[str] | None, states: Collection[str], extent: Extent) -> Answer:
        """The inventory of these clusters (none: all), with hosts in these states."""
        key = (state, tuple(sorted(within)) if within is not None else None, tuple(sorted(states)), extent)
        with self._lock:
            found = self._answers.get(key)
            if found is None:
                self._refresh(state)
                found = self._answers[key] = Answer(self._render(within, states, extent))
                if len(self._answers) > self.ANSWERS:
                    self._answers.popitem(last=False)
            return found

    def _render(self, within: Collection[str] | None, states: Collection[str], extent: Extent) -> bytes:
        chosen = [
            entry.lean if extent == "lean" else entry.full
            for _name, entry in sorted(self._entries.items())
            if entry.state in states and (within is None or entry.cluster in within)
        ]
        groups = [text for name, text in self._clusters.items() if within is None or name in within]
        return b'{"revision":%d,"clusters":{%b},"hosts":{\n%b\n}}\n' % (
            self._revision,
            b",".join(groups),
            b",\n".join(chosen),
        )

    def _refresh(self, state: State) -> None:
        if state.epoch != self._epoch:
            self._epoch, self._revision = state.epoch, -1
            self._entries.clear()
        if state.revision <= self._revision:
            return
        with self._database.read() as connection:
            self._clusters = {
                row.name: _cluster_line(row) for row in connection.execute(select(clusters).order_by(clusters.c.name))
            }
            changed = select(hosts.c.name, hosts.c.cluster, hosts.c.state, hosts.c.spec).where(
                hosts.c.revision > self._revision
            )
            for row in connection.execution_options(yield_per=5000).execute(changed):
                self._entries[row.name] = _entry(row)
        self._revision = state.revision


def _cluster_line(row: Any) -> bytes:
    spec = from_json(row.spec)
    variables = {"slurm_cluster_name": row.name, **spec["variables"]}
    if spec["slurm"]:
        variables.setdefault("slurmctld_parameters", spec["slurm"])
    return to_json(row.name) + b":" + to_json({"vars": variables})


def _entry(row: Any) -> Entry:
    spec = from_json(row.spec)
    variables = lean_variables(spec)
    common = {name: spec[name] for name in ("roles", "partitions", "labels") if spec[name]}
    head = {"cluster": row.cluster, "state": row.state, **common}
    lean = to_json(row.name) + b":" + to_json({**head, "vars": variables})
    full = to_json(row.name) + b":" + to_json({**head, "vars": variables | full_variables(spec)})
    return Entry(row.cluster, row.state, lean, full)


def lean_variables(spec: dict[str, Any]) -> dict[str, Any]:
    """What the roles use, and what the operator gave."""
    found = {f"slurm_node_{name}": value for name, value in spec["slurm_node"].items()}
    if "main" in spec["addresses"]:
        found["ansible_host"] = spec["addresses"]["main"]
    found.update(spec["variables"])
    return found


def full_variables(spec: dict[str, Any]) -> dict[str, Any]:
    names = ("addresses", "rack", "switch", "provider", "instance_id")
    return {f"discovery_{name}": spec[name] for name in names if spec.get(name)}


def target_groups(rows: Sequence[Any]) -> bytes:
    """Prometheus' HTTP SD format: a group for each service that has metrics."""
    groups = []
    for row in rows:
        spec = from_json(row.spec)
        if spec.get("metrics_path") is None:
            continue
        address = row.address or row.host
        authority = f"[{address}]" if ":" in address else address
        labels = {
            "__scheme__": "https" if spec["scheme"] == "https" else "http",
            "__metrics_path__": spec["metrics_path"],
            "instance": f"{row.host}:{spec['port']}",
            "cluster": row.cluster,
            "service": row.name,
            "host": row.host,
            "__meta_discovery_host_state": row.host_state,
            "__meta_discovery_health": row.status,
            **host_labels(row.host, from_json(row.host_spec)),
            **{f"__meta_discovery_label_{_label_name(key)}": value for key, value in spec["labels"].items()},
        }
        groups.append({"targets": [f"{authority}:{spec['port']}"], "labels": labels})
    return to_json(groups)


def host_labels(host: str, spec: dict[str, Any]) -> dict[str, str]:
    """What the host is for; lists as Prometheus writes them, each word between commas."""
    labels = {
        f"__meta_discovery_host_{name}": f",{','.join(sorted(spec[name]))},"
        for name in ("roles", "partitions")
        if spec[name]
    }
    if "slurmd" in spec["roles"]:
        labels["__meta_discovery_slurm_node"] = spec["slurm_node"].get("name") or host.partition(".")[0]
    return labels


def _label_name(key: str) -> str:
    return "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in key)
