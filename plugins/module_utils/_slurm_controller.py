# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The slurmctld of a host, as systemd, scontrol, sinfo and squeue show it and move it."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import ControllerError
from ansible_collections.hpcops.cluster.plugins.module_utils._hostlist import expand

POLL_SECONDS = 0.3
LOG_LINES = 20
SYSTEMD_LINES = 3  # a service that dies again and again would fill more with these
SHOWN_NODES = 20
# States in which a node runs jobs or could. Of the marks after the word, "*" is that of one that does not answer.
USABLE = re.compile(r"(idle|mixed|allocated|completing|reserved|planned|blocked)[+\-$@]*\Z")
# What such a node may become by itself within a minute: asleep or waking, in maintenance, rebooted because someone asked.
STILL_FINE = re.compile(r"(idle|mixed|allocated|completing|reserved|planned|blocked|maint|reboot)[+\-$@~#!%^]*\Z")
_UP = re.compile(r"^Slurmctld\(\w+\) at (\S+) is UP", re.MULTILINE | re.IGNORECASE)
_SHOWN = re.compile(r"^(\w+)\s*= (.*?)\s*$", re.MULTILINE)
_BOOLEANS = {**dict.fromkeys(("yes", "up", "true"), "1"), **dict.fromkeys(("no", "down", "false"), "0")}

Run = Callable[..., "tuple[int, str, str]"]  # AnsibleModule.run_command


@dataclass(frozen=True)
class Job:
    """A job as squeue shows it; its nodes are a host list."""

    number: str
    user: str
    state: str
    partition: str
    nodes: str

    def __str__(self) -> str:
        where = f" on {self.nodes}" if self.nodes else ""
        return f"job {self.number} of {self.user} ({self.state.lower()} in {self.partition}{where})"


class Controller:
    """The slurmctld of this host."""

    def __init__(self, run: Run, service: str, probe: Sequence[str], timeout: float) -> None:
        self._run = run
        self._service = service
        self._probe = list(probe)
        self._timeout = timeout

    def running(self) -> bool:
        return self._run(["systemctl", "is-active", "--quiet", self._service])[0] == 0

    def in_charge(self) -> bool:
        """Tell whether the cluster is controlled from here: this host is the first controller that answers."""
        answering = _UP.findall(self._run(["scontrol", "ping"])[1])
        return bool(answering) and answering[0].partition(".")[0] == socket.gethostname().partition(".")[0]

    # --- Asking ---

    def ask(self, command: Sequence[str]) -> str:
        """Return what a command prints; raises ControllerError when it fails."""
        code, out, err = self._run(list(command))
        if code != 0:
            raise ControllerError(f"{' '.join(command)}: {(err or out).strip()}")
        return out

    def jobs(self, nodes: str = "", partition: str = "") -> list[str]:
        """Return the jobs on some nodes, in a partition (those that wait for it too), or that run anywhere."""
        if partition:
            return [str(job) for job in self._jobs("%N", f"--partition={partition}")]
        running = ["--states=RUNNING,SUSPENDED,COMPLETING,CONFIGURING,STOPPED"]
        return [str(job) for job in self._jobs("%N", *running, *([f"--nodelist={nodes}"] if nodes else []))]

    def waiting_jobs(self, nodes: str) -> list[str]:
        """Return the jobs that wait for some of the nodes by name: slurmctld ends them when these are not there any more."""
        wanted = set(expand(nodes))
        return [str(job) for job in self._jobs("%n", "--states=PENDING") if not wanted.isdisjoint(expand(job.nodes))]

    def _jobs(self, nodes: str, *options: str) -> list[Job]:
        lines = self.ask(["squeue", "--noheader", "--all", f"--format=%i|%u|%T|%P|{nodes}", *options]).splitlines()
        return [Job(*line.strip().split("|")) for line in lines]

    def usable_nodes(self, states: re.Pattern[str] = USABLE) -> set[str]:
        """Return the nodes that run jobs or could, of those that are in a partition."""
        lines = self.ask(["sinfo", "--noheader", "--all", "--Node", "--format=%N|%T"]).splitlines()
        return {node for node, _bar, state in (line.strip().partition("|") for line in lines) if states.match(state)}

    def shown(self) -> dict[str, str]:
        """Return the parameters that slurmctld runs with, by lower-case name, as it shows them."""
        return {name.lower(): value for name, value in _SHOWN.findall(self.ask(["scontrol", "show", "config"]))}

    def last_words(self, log_file: str = "") -> str:
        """Return slurmctld's own last lines, systemd's about it, and those of the log file, if there is one."""
        journal = ["journalctl", "--no-pager", "--output=short-iso", "--quiet"]
        own = self._run([*journal, f"--lines={LOG_LINES}", f"_SYSTEMD_UNIT={self._service}"])[1].strip()
        about = [
            f"--lines={SYSTEMD_LINES}",
            "--grep=process exited|failed with|skipped",
            f"UNIT={self._service}",
            "_PID=1",
        ]
        systemd = self._run([*journal, *about])[1].strip()
        text = f"{own}\n{systemd}".strip()
        if log_file:
            text += f"\n{log_file}:\n" + self._run(["tail", f"--lines={LOG_LINES}", log_file])[1].strip()
        return text

    # --- Moving ---

    def take_over(self, action: str) -> str:
        """Make slurmctld read its files; return what went wrong, or an empty text when it answers afterwards."""
        if action == "none":
            return ""
        if action == "reconfigure":
            return self._do(["scontrol", "reconfigure"]) or self._wait()
        problem = self._do(["systemctl", "restart", self._service]) or self._wait()
        if not problem and self.in_charge():
            # A started slurmctld leaves the nodes with the configuration they fetched from the former one.
            problem = self._do(["scontrol", "reconfigure"]) or self._wait()
        return problem

    def _do(self, command: list[str]) -> str:
        code, out, err = self._run(command)
        return "" if code == 0 else f"{' '.join(command)} failed: {(err or out).strip()}"

    def _wait(self) -> str:
        def look() -> str:
            code, out, err = self._run(self._probe)
            return "" if code == 0 and self.running() else f"slurmctld does not answer: {(err or out).strip()}"

        return self.until_fine(look)

    def until_fine(self, look: Callable[[], str]) -> str:
        """Look until nothing is wrong; return what is wrong when the time is over."""
        deadline = time.monotonic() + self._timeout
        while True:
            problem = look()
            if not problem:
                return ""
            if time.monotonic() >= deadline:
                return f"{problem} (after {self._timeout:g} s)"
            time.sleep(POLL_SECONDS)

    def verify(
        self, nodes: Iterable[str], shown: Mapping[str, str], values: Mapping[str, tuple[str | None, str | None]]
    ) -> str:
        """Return what does not run as it should, or an empty text.

        The nodes have to be usable. Of the changed values (before and after) none that slurmctld showed as the file had it
        may be shown still. The new ones are not looked for, since slurmctld shows many in words of its own.
        """
        comparable = {
            name: (before, after)
            for name, (before, after) in values.items()
            if before is not None and after is not None and _is_shown(shown, name, before) and not _same(before, after)
        }

        def look() -> str:
            try:
                now = self.shown()
                lost = set(nodes) - self.usable_nodes(STILL_FINE)
            except ControllerError as error:
                return str(error)
            if now.get("hash_val", "Match") != "Match":
                return f"slurmctld runs with another slurm.conf (HASH_VAL = {now['hash_val']})"
            for name, (before, after) in comparable.items():
                if _is_shown(now, name, before):
                    return f"slurmctld still runs with {name}={before}, not with {after}"
            return f"nodes that were usable are not any more: {_some(sorted(lost))}" if lost else ""

        return self.until_fine(look)


def _is_shown(shown: Mapping[str, str], name: str, value: str) -> bool:
    """Tell whether a parameter is shown with a value, but for the unit of a time."""
    return name.lower() in shown and _same(re.sub(r" (sec|min)$", "", shown[name.lower()]), value)


def _same(one: str, other: str) -> bool:
    """Tell whether two values say the same: case does not count, nor the order of a list, nor the word for yes or no."""
    return _words(one) == _words(other)


def _words(value: str) -> set[str]:
    return {_BOOLEANS.get(word, word) for word in value.lower().split(",")}


def _some(names: Sequence[str]) -> str:
    left = f" and {len(names) - SHOWN_NODES} others" if len(names) > SHOWN_NODES else ""
    return ", ".join(names[:SHOWN_NODES]) + left
