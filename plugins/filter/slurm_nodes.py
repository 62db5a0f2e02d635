# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts of the inventory to the NodeName lines of slurm.conf."""

from __future__ import annotations

from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_nodes import PREFIX, fold_nodes
from ansible_collections.hpcops.cluster.plugins.plugin_utils._filters import (
    as_list,
    raises_filter_errors,
)
from ansible_collections.hpcops.cluster.plugins.plugin_utils._hostvars import read_variables

DOCUMENTATION = r"""
name: slurm_nodes
author: hpcops.cluster contributors (@hpcops)
version_added: 0.1.0
short_description: Turn hosts of the inventory into Slurm's node lines
description:
  - Reads the C(slurm_node_*) variables of hosts and returns the lines of C(slurm.conf) that describe them, ready for
    O(hpcops.cluster.slurm_conf#filter:lines). Nodes that are equal share a line.
  - Only inventory data is read, no host's facts, so a node that is down or not in the play is like the others.
  - Nodes whose addresses, host names or ports differ share a line as long as these can be said in brackets, in the
    order of the names. An address or host name that is the node's own name is not written, since Slurm assumes it.
  - A host needs none of the variables. Any other variable whose name begins with C(slurm_node_) is an error, so that
    a misspelled one is not overlooked; so is a value that Slurm would not read. The message names host and variable.
positional: _input, hostvars, release
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
  release:
    description: The Slurm release that is to read the lines, V(24.11) or V(24.11.5).
    type: str
    required: true
requirements:
  - ClusterShell >= 1.9 (Python library on the control node)
notes:
  - "C(slurm_node_name): NodeName, the host's name up to the first dot unless given. Two hosts with one name are an
    error."
  - "C(slurm_node_addr): NodeAddr. C(slurm_node_hostname): NodeHostname. C(slurm_node_port): Port."
  - "C(slurm_node_cpus): CPUs. C(slurm_node_boards): Boards. C(slurm_node_sockets): Sockets.
    C(slurm_node_sockets_per_board): SocketsPerBoard. C(slurm_node_cores_per_socket): CoresPerSocket.
    C(slurm_node_threads_per_core): ThreadsPerCore. C(slurm_node_core_spec_count): CoreSpecCount."
  - "C(slurm_node_real_memory): RealMemory, C(slurm_node_mem_spec_limit): MemSpecLimit, and C(slurm_node_tmp_disk):
    TmpDisk, all in MiB. C(slurm_node_weight): Weight."
  - "C(slurm_node_features): Features, and C(slurm_node_gres): Gres, both lists. C(slurm_node_state): State."
  - "C(slurm_node_parameters): a mapping of any other parameters of a NodeName line, by Slurm's own names. It wins over
    the variables above; V(null) takes a value back."
  - Ansible resolves a value that is a template for each host on its own. At thousands of hosts that takes several times
    as long as all the rest, so plain values are better there.
seealso:
  - plugin: hpcops.cluster.slurm_conf
    plugin_type: filter
"""

EXAMPLES = r"""
# inventory
# slurmd:
#   hosts:
#     c1.example.org: {slurm_node_addr: 10.0.0.1}
#     c2.example.org: {slurm_node_addr: 10.0.0.2}
#   vars:
#     slurm_node_cpus: 64
#     slurm_node_real_memory: 250000
#     slurm_node_gres: ["gpu:a100:4"]

- name: Show the lines
  ansible.builtin.debug:
    msg: "{{ groups['slurmd'] | hpcops.cluster.slurm_nodes(hostvars, '24.11') }}"

# - {NodeName: "c[1-2]", NodeAddr: "10.0.0.[1-2]", CPUs: 64, RealMemory: 250000, Gres: "gpu:a100:4"}
"""

RETURN = r"""
_value:
  description: The lines, in the order of their first nodes, each a mapping of Slurm's parameters, NodeName first.
  type: list
  elements: dict
  sample: [{NodeName: "c[1-2]", CPUs: 2, RealMemory: 7000}]
"""


@raises_filter_errors
def slurm_nodes(hosts: Any, hostvars: Any, release: Any) -> list[dict[str, str | int]]:
    """Return the lines of the hosts."""
    names = as_list(hosts, "slurm_nodes: the input")
    return fold_nodes(read_variables(names, hostvars, _is_node_variable, "slurm_nodes"), release=release)


def _is_node_variable(name: str) -> bool:
    return name.startswith(PREFIX)


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"slurm_nodes": slurm_nodes}
