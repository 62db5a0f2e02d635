# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn an inventory's groups into Prometheus' targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._filters import as_list, as_mapping, raises_filter_errors

DOCUMENTATION = r"""
name: prometheus_targets
author: hpcops.cluster contributors (@hpcops)
version_added: 0.1.0
short_description: Turn an inventory's groups into Prometheus' targets
description:
  - Makes what the role M(hpcops.cluster.prometheus#role) takes as O(hpcops.cluster.prometheus#role:prometheus_inventory_targets) of the
    names of hosts alone, without a look at any host's variables.
  - Takes as many steps as there are names of hosts in the groups.
positional: _input
options:
  _input:
    description: The inventory's groups with the names of their hosts, as in the variable C(groups).
    type: dict
    required: true
  roles:
    description:
      - Groups whose hosts are told apart by the label C(role). A host that is in several has the first one's name.
      - Groups that the inventory does not have are passed over.
    type: list
    elements: str
    required: true
  everywhere:
    description: What runs on all hosts of O(roles), as the job's name and its port.
    type: dict
    default: {}
  by_group:
    description:
      - What runs on the hosts of one group, with C(group), C(job) and C(port). The group's name is the label C(role).
      - Groups that the inventory does not have are passed over.
    type: list
    elements: dict
    default: []
  labels:
    description: Further labels of all targets.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Watch what the inventory has
  ansible.builtin.import_role:
    name: hpcops.cluster.prometheus
  vars:
    prometheus_inventory_targets: >-
      {{ groups | hpcops.cluster.prometheus_targets(
           roles=['slurmctld', 'slurmd'],
           everywhere={'node_exporter': 9100},
           by_group=[{'group': 'slurmctld', 'job': 'slurmctld', 'port': 6817}],
           labels={'cluster': 'hpc'}) }}
"""

RETURN = r"""
_value:
  description:
    - A list of C(job), C(targets) (C(HOST:PORT)) and C(labels); first what runs everywhere, by role, then what runs on groups, in the
      order that they are given.
  type: list
  elements: dict
"""


@raises_filter_errors
def prometheus_targets(
    groups: Any, roles: Any, everywhere: Any = None, by_group: Any = None, labels: Any = None
) -> list[dict[str, Any]]:
    """Return the targets of each job with their labels."""
    members = as_mapping(groups, "the groups")
    common = as_mapping(labels or {}, "labels")
    found = []
    seen: set[str] = set()
    for role in as_list(roles, "roles"):
        hosts = sorted(set(as_list(members.get(role, []), f"the group {role}")) - seen)
        seen.update(hosts)
        for job, port in as_mapping(everywhere or {}, "everywhere").items():
            found.append(_targets(job, hosts, port, {**common, "role": role}))
    for number, entry in enumerate(as_list(by_group or [], "by_group")):
        missing = sorted({"group", "job", "port"} - set(as_mapping(entry, f"by_group[{number}]")))
        if missing:
            raise HpcopsError(f"by_group[{number}] lacks {', '.join(missing)}")
        group = entry["group"]
        hosts = as_list(members.get(group, []), f"the group {group}")
        found.append(_targets(entry["job"], hosts, entry["port"], {**common, "role": group}))
    return [entry for entry in found if entry["targets"]]


def _targets(job: str, hosts: list[str], port: Any, labels: Mapping[str, Any]) -> dict[str, Any]:
    return {"job": job, "targets": [f"{host}:{port}" for host in hosts], "labels": dict(labels)}


class FilterModule:
    """The filter under its name."""

    def filters(self) -> dict[str, Any]:
        """Return the filter's function by its name."""
        return {"prometheus_targets": prometheus_targets}
