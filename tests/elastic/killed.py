"""The program's parts, each in a process of its own that may be killed at any moment."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpcops_elastic import asking, aws
from hpcops_elastic.aws import Cloud
from hpcops_elastic.config import Config
from hpcops_elastic.errors import ElasticError
from hpcops_elastic.hosts import fold
from hpcops_elastic.journal import ALIVE, Journal
from hpcops_elastic.reconciling import Reconciler
from hpcops_elastic.service import Service
from model_of_slurm import ModelOfSlurm

# Once for all processes, which are forked from the one that has imported this.
for service in ("ec2", "sts"):
    aws._LOADER.load_service_model(service, "service-2")


class Ahead:
    """A clock that is ahead."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return time.time() + self.seconds


def act(what: str, given: dict[str, Any], slurm_path: Path, ahead: float, nodes: Sequence[str]) -> None:
    """Do one thing to its end, or to the caller's kill."""
    logging.disable(logging.CRITICAL)
    config = Config(**given)
    journal = Journal(config.journal, Ahead(ahead))
    slurm: Any = ModelOfSlurm(slurm_path)
    try:
        if what == "resume":
            journal.note(ALIVE, journal.clock())
            asking.resume(config, journal, fold(nodes), {"jobs": [{"job_id": 7, "nodes_resume": fold(nodes)}]})
        elif what == "suspend":
            asking.suspend(config, journal, fold(nodes))
        elif what == "reconcile":
            Reconciler(config, journal, Cloud(config), slurm).step()
        else:
            service = Service(config, journal, Cloud(config), slurm)
            while True:
                service.step()
                time.sleep(0.005)
    except ElasticError:
        pass
