# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service-discovery API's inventory, as groups and variables of Ansible's."""

from __future__ import annotations

import dataclasses
import keyword
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import InventoryError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._discovery_client import DiscoveryClient
from ansible_collections.hpcops.cluster.plugins.plugin_utils._snapshots import Snapshot
from ansible_collections.hpcops.cluster.plugins.plugin_utils._source_inventory import FAILED, STATUS, group_name

KINDS = ("role", "cluster", "partition", "state", "label")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
# What these names mean is not for a source of hosts to say.
_LOCAL = frozenset({"localhost", "127.0.0.1"})
_RESERVED_GROUPS = frozenset({"all", "ungrouped", FAILED})
_SHAPE = {"vars": dict, "labels": dict, "roles": list, "partitions": list, "state": str}
# Facts that are there on request: what the API itself calls full, and what the groups are made from.
_FACTS = ("cluster", "state", "roles", "partitions", "labels")


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What the operator wants of it."""

    clusters: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    group_by: tuple[str, ...] = KINDS
    label_keys: tuple[str, ...] | None = None
    """Labels that make groups; None: all of them."""
    extent: str = "lean"
    """lean, or full."""
    also: tuple[str, ...] = ()
    """Variables of the full extent that a lean inventory shall have as well."""
    expressions: bool = False
    """Whether expressions will look at the hosts."""

    @property
    def query(self) -> dict[str, list[str]]:
        full = self.extent == "full" or self.also
        found = {"cluster": list(self.clusters), "state": list(self.states), "vars": ["full" if full else "lean"]}
        return {name: values for name, values in found.items() if values}


class DiscoverySource:
    """One API, asked for the clusters that are wanted."""

    def __init__(self, client: DiscoveryClient, wanted: Wanted) -> None:
        self._client = client
        self._wanted = wanted
        self.asked = [client.url]
        self.key = {"url": client.url, "principal": client.principal, **dataclasses.asdict(wanted)}

    def fetch(self, etag: str | None) -> tuple[Snapshot, str] | None:
        """Return the whole inventory and its validator, or None where the validator still holds."""
        answer = self._client.get("/v1/inventory", self._wanted.query, etag)
        if answer is None:
            return None
        document, validator = answer
        return snapshot_of(document, self._wanted), validator


def snapshot_of(document: Mapping[str, Any], wanted: Wanted) -> Snapshot:
    """Turn the API's answer into hosts, groups and variables; an answer of another shape is refused."""
    clusters, hosts = document.get("clusters"), document.get("hosts")
    if not isinstance(clusters, dict) or not isinstance(hosts, dict):
        raise InventoryError("the answer has no clusters and hosts: is url the service-discovery API's?")
    missing = [name for name in wanted.clusters if name not in clusters]
    if missing:
        raise InventoryError(f"clusters: the API has no cluster {', '.join(missing)}")
    sift = _Sift(wanted)
    groups = _Groups(wanted)
    for name in clusters:
        groups.add_cluster(name)
    variables: dict[str, dict[str, Any]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for name, host in hosts.items():
        _check(name, host, clusters)
        groups.add(name, host)
        about = {f"discovery_{fact}": host.get(fact, {} if fact == "labels" else []) for fact in _FACTS}
        variables[name] = sift.host(host.get("vars", {}), about)
        if wanted.expressions:
            facts[name] = about
    return Snapshot(
        hosts=variables,
        groups=groups.members,
        group_vars={groups.of_cluster(name): sift.known(item.get("vars", {})) for name, item in clusters.items()},
        facts=facts,
        parts={f"cluster {name}": groups.of_cluster(name) for name in clusters},
        revision=str(document.get("revision", "")),
        warnings=(*groups.warnings(), *sift.warnings()),
    )


def _check(name: str, host: Any, clusters: Collection[str]) -> None:
    if not _NAME.fullmatch(name) or name in _LOCAL:
        raise InventoryError(f"the answer has a host with the name {name[:100]!r}, which cannot be one")
    if not isinstance(host, dict) or host.get("cluster") not in clusters:
        raise InventoryError(f"the answer's host {name} is in no cluster that the answer has")
    wrong = [key for key, kind in _SHAPE.items() if not isinstance(host.get(key, kind()), kind)]
    if wrong:
        raise InventoryError(f"the answer's host {name} has {', '.join(wrong)} of another kind than the API's")


class _Sift:
    """Lets through the variables that are wanted, and that variables may be called."""

    def __init__(self, wanted: Wanted) -> None:
        self._full = wanted.extent == "full"
        self._also = frozenset(wanted.also)
        self._good: set[str] = set()
        self._bad: set[str] = set()

    def host(self, given: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
        found = self.known(given)
        if self._full:
            found.update(about)
        elif self._also:
            found = {name: value for name, value in found.items() if self._is_lean(name)}
            found.update({name: value for name, value in about.items() if name in self._also})
        return found

    def known(self, given: Mapping[str, Any]) -> dict[str, Any]:
        unknown = given.keys() - self._good
        for name in unknown:
            is_good = name.isidentifier() and not keyword.iskeyword(name) and name != STATUS
            (self._good if is_good else self._bad).add(name)
        if self._bad and not self._bad.isdisjoint(unknown):
            return {name: value for name, value in given.items() if name in self._good}
        return dict(given)

    def _is_lean(self, name: str) -> bool:
        return not name.startswith("discovery_") or name in self._also

    def warnings(self) -> Iterator[str]:
        if self._bad:
            yield f"variables that cannot be called so were left out: {', '.join(sorted(self._bad))}"


class _Groups:
    """Collects the hosts of each group, and notices when two things would be one group."""

    def __init__(self, wanted: Wanted) -> None:
        self.members: dict[str, list[str]] = {}
        self._kinds = frozenset(wanted.group_by)
        self._label_keys = wanted.label_keys
        self._names: dict[tuple[str, ...], str] = {}
        self._origins: dict[str, tuple[str, ...]] = {}
        self._warnings: list[str] = []

    def add_cluster(self, name: str) -> None:
        """Each has a group, which has its variables, also before it has hosts."""
        self.members[self._name(("cluster", name))] = []

    def of_cluster(self, name: str) -> str:
        return self._names["cluster", name]

    def add(self, name: str, host: Mapping[str, Any]) -> None:
        for origin in self._origins_of(host):
            group = self._names.get(origin) or self._name(origin)
            if group not in _RESERVED_GROUPS:
                self.members.setdefault(group, []).append(name)

    def _origins_of(self, host: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
        kinds = self._kinds
        yield ("cluster", host["cluster"])
        if "role" in kinds:
            yield from (("role", role) for role in host.get("roles", ()))
        if "partition" in kinds:
            yield from (("partition", partition) for partition in host.get("partitions", ()))
        if "state" in kinds:
            yield ("state", host.get("state", "unknown"))
        if "label" in kinds:
            labels = host.get("labels", {})
            keys = labels if self._label_keys is None else [key for key in self._label_keys if key in labels]
            yield from (("label", key, labels[key]) for key in keys)

    def _name(self, origin: tuple[str, ...]) -> str:
        kind, *rest = origin
        text = "_".join(part for part in rest if part)
        name = self._names[origin] = group_name(text if kind == "role" else f"{kind}_{text}")
        other = self._origins.setdefault(name, origin)
        if other != origin:
            problem = f"{' '.join(other)} and {' '.join(origin)} would both be the group {name}; rename one of them"
            if "cluster" in (kind, other[0]):
                raise InventoryError(problem)
            self._warnings.append(problem)
        if name in _RESERVED_GROUPS:
            self._warnings.append(f"{kind} {text} makes no group: the name has another meaning")
        return name

    def warnings(self) -> list[str]:
        return self._warnings[:20]
