#!/usr/bin/python
# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: discovery_host
short_description: Write hosts to the service-discovery API
version_added: 0.1.0
description:
  - Makes hosts be in the API that the role P(hpcops.cluster.discovery#role) runs as they are given, any number of them in one request,
    which is one transaction. All are written, or none. The API takes up to 100,000 hosts and 64 MiB at once.
  - Works on the control machine alone, where the token is; no host is contacted, whatever C(delegate_to) says. To write once
    for all hosts of a play, add C(run_once).
  - A request whose answer is lost is not sent again, and is an error. Writing the same again changes nothing, so the task may be
    repeated; O(retries) says what is sent again without asking.
author:
  - hpcops.cluster contributors (@hpcops)
extends_documentation_fragment:
  - hpcops.cluster.discovery_api
options:
  hosts:
    description:
      - The hosts, as dicts of the API's shape, which C(POST /v1/hosts) of its OpenAPI document describes. A text stands for a host's name.
        An empty list changes nothing.
      - In its place, O(name) and the options that describe it stand for a single host.
    type: list
    elements: raw
  state:
    description:
      - V(present) makes the hosts be so.
      - V(retired) makes their lifecycle state V(retired). One that is not in the API is an error.
      - V(absent) takes out the services of the hosts, one by one, and then retires them. Those that are not in the API are done. Services
        of hosts that were retired before are left as they are; the API shows them to nobody.
      - The API never deletes a host. Of the hosts to retire only the name and the revision are looked at.
    type: str
    choices: [present, retired, absent]
    default: present
  merge:
    description:
      - V(true) changes only what is named, as in RFC 7386. Dicts are merged, lists replaced, and null in O(hosts) takes a value away.
      - V(false) makes each host be so as a whole; what is not named is taken away, but for the lifecycle state, which stays.
      - A host that is new must be complete either way.
    type: bool
    default: true
  name:
    description: Name of the single host.
    type: str
  cluster:
    description: The cluster that it belongs to. The API must have it.
    type: str
  lifecycle:
    description:
      - Its lifecycle state, which is C(state) in O(hosts). Left out, it stays as it is; a new host is V(planned).
      - A step that the API does not allow, such as from V(retired) to V(active), is an error that names those that it does.
    type: str
    choices: [planned, ready, active, maintenance, retired]
  addresses:
    description: IP addresses by purpose. Ansible connects to the one called C(main).
    type: dict
  roles:
    description: What the host is for. They become Ansible's groups.
    type: list
    elements: str
  partitions:
    description: Slurm's partitions that it is in.
    type: list
    elements: str
  rack:
    description: The rack that it is in.
    type: str
  switch:
    description: The switch that it is connected to.
    type: str
  provider:
    description: Who provides it, such as V(ec2).
    type: str
  instance_id:
    description: The provider's name of it; needs O(provider).
    type: str
  labels:
    description: Texts by key.
    type: dict
  slurm_node:
    description: What its line in slurm.conf is made from; a field is the variable C(slurm_node_FIELD).
    type: dict
  variables:
    description: Ansible's variables of the host. Not for secrets; whoever may read the API reads them.
    type: dict
  revision:
    description:
      - The revision at which the host was read; V(0) for one that must not exist. Also a key in O(hosts).
      - Where it has moved on, nothing is written, and the error names the host; RV(conflicts) has it as it is now.
    type: int
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
  - module: hpcops.cluster.discovery_service
"""

EXAMPLES = r"""
- name: Load the hosts that are kept in git
  hosts: localhost
  gather_facts: false
  module_defaults:
    group/hpcops.cluster.discovery:
      url: https://discovery.example.org:8420
      token_file: ~/.config/hpcops/discovery.token
  tasks:
    - name: Write them
      hpcops.cluster.discovery_host:
        hosts: "{{ lookup('ansible.builtin.file', 'hosts.yml') | from_yaml }}"
        merge: false

    - name: Write one host, and take its switch away
      hpcops.cluster.discovery_host:
        hosts:
          - name: n1
            cluster: alpha
            addresses: {main: 10.0.0.1}
            slurm_node: {cpus: 64, real_memory: 256000}
            switch: null

    - name: Begin work on a host
      hpcops.cluster.discovery_host:
        name: n1
        lifecycle: maintenance

    - name: Retire hosts with their services
      hpcops.cluster.discovery_host:
        hosts: [n7, n8]
        state: absent
"""

RETURN = r"""
changes:
  description: What was changed, or in check mode would be. Objects that stay as they are, are not in it.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: V(host) or V(service).
      type: str
    key:
      description: The host's name; of a service, cluster, name and host, with slashes between them.
      type: str
    action:
      description: V(created), V(updated), V(retired) or V(removed).
      type: str
  sample: [{"kind": "host", "key": "n1", "action": "updated"}]
revision:
  description: The API's revision after it.
  returned: when something was written, or would be
  type: int
  sample: 42
conflicts:
  description: Hosts whose revision is not the given one, as they are now.
  returned: when a revision has moved on
  type: list
  elements: dict
"""
