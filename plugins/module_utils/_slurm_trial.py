# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The slurm.conf of a trial boot: the candidate, without what reaches beyond the trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_files import Entry, entries, read

# The only address there is in the trial's network; no name has to be resolved for it.
ADDRESS = "192.0.2.1"
# What the trial gets of its own, and what would reach a database, a user or a cloud.
_LEFT_OUT = frozenset(
    (
        "backupaddr",
        "backupcontroller",
        "controladdr",
        "controlmachine",
        "slurmctldaddr",
        "slurmctldhost",
        "slurmctldlogfile",
        "slurmctldpidfile",
        "slurmctldprimaryoffprog",
        "slurmctldprimaryonprog",
        "slurmschedlogfile",
        "statesavelocation",
    )
)
_LEFT_OUT_PREFIXES = ("accountingstorage", "jobcomp")
# The last is that of a PowerAction.
_HARMLESS = dict.fromkeys(("resumeprogram", "suspendprogram", "resumefailprogram", "program"), "/bin/true")


def trial_text(files: Mapping[str, str | None]) -> str:
    """Return the text, with the set's included files in it; SlurmctldHost and the trial's own paths are yet to be added.

    There is none where a file outside the set is included: what it has of nodes and controllers cannot be left out.
    """
    if read(files).includes:
        return ""
    lines = [_line(entry) for entry in entries(files, "slurm.conf") if not entry.include]
    return "".join(f"{line}\n" for line in lines if line)


def _line(entry: Entry) -> str:
    pairs = list(entry.pairs)
    if entry.key == "nodename":
        if pairs[0][1].upper() != "DEFAULT":
            pairs = [(name, value) for name, value in pairs if name.lower() not in ("nodeaddr", "bcastaddr")]
            pairs.append(("NodeAddr", ADDRESS))
    elif entry.key == "partitionname":
        pairs = [(name, value) for name, value in pairs if name.lower() != "qos"]  # known to the database alone
    else:
        pairs = [(name, _HARMLESS.get(name.lower(), value)) for name, value in pairs if not _is_left_out(name.lower())]
    return " ".join(replace(entry, pairs=tuple(pairs)).written)


def _is_left_out(name: str) -> bool:
    return name in _LEFT_OUT or name.startswith(_LEFT_OUT_PREFIXES)
