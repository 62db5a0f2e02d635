#!/usr/bin/python
# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: discovery_cluster
short_description: Write a cluster to the service-discovery API
version_added: 0.1.0
description:
  - Makes a cluster be in the API that the role P(hpcops.cluster.discovery#role) runs as it is given. It needs a token with the scope
    V(admin).
  - Works on the control machine alone, where the token is; no host is contacted, whatever C(delegate_to) says.
author:
  - hpcops.cluster contributors (@hpcops)
extends_documentation_fragment:
  - hpcops.cluster.discovery_api
options:
  name:
    description: Its name.
    type: str
    required: true
  state:
    description:
      - V(present) makes it be so as a whole; what is not named is taken away.
      - V(absent) takes it out. One that has, or ever had, hosts cannot be.
    type: str
    choices: [present, absent]
    default: present
  description:
    description: A line for people.
    type: str
  slurm:
    description: Slurm's parameters, as the role slurmctld takes them in C(slurmctld_parameters), which the inventory has them as.
    type: dict
  variables:
    description: Variables of its group in the inventory, as they are; none of them is a template.
    type: dict
  revision:
    description: The revision at which it was read; V(0) for one that must not exist. Where it has moved on, nothing is written.
    type: int
attributes:
  check_mode:
    description: Asks the API what it would change, which checks everything.
    support: full
  diff_mode:
    description: Shows the cluster before and after.
    support: full
  action_group:
    description: Use C(group/hpcops.cluster.discovery) in C(module_defaults) to set the API's address and token once.
    support: full
    membership: [hpcops.cluster.discovery]
seealso:
  - module: hpcops.cluster.discovery_host
"""

EXAMPLES = r"""
- name: Have a cluster
  hpcops.cluster.discovery_cluster:
    url: https://discovery.example.org:8420
    token_file: ~/.config/hpcops/discovery-admin.token
    name: alpha
    slurm: {SlurmctldTimeout: 300}
    variables: {ansible_user: admin}
"""

RETURN = r"""
changes:
  description: What was changed, or in check mode would be.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: V(cluster).
      type: str
    key:
      description: Its name.
      type: str
    action:
      description: V(created), V(updated) or V(removed).
      type: str
  sample: [{"kind": "cluster", "key": "alpha", "action": "created"}]
revision:
  description: The API's revision after it.
  returned: when something was written, or would be
  type: int
  sample: 42
conflicts:
  description: The cluster as it is now.
  returned: when its revision is not the given one
  type: list
  elements: dict
"""
