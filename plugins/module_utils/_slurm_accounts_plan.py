# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sacctmgr commands that lead from one state of accounting to another, few and in an order that Slurm takes; what they must not do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_accounts import (
    ADMIN_LEVELS,
    NORMAL,
    ROOT,
    Accounting,
    Association,
    Key,
)
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_limits import ASSOCIATION, QOS, assignments
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_node_states import chunks

Command = list[str]
Group = TypeVar("Group", bound=Hashable)
NO_LEVEL = ADMIN_LEVELS["none"]
_SHOWN = 10


# --- Protection ---


@dataclass(frozen=True)
class Job:
    """A job that has not ended."""

    id: str
    cluster: str
    account: str
    user: str
    qos: str
    state: str

    def __str__(self) -> str:
        return f"job {self.id} of {self.user} ({self.state.lower()}, account {self.account}, QOS {self.qos}, on {self.cluster})"


SQUEUE_FORMAT = "%i|%a|%u|%q|%T"
SACCT_FORMAT = "JobID,Account,User,QOS,State"


def parse_jobs(cluster: str, text: str) -> list[Job]:
    """The jobs of a cluster that squeue or sacct prints in its format above."""
    rows = (line.split("|") for line in text.splitlines())
    return [Job(row[0], cluster, *row[1:]) for row in rows if len(row) == 5]


def refusals(actual: Accounting, target: Accounting, jobs: Iterable[Job], max_share: float) -> Iterator[str]:
    """Sentences on what is protected from being purged."""
    before, after = _memberships(actual), _memberships(target)
    losers = {user for user, cluster, account in before - after if user != ROOT}
    known = {key.user for key in actual.associations if key.user not in ("", ROOT)}
    if losers and len(losers) * 100 > max_share * len(known):
        yield (
            f"{len(losers)} of {len(known)} users would be taken out of accounts ({_listed(sorted(losers))}), "
            f"which is more than purge_max_share, {max_share:g} %. Set it higher where that is meant"
        )
    lost_qos = set(actual.qos) - set(target.qos)
    hit = [str(job) for job in jobs if (job.user, job.cluster, job.account) in before - after or job.qos in lost_qos]
    if hit:
        yield f"accounts or QOS that would be removed have jobs: {_listed(hit)}. Wait until they end, or cancel them"


def _memberships(accounting: Accounting) -> set[tuple[str, str, str]]:
    return {(key.user, key.cluster, key.account) for key in accounting.associations if key.user}


def clusters_that_lose(actual: Accounting, target: Accounting) -> list[str]:
    """The clusters whose jobs could be concerned."""
    if set(actual.qos) - set(target.qos):
        return sorted(actual.clusters)
    return sorted({key.cluster for key in set(actual.associations) - set(target.associations)})


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


# --- The plan ---


def plan(actual: Accounting, target: Accounting) -> list[Command]:
    """Arguments of sacctmgr, a list for each of its calls."""
    steps = _Steps(actual, target)
    return [
        *steps.clusters(),
        *steps.qos(),
        *steps.cluster_limits(),
        *steps.accounts(),
        *steps.users(),
        *steps.coordinators(),
        *steps.removals(),
        *steps.federations(),
    ]


class _Steps:
    """What has to be done for each kind of object."""

    def __init__(self, actual: Accounting, target: Accounting) -> None:
        self.actual = actual
        self.target = target
        existing = set(actual.associations)
        for cluster in target.clusters - actual.clusters:  # Slurm makes these with the cluster
            existing |= {Key(cluster, ROOT), Key(cluster, ROOT, ROOT)}
        self.new = [key for key in target.associations if key not in existing]
        self.gone = [key for key in actual.associations if key not in target.associations]
        self.kept = [key for key in target.associations if key in existing]

    def before(self, key: Key) -> Association:
        fresh = Association({"QOS": NORMAL} if (key.account, key.user) == (ROOT, "") else {})
        return self.actual.associations.get(key, fresh)

    def changes(self, key: Key) -> tuple[str, ...]:
        return tuple(assignments(ASSOCIATION, self.before(key).values, self.target.associations[key].values))

    def clusters(self) -> Iterator[Command]:
        new = sorted(self.target.clusters - self.actual.clusters)
        if new:
            yield ["add", "cluster", _list(new)]

    def cluster_limits(self) -> Iterator[Command]:
        for changed, names in _grouped((self.changes(key), key.cluster) for key in self.kept if _is_root(key)):
            if changed:
                yield ["modify", "cluster", "where", f"name={_list(names)}", "set", *changed]

    def qos(self) -> Iterator[Command]:
        """Preemption comes last, since it may name a QOS that is yet to be added."""
        new = [(name, qos) for name, qos in self.target.qos.items() if name not in self.actual.qos]
        for changed, names in _grouped(
            ((f"Description={qos.description}", *assignments(QOS, {}, _without(qos.values, "Preempt"))), name)
            for name, qos in new
        ):
            yield ["add", "qos", _list(names), *changed]
        todo = []
        for name, qos in self.target.qos.items():
            former = self.actual.qos.get(name)
            if former is None:
                changed = tuple(assignments(QOS, {}, {k: v for k, v in qos.values.items() if k == "Preempt"}))
            else:
                described = [f"Description={qos.description}"] if former.description != qos.description else []
                changed = (*described, *assignments(QOS, former.values, qos.values))
            todo.append((changed, name))
        for changed, names in _grouped(todo):
            if changed:
                yield ["modify", "qos", "where", f"name={_list(names)}", "set", *changed]

    def accounts(self) -> Iterator[Command]:
        """Parents before children, so that each finds its own where it will be."""
        depths = _depths(self.target)
        wanted = []
        for key in self.new:
            if key.user:
                continue
            account = self.target.accounts[key.account]
            described = (f"Description={account.description}", f"Organization={account.organization}")
            own = () if key.account in self.actual.accounts else described
            parent = f"Parent={self.target.associations[key].parent}"
            wanted.append((depths[key], (parent, *own, *self.changes(key)), key))
        for rest, names, clusters in _by_clusters(wanted):
            yield ["add", "account", names, f"Cluster={clusters}", *rest]
        yield from self.described_accounts()
        moved = []
        for key in self.kept:
            if key.user or _is_root(key):
                continue
            parent = self.target.associations[key].parent
            move = [f"Parent={parent}"] if parent != self.before(key).parent else []
            changed = (*move, *self.changes(key))
            if changed:
                moved.append((depths[key] if move else 0, changed, key))
        for rest, names, clusters in _by_clusters(moved):
            yield ["modify", "account", "where", f"name={names}", f"Cluster={clusters}", "set", *rest]

    def described_accounts(self) -> Iterator[Command]:
        todo = []
        for name, account in self.target.accounts.items():
            former = self.actual.accounts.get(name, account)
            texts = (
                ("Description", former.description, account.description),
                ("Organization", former.organization, account.organization),
            )
            todo.append((tuple(f"{what}={new}" for what, old, new in texts if new != old), name))
        for changed, accounts in _grouped(todo):
            if changed:
                yield ["modify", "account", "where", f"name={_list(accounts)}", "set", *changed]

    def users(self) -> Iterator[Command]:
        """A user's default account comes first, so that Slurm never chooses another."""
        added = []
        for key in self.new:
            if key.user:
                is_default = self.target.defaults.get((key.user, key.cluster)) == key.account
                where = (f"Account={key.account}", *([f"Partition={key.partition}"] if key.partition else []))
                default = (f"DefaultAccount={key.account}",) if is_default else ()
                added.append((0 if is_default else 1, (*where, *default, *self.changes(key)), key))
        for rest, names, clusters in _by_clusters(added):
            yield ["add", "user", names, f"Cluster={clusters}", *rest]
        yield from self.default_accounts()
        changed = [
            (0, (f"Account={key.account}", f"Partition={key.partition}", "set", *self.changes(key)), key)
            for key in self.kept
            if key.user and self.changes(key)
        ]
        for rest, names, clusters in _by_clusters(changed):
            yield ["modify", "user", "where", f"name={names}", f"Cluster={clusters}", *rest]
        levels = self.target.users.items()
        for level, users in _grouped(
            (level, user) for user, level in levels if self.actual.users.get(user, NO_LEVEL) != level
        ):
            yield ["modify", "user", "where", f"name={_list(users)}", "set", f"AdminLevel={level}"]

    def default_accounts(self) -> Iterator[Command]:
        """Those of users who are in the account already, or on the cluster in another."""
        new = {(key.user, key.cluster, key.account) for key in self.new}
        defaults = [
            (0, (f"DefaultAccount={account}",), Key(cluster, account, user))
            for (user, cluster), account in self.target.defaults.items()
            if cluster in self.actual.clusters
            and self.actual.defaults.get((user, cluster)) != account
            and (user, cluster, account) not in new
        ]
        for rest, names, clusters in _by_clusters(defaults):
            yield ["modify", "user", "where", f"name={names}", f"Cluster={clusters}", "set", *rest]

    def coordinators(self) -> Iterator[Command]:
        for verb, wanted, found in (("add", self.target, self.actual), ("delete", self.actual, self.target)):
            pairs = []
            for name, account in wanted.accounts.items():
                other = found.accounts.get(name)
                missing = (account.coordinators or frozenset()) - ((other and other.coordinators) or frozenset())
                if verb == "delete":  # with a user or an account they go by themselves
                    missing = frozenset(user for user in missing if user in found.users) if other else frozenset()
                pairs.append((tuple(sorted(missing)), name))
            for users, names in _grouped(pairs):
                if users:
                    yield [verb, "coordinator", f"Account={_list(names)}", f"Names={_list(users)}"]

    def removals(self) -> Iterator[Command]:
        """Users before accounts, and the deepest accounts first: Slurm 24.11 leaves what lies beneath a removed account astray.

        Users lose their default account after the others, by commands of its own: Slurm 22.05 refuses one that takes somebody's default
        account away after another account of anybody.
        """
        users = set(self.actual.users) - set(self.target.users)
        for names in _lists(sorted(users)):
            yield ["delete", "user", "where", f"name={names}"]
        defaults = {**self.actual.defaults, **self.target.defaults}
        lost = [
            (
                int(defaults.get((key.user, key.cluster)) == key.account),
                (f"Account={key.account}", f"Partition={key.partition}"),
                key,
            )
            for key in self.gone
            if key.user and key.user not in users
        ]
        for rest, names, clusters in _by_clusters(lost):
            yield ["delete", "user", "where", f"name={names}", f"Cluster={clusters}", *rest]
        depths = _depths(self.actual)
        for _rest, names, clusters in _by_clusters([(-depths[key], (), key) for key in self.gone if not key.user]):
            yield ["delete", "account", "where", f"name={names}", f"Cluster={clusters}"]
        for names in _lists(sorted(set(self.actual.accounts) - set(self.target.accounts))):
            yield ["delete", "account", "where", f"name={names}"]
        for names in _lists(sorted(set(self.actual.qos) - set(self.target.qos))):
            yield ["delete", "qos", "where", f"name={names}"]

    def federations(self) -> Iterator[Command]:
        gone = sorted(set(self.actual.federations) - set(self.target.federations))
        if gone:
            yield ["delete", "federation", "where", f"name={_list(gone)}"]
        shrinking = sorted(
            self.target.federations.items(),
            key=lambda item: bool(item[1] - self.actual.federations.get(item[0], frozenset())),
        )
        for name, clusters in shrinking:
            if name not in self.actual.federations:
                yield ["add", "federation", name, *([f"Clusters={_list(sorted(clusters))}"] if clusters else [])]
            elif self.actual.federations[name] != clusters:
                yield ["modify", "federation", "where", f"name={name}", "set", f"Clusters={_list(sorted(clusters))}"]


def _is_root(key: Key) -> bool:
    return key.account == ROOT and not key.user


def _without(values: Mapping[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in values.items() if key != name}


def _depths(accounting: Accounting) -> dict[Key, int]:
    return {key: accounting.depth(key.cluster, key.account) for key in accounting.associations if not key.user}


def _list(names: Iterable[str]) -> str:
    return ",".join(names)


def _grouped(pairs: Iterable[tuple[Group, str]]) -> list[tuple[Group, list[str]]]:
    """What is the same, with all names that it is for."""
    groups: dict[Group, list[str]] = {}
    for what, name in pairs:
        groups.setdefault(what, []).append(name)
    return list(groups.items())


def _by_clusters(todo: Iterable[tuple[int, tuple[str, ...], Key]]) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """What is the same on several clusters and for several users or accounts, with lists of both; the lowest number first."""
    clusters: dict[tuple[int, tuple[str, ...], str], set[str]] = defaultdict(set)
    for number, what, key in todo:
        clusters[number, what, key.user or key.account].add(key.cluster)
    names: dict[tuple[int, tuple[str, ...], str], list[str]] = defaultdict(list)
    for (number, what, name), places in clusters.items():
        names[number, what, _list(sorted(places))].append(name)
    for (_number, what, where), found in sorted(names.items(), key=lambda item: item[0][0]):
        for chosen in _lists(found):
            yield what, chosen, where


def _lists(names: Sequence[str]) -> Iterator[str]:
    """Comma lists of names, each of which fits into one argument."""
    return (_list(chunk) for chunk in chunks(names))
