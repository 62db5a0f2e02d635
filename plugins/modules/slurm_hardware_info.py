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
  description: What C(slurmd -C) prints, numbers as numbers.
  returned: success
  type: dict
  sample: {NodeName: c1, CPUs: 2, Boards: 1, SocketsPerBoard: 1, CoresPerSocket: 2, ThreadsPerCore: 1, RealMemory: 24037}
cgroup:
  description:
    - V(v2) for a pure cgroup v2 tree whose memory controller is usable, V(v1) for version 1 or a hybrid, V(none) for a tree
      without controllers, as in most containers.
  returned: success
  type: str
  sample: v2
"""

import os
import shutil
from typing import Any

from ansible.module_utils.basic import AnsibleModule

COMPARED = ("CPUs", "Boards", "SocketsPerBoard", "CoresPerSocket", "ThreadsPerCore", "RealMemory", "TmpDisk")
CGROUP_ROOT = "/sys/fs/cgroup"


def parse(output: str) -> dict[str, Any]:
    """The key=value words of slurmd -C's first line; numbers as int."""
    lines = output.strip().splitlines()
    words = dict(word.split("=", 1) for word in lines[0].split() if "=" in word) if lines else {}
    return {key: int(value) if value.isdigit() else value for key, value in words.items()}


def compare(hardware: dict[str, Any], expected: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Sentences about what the host lacks of its node line, and about what it has more."""
    less, more = [], []
    for key in COMPARED:
        if key not in expected or key not in hardware:
            continue
        promised, found = int(expected[key]), hardware[key]
        sentence = f"{key} is {found} on the host and {promised} in its node line"
        if found < promised:
            less.append(sentence)
        elif found > promised and key == "CPUs":
            more.append(sentence)
    return less, more


def cgroup_tree(root: str = CGROUP_ROOT) -> str:
    """Kind of the host's cgroup tree: v2, v1 or none."""
    controllers = os.path.join(root, "cgroup.controllers")
    if os.path.exists(controllers):
        with open(controllers, encoding="ascii") as handle:
            return "v2" if "memory" in handle.read().split() else "none"
    return "v1" if os.path.isdir(os.path.join(root, "memory")) else "none"


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "expected": {"type": "dict", "default": {}},
            "cgroup": {"type": "str", "choices": ["auto", "v2", "v1", "disabled"]},
        },
        supports_check_mode=True,
    )
    tree, wanted = cgroup_tree(), module.params["cgroup"]
    if wanted in ("v1", "v2") and wanted != tree:
        module.fail_json(
            msg=f"slurmctld_cgroup is {wanted}, but this host's cgroup tree is {tree}: slurmd would refuse to start. Boot the host with "
            f"cgroup {wanted}, or set slurmctld_cgroup to auto or disabled."
        )
    if wanted in ("auto", "disabled") and tree != "v2":
        module.warn(
            f"This host has no pure cgroup v2 tree (found: {tree}). Jobs are tracked by their processes and not confined to their memory "
            "and cores."
        )

    hardware: dict[str, Any] = {}
    slurmd = shutil.which("slurmd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if slurmd:
        code, out, err = module.run_command([slurmd, "-C"])
        if code != 0:
            module.fail_json(msg=f"slurmd -C failed: {err.strip()}", rc=code)
        hardware = parse(out)
    less, more = compare(hardware, module.params["expected"])
    if less:
        module.fail_json(
            msg=f"This host has less than its node line promises, and slurmctld would refuse it: {'; '.join(less)}. Correct its "
            "slurm_node_* variables (the playbook collect_hardware writes them), or repair the host.",
            hardware=hardware,
        )
    for sentence in more:
        module.warn(f"{sentence}: the rest stays unused. Correct slurm_node_cpus if that is not intended.")
    module.exit_json(changed=False, hardware=hardware, cgroup=tree)


if __name__ == "__main__":
    main()
