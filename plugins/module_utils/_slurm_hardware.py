# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What slurmd measures of a host, and what follows for its node line and for the confinement of its jobs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

COMPARED = ("CPUs", "Boards", "SocketsPerBoard", "CoresPerSocket", "ThreadsPerCore", "RealMemory", "TmpDisk")
NUMBER = re.compile(r"[0-9]{1,15}", re.ASCII)
TREES = ("v1", "v2", "none")
# Prints the kind of the host's cgroup tree, then what slurmd measures, where there is a slurmd.
MEASURE = """
tree=/sys/fs/cgroup
if [ -e $tree/cgroup.controllers ]; then
  grep --quiet --word-regexp memory $tree/cgroup.controllers && echo v2 || echo none
elif [ -d $tree/memory ]; then echo v1
else echo none
fi
PATH=$PATH:/usr/sbin:/sbin
command -v slurmd >/dev/null || exit 0
slurmd -C
""".strip()  # Ansible appends to the last line


def read_measure(output: str) -> tuple[str, dict[str, Any]]:
    """Kind of the cgroup tree and hardware from the output of MEASURE; no hardware without slurmd.

    Only the numbers of COMPARED are taken, since a compromised host may print anything.
    """
    lines = output.strip().splitlines() or ["none"]
    words = dict(word.split("=", 1) for word in lines[1].split() if "=" in word) if len(lines) > 1 else {}
    numbers = {key: words[key] for key in COMPARED if NUMBER.fullmatch(words.get(key, ""))}
    tree = lines[0].strip()
    return tree if tree in TREES else "none", {key: int(value) for key, value in numbers.items()}


def judge(
    tree: str, hardware: Mapping[str, Any], expected: Mapping[str, Any], cgroup: str | None
) -> tuple[str | None, list[str]]:
    """Why the host cannot be the expected node (None when it can), and warnings."""
    if cgroup in ("v1", "v2") and cgroup != tree:
        return (
            f"slurmctld_cgroup is {cgroup}, but this host's cgroup tree is {tree}: slurmd would refuse to start. Boot the host with "
            f"cgroup {cgroup}, or set slurmctld_cgroup to auto or disabled."
        ), []
    warnings = []
    if cgroup in ("auto", "disabled") and tree != "v2":
        warnings.append(
            f"This host has no pure cgroup v2 tree (found: {tree}). Jobs are tracked by their processes and not confined to their "
            "memory and cores."
        )
    less = []
    for key in COMPARED:
        if key not in expected or key not in hardware:
            continue
        promised, found = int(expected[key]), int(hardware[key])
        sentence = f"{key} is {found} on the host and {promised} in its node line"
        if found < promised:
            less.append(sentence)
        elif found > promised and key == "CPUs":
            warnings.append(f"{sentence}: the rest stays unused. Correct slurm_node_cpus if that is not intended.")
    if less:
        return (
            f"This host has less than its node line promises, and slurmctld would refuse it: {'; '.join(less)}. Correct its "
            "slurm_node_* variables (the playbook collect_hardware writes them), or repair the host."
        ), []
    return None, warnings
