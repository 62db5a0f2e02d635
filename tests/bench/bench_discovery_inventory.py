"""Measure what the inventory plugin makes a run of Ansible wait for, beside a plain inventory script that prints the same.

usage: tests/bench/bench_discovery_inventory.py [--hosts 10000] [--times 3]
Each host is in five groups and has eleven variables. Both are read by "ansible -i X all --list-hosts": the plugin from the real API
over TLS, cold (nothing kept from before) and warm; the script prints a text that lies ready.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".ansible" / "collections"))

from ansible_collections.hpcops.cluster.tests.bench.bench_discovery import host  # noqa: E402  # found by the line above
from ansible_collections.hpcops.cluster.tests.support.discovery_service import READER, Service, discovery_service  # noqa: E402

BATCH = 10_000


def fill(service: Service, count: int) -> None:
    service.ask("PUT", "/v1/clusters/alpha", {"slurm": {"SlurmctldTimeout": 300}})
    for first in range(0, count, BATCH):
        numbers = range(first, min(first + BATCH, count))
        service.ask("POST", "/v1/hosts", {"hosts": [host(number) for number in numbers]})


def sources(folder: Path, service: Service) -> dict[str, Path]:
    """The same hosts as a configuration of the plugin, one that makes groups of its own besides, and as a script."""
    common = {
        "plugin": "hpcops.cluster.discovery",
        "url": service.url,
        "ca_file": str(service.ca_file),
        "token": READER,
    }
    common["cache_dir"] = str(folder / "cache")
    lean, composed, script = folder / "lean.discovery.yml", folder / "composed.discovery.yml", folder / "script"
    lean.write_text(json.dumps(common))
    more: dict[str, Any] = {
        "compose": {"site_big": "slurm_node_cpus >= 64", "site_name": "inventory_hostname | upper"},
        "groups": {"gpu_nodes": "'gpu' in discovery_partitions"},
        "keyed_groups": [{"key": "discovery_labels.environment", "prefix": "env"}],
    }
    composed.write_text(json.dumps({**common, **more}))
    answer = service.ask("GET", "/v1/inventory")
    groups: dict[str, Any] = {"cluster_alpha": {"hosts": [], "vars": answer["clusters"]["alpha"]["vars"]}}
    for name, item in answer["hosts"].items():
        labels = [f"label_{key}_{value}" for key, value in item["labels"].items()]
        partitions = [f"partition_{partition}" for partition in item["partitions"]]
        for group in ("cluster_alpha", *item["roles"], *partitions, f"state_{item['state']}", *labels):
            groups.setdefault(group, {"hosts": []})["hosts"].append(name)
    text = json.dumps({**groups, "_meta": {"hostvars": {name: item["vars"] for name, item in answer["hosts"].items()}}})
    (folder / "answer.json").write_text(text)
    script.write_text(f"#!/bin/sh\nexec cat {folder}/answer.json\n")
    script.chmod(0o755)
    first = next(iter(answer["hosts"].values()))
    print(f"{len(answer['hosts'])} hosts, {len(first['vars'])} variables each, {len(groups)} groups", flush=True)
    return {"lean": lean, "composed": composed, "script": script}


def listing(source: Path, folder: Path, count: int) -> tuple[float, float, float]:
    """Seconds of wall and processor time, and MiB at most, that Ansible took to list all hosts."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
    }
    command = [str(Path(sys.executable).with_name("ansible")), "-i", str(source), "all", "--list-hosts"]
    output = folder / "output"
    with output.open("wb") as file:
        begin = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.PIPE, cwd=folder)
        _pid, status, usage = os.wait4(process.pid, 0)
        took = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0 or f"hosts ({count})" not in output.read_text():
        raise SystemExit(f"{source.name}: {process.stderr.read().decode() if process.stderr else ''}")
    return took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def measure(folder: Path, service: Service, count: int, times: int) -> None:
    found = sources(folder, service)
    wall: dict[str, float] = {}
    for name, source, cold in (
        ("script that prints the same", found["script"], False),
        ("plugin, cold", found["lean"], True),
        ("plugin, warm", found["lean"], False),
        ("plugin with compose, groups and keyed_groups, cold", found["composed"], True),
        ("plugin with compose, groups and keyed_groups, warm", found["composed"], False),
    ):
        runs = []
        for _time in range(times):
            if cold:
                shutil.rmtree(folder / "cache", ignore_errors=True)
            runs.append(listing(source, folder, count))
        walls, cpus, memory = zip(*runs)
        wall[name] = statistics.median(walls)
        print(
            f"{name:<52} {wall[name]:7.2f} s  {statistics.median(cpus):7.2f} s CPU  {max(memory):6.0f} MiB at most",
            flush=True,
        )
    script = wall["script that prints the same"]
    for name in ("plugin, cold", "plugin, warm"):
        print(f"{name} to script: ratio {wall[name] / script:.2f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    setup = ["tests/setup.sh", ".cache/venv-discovery", "tests/requirements-discovery.txt", "3.11", "3.12", "3.13"]
    subprocess.run(setup, cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory(prefix="bench-discovery-inventory.") as name:
        folder = Path(name)
        with discovery_service(folder) as service:
            fill(service, options.hosts)
            measure(folder, service, options.hosts, options.times)
    return 0


if __name__ == "__main__":
    sys.exit(main())
