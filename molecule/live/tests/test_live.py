# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster whose inventory is the service-discovery API. The tests follow its life, in their order."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import yaml

from ansible_collections.hpcops.cluster.tests.support.hosts import PREFIX, container, eventually, variables_of
from ansible_collections.hpcops.cluster.tests.support.runs import Run, run_playbook

if TYPE_CHECKING:
    from testinfra.host import Host

API, CONTROLLER, DATABASE, C1, C2 = "api", "ctl", "db", "c1", "c2"
STATE = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
testinfra_hosts = [f"docker://{PREFIX}{CONTROLLER}"]


def ask(path: str, **query: str) -> Any:
    """What the API answers."""
    address = container(API).check_output("hostname -i").strip()
    token = (STATE / "token").read_text(encoding="utf-8").strip()
    answer = requests.get(
        f"https://{address}:8420{path}",
        params=query,
        headers={"Authorization": f"Bearer {token}"},
        verify=str(STATE / "ca" / "ca.crt"),
        timeout=10,
    )
    answer.raise_for_status()
    return answer.json()


def services() -> dict[str, str]:
    """The health of each service, by name and host."""
    items = ask("/v1/services")["items"]
    return {f"{item['name']} {item['host'].rpartition('-')[2]}": item["health"]["status"] for item in items}


@pytest.fixture(name="source", scope="session")
def source_fixture(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The API as a source of inventory."""
    address = container(API).check_output("hostname -i").strip()
    path = tmp_path_factory.mktemp("inventory") / "live.discovery.yml"
    configuration = {
        "plugin": "hpcops.cluster.discovery",
        "url": f"https://{address}:8420",
        "token_file": str(STATE / "token"),
        "ca_file": str(STATE / "ca" / "ca.crt"),
        "strict": True,
    }
    path.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    return f"--inventory={path}"


def run(playbook: str, *arguments: str, **variables: Any) -> Run:
    return run_playbook(*arguments, variables=variables, playbook=f"hpcops.cluster.{playbook}")


def registered(tmp_path: Path, *hosts: dict[str, Any], without: str = "", **more: Any) -> dict[str, Any]:
    """Variables of the playbook register: the scenario's file with more hosts, or without one."""
    document = yaml.safe_load((STATE / "hosts.yml").read_text(encoding="utf-8"))
    document["hosts"] = [host for host in document["hosts"] if host["name"] != without] + list(hosts)
    path = tmp_path / "hosts.yml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return {"register_file": str(path), **more}


def states(host: Host) -> dict[str, str]:
    return dict(line.split() for line in host.check_output("sinfo --noheader --Node --format='%N %T'").splitlines())


# --- Deployed --------------------------------------------------------------------------------------------------------


def test_cluster_is_deployed_from_the_api(host: Host, source: str) -> None:
    assert "slurmd" not in variables_of(C1)["group_names"], "the file knows more than it should"
    run("site", source).succeeded()
    assert states(host) == {"c1": "idle"}
    assert "RealMemory=900 " in host.check_output("scontrol show node c1"), "the API's hardware is not the node's"
    assert "DefMemPerCPU=100" in host.check_output("cat /etc/slurm/slurm.conf")
    run("verify", source).succeeded()
    assert not run("site", source).succeeded().changed


def test_services_are_registered_and_hosts_report_their_health(host: Host) -> None:
    expected = dict.fromkeys(("discovery api", "slurmctld ctl", "slurmdbd db", "slurmd c1"), "passing")
    eventually(services, lambda seen: seen == expected, 60)
    container(C1).check_output("systemctl stop slurmd")
    try:
        eventually(services, lambda seen: seen["slurmd c1"] == "critical", 60)
        assert services()["slurmctld ctl"] == "passing"
    finally:
        container(C1).check_output("systemctl start slurmd")
    eventually(services, lambda seen: seen == expected, 60)
    eventually(lambda: states(host), lambda seen: seen == {"c1": "idle"}, 60)


def test_host_that_is_silent_is_critical_until_it_reports_again() -> None:
    container(C1).check_output("systemctl stop hpcops-heartbeat.timer")
    try:
        eventually(services, lambda seen: seen["slurmd c1"] == "critical", 60)
    finally:
        container(C1).check_output("systemctl start hpcops-heartbeat.timer")
    eventually(services, lambda seen: seen["slurmd c1"] == "passing", 60)


def test_token_of_the_hosts_is_secret_and_only_good_for_heartbeats() -> None:
    token = (STATE / "beat").read_text(encoding="utf-8").strip()
    node = container(C1)
    assert node.file("/etc/hpcops-heartbeat/token").mode == 0o600
    assert token not in node.check_output("journalctl --no-pager --output=cat")
    search = f"grep --recursive --files-with-matches --fixed-strings {token} /etc /usr/local /var"
    assert node.run(search).stdout.split() == ["/etc/hpcops-heartbeat/token"]
    address = container(API).check_output("hostname -i").strip()
    refused = requests.get(
        f"https://{address}:8420/v1/hosts",
        headers={"Authorization": f"Bearer {token}"},
        verify=str(STATE / "ca" / "ca.crt"),
        timeout=10,
    )
    assert refused.status_code == 403


# --- Written ---------------------------------------------------------------------------------------------------------


def test_measured_hardware_goes_into_the_api(source: str) -> None:
    run("collect_hardware", source, f"--limit={C1}", "--check").succeeded()
    assert "boards" not in ask(f"/v1/hosts/{C1}")["slurm_node"]
    assert run("collect_hardware", source, f"--limit={C1}").succeeded().changed
    measured = ask(f"/v1/hosts/{C1}")["slurm_node"]
    assert measured["name"] == "c1"
    assert measured["boards"] == 1
    assert measured["real_memory"] > 1000
    assert not run("collect_hardware", source, f"--limit={C1}").succeeded().changed


def test_registered_host_becomes_a_node_while_no_other_is_touched(host: Host, source: str, tmp_path: Path) -> None:
    hardware = {key: value for key, value in ask(f"/v1/hosts/{C1}")["slurm_node"].items() if key != "name"}
    new = {"name": C2, "state": "ready", "roles": ["slurmd"], "slurm_node": {"name": "c2", **hardware}}
    more = registered(tmp_path, new)
    plan = run("register", "--check", **more).succeeded()
    assert [change["key"] for _t, _h, result in plan.results for change in result.get("changes", ())] == [C2]
    assert states(host) == {"c1": "idle"}
    run("register", **more).succeeded()
    assert not run("register", **more).succeeded().changed
    revision = ask("/v1/hosts", limit="1")["revision"]
    plan_file = tmp_path / "plan.json"
    done = run("site", source, f"--limit={C2},{CONTROLLER}", slurm_config_plan_file=str(plan_file)).succeeded()
    assert {name for _task, name, _result in done.results} == {C2, CONTROLLER}
    plan = json.loads(plan_file.read_text(encoding="utf-8"))
    assert plan["inventory_revision"].endswith(f"discovery {revision}")
    assert [change["name"] for change in plan["plan"]["changes"]] == ["c2"]
    eventually(lambda: states(host), lambda seen: seen == {"c1": "idle", "c2": "idle"}, 60)
    assert host.check_output("srun --nodelist=c2 hostname") == "c2"
    eventually(services, lambda seen: seen.get("slurmd c2") == "passing", 60)


def test_hosts_that_the_file_does_not_have_are_retired_when_asked_and_few(source: str, tmp_path: Path) -> None:
    told = run("register").succeeded()
    assert f"does not have: {C2}" in told.text
    refused = run("register", register_retire=True, register_max_retire=10).failed()
    assert "register_retire" in refused.failure
    assert ask(f"/v1/hosts/{C2}")["state"] == "ready"
    run("register", register_retire=True).succeeded()
    assert ask(f"/v1/hosts/{C2}")["state"] == "retired"
    assert "slurmd c2" not in services()
    assert not run("register", register_retire=True).succeeded().changed


WRONG: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "no file": ({"register_file": "/nonexistent.yml"}, ("/nonexistent.yml",)),
    "other keys": ({"hosts": [], "nodes": []}, ("must have the lists clusters and hosts",)),
    "no mappings": ({"hosts": ["x1"]}, ("must have the lists clusters and hosts",)),
    "wrong hosts": (
        {
            "hosts": [
                {"name": "x1", "cluster": "live", "addresses": {"main": "x"}},
                {"name": "x2", "cluster": "live", "colour": "red"},
            ]
        },
        ("hosts[0] (x1): addresses.main", "hosts[1] (x2): colour"),
    ),
    "no cluster": ({"hosts": [{"name": "x1"}]}, ("hosts[0] (x1): cluster",)),
    "unknown cluster": ({"hosts": [{"name": "x1", "cluster": "nowhere"}]}, ("nowhere",)),
    "list of hosts": ({"hosts": [{"name": "x[3-1]", "cluster": "live"}]}, ("x[3-1]",)),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_file_is_refused_and_nothing_is_written(tmp_path: Path, case: str) -> None:
    document, says = WRONG[case]
    path = tmp_path / "hosts.yml"
    path.write_text(json.dumps(document), encoding="utf-8")
    before = ask("/v1/hosts", limit="1")["revision"]
    failure = run("register", **{"register_file": str(path), **document}).failed().failure
    assert all(each in failure for each in says), failure
    assert ask("/v1/hosts", limit="1")["revision"] == before
