#!/usr/bin/python
# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cluster's nodes as slurmctld sees them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slurm_node_info
short_description: Read the states of a cluster's nodes
version_added: 0.1.0
description:
  - Asks slurmctld for all nodes in one request.
author:
  - hpcops.cluster contributors (@hpcops)
attributes:
  check_mode:
    description: Only reads.
    support: full
requirements:
  - C(scontrol) on the host, such as a controller
seealso:
  - module: hpcops.cluster.slurm_node
"""

EXAMPLES = r"""
- name: See which nodes are out of service
  hpcops.cluster.slurm_node_info:
  register: cluster
"""

RETURN = r"""
nodes:
  description: The nodes by name.
  returned: success
  type: dict
  contains:
    state:
      description: The state with its flags, as C(scontrol show node) prints it.
      type: str
    partitions:
      description: Partitions that the node is in.
      type: list
      elements: str
    boot_time:
      description: When the node was booted, as slurmctld knows it, in seconds since the epoch; null for one it has not heard from.
      type: int
    reason:
      description: Why it is out of service.
      type: str
    set_by:
      description: Account that gave the reason.
      type: str
    set_at:
      description: When, in UTC.
      type: str
  sample:
    c1: {state: IDLE+DRAIN, partitions: [main], boot_time: 1767225600, reason: fan, set_by: root, set_at: "2026-01-01T00:00:00"}
reboot_program:
  description: The parameter RebootProgram of slurm.conf; empty without one.
  returned: success
  type: str
  sample: /sbin/reboot
now:
  description: The host's time in seconds since the epoch.
  returned: success
  type: int
  sample: 1767225600
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError
from ansible_collections.hpcops.cluster.plugins.module_utils._scontrol import Scontrol


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    scontrol = Scontrol(module)
    now = int(time.time())
    try:
        nodes, reboot_program = scontrol.nodes(), scontrol.reboot_program()
    except HpcopsError as error:
        module.fail_json(msg=f"slurmctld cannot be asked, so nothing was touched: {error}")
    module.exit_json(
        changed=False,
        now=now,
        reboot_program=reboot_program,
        nodes={
            name: {
                "state": node.state,
                "partitions": list(node.partitions),
                "boot_time": node.boot_time,
                "reason": node.reason,
                "set_by": node.reason_user,
                "set_at": node.reason_time,
            }
            for name, node in nodes.items()
        },
    )


if __name__ == "__main__":
    main()
