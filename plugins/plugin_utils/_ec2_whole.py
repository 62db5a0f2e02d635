# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances of all regions and accounts as one inventory, in which each has a name of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import InventoryError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._ec2_hosts import Wanted
from ansible_collections.hpcops.cluster.plugins.plugin_utils._groups import Groups
from ansible_collections.hpcops.cluster.plugins.plugin_utils._snapshots import NAMED, Snapshot


def whole_of(parts: Mapping[str, Snapshot], wanted: Wanted) -> Snapshot:
    """Join all regions of all accounts, and decide what their hosts are called. An instance that two parts have is one host."""
    places = {host: title for title, part in parts.items() for host in part.hosts}
    candidates = {host: names for part in parts.values() for host, names in part.names.items()}
    called, warnings = _called(candidates, places, wanted)
    groups = Groups()
    clusters = {json.loads(text)[1] for part in parts.values() for text in part.groups if text.startswith('["cluster"')}
    for name in sorted(clusters):  # first, so that nothing else takes their groups
        groups.add(("cluster", name))
    for title, part in parts.items():
        for text, members in part.groups.items():
            groups.add(tuple(json.loads(text)), [called[host] for host in members if places[host] == title])
    for names in groups.members.values():
        names.sort()
    # In the order of their names, since EC2 has none, and the first host of a group may be a special one.
    hosts = {called[host]: variables for part in parts.values() for host, variables in part.hosts.items()}
    return Snapshot(
        hosts={name: hosts[name] for name in sorted(hosts)},
        groups=groups.members,
        group_vars={groups.name(("cluster", name)): {"slurm_cluster_name": name} for name in sorted(clusters)},
        facts={called[host]: facts for part in parts.values() for host, facts in part.facts.items()},
        parts={},
        warnings=(*(text for part in parts.values() for text in part.warnings), *warnings, *groups.warnings()),
    )


def _called(
    candidates: Mapping[str, Sequence[str]], places: Mapping[str, str], wanted: Wanted
) -> tuple[dict[str, str], list[str]]:
    """Give each host the first of its names that no other host has, or refuse to."""
    tried = dict.fromkeys(candidates, 0)
    shared: dict[str, int] = {}
    while True:
        owners: dict[str, list[str]] = {}
        for host, number in tried.items():
            owners.setdefault(candidates[host][number], []).append(host)
        equal = {name: hosts for name, hosts in owners.items() if len(hosts) > 1}
        if not equal:
            break
        # One of them may keep the name as its last.
        last = {
            name: [host for host in hosts if tried[host] + 1 == len(candidates[host])] for name, hosts in equal.items()
        }
        spent = [name for name, hosts in last.items() if len(hosts) > 1]
        if wanted.on_equal_names == "error" or spent:
            raise InventoryError(_equal(equal, spent or list(equal), places, wanted))
        for name, hosts in equal.items():
            shared[name] = len(hosts)
            for host in hosts:
                tried[host] += host not in last[name]
    warnings = [
        f"{count} instances are called {name}; each has the next of its names" for name, count in shared.items()
    ]
    return {host: candidates[host][number] for host, number in tried.items()}, warnings[:NAMED]


def _equal(equal: Mapping[str, Sequence[str]], names: Sequence[str], places: Mapping[str, str], wanted: Wanted) -> str:
    name = names[0]
    hosts = ", ".join(f"{host} ({places[host]})" for host in equal[name][:NAMED])
    more = f", and {len(names) - 1} more names are like that" if len(names) > 1 else ""
    advice = "rename all but one, or exclude them"
    if wanted.on_equal_names == "error":
        advice += ", or let on_equal_names: next give them the next of their names"
    else:
        advice += ", or add instance-id to hostnames"
    return f"hostnames: {len(equal[name])} instances are called {name}: {hosts}{more}; {advice}"
