# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of groups, the same ones whatever source a host comes from, and names that hosts may have."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import InventoryError

# A group, since a play's pattern can look at groups, but not at variables; see playbooks/check_inventory.yml.
FAILED = "hpcops_inventory_failed"
RESERVED = frozenset({"all", "ungrouped", FAILED})
_UNSAFE = re.compile(r"[^A-Za-z0-9_]|^(?=[0-9])", re.ASCII)
# What hosts and clusters may be called.
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
# What these names mean is not for a source of hosts to say.
_LOCAL = frozenset({"localhost", "127.0.0.1"})

Origin = tuple[str, ...]
"""What a group is made from: a kind (role, cluster, partition, state, label and others), and the value, or key and value."""


def group_name(name: str) -> str:
    """Return the name as Ansible's groups may be called; whatever else is in it becomes an underscore."""
    return _UNSAFE.sub("_", name)


def is_host_name(name: str) -> bool:
    """Tell whether a host may be called so."""
    return NAME.fullmatch(name) is not None and name not in _LOCAL


class Groups:
    """Collects the hosts of each group, and notices when two things would be one group."""

    def __init__(self) -> None:
        self.members: dict[str, list[str]] = {}
        self._names: dict[Origin, str] = {}
        self._origins: dict[str, Origin] = {}
        self._warnings: list[str] = []

    def add(self, origin: Origin, hosts: Iterable[str] = ()) -> None:
        """Put hosts into the group that is made from this; it is there without hosts as well."""
        group = self.name(origin)
        if group and group not in RESERVED:
            self.members.setdefault(group, []).extend(hosts)

    def name(self, origin: Origin) -> str:
        """Return what the group is called; nothing where that would be a cluster's group."""
        return self._names[origin] if origin in self._names else self._new(origin)

    def _new(self, origin: Origin) -> str:
        kind, *rest = origin
        text = "_".join(part for part in rest if part)
        name = self._names[origin] = group_name(text if kind == "role" else f"{kind}_{text}")
        other = self._origins.setdefault(name, origin)
        if other != origin:
            problem = f"{' '.join(other)} and {' '.join(origin)} would both be the group {name}; rename one of them"
            if kind == "cluster":
                raise InventoryError(problem)
            self._warnings.append(problem)
            # Another host's writer must not get the cluster's variables, nor stop its inventory.
            if other[0] == "cluster":
                self._names[origin] = ""
                return ""
        if name in RESERVED:
            self._warnings.append(f"{kind} {text} makes no group: the name has another meaning")
        return name

    def warnings(self) -> list[str]:
        return self._warnings[:20]
