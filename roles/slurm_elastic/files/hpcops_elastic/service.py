# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service: the one process that makes EC2 and Slurm as the journal says."""

from __future__ import annotations

import logging
import signal
import threading

from hpcops_elastic.aws import Cloud, RefusedError
from hpcops_elastic.config import Config
from hpcops_elastic.failing import Failer
from hpcops_elastic.journal import ALIVE, Journal
from hpcops_elastic.launching import Launcher
from hpcops_elastic.reconciling import Reconciler
from hpcops_elastic.slurm import Slurm
from hpcops_elastic.terminating import Terminator

LOG = logging.getLogger(__name__)
_BEAT = 5.0
_SOON, _IDLE = 0.1, 1.0
_STRAYS = 10.0


class Service:
    """Runs until it is told to stop."""

    def __init__(self, config: Config, journal: Journal, cloud: Cloud, slurm: Slurm) -> None:
        self._journal = journal
        self._launcher = Launcher(config, journal, cloud)
        self._terminator = Terminator(config, journal, cloud)
        self._failer = Failer(config, journal, slurm)
        self._reconciler = Reconciler(config, journal, cloud, slurm)
        self._stop = threading.Event()
        self._beaten = self._looked = 0.0

    def run(self) -> None:
        """Work, and look into the journal for more."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        LOG.info("at work on %s", self._journal.path)
        while not self._stop.is_set():
            version = self._journal.version
            self.step()
            for _wait in range(int(_IDLE / _SOON)):
                if (
                    self._launcher.busy
                    or self._terminator.busy
                    or self._journal.version != version
                    or self._stop.wait(_SOON)
                ):
                    break
            self._stop.wait(_SOON / 2)
        self._launcher.close()
        self._terminator.close()
        LOG.info("stopped")

    def step(self) -> None:
        """Everything that can be done now."""
        for part in (self._launcher, self._failer, self._terminator):
            self._beat()
            part.step()
        now = self._journal.clock()
        if self._journal.strays() and now - self._looked > _STRAYS:
            self._looked = now
            try:
                self._reconciler.take_over(self._reconciler.sight(), now)
            except RefusedError as error:
                LOG.warning("instances that this controller has not launched: %s", error)

    def _beat(self) -> None:
        now = self._journal.clock()
        if now - self._beaten > _BEAT:
            self._journal.note(ALIVE, now)
            self._beaten = now
