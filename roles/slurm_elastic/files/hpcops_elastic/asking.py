# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Slurm's programs write into the journal: within a second, since slurmctld waits for them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hpcops_elastic.config import Config
from hpcops_elastic.errors import ElasticError
from hpcops_elastic.hosts import expand, fold
from hpcops_elastic.journal import ALIVE, Journal
from hpcops_elastic.pools import count_boot_failures
from hpcops_elastic.slurm import OURS, Slurm
from hpcops_elastic.verdicts import Kind

RESUME_FILE = "SLURM_RESUME_FILE"


class ServiceSilentError(ElasticError):
    """Nobody would act on what is written."""


class UnknownNodesError(ElasticError):
    """The configuration has no such nodes."""

    def __init__(self, names: list[str]) -> None:
        self.nodes = fold(names)
        super().__init__(f"configuration: no group has {self.nodes}; the others are on their way")


def jobs_of(resume_file: Mapping[str, Any]) -> Iterator[tuple[str, list[str], int]]:
    """Jobs of a resume file: number, nodes to resume, and how many it has in all. Before 23.02 nodes were called otherwise."""
    for job in resume_file.get("jobs") or ():
        nodes = expand(job.get("nodes_resume", job.get("nodes", "")) or "")
        everything = job.get("nodes_alloc") or ""
        yield str(job.get("job_id", "")), nodes, len(expand(everything)) if everything else len(nodes)


def read_resume_file() -> Mapping[str, Any]:
    """The file that Slurm gives for some seconds, an open file of slurmctld's; none where it has none."""
    path = os.environ.get(RESUME_FILE, "")
    if not path:
        return {}
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # the nodes are the program's argument, too
    return content if isinstance(content, dict) else {}


def resume(config: Config, journal: Journal, nodes: str, resume_file: Mapping[str, Any]) -> str:
    """Want these nodes, each for its job.

    Raises ServiceSilentError where the service is not at work: nothing would come of it. Raises UnknownNodesError where some are
    of no group.
    """
    names, group_of = expand(nodes), config.group_of()
    silent = journal.clock() - float(journal.setting(ALIVE, "0"))
    if silent > config.timing.service_timeout:
        raise ServiceSilentError(
            "service: hpcops-elastic.service shows no sign of life on this controller; look at its journal and start it"
        )
    unknown = [name for name in names if name not in group_of]
    job_of = {name: (job, total) for job, job_nodes, total in jobs_of(resume_file) for name in job_nodes}
    wanted = []
    for name in names:
        if name in group_of:
            job, total = job_of.get(name, ("", 1))
            group = config.group(group_of[name])
            whole = bool(group and group.all_or_nothing and job and total > 1)
            wanted.append((name, group_of[name], job, whole))
    journal.want(wanted)
    if unknown:
        raise UnknownNodesError(unknown)
    return f"wanted: {nodes}"


def suspend(config: Config, journal: Journal, nodes: str) -> str:
    """Want these nodes no more."""
    group_of = config.group_of()
    journal.unwant([name for name in expand(nodes) if name in group_of], "suspended")
    return f"not wanted any more: {nodes}"


def resume_failed(config: Config, journal: Journal, nodes: str) -> str:
    """Give up nodes that did not join in time, each with what is known of why."""
    group_of = config.group_of()
    with journal.transaction():
        for name in expand(nodes):
            if name not in group_of:
                continue
            rows = journal.rows("SELECT * FROM instances WHERE node = ? AND state = 'running'", name)
            if rows:
                count_boot_failures(config, journal, rows)
                said = f"{Kind.BOOT}: {rows[0]['id']} did not become a node in time"
            else:
                last = journal.rows(
                    "SELECT verdict FROM launches WHERE grp = ? AND verdict != '' ORDER BY sent DESC LIMIT 1",
                    group_of[name],
                )
                said = f"it could not be launched in time; last: {last[0]['verdict'] if last else 'no answer of EC2'}"
            journal.give_up([name], f"{OURS}{said}")
    return f"given up: {nodes}"


def give_back(config: Config, nodes: str, reason: str) -> None:
    """Without the service: at least Slurm is told, so that its jobs need not wait for ResumeTimeout."""
    slurm = Slurm(config)
    names = expand(nodes)
    slurm.forget_names(names)
    slurm.update(names, "DOWN", f"{OURS}{reason}"[:500])
    slurm.update(names, "POWER_DOWN")
