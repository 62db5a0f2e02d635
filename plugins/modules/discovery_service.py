#!/usr/bin/python
# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: discovery_service
short_description: Write services to the service-discovery API
version_added: 0.1.0
description:
  - Makes services be in the API that the role P(hpcops.cluster.discovery#role) runs as they are given, any number of them in one request,
    which is one transaction. All are written, or none. The API takes up to 100,000 services and 64 MiB at once.
  - Works on the control machine alone, where the token is; no host is contacted, whatever C(delegate_to) says. To write once
    for all hosts of a play, add C(run_once).
  - A request whose answer is lost is not sent again, and is an error. Writing the same again changes nothing, so the task may be
    repeated; O(retries) says what is sent again without asking.
author:
  - hpcops.cluster contributors (@hpcops)
extends_documentation_fragment:
  - hpcops.cluster.discovery_api
options:
  services:
    description:
      - The services, as dicts of the API's shape, which C(POST /v1/services) of its OpenAPI document describes. An empty list changes
        nothing.
      - In its place, O(name), O(cluster), O(hosts) and the options that describe it stand for one service on several hosts.
      - A C(revision) in it is the one at which the service was read; V(0) for one that must not exist. Where it has moved on, nothing is
        written, and the error names the service; RV(conflicts) has it as it is now.
    type: list
    elements: dict
  state:
    description:
      - V(present) makes the services be so as a whole; what is not named is taken away.
      - V(absent) takes them out, one by one. Those that are not in the API are done. Of O(services) only the cluster, the name and the
        host are looked at.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: Name of the one service. It is known by its cluster, name and host.
    type: str
  cluster:
    description: The cluster that it serves; needed with O(name).
    type: str
  hosts:
    description: Names of the hosts that it runs on, as they are in the API; needed with O(name). An empty list changes nothing.
    type: list
    elements: str
  port:
    description: Its port; needed to be V(present).
    type: int
  scheme:
    description: What it speaks, such as V(https). Left out, V(tcp).
    type: str
  path:
    description: Where it begins, such as V(/slurm).
    type: str
  metrics_path:
    description: Where Prometheus scrapes it, such as V(/metrics). Left out, it does not.
    type: str
  check:
    description:
      - How the API finds out its health. C(type) is V(tcp), V(http) or V(heartbeat); C(interval), C(timeout), C(rise) and C(fall), the
        C(path) and C(verify) of V(http), and the C(ttl) of V(heartbeat), are optional. Left out, the service passes.
    type: dict
  labels:
    description: Texts by key.
    type: dict
attributes:
  check_mode:
    description: Asks the API what it would change, which checks everything.
    support: full
  diff_mode:
    description: Shows each changed object before and after.
    support: full
  action_group:
    description: Use C(group/hpcops.cluster.discovery) in C(module_defaults) to set the API's address and token once.
    support: full
    membership: [hpcops.cluster.discovery]
seealso:
  - module: hpcops.cluster.discovery_host
  - plugin: hpcops.cluster.service
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Register the compute daemon of all hosts of the play
  hpcops.cluster.discovery_service:
    url: https://discovery.example.org:8420
    token_file: ~/.config/hpcops/discovery.token
    cluster: alpha
    name: slurmd
    hosts: "{{ ansible_play_hosts }}"
    port: 6818
    check: {type: tcp, interval: 30}
  run_once: true

- name: Register different services
  hpcops.cluster.discovery_service:
    services:
      - {cluster: alpha, name: slurmctld, host: ctl1, port: 6817, check: {type: tcp}}
      - {cluster: alpha, name: node_exporter, host: ctl1, port: 9100, scheme: https, metrics_path: /metrics}

- name: Take a service out
  hpcops.cluster.discovery_service:
    cluster: alpha
    name: node_exporter
    hosts: [ctl1]
    state: absent
"""

RETURN = r"""
changes:
  description: What was changed, or in check mode would be. Services that stay as they are, are not in it.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: V(service).
      type: str
    key:
      description: Cluster, name and host, with slashes between them.
      type: str
    action:
      description: V(created), V(updated) or V(removed).
      type: str
  sample: [{"kind": "service", "key": "alpha/slurmd/n1", "action": "created"}]
revision:
  description: The API's revision after it.
  returned: when something was written, or would be
  type: int
  sample: 42
conflicts:
  description: Services whose revision is not the given one, as they are now.
  returned: when a revision has moved on
  type: list
  elements: dict
"""
