#!/usr/bin/python
# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What slurmd sees of the host's hardware and of its cgroup tree."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slurm_hardware_info
short_description: Read a host's hardware as slurmd sees it, and compare it with its node line
version_added: 0.1.0
description:
  - Runs C(slurmd -C), the same measurement by which slurmd registers, and reads which cgroup tree the host has.
  - With O(expected) it fails when the host has less than its node line promises, since slurmctld would set such a node to
    C(INVAL), and warns when it has more, since the rest stays unused.
author:
  - hpcops.cluster contributors (@hpcops)
options:
  expected:
    description:
      - The host's node line, such as an element of what the filter P(hpcops.cluster.slurm_nodes#filter) returns. Compared are
        C(CPUs), C(Boards), C(SocketsPerBoard), C(CoresPerSocket), C(ThreadsPerCore), C(RealMemory) (MiB) and C(TmpDisk) (MiB).
    type: dict
    default: {}
  cgroup:
    description:
      - The cluster's cgroup mode. V(v2) and V(v1) fail on a host whose cgroup tree is another one. V(auto) and V(disabled) warn
        on a host without a pure cgroup v2 tree, where jobs are not confined.
    type: str
    choices: [auto, v2, v1, disabled]
attributes:
  check_mode:
    description: Only reads. On a host without slurmd RV(hardware) is empty and nothing is compared.
    support: full
"""

EXAMPLES = r"""
- name: Compare the host with its node line
  hpcops.cluster.slurm_hardware_info:
    expected:
      CPUs: 64
      RealMemory: 510000
    cgroup: v2
"""

RETURN = r"""
hardware:
  description:
    - Numbers that C(slurmd -C) prints, of those that O(expected) lists. Anything else it prints is left out.
  returned: success
  type: dict
  sample: {CPUs: 2, Boards: 1, SocketsPerBoard: 1, CoresPerSocket: 2, ThreadsPerCore: 1, RealMemory: 24037}
cgroup:
  description:
    - V(v2) for a pure cgroup v2 tree whose memory controller is usable, V(v1) for version 1 or a hybrid, V(none) for a tree
      without controllers, as in most containers.
  returned: success
  type: str
  sample: v2
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_hardware import MEASURE, judge, read_measure


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "expected": {"type": "dict", "default": {}},
            "cgroup": {"type": "str", "choices": ["auto", "v2", "v1", "disabled"]},
        },
        supports_check_mode=True,
    )
    code, out, err = module.run_command(["/bin/sh", "-c", MEASURE])
    if code != 0:
        module.fail_json(msg=f"slurmd -C failed: {err.strip()}", rc=code)
    tree, hardware = read_measure(out)
    problem, warnings = judge(tree, hardware, module.params["expected"], module.params["cgroup"])
    if problem:
        module.fail_json(msg=problem, hardware=hardware, cgroup=tree)
    for warning in warnings:
        module.warn(warning)
    module.exit_json(changed=False, hardware=hardware, cgroup=tree)


if __name__ == "__main__":
    main()
