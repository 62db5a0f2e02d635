# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of Slurm nodes to the hosts of the inventory behind them."""

from __future__ import annotations

from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import NodeVariableError
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_nodes import NAME_VARIABLE, node_name
from ansible_collections.hpcops.cluster.plugins.plugin_utils._filters import as_list, raises_filter_errors
from ansible_collections.hpcops.cluster.plugins.plugin_utils._hostvars import read_variables

DOCUMENTATION = r"""
name: slurm_node_hosts
author: hpcops.cluster contributors (@hpcops)
version_added: 0.1.0
short_description: Map Slurm's node names to the inventory's hosts
description:
  - Returns a mapping of the name that each host has as a Slurm node to the host's name in the inventory.
  - The name is the host's C(slurm_node_name), else its name up to the first dot. Two hosts with one name are an error.
  - Only inventory data is read, no host's facts.
positional: _input, hostvars
options:
  _input:
    description: Names of hosts in the inventory.
    type: list
    elements: str
    required: true
  hostvars:
    description:
      - The variables of each host by the host's name; Ansible's C(hostvars), or a mapping of mappings.
      - A host that is not in it is an error.
    type: dict
    required: true
requirements:
  - ClusterShell >= 1.9 (Python library on the control node)
seealso:
  - plugin: hpcops.cluster.slurm_nodes
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show on which host the node c7 runs
  ansible.builtin.debug:
    msg: "{{ (groups['slurmd'] | hpcops.cluster.slurm_node_hosts(hostvars))['c7'] }}"
"""

RETURN = r"""
_value:
  description: Hosts by the names of their nodes, in the order of the input.
  type: dict
  sample: {c1: c1.example.org, c2: c2.example.org}
"""


@raises_filter_errors
def slurm_node_hosts(hosts: Any, hostvars: Any) -> dict[str, str]:
    """Return the hosts by their nodes' names."""
    names = as_list(hosts, "slurm_node_hosts: the input")
    found: dict[str, str] = {}
    for host, variables in read_variables(names, hostvars, NAME_VARIABLE.__eq__, "slurm_node_hosts"):
        name = node_name(host, variables.get(NAME_VARIABLE))
        if name in found:
            raise NodeVariableError(
                f"hosts {found[name]} and {host} are both the Slurm node {name}; give one of them another {NAME_VARIABLE}"
            )
        found[name] = host
    return found


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"slurm_node_hosts": slurm_node_hosts}
