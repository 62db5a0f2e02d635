# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many hosts written as one entry, to one record for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HostlistError, HpcopsError
from ansible_collections.hpcops.cluster.plugins.module_utils._hostlist import expand
from ansible_collections.hpcops.cluster.plugins.plugin_utils._filters import as_list, as_mapping, raises_filter_errors

DOCUMENTATION = r"""
name: host_records
author: hpcops.cluster contributors (@hpcops)
version_added: 0.1.0
short_description: Make one record for each host of entries that stand for many
description:
  - Takes hosts as the service-discovery API does, except that C(name) may be a host list, such as V(c[001-064]) or
    V(c[001-064].example.org). It returns one record for each name, with the entry's other fields.
  - An address may be a list of the same kind and length, such as V(10.0.1.[1-64]); the first host gets the first one, and so on.
  - Other fields are left alone. What the API knows of them, it checks itself.
positional: _input
options:
  _input:
    description: Entries, each a dict with C(name).
    type: list
    elements: dict
    required: true
  cluster:
    description: The cluster of entries that name none. Where it is empty, they stay without one.
    type: str
    default: ""
seealso:
  - module: hpcops.cluster.discovery_host
"""

EXAMPLES = r"""
- name: Have 64 equal hosts in the API
  hpcops.cluster.discovery_host:
    hosts: "{{ nodes | hpcops.cluster.host_records(cluster='alpha') }}"
  vars:
    nodes:
      - name: c[001-064]
        addresses: {main: "10.0.1.[1-64]"}
        roles: [slurmd]
        slurm_node: {cpus: 64, real_memory: 500000}
"""

RETURN = r"""
_value:
  description: The records, in the order of the entries.
  type: list
  elements: dict
  sample:
    - {name: c1, cluster: alpha, addresses: {main: 10.0.1.1}}
    - {name: c2, cluster: alpha, addresses: {main: 10.0.1.2}}
"""


@raises_filter_errors
def host_records(entries: Any, cluster: str = "") -> list[dict[str, Any]]:
    """Return one record for each host."""
    seen: set[str] = set()
    records: list[dict[str, Any]] = []
    for number, entry in enumerate(as_list(entries, "host_records: the input")):
        for record in _records(as_mapping(entry, f"host_records: entry {number}"), number, cluster):
            if record["name"] in seen:
                raise HpcopsError(f"host_records: entry {number} has {record['name']}, which was there before")
            seen.add(record["name"])
            records.append(record)
    return records


def _records(entry: Mapping[str, Any], number: int, cluster: str) -> Iterator[dict[str, Any]]:
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise HpcopsError(f"host_records: entry {number} has no name")
    names = _texts(name, f"{name}: name")
    lists = {
        purpose: _texts(address, f"{name}: addresses.{purpose}")
        for purpose, address in as_mapping(entry.get("addresses") or {}, f"host_records: {name}: addresses").items()
        if isinstance(address, str) and "[" in address
    }
    for purpose, addresses in lists.items():
        if len(addresses) != len(names):
            raise HpcopsError(
                f"host_records: {name}: addresses.{purpose} is {len(addresses)} addresses for {len(names)} names"
            )
    for index, each in enumerate(names):
        record = {**entry, "name": each}
        if cluster:
            record.setdefault("cluster", cluster)
        if lists:
            record["addresses"] = {**entry["addresses"], **{purpose: lists[purpose][index] for purpose in lists}}
        yield record


def _texts(text: str, what: str) -> list[str]:
    """Expand a host list after whose last bracket more text may come, as a domain does."""
    listed, bracket, rest = text.rpartition("]")
    try:
        return [name + rest for name in expand(listed + bracket)] if bracket else [text]
    except HostlistError as error:
        raise HpcopsError(f"host_records: {what}: {error}") from error


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"host_records": host_records}
