# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances that nobody wants any longer end: in batches, only with this cluster's tag, until EC2 says that they do."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from .cloud import LIVE, Cloud, Instance, ids_by_place
from .config import Config
from .failures import Refused
from .journal import Journal, Leaving
from .names import node_of

LOG = logging.getLogger("hpcops_elastic.terminating")
_BATCH = 1000


class Terminator:
    """Acts on what the journal has as leaving."""

    def __init__(self, config: Config, journal: Journal, cloud: Cloud) -> None:
        self._config = config
        self._journal = journal
        self._cloud = cloud

    def step(self) -> None:
        """Do what can be done now."""
        self._find_strays()
        for (account, region), those in ids_by_place(self._journal.leaving()).items():
            for start in range(0, len(those), _BATCH):
                try:
                    self._end(account, region, those[start : start + _BATCH])
                except Refused as refused:
                    LOG.warning("terminating in %s/%s: %s", account, region, refused.failure.reason)

    def _end(self, account: str, region: str, leaving: Sequence[Leaving]) -> None:
        """Ask which of them are this cluster's, and terminate these."""
        described = {each.id: each for each in self._cloud.instances(account, region, [one.instance for one in leaving])}
        live = [one.instance for one in leaving if one.instance in described and described[one.instance].state in LIVE]
        gone = [one.instance for one in leaving if one.instance in described and one.instance not in live]
        now = self._journal.clock()
        for one in leaving:
            if one.instance not in described and now - one.since > self._config.orphan_seconds:
                # EC2 may not know an instance yet that it has just launched, but not for so long.
                LOG.warning("%s of %s is not there, or has not this cluster's tag", one.instance, one.node)
                gone.append(one.instance)
        self._journal.ended(gone)
        if not live:
            return
        states = self._cloud.terminate(account, region, live)
        ended = [instance for instance, state in states.items() if state in ("shutting-down", "terminated")]
        self._journal.count("terminated", f"{account}|{region}", len(ended))
        self._journal.ended(ended)
        for instance in sorted(set(live) - set(ended)):
            LOG.warning("%s in %s/%s does not end: %s", instance, account, region, states.get(instance, "no answer"))
        LOG.info("terminated %d in %s/%s", len(ended), account, region)

    def _find_strays(self) -> None:
        """Look for instances of nodes that another controller launched, by their tags."""
        names = set(self._journal.strays())
        if not names:
            return
        found: list[tuple[Instance, str]] = []
        try:
            for account, region in self._config.regions:
                for each in self._cloud.instances(account, region):
                    node = node_of(self._journal, each)
                    if node in names:
                        found.append((each, node))
        except Refused as refused:
            LOG.warning("looking for %d nodes' instances: %s", len(names), refused.failure.reason)
            return
        mine = {node.instance for node in self._journal.nodes()}
        with self._journal.transaction():
            for each, node in found:
                if each.id not in mine:
                    self._journal.terminate(each.id, each.account, each.region, node, "suspended")
            self._journal.found(names)
