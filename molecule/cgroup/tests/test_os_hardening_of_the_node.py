# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What os_hardening does with a kernel of its own: users get in where they have a job, changes are recorded, modules stay out."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import testinfra

from ansible_collections.hpcops.cluster.tests.support.hosts import (
    INVENTORY,
    container,
    eventually,
    matrix_alone,
    names,
    said,
    variables_of,
)
from ansible_collections.hpcops.cluster.tests.support.runs import run_playbook

if TYPE_CHECKING:
    from testinfra.host import Host

pytestmark = matrix_alone
(CONTROLLER,) = names("slurmctld")
(NODE,) = names("slurmd")
VARIABLES = variables_of(NODE)


def log_in(user: str, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command on the node as somebody who comes by SSH."""
    ssh = [
        "ssh",
        "-o",
        "LogLevel=INFO",
        "-i",
        VARIABLES["ansible_ssh_private_key_file"],
        *VARIABLES["ansible_ssh_common_args"].split(),
    ]
    return subprocess.run(
        [*ssh, "-o", "BatchMode=yes", f"{user}@{VARIABLES['ansible_host']}", command],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(name="node", scope="module")
def node_fixture() -> Host:
    """The node after the role, which alice could log in to before."""
    node = testinfra.get_host(f"ansible://{NODE}", ansible_inventory=INVENTORY)
    node.check_output(
        # What Debian's own session of sshd has on a bare host: it would move the session out of the job's cgroup.
        "systemctl unmask apt-daily-upgrade.timer && apt-get install --quiet=2 libpam-systemd >/dev/null && systemctl start systemd-logind"
        " && install --directory --owner=alice --mode=0700 ~alice ~alice/.ssh"
        " && install --owner=alice --mode=0600 ~/.ssh/authorized_keys ~alice/.ssh/"
    )
    assert "/session-" in log_in("alice", "cat /proc/self/cgroup").stdout
    assert node.run("modprobe --dry-run hfs").rc == 0
    run_playbook(playbook="harden.yml").succeeded()
    return node


def test_user_without_a_job_is_refused_and_with_one_is_in_its_cgroup(node: Host) -> None:
    refused = log_in("alice", "true")
    assert refused.returncode != 0
    assert "you have no active jobs on this node" in refused.stderr

    controller = container(CONTROLLER)
    sbatch = "sbatch --parsable --chdir=/tmp --output=/dev/null --mem=50M --wrap='sleep 600'"
    job = controller.check_output(f'su - alice -c "{sbatch}"').strip()
    try:
        eventually(
            lambda: said(controller, f"squeue --noheader --jobs={job} --format=%T"),
            lambda state: state == "RUNNING",
            seconds=60,
        )
        inside = log_in("alice", "cat /proc/self/cgroup")
        assert f"/job_{job}/" in inside.stdout, inside.stderr
        # And so the job's limit holds for it.
        assert log_in("alice", "head -c 120M /dev/zero | tail -c 120M >/dev/null").returncode != 0
    finally:
        controller.check_output(f"scancel {job}")
    eventually(lambda: log_in("alice", "true").returncode != 0, seconds=60)


def test_change_of_a_key_is_recorded(node: Host) -> None:
    node.check_output("touch /etc/munge/munge.key")
    recorded = eventually(
        lambda: said(node, "ausearch --input-logs --key hpcops --interpret --file /etc/munge/munge.key")
    )
    assert 'exe="/usr/bin/touch"' in recorded or "exe=/usr/bin/touch" in recorded


def test_module_that_is_never_loaded_is_not(node: Host) -> None:
    assert node.run("modprobe hfs").rc != 0
    assert node.check_output("sysctl --values kernel.dmesg_restrict").strip() == "1"


def test_second_run_changes_nothing_and_all_evidence_passes(node: Host) -> None:
    assert not run_playbook(playbook="harden.yml").succeeded().changed
    file = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "evidence", f"{NODE}.json")
    evidence = json.loads(file.read_text(encoding="utf-8"))
    assert {"users get in only where they have a job", "changes of what matters are recorded"} <= {
        entry["control"] for entry in evidence
    }
    assert not [entry for entry in evidence if not entry["passed"]]
