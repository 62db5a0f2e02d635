# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""States of nodes as scontrol prints them, whose drain is whose, and what leads to a wanted state."""

from __future__ import annotations

import calendar
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import SlurmNodeError
from ansible_collections.hpcops.cluster.plugins.module_utils._hostlist import expand

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

# What sinfo, and older releases also scontrol, append to a state instead of a flag's name.
_SUFFIXES = {
    "*": "NOT_RESPONDING",
    "~": "POWERED_DOWN",
    "#": "POWERING_UP",
    "%": "POWERING_DOWN",
    "!": "POWER_DOWN",
    "$": "MAINTENANCE",
    "@": "REBOOT_REQUESTED",
    "^": "REBOOT_ISSUED",
    "-": "PLANNED",
}
_UNUSABLE = frozenset({"DRAIN", "FAIL", "INVALID_REG", "NOT_RESPONDING", "REBOOT_REQUESTED", "REBOOT_ISSUED"})
_POWER_FLAGS = frozenset({"POWERED_DOWN", "POWERING_UP", "POWERING_DOWN", "POWER_DOWN", "POWER_UP"})
_REASON = re.compile(r"\sReason=(.*?) \[(\S+?)@(\d{4}-\d\d-\d\dT[\d:]+|Unknown)\](?=\s|\Z)", re.DOTALL)
# slurmctld writes what it does or finds behind the reason that a node had before, and keeps a reason after the node's return.
_REMARK = " : "
_HARMLESS_REMARKS = ("reboot ", "Not responding", "Node unexpectedly rebooted")
_REBOOT_REMARKS = re.compile(r"(?:(?: : |\A)reboot [a-z ]+)+\Z")
_TICKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/#-]*\Z")
_ARGUMENT_CHARACTERS = 100_000  # Linux takes no argument of more than 128 KiB


@dataclass(frozen=True)
class Node:
    """A node as slurmctld sees it."""

    name: str
    state: str
    partitions: tuple[str, ...] = ()
    boot_time: int | None = None
    reason: str = ""
    reason_user: str = ""
    reason_time: str = ""

    @property
    def tokens(self) -> list[str]:
        """The state's words, the base state first."""
        return [name for word in self.state.split("+") for name in _names(word)]

    @property
    def base(self) -> str:
        return self.tokens[0]

    @property
    def flags(self) -> frozenset[str]:
        return frozenset(self.tokens[1:])

    @property
    def drained(self) -> bool:
        """Whether it is kept from new jobs; jobs that run there may go on."""
        return bool(self.flags & {"DRAIN", "FAIL"})

    @property
    def down(self) -> bool:
        return self.base == "DOWN"

    @property
    def absent(self) -> bool:
        """Whether there is no running host behind it, by intention."""
        return self.base == "FUTURE" or bool(self.flags & _POWER_FLAGS)

    @property
    def rebooting(self) -> bool:
        return bool(self.flags & {"REBOOT_REQUESTED", "REBOOT_ISSUED"})

    @property
    def busy(self) -> bool:
        """Whether a job is left on it."""
        return self.base in ("ALLOCATED", "MIXED") or "COMPLETING" in self.flags

    @property
    def usable(self) -> bool:
        """Whether slurmctld starts jobs there; for a powered-down node it would start the host first."""
        return self.base in ("IDLE", "MIXED", "ALLOCATED") and not self.flags & _UNUSABLE

    @property
    def own_reason(self) -> str:
        """The reason without what slurmctld has written behind it."""
        return _REBOOT_REMARKS.sub("", self.reason)

    def belongs_to(self, ticket: str | None) -> bool:
        """Whether the collection took it out of service, under this ticket, and Slurm has found nothing wrong since."""
        if not self.reason.startswith(f"{_mark(ticket)}: "):
            return False
        remarks = self.reason.split(_REMARK)[1:]
        if not all(remark.startswith(_HARMLESS_REMARKS) for remark in remarks):
            return False
        return self.drained or (self.down and bool(remarks) and remarks[-1].startswith("reboot "))

    def registered_after(self, moment: int) -> bool:
        """Whether it has booted since, and slurmctld has heard from it."""
        registered = self.boot_time is not None and self.boot_time >= moment
        return registered and not self.rebooting and "NOT_RESPONDING" not in self.flags


@dataclass(frozen=True)
class Job:
    """A job that holds nodes."""

    id: str
    user: str
    state: str
    nodes: tuple[str, ...]

    def __str__(self) -> str:
        return f"job {self.id} of {self.user} on {','.join(self.nodes)} ({self.state.lower()})"


@dataclass(frozen=True)
class Request:
    """One request to slurmctld, for any number of nodes: what stands before and behind their names."""

    names: tuple[str, ...]
    before: tuple[str, ...]
    behind: tuple[str, ...] = ()
    prefix: str = ""

    def commands(self) -> Iterator[tuple[list[str], list[str]]]:
        """Yield names, as many at once as one argument holds, with scontrol's arguments for them."""
        for names in chunks(self.names):
            yield names, [*self.before, self.prefix + ",".join(names), *self.behind]


@dataclass
class Plan:
    """What leads to the wanted state."""

    requests: list[Request] = field(default_factory=list)
    left_alone: list[str] = field(default_factory=list)
    awaited: list[str] = field(default_factory=list)

    @property
    def changed(self) -> list[str]:
        return sorted({name for request in self.requests for name in request.names})


# --- What scontrol and squeue print ---


def parse_nodes(text: str) -> dict[str, Node]:
    """The nodes of C(scontrol --oneliner show node), with times in UTC. A reason may contain line breaks."""
    nodes = (_parse_node(record) for record in re.split(r"^(?=NodeName=)", text, flags=re.MULTILINE) if record.strip())
    return {node.name: node for node in nodes if node}


def parse_jobs(text: str) -> list[Job]:
    """The jobs of C(squeue --noheader --format=%i|%u|%T|%N) that hold nodes."""
    jobs = []
    for line in text.splitlines():
        number, user, state, nodes = line.strip().split("|", 3)
        if nodes and state != "PENDING":
            jobs.append(Job(number, user, state, tuple(expand(nodes))))
    return jobs


def jobs_on(jobs: Iterable[Job], names: Iterable[str]) -> list[Job]:
    """Those jobs that hold one of the nodes, each with those of its nodes alone."""
    wanted = set(names)
    found = (Job(job.id, job.user, job.state, tuple(name for name in job.nodes if name in wanted)) for job in jobs)
    return [job for job in found if job.nodes]


def parse_moment(text: str) -> int:
    """Seconds since the epoch of a time in UTC as people write it, and as scontrol prints it when it is told UTC."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d))?)?Z?", text.strip())
    try:
        if not match:
            raise ValueError
        day, minute, second = match.groups()
        return calendar.timegm(time.strptime(f"{day}T{minute or '00:00'}:{second or '00'}", "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        raise SlurmNodeError(f"{text!r} is no time; write it in UTC, such as 2026-01-31T14:05:00Z") from None


def _parse_node(record: str) -> Node | None:
    fields: dict[str, str] = {}
    for key, value in re.findall(r"(?:\A|\s)(NodeName|State|Partitions|BootTime)=(\S*)", record):
        fields.setdefault(key, value)  # a comment or reason behind them may look like one
    if "NodeName" not in fields or "State" not in fields:
        return None
    boot = fields.get("BootTime", "")
    reason = _REASON.search(record)
    return Node(
        name=fields["NodeName"],
        state=fields["State"],
        partitions=tuple(fields.get("Partitions", "").split(",")) if fields.get("Partitions") else (),
        boot_time=parse_moment(boot) if boot[:1].isdigit() else None,
        reason=reason[1] if reason else "",
        reason_user=reason[2] if reason else "",
        reason_time=reason[3] if reason else "",
    )


def _names(word: str) -> Iterator[str]:
    """The flags of one word of a state, such as C(IDLE*)."""
    suffixes = []
    while word and word[-1] in _SUFFIXES:
        suffixes.append(_SUFFIXES[word[-1]])
        word = word[:-1]
    yield word.upper()
    yield from suffixes


# --- Whose drain it is ---


def stored_reason(reason: str, ticket: str | None) -> str:
    """What slurmctld is given as reason, which shows later that the collection made the drain, and under which ticket."""
    if ticket is not None and not _TICKET.match(ticket):
        raise SlurmNodeError(
            f"ticket: {ticket!r} cannot be part of a reason. Use letters, digits and the characters . _ : / # -"
        )
    if not reason.strip() or re.search(r"[\x00-\x1f\x7f]", reason):
        raise SlurmNodeError("reason: it must be one line that says why, without control characters")
    return f"{_mark(ticket)}: {reason.strip().replace(_REMARK, ': ')}"


def _mark(ticket: str | None) -> str:
    return f"hpcops[{ticket}]" if ticket else "hpcops"


# --- What is to do ---


def select(wanted: Iterable[str], known: Mapping[str, Node]) -> dict[str, Node]:
    """The nodes of the names and host lists, each once."""
    # One list, since Ansible cuts a text at its commas, those within brackets too.
    names = dict.fromkeys(expand(",".join(wanted)))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SlurmNodeError(f"nodes: slurmctld knows no node {', '.join(unknown)}")
    if not names:
        raise SlurmNodeError("nodes: the list is empty")
    return {name: known[name] for name in names}


def plan(state: str, nodes: Mapping[str, Node], ticket: str | None, reason: str, next_state: str = "none") -> Plan:
    """What leads from the nodes' states to the wanted one. The reason is the one that slurmctld is given."""
    if state == "drained":
        return _plan_drained(nodes, ticket, reason)
    if state == "rebooted":
        return _plan_rebooted(nodes, ticket, reason, next_state)
    return _plan_returned(state, nodes, ticket)


def _plan_drained(nodes: Mapping[str, Node], ticket: str | None, reason: str) -> Plan:
    result, todo = Plan(), []
    for node in nodes.values():
        ours = node.belongs_to(ticket)
        if node.base == "FUTURE" or ((node.drained or node.down) and not ours):
            result.left_alone.append(node.name)
        elif not node.drained:
            todo.append(node.name)
        result.awaited.append(node.name)
    _request(result, todo, ("update",), ("State=DRAIN", f"Reason={reason}"), prefix="NodeName=")
    return result


def _plan_returned(state: str, nodes: Mapping[str, Node], ticket: str | None) -> Plan:
    """The way of both V(undrained) and V(resumed)."""
    result = Plan()
    down, other = [], []  # type: tuple[list[str], list[str]]
    for node in nodes.values():
        concerned = node.drained or (node.down and state == "resumed")
        stays_down = node.down and state == "undrained"
        if node.base == "FUTURE" or (concerned and not node.belongs_to(ticket)):
            result.left_alone.append(node.name)
            continue
        if concerned:
            (down if stays_down else other).append(node.name)
        if not stays_down:
            result.awaited.append(node.name)
    # Slurm keeps the reason of a node in service, and adds to it when the node is lost: it must not look like ours then.
    verb = "State=RESUME" if state == "resumed" else "State=UNDRAIN"
    _request(result, other, ("update",), (verb, f"Reason=returned to service by {_mark(ticket)}"), prefix="NodeName=")
    _request(result, down, ("update",), (verb,), prefix="NodeName=")
    return result


def _plan_rebooted(nodes: Mapping[str, Node], ticket: str | None, reason: str, next_state: str) -> Plan:
    result = Plan()
    fresh, ours, others = [], [], []  # type: tuple[list[str], list[str], list[str]]
    for node in nodes.values():
        if node.absent or (node.down and not node.drained and not node.belongs_to(ticket)):
            result.left_alone.append(node.name)
            continue
        result.awaited.append(node.name)
        if node.rebooting:
            continue
        if node.belongs_to(ticket):
            ours.append(node.name)
        elif node.drained:
            others.append(node.name)
        else:
            fresh.append(node.name)
    following = () if next_state == "none" else (f"NextState={next_state.upper()}",)
    # Without "ASAP" jobs could start before the reboot. A node that is drained needs none; it would lose its drain.
    _request(result, fresh, ("reboot", "ASAP", *following, f"Reason={reason}"))
    _request(result, ours, ("reboot", *following))
    _request(result, others, ("reboot",))
    return result


def _request(
    result: Plan, names: Sequence[str], before: tuple[str, ...], behind: tuple[str, ...] = (), prefix: str = ""
) -> None:
    if names:
        result.requests.append(Request(tuple(names), before, behind, prefix))


def expected(state: str, node: Node, ticket: str | None, next_state: str) -> str:
    """What a changed node's state will be, as far as it can be told."""
    if state == "drained":
        return f"{node.state}+DRAIN"
    if state == "undrained":
        return "+".join(word for word in node.state.split("+") if word != "DRAIN")
    if state == "resumed":
        return "IDLE"
    after = (
        "" if node.drained and not node.belongs_to(ticket) else {"resume": "IDLE", "down": "DOWN"}.get(next_state, "")
    )
    return f"{after or node.state}, rebooted"


def arrived(state: str, node: Node, asked: int, next_state: str, *, leave_drained: bool) -> bool:
    """Whether a node is where it shall be."""
    if state == "drained":
        return not node.busy
    if state in ("undrained", "resumed"):
        return node.usable
    if not node.registered_after(asked):
        return False
    if leave_drained or next_state == "none":
        return True
    return node.down if next_state == "down" else node.usable


def chunks(names: Sequence[str], limit: int = _ARGUMENT_CHARACTERS) -> Iterator[list[str]]:
    """Cut names into lists that each fit into one argument."""
    chunk: list[str] = []
    length = 0
    for name in names:
        if chunk and length + len(name) + 1 > limit:
            yield chunk
            chunk, length = [], 0
        chunk.append(name)
        length += len(name) + 1
    if chunk:
        yield chunk
