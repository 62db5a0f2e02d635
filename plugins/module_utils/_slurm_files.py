# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Slurm configuration text as data, and what a difference between two of them takes."""

from __future__ import annotations

import shlex

# Main parameters that a running slurmctld does not take over by reconfigure, per scontrol(1) and slurm.conf(5).
RESTART_ALWAYS = frozenset({"authtype", "slurmctldport", "slurmdport", "slurmuser", "statesavelocation"})
# Further ones up to 22.05 (the "restart" notes of slurm.conf(5) of that release).
RESTART_OLD = frozenset(
    {
        "accountingstorageenforce",
        "credtype",
        "grestypes",
        "jobcontainertype",
        "maxjobcount",
        "maxnodecount",
        "plugindir",
        "prioritytype",
        "proctracktype",
        "schedulertype",
        "selecttype",
        "selecttypeparameters",
        "slurmctldhost",
        "slurmctldparameters",
        "switchtype",
        "taskplugin",
        "topologyplugin",
    }
)
LINE_KEYS = ("nodename", "nodeset", "partitionname", "downnodes")


def parse(text: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Main parameters (key to its values) and lines (kind to its normalised lines) of a slurm.conf. Keys in lower case."""
    parameters: dict[str, list[str]] = {}
    lines: dict[str, list[str]] = {kind: [] for kind in LINE_KEYS}
    for raw in text.splitlines():
        line = raw.split("#", 1)[0].strip()
        if "=" not in line:
            continue
        key = line.split("=", 1)[0].strip().lower()
        if key in LINE_KEYS:
            lines[key].append(" ".join(sorted(shlex.split(line))))
        else:
            parameters.setdefault(key, []).append(line.split("=", 1)[1].strip())
    return parameters, lines


def required_action(before: str, after: str, release: str) -> tuple[str, list[str]]:
    """What takes a running slurmctld from one slurm.conf to another: "none", "reconfigure" or "restart", and why.

    The reasons name the parameters and kinds of lines that ask for a restart.
    """
    old_parameters, old_lines = parse(before)
    new_parameters, new_lines = parse(after)
    old_release = tuple(int(part) for part in release.split(".")[:2]) < (23, 11)
    restart = RESTART_ALWAYS | (RESTART_OLD if old_release else frozenset())
    changed = {
        key
        for key in old_parameters.keys() | new_parameters.keys()
        if old_parameters.get(key) != new_parameters.get(key)
    }
    kinds = {kind for kind in LINE_KEYS if sorted(old_lines[kind]) != sorted(new_lines[kind])}
    reasons = sorted(changed & restart) + (["nodename"] if old_release and "nodename" in kinds else [])
    if reasons:
        return "restart", reasons
    return ("reconfigure", []) if changed or kinds else ("none", [])
