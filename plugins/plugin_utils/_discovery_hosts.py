# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service-discovery API's inventory, as groups and variables of Ansible's."""

from __future__ import annotations

import dataclasses
import fnmatch
import ipaddress
import keyword
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError, InventoryError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._answers import Said
from ansible_collections.hpcops.cluster.plugins.plugin_utils._discovery_client import DiscoveryClient
from ansible_collections.hpcops.cluster.plugins.plugin_utils._groups import NAME, Groups, Origin, is_host_name
from ansible_collections.hpcops.cluster.plugins.plugin_utils._reserved_variables import (
    ADMITTED,
    OF_CLUSTER,
    is_reserved,
)
from ansible_collections.hpcops.cluster.plugins.plugin_utils._snapshots import Snapshot
from ansible_collections.hpcops.cluster.plugins.plugin_utils._source_inventory import STATUS

KINDS = ("role", "cluster", "partition", "state", "label")
_SHAPE = {"vars": dict, "labels": dict, "roles": list, "partitions": list, "state": str}
# Facts that are there on request: what the API itself calls full, and what the groups are made from.
_FACTS = ("cluster", "state", "roles", "partitions", "labels")
_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,63}")


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
    allowed: tuple[str, ...] = ()
    """Reserved variables that the API may set, as patterns of the shell."""

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
        self.parts = {client.url: {"url": client.url, "principal": client.principal, **dataclasses.asdict(wanted)}}

    def fetch(self, validators: Mapping[str, str | None]) -> dict[str, Said]:
        """Ask for the whole inventory."""
        return {url: self._ask(etag) for url, etag in validators.items()}

    def whole(self, parts: Mapping[str, Snapshot]) -> Snapshot:
        """Return it: it is the only part."""
        return parts[self._client.url]

    def _ask(self, etag: str | None) -> Said:
        try:
            answer = self._client.get("/v1/inventory", self._wanted.query, etag)
            return answer and (snapshot_of(answer[0], self._wanted), answer[1])
        except HpcopsError as error:
            return error


def snapshot_of(document: Mapping[str, Any], wanted: Wanted) -> Snapshot:
    """Turn the API's answer into hosts, groups and variables; an answer of another shape is refused."""
    clusters, hosts = document.get("clusters"), document.get("hosts")
    if not isinstance(clusters, dict) or not isinstance(hosts, dict):
        raise InventoryError("the answer has no clusters and hosts: is url the service-discovery API's?")
    missing = [name for name in wanted.clusters if name not in clusters]
    if missing:
        raise InventoryError(f"clusters: the API has no cluster {', '.join(missing)}")
    sift = _Sift(wanted)
    groups = Groups()
    for name in clusters:
        groups.add(("cluster", name))
    variables: dict[str, dict[str, Any]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for name, host in hosts.items():
        _check(name, host, clusters)
        for origin in _origins(host, wanted):
            groups.add(origin, (name,))
        about = {f"discovery_{fact}": host.get(fact, {} if fact == "labels" else []) for fact in _FACTS}
        variables[name] = sift.host(host.get("vars", {}), about)
        if wanted.expressions:
            facts[name] = about
    return Snapshot(
        hosts=variables,
        groups=groups.members,
        group_vars={
            groups.name(("cluster", name)): sift.cluster(item.get("vars", {})) for name, item in clusters.items()
        },
        facts=facts,
        parts={f"cluster {name}": groups.name(("cluster", name)) for name in clusters},
        revision=str(document.get("revision", "")),
        warnings=(*groups.warnings(), *sift.warnings()),
    )


def _check(name: str, host: Any, clusters: Collection[str]) -> None:
    if not is_host_name(name):
        raise InventoryError(f"the answer has a host with the name {name[:100]!r}, which cannot be one")
    if not isinstance(host, dict) or host.get("cluster") not in clusters:
        raise InventoryError(f"the answer's host {name} is in no cluster that the answer has")
    wrong = [key for key, kind in _SHAPE.items() if not isinstance(host.get(key, kind()), kind)]
    if wrong:
        raise InventoryError(f"the answer's host {name} has {', '.join(wrong)} of another kind than the API's")


def is_admitted(name: str, value: object) -> bool:
    """Tell whether the value of a variable of ADMITTED is what its name says."""
    if name == "ansible_port":
        return isinstance(value, int) and 0 < value < 65536
    if not isinstance(value, str):
        return False
    if name == "ansible_user":
        return _ACCOUNT.fullmatch(value) is not None
    try:
        return not ipaddress.ip_address(value).is_unspecified and "%" not in value
    except ValueError:
        return NAME.fullmatch(value) is not None


class _Sift:
    """Lets through the variables that are wanted, whose names variables may have, and that decide nothing for the control machine."""

    def __init__(self, wanted: Wanted) -> None:
        self._full = wanted.extent == "full"
        self._also = frozenset(wanted.also)
        self._allowed = wanted.allowed
        self._good: set[str] = set()
        self._bad: set[str] = set()
        self._reserved: set[str] = set()
        self._unreachable: set[str] = set()

    def host(self, given: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
        found = self.known(given)
        if self._full:
            found.update(about)
        elif self._also:
            found = {name: value for name, value in found.items() if self._is_lean(name)}
            found.update({name: value for name, value in about.items() if name in self._also})
        return found

    def cluster(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """A cluster's variables; the API itself makes those of OF_CLUSTER from the cluster's document."""
        own = {name: value for name, value in given.items() if name in OF_CLUSTER}
        return {**self.known({name: value for name, value in given.items() if name not in OF_CLUSTER}), **own}

    def known(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if not ADMITTED.isdisjoint(given):
            given = self._reached(given)
        unknown = given.keys() - self._good
        for name in unknown:
            if not name.isidentifier() or keyword.iskeyword(name) or name == STATUS:
                self._bad.add(name)
            elif is_reserved(name) and not any(fnmatch.fnmatchcase(name, pattern) for pattern in self._allowed):
                self._reserved.add(name)
            else:
                self._good.add(name)
        if unknown <= self._good:
            return dict(given)
        return {name: value for name, value in given.items() if name in self._good}

    def _reached(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Without an address, port or account that the connection's program could take for an option."""
        wrong = [name for name in ADMITTED if name in given and not is_admitted(name, given[name])]
        self._unreachable.update(f"{name} {str(given[name])[:100]!r}" for name in wrong)
        return {name: value for name, value in given.items() if name not in wrong}

    def _is_lean(self, name: str) -> bool:
        return not name.startswith("discovery_") or name in self._also

    def warnings(self) -> Iterator[str]:
        if self._bad:
            yield f"variables that cannot be called so were left out: {', '.join(sorted(self._bad))}"
        if self._unreachable:
            yield f"these were left out, as they name no address, port or account: {', '.join(sorted(self._unreachable)[:20])}"
        if self._reserved:
            yield (
                f"variables were left out that decide what runs on hosts or on this machine: {', '.join(sorted(self._reserved)[:20])}. "
                "Set them in group_vars, or name them in allow_variables if everybody who may write to the API may decide that"
            )


def _origins(host: Mapping[str, Any], wanted: Wanted) -> Iterator[Origin]:
    kinds = wanted.group_by
    yield ("cluster", host["cluster"])
    if "role" in kinds:
        yield from (("role", role) for role in host.get("roles", ()))
    if "partition" in kinds:
        yield from (("partition", partition) for partition in host.get("partitions", ()))
    if "state" in kinds:
        yield ("state", host.get("state", "unknown"))
    if "label" in kinds:
        labels = host.get("labels", {})
        keys = labels if wanted.label_keys is None else [key for key in wanted.label_keys if key in labels]
        yield from (("label", key, labels[key]) for key in keys)
