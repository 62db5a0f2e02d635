# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts, groups and variables from the service-discovery API."""

from __future__ import annotations

DOCUMENTATION = r"""
name: discovery
author: hpcops.cluster contributors (@hpcops)
version_added: 0.1.0
short_description: Hosts of one or more clusters from the service-discovery API
description:
  - Reads the hosts of all clusters that the token may read, or of some, from the API that the role P(hpcops.cluster.discovery#role) runs.
  - A host is in the groups of its roles, which are called like them (C(slurmctld), C(slurmd)), and in C(cluster_NAME),
    C(partition_NAME), C(state_NAME) and, for each of its labels, C(label_KEY_VALUE).
  - Its variables are those that it has in the API, its C(slurm_node_*) variables, and C(ansible_host), its address called C(main).
    A cluster's variables are those of its group, with C(slurm_cluster_name), and C(slurmctld_parameters) where it has Slurm's.
  - An API that cannot be reached, refuses the request, or lost too many hosts, is an error; see O(stale_ok) and O(max_shrink).
  - A run asks for what changed since the last one. Where nothing did, one short request is all that is sent.
extends_documentation_fragment:
  - ansible.builtin.constructed
  - hpcops.cluster.discovery_api
  - hpcops.cluster.discovery_api.plugins
  - hpcops.cluster.source_inventory
options:
  plugin:
    description: This plugin's name. The file's name must end in C(.discovery.yml) or C(.discovery.yaml).
    type: str
    required: true
    choices: [hpcops.cluster.discovery]
  clusters:
    description:
      - Clusters to read. Empty means all that the token may read.
      - A cluster that is not there, or is not for this token, is an error.
    type: list
    elements: str
    default: []
  states:
    description: Lifecycle states that the hosts are in. Another one than these five is refused by the API.
    type: list
    elements: str
    choices: [planned, ready, active, maintenance, retired]
    default: [planned, ready, active, maintenance]
  variables:
    description:
      - V(lean) for the variables that roles use and those that hosts were given.
      - V(full) adds C(discovery_cluster), C(discovery_state), C(discovery_roles), C(discovery_partitions), C(discovery_labels),
        C(discovery_addresses), C(discovery_rack), C(discovery_switch), C(discovery_provider) and C(discovery_instance_id).
      - A list adds only the named ones of these. Another name is an error.
      - The first five are there for O(compose), O(groups) and O(keyed_groups) in any case.
    type: raw
    default: lean
  allow_variables:
    description:
      - Variables that the API may set although they decide what runs on hosts or on the control machine, as patterns of the shell
        (V(slurm_source_*)).
      - All others of that kind are left out with a warning, those of Ansible (C(ansible_*), except C(ansible_host), C(ansible_port) and
        C(ansible_user)) and of this collection (C(hpcops_*)) among them, because whoever may write one cluster's hosts could run
        commands on the control machine. The list is in C(plugins/plugin_utils/_reserved_variables.py).
    type: list
    elements: str
    default: []
  group_by:
    description: What groups are made from. The clusters' groups are always there, since they have the clusters' variables.
    type: list
    elements: str
    choices: [role, cluster, partition, state, label]
    default: [role, cluster, partition, state, label]
  group_labels:
    description:
      - Keys of the labels that groups are made from. Left out, all are.
      - Labels that differ from host to host, such as serial numbers, make as many groups; name the others then.
    type: list
    elements: str
"""

EXAMPLES = r"""
# site.discovery.yml: everything that the token may read
plugin: hpcops.cluster.discovery
url: https://discovery.example.org:8420
ca_file: /etc/ssl/certs/site-ca.pem
token_file: ~/.config/hpcops/discovery.token

---
# alpha.discovery.yml: one cluster; for an hour the last good answer may stand in for the API
plugin: hpcops.cluster.discovery
url: https://discovery.example.org:8420
token: "{{ lookup('community.hashi_vault.vault_kv2_get', 'hpcops/discovery').secret.token }}"
clusters: [alpha]
states: [ready, active, maintenance]
stale_ok: 1h
max_shrink: 5
variables: [discovery_rack]
group_labels: [environment]
strict: true
compose:
  ansible_user: "'admin'"
  site_is_big: slurm_node_cpus >= 128
groups:
  gpu_nodes: "'gpu' in discovery_partitions"
  in_production: discovery_labels.environment == 'production' and discovery_state != 'maintenance'
keyed_groups:
  - key: discovery_rack
    prefix: rack
"""


from ansible_collections.hpcops.cluster.plugins.plugin_utils._answers import Source
from ansible_collections.hpcops.cluster.plugins.plugin_utils._discovery_client import DiscoveryClient, read_token
from ansible_collections.hpcops.cluster.plugins.plugin_utils._discovery_hosts import DiscoverySource, Wanted
from ansible_collections.hpcops.cluster.plugins.plugin_utils._source_inventory import SourceInventory

_VARIABLES = (
    "discovery_addresses",
    "discovery_cluster",
    "discovery_instance_id",
    "discovery_labels",
    "discovery_partitions",
    "discovery_provider",
    "discovery_rack",
    "discovery_roles",
    "discovery_state",
    "discovery_switch",
)


class InventoryModule(SourceInventory):
    """The plugin."""

    NAME = "hpcops.cluster.discovery"
    endings = (".discovery.yml", ".discovery.yaml")
    client = DiscoveryClient

    def source(self) -> Source:
        """Return the API, as the options describe it."""
        client = self.client(
            self.text_option("url"),
            read_token(self.text_option("token"), self.text_option("token_file")),
            self.text_option("ca_file"),
            self.get_option("timeout"),
            self.get_option("retries"),
        )
        return DiscoverySource(client, self._wanted())

    def _wanted(self) -> Wanted:
        extent, also = self.variables_option(_VARIABLES)
        labels = self.get_option("group_labels")
        return Wanted(
            clusters=self.texts_option("clusters"),
            states=self.texts_option("states"),
            group_by=self.texts_option("group_by"),
            label_keys=None if labels is None else tuple(map(str, labels)),
            extent=extent,
            also=also,
            allowed=self.texts_option("allow_variables"),
            expressions=any(self.get_option(name) for name in ("compose", "groups", "keyed_groups")),
        )
