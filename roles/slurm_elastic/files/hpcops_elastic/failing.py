# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes that cannot be had go back to Slurm at once, with the reason; groups that have none are kept from jobs for a while."""

from __future__ import annotations

import logging
import time

from hpcops_elastic.config import Config
from hpcops_elastic.errors import SlurmError
from hpcops_elastic.hosts import fold
from hpcops_elastic.journal import Journal
from hpcops_elastic.pools import blocked
from hpcops_elastic.slurm import NONE_OF, Node, Slurm

LOG = logging.getLogger(__name__)
_AGAIN = 10.0
_LOOK = 15.0


class Failer:
    """Acts on what the journal has as failures."""

    def __init__(self, config: Config, journal: Journal, slurm: Slurm) -> None:
        self._config = config
        self._journal = journal
        self._slurm = slurm
        self._next = 0.0
        self._looked = 0.0

    def step(self) -> None:
        """Do what can be done now."""
        now = self._journal.clock()
        if now < self._next:
            return
        avoided = self._journal.avoided()
        reasons = {}
        for group in self._config.groups:
            why = blocked(group, avoided)
            until = "a person has looked" if why is None or why.until is None else _clock(why.until)
            reasons[group.name] = f"{NONE_OF}{group.name} until {until}: {why.reason}" if why else ""
        failures = self._journal.rows("SELECT * FROM failures WHERE tried < ?", now - _AGAIN)
        changed = {name: text for name, text in reasons.items() if self._journal.setting(f"drain:{name}") != text}
        if now - self._looked > _LOOK:  # those that have been powered down since
            changed |= {name: text for name, text in reasons.items() if text}
            self._looked = now
        if not failures and not changed:
            return
        try:
            nodes = self._slurm.nodes()
        except SlurmError as error:
            self._later("nodes to give back", error)
            return
        for name, reason in changed.items():
            try:
                self._keep(name, reason, nodes)
            except SlurmError as error:
                self._later(f"group {name}", error)
            else:
                self._journal.note(f"drain:{name}", reason)
        self._give_back(nodes)

    def _later(self, what: str, error: SlurmError) -> None:
        """What Slurm refuses is tried again, and keeps nothing else."""
        LOG.warning("%s: %s", what, error)
        self._next = self._journal.clock() + _AGAIN

    def _give_back(self, nodes: dict[str, Node]) -> None:
        """Set them down, so that their jobs are queued again, then to be powered down; look again whether it came so."""
        by_reason: dict[str, list[str]] = {}
        jobs: dict[str, set[str]] = {}
        done = []
        for row in self._journal.rows("SELECT * FROM failures WHERE tried < ?", self._journal.clock() - _AGAIN):
            node = nodes.get(row["node"])
            if node is None or node.leaving:
                done.append((row["node"],))
            else:
                by_reason.setdefault(row["reason"], []).append(row["node"])
            if row["job"] and not row["tried"]:
                jobs.setdefault(row["reason"], set()).add(row["job"])
        self._journal.change_all("DELETE FROM failures WHERE node = ?", done)
        unheard = [name for names in by_reason.values() for name in names if nodes[name].unheard]
        try:
            self._slurm.forget_names(unheard)
        except SlurmError as error:
            self._later(fold(unheard), error)
            return
        for reason, names in by_reason.items():
            try:
                self._slurm.update(names, "DOWN", reason)
                self._slurm.update(names, "POWER_DOWN")
            except SlurmError as error:
                self._later(fold(names), error)
                continue
            LOG.warning("given back: %s: %s", fold(names), reason)
            now = self._journal.clock()
            self._journal.change_all("UPDATE failures SET tried = ? WHERE node = ?", [(now, name) for name in names])
        for reason, some in jobs.items():
            try:
                self._slurm.explain(sorted(some), reason)
            except SlurmError as error:  # of jobs that have been cancelled meanwhile
                LOG.info("jobs that are not told why: %s", error)

    def _keep(self, group: str, reason: str, nodes: dict[str, Node]) -> None:
        """Drain what is off of a group that has no capacity, or give it free. What a person has drained stays as it is."""
        wanted = self._config.group(group)
        mine = [nodes[name] for name in wanted.nodes if name in nodes] if wanted else []
        if reason:
            names = [
                node.name
                for node in mine
                if "POWERED_DOWN" in node.states and (not node.drained or (node.kept and node.reason != reason))
            ]
            if names:
                self._slurm.update(names, "DRAIN", reason)
                LOG.warning("kept from jobs: %s: %s", fold(names), reason)
        else:
            names = [node.name for node in mine if node.kept]
            if names:
                self._slurm.update(names, "RESUME")
                LOG.info("free for jobs again: %s", fold(names))


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))
