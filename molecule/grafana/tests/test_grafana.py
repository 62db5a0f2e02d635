# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Grafana's files are as Grafana documents them. Grafana itself is in no repository that is at hand; see the scenario's description."""

from __future__ import annotations

import configparser
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.hpcops.cluster.tests.support.hosts import container, names
from ansible_collections.hpcops.cluster.tests.support.runs import run_playbook

(STANDIN,) = names("packaged")
(THEIRS,) = names("theirs")
STATE = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
SECRET = (STATE / "secret").read_text(encoding="utf-8").strip()
BOTH = pytest.mark.parametrize("name", [STANDIN, THEIRS])
DASHBOARDS = "/var/lib/grafana/dashboards/hpcops"
ANSWER = "curl --silent --fail --cacert /etc/grafana/tls/ca.crt https://standin:3000/"


def read(name: str, path: str) -> str:
    return str(container(name).file(path).content_string)


def restarts() -> str:
    return str(container(STANDIN).check_output("systemctl show --property=MainPID --value grafana-server"))


def test_package_is_installed_configured_and_run_over_tls_with_a_stand_in_for_grafana() -> None:
    assert container(STANDIN).check_output(ANSWER) == "stand-in"
    assert container(STANDIN).run("curl --silent http://standin:3000/").rc != 0


def test_settings_are_those_that_grafana_reads() -> None:
    settings = configparser.ConfigParser(interpolation=None)
    settings.read_string(read(STANDIN, "/etc/grafana/grafana.ini"))
    assert settings["security"]["admin_password"] == f"admin-{SECRET}"
    assert settings["security"]["cookie_secure"] == "true"
    assert settings["auth.anonymous"]["enabled"] == "false"
    assert settings["auth.ldap"]["enabled"] == "true"
    assert settings["server"]["cert_key"] == "/etc/grafana/tls/tls.key"


@BOTH
def test_data_source_is_prometheus_with_password_and_authority(name: str) -> None:
    (source,) = yaml.safe_load(read(name, "/etc/grafana/provisioning/datasources/hpcops.yml"))["datasources"]
    assert (source["type"], source["url"], source["uid"]) == ("prometheus", "https://mon1:9090", "hpcops-prometheus")
    assert source["basicAuth"] is True
    assert source["secureJsonData"]["basicAuthPassword"] == f"metrics-{SECRET}"
    assert (
        source["secureJsonData"]["tlsCACert"].strip() == (STATE / "ca" / "ca.crt").read_text(encoding="utf-8").strip()
    )


@BOTH
def test_secrets_are_for_grafana_alone(name: str) -> None:
    secret = "grep --recursive --files-with-matches --fixed-strings"
    for path in container(name).check_output(f"{secret} {SECRET} /etc/grafana /var/lib/grafana").splitlines():
        file = container(name).file(path)
        assert (oct(file.mode), file.user, file.group) == ("0o640", "root", "grafana"), path


@BOTH
def test_dashboards_lie_where_grafana_is_told_to_look(name: str) -> None:
    (provider,) = yaml.safe_load(read(name, "/etc/grafana/provisioning/dashboards/hpcops.yml"))["providers"]
    assert provider["options"]["path"] == DASHBOARDS
    found = {path.rpartition("/")[2] for path in container(name).check_output(f"ls {DASHBOARDS}/*.json").splitlines()}
    kinds = ("cluster", "partition", "node", "job", "user", "gpu", "control", "cloud")
    assert found == {f"hpcops-{kind}.json" for kind in kinds} | ({"ours.json"} if name == THEIRS else set())
    for file in found:
        dashboard = json.loads(read(name, f"{DASHBOARDS}/{file}"))
        assert dashboard["uid"] == file.removesuffix(".json")
        assert [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def test_nothing_else_is_done_where_somebody_else_runs_grafana() -> None:
    assert not container(THEIRS).package("grafana").is_installed
    assert not container(THEIRS).file("/etc/grafana/grafana.ini").exists


def test_changed_data_source_restarts_grafana_and_a_changed_dashboard_does_not() -> None:
    before = restarts()
    dashboard = {
        "title": "New",
        "uid": "new",
        "rows": [{"title": "All", "panels": [{"title": "Up", "queries": [{"expr": "up"}]}]}],
    }
    try:
        run_playbook(f"--limit={STANDIN}", variables={"grafana_dashboards": [dashboard]}).succeeded()
        assert container(STANDIN).file(f"{DASHBOARDS}/new.json").exists
        assert restarts() == before
        run_playbook(f"--limit={STANDIN}", variables={"grafana_prometheus_url": "https://mon2:9090"}).succeeded()
        assert restarts() != before
    finally:
        run_playbook(f"--limit={STANDIN}").succeeded()
    assert container(STANDIN).check_output(ANSWER) == "stand-in"


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"grafana_admin_password": "admin"}, "grafana_admin_password: Grafana's user admin"),
        ({"grafana_tls_internal": False}, "in the clear"),
        ({"grafana_dashboards": [{"title": "x", "uid": "hpcops-node", "rows": []}]}, "a uid of its own"),
        ({"grafana_dashboards": [{"title": "x", "uid": "x"}]}, "the dashboard 'x' lacks rows"),
    ],
    ids=["easy password", "no TLS", "uid of another", "no rows"],
)
def test_wrong_value_is_refused_and_nothing_changes(variables: dict[str, Any], says: str) -> None:
    refused = run_playbook(f"--limit={STANDIN}", variables=variables).failed()
    assert says in refused.failure
    assert not [change for change in refused.changed if "configuration" in change[0]]
