# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""node_exporter answers over TLS those alone who know the password, from a package and from a release."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.hpcops.cluster.tests.support.hosts import PREFIX, container, eventually, names
from ansible_collections.hpcops.cluster.tests.support.runs import run_playbook

if TYPE_CHECKING:
    from testinfra.host import Host

(PACKAGED,) = names("packaged")
(RELEASED,) = names("mirror")
HOSTS = [PACKAGED, RELEASED]
testinfra_hosts = [f"docker://{PREFIX}{name}" for name in HOSTS]
PASSWORD = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "metrics").read_text(encoding="utf-8").strip()
CA = "--cacert /etc/node_exporter/ca.crt"
LAST_RUN = "/var/lib/hpcops/last-run"


def answer(
    host: Host, options: str = f"{CA} --user prometheus:{PASSWORD}", url: str = "https://localhost:9100"
) -> tuple[str, str]:
    """Status and text."""
    done = host.run(f"curl --silent --max-time 20 {options} --write-out '\n%{{http_code}}' {url}/metrics")
    text, _newline, status = done.stdout.rpartition("\n")
    return status, text


def metrics(host: Host) -> str:
    status, text = answer(host)
    assert status == "200", host.run("journalctl --unit=node_exporter --no-pager --lines=20").stdout
    return text


def other(host: Host) -> tuple[str, Host]:
    """The other host, by the name that its certificate has."""
    name = RELEASED if host.backend.name.removeprefix(PREFIX) == PACKAGED else PACKAGED
    return name.rpartition("-")[2], container(name)


def test_other_host_reads_metrics_over_tls_with_the_password(host: Host) -> None:
    name, _there = other(host)
    status, text = answer(host, url=f"https://{name}:9100")
    assert status == "200"
    assert f'nodename="{name}"' in text


@pytest.mark.parametrize(
    ("options", "url", "status"),
    [
        (CA, "https://localhost:9100", "401"),
        (f"{CA} --user prometheus:wrong", "https://localhost:9100", "401"),
        (f"--user prometheus:{PASSWORD}", "http://localhost:9100", "400"),
    ],
    ids=["no password", "another password", "no TLS"],
)
def test_who_does_not_know_the_password_or_comes_without_tls_is_refused(
    host: Host, options: str, url: str, status: str
) -> None:
    refused, text = answer(host, options, url)
    assert refused == status
    assert "node_" not in text


def test_release_and_package_are_what_was_asked_for() -> None:
    assert 'version="1.12.1"' in metrics(container(RELEASED))
    packaged = container(PACKAGED).package("prometheus-node-exporter").version.partition("-")[0]
    assert f'version="{packaged}"' in metrics(container(PACKAGED))


def test_its_process_has_no_rights_and_no_secret_is_readable_by_others(host: Host) -> None:
    pid = host.check_output("systemctl show --property=MainPID --value node_exporter")
    status = host.check_output(f"cat /proc/{pid}/status")
    assert host.check_output(f"stat --format=%U /proc/{pid}") == "node_exporter"
    assert re.search(r"^CapEff:\s0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s1$", status, re.MULTILINE)
    for path in ("/etc/node_exporter/web.yml", "/etc/node_exporter/tls.key"):
        assert oct(host.file(path).mode) == "0o640"
        assert host.file(path).group == "node_exporter"
    assert PASSWORD not in host.check_output(f"cat /etc/node_exporter/web.yml /proc/{pid}/cmdline")


def test_package_does_not_run_its_own_service_or_another_exporter() -> None:
    host = container(PACKAGED)
    assert not host.service("prometheus-node-exporter").is_running
    assert host.check_output("ss -Hltn 'sport = :9100' | wc -l") == "1"
    assert not host.package("prometheus-node-exporter-collectors").is_installed  # which the package recommends


def test_its_unit_starts_at_boot_and_after_a_crash_and_shuts_it_in(host: Host) -> None:
    wanted = {
        "UnitFileState": "enabled",
        "Restart": "always",
        "StartLimitIntervalUSec": "0",
        "User": "node_exporter",
        "Group": "node_exporter",
        "UMask": "0077",
        "CapabilityBoundingSet": "",
        "LockPersonality": "yes",
        "MemoryDenyWriteExecute": "yes",
        "NoNewPrivileges": "yes",
        "PrivateDevices": "yes",
        "PrivateTmp": "no",
        "ProtectClock": "no",
        "ProtectControlGroups": "yes",
        "ProtectHome": "read-only",
        "ProtectHostname": "yes",
        "ProtectKernelLogs": "yes",
        "ProtectKernelModules": "yes",
        "ProtectKernelTunables": "yes",
        "ProtectSystem": "strict",
        "RestrictNamespaces": "yes",
        "RestrictRealtime": "yes",
        "RestrictSUIDSGID": "yes",
        "SystemCallArchitectures": "native",
    }
    shown = host.check_output(f"systemctl show node_exporter --property={','.join(wanted)}").splitlines()
    assert dict(line.split("=", 1) for line in shown) == wanted
    assert host.user("node_exporter").uid == 455
    assert "Ports=9100" in host.check_output("systemctl cat node_exporter").splitlines()


def test_program_of_platform_metrics_can_read_everything_and_write_one_directory(host: Host) -> None:
    wanted = {
        "CapabilityBoundingSet": "cap_dac_read_search",
        "NoNewPrivileges": "yes",
        "PrivateDevices": "yes",
        "PrivateNetwork": "yes",
        "ProtectHome": "yes",
        "ProtectSystem": "strict",
        "ReadWritePaths": "/var/lib/node_exporter",
    }
    shown = host.check_output(f"systemctl show hpcops-platform-metrics --property={','.join(wanted)}").splitlines()
    assert dict(line.split("=", 1) for line in shown) == wanted


def test_states_of_the_platform_s_units_are_told(host: Host) -> None:
    assert re.search(r'node_systemd_unit_state\{name="node_exporter.service",state="active".*\} 1', metrics(host))


@pytest.mark.parametrize("collector", ["filesystem", "netclass", "systemd", "textfile", "timex"])
def test_what_its_unit_forbids_does_not_hinder_the_collector(host: Host, collector: str) -> None:
    assert f'node_scrape_collector_success{{collector="{collector}"}} 1' in metrics(host)


def test_file_of_another_program_is_told(host: Host) -> None:
    host.check_output("echo 'hpcops_test_answer 42' >/var/lib/node_exporter/test.prom")
    try:
        assert "\nhpcops_test_answer 42\n" in metrics(host)
    finally:
        host.check_output("rm /var/lib/node_exporter/test.prom")
    assert host.run("su --shell /bin/sh nobody --command 'touch /var/lib/node_exporter/x.prom'").rc != 0


def test_platform_tells_configuration_certificates_and_the_last_run(host: Host) -> None:
    host.check_output(f"mkdir -p /etc/slurm && echo ClusterName=x >/etc/slurm/slurm.conf; rm -f {LAST_RUN}")
    host.check_output("mkdir -p /etc/broken && echo none >/etc/broken/tls.crt")
    # A container's root may not read what is another account's alone.
    host.check_output("install --mode=0600 --owner=daemon /dev/null /etc/slurm/slurmdbd.conf")
    try:
        host.check_output("systemctl restart hpcops-platform-metrics")
        text = metrics(host)
        hashed = host.check_output("sha256sum </etc/slurm/slurm.conf").split()[0]
        assert f'hpcops_config_hash{{path="/etc/slurm/slurm.conf",sha256="{hashed}"}} 1' in text
        assert 'hpcops_config_unreadable{path="/etc/slurm/slurmdbd.conf"} 1' in text
        end = host.check_output(
            'date +%s --date="$(openssl x509 -noout -enddate -in /etc/node_exporter/tls.crt | cut -d= -f2)"'
        )
        (expiry,) = re.findall(
            r'hpcops_certificate_expiry_timestamp_seconds\{path="/etc/node_exporter/tls.crt"\} (\S+)', text
        )
        assert float(expiry) == float(end)
        assert 'hpcops_certificate_unreadable{path="/etc/broken/tls.crt"} 1' in text
        assert "hpcops_last_run_timestamp_seconds" not in text

        run_playbook(playbook="note_run.yml").succeeded()
        host.check_output("systemctl restart hpcops-platform-metrics")
        (run,) = re.findall(r"^hpcops_last_run_timestamp_seconds (\S+)", metrics(host), re.MULTILINE)
        assert abs(float(run) - float(host.check_output("date +%s"))) < 600
    finally:
        host.check_output("rm -rf /etc/slurm /etc/broken")


def test_plugstack_conf_is_told_where_slurm_reads_it(host: Host) -> None:
    """Debian's packages put one on every host, also where slurmd gets its files from the controller."""
    told = 'hpcops_config_hash{path="/etc/slurm/plugstack.conf"'
    host.check_output("mkdir -p /etc/slurm && echo 'include /etc/slurm/plugstack.conf.d/*' >/etc/slurm/plugstack.conf")
    try:
        host.check_output("systemctl restart hpcops-platform-metrics")
        assert told not in metrics(host)
        host.check_output("echo ClusterName=x >/etc/slurm/slurm.conf && systemctl restart hpcops-platform-metrics")
        assert told in metrics(host)
    finally:
        host.check_output("rm -rf /etc/slurm")


def test_timer_writes_what_the_platform_knows_by_itself(host: Host) -> None:
    assert host.service("hpcops-platform-metrics.timer").is_running
    assert host.service("hpcops-platform-metrics.timer").is_enabled
    host.check_output(
        "rm -f /var/lib/node_exporter/hpcops-platform.prom && systemctl restart hpcops-platform-metrics.timer"
    )
    eventually(lambda: host.file("/var/lib/node_exporter/hpcops-platform.prom").exists, seconds=60)


def test_release_takes_the_place_of_the_package_and_the_other_way_round() -> None:
    """The package is the older one, so this is an upgrade and a downgrade. Somebody has installed it before, and it runs as it comes."""
    host = container(RELEASED)
    host.check_output("systemctl stop node_exporter")
    host.check_output(
        "DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends prometheus-node-exporter"
    )
    eventually(lambda: answer(host, "", "http://localhost:9100")[0], lambda status: status == "200")
    try:
        run_playbook(f"--limit={RELEASED}", variables={"node_exporter_install": "package"}).succeeded()
        assert not host.service("prometheus-node-exporter").is_running
        assert 'version="1.12.1"' not in metrics(host)
    finally:
        back = run_playbook(f"--limit={RELEASED}").succeeded()
    assert back.changed
    assert 'version="1.12.1"' in metrics(container(RELEASED))


def test_changed_collector_restarts_it_and_a_dry_run_tells_so() -> None:
    name, host = RELEASED, container(RELEASED)
    assert 'collector="loadavg"' in metrics(host)
    variables = {
        "node_exporter_disabled_collectors": ["loadavg"],
        "node_exporter_configuration_files": ["/etc/hosts"],
    }
    dry = run_playbook(f"--limit={name}", "--check", variables=variables).succeeded()
    assert dry.changed
    assert 'collector="loadavg"' in metrics(host)
    try:
        run_playbook(f"--limit={name}", variables=variables).succeeded()
        assert 'collector="loadavg"' not in metrics(host)
        host.check_output("systemctl start hpcops-platform-metrics")  # its unit has changed as well
        assert 'hpcops_config_hash{path="/etc/hosts"' in metrics(host)
    finally:
        run_playbook(f"--limit={name}").succeeded()


def test_new_password_is_in_force_and_the_former_is_not() -> None:
    name, host = RELEASED, container(RELEASED)
    new = "another-password-of-many-letters"
    try:
        changed = run_playbook(f"--limit={name}", variables={"hpcops_metrics_password": new}).succeeded()
        assert new not in changed.text
        assert answer(host)[0] == "401"
        assert answer(host, f"{CA} --user prometheus:{new}")[0] == "200"
    finally:
        run_playbook(f"--limit={name}").succeeded()


def test_certificate_that_was_made_anew_is_used_without_a_restart() -> None:
    name, host = RELEASED, container(RELEASED)
    served = "echo | openssl s_client -connect localhost:9100 2>/dev/null | openssl x509 -noout -serial"
    before = host.check_output(served)
    pid = host.check_output("systemctl show --property=MainPID --value node_exporter")
    host.check_output("rm /etc/node_exporter/tls.crt")
    run_playbook(f"--limit={name}").succeeded()
    assert host.check_output(served) != before
    assert host.check_output("systemctl show --property=MainPID --value node_exporter") == pid


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"hpcops_metrics_password": "short"}, "os_base_exporter_users: each password has 20 to 72"),
        ({"node_exporter_version": "9.9.9"}, "9.9.9"),
    ],
    ids=["short password", "no such release"],
)
def test_wrong_value_is_refused_and_it_runs_as_before(variables: dict[str, Any], says: str) -> None:
    refused = run_playbook(f"--limit={RELEASED}", variables=variables).failed()
    assert says in refused.failure
    assert not refused.changed
    metrics(container(RELEASED))


def test_without_a_password_it_answers_on_its_own_host_alone() -> None:
    name, host = RELEASED, container(RELEASED)
    try:
        run_playbook(f"--limit={name}", variables={"hpcops_metrics_password": ""}).succeeded()
        assert host.check_output("ss -Hltn 'sport = :9100'").split()[3] == "127.0.0.1:9100"
    finally:
        run_playbook(f"--limit={name}").succeeded()
