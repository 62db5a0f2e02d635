# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances that are to end do: in batches, with this cluster's tag only, until EC2 says so."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from hpcops_elastic.aws import ALIVE, Cloud, RefusedError
from hpcops_elastic.config import Config
from hpcops_elastic.journal import Journal
from hpcops_elastic.verdicts import Kind

LOG = logging.getLogger(__name__)
_BATCH = 1000
_UNSEEN = 600.0  # EC2 does not know an instance that it has just launched, but not for so long
_AGAIN, _AFTER_REFUSAL = 5.0, 30.0
_PARALLEL = 8


@dataclasses.dataclass
class Ended:
    """What has come of it, in a region."""

    looked: set[str] = dataclasses.field(default_factory=set)
    states: dict[str, str] = dataclasses.field(default_factory=dict)
    terminated: int = 0
    refused: list[RefusedError] = dataclasses.field(default_factory=list)


class Terminator:
    """Acts on what the journal has as ending. A region that does not answer keeps no other waiting, nor launches."""

    def __init__(self, config: Config, journal: Journal, cloud: Cloud) -> None:
        self._config = config
        self._journal = journal
        self._cloud = cloud
        self._next: dict[tuple[str, str], float] = {}
        self._pool = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="terminate")
        self._under_way: dict[tuple[str, str], Future[Ended]] = {}

    def close(self) -> None:
        """Wait for the answers that are under way."""
        self._pool.shutdown(wait=True)
        self._collect()

    @property
    def busy(self) -> bool:
        return bool(self._under_way)

    def step(self) -> None:
        """Do what can be done now."""
        self._collect()
        by_region: dict[tuple[str, str], list[str]] = {}
        for row in self._journal.rows("SELECT id, account, region FROM instances WHERE state = 'ending'"):
            by_region.setdefault((row["account"], row["region"]), []).append(row["id"])
        now = self._journal.clock()
        for where, ids in by_region.items():
            if where not in self._under_way and self._next.get(where, 0.0) <= now:
                self._next[where] = now + _AGAIN
                self._under_way[where] = self._pool.submit(self._end, *where, ids)

    def _collect(self) -> None:
        for (account, region), future in list(self._under_way.items()):
            if not future.done():
                continue
            del self._under_way[account, region]
            ended = future.result()
            for refused in ended.refused:
                LOG.warning("instances that are to end: %s", refused)
                self._next[account, region] = self._journal.clock() + _AFTER_REFUSAL
            gone = [each for each, state in ended.states.items() if state not in ALIVE]
            unseen = self._unseen(ended.looked - ended.states.keys())
            if unseen:
                LOG.warning("%s in %s/%s: EC2 has none with this cluster's tag", ", ".join(unseen), account, region)
            with self._journal.transaction():
                self._journal.gone([*gone, *unseen])
                if ended.terminated:
                    self._journal.count("terminated", f"{account}|{region}", ended.terminated)
            if ended.terminated:
                LOG.info("terminated %d in %s/%s", ended.terminated, account, region)

    def _unseen(self, ids: set[str]) -> list[str]:
        before = self._journal.clock() - _UNSEEN
        rows = self._journal.rows("SELECT id FROM instances WHERE state = 'ending' AND started < ?", before)
        return [row["id"] for row in rows if row["id"] in ids]

    # --- In a thread of its own, which knows no journal --------------------------------------------------------------

    def _end(self, account: str, region: str, ids: Sequence[str]) -> Ended:
        """Ask which of them are this cluster's and there, and terminate these."""
        ended = Ended()
        for start in range(0, len(ids), _BATCH):
            some = ids[start : start + _BATCH]
            try:
                present = {each.id: each.state for each in self._cloud.instances(account, region, some)}
            except RefusedError as refused:
                ended.refused.append(refused)
                break
            ended.looked.update(some)
            ended.states |= present
            alive = [each for each, state in present.items() if state in ALIVE]
            if alive:
                states = self._terminate(account, region, alive, ended.refused)
                ended.states |= states
                ended.terminated += len(states)
        return ended

    def _terminate(
        self, account: str, region: str, ids: Sequence[str], refusals: list[RefusedError]
    ) -> Mapping[str, str]:
        """One that cannot be terminated, by its protection, keeps no other: halves are tried until it is alone."""
        try:
            return self._cloud.terminate(account, region, ids)
        except RefusedError as refused:
            if refused.verdict.kind not in (Kind.UNKNOWN, Kind.WRONG) or len(ids) == 1:
                refusals.append(refused)
                return {}
        half = len(ids) // 2
        first = self._terminate(account, region, ids[:half], refusals)
        return {**first, **self._terminate(account, region, ids[half:], refusals)}
