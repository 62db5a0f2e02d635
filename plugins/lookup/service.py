# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Endpoints of services, from the service-discovery API."""

from __future__ import annotations

DOCUMENTATION = r"""
name: service
author: hpcops.cluster contributors (@hpcops)
version_added: 0.1.0
short_description: Endpoints of a service by name, healthy ones only
description:
  - Returns where services answer, as the API that the role P(hpcops.cluster.discovery#role) runs knows it, by cluster and host.
  - Where none is healthy it fails, and says what there is. An empty list would become a configuration without servers.
extends_documentation_fragment:
  - hpcops.cluster.discovery_api
  - hpcops.cluster.discovery_api.plugins
  - hpcops.cluster.discovery_api.lookups
options:
  _terms:
    description: Names of services. Each must have an endpoint that is healthy.
    type: list
    elements: str
    required: true
  cluster:
    description: Clusters whose services are meant. Empty means all that the token may read; another one is an error.
    type: list
    elements: str
    default: []
  host:
    description: Hosts whose services are meant. Empty means all.
    type: list
    elements: str
    default: []
  label:
    description: A selector of the services' labels, such as V(environment=prod,tier!=web,rack in (a, b),gpu,!old).
    type: str
    default: ""
  health:
    description: What counts as healthy. A service without a check passes; one whose check has not been made yet is V(unknown).
    type: list
    elements: str
    choices: [passing, warning, critical, unknown]
    default: [passing, warning]
  format:
    description:
      - V(url) for a text such as V(https://10.0.0.1:6820/slurm), V(host_port) for one such as V(10.0.0.1:6820).
      - V(dict) for a dict with C(name), C(cluster), C(host), C(address), C(port), C(scheme), C(path), C(health) and C(labels).
        C(address) and C(path) are empty where there is none.
    type: str
    choices: [url, host_port, dict]
    default: url
  host_as:
    description:
      - What stands for the host in a V(url) or V(host_port). V(address) for its address called main, or its name where it has none;
        V(name) for its name in any case, as a certificate may need it.
    type: str
    choices: [address, name]
    default: address
  default:
    description: Returned in place of the endpoints of a service that has no healthy one. A value that is no list is one endpoint.
    type: raw
"""

EXAMPLES = r"""
- name: Write the client's configuration
  ansible.builtin.template:
    src: client.conf.j2
    dest: /etc/client.conf
    mode: "0644"
  vars:
    hpcops_discovery_url: https://discovery.example.org:8420
    hpcops_discovery_token_file: ~/.config/hpcops/discovery.token
    # https://login1:6820, or an error that says why there is none
    client_api: "{{ query('hpcops.cluster.service', 'slurmrestd', cluster='alpha', host_as='name') | first }}"
    # ['10.0.0.7:9100', '10.0.0.8:9100']
    client_exporters: "{{ query('hpcops.cluster.service', 'node_exporter', cluster='alpha', format='host_port', default=[]) }}"

- name: Show all that is known of two services, whatever their health is
  ansible.builtin.debug:
    msg: "{{ query('hpcops.cluster.service', 'slurmctld', 'slurmdbd', format='dict', health=every) }}"
  vars:
    every: [passing, warning, critical, unknown]
"""

RETURN = r"""
_raw:
  description:
    - The endpoints, by name as the names were given, then by cluster and host.
    - C(query) returns the list; C(lookup) joins texts by commas.
  type: list
  elements: raw
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import DiscoveryError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._discovery_client import DiscoveryClient, batches
from ansible_collections.hpcops.cluster.plugins.plugin_utils._discovery_lookup import DiscoveryLookup


def endpoint(service: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is told of a service."""
    return {
        "name": service["name"],
        "cluster": service["cluster"],
        "host": service["host"],
        "address": service.get("address") or "",
        "port": service["port"],
        "scheme": service.get("scheme", "tcp"),
        "path": service.get("path") or "",
        "health": service["health"]["status"],
        "labels": service.get("labels", {}),
    }


def host_port(found: Mapping[str, Any], by_name: bool) -> str:
    """Return where an endpoint answers."""
    host = found["host"] if by_name else found["address"] or found["host"]
    return f"[{host}]:{found['port']}" if ":" in host else f"{host}:{found['port']}"


def url(found: Mapping[str, Any], by_name: bool) -> str:
    """Return the same with what it speaks, and where it begins."""
    return f"{found['scheme']}://{host_port(found, by_name)}{found['path']}"


def none_healthy(name: str, clusters: Sequence[str], health: Sequence[str], there: Sequence[Mapping[str, Any]]) -> str:
    """Say that no endpoint is healthy, and what there is."""
    within = f" in cluster {' or '.join(clusters)}" if clusters else ""
    count = Counter(found["health"] for found in there)
    if len(count) == 1:
        what = f"{len(there)} registered, {'all ' if len(there) > 1 else ''}{next(iter(count))}"
    elif there:
        what = f"{len(there)} registered, of which {', '.join(f'{number} {word}' for word, number in count.items())}"
    else:
        what = "none is registered, or none that host and label let through"
    return f"no service '{name}'{within} is {' or '.join(health)}: {what}"


class LookupModule(DiscoveryLookup):
    """The lookup."""

    def look_up(self, client: DiscoveryClient, names: list[str]) -> list[Any]:
        """Return each name's endpoints."""
        if not names:
            raise DiscoveryError("there is no name of a service to look up")
        clusters, health = self.texts("cluster"), self.texts("health")
        found: list[Any] = []
        for name in names:
            there = self._registered(client, name, clusters)
            healthy = [each for each in there if each["health"] in health]
            if healthy:
                found += map(self._formatted, healthy)
            elif self.get_option("default") is not None:
                default = self.get_option("default")
                found += default if isinstance(default, list) else [default]
            else:
                raise DiscoveryError(f"{client.url}: {none_healthy(name, clusters, health, there)}")
        return found

    def _registered(self, client: DiscoveryClient, name: str, clusters: list[str]) -> list[dict[str, Any]]:
        query = {"name": [name], "cluster": clusters, "label": str(self.get_option("label"))}
        try:
            return [
                endpoint(service)
                for hosts in batches(self.texts("host"))
                for service in client.items("/v1/services", {**query, "host": hosts})
            ]
        except (KeyError, TypeError) as error:
            raise DiscoveryError(f"{client.url} answers with services of another shape than the API's") from error

    def _formatted(self, found: dict[str, Any]) -> Any:
        by_name = self.get_option("host_as") == "name"
        form = self.get_option("format")
        return found if form == "dict" else (url if form == "url" else host_port)(found, by_name)
