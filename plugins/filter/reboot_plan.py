# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts of the inventory and states of nodes to the batches of a rolling reboot."""

from __future__ import annotations

from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError
from ansible_collections.hpcops.cluster.plugins.module_utils._reboot_plan import Selection
from ansible_collections.hpcops.cluster.plugins.module_utils._reboot_plan import reboot_plan as make_plan
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_node_states import Node
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_nodes import PREFIX, node_name
from ansible_collections.hpcops.cluster.plugins.plugin_utils._filters import (
    as_list,
    as_mapping,
    raises_filter_errors,
)
from ansible_collections.hpcops.cluster.plugins.plugin_utils._hostvars import read_variables

DOCUMENTATION = r"""
name: reboot_plan
author: hpcops.cluster contributors (@hpcops)
version_added: 0.1.0
short_description: Plan a rolling reboot
description:
  - Decides which nodes are rebooted, and which of them at once, so that no batch has more than a share of a partition. A node
    in two partitions counts in both. There is always room for one node.
  - Nodes that are DOWN, do not answer, are powered down or FUTURE are skipped, and so are those that have booted since
    O(since). One that has, and still carries the drain of this O(ticket), is in a batch, but not in C(reboot) of the plan.
  - The share is of the nodes that a host runs for, those in service and others.
positional: _input, hostvars, cluster
options:
  _input:
    description: Names of hosts in the inventory, each a node.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variables of each host by the host's name, of which C(slurm_node_name) is read.
    type: dict
    required: true
  cluster:
    description: What M(hpcops.cluster.slurm_node_info) returns.
    type: dict
    required: true
  share:
    description: Percentage of a partition that is rebooted at once.
    type: int
    required: true
  partitions:
    description: Take the nodes of these partitions.
    type: list
    elements: str
    default: []
  nodes:
    description: Take these nodes, given as names or host lists. Without O(partitions) and O(nodes), all hosts are taken.
    type: list
    elements: str
    default: []
  since:
    description: Time in UTC, such as V(2026-01-31T14:05:00Z). The default is C(now) of O(cluster).
    type: str
  ticket:
    description: Ticket of the collection's drains.
    type: str
  include_drained:
    description: Whether nodes are taken that somebody else has drained.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Plan
  ansible.builtin.debug:
    msg: "{{ groups['slurmd'] | hpcops.cluster.reboot_plan(hostvars, cluster, share=20, partitions=['batch']) }}"
"""

RETURN = r"""
_value:
  description:
    - C(batches), lists of node names in order; C(hosts), the inventory's hosts in the same order; C(nodes), the node of each host;
      C(reboot), nodes that have not booted since; C(done), nodes that have; C(skipped), mappings of C(node) and C(why);
      C(since), as given or decided.
  type: dict
"""


@raises_filter_errors
def reboot_plan(
    hosts: Any,
    hostvars: Any,
    cluster: Any,
    share: Any,
    partitions: Any = (),
    nodes: Any = (),
    since: str | None = None,
    ticket: str | None = None,
    include_drained: bool = True,
) -> dict[str, Any]:
    """Return the plan."""
    given = as_mapping(as_mapping(cluster, "reboot_plan: the cluster")["nodes"], "reboot_plan: the cluster's nodes")
    known = {
        name: Node(
            name,
            values["state"],
            tuple(values["partitions"]),
            values["boot_time"],
            values["reason"],
            values["set_by"],
            values["set_at"],
        )
        for name, values in given.items()
    }
    names: dict[str, str] = {}
    wanted = f"{PREFIX}name"
    variables = read_variables(
        as_list(hosts, "reboot_plan: the input"), hostvars, lambda name: name == wanted, "reboot_plan"
    )
    for host, values in variables:
        names[host] = node_name(host, values.get(wanted))
    try:
        percent = int(share)
    except (TypeError, ValueError):
        raise HpcopsError(f"reboot_share is {share!r}; give a percentage from 1 to 100") from None
    selection = Selection(
        share=percent,
        partitions=_names(partitions, "reboot_partitions"),
        nodes=_names(nodes, "reboot_nodes"),
        since=since or None,
        ticket=ticket or None,
        include_drained=include_drained,
    )
    return make_plan(names, known, selection, int(cluster["now"]))


def _names(value: Any, what: str) -> list[str]:
    """Return a list; on a command line, it is a text with commas."""
    return value.split(",") if isinstance(value, str) else as_list(value, what)


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"reboot_plan": reboot_plan}
