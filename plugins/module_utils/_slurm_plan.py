# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between two sets of Slurm configuration files, and what each difference takes to become active."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError
from ansible_collections.hpcops.cluster.plugins.module_utils._hostlist import expand, fold, fold_ordered
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_files import (
    ALIGNED,
    REPEATED,
    Attributes,
    Configuration,
    Entry,
    read,
)
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_parameters import schema, short_release
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_set import Files, checksum, digest

FORMAT = 1
# What a change takes, from the least to the most disruptive.
EFFECTS = ("none", "reconfigure", "restart_slurmctld", "restart_slurmd")
ALL = "ALL"
# Since 23.11 a reconfiguration starts new processes from the new files, in place of re-reading some of them.
_SELF_RESTARTING = "23.11"


@dataclass(frozen=True)
class Effect:
    """What a change takes: the action, whose slurmd must restart, and the jobs that would not survive it."""

    action: str = "reconfigure"
    slurmd: str = ""  # host list, or ALL
    jobs: str = ""  # "any", "nodes" (those of the change) or "partition" (those in it): must not be there


@dataclass(frozen=True)
class Change:
    """One difference: a parameter, the same difference of some nodes, a partition, a line or a file."""

    file: str
    kind: str
    name: str
    before: str | None
    after: str | None
    action: str
    slurmd: str
    jobs: str

    @property
    def text(self) -> str:
        """The change as a line for people."""
        what = {"parameter": self.name, "file": "the file"}.get(self.kind, f"{self.kind} {self.name}")
        if self.before is None:
            change = f"added{': ' + self.after if self.after and self.kind != 'file' else ''}"
        elif self.after is None:
            change = f"removed{' (was ' + self.before + ')' if self.kind == 'parameter' else ''}"
        elif self.kind == "file":
            change = "changed"
        else:
            change = f"{self.before or '(nothing)'} -> {self.after or '(nothing)'}"
        needs = [self.action.replace("_", " ") + (f" on {self.slurmd}" if self.slurmd else "")]
        if self.jobs:
            where = {"any": "", "nodes": f" on {self.name}", "partition": f" in {self.name}"}[self.jobs]
            needs.append(f"refused while there are jobs{where}")
        return f"{self.file}: {what}: {change} [{'; '.join(needs)}]"


# --- What each kind of change takes ----------------------------------------------------------------------------------
# From the notes on restarts and running jobs in slurm.conf(5) and scontrol(1) of 22.05, 24.11 and 26.05; the scenario
# "change" holds a sample of each class against the daemons.

_RESTART = Effect("restart_slurmctld")
_ALL_RESTART = Effect("restart_slurmd", slurmd=ALL)
_ALL_RESTART_IDLE = Effect("restart_slurmd", slurmd=ALL, jobs="any")
# By lower-case name: parameters of slurm.conf for which a reconfiguration does not do in any release.
_PARAMETERS: Mapping[str, Effect] = {
    "authtype": _ALL_RESTART_IDLE,
    "tlstype": _ALL_RESTART_IDLE,
    "slurmctldport": _RESTART,
    "slurmdport": _ALL_RESTART,
    "slurmuser": _RESTART,
    "slurmduser": _ALL_RESTART,
    # Another directory knows no jobs.
    "statesavelocation": Effect("restart_slurmctld", jobs="any"),
    "slurmdspooldir": _ALL_RESTART_IDLE,
    # Steps that run keep the plugin they began with.
    "switchtype": Effect(jobs="any"),
    "proctracktype": Effect(jobs="any"),
    "jobacctgathertype": Effect(jobs="any"),
}
_PARAMETERS_OLD: Mapping[str, Effect] = {
    **_PARAMETERS,
    **dict.fromkeys(
        (
            "accountingstorageenforce",
            "accountingstoragetype",
            "authaltparameters",
            "authalttypes",
            "credtype",
            "jobcontainertype",
            "maxjobcount",
            "maxnodecount",
            "powerplugin",
            "prioritytype",
            "schedulertype",
            "selecttypeparameters",
            "slurmctldhost",
            "slurmctldparameters",
            "topologyplugin",
        ),
        _RESTART,
    ),
    **dict.fromkeys(("corespecplugin", "grestypes", "plugindir", "selecttype", "taskplugin"), _ALL_RESTART),
    **dict.fromkeys(("switchtype", "proctracktype", "jobacctgathertype"), _ALL_RESTART_IDLE),
}
# Attributes of a node that do not change what it has.
_NODE_SOFT = frozenset(("features", "weight", "state", "reason", "nodeaddr", "nodehostname", "bcastaddr", "comment"))
# Attributes whose change makes the controller abort the jobs on the node: its shape, and what a GRES is counted by.
_NODE_SHAPE = frozenset(("cpus", "boards", "sockets", "socketsperboard", "corespersocket", "threadspercore", "gres"))
_CGROUP_OLD: Mapping[str, Effect] = {"cgroupplugin": _ALL_RESTART}
_CGROUP: Mapping[str, Effect] = {"cgroupslice": _ALL_RESTART_IDLE}


class Table:
    """What the changes take in one release."""

    def __init__(self, release: str) -> None:
        self.old = short_release(release) < _SELF_RESTARTING
        self._schema = schema("slurm.conf", release)
        self._parameters = _PARAMETERS_OLD if self.old else _PARAMETERS
        self._cgroup = _CGROUP_OLD if self.old else _CGROUP

    def parameter(self, name: str) -> Effect:
        return self._parameters.get(name, Effect())

    def cgroup(self, name: str) -> Effect:
        return self._cgroup.get(name, Effect())

    def nodes(self, names: str, before: Attributes | None, after: Attributes | None) -> Effect:
        """Return what it takes that these nodes come, go, or change in the given attributes."""
        if before is None or after is None:
            jobs = "nodes" if after is None else ""
            changed = None
        else:
            changed = before.keys() | after.keys()
            jobs = "nodes" if not _NODE_SHAPE.isdisjoint(changed) else ""
        if self.old and (changed is None or not changed <= _NODE_SOFT):
            # "All slurmd daemons must know each node in the system to forward messages."
            return Effect("restart_slurmd", slurmd=ALL, jobs=jobs)
        if changed is not None and "port" in changed:
            return Effect("restart_slurmd", slurmd=names, jobs=jobs)
        return Effect(jobs=jobs)

    def partition(self, after: Attributes | None) -> Effect:
        return Effect(jobs="partition" if after is None else "")

    def shown(self, kind: str, attributes: Attributes | None) -> str | None:
        """Return the attributes of a kind of line as it has them."""
        if attributes is None:
            return None
        known = self._schema.lines[kind].parameters
        return " ".join(f"{known[key].name if key in known else key}={value}" for key, value in attributes.items())

    def gres(self, names: str) -> Effect:
        return Effect("restart_slurmd", slurmd=names or ALL) if self.old else Effect()


# --- The plan --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """The differences between what a controller has and what it shall have."""

    before: str  # checksum of the files it has
    after: str  # checksum of the files it shall have
    changes: Sequence[Change] = ()

    @property
    def action(self) -> str:
        """The least disruptive action that brings all changes about."""
        return max((change.action for change in self.changes), key=EFFECTS.index, default="none")

    @property
    def slurmd(self) -> str:
        """Nodes whose slurmd must be restarted afterwards: a host list, ALL or nothing."""
        lists = {change.slurmd for change in self.changes if change.slurmd}
        return ALL if ALL in lists else fold(lists)

    @property
    def text(self) -> str:
        return "".join(f"{change.text}\n" for change in self.changes)

    def as_data(self) -> dict[str, Any]:
        """Return the plan as plain data, as plan files have it."""
        return {
            "format": FORMAT,
            "before": self.before,
            "after": self.after,
            "action": self.action,
            "restart_slurmd": self.slurmd,
            "changes": [asdict(change) for change in self.changes],
        }


def make_plan(before: Mapping[str, str | None], after: Mapping[str, str | None], release: str) -> Plan:
    """Return what takes a controller from one set of files to the other; a first set has no changes to make active."""
    table = Table(release)
    changes: list[Change] = []
    if before.get("slurm.conf") is None:
        changes = list(_files(before, after, Effect("none")))
    elif dict(before) != dict(after):
        new = read(after)
        try:
            changes = list(_changes(read(before), new, table))
            changes += _wording(before, after, {change.file for change in changes})
        except HpcopsError:  # what is there cannot be read, so nobody knows what runs
            changes = list(_files(before, after, _RESTART))
    return Plan(checksum(before), checksum(after), changes)


def not_approved(plan: Plan, approved: Mapping[str, Any]) -> str:
    """Return why a plan may not be carried out where only the approved one may, or an empty text."""
    if approved.get("format") != FORMAT or not isinstance(approved.get("changes"), list):
        return f"it is not a plan of format {FORMAT}"
    known = [json.dumps(change, sort_keys=True) for change in approved["changes"]]
    unknown = [change.text for change in plan.changes if json.dumps(asdict(change), sort_keys=True) not in known]
    if unknown:
        return "these changes are not in it:\n" + "\n".join(unknown)
    if plan.changes and plan.before != approved.get("before"):
        return "the controller's files have changed since it was made; make and approve a new one"
    return ""


def _changes(before: Configuration, after: Configuration, table: Table) -> Iterator[Change]:
    yield from _parameters(
        "slurm.conf", before.parameters, after.parameters, after.names | before.names, table.parameter
    )
    yield from _node_changes(before, after, table)
    yield from _named(table, "nodeset", before.nodesets, after.nodesets, lambda _new: Effect())
    yield from _named(table, "partition", before.partitions, after.partitions, table.partition)
    yield from _lines(
        "slurm.conf", "line", [*before.down, *before.lines], [*after.down, *after.lines], lambda _name: Effect()
    )
    yield from _parameters("cgroup.conf", before.cgroup, after.cgroup, after.names | before.names, table.cgroup)
    yield from _lines("gres.conf", "line", before.gres, after.gres, table.gres)
    yield from _lines("topology.conf", "line", before.topology, after.topology, lambda _name: Effect())
    yield from _files(before.others, after.others, Effect())


def _wording(before: Files, after: Files, told: set[str]) -> Iterator[Change]:
    """Yield the files that say the same in other words. Slurm compares its daemons' files word by word, comments too."""
    names = [name for name in after if name not in told]
    yield from _files({name: before.get(name) for name in names}, {name: after[name] for name in names}, Effect())


def _change(file: str, kind: str, name: str, before: str | None, after: str | None, effect: Effect) -> Change:
    return Change(file, kind, name, before, after, effect.action, effect.slurmd, effect.jobs)


def _files(before: Files, after: Files, effect: Effect) -> Iterator[Change]:
    """Yield the changes of whole files, which have checksums for values."""
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old != new:
            sums = [None if text is None else digest(text) for text in (old, new)]
            yield _change(name, "file", name, sums[0], sums[1], effect)


def _parameters(
    file: str,
    before: Mapping[str, list[str]],
    after: Mapping[str, list[str]],
    names: Mapping[str, str],
    effect: Any,
) -> Iterator[Change]:
    for key in sorted(before.keys() | after.keys()):
        old, new = _value(key, before.get(key)), _value(key, after.get(key))
        if old != new:
            yield _change(file, "parameter", names[key], old, new, effect(key))


def _value(key: str, values: list[str] | None) -> str | None:
    if not values:
        return None
    return ", ".join(values) if key in REPEATED else values[-1]


def _node_changes(before: Configuration, after: Configuration, table: Table) -> Iterator[Change]:
    """Yield the changes of nodes, those that change alike together."""
    differences: dict[str, tuple[Attributes | None, Attributes | None]] = {}
    alike: dict[tuple[Any, Any], list[str]] = {}
    for name in {**before.nodes, **after.nodes}:
        old, new = before.nodes.get(name), after.nodes.get(name)
        if old == new:
            continue
        if old is not None and new is not None:
            old, new = _differing(old, new)
        differences[name] = old, new
        alike.setdefault((_common(old), _common(new)), []).append(name)
    for names in sorted(map(fold, alike.values())):
        several = [differences[name] for name in expand(names)]
        old, new = _together([old for old, _new in several]), _together([new for _old, new in several])
        yield _change(
            "slurm.conf",
            "node",
            names,
            table.shown("nodename", old),
            table.shown("nodename", new),
            table.nodes(names, old, new),
        )


def _common(attributes: Attributes | None) -> tuple[tuple[str, str], ...] | None:
    """Return what nodes that change alike have in common: their addresses differ."""
    if attributes is None:
        return None
    return tuple(sorted((key, "" if key in ALIGNED else value) for key, value in attributes.items()))


def _together(several: Sequence[Attributes | None]) -> Attributes | None:
    """Return the attributes of nodes that have them in common, with all of their addresses."""
    first = several[0]
    if first is None:
        return None
    return {
        key: _aligned([each[key] for each in several if each is not None]) if key in ALIGNED else value
        for key, value in first.items()
    }


def _aligned(values: Sequence[str]) -> str:
    if len(set(values)) == 1:
        return values[0]
    try:
        return fold_ordered(values)
    except HpcopsError:
        return ",".join(values)


def _named(
    table: Table, kind: str, before: Mapping[str, Attributes], after: Mapping[str, Attributes], effect: Any
) -> Iterator[Change]:
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        needs = effect(new)
        if old is not None and new is not None:
            old, new = _differing(old, new)
        line = {"partition": "partitionname"}.get(kind, kind)
        yield _change("slurm.conf", kind, name, table.shown(line, old), table.shown(line, new), needs)


def _lines(file: str, kind: str, before: Iterable[Entry], after: Iterable[Entry], effect: Any) -> Iterator[Change]:
    old, new = ({_line(entry): entry for entry in entries} for entries in (before, after))
    for line in {**old, **new}:
        if line in old and line in new:
            continue
        entry = old.get(line) or new[line]
        nodes = entry.pairs[0][1] if entry.key == "nodename" else ""
        yield _change(file, kind, line, "" if line in old else None, "" if line in new else None, effect(nodes))


def _line(entry: Entry) -> str:
    first, *rest = entry.written
    return " ".join([first, *sorted(rest)])


def _differing(old: Attributes, new: Attributes) -> tuple[dict[str, str], dict[str, str]]:
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return {key: old[key] for key in keys if key in old}, {key: new[key] for key in keys if key in new}
