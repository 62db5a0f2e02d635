# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module slurm_accounting costs at 200 accounts, 5,000 users and 20 QOS, beside sacctmgr load of the same content.

usage: python tests/bench/bench_accounting.py [--keep]

Deploys MariaDB and slurmdbd in a container with two clusters. One gets its accounts from the module, by a whole run of
ansible-playbook; the other the same number of accounts and users of other names from sacctmgr load, which knows no QOS in every
release. Then both are asked again for what is there already, in alternating rounds. Prints a line for each figure: what, the
module's seconds, those of sacctmgr load, and how many times as long the module took.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HOST = "bench-accounting"
DISTRO = os.environ.get("DISTRO", "trixie")
ROUNDS = 3
DIVISIONS, ACCOUNTS, USERS, QOS = 20, 200, 5000, 20
CAPABILITIES = ("SYS_ADMIN", "NET_ADMIN", "SYS_NICE", "IPC_LOCK", "SYS_PTRACE")
VARIABLES: Mapping[str, Any] = {
    "ansible_connection": "community.docker.docker",
    "ansible_python_interpreter": "/usr/bin/python3",
    "os_base_time_sync": False,
    "os_base_sysctl": {},
    "slurm_cluster_name": "module",
    "slurmdbd_clusters": ["module", "loaded"],
    "slurmdbd_storage_password": "OnlyForTheBenchmark",
    "mariadb_buffer_pool_mib": 256,
    "mariadb_users": [
        {
            "name": "slurm",
            "host": "localhost",
            "password": "OnlyForTheBenchmark",
            "privileges": "slurm_acct_db.*:ALL",
        }
    ],
}
DEPLOY = [
    {
        "hosts": "all",
        "gather_subset": ["min"],
        "roles": [f"hpcops.cluster.{role}" for role in ("os_base", "munge", "mariadb", "slurmdbd")],
    }
]


def accounts(prefix: str) -> list[tuple[str, str]]:
    """Accounts with their parents: divisions, and groups in them."""
    divisions = [(f"{prefix}division{number}", "root") for number in range(DIVISIONS)]
    groups = [
        (f"{prefix}group{number}", f"{prefix}division{number % DIVISIONS}") for number in range(ACCOUNTS - DIVISIONS)
    ]
    return divisions + groups


def members(prefix: str) -> list[tuple[str, list[str]]]:
    """Users with their accounts, the default one first; every fifth is in two."""
    groups = ACCOUNTS - DIVISIONS
    return [
        (
            f"{prefix}user{number}",
            [
                f"{prefix}group{number % groups}",
                *([f"{prefix}group{(number + 7) % groups}"] if number % 5 == 0 else []),
            ],
        )
        for number in range(USERS)
    ]


def document() -> dict[str, Any]:
    return {
        "config_file": "/etc/slurm/sacctmgr.conf",
        "purge": "listed_scopes",
        "clusters": [{"name": "module"}],
        "qos": [{"name": f"qos{number}", "parameters": {"Priority": number}} for number in range(QOS)],
        "accounts": [
            {"name": name, "parent": parent, "parameters": {"Fairshare": 2 + number % 9}}
            for number, (name, parent) in enumerate(accounts("m"))
        ],
        "users": [{"name": name, "default_account": chosen[0], "accounts": chosen} for name, chosen in members("m")],
    }


def dump() -> str:
    """The same for sacctmgr load."""
    lines = ["Cluster - 'loaded':Fairshare=1:QOS='normal'", "Parent - 'root'"]
    shares = {name: 2 + number % 9 for number, (name, _parent) in enumerate(accounts("l"))}
    tree: dict[str, list[str]] = {}
    for name, parent in accounts("l"):
        tree.setdefault(parent, []).append(name)
    users: dict[str, list[tuple[str, str]]] = {}
    for name, chosen in members("l"):
        for account in chosen:
            users.setdefault(account, []).append((name, chosen[0]))
    for parent, children in tree.items():
        lines.append(f"Parent - '{parent}'")
        lines += [
            f"Account - '{name}':Description='{name}':Organization='{name}':Fairshare={shares[name]}"
            for name in children
        ]
    for account, found in users.items():
        lines.append(f"Parent - '{account}'")
        lines += [f"User - '{name}':DefaultAccount='{default}':Fairshare=1" for name, default in found]
    return "\n".join(lines) + "\n"


def docker(*arguments: str, check: bool = True) -> None:
    subprocess.run(
        ["docker", *arguments], check=check, stdout=subprocess.DEVNULL, stderr=None if check else subprocess.DEVNULL
    )


def timed(command: list[str], env: Mapping[str, str]) -> tuple[float, str]:
    """Seconds that the command took, and its output; ends the program when the command fails."""
    start = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")
    return time.monotonic() - start, done.stdout


def report(what: str, module: float, load: float) -> None:
    print(f"{what:<60} {module:7.2f} s  sacctmgr load {load:7.2f} s  ratio {module / load:5.2f}", flush=True)


def main() -> None:
    subprocess.run([ROOT / "tests/images/engine.sh"], check=True)
    subprocess.run([ROOT / "tests/images/apt-cache.sh"], check=True)
    subprocess.run([ROOT / "tests/images/build.sh", DISTRO], check=True)
    with tempfile.TemporaryDirectory() as directory:
        files = {
            "hosts.json": {"all": {"hosts": {HOST: None}, "vars": VARIABLES}},
            "deploy.yml": DEPLOY,
            "keep.yml": [
                {
                    "hosts": "all",
                    "gather_facts": False,
                    "tasks": [{"name": "Keep the accounts", "hpcops.cluster.slurm_accounting": document()}],
                }
            ],
        }
        for name, content in files.items():
            Path(directory, name).write_text(json.dumps(content))
        Path(directory, "accounts.cfg").write_text(dump())
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            "ANSIBLE_HOME": directory,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible/collections"),
            "ANSIBLE_PIPELINING": "true",
        }
        playbook = [str(Path(sys.executable).parent / "ansible-playbook"), f"--inventory={directory}/hosts.json"]
        keep = [*playbook, f"{directory}/keep.yml"]
        load = ["docker", "exec", "--env=SLURM_CONF=/etc/slurm/sacctmgr.conf", HOST]
        load += ["sacctmgr", "--immediate", "load", "file=/root/accounts.cfg"]
        docker("rm", "--force", "--volumes", HOST, check=False)
        options = [f"--cap-add={name}" for name in CAPABILITIES]
        options += ["--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined"]
        options += ["--tmpfs=/run:exec", "--tmpfs=/tmp:exec"]
        docker("run", "--detach", f"--name={HOST}", f"--hostname={HOST}", *options, f"hpcops-test:{DISTRO}")
        try:
            timed([*playbook, f"{directory}/deploy.yml"], env)
            docker("cp", f"{directory}/accounts.cfg", f"{HOST}:/root/accounts.cfg")
            content = f"{ACCOUNTS} accounts, {USERS} users, {QOS} QOS"
            report(f"first load, {content}", timed(keep, env)[0], timed(load, env)[0])
            again, floors = [], []
            for _round in range(ROUNDS):
                seconds, output = timed(keep, env)
                if not re.search(r" changed=0 ", output):
                    sys.exit(f"the run was not one without change:\n{output[-4000:]}")
                again.append(seconds)
                floors.append(timed(load, env)[0])
            report(f"no change, {content}", statistics.median(again), statistics.median(floors))
        finally:
            if "--keep" not in sys.argv:
                docker("rm", "--force", "--volumes", HOST, check=False)


if __name__ == "__main__":
    main()
