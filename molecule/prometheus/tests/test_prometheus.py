# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus reads what there is, tells somebody of what is wrong, and refuses what it does not understand."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.hpcops.cluster.tests.support.hosts import PREFIX, eventually, names
from ansible_collections.hpcops.cluster.tests.support.runs import run_playbook

if TYPE_CHECKING:
    from testinfra.host import Host

(MON,) = names("prometheus")
testinfra_hosts = [f"docker://{PREFIX}{MON}"]
PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
PASSWORD = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "metrics").read_text(encoding="utf-8").strip()
PROMETHEUS, ALERTMANAGER = f"https://{MON}:9090", f"https://{MON}:9093"
KNOWN = f"--cacert /etc/hpcops-prometheus/ca.crt --user prometheus:{PASSWORD}"
# A metric of the kind that the platform writes; the role's alert is about it.
BROKEN = 'hpcops_certificate_unreadable{path="/etc/test/tls.crt"} 1'
TEXTFILE = "/var/lib/node_exporter/test.prom"


def asked(host: Host, path: str) -> Any:
    """What Prometheus' API answers."""
    answer = json.loads(host.check_output(f"curl --silent --globoff {KNOWN} '{PROMETHEUS}/api/v1/{path}'"))
    assert answer["status"] == "success", answer
    return answer["data"]


def status(host: Host, options: str, url: str) -> str:
    return str(host.run(f"curl --silent --output /dev/null --write-out '%{{http_code}}' {options} {url}").stdout)


def rule(host: Host, name: str) -> dict[str, Any] | None:
    found = [rule for group in asked(host, "rules")["groups"] for rule in group["rules"] if rule["name"] == name]
    return found[0] if found else None


def main_pid(host: Host) -> str:
    return str(host.check_output("systemctl show --property=MainPID --value hpcops-prometheus"))


@pytest.mark.parametrize("url", [PROMETHEUS, ALERTMANAGER])
def test_nobody_reads_without_the_password_or_without_tls(host: Host, url: str) -> None:
    assert status(host, KNOWN, f"{url}/-/ready") == "200"
    assert status(host, "--cacert /etc/hpcops-prometheus/ca.crt", f"{url}/-/ready") == "401"
    assert status(host, "--cacert /etc/hpcops-prometheus/ca.crt --user prometheus:wrong", f"{url}/-/ready") == "401"
    assert status(host, f"--user prometheus:{PASSWORD}", f"{url.replace('https', 'http')}/-/ready") == "400"


def test_all_targets_are_up_and_have_their_labels(host: Host) -> None:
    def targets() -> dict[str, Any]:
        return {target["labels"]["job"]: target for target in asked(host, "targets")["activeTargets"]}

    found = eventually(targets, lambda seen: len(seen) == 3 and {each["health"] for each in seen.values()} == {"up"})
    labels = found["node_exporter"]["labels"]
    assert (labels["cluster"], labels["role"], labels["node"]) == ("demo", "slurmd", MON)
    assert "node" not in found["prometheus"]["labels"]


def test_prometheus_hands_alerts_to_alertmanager(host: Host) -> None:
    eventually(lambda: [each["url"] for each in asked(host, "alertmanagers")["activeAlertmanagers"]], bool)


def test_what_is_wrong_is_told_with_its_runbook_and_so_is_its_end(host: Host) -> None:
    def told() -> list[tuple[str, str, str, str]]:
        lines = host.run("cat /var/log/told").stdout.splitlines()
        alerts = [json.loads(line) for line in lines]
        return [
            (
                alert["status"],
                alert["labels"]["path"],
                alert["labels"]["team"],
                alert["annotations"]["runbook_url"].rpartition("/")[2],
            )
            for alert in alerts
            if alert["labels"]["alertname"] == "CertificateUnreadable"
        ]

    expected = ("/etc/test/tls.crt", "security", "certificates.md#certificateunreadable")
    host.check_output(f"echo '{BROKEN}' >{TEXTFILE}.new && mv {TEXTFILE}.new {TEXTFILE}")
    eventually(told, lambda seen: ("firing", *expected) in seen, 60)
    host.check_output(f"rm {TEXTFILE}")
    eventually(told, lambda seen: ("resolved", *expected) in seen, 90)


def test_sites_changes_of_alerts_and_its_own_rules_are_in_force(host: Host) -> None:
    assert rule(host, "GpuXid") is None
    assert rule(host, "GpuEccErrors") is not None
    eventually(lambda: asked(host, "query?query=site:hosts_up")["result"], bool)


def test_rules_hold_in_this_release_of_promtool(host: Host) -> None:
    host.check_output("rm -rf /root/rules && mkdir -p /root/rules/roles/prometheus/files /root/rules/tests")
    for source, target in (("roles/prometheus/files/rules", "roles/prometheus/files"), ("tests/prometheus", "tests")):
        copy = ["docker", "cp", str(PROJECT / source), f"{PREFIX}{MON}:/root/rules/{target}/"]
        subprocess.run(copy, check=True, capture_output=True)
    done = host.run("cd /root/rules/tests/prometheus && promtool test rules *.yml")
    assert done.rc == 0, done.stdout + done.stderr


def test_password_is_in_no_file_that_others_read_and_in_no_journal(host: Host) -> None:
    password = host.file("/etc/hpcops-prometheus/password")
    assert (password.user, password.group, password.mode) == ("root", "hpcops-prometheus", 0o640)
    others = "find /etc/hpcops-prometheus /etc/hpcops-alertmanager -type f -perm -o=r -print0"
    assert host.run(f"{others} | xargs --null grep --files-with-matches --fixed-strings {PASSWORD}").stdout == ""
    assert PASSWORD not in host.check_output("journalctl --no-pager --output=cat")
    assert PASSWORD not in host.check_output("ps -e -o args | grep -v curl")


@pytest.mark.parametrize("unit", ["hpcops-prometheus", "hpcops-alertmanager"])
def test_process_is_its_own_user_and_can_gain_nothing(host: Host, unit: str) -> None:
    pid = host.check_output(f"systemctl show --property=MainPID --value {unit}")
    text = host.file(f"/proc/{pid}/status").content_string
    fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    assert fields["Uid"].split()[0] == str(host.user(unit).uid)
    assert (fields["NoNewPrivs"], int(fields["CapBnd"], 16)) == ("1", 0)


@pytest.mark.parametrize(
    "groups",
    [
        [{"name": "site", "rules": [{"record": "site:x", "expr": "sum("}]}],
        [{"name": "site", "rules": [{"alert": "X", "expr": "up", "for": "soon"}]}],
    ],
    ids=["an expression", "a duration"],
)
def test_bad_rule_is_refused_and_the_former_ones_stay_in_force(host: Host, groups: list[dict[str, Any]]) -> None:
    before = host.file("/etc/hpcops-prometheus/rules/site.yml").sha256sum
    refused = run_playbook(variables={"prometheus_rule_groups": groups}).failed()
    assert "/etc/hpcops-prometheus/rules/site.yml: the new content is refused by 'promtool'" in refused.failure
    assert host.file("/etc/hpcops-prometheus/rules/site.yml").sha256sum == before
    assert rule(host, "site:hosts_up") is not None


def test_bad_configuration_is_refused_and_the_former_one_stays(host: Host) -> None:
    before = host.file("/etc/hpcops-prometheus/prometheus.yml").sha256sum
    refused = run_playbook(variables={"prometheus_job_settings": {"node_exporter": {"scrap": 1}}}).failed()
    assert "refused by 'promtool'" in refused.failure
    assert host.file("/etc/hpcops-prometheus/prometheus.yml").sha256sum == before


def test_first_configuration_that_is_bad_starts_nothing(host: Host) -> None:
    """A host without Prometheus' programs, whose configuration nothing can check while it is written."""
    host.check_output("systemctl stop hpcops-prometheus && mv /etc/hpcops-prometheus/prometheus.yml /tmp")
    host.check_output("dpkg --remove --force-depends prometheus")
    try:
        variables = {"prometheus_job_settings": {"node_exporter": {"scrap": 1}}}
        refused = run_playbook(variables=variables).failed()
        assert "field scrap not found" in refused.failure
        assert host.run("systemctl is-active hpcops-prometheus").stdout.strip() == "inactive"
    finally:
        run_playbook().succeeded()
    host.check_output("cmp /tmp/prometheus.yml /etc/hpcops-prometheus/prometheus.yml")


def test_change_of_rules_is_read_without_a_restart(host: Host) -> None:
    before = main_pid(host)
    changes = {"SlurmNodeDown": {"for": "42m"}}
    run_playbook(variables={"prometheus_alert_changes": changes}).succeeded()
    eventually(lambda: rule(host, "SlurmNodeDown") or {}, lambda seen: seen.get("duration") == 42 * 60)
    run_playbook().succeeded()
    eventually(lambda: rule(host, "SlurmNodeDown") or {}, lambda seen: seen.get("duration") == 15 * 60)
    assert main_pid(host) == before


def test_targets_come_from_the_service_discovery_api_where_there_is_one() -> None:
    """What it tells is tested in tests/discovery; here, that Prometheus understands how it is asked."""
    variables = {"prometheus_discovery_url": "https://api:8420", "prometheus_discovery_token": "x" * 32}
    run = run_playbook("--check", "--diff", variables=variables).succeeded()
    differences = json.dumps([result.get("diff") for _task, _host, result in run.results])
    assert "https://api:8420/v1/prometheus/targets?name=node_exporter" in differences
    assert "x" * 32 not in run.text


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"prometheus_alert_changes": {"NodeDown": {"for": "1h"}}}, "there is no alert NodeDown"),
        ({"prometheus_alertmanager_route": {"receiver": "pager"}}, 'its receiver "pager" is none of'),
        ({"prometheus_discovery_url": "https://api:8420"}, "prometheus_discovery_token is empty"),
        ({"prometheus_targets": [{"job": "sshd", "targets": ["a:22"]}]}, "sshd is no job of the role"),
    ],
)
def test_wrong_value_is_named_and_nothing_changes(variables: dict[str, Any], says: str) -> None:
    refused = run_playbook(variables=variables).failed()
    assert says in refused.failure
    assert [task for task, _host in refused.changed if "prometheus" in task.lower()] == []
