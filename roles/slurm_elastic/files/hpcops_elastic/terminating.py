# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances that are to end do: in batches, with this cluster's tag only, until EC2 says so."""

from __future__ import annotations

import logging

from hpcops_elastic.aws import ALIVE, Cloud, RefusedError
from hpcops_elastic.config import Config
from hpcops_elastic.journal import Journal

LOG = logging.getLogger(__name__)
_BATCH = 1000
_UNSEEN = 600.0  # EC2 does not know an instance that it has just launched, but not for so long
_AGAIN = 5.0


class Terminator:
    """Acts on what the journal has as ending."""

    def __init__(self, config: Config, journal: Journal, cloud: Cloud) -> None:
        self._config = config
        self._journal = journal
        self._cloud = cloud
        self._next: dict[tuple[str, str], float] = {}

    def step(self) -> None:
        """Do what can be done now."""
        rows = self._journal.rows("SELECT id, account, region, started FROM instances WHERE state = 'ending'")
        by_region: dict[tuple[str, str], dict[str, float]] = {}
        for row in rows:
            by_region.setdefault((row["account"], row["region"]), {})[row["id"]] = row["started"]
        now = self._journal.clock()
        for (account, region), started in by_region.items():
            if self._next.get((account, region), 0.0) > now:
                continue
            self._next[account, region] = now + _AGAIN
            try:
                ids = list(started)
                for start in range(0, len(ids), _BATCH):
                    self._end(account, region, {each: started[each] for each in ids[start : start + _BATCH]})
            except RefusedError as refused:
                LOG.warning("instances that are to end: %s", refused)

    def _end(self, account: str, region: str, started: dict[str, float]) -> None:
        """Ask which of them are this cluster's and there, and terminate these."""
        present = {each.id: each.state for each in self._cloud.instances(account, region, started)}
        alive = [each for each, state in present.items() if state in ALIVE]
        if alive:
            present |= self._cloud.terminate(account, region, alive)
        gone = [each for each, state in present.items() if state not in ALIVE]
        unseen = [each for each in started if each not in present and self._old(started[each])]
        if unseen:
            LOG.warning("%s in %s/%s: EC2 has none with this cluster's tag", ", ".join(unseen), account, region)
        with self._journal.transaction():
            self._journal.gone([*gone, *unseen])
            self._journal.count("terminated", f"{account}|{region}", len(alive))
        if alive:
            LOG.info("terminated %d in %s/%s", len(alive), account, region)

    def _old(self, started: float) -> bool:
        return self._journal.clock() - started > _UNSEEN
