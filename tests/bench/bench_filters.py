# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Slurm filters and the planning of a change cost at 10,000 nodes, beside plain Jinja loops over the same data.

usage: python tests/bench/bench_filters.py [NODES]

Prints a line for each figure: what, value, unit, the floor's value, and how many times the floor it is. Memory is the most
that Python's allocations took at one time beyond what was there before (tracemalloc), measured in a run of its own.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from jinja2 import Environment

ROOT = Path(__file__).resolve().parents[2]
RELEASE = "24.11"
PARTITIONS = 20
ADDED = 100
ROUNDS = 3
# What a template does that knows nothing of folding: a line for each node, a list of names for each partition.
FLOOR = Environment().from_string(
    """{% for name in hosts %}{% set node = hostvars[name] -%}
NodeName={{ name }}{% if node.slurm_node_addr is defined %} NodeAddr={{ node.slurm_node_addr }}{% endif %}
 CPUs={{ node.slurm_node_cpus }} Sockets={{ node.slurm_node_sockets }}
 CoresPerSocket={{ node.slurm_node_cores_per_socket }} ThreadsPerCore={{ node.slurm_node_threads_per_core }}
 RealMemory={{ node.slurm_node_real_memory }}
 Features={{ node.slurm_node_features | join(',') }} Gres={{ node.slurm_node_gres | join(',') }} State=UNKNOWN
{% endfor %}{% for partition in partitions -%}
PartitionName={{ partition.PartitionName }} Nodes={{ partition.Nodes | join(',') }} MaxTime={{ partition.MaxTime }}
{% endfor %}"""
)


def plain_data(count: int, addresses: Callable[[int], str | None]) -> dict[str, dict[str, Any]]:
    """Return the variables of the hosts, one kind of node for each partition."""
    hostvars = {}
    for number in range(count):
        kind = number * PARTITIONS // count
        hostvars[f"c{number:05d}"] = {
            "ansible_host": f"c{number:05d}.example.org",
            "slurm_node_cpus": 64 + kind,
            "slurm_node_sockets": 2,
            "slurm_node_cores_per_socket": 16,
            "slurm_node_threads_per_core": 2,
            "slurm_node_real_memory": 250000,
            "slurm_node_features": ["ib", f"kind{kind}"],
            "slurm_node_gres": ["gpu:a100:4"],
        }
        address = addresses(number)
        if address:
            hostvars[f"c{number:05d}"]["slurm_node_addr"] = address
    return hostvars


def partitions(hosts: list[str]) -> list[dict[str, Any]]:
    """Return the partitions, each of its share of the hosts."""
    share = len(hosts) // PARTITIONS
    return [
        {"PartitionName": f"p{number}", "Nodes": hosts[number * share : (number + 1) * share], "MaxTime": "1-0"}
        for number in range(PARTITIONS)
    ]


def inventory(count: int, memory: str, folder: Path) -> HostVars:
    """Return Ansible's own hostvars of a generated inventory: group variables, an address for each host."""
    hosts = [f"c{number:05d}" for number in range(count)]
    shared = {f"other_{number}": "{{ not_to_be_read }}" for number in range(40)}
    racks = {
        f"rack{rack}": {
            "hosts": hosts[rack * count // PARTITIONS : (rack + 1) * count // PARTITIONS],
            "vars": {"slurm_node_cpus": 64 + rack, "slurm_node_features": ["ib"], "slurm_node_real_memory": memory},
        }
        for rack in range(PARTITIONS)
    }
    data = {
        "_meta": {
            "hostvars": {host: {"slurm_node_addr": f"10.1.{n // 250}.{n % 250}"} for n, host in enumerate(hosts)}
        },
        "slurmd": {"children": list(racks), "vars": {**shared, "slurm_node_gres": ["gpu:a100:4"], "memory_gib": 256}},
        **racks,
    }
    (folder / "hosts.json").write_text(json.dumps(data), encoding="utf-8")
    script = folder / "hosts.sh"
    script.write_text(f"#!/bin/sh\ncat '{folder}/hosts.json'\n", encoding="utf-8")
    script.chmod(0o755)
    loader = DataLoader()
    manager = InventoryManager(loader=loader, sources=[str(script)])
    return HostVars(manager, VariableManager(loader=loader, inventory=manager), loader)


def merge_variables(hostvars: HostVars, hosts: list[str]) -> None:
    """Do the least that reading anything of a host costs: let Ansible merge the host's variables once."""
    for host in hosts:
        hostvars.raw_get(host)


def best(function: Callable[..., Any], *arguments: Any, rounds: int = ROUNDS) -> float:
    """Return the shortest of the times that the function took."""
    times = []
    for _round in range(rounds):
        start = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - start)
    return min(times)


def peak(function: Callable[..., Any], *arguments: Any) -> float:
    """Return how much memory the function took at most, in MiB."""
    tracemalloc.start()
    try:
        function(*arguments)
        return tracemalloc.get_traced_memory()[1] / 1024 / 1024
    finally:
        tracemalloc.stop()


def plan_change(before: str, after: str) -> None:
    """Do what the control machine does of a change, as in a process that has not read anything yet."""
    module_utils = "ansible_collections.hpcops.cluster.plugins.module_utils"
    plan, rules, trial, files = (
        importlib.import_module(f"{module_utils}._slurm_{name}") for name in ("plan", "rules", "trial", "files")
    )
    files.forget()
    sets = {"slurm.conf": before}, {"slurm.conf": after}
    assert plan.make_plan(*sets, RELEASE).changes
    assert not rules.problems(sets[1], RELEASE, sets[0])
    assert trial.trial_text(sets[1])


def report(what: str, value: float, floor: float, unit: str = "s") -> None:
    """Print one figure beside its floor."""
    print(f"{what:<66} {value:9.3f} {unit:<5} floor {floor:9.3f} {unit:<5} ratio {value / floor:6.2f}", flush=True)


def main() -> None:
    """Print the figures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10000
    init_plugin_loader([str(ROOT / ".ansible" / "collections")])
    plugins = "ansible_collections.hpcops.cluster.plugins.filter"
    slurm_nodes = importlib.import_module(f"{plugins}.slurm_nodes").slurm_nodes
    slurm_conf = importlib.import_module(f"{plugins}.slurm_conf").slurm_conf
    fold = importlib.import_module(f"{plugins}.hostlist_fold").hostlist_fold
    expand = importlib.import_module(f"{plugins}.hostlist_expand").hostlist_expand

    for addressing, address in (
        ("no addresses", lambda number: None),
        ("addresses in the order of the names", lambda number: f"10.1.{number // 250}.{number % 250}"),
        ("addresses in no order", lambda number: f"10.{number * 7 % 251}.{number * 31 % 241}.{number % 239}"),
    ):
        hostvars = plain_data(count + ADDED, address)
        more = list(hostvars)
        hosts = more[:count]
        lines = slurm_nodes(hosts, hostvars, RELEASE)
        parts = partitions(hosts)
        data = {"hosts": hosts, "hostvars": hostvars, "partitions": parts}
        params = {"ClusterName": "demo", "SlurmctldHost": ["ctl1", "ctl2"], "GresTypes": ["gpu"]}
        text = slurm_conf(params, RELEASE, lines=[*lines, *parts])
        floor = best(FLOOR.render, data)
        nodes = best(slurm_nodes, hosts, hostvars, RELEASE)
        conf = best(slurm_conf, params, RELEASE, "slurm.conf", None, [*lines, *parts])
        report(f"slurm_nodes, {count} nodes, {addressing}", nodes, floor)
        report(f"slurm_conf, {len(lines)} node lines, {PARTITIONS} partitions", conf, floor)
        report("  both together", nodes + conf, floor)
        report("  size of the text", len(text) / 1024, len(FLOOR.render(data)) / 1024, "KiB")
        floor_peak = peak(FLOOR.render, data)
        report("  peak memory of slurm_nodes", peak(slurm_nodes, hosts, hostvars, RELEASE), floor_peak, "MiB")
        conf_peak = peak(slurm_conf, params, RELEASE, "slurm.conf", None, [*lines, *parts])
        report("  peak memory of slurm_conf", conf_peak, floor_peak, "MiB")
        other = [{**parts[0], "MaxTime": "2-0"}, *parts[1:]]
        added = slurm_nodes(more, hostvars, RELEASE)
        for change, after in (
            ("one partition", slurm_conf(params, RELEASE, lines=[*lines, *other])),
            (f"{ADDED} nodes more", slurm_conf(params, RELEASE, lines=[*added, *parts])),
        ):
            report(f"  plan and check: {change}", best(plan_change, text, after), floor)
            report("    peak memory", peak(plan_change, text, after), floor_peak, "MiB")

    names = [f"c{number:05d}" for number in range(count)]
    folded = fold(names)
    report(f"hostlist_fold, {count} names", best(fold, names), best(lambda: ",".join(sorted(names))))
    report(f"hostlist_expand, {count} names", best(expand, folded), best(",".join(names).split, ","))

    for what, memory in (("plain values", "262144"), ("one value a template", "{{ memory_gib * 1024 }}")):
        with tempfile.TemporaryDirectory() as folder:
            real = inventory(count, memory, Path(folder))
            hosts = list(real)
            merging = best(merge_variables, real, hosts, rounds=1)
            whole = best(slurm_nodes, hosts, real, RELEASE, rounds=1)
            report(f"slurm_nodes, {count} hosts of Ansible's inventory, {what}", whole, merging)


if __name__ == "__main__":
    main()
