"""Prometheus sees every part of a cluster, dashboards have something to show, and a daemon that stops is told of."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.hpcops.cluster.tests.support.hosts import container, eventually, names

pytestmark = pytest.mark.skipif(not names("prometheus"), reason="forky's cluster is the one that is monitored")
MONITOR = "mon"
SECRET = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "metrics")
PASSWORD = SECRET.read_text(encoding="utf-8").strip() if SECRET.exists() else ""
PROJECT = Path(__file__).resolve().parents[3]
CHOSEN = {"$cluster": "demo", "$partition": "batch", "$node": "[^,]+", "$jobid": ".+"}


def api(path: str, **parameters: str) -> Any:
    given = " ".join(f"--data-urlencode {shlex.quote(f'{name}={value}')}" for name, value in parameters.items())
    ask = (
        f"curl --silent --show-error --get --cacert /etc/hpcops-prometheus/ca.crt --user prometheus:{PASSWORD} {given}"
    )
    answer = json.loads(container(MONITOR).check_output(f"{ask} https://{MONITOR}:9090/api/v1/{path}"))
    assert answer["status"] == "success", answer
    return answer["data"]


def query(expression: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api("query", query=expression)["result"]
    return found


def panels() -> Iterator[Any]:
    """Each panel's queries, as they are once everything is chosen that a person may choose."""
    for path in sorted((PROJECT / "roles" / "grafana" / "files" / "dashboards").glob("*.yml")):
        for row in yaml.safe_load(path.read_text(encoding="utf-8"))["rows"]:
            for panel in row["panels"]:
                for each in panel["queries"]:
                    expression = each["expr"]
                    for name, value in CHOSEN.items():
                        expression = expression.replace(f'="{name}"', f'=~"{value}"').replace(
                            f'=~"{name}"', f'=~"{value}"'
                        )
                    yield pytest.param(expression, panel.get("data", ""), id=f"{path.stem}: {panel['title']}")


@pytest.fixture(scope="module", autouse=True)
def asked_with_curl() -> None:
    container(MONITOR).check_output("apt-get install --yes --quiet curl")


@pytest.fixture(scope="module", name="jobs")
def jobs_fixture() -> Iterator[None]:
    """A job that runs while dashboards are looked at."""
    submit = "cd /tmp && sbatch --parsable --nodes=2 --output=/dev/null --wrap 'sleep 900'"
    login = container("login")
    number = login.check_output(f"su --login alice --command {shlex.quote(submit)}")
    yield
    login.check_output(f"su --login alice --command 'scancel {number}'")


def test_prometheus_sees_every_target_of_the_inventory() -> None:
    expected = {
        (exporter, f"{host}:{port}")
        for exporter, port in (("node_exporter", 9100), ("process_exporter", 9256))
        for host in ("ctl", "db", "login", "c1", "c2", "mon")
    }
    expected |= {("prometheus", f"{MONITOR}:9090"), ("alertmanager", f"{MONITOR}:9093")}
    up = eventually(
        lambda: {(each["metric"]["job"], each["metric"]["instance"]) for each in query("up == 1")},
        lambda found: found >= expected,
        seconds=120,
    )
    assert up >= expected
    assert [each["metric"] for each in query("up == 0")] == []


def test_targets_carry_cluster_role_and_node() -> None:
    labels = {each["metric"]["instance"]: each["metric"] for each in query('up{job="node_exporter"}')}
    assert labels["ctl:9100"]["role"] == "slurmctld"
    node = labels["c1:9100"]
    assert (node["cluster"], node["role"], node["node"]) == ("demo", "slurmd", "c1")


def test_no_alert_takes_a_new_clusters_files_for_different_ones() -> None:
    """It would fire after an hour, for which no test waits."""
    eventually(lambda: query("hpcops_config_hash"), seconds=120)
    assert query("count by (path) (count by (path, sha256) (hpcops_config_hash)) > 1") == []


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize(("expression", "data"), panels())
def test_panel_has_something_to_show(expression: str, data: str) -> None:
    """Every query is valid; where its data must exist here it has a result."""
    if data:
        query(expression)
        return
    eventually(lambda: query(expression), seconds=240)


def test_stopped_slurmd_raises_its_alert_with_a_runbook_and_its_start_clears_it() -> None:
    def firing() -> list[dict[str, Any]]:
        return [
            each
            for each in api("alerts")["alerts"]
            if each["labels"]["alertname"] == "SlurmdNotRunning" and each["state"] == "firing"
        ]

    node = container("c2")
    assert firing() == []
    node.check_output("systemctl stop slurmd")
    try:
        (alert,) = eventually(firing, seconds=120)
        assert alert["labels"]["instance"] == "c2:9100"
        page, _sign, anchor = alert["annotations"]["runbook_url"].rpartition("/")[2].partition("#")
        headings = [
            line.strip("# \n").lower()
            for line in (PROJECT / "docs" / "runbooks" / page).read_text().splitlines()
            if line.startswith("#")
        ]
        assert anchor in headings
    finally:
        node.check_output("systemctl start slurmd")
    eventually(firing, lambda found: not found, seconds=120)
