# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""process_exporter tells of daemons that belong to other accounts, under the names that Debian gives them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ansible_collections.hpcops.cluster.tests.support.hosts import PREFIX, container, eventually, names
from ansible_collections.hpcops.cluster.tests.support.runs import run_playbook

if TYPE_CHECKING:
    from testinfra.host import Host

(NAME,) = names("exporters")
testinfra_hosts = [f"docker://{PREFIX}{NAME}"]
PASSWORD = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "metrics").read_text(encoding="utf-8").strip()
ASK = "curl --silent --fail --max-time 20 --cacert /etc/process_exporter/ca.crt https://localhost:9256/metrics"


def value(metric: str, group: str, host: Host) -> float:
    text = host.check_output(f"{ASK} --user prometheus:{PASSWORD}")
    found = re.search(rf'^namedprocess_namegroup_{metric}{{groupname="{group}".*}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_who_does_not_know_the_password_is_refused(host: Host) -> None:
    assert host.run(ASK).rc == 22
    assert host.run(f"{ASK} --user prometheus:wrong").rc == 22


def test_process_that_changed_its_name_is_looked_at_again(host: Host) -> None:
    """One that is seen between its fork and its exec would be of no group for ever."""
    waits = "until [ -e /tmp/now ]; do sleep 0.2; done; exec sleep `expr 4700 + 11`"
    host.check_output(f"rm -f /tmp/now; systemd-run --unit=named sh -c '{waits}'")
    try:
        assert value("num_procs", "time", host) == 0
        host.check_output("touch /tmp/now")
        eventually(lambda: value("num_procs", "time", host), lambda number: number == 1)
    finally:
        host.check_output("systemctl stop named; rm -f /tmp/now")


def test_memory_time_and_files_of_another_account_s_daemon_are_told(host: Host) -> None:
    assert value("num_procs", "munged", host) == 1
    assert value("open_filedesc", "munged", host) > 3
    assert value("memory_bytes", "munged", host) > 100_000
    before = value("cpu_seconds_total", "munged", host)

    def after_more_work() -> float:
        """The kernel counts in ticks of 10 ms, and may miss what runs for less between two of them."""
        host.check_output("for round in $(seq 200); do munge --no-input | unmunge >/dev/null; done")
        return value("cpu_seconds_total", "munged", host)

    eventually(after_more_work, lambda now: now > before, 90)


@pytest.mark.parametrize(
    ("daemon", "group"),
    [("slurmctld", "slurmctld"), ("slurmctld-wlm", "slurmctld"), ("slurmd-wlm", "slurmd"), ("slurmdbd", "slurmdbd")],
)
def test_process_of_the_name_is_in_its_group(host: Host, daemon: str, group: str) -> None:
    """A process that has the daemon's name and nothing else of it; the scenario "cluster" has the daemons themselves."""
    host.check_output(
        f"cp $(command -v sleep) /usr/local/bin/{daemon} && systemd-run --unit=named /usr/local/bin/{daemon} 300"
    )
    try:
        eventually(lambda: value("num_procs", group, host), lambda number: number == 1)
    finally:
        host.check_output(f"systemctl stop named; rm /usr/local/bin/{daemon}")


def test_group_of_the_site_is_told(host: Host) -> None:
    host.check_output("systemd-run --unit=named sleep 4711")
    try:
        eventually(lambda: value("num_procs", "time", host), lambda number: number == 1)
    finally:
        host.check_output("systemctl stop named")


def test_its_account_may_look_into_processes_and_nothing_else(host: Host) -> None:
    pid = host.check_output("systemctl show --property=MainPID --value process_exporter")
    assert host.check_output(f"stat --format=%U /proc/{pid}") == "process_exporter"
    # CAP_DAC_READ_SEARCH is 2, which a container may lack; CAP_SYS_PTRACE is 19.
    for kind in ("CapEff", "CapBnd"):
        found = re.search(rf"^{kind}:\s(\S+)$", host.check_output(f"cat /proc/{pid}/status"), re.MULTILINE)
        assert found
        assert int(found[1], 16) in (1 << 19, 1 << 2 | 1 << 19)


def test_its_unit_starts_at_boot_and_after_a_crash_and_shuts_it_in(host: Host) -> None:
    wanted = {
        "UnitFileState": "enabled",
        "Restart": "always",
        "NoNewPrivileges": "yes",
        "PrivateDevices": "yes",
        "PrivateTmp": "yes",
        "ProtectHome": "yes",
        "ProtectSystem": "strict",
        "RestrictNamespaces": "yes",
    }
    shown = host.check_output(f"systemctl show process_exporter --property={','.join(wanted)}").splitlines()
    assert dict(line.split("=", 1) for line in shown) == wanted
    assert host.user("process_exporter").uid == 456
    assert "Ports=9256" in host.check_output("systemctl cat process_exporter").splitlines()
    assert host.check_output("stat --format='%U:%G %a' /etc/process_exporter/process.yml") == "root:root 644"


def test_package_may_take_the_place_of_the_release() -> None:
    host = container(NAME)
    try:
        run_playbook(variables={"process_exporter_install": "package"}).succeeded()
        assert value("num_procs", "munged", host) == 1
        pid = host.check_output("systemctl show --property=MainPID --value process_exporter")
        assert host.check_output(f"readlink /proc/{pid}/exe") == "/usr/bin/prometheus-process-exporter"
    finally:
        run_playbook().succeeded()
    assert value("num_procs", "munged", host) == 1


def test_wrong_group_is_refused_before_anything_changes() -> None:
    refused = run_playbook(variables={"process_exporter_more_groups": [{"name": "x"}]}).failed()
    assert "Not so: x" in refused.failure
    assert not refused.changed
