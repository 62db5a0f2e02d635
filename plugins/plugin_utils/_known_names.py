# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names in an inventory that look like this collection's and mean nothing to it."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

# Groups that the playbooks read.
GROUPS = (
    "discovery",
    "enroot",
    "grafana",
    "login",
    "mariadb",
    "os_hardening",
    "prometheus",
    "slurm_build",
    "slurm_elastic",
    "slurmctld",
    "slurmd",
    "slurmdbd",
    "slurmrestd",
    "storage_clients",
    "storage_servers",
)
# Names with a role's prefix that no role has as an option: a host's own address, node lines, which have a check of their own, what
# the inventory plugin discovery sets, and variables of playbooks.
OTHERS = (
    "os_base_address",
    "slurm_change_ticket",
    "slurm_config_approved_plan_file",
    "slurm_config_plan_file",
    "slurm_node",
    "slurm_node_*",
    "slurmd_restart",
    "discovery_addresses",
    "discovery_cluster",
    "discovery_instance_id",
    "discovery_labels",
    "discovery_partitions",
    "discovery_provider",
    "discovery_rack",
    "discovery_roles",
    "discovery_state",
    "discovery_switch",
)
ALIKE = 0.8  # of difflib's ratio


def unknown_variables(
    names: Mapping[str, str], options: Mapping[str, Collection[str]], allowed: Sequence[str]
) -> Iterator[str]:
    """Variables (name and where it is set) that have a role's prefix and are none of its options, with the nearest option."""
    prefixes = re.compile(rf"({'|'.join(sorted(map(re.escape, options), key=len, reverse=True))})_")
    known = {name for each in options.values() for name in each}
    patterns = [re.compile(fnmatch.translate(pattern)) for pattern in (*OTHERS, *allowed)]
    for name, place in sorted(names.items()):
        match = prefixes.match(name)
        if match is None or name in known or any(pattern.match(name) for pattern in patterns):
            continue
        near = difflib.get_close_matches(name, options[match[1]], 1, ALIKE)
        yield f"{name} in {place}" + (f" (did you mean {near[0]}?)" if near else "")


def unknown_groups(hosts: Mapping[str, int]) -> Iterator[str]:
    """Groups, given with their number of hosts, that are called almost like one that no host is in, with that one."""
    missing = [group for group in GROUPS if not hosts.get(group)]
    for name in sorted(set(hosts) - set(GROUPS)):
        near = [group for group in missing if abs(len(group) - len(name)) < 2 and _one_apart(name, group)]
        if near and hosts[name]:
            yield f"group {name} (did you mean {' or '.join(near)}?)"


def _one_apart(one: str, other: str) -> bool:
    """Whether one letter was added, lost or changed, or two neighbours changed places."""
    short, long = sorted((one, other), key=len)
    if len(short) < len(long):
        return any(long[:place] + long[place + 1 :] == short for place in range(len(long)))
    different = [place for place in range(len(one)) if one[place] != other[place]]
    if len(different) == 2:
        first, second = different
        return second == first + 1 and one[first] == other[second] and one[second] == other[first]
    return len(different) == 1


def named_once(places: Iterable[tuple[str, Iterable[str]]]) -> dict[str, str]:
    """Each name with the first place that sets it."""
    found: dict[str, str] = {}
    for place, names in places:
        for name in names:
            found.setdefault(str(name), place)
    return found
