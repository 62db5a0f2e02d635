# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Both programs answer over TLS those alone who know the password; what they tell of jobs is in the scenario "cgroup"."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.hpcops.cluster.tests.support.hosts import PREFIX, container, matrix_alone, names
from ansible_collections.hpcops.cluster.tests.support.runs import run_playbook

if TYPE_CHECKING:
    from testinfra.host import Host

(STAND_IN,) = names("standin")
(CADVISOR,) = names("cadvisor")
HOSTS = [STAND_IN, CADVISOR]
# What is the same for both, and for all exporters.
ONE = [pytest.param(STAND_IN, marks=matrix_alone), CADVISOR]
testinfra_hosts = [f"docker://{PREFIX}{name}" for name in HOSTS]
PASSWORD = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "metrics").read_text(encoding="utf-8").strip()
CA = "--cacert /etc/cgroup_exporter/ca.crt"
KNOWN = f"{CA} --user prometheus:{PASSWORD}"
# What each of the two programs tells on a host without jobs.
OWN_METRIC = {STAND_IN: "node_exporter_build_info", CADVISOR: "machine_memory_bytes"}


def answer(host: Host, options: str, url: str = "https://localhost:9306/metrics") -> tuple[str, str]:
    """Status and text."""
    done = host.run(f"curl --silent --max-time 20 {options} --write-out '\n%{{http_code}}' {url}")
    text, _newline, status = done.stdout.rpartition("\n")
    return status, text


def arguments(name: str) -> list[str]:
    """What the program was started with."""
    host = container(name)
    pid = host.check_output("systemctl show --property=MainPID --value cgroup_exporter")
    return str(host.check_output(f"tr '\\0' '\\n' </proc/{pid}/cmdline")).splitlines()


def test_other_host_reads_metrics_over_tls_with_the_password(host: Host) -> None:
    name = host.backend.name.removeprefix(PREFIX)
    other = container(next(other for other in HOSTS if other != name))
    status, text = answer(other, KNOWN, f"https://{name.rpartition('-')[2]}:9306/metrics")
    assert status == "200", host.run("journalctl --unit=cgroup_exporter --no-pager --lines=20").stdout
    assert OWN_METRIC[name] in text


@pytest.mark.parametrize(
    ("options", "url", "status"),
    [
        (CA, "https://localhost:9306/metrics", "401"),
        (f"{CA} --user prometheus:wrong", "https://localhost:9306/metrics", "401"),
        (f"--user prometheus:{PASSWORD}", "http://localhost:9306/metrics", "400"),
    ],
    ids=["no password", "another password", "no TLS"],
)
def test_who_does_not_know_the_password_or_comes_without_tls_is_refused(
    host: Host, options: str, url: str, status: str
) -> None:
    refused, text = answer(host, options, url)
    assert refused == status
    assert OWN_METRIC[host.backend.name.removeprefix(PREFIX)] not in text


def test_cadvisor_itself_answers_its_own_host_alone() -> None:
    host = container(CADVISOR)
    listening = host.check_output("ss -Hltnp | grep cadvisor").split()
    assert listening[3] == "127.0.0.1:9307"
    assert answer(host, KNOWN, "https://localhost:9306/containers/")[0] == "404"


def test_its_process_has_no_rights_and_no_password_is_readable_by_others(host: Host) -> None:
    pid = host.check_output("systemctl show --property=MainPID --value cgroup_exporter")
    assert host.check_output(f"stat --format=%U /proc/{pid}") == "cgroup_exporter"
    assert re.search(r"^CapEff:\s0+$", host.check_output(f"cat /proc/{pid}/status"), re.MULTILINE)
    for path in ("web.yml", "users", "tls.key"):
        file = host.file(f"/etc/cgroup_exporter/{path}")
        assert not file.exists or oct(file.mode) == "0o640"
    assert PASSWORD not in host.check_output(f"cat /etc/cgroup_exporter/* /proc/{pid}/cmdline")


@pytest.mark.parametrize(
    ("variables", "path"),
    [
        ({}, "/system.slice/c1_slurmstepd.scope"),
        pytest.param({"slurmctld_cgroup": "v1"}, "/slurm_c1", marks=matrix_alone),
        pytest.param({"slurm_install_method": "repository"}, "/system.slice/slurmstepd.scope", marks=matrix_alone),
        ({"slurm_install_method": "build", "slurmctld_cgroup": "v1"}, "/slurm"),
        pytest.param({"cgroup_exporter_paths": ["/user.slice", "/torque"]}, "/user.slice,/torque", marks=matrix_alone),
    ],
    ids=["Debian, v2", "Debian, v1", "SchedMD, v2", "SchedMD, v1", "the site's own"],
)
def test_stand_in_for_cgroup_exporter_is_told_where_slurm_has_its_groups(variables: dict[str, Any], path: str) -> None:
    unit = "/etc/systemd/system/cgroup_exporter.service"
    try:
        if variables:
            run_playbook(f"--limit={STAND_IN}", variables=variables).succeeded()
        assert f'"--config.paths={path}" ' in container(STAND_IN).file(unit).content_string
        assert answer(container(STAND_IN), KNOWN)[0] == "200"
    finally:
        if variables:
            run_playbook(f"--limit={STAND_IN}").succeeded()


def test_cadvisor_is_told_where_slurm_has_its_groups_and_what_nobody_asks_for() -> None:
    started = arguments(CADVISOR)
    assert "--docker_only" in started
    assert "--raw_cgroup_prefix_whitelist=/system.slice/c1_slurmstepd.scope" in started
    (disabled,) = [argument for argument in started if argument.startswith("--disable_metrics=")]
    assert {"percpu", "network"} <= set(disabled.partition("=")[2].split(","))
    assert not {"cpu", "memory"} & set(disabled.partition("=")[2].split(","))


def test_one_program_takes_the_other_s_place_and_a_dry_run_tells_so() -> None:
    host, limit = container(CADVISOR), f"--limit={CADVISOR}"
    variables = {
        "cgroup_exporter_program": "cgroup_exporter",
        "cgroup_exporter_checksum": "https://github.com/treydock/cgroup_exporter/releases/download/v1.2.1/checksums.txt",
    }
    assert run_playbook(limit, "--check", variables=variables).succeeded().changed
    assert OWN_METRIC[CADVISOR] in answer(host, KNOWN)[1]
    try:
        run_playbook(limit, variables=variables).succeeded()
        assert OWN_METRIC[STAND_IN] in answer(host, KNOWN)[1]
        assert "nginx" not in host.check_output("ss -Hltnp 'sport = :9306'")
        assert not run_playbook(limit, variables=variables).succeeded().changed
    finally:
        run_playbook(limit).succeeded()
    assert OWN_METRIC[CADVISOR] in answer(host, KNOWN)[1]


def test_nginx_uses_a_certificate_that_was_made_anew() -> None:
    host = container(CADVISOR)
    served = "echo | openssl s_client -connect localhost:9306 2>/dev/null | openssl x509 -noout -serial"
    before = host.check_output(served)
    host.check_output("rm /etc/cgroup_exporter/tls.crt")
    run_playbook(f"--limit={CADVISOR}").succeeded()
    assert host.check_output(served) != before


@pytest.mark.parametrize("name", ONE)
def test_new_password_is_in_force_and_the_former_is_not(name: str) -> None:
    host, new = container(name), "another-password-of-many-letters"
    try:
        changed = run_playbook(f"--limit={name}", variables={"hpcops_metrics_password": new}).succeeded()
        assert new not in changed.text
        assert answer(host, KNOWN)[0] == "401"
        assert answer(host, f"{CA} --user prometheus:{new}")[0] == "200"
    finally:
        run_playbook(f"--limit={name}").succeeded()


@pytest.mark.parametrize("name", ONE)
def test_without_a_password_it_answers_on_its_own_host_alone(name: str) -> None:
    host = container(name)
    try:
        run_playbook(f"--limit={name}", variables={"hpcops_metrics_password": ""}).succeeded()
        assert host.check_output("ss -Hltn 'sport = :9306'").split()[3] == "127.0.0.1:9306"
    finally:
        run_playbook(f"--limit={name}").succeeded()
    assert answer(host, KNOWN)[0] == "200"


def test_release_that_does_not_exist_is_refused_and_it_runs_as_before() -> None:
    refused = run_playbook(f"--limit={STAND_IN}", variables={"cgroup_exporter_version": "9.9.9"}).failed()
    assert "9.9.9" in refused.failure
    assert not refused.changed
    assert answer(container(STAND_IN), KNOWN)[0] == "200"
