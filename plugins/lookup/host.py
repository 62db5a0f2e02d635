# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attributes of hosts, from the service-discovery API."""

from __future__ import annotations

DOCUMENTATION = r"""
name: host
author: hpcops.cluster contributors (@hpcops)
version_added: 0.1.0
short_description: Attributes of hosts by filter
description:
  - Returns hosts as the API that the role P(hpcops.cluster.discovery#role) runs has them, by name, or what a JMESPath expression makes
    of them.
  - A host must meet all filters; of a filter's values it must have any. No host is an empty list.
extends_documentation_fragment:
  - hpcops.cluster.discovery_api
  - hpcops.cluster.discovery_api.plugins
  - hpcops.cluster.discovery_api.lookups
options:
  _terms:
    description: Names of hosts. Without one, all that meet the filters. A named host that is not there, or does not meet them, is an error.
    type: list
    elements: str
  cluster:
    description: Clusters. Empty means all that the token may read; another one is an error.
    type: list
    elements: str
    default: []
  state:
    description: Lifecycle states. Retired hosts are left out by default.
    type: list
    elements: str
    choices: [planned, ready, active, maintenance, retired]
    default: [planned, ready, active, maintenance]
  role:
    description: Roles.
    type: list
    elements: str
    default: []
  partition:
    description: Partitions.
    type: list
    elements: str
    default: []
  feature:
    description: Features of the Slurm node.
    type: list
    elements: str
    default: []
  rack:
    description: Racks.
    type: list
    elements: str
    default: []
  switch:
    description: Switches.
    type: list
    elements: str
    default: []
  provider:
    description: Providers, such as V(ec2).
    type: list
    elements: str
    default: []
  instance_id:
    description: The providers' names of instances.
    type: list
    elements: str
    default: []
  label:
    description: A selector of labels, such as V(environment=prod,tier!=web,rack in (a, b),gpu,!old). A host must meet all of it.
    type: str
    default: ""
  query:
    description:
      - A L(JMESPath,https://jmespath.org) expression over the list of hosts. One that cannot be read is an error.
      - It needs the Python library jmespath on the control machine.
      - A result that is no list is returned as the only item; null, which a path that leads nowhere is, as none.
    type: str
requirements:
  - jmespath (Python library on the control machine), for O(query)
"""

EXAMPLES = r"""
- name: Show the racks with free hosts
  ansible.builtin.debug:
    msg: "{{ query('hpcops.cluster.host', cluster='alpha', state='ready') | map(attribute='rack') | unique }}"

- name: Show the addresses of all large nodes in production
  ansible.builtin.debug:
    msg: "{{ query('hpcops.cluster.host', role='slurmd', label='environment=prod', query=large) }}"
  vars:
    large: "[?slurm_node.cpus >= `128`].addresses.main"

- name: Show how one host is known to its provider
  ansible.builtin.debug:
    msg: "{{ lookup('hpcops.cluster.host', 'n1', query='[0].instance_id') }}"
"""

RETURN = r"""
_raw:
  description:
    - The hosts, or what O(query) makes of them. A host is a dict as in C(GET /v1/hosts), with C(name), C(cluster), C(state),
      C(addresses), C(roles), C(partitions), C(labels), C(slurm_node), C(variables), C(revision), C(updated) and, where it has them,
      C(rack), C(switch), C(provider) and C(instance_id).
    - C(query) returns the list.
  type: list
  elements: raw
"""

from typing import Any

try:
    import jmespath

    JMESPATH_IMPORT_ERROR: ImportError | None = None
except ImportError as error:
    JMESPATH_IMPORT_ERROR = error

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import DiscoveryError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._discovery_client import DiscoveryClient, batches
from ansible_collections.hpcops.cluster.plugins.plugin_utils._discovery_lookup import DiscoveryLookup

_FILTERS = ("cluster", "state", "role", "partition", "feature", "rack", "switch", "provider", "instance_id")


def search(expression: str, hosts: list[dict[str, Any]]) -> list[Any]:
    """Return what a JMESPath expression makes of the hosts."""
    if JMESPATH_IMPORT_ERROR is not None:
        raise DiscoveryError(
            f"query: the Python library jmespath is needed on the control machine: {JMESPATH_IMPORT_ERROR}"
        ) from JMESPATH_IMPORT_ERROR
    try:
        found = jmespath.search(expression, hosts)
    except jmespath.exceptions.JMESPathError as error:
        raise DiscoveryError(f"query: '{expression}' is no JMESPath expression for hosts: {error}") from error
    if found is None:
        return []
    return found if isinstance(found, list) else [found]


class LookupModule(DiscoveryLookup):
    """The lookup."""

    def look_up(self, client: DiscoveryClient, names: list[str]) -> list[Any]:
        """Return the hosts, or what the expression makes of them."""
        query = {name: self.texts(name) for name in _FILTERS}
        hosts = [
            host
            for part in batches(names)
            for host in client.items("/v1/hosts", {**query, "name": part, "label": str(self.get_option("label"))})
        ]
        missing = set(names) - {host.get("name") for host in hosts}
        if missing:
            raise DiscoveryError(
                f"{client.url} has no host {', '.join(sorted(missing))} that meets the filters "
                f"(its state is to be {' or '.join(query['state'])})"
            )
        expression = self.get_option("query")
        return hosts if expression is None else search(str(expression), hosts)
