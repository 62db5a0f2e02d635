# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a second run of the playbook site costs on three hosts, beside the bare setup module on the same hosts.

usage: python tests/bench/bench_second_run.py [--keep]

Deploys a controller and two compute nodes in containers, then measures runs that change nothing: by Ansible's own strategy and
by Mitogen's. Prints a line for each figure: what, value, unit, the floor's value from the same rounds, and how many times the
floor it is. The times are medians of alternating rounds, so that a busy machine slows both.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import ansible_mitogen

ROOT = Path(__file__).resolve().parents[2]
HOSTS = {"bench-ctl": "slurmctld", "bench-c1": "slurmd", "bench-c2": "slurmd"}
NETWORK = "hpcops-bench"
IMAGE = f"hpcops-test:{os.environ.get('DISTRO', 'trixie')}"
ROUNDS = 3
INVENTORY = """\
all:
  vars:
    ansible_connection: docker  # by this name Mitogen knows it
    ansible_python_interpreter: /usr/bin/python3
    slurm_cluster_name: bench
    slurm_node_cpus: 2
    slurm_node_real_memory: 1000
    os_base_time_sync: false
    os_base_sysctl: {}
  children:
    slurmctld: {hosts: {bench-ctl: }}
    slurmd: {hosts: {bench-c1: , bench-c2: }}
"""
STRATEGIES: Mapping[str, Mapping[str, str]] = {
    "Ansible's own strategy": {"ANSIBLE_STRATEGY": "linear"},
    "Mitogen's strategy": {
        "ANSIBLE_STRATEGY": "mitogen_linear",
        "ANSIBLE_STRATEGY_PLUGINS": str(Path(ansible_mitogen.__file__).parent / "plugins" / "strategy"),
    },
}


def docker(*arguments: str, check: bool = True) -> None:
    subprocess.run(
        ["docker", *arguments], check=check, stdout=subprocess.DEVNULL, stderr=None if check else subprocess.DEVNULL
    )


def remove_hosts() -> None:
    docker("rm", "--force", "--volumes", *HOSTS, check=False)
    docker("network", "rm", NETWORK, check=False)


def start_hosts() -> None:
    remove_hosts()
    docker("network", "create", NETWORK)
    options = [f"--cap-add={name}" for name in ("SYS_ADMIN", "NET_ADMIN", "SYS_NICE", "IPC_LOCK", "SYS_PTRACE")]
    options += [
        "--security-opt=seccomp=unconfined",
        "--security-opt=apparmor=unconfined",
        "--tmpfs=/run:exec",
        "--tmpfs=/tmp:exec",
    ]
    for host in HOSTS:
        docker("run", "--detach", f"--name={host}", f"--hostname={host}", f"--network={NETWORK}", *options, IMAGE)


def timed(command: list[str], env: Mapping[str, str]) -> tuple[float, str]:
    """Seconds that the command took, and its output; ends the program when the command fails."""
    start = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")
    return time.monotonic() - start, done.stdout


def main() -> None:
    subprocess.run([ROOT / "tests/images/engine.sh"], check=True)
    subprocess.run([ROOT / "tests/images/apt-cache.sh"], check=True)
    subprocess.run([ROOT / "tests/images/build.sh", IMAGE.partition(":")[2]], check=True)
    with tempfile.TemporaryDirectory() as directory:
        inventory = Path(directory, "hosts.yml")
        inventory.write_text(INVENTORY)
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            "ANSIBLE_HOME": directory,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible/collections"),
            "ANSIBLE_PIPELINING": "true",
            "ANSIBLE_FORKS": "10",
            "ANSIBLE_INJECT_FACT_VARS": "false",
        }
        programs = Path(sys.executable).parent
        site = [str(programs / "ansible-playbook"), f"--inventory={inventory}", "hpcops.cluster.site"]
        setup = [str(programs / "ansible"), f"--inventory={inventory}", "all", "--module-name=ansible.builtin.setup"]
        start_hosts()
        try:
            timed(site, env)
            for name, strategy in STRATEGIES.items():
                floors, runs = [], []
                for _round in range(ROUNDS):
                    floors.append(timed(setup, env)[0])
                    seconds, output = timed(site, {**env, **strategy})
                    if any(changed != "0" for changed in re.findall(r" changed=(\d+) ", output)):
                        sys.exit(f"the run was not one without change:\n{output[-4000:]}")
                    runs.append(seconds)
                run, floor = statistics.median(runs), statistics.median(floors)
                what = f"site without change, 3 hosts, {name} (floor: bare setup module)"
                print(f"{what:<82} {run:7.2f} s  floor {floor:7.2f} s  ratio {run / floor:5.2f}", flush=True)
        finally:
            if "--keep" not in sys.argv:
                remove_hosts()


if __name__ == "__main__":
    main()
