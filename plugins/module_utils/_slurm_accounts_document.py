# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounting as a document wants it; what that and what there is come to, and what is wrong with it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import AccountingError
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_accounts import (
    ADMIN_LEVELS,
    NORMAL,
    ROOT,
    Account,
    Accounting,
    Association,
    Facts,
    Key,
    Qos,
    without_inherited,
)
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_limits import (
    ASSOCIATION,
    QOS,
    Parameter,
    canonical,
    description,
    tres_of,
)

PURGES = ("none", "listed_scopes", "all")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*\Z")
_PARTITION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
_MEMBERSHIP = {"name", "clusters", "partitions", "parameters"}


# --- What a document says ---


@dataclass
class Document:
    """What is wanted, in the same form; and what it is said of."""

    wanted: Accounting
    clusters: list[str]  # all that the document is about
    lists: frozenset[str]  # the kinds of objects that it has a list of; of the others it says nothing


def read(given: Mapping[str, Any], known_clusters: Iterable[str]) -> Document:
    """A document as people write it; AccountingError for what cannot be meant."""
    wanted = Accounting()
    clusters = _each(given.get("clusters"), "clusters")
    names = list(clusters) or sorted(known_clusters)
    if not names:
        raise AccountingError("clusters: slurmdbd knows no cluster, and the document names none")
    wanted.clusters = set(names)
    for name, entry in clusters.items():
        if entry.get("parameters") is not None:
            values = canonical(ASSOCIATION, {"QOS": NORMAL, **entry["parameters"]}, f"cluster {name}")
            wanted.associations[Key(name, ROOT)] = Association(values)
    for name, entry in _each(given.get("federations"), "federations").items():
        wanted.federations[name] = frozenset(entry.get("clusters") or ())
    for name, entry in _each(given.get("qos"), "qos").items():
        values = canonical(QOS, entry.get("parameters"), f"QOS {name}")
        wanted.qos[name] = Qos(_description(entry.get("description"), f"QOS {name}"), values)
    accounts = _each(given.get("accounts"), "accounts")
    for name, entry in accounts.items():
        _read_account(wanted, name, entry, names)
    for name, entry in _each(given.get("users"), "users").items():
        _read_user(wanted, name, entry, names, accounts)
    lists = frozenset(kind for kind in ("federations", "qos", "accounts", "users") if given.get(kind) is not None)
    return Document(wanted, names, lists)


def _each(entries: Sequence[Mapping[str, Any]] | None, what: str) -> dict[str, Mapping[str, Any]]:
    """The entries of a list by their names, each of which may be there once."""
    named = [str(entry["name"]) for entry in entries or ()]
    twice = [name for name, count in Counter(named).items() if count > 1]
    if twice:
        raise AccountingError(f"{what}: {', '.join(twice)} is listed more than once")
    wrong = [name for name in named if not _NAME.match(name)]
    if wrong:
        raise AccountingError(f"{what}: {wrong[0]!r} is no name. Use letters, digits and the characters _ . @ + -")
    return dict(zip(named, entries or ()))


def _description(text: str | None, where: str) -> str | None:
    try:
        return None if text is None else description(text)
    except ValueError as error:
        raise AccountingError(f"{where}: its description {error}; found {text!r}") from None


def _clusters(entry: Mapping[str, Any], names: Sequence[str], where: str) -> list[str]:
    chosen = list(dict.fromkeys(entry.get("clusters") or names))
    unknown = [name for name in chosen if name not in names]
    if unknown:
        raise AccountingError(f"{where}: {', '.join(unknown)} is not among the document's clusters {', '.join(names)}")
    return chosen


def _read_account(wanted: Accounting, name: str, entry: Mapping[str, Any], names: Sequence[str]) -> None:
    where = f"account {name}"
    if name == ROOT:
        raise AccountingError("accounts: root is the cluster itself; give its parameters in clusters")
    coordinators = entry.get("coordinators")
    wanted.accounts[name] = Account(
        _description(entry.get("description"), where),
        _description(entry.get("organization"), where),
        None if coordinators is None else frozenset(coordinators),
    )
    association = Association(canonical(ASSOCIATION, entry.get("parameters"), where), entry.get("parent") or ROOT)
    for cluster in _clusters(entry, names, where):
        wanted.associations[Key(cluster, name)] = association


def _read_user(
    wanted: Accounting,
    name: str,
    entry: Mapping[str, Any],
    names: Sequence[str],
    accounts: Mapping[str, Mapping[str, Any]],
) -> None:
    where = f"user {name}"
    level = entry.get("admin_level")
    wanted.users[name] = None if level is None else ADMIN_LEVELS[level]
    clusters_with: dict[str, list[str]] = {}
    for membership in _memberships(entry.get("accounts") or (), where):
        account = str(membership["name"])
        values = canonical(ASSOCIATION, membership.get("parameters"), f"{where} in account {account}")
        partitions = [str(partition).lower() for partition in membership.get("partitions") or ()]
        wrong = [partition for partition in partitions if not _PARTITION.match(partition)]
        if wrong:
            raise AccountingError(f"{where} in account {account}: {wrong[0]!r} is no name of a partition")
        # A user is where the account is, unless the document says more closely.
        home = _clusters(accounts.get(account, {}), names, f"account {account}")
        for cluster in _clusters(membership, home, f"{where} in account {account}"):
            if account not in clusters_with.setdefault(cluster, []):
                clusters_with[cluster].append(account)
            for partition in partitions or [""]:
                key = Key(cluster, account, name, partition)
                if key in wanted.associations:
                    raise AccountingError(f"{where}: {key} is listed more than once")
                wanted.associations[key] = Association(values)
    if not clusters_with:
        raise AccountingError(f"{where} is in no account. Slurm keeps no user without one; list it in accounts")
    _read_default(wanted, name, entry.get("default_account"), clusters_with)


def _memberships(entries: Sequence[Any], where: str) -> Iterator[Mapping[str, Any]]:
    """A user's accounts, each a name or a dict."""
    for entry in entries:
        membership = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(membership, Mapping) or "name" not in membership:
            raise AccountingError(f"{where}: each of its accounts must be a name, or have one; found {entry!r}")
        unknown = sorted(set(membership) - _MEMBERSHIP)
        if unknown:
            raise AccountingError(f"{where}: its accounts take {', '.join(sorted(_MEMBERSHIP))}; found {unknown[0]!r}")
        yield membership


def _read_default(
    wanted: Accounting, name: str, default: str | None, clusters_with: Mapping[str, Sequence[str]]
) -> None:
    for cluster, accounts in clusters_with.items():
        if default is None and len(accounts) > 1:
            raise AccountingError(f"user {name} is in several accounts on {cluster}; say which is the default_account")
        chosen = default or accounts[0]
        if chosen not in accounts:
            raise AccountingError(f"user {name}: its default_account {chosen} is not among its accounts on {cluster}")
        wanted.defaults[name, cluster] = chosen


# --- What both come to ---


def complete(document: Document, actual: Accounting, purge: str) -> Accounting:
    """What there will be: the document's objects as it describes them, of the others those that are not purged."""
    wanted, covered = document.wanted, set(document.clusters)
    doomed = {
        key
        for key in _doomed(document, actual, purge)
        if key not in wanted.associations and (key.account, key.user) not in ((ROOT, ""), (ROOT, ROOT))
    }
    kept = {key: association for key, association in actual.associations.items() if key not in doomed}
    result = Accounting(
        clusters=actual.clusters | covered,
        federations={**actual.federations, **wanted.federations},
        qos=dict(actual.qos),
        associations={**kept, **wanted.associations},
    )
    for name, qos in wanted.qos.items():
        before = actual.qos.get(name)
        text = qos.description if qos.description is not None else before.description if before else name
        result.qos[name] = Qos(text, qos.values)
    for cluster in covered - actual.clusters:  # as Slurm makes it
        result.associations.setdefault(Key(cluster, ROOT), Association({"QOS": NORMAL}))
        result.associations.setdefault(Key(cluster, ROOT, ROOT), Association())
        result.defaults[ROOT, cluster] = ROOT
    _keep_used(result, document, actual, purge)
    _complete_accounts(result, wanted, actual)
    if purge == "all":
        if "qos" in document.lists:
            result.qos = {name: qos for name, qos in result.qos.items() if name in wanted.qos or name == NORMAL}
        if "federations" in document.lists:
            result.federations = dict(wanted.federations)
    for name, members in list(result.federations.items()):  # a cluster is in one federation at most
        if name not in wanted.federations:
            moved = frozenset().union(*wanted.federations.values())
            result.federations[name] = members - moved
    return result


def _doomed(document: Document, actual: Accounting, purge: str) -> Iterator[Key]:
    """What the document says nothing of, and that shall therefore go; an account takes along the users who are in it."""
    if purge == "none":
        return
    wanted = document.wanted.associations
    for cluster in document.clusters:
        listed = {key.account for key in wanted if key.cluster == cluster and not key.user} - {ROOT}
        scope = listed | actual.below(cluster, listed)
        for key in actual.associations:
            if key.cluster != cluster or (purge == "listed_scopes" and key.account not in scope):
                continue
            leaves = "accounts" in document.lists and key.account not in listed and key.account != ROOT
            if leaves or (key.user and "users" in document.lists):
                yield key


def _keep_used(result: Accounting, document: Document, actual: Accounting, purge: str) -> None:
    """Accounts and users with an association left; those that had none before go with V(all) alone."""
    wanted = document.wanted
    had = {key.account for key in actual.associations}, {key.user for key in actual.associations}
    has = {key.account for key in result.associations}, {key.user for key in result.associations}
    for name, account in actual.accounts.items():
        if name in has[0] or (name not in had[0] and not (purge == "all" and "accounts" in document.lists)):
            result.accounts[name] = account
    for name, level in actual.users.items():
        if name in has[1] or (name not in had[1] and not (purge == "all" and "users" in document.lists)):
            result.users[name] = level
    for name, wish in wanted.users.items():
        result.users[name] = wish or actual.users.get(name) or ADMIN_LEVELS["none"]
    homes = {(key.user, key.cluster) for key in result.associations if key.user}
    before = {place: account for place, account in actual.defaults.items() if place in homes}
    result.defaults = {**before, **result.defaults, **wanted.defaults}


def _complete_accounts(result: Accounting, wanted: Accounting, actual: Accounting) -> None:
    parents = {key.account: each.parent for key, each in wanted.associations.items() if not key.user}
    for name, wish in wanted.accounts.items():
        parent = parents[name]
        before = actual.accounts.get(name, Account(name, name if parent == ROOT else parent, frozenset()))
        result.accounts[name] = Account(
            before.description if wish.description is None else wish.description,
            before.organization if wish.organization is None else wish.organization,
            before.coordinators if wish.coordinators is None else wish.coordinators,
        )
    gone = frozenset(actual.users) - frozenset(result.users)  # they coordinate nothing any more
    for name, left in result.accounts.items():
        result.accounts[name] = replace(left, coordinators=(left.coordinators or frozenset()) - gone)
    result.accounts = without_inherited(result)


# --- What is wrong with it ---


def problems(document: Document, actual: Accounting, target: Accounting, facts: Facts) -> Iterator[str]:
    """Sentences on all that Slurm would refuse, or would do otherwise than it is meant."""
    yield from _capitals(document.wanted, actual, facts)
    yield from _references(document.wanted, actual, target, facts)
    for cluster in document.clusters:
        yield from _tree(cluster, target)
    for key in document.wanted.associations:
        if key.user and Key(key.cluster, key.account) not in target.associations:
            yield f"user {key.user}: there is no account {key.account} on {key.cluster}"
    memberships = {(key.user, key.cluster, key.account) for key in target.associations}
    for (user, cluster), account in target.defaults.items():
        if (user, cluster, account) not in memberships:
            yield (
                f"user {user} would lose the default account {account} on {cluster} and stay in others there. "
                "List the user with a default_account"
            )


def _capitals(wanted: Accounting, actual: Accounting, facts: Facts) -> Iterator[str]:
    kinds: list[tuple[str, Iterable[str], Iterable[str], bool]] = [
        ("cluster", wanted.clusters, actual.clusters, False),
        ("federation", wanted.federations, actual.federations, False),
        ("QOS", wanted.qos, actual.qos, False),
        ("account", wanted.accounts, actual.accounts, False),
        ("user", wanted.users, actual.users, facts.capitals_in_users),
    ]
    for kind, names, known, capitals in kinds:
        spelled = {name.lower(): name for name in known}
        for name in names:
            if spelled.get(name.lower(), name) != name:
                yield f"{kind} {name}: there is {spelled[name.lower()]} already, with other capitals; write it so"
            elif name != name.lower() and not capitals:
                yield f"{kind} {name}: Slurm keeps its name in lower case; write {name.lower()}"


def _references(wanted: Accounting, actual: Accounting, target: Accounting, facts: Facts) -> Iterator[str]:
    tables: list[tuple[str, Mapping[str, Parameter], Mapping[str, str]]] = [
        (f"QOS {name}", QOS, qos.values) for name, qos in target.qos.items()
    ]
    tables += [(str(key), ASSOCIATION, association.values) for key, association in target.associations.items()]
    for where, table, values in tables:
        for name, value in values.items():
            if table[name].is_qos:
                for missing in (each for each in value.split(",") if each.lstrip("+-") not in target.qos):
                    known = "would be purged" if missing in actual.qos else "is unknown"
                    yield f"{where}: {name} names the QOS {missing}, which {known}"
            elif table[name].is_tres:
                for missing in (each for each in tres_of(value) if each not in facts.tres):
                    yield f"{where}: {name} limits {missing}, which is no TRES here. Known are {', '.join(sorted(facts.tres))}"
    for name, account in wanted.accounts.items():
        for user in sorted((account.coordinators or frozenset()) - set(target.users)):
            yield f"account {name}: its coordinator {user} is no user"
    members = Counter(cluster for clusters in wanted.federations.values() for cluster in clusters)
    for name, clusters in wanted.federations.items():
        for cluster in sorted(clusters):
            if cluster not in target.clusters:
                yield f"federation {name}: there is no cluster {cluster}"
            elif members[cluster] > 1:
                yield f"federation {name}: cluster {cluster} is in another federation too"


def _tree(cluster: str, target: Accounting) -> Iterator[str]:
    parents = {
        key.account: each.parent
        for key, each in target.associations.items()
        if key.cluster == cluster and not key.user and key.account != ROOT
    }
    sound = {ROOT}
    for start in parents:
        path: list[str] = []
        name = start
        while name not in sound and name not in path and name in parents:
            path.append(name)
            name = parents[name]
        if name in path:
            yield f"accounts: {' is in '.join([*path[path.index(name) :], name])} on {cluster}, which is a circle"
        elif name not in sound:
            yield f"account {path[-1]}: its parent {name} does not exist on {cluster}"
        sound |= set(path)
