# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm, by scontrol and squeue."""

from __future__ import annotations

import dataclasses
import os
import re
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence

from hpcops_elastic.config import Config
from hpcops_elastic.errors import SlurmError
from hpcops_elastic.hosts import fold

OURS = "elastic: "
"""What the reasons of our own drains begin with; those of people are left alone."""
NONE_OF = f"{OURS}none of "
"""What the reasons of drains of whole groups begin with."""
TIMED_OUT = "ResumeTimeout reached"
"""Slurm's reason."""
NOWHERE = "192.0.2.1"
"""An address that nobody has (RFC 5737)."""
_ARGUMENT = 100_000  # Linux takes no argument of more than 128 KiB
_TIMEOUT = 30
# Of the lines of scontrol show nodes, with all that may stand after a reason: Comment and Extra are free text, too. Who gave the
# reason and when stands after its first line, and always since Slurm notes that.
_NODE = re.compile(r"^NodeName=(\S+) .*? State=(\S+) ", re.ASCII)
_ADDRESS = re.compile(r" NodeAddr=(\S+)")
_AFTER = re.compile(r" (?:Comment|Extra|InstanceId|InstanceType|ReservationName)=")
_REASON = re.compile(r" Reason=(.*?)(?: \[[^\s@]+@[^\s\]]+\]|$)")
_PING = re.compile(r"^Slurmctld\(\S+\) at (\S+) is (UP|DOWN)")


@dataclasses.dataclass(frozen=True)
class Node:
    """A node as slurmctld sees it."""

    name: str
    states: frozenset[str]
    reason: str = ""
    address: str = ""

    @property
    def off(self) -> bool:
        """Whether Slurm wants no instance for it, or soon none."""
        return bool(self.states & {"POWERED_DOWN", "POWERING_DOWN"}) and not self.states & {"POWERING_UP"}

    @property
    def starting(self) -> bool:
        return "POWERING_UP" in self.states

    @property
    def unheard(self) -> bool:
        """Whether Slurm has only its name for an address: it has not registered since it was powered up."""
        return self.address == self.name

    @property
    def joined(self) -> bool:
        """Whether its slurmd has registered."""
        return not self.states & {"POWERED_DOWN", "POWERING_DOWN", "POWERING_UP", "UNKNOWN", "DOWN", "FUTURE"}

    @property
    def leaving(self) -> bool:
        return bool(self.states & {"POWER_DOWN", "POWERING_DOWN", "POWERED_DOWN"})

    @property
    def drained(self) -> bool:
        return "DRAIN" in self.states

    @property
    def finished(self) -> bool:
        """Whether it is off and down, by slurmctld's or this program's doing; what a person has set down stays so."""
        ended = {"POWERED_DOWN", "DOWN"} <= self.states and not self.states & {"POWERING_UP", "DRAIN"}
        return ended and self.reason.startswith((OURS, TIMED_OUT))

    @property
    def kept(self) -> bool:
        """Whether this program has drained it, with its group."""
        return self.drained and self.reason.startswith(NONE_OF)


class Slurm:
    """Asks and tells slurmctld."""

    def __init__(self, config: Config) -> None:
        self._nodes = config.all_nodes
        self._controller = config.controller or socket.gethostname().partition(".")[0]
        # Slurm starts its programs with nearly no environment of their own.
        self._environment = {**os.environ, "PATH": config.path, "LC_ALL": "C.UTF-8"}
        if config.slurm_conf:
            self._environment["SLURM_CONF"] = config.slurm_conf

    def _run(self, *argv: str, check: bool = True) -> str:
        try:
            done = subprocess.run(
                argv,
                env=self._environment,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT,
                check=False,
            )
        except FileNotFoundError as error:
            raise SlurmError(f"{argv[0]} is not in {self._environment['PATH']}") from error
        except subprocess.TimeoutExpired as error:
            raise SlurmError(f"{' '.join(argv[:2])} got no answer within {_TIMEOUT} s") from error
        if check and done.returncode != 0:
            said = " ".join((done.stderr or done.stdout).split())
            raise SlurmError(f"{' '.join(argv[:3])[:200]} failed: {said[:300]}")
        return done.stdout

    def active(self) -> bool:
        """Whether the controller of this host is in charge: the first that answers is."""
        # Some releases end with an error where one of several controllers does not answer, and tell all the same.
        lines = self._run("scontrol", "ping", check=False).splitlines()
        for line in lines:
            found = _PING.match(line)
            if found and found[2] == "UP":
                return found[1].partition(".")[0] == self._controller
        raise SlurmError("no slurmctld answers (scontrol ping)")

    def nodes(self) -> dict[str, Node]:
        """All nodes of the configuration that slurmctld has."""
        nodes = {}
        for line in self._run("scontrol", "--all", "--oneliner", "show", "nodes", self._nodes).splitlines():
            found = _NODE.match(line)
            if found:
                address = _ADDRESS.search(line)
                reason = _REASON.search(_AFTER.split(line, maxsplit=1)[0])
                states = frozenset(word.rstrip("*~#%!$@^-") for word in found[2].split("+"))
                nodes[found[1]] = Node(
                    found[1], states, reason[1] if reason else "", address[1] if address else found[1]
                )
        if not nodes:
            raise SlurmError(f"scontrol show nodes {self._nodes[:80]} tells of no node")
        return nodes

    def update(self, nodes: Iterable[str], state: str, reason: str = "") -> None:
        """Set the state of many nodes in as few requests as a command line allows."""
        extra = [f"reason={reason}"] if reason else []
        for names in _batches(nodes):
            self._run("scontrol", "update", f"nodename={fold(names)}", f"state={state}", *extra)

    def forget_names(self, nodes: Iterable[str]) -> None:
        """Give nodes the address of nobody until they are powered down.

        When a job is queued again, and when slurmctld pings nodes that are down, it looks for the addresses of those that never
        registered. Where DNS knows no such names it asks ten times, a second apart, and nobody else gets an answer from it meanwhile. That
        time is all that it costs if Slurm refuses.
        """
        for names in _batches(nodes, len(NOWHERE)):
            addresses = ",".join([NOWHERE] * len(names))  # it takes as many as there are nodes
            self._run("scontrol", "update", f"nodename={fold(names)}", f"nodeaddr={addresses}", check=False)

    def explain(self, jobs: Iterable[str], text: str) -> None:
        """Write beside jobs why they wait; squeue --Format=admin_comment shows it. One that has ended hinders no other."""
        for some in _batches(jobs):
            self._run("scontrol", "update", f"jobid={','.join(some)}", f"admincomment={text}")

    def jobs(self, jobs: Iterable[str]) -> Mapping[str, tuple[str, str]]:
        """Account and user of jobs that are there yet."""
        wanted = [job for job in jobs if job.isdigit()]
        if not wanted:
            return {}
        out = self._run("squeue", "--noheader", "--states=all", "--format=%A|%a|%u")
        found = dict[str, tuple[str, str]]()
        for line in out.splitlines():
            job, _bar, rest = line.partition("|")
            account, _bar, user = rest.partition("|")
            found[job.strip()] = ("" if account == "(null)" else account, user)
        return {job: found[job] for job in wanted if job in found}


def _batches(names: Iterable[str], least: int = 0) -> Iterable[Sequence[str]]:
    """Lists that fit on a command line, however badly they fold, and so do as many words of the least length."""
    batch: list[str] = []
    size = 0
    for name in names:
        width = max(len(name), least) + 1
        if size + width > _ARGUMENT:
            yield batch
            batch, size = [], 0
        batch.append(name)
        size += width
    if batch:
        yield batch
