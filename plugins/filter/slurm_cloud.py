# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups of cloud nodes to the lines of slurm.conf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._filters import (
    as_list,
    as_mapping,
    raises_filter_errors,
)

DOCUMENTATION = r"""
name: slurm_cloud
author: hpcops.cluster contributors (@hpcops)
version_added: 0.1.0
short_description: Add groups of cloud nodes to the partitions of slurm.conf
description:
  - Returns the lines of C(slurm.conf) for groups of nodes that come and go with jobs, ready for
    O(hpcops.cluster.slurm_conf#filter:lines), a line of nodes and a node set for each group, then all partitions.
  - A partition that groups name and that has no nodes of its own gets the times of power saving. One that has some gets
    the groups' node sets besides, and no times, since they would suspend its other nodes, too; therefore each group
    belongs to one partition of cloud nodes at least. One that O(partitions) does not have is made.
  - V(ALL) nodes of a partition become the nodes of O(nodes), so that cloud nodes are in partitions that name them alone.
  - Slurm takes nodes that are there before cloud nodes, which weigh more.
positional: _input, nodes, partitions
options:
  _input:
    description:
      - The groups, each with C(name), C(prefix), C(count), perhaps C(first), C(partitions), and C(node), the parameters of
        its nodes by Slurm's names. Other keys are not looked at.
    type: list
    elements: dict
    required: true
  nodes:
    description: The lines of the cluster's other nodes.
    type: list
    elements: dict
    required: true
  partitions:
    description: The lines of partitions, as in O(hpcops.cluster.slurm_conf#filter:lines).
    type: list
    elements: dict
    required: true
  idle:
    description: Seconds after which a node without jobs is suspended.
    type: int
    default: 600
  resume_timeout:
    description: Seconds within which a node must have registered after it was resumed.
    type: int
    default: 600
  suspend_timeout:
    description: Seconds after suspending before a node's name is used again.
    type: int
    default: 60
seealso:
  - plugin: hpcops.cluster.slurm_conf
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show the lines
  ansible.builtin.debug:
    msg: "{{ groups_of_nodes | hpcops.cluster.slurm_cloud([{'NodeName': 'c[1-2]'}], [{'PartitionName': 'main', 'Nodes': 'ALL'}]) }}"
  vars:
    groups_of_nodes:
      - {name: cpu, prefix: cpu-, count: 100, partitions: [cloud, main], node: {CPUs: 8, RealMemory: 30000}}

# - {NodeName: "cpu-[1-100]", State: CLOUD, Weight: 1000, CPUs: 8, RealMemory: 30000}
# - {NodeSet: cpu, Nodes: "cpu-[1-100]"}
# - {PartitionName: main, Nodes: ["c[1-2]", cpu]}
# - {PartitionName: cloud, Nodes: [cpu], SuspendTime: 600, ResumeTimeout: 600, SuspendTimeout: 60}
"""

RETURN = r"""
_value:
  description: The lines, each a mapping of Slurm's parameters.
  type: list
  elements: dict
"""


@raises_filter_errors
def slurm_cloud(
    groups: Any, nodes: Any, partitions: Any, idle: Any = 600, resume_timeout: Any = 600, suspend_timeout: Any = 60
) -> list[dict[str, Any]]:
    """Return nodes, node sets and partitions."""
    sites = [
        dict(as_mapping(each, "slurm_cloud: a partition")) for each in as_list(partitions, "slurm_cloud: partitions")
    ]
    cloud = [as_mapping(each, "slurm_cloud: a group") for each in as_list(groups, "slurm_cloud: the input")]
    if not cloud:
        return sites
    others = [str(_needed(each, "NodeName", "?")) for each in as_list(nodes, "slurm_cloud: nodes")]
    for site in sites:
        if "ALL" in [each.upper() for each in _texts(site.get("Nodes"))]:
            site["Nodes"] = others
    wanted: dict[str, list[str]] = {}
    lines: list[dict[str, Any]] = []
    for group in cloud:
        name = str(_needed(group, "name", "?"))
        names = _nodes(group, name)
        node = as_mapping(_needed(group, "node", name), f"slurm_cloud: node of the group {name}")
        for key in ("CPUs", "RealMemory"):
            if key.lower() not in {given.lower() for given in node}:
                raise HpcopsError(f"group {name}: node has no {key}, without which Slurm takes it for 1")
        lines.append({"NodeName": names, "State": "CLOUD", "Weight": 1000, **node})
        lines.append({"NodeSet": name, "Nodes": names})
        for partition in as_list(_needed(group, "partitions", name), f"slurm_cloud: partitions of the group {name}"):
            wanted.setdefault(str(partition), []).append(name)
    known = {str(site.get("PartitionName")) for site in sites}
    sites += [{"PartitionName": partition} for partition in wanted if partition not in known]
    times = {"SuspendTime": int(idle), "ResumeTimeout": int(resume_timeout), "SuspendTimeout": int(suspend_timeout)}
    suspended: set[str] = set()
    for number, site in enumerate(sites):
        sets = wanted.get(str(site.get("PartitionName")), [])
        own = _texts(site.get("Nodes"))
        if sets and not own:
            suspended |= set(sets)
            sites[number] = {"PartitionName": site["PartitionName"], "Nodes": sets, **times, **_without(site, "Nodes")}
        elif sets:
            sites[number] = {**site, "Nodes": [*own, *sets]}
    never = [str(group["name"]) for group in cloud if group["name"] not in suspended]
    if never:
        raise HpcopsError(
            f"group {never[0]}: none of its partitions has cloud nodes alone, so nothing says when its nodes are suspended; name such a one"
        )
    return lines + sites


def _texts(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else [str(value)] if value else []


def _needed(group: Mapping[str, Any], key: str, name: str) -> Any:
    if group.get(key) in (None, "", [], {}):
        raise HpcopsError(f"slurm_cloud: {name} has no {key}")
    return group[key]


def _nodes(group: Mapping[str, Any], name: str) -> str:
    prefix, count, first = _needed(group, "prefix", name), _number(group, "count", name), 1
    if group.get("first") is not None:
        first = _number(group, "first", name)
    return f"{prefix}[{first}-{first + count - 1}]" if count > 1 else f"{prefix}{first}"


def _number(group: Mapping[str, Any], key: str, name: str) -> int:
    value = _needed(group, key, name)
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise HpcopsError(f"group {name}: {key} must be a number, not {value!r}") from error


def _without(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"slurm_cloud": slurm_cloud}
