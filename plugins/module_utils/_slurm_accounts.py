# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounting as it is, from what sacctmgr prints, in a form that a document takes as well."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_limits import ASSOCIATION, QOS, shown

ROOT = "root"  # the account above all, and the user in it; Slurm makes both
NORMAL = "normal"  # the QOS that Slurm makes
ADMIN_LEVELS = {"none": "None", "operator": "Operator", "administrator": "Administrator"}


class Key(NamedTuple):
    """What an association is of: an account on a cluster, or a user in it, or that in one partition."""

    cluster: str
    account: str
    user: str = ""
    partition: str = ""

    def __str__(self) -> str:
        user = f", user {self.user}" if self.user else ""
        partition = f" in partition {self.partition}" if self.partition else ""
        return f"account {self.account}{user}{partition} on {self.cluster}"


@dataclass(frozen=True)
class Association:
    """Parameters in their one form; only an account's association has a parent."""

    values: Mapping[str, str] = field(default_factory=dict)
    parent: str = ""


@dataclass(frozen=True)
class Qos:
    description: str | None  # None in a document: as it is
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Account:
    """An account in itself, the same on all clusters; None in a document is as it is."""

    description: str | None = None
    organization: str | None = None
    coordinators: frozenset[str] | None = None  # without those of the accounts above, who are this one's as well


@dataclass
class Accounting:
    """All that slurmdbd keeps of accounts; or of a document, what it names."""

    clusters: set[str] = field(default_factory=set)
    federations: dict[str, frozenset[str]] = field(default_factory=dict)
    qos: dict[str, Qos] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    users: dict[str, str | None] = field(default_factory=dict)  # their admin level
    defaults: dict[tuple[str, str], str] = field(default_factory=dict)  # account by user and cluster
    associations: dict[Key, Association] = field(default_factory=dict)

    def below(self, cluster: str, accounts: Iterable[str]) -> set[str]:
        """The accounts of the cluster that lie beneath one of these."""
        children: dict[str, list[str]] = {}
        for key, association in self.associations.items():
            if key.cluster == cluster and not key.user:
                children.setdefault(association.parent, []).append(key.account)
        found: set[str] = set()
        todo = list(accounts)
        while todo:
            new = set(children.get(todo.pop(), ())) - found
            found |= new
            todo += new
        return found

    def depth(self, cluster: str, account: str) -> int:
        """How many accounts lie above; 0 for root."""
        result = 0
        while account != ROOT and result <= len(self.associations):
            association = self.associations.get(Key(cluster, account))
            account = association.parent if association else ROOT
            result += 1
        return result

    def describe(self) -> dict[str, str]:
        """A line for each object, by what it is of, for people."""
        lines = {f"cluster {name}": "registered" for name in self.clusters}
        lines |= {f"federation {name}": ",".join(sorted(members)) for name, members in self.federations.items()}
        for name, qos in self.qos.items():
            lines[f"qos {name}"] = _line({"Description": qos.description or "", **qos.values})
        for name, account in self.accounts.items():
            coordinators = ",".join(sorted(account.coordinators or ()))
            named = {"Description": account.description or "", "Organization": account.organization or ""}
            lines[f"account {name}"] = _line({**named, "Coordinators": coordinators})
        lines |= {f"user {name}": f"AdminLevel={level}" for name, level in self.users.items()}
        lines |= {f"default account of {user} on {cluster}": name for (user, cluster), name in self.defaults.items()}
        for key, association in self.associations.items():
            lines[f"association of {key}"] = _line({"Parent": association.parent, **association.values})
        return lines


def _line(fields: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in fields.items() if value) or "without limits"


# --- What sacctmgr prints ---

SHOW = {
    "clusters": ["cluster", "format=Cluster"],
    "federations": ["federation", "format=Federation,Cluster"],
    "qos": ["qos", "format=" + ",".join(["Name", *(each.column for each in QOS.values()), "Descr"])],
    "accounts": ["account", "withcoord", "format=Account,Org,Coordinators,Descr"],
    "users": ["user", "format=User,Admin"],
    "defaults": ["association", "onlydefaults", "format=Cluster,User,Account"],
    "associations": [
        "association",
        "wopl",  # without parents' limits, which sacctmgr would show as the association's own
        "format="
        + ",".join(
            ["Cluster", "Account", "User", "Partition", "ParentName", *(each.column for each in ASSOCIATION.values())]
        ),
    ],
    "tres": ["tres", "format=Type,Name"],
    "configuration": ["configuration"],
}


@dataclass(frozen=True)
class Facts:
    """What slurmdbd knows and no document changes."""

    tres: frozenset[str]
    capitals_in_users: bool


def parse(printed: Mapping[str, str]) -> Accounting:
    """What the commands of SHOW have printed, by their keys."""
    rows = {kind: [line.split("|") for line in text.splitlines() if line] for kind, text in printed.items()}
    found = Accounting(clusters={row[0] for row in rows["clusters"]})
    for name, cluster, *_rest in rows["federations"]:
        found.federations[name] = found.federations.get(name, frozenset()) | ({cluster} if cluster else set())
    for name, *fields, text in rows["qos"]:
        found.qos[name] = Qos(text.lower(), shown(QOS, fields))
    for name, organization, coordinators, *words in rows["accounts"]:
        found.accounts[name] = Account("|".join(words), organization, frozenset(filter(None, coordinators.split(","))))
    found.users = {row[0]: row[1] for row in rows["users"]}
    found.defaults = {(user, cluster): account for cluster, user, account in rows["defaults"]}
    for cluster, account, user, partition, parent, *fields in rows["associations"]:
        found.associations[Key(cluster, account, user, partition)] = Association(shown(ASSOCIATION, fields), parent)
    found.accounts = without_inherited(found)
    return found


def without_inherited(accounting: Accounting) -> dict[str, Account]:
    """The accounts without the coordinators whom they have from accounts above; sacctmgr shows them at each."""
    parents: dict[str, set[str]] = {}
    for key, association in accounting.associations.items():
        if association.parent:
            parents.setdefault(key.account, set()).add(association.parent)
    result = {}
    for name, account in accounting.accounts.items():
        above: set[str] = set()
        todo = [name]
        while todo:
            new = parents.get(todo.pop(), set()) - above
            above |= new
            todo += new
        inherited = (
            accounting.accounts[other].coordinators for other in above - {name} if other in accounting.accounts
        )
        own = (account.coordinators or frozenset()).difference(*(others or () for others in inherited))
        result[name] = replace(account, coordinators=own)
    return result


def parse_facts(printed: Mapping[str, str]) -> Facts:
    pairs = (line.split("|") for line in printed["tres"].splitlines() if line)
    parameters = re.search(r"^Parameters\s*=\s*(.*)$", printed["configuration"], re.MULTILINE)
    return Facts(
        frozenset(f"{kind}/{name}" if name else kind for kind, name in pairs),
        bool(parameters and "preservecaseuser" in parameters[1].lower()),
    )
