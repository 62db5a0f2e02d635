"""The modules that write to the API, against the real one over TLS, as tasks of a play."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from ansible_collections.hpcops.cluster.tests.integration.ansible_runs import RESULTS, Ansible, results_of
from ansible_collections.hpcops.cluster.tests.support.discovery_service import ADMIN, READER, ROOT, WRITER

HOSTILE = "{{ lookup('pipe', 'touch evil') }}"
GROUP = "group/hpcops.cluster.discovery"
NEW = {"name": "m1", "cluster": "alpha", "addresses": {"main": "10.0.1.1"}, "labels": {"env": "test"}, "rack": "r7"}


@pytest.fixture
def site(ansible: Ansible) -> Ansible:
    """The site without what these tests write: m1 to m4 are retired, and have no services."""
    names = ("m1", "m2", "m3", "m4")
    service = ansible.service
    for found in service.ask("GET", "/v1/services?limit=1000")["items"]:
        service.ask("DELETE", f"/v1/services/{found['cluster']}/{found['name']}/{found['host']}")
    for host in service.ask("GET", f"/v1/hosts?{'&'.join(f'name={name}' for name in names)}")["items"]:
        if host["state"] != "retired":
            service.ask("PATCH", f"/v1/hosts/{host['name']}", {"state": "retired"})
        service.ask("PUT", f"/v1/hosts/{host['name']}", {"name": host["name"], "cluster": "alpha", "state": "planned"})
        service.ask("PATCH", f"/v1/hosts/{host['name']}", {"state": "retired"})
    return ansible


def host_task(**options: Any) -> dict[str, Any]:
    return {"hpcops.cluster.discovery_host": options}


def service_task(**options: Any) -> dict[str, Any]:
    return {"hpcops.cluster.discovery_service": options}


def run(site: Ansible, *tasks: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    """What becomes of tasks that find address and token in the defaults of their action group."""
    connection = {"url": site.service.url, "ca_file": str(site.service.ca_file), "token": ADMIN, "retries": 0}
    defaults = {GROUP: {**connection, **more.pop("connection", {})}}
    return site.results(*tasks, module_defaults=defaults, **more)


def host(site: Ansible, name: str) -> dict[str, Any]:
    found: dict[str, Any] = site.service.ask("GET", f"/v1/hosts/{name}")
    return found


def services(site: Ansible) -> dict[str, Any]:
    items = site.service.ask("GET", "/v1/services?limit=1000")["items"]
    return {f"{item['cluster']}/{item['name']}/{item['host']}": item for item in items}


def revision(site: Ansible) -> Any:
    return site.service.ask("GET", "/v1/hosts?limit=1")["revision"]


def summary(result: dict[str, Any]) -> tuple[bool, list[tuple[str, str]]]:
    assert not result.get("failed"), result
    return result["changed"], [(change["key"], change["action"]) for change in result["changes"]]


# --- Hosts ---------------------------------------------------------------------------------------------------------


def test_check_mode_tells_what_would_change_and_changes_nothing(site: Ansible) -> None:
    before = revision(site)
    task = host_task(hosts=[{**NEW, "state": "planned"}, {"name": "a1", "rack": "r9"}])
    service = service_task(cluster="alpha", name="slurmd", hosts=["a1"], port=6818)
    told = run(site, task, service, options=["--check", "--diff"])
    assert revision(site) == before
    assert services(site) == {}
    done = run(site, task, service, options=["--diff"])
    for plan, result in zip(told, done):
        assert summary(plan) == summary(result)
        assert plan["changed"]
        assert plan["diff"] == result["diff"]
    a1 = next(diff for diff in done[0]["diff"] if diff["before_header"] == "host a1")
    assert (a1["before"]["rack"], a1["after"]["rack"]) == ("r1", "r9")
    assert host(site, "a1")["rack"] == "r9"


def test_second_run_changes_nothing(site: Ansible) -> None:
    tasks = [
        host_task(hosts=[{**NEW, "state": "planned"}, {**NEW, "name": "m2", "state": "planned"}], merge=False),
        host_task(name="m1", labels={"tier": "db"}, lifecycle="ready"),
        service_task(cluster="alpha", name="slurmd", hosts=["m1", "m2"], port=6818, check={"type": "tcp"}),
    ]
    assert [summary(result)[0] for result in run(site, *tasks)] == [True, True, True]
    before = revision(site)
    # As a whole m1 has no tier; merged, it has.
    assert [summary(result)[0] for result in run(site, *tasks[1:])] == [False, False]
    again = run(site, *tasks[1:], options=["--check", "--diff"])
    assert [(result["changed"], result["diff"]) for result in again] == [(False, []), (False, [])]
    assert revision(site) == before
    assert all("diff" not in result for result in run(site, *tasks))


def test_merge_changes_what_is_named_and_its_absence_makes_the_whole(site: Ansible) -> None:
    run(site, host_task(hosts=[{**NEW, "state": "planned"}]))
    assert summary(run(site, host_task(hosts=[{"name": "m1", "rack": None, "labels": {"x": "y"}}]))[0])[0]
    merged = host(site, "m1")
    assert merged["labels"] == {"env": "test", "x": "y"}
    assert "rack" not in merged
    assert merged["addresses"] == {"main": "10.0.1.1"}
    run(site, host_task(name="m1", cluster="alpha", merge=False))
    whole = host(site, "m1")
    assert (whole["labels"], whole["addresses"], whole["state"]) == ({}, {}, "planned")


def test_single_host_is_described_by_options(site: Ansible) -> None:
    options = {
        **NEW,
        "lifecycle": "planned",
        "roles": ["slurmd"],
        "partitions": ["batch"],
        "switch": "s1",
        "provider": "ec2",
        "instance_id": "i-1",
        "slurm_node": {"cpus": 8},
        "variables": {"x": [1]},
    }
    assert summary(run(site, host_task(**options))[0])[0]
    found = host(site, "m1")
    assert {name: found[name] for name in options if name != "lifecycle"} == {
        **{name: value for name, value in options.items() if name not in ("lifecycle", "slurm_node")},
        "slurm_node": {"cpus": 8},
    }


def test_absent_takes_the_services_out_and_retires_the_hosts(site: Ansible) -> None:
    run(
        site,
        host_task(hosts=[{**NEW, "name": name, "state": "planned"} for name in ("m1", "m2", "m3")]),
        service_task(cluster="alpha", name="slurmd", hosts=["m1", "m2", "m3"], port=6818),
    )
    task = host_task(hosts=["m1", {"name": "m2"}, "m9"], state="absent")
    wanted = [
        ("alpha/slurmd/m1", "removed"),
        ("alpha/slurmd/m2", "removed"),
        ("m1", "retired"),
        ("m2", "retired"),
    ]
    assert summary(run(site, task, options=["--check"])[0]) == (True, wanted)
    assert len(services(site)) == 3
    assert summary(run(site, task)[0]) == (True, wanted)
    assert list(services(site)) == ["alpha/slurmd/m3"]
    assert (host(site, "m1")["state"], host(site, "m3")["state"]) == ("retired", "planned")
    assert summary(run(site, task)[0]) == (False, [])


def test_retired_leaves_the_services_and_refuses_a_host_that_is_not_there(site: Ansible) -> None:
    run(site, host_task(hosts=[{**NEW, "state": "planned"}]))
    done = run(
        site,
        host_task(hosts=["m1", "m9"], state="retired"),
        host_task(name="m1", state="retired"),
        host_task(name="m1", state="retired"),
    )
    assert done[0]["failed"]
    assert "there is no host m9" in done[0]["msg"]
    assert [summary(result) for result in done[1:]] == [(True, [("m1", "retired")]), (False, [])]


# --- Services ------------------------------------------------------------------------------------------------------


def test_service_is_registered_for_the_hosts_of_a_play_and_taken_out_again(site: Ansible) -> None:
    common = {"cluster": "alpha", "name": "node_exporter", "hosts": ["a1", "a2"]}
    more = {"port": 9100, "scheme": "https", "metrics_path": "/metrics", "labels": {"x": "y"}, "check": {"type": "tcp"}}
    done = run(
        site,
        service_task(**common, **more),
        service_task(services=[{"cluster": "alpha", "name": "slurmctld", "host": "a4", "port": 6817}]),
        service_task(services=[], state="present"),
    )
    assert [summary(result)[0] for result in done] == [True, True, False]
    found = services(site)
    assert sorted(found) == ["alpha/node_exporter/a1", "alpha/node_exporter/a2", "alpha/slurmctld/a4"]
    assert {name: found["alpha/node_exporter/a1"][name] for name in ("port", "scheme", "labels")} == {
        name: more[name] for name in ("port", "scheme", "labels")
    }
    gone = service_task(**{**common, "hosts": ["a1", "a3"]}, state="absent")
    assert summary(run(site, gone, options=["--check"])[0]) == (True, [("alpha/node_exporter/a1", "removed")])
    assert len(services(site)) == 3
    assert summary(run(site, gone)[0]) == (True, [("alpha/node_exporter/a1", "removed")])
    assert summary(run(site, gone)[0]) == (False, [])
    assert sorted(services(site)) == ["alpha/node_exporter/a2", "alpha/slurmctld/a4"]


def test_delegated_task_works_as_any_other(site: Ansible) -> None:
    task = service_task(cluster="alpha", name="slurmd", hosts="{{ ['a1', 'a2'] }}", port="{{ 6000 + 818 }}")
    done = run(site, {**task, "delegate_to": "other.invalid", "run_once": True}, {**task, "delegate_to": "localhost"})
    assert [summary(result)[0] for result in done] == [True, False]
    assert services(site)["alpha/slurmd/a1"]["port"] == 6818


# --- What goes wrong -----------------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str]] = [
    (
        host_task(hosts=[{**NEW, "name": "m3"}, {**NEW, "name": "m4", "addresses": {"main": "10.0.0.300"}}]),
        "hosts[1] (m4): addresses.main: is no IPv4 or IPv6 address",
    ),
    (host_task(**{**NEW, "name": "m4", "addresses": {"main": "no"}}), "m4: addresses.main: is no IPv4 or IPv6 address"),
    (host_task(name="a1", lifecycle="maintenance"), "a1: lifecycle: a host that is planned can become"),
    (
        host_task(hosts=[{"name": "a1", "state": "maintenance"}]),
        "hosts[0] (a1): state: a host that is planned can become",
    ),
    (host_task(hosts=[{"name": "m4", "cluster": "gamma"}]), "hosts[0] (m4): cluster: there is no cluster 'gamma'"),
    (host_task(hosts=[{"name": "a1", "colour": "red"}]), "hosts[0] (a1): colour: Extra inputs"),
    (host_task(hosts=[{"rack": "r1"}]), "hosts[0]: name: Field required"),
    (host_task(hosts=[{"name": "a1", "roles": ["x", "!"]}]), "hosts[0] (a1): roles[1]: "),
    (host_task(hosts=[3]), "hosts[0]: is no dict"),
    (host_task(hosts=["../x"], state="absent"), "'../x' is no name"),
    (host_task(hosts=["a1"], name="a2"), "mutually exclusive: hosts|name"),
    (host_task(state="retired"), "one of the following is required: hosts, name"),
    (host_task(name="a1", color="red"), "color"),
    (
        service_task(services=[{"cluster": "alpha", "name": "x", "host": "a9", "port": 1}]),
        "services[0] (alpha/x/a9): host: the host 'a9' does not exist",
    ),
    (service_task(cluster="alpha", name="x", hosts=["a1"]), "alpha/x/a1: port: Field required"),
    (
        service_task(cluster="alpha", name="x", hosts=["a1"], port=1, check={"type": "tcp", "interval": 0}),
        "alpha/x/a1: check.tcp.interval: ",
    ),
    (service_task(name="x", port=1), "cluster, hosts: needed with name"),
    (
        service_task(services=[{"cluster": "alpha", "name": "x"}], state="absent"),
        "services[0] (alpha/x): host: None is no name",
    ),
]


def test_what_is_wrong_is_said_with_object_and_field(site: Ansible) -> None:
    before = revision(site)
    for (_task, message), result in zip(WRONG, run(site, *[task for task, _message in WRONG])):
        assert result["failed"]
        assert message in result["msg"]
    assert revision(site) == before


def test_object_that_moved_on_is_shown(site: Ansible) -> None:
    run(site, host_task(hosts=[{**NEW, "state": "planned"}, {**NEW, "name": "m2", "state": "planned"}]))
    then = host(site, "m1")["revision"]
    run(site, host_task(name="m1", rack="r8"))
    done = run(
        site,
        host_task(hosts=[{"name": "m2", "rack": "r5"}, {"name": "m1", "rack": "r5", "revision": then}]),
        host_task(hosts=[{**NEW, "revision": 0}]),
        host_task(name="m1", rack="r5", revision=host(site, "m1")["revision"]),
    )
    assert done[0]["failed"]
    assert f"hosts[1] (m1): revision: 'm1' is at revision {then + 1}; {then} was expected" in done[0]["msg"]
    assert [current["rack"] for current in done[0]["conflicts"]] == ["r8"]
    assert "exists already" in done[1]["msg"]
    assert summary(done[2]) == (True, [("m1", "updated")])
    assert host(site, "m2")["rack"] == "r7"


def test_absent_takes_nothing_out_where_a_host_moved_on(site: Ansible) -> None:
    run(
        site,
        host_task(hosts=[{**NEW, "state": "planned"}]),
        service_task(cluster="alpha", name="slurmd", hosts=["m1"], port=6818),
    )
    then = host(site, "m1")["revision"]
    done = run(
        site, host_task(name="m1", rack="r8"), host_task(hosts=[{"name": "m1", "revision": then}], state="absent")
    )
    assert "hosts[0] (m1): revision: " in done[1]["msg"]
    assert done[1]["changed"] is False
    assert (list(services(site)), host(site, "m1")["state"]) == (["alpha/slurmd/m1"], "planned")


def test_each_reason_of_a_refusal_has_its_sentence(site: Ansible) -> None:
    tasks = [
        host_task(name="b1", rack="r5", token=WRITER),
        host_task(name="a1", rack="r5", token=READER),
        host_task(name="a1", rack="r5", token=ADMIN[:-1]),
        host_task(name="a1", rack="r5", token="{{ omit }}"),
        host_task(name="a1", rack="r5", ca_file="{{ omit }}"),
        host_task(name="a1", rack="r5", url="https://127.0.0.1:1"),
        host_task(name="a1", rack="r5", url="http://discovery.invalid"),
    ]
    done = run(site, *tasks)
    messages = [result["msg"] for result in done if result["failed"]]
    assert "answers 403 (token 'writer' is not for cluster 'beta')" in messages[0]
    assert "answers 403" in messages[1]
    assert "answers 401" in messages[2]
    assert "was revoked" in messages[2]
    assert "token: there is none" in messages[3]
    assert "certificate verify failed" in messages[4].lower()
    assert "https://127.0.0.1:1/v1/hosts cannot be asked: " in messages[5]
    assert "Connection refused" in messages[5]
    assert "may have been done" not in messages[5]
    assert "in the clear to discovery.invalid" in messages[6]
    assert host(site, "a1")["rack"] == "r1"


def test_environment_has_address_and_token_where_the_task_has_not(site: Ansible) -> None:
    settings = {
        "HPCOPS_DISCOVERY_URL": site.service.url,
        "HPCOPS_DISCOVERY_TOKEN": ADMIN,
        "HPCOPS_DISCOVERY_CA_FILE": str(site.service.ca_file),
    }
    done = site.play(host_task(name="a1", rack="r6"), settings=settings)
    assert "changed=1" in done.stdout, done.stdout + done.stderr


def test_values_that_look_like_templates_stay_what_they_are(site: Ansible) -> None:
    task = host_task(hosts="{{ loaded }}")
    path = site.folder / "hosts.json"
    path.write_text(
        json.dumps([{**NEW, "state": "planned", "labels": {"evil": HOSTILE}, "variables": {"evil": HOSTILE}}])
    )
    loaded = {"loaded": "{{ lookup('file', path) | from_json }}", "path": str(path)}
    show = {"ansible.builtin.debug": {"msg": "{{ shown.diff[0].after.labels.evil }}"}}
    done = run(site, {**task, "register": "shown"}, show, vars=loaded, options=["--diff"])
    assert summary(done[0]) == (True, [("m1", "updated")])
    assert done[1]["msg"] == HOSTILE
    assert host(site, "m1")["labels"] == {"evil": HOSTILE}
    assert not list(site.folder.rglob("evil"))


def test_token_is_in_no_output(site: Ansible) -> None:
    tasks = [
        host_task(name="a1", rack="r5", token="{{ secret }}"),
        host_task(name="b1", rack="r5", token="{{ secret }}"),
        host_task(name="a1", token="{{ secret }}", timeout="soon"),
        host_task(name="a1", token="{{ secret }}", url="https://127.0.0.1:1"),
        host_task(name="a1", token="{{ secret ~ ' ' ~ secret }}"),
    ]
    file = site.folder / "secret.yml"
    file.write_text(f"secret: {WRITER}\n")
    done = site.play(
        *tasks,
        module_defaults={GROUP: {"url": site.service.url, "ca_file": str(site.service.ca_file)}},
        vars_files=[str(file)],
        options=["-vvvvv", "--diff"],
    )
    assert "changed=1" in done.stdout, done.stdout
    assert "ignored=4" in done.stdout, done.stdout
    assert WRITER not in done.stdout + done.stderr


def test_thousands_of_hosts_are_one_request(site: Ansible) -> None:
    many = "{{ range(3000) | map('regex_replace', '^', 'x') | map('community.general.dict_kv', 'name') | map('combine', common) }}"
    common = {"common": {"cluster": "beta", "slurm_node": {"cpus": 64}, "roles": ["slurmd"]}}
    before = revision(site)
    done = run(site, host_task(hosts=many), host_task(hosts=many), vars=common)
    assert revision(site) == before + 1
    assert (len(done[0]["changes"]), done[0]["revision"]) == (3000, before + 1)
    assert "diff" not in done[0]
    assert summary(done[1]) == (False, [])
    gone = run(site, host_task(hosts=many, state="absent"), vars=common)
    assert len(gone[0]["changes"]) == 3000


# --- Clusters ------------------------------------------------------------------------------------------------------


def cluster_task(**options: Any) -> dict[str, Any]:
    return {"hpcops.cluster.discovery_cluster": options}


def test_cluster_comes_changes_and_goes(site: Ansible) -> None:
    task = cluster_task(name="m-new", slurm={"DefMemPerCPU": 100}, variables={"text": HOSTILE})
    planned, made, again, other, gone, once_more = run(
        site,
        {**task, "check_mode": True},
        task,
        task,
        cluster_task(name="m-new", slurm={"DefMemPerCPU": 200}),
        cluster_task(name="m-new", state="absent"),
        cluster_task(name="m-new", state="absent"),
    )
    assert summary(planned) == summary(made) == (True, [("m-new", "created")])
    assert summary(again) == (False, [])
    assert summary(other) == (True, [("m-new", "updated")])
    assert summary(gone) == (True, [("m-new", "removed")])
    assert summary(once_more) == (False, [])


def test_wrong_value_of_a_cluster_is_named(site: Ansible) -> None:
    (refused,) = run(site, cluster_task(name="m-new", variables={"not a name": 1}))
    assert refused["failed"]
    assert "m-new: variables" in refused["msg"]


# --- Roles ---------------------------------------------------------------------------------------------------------

# Where each role's service is, whether the server asks it, or waits for the host's report.
REGISTERED = {
    "alertmanager/a3": ("https", 9093, "tcp"),
    "cgroup_exporter/a1": ("https", 9306, "heartbeat"),
    "dcgm_exporter/a1": ("https", 9400, "heartbeat"),
    "discovery/a3": ("https", 8420, "http"),
    "grafana/a3": ("https", 3000, "http"),
    "mariadb/a3": ("tcp", 3307, "heartbeat"),
    **{f"node_exporter/a{number}": ("https", 9100, "heartbeat") for number in (1, 2, 3, 4)},
    **{f"process_exporter/a{number}": ("https", 9256, "heartbeat") for number in (1, 2, 3, 4)},
    "prometheus/a3": ("https", 9090, "tcp"),
    "slurm_exporter/a2": ("https", 9341, "heartbeat"),
    "slurmctld/a4": ("tcp", 6917, "heartbeat"),
    "slurmd/a1": ("tcp", 6918, "heartbeat"),
    "slurmd/a2": ("tcp", 6920, "heartbeat"),
    "slurmdbd/a3": ("tcp", 6819, "heartbeat"),
    "slurmrestd/a4": ("https", 6843, "heartbeat"),
}


def test_each_role_registers_its_services_and_hosts_report_what_is_waited_for(site: Ansible) -> None:
    members: dict[str, list[str]] = {
        "a1": ["slurmd", "cgroup_exporter", "dcgm_exporter"],
        "a2": ["slurmd", "slurm_exporter"],
        "a3": ["slurmdbd", "mariadb", "discovery", "prometheus", "grafana"],
        "a4": ["slurmctld", "slurmrestd"],
    }
    groups: dict[str, Any] = {group: {"hosts": {}} for names in members.values() for group in names}
    for name, names in members.items():
        for group in names:
            groups[group]["hosts"][name] = {"slurm_node_port": 6920} if name == "a2" else {}
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "slurm_cluster_name": "alpha",
        "slurm_install_method": "repository",
        "slurm_version": "24.11.5",
        "slurm_repository": {"name": "slurm", "uris": ["https://packages.invalid"], "suites": ["trixie"]},
        "slurmctld_parameters": {"SlurmctldPort": "6917-6919", "SlurmdPort": 6918},
        "hpcops_discovery_url": site.service.url,
        "hpcops_discovery_ca_file": str(site.service.ca_file),
        "hpcops_discovery_token": WRITER,
        "hpcops_metrics_password": "password-of-the-tests",
        "discovery_heartbeat_token": "heartbeat-token-of-the-tests-0123456789",
        "discovery_listen_address": "0.0.0.0",
        "grafana_listen_address": "0.0.0.0",
        "mariadb_bind_address": "0.0.0.0",
        "mariadb_settings": {"port": 3307},
        "os_base_ca_directory": str(site.folder),
        **{f"{name}_tls_internal": True for name in ("grafana", "slurmrestd")},
    }
    inventory, playbook = site.folder / "groups.json", site.folder / "services.yml"
    inventory.write_text(json.dumps({"all": {"vars": variables, "children": groups}}))
    files = [str(ROOT / "playbooks" / "vars" / f"{name}.yml") for name in ("register_services", "monitoring")]
    report = {"hosts": "all", "gather_facts": False, "vars_files": files, "tags": ["services"]}
    report["tasks"] = [{"ansible.builtin.debug": {"var": "__services_units"}}]
    playbook.write_text(json.dumps([{"import_playbook": "hpcops.cluster.register_services"}, report]))
    # Without the first play, which would have this machine report.
    options = ["--tags=services", "--start-at-task=Register slurmctld"]
    done = site.start("ansible-playbook", "-i", str(inventory), str(playbook), *options, **RESULTS)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {f"{item['name']}/{item['host']}": item for item in services(site).values()}
    assert {key: (item["scheme"], item["port"], item["check"]["type"]) for key, item in found.items()} == REGISTERED
    reported = results_of(done)[-1]
    units = {f"{unit}/{name}" for name, result in reported.items() for unit in result["__services_units"]}
    assert units == {key for key, (_scheme, _port, check) in REGISTERED.items() if check == "heartbeat"}
