# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts of the inventory to the lines of /etc/hosts."""

from __future__ import annotations

from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._hosts_file import ADDRESS_VARIABLES, hosts_lines
from ansible_collections.hpcops.cluster.plugins.plugin_utils._filters import as_list, raises_filter_errors
from ansible_collections.hpcops.cluster.plugins.plugin_utils._hostvars import read_variables

DOCUMENTATION = r"""
name: hosts_file
author: hpcops.cluster contributors (@hpcops)
version_added: 0.1.0
short_description: Turn hosts of the inventory into lines of /etc/hosts
description:
  - Returns a line C(ADDRESS NAME SHORT) for each host, in the given order, each host once. The name is the host's name
    in the inventory, the short one ends before the first dot; it is left out where both are the same.
  - The address is the host's C(os_base_address), else its C(ansible_host), an IPv4 or IPv6 address. Anything else is
    an error that names the host; so is an address at which no other host reaches it, such as C(127.0.0.1).
  - Two hosts with one short name are an error.
  - Only inventory data is read, no host's facts, so a host that is down or not in the play is like the others.
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
"""

EXAMPLES = r"""
# inventory
# slurmd:
#   hosts:
#     c1.example.org: {ansible_host: 10.0.0.1}
#     c2.example.org: {ansible_host: bastion.example.org, os_base_address: 10.0.0.2}

- name: Show the lines
  ansible.builtin.debug:
    msg: "{{ groups['slurmd'] | hpcops.cluster.hosts_file(hostvars) }}"

# 10.0.0.1 c1.example.org c1
# 10.0.0.2 c2.example.org c2
"""

RETURN = r"""
_value:
  description: The lines.
  type: str
  sample: 10.0.0.1 c1.example.org c1
"""


@raises_filter_errors
def hosts_file(hosts: Any, hostvars: Any) -> str:
    """Return the lines of the hosts."""
    names = as_list(hosts, "hosts_file: the input")
    return "\n".join(hosts_lines(read_variables(names, hostvars, ADDRESS_VARIABLES.__contains__, "hosts_file")))


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"hosts_file": hosts_file}
