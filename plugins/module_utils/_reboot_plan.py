# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which nodes a rolling reboot takes, and which of them at once."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import SlurmNodeError
from ansible_collections.hpcops.cluster.plugins.module_utils._hostlist import expand
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_node_states import (
    Node,
    parse_moment,
    stored_reason,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Selection:
    """What the user chose."""

    share: int
    partitions: Sequence[str] = ()
    nodes: Sequence[str] = ()
    since: str | None = None
    ticket: str | None = None
    include_drained: bool = True


def batches(partitions_of: Mapping[str, Sequence[str]], sizes: Mapping[str, int], share: int) -> list[list[str]]:
    """Put nodes into batches, of which none has more than the share (percent) of a partition's size.

    Each node goes into the first batch in which all of its partitions have room; one node always has.
    """
    room = {partition: max(1, size * share // 100) for partition, size in sizes.items()}
    used: dict[str, Counter[int]] = defaultdict(Counter)
    first_open: Counter[str] = Counter()
    result: list[list[str]] = []
    for node, partitions in partitions_of.items():
        number = max((first_open[partition] for partition in partitions), default=0)
        while any(used[partition][number] >= room[partition] for partition in partitions):
            number += 1
        for partition in partitions:
            used[partition][number] += 1
            while used[partition][first_open[partition]] >= room[partition]:
                first_open[partition] += 1
        result.extend([] for _missing in range(number + 1 - len(result)))
        result[number].append(node)
    return result


def reboot_plan(hosts: Mapping[str, str], nodes: Mapping[str, Node], selection: Selection, now: int) -> dict[str, Any]:
    """Plan the reboot of those hosts, each given with its node's name, that the selection names and that need it."""
    _check(selection, hosts, nodes)
    since = parse_moment(selection.since) if selection.since else now
    chosen = _chosen(selection, hosts, nodes)
    host_of = {node: host for host, node in hosts.items()}
    taken: dict[str, tuple[str, ...]] = {}
    reboot, done, skipped = [], [], []  # type: tuple[list[str], list[str], list[dict[str, str]]]
    for name in chosen:
        node = nodes[name]
        booted = node.boot_time is not None and node.boot_time >= since
        why = _why_not(node, selection)
        if name not in host_of:
            skipped.append({"node": name, "why": "no host of this run is this node"})
        elif why:
            skipped.append({"node": name, "why": why})
        elif booted and not node.belongs_to(selection.ticket):
            done.append(name)
        else:
            taken[name] = _places(node)
            if not booted:
                reboot.append(name)
    sizes = Counter(place for node in nodes.values() if not node.absent for place in _places(node))
    lots = batches(taken, sizes, selection.share)
    return {
        "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since)),
        "batches": lots,
        "hosts": [host_of[name] for lot in lots for name in lot],
        "nodes": {host_of[name]: name for name in taken},
        "reboot": reboot,
        "done": done,
        "skipped": skipped,
    }


def _places(node: Node) -> tuple[str, ...]:
    """The node's partitions; nodes without one are counted together."""
    return node.partitions or ("",)


def _why_not(node: Node, selection: Selection) -> str:
    """Why a node is not to be rebooted, or nothing."""
    ours = node.belongs_to(selection.ticket)
    if node.absent:
        return f"no host runs there ({node.state})"
    if "NOT_RESPONDING" in node.flags or (node.down and not node.drained and not ours):
        return f"it is {node.state}" + (f" ({node.reason})" if node.reason else "")
    if node.drained and not ours and not selection.include_drained:
        return f"{node.reason_user or 'somebody'} has drained it ({node.reason})"
    return ""


def _chosen(selection: Selection, hosts: Mapping[str, str], nodes: Mapping[str, Node]) -> list[str]:
    """Names of the nodes that the selection names, in slurmctld's order."""
    if selection.nodes:
        wanted = set(expand(",".join(selection.nodes)))
    elif selection.partitions:
        wanted = {name for name, node in nodes.items() if set(node.partitions) & set(selection.partitions)}
    else:
        wanted = set(hosts.values())
    return [name for name in nodes if name in wanted]


def _check(selection: Selection, hosts: Mapping[str, str], nodes: Mapping[str, Node]) -> None:
    if not 1 <= selection.share <= 100:
        raise SlurmNodeError(f"reboot_share is {selection.share}; give a percentage from 1 to 100")
    if selection.nodes and selection.partitions:
        raise SlurmNodeError("reboot_nodes and reboot_partitions are both given; give one of them")
    known = {partition for node in nodes.values() for partition in node.partitions}
    unknown = [partition for partition in selection.partitions if partition not in known]
    if unknown:
        raise SlurmNodeError(
            f"reboot_partitions: there is no partition {', '.join(unknown)} with nodes; there are {', '.join(sorted(known))}"
        )
    wanted = expand(",".join(selection.nodes))
    strange = [name for name in wanted if name not in nodes]
    if strange:
        raise SlurmNodeError(f"reboot_nodes: slurmctld knows no node {', '.join(strange)}")
    homeless = sorted(set(wanted) - set(hosts.values()))
    if homeless:
        raise SlurmNodeError(
            f"reboot_nodes: no host of this run is the node {', '.join(homeless)}; see the inventory's group slurmd, and --limit"
        )
    stored_reason("check", selection.ticket)
