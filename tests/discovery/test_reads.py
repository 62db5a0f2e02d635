"""Reads: filters, selectors, pages, the inventory, Prometheus' targets, and news."""

from __future__ import annotations

import gzip
import json
import threading
import time
from typing import Any

import httpx
import pytest
from hpcops_discovery import selectors
from hypothesis import given
from hypothesis import strategies as st
from support import ADMIN, ALPHA, READER, Client, host, service


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, ["a1", "a2", "a3", "b1"]),
        ({"cluster": "alpha"}, ["a1", "a2", "a3"]),
        ({"cluster": ["alpha", "beta"], "role": "slurmd"}, ["a1", "a2", "b1"]),
        ({"name": ["a3", "b1", "nobody"]}, ["a3", "b1"]),
        ({"state": ["ready", "planned"]}, ["a2", "a3"]),
        ({"role": ["slurmd", "slurmctld"]}, ["a1", "a2", "a3", "b1"]),
        ({"partition": "gpu"}, ["a2"]),
        ({"partition": ["gpu", "batch"]}, ["a1", "a2", "b1"]),
        ({"feature": "avx"}, ["a2"]),
        ({"rack": "r2"}, ["a3", "b1"]),
        ({"role": "slurmd", "partition": "batch", "rack": "r1"}, ["a1", "a2"]),
        ({"label": "env=prod"}, ["a1", "a2"]),
        ({"label": "env==prod,tier=1"}, ["a1"]),
        ({"label": "env=prod", "role": "slurmd", "partition": "gpu"}, ["a2"]),
        ({"label": "env!=prod"}, ["a3", "b1"]),
        ({"label": "env in (prod, test)"}, ["a1", "a2", "a3"]),
        ({"label": "env notin (prod)"}, ["a3", "b1"]),
        ({"label": "tier"}, ["a1"]),
        ({"label": "!tier"}, ["a2", "a3", "b1"]),
        ({"label": "gone="}, ["a3"]),
        ({"label": "env=prod,!tier"}, ["a2"]),
        ({"label": "nothing=x"}, []),
        ({"provider": "ec2"}, []),
    ],
)
def test_filter_finds(site: Client, query: dict[str, Any], names: list[str]) -> None:
    assert site.names("/v1/hosts", **query) == names
    paged = []
    after = None
    while True:
        page = site.ok("GET", "/v1/hosts", params={**query, "limit": 1, **({"after": after} if after else {})})
        paged += [item["name"] for item in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert paged == names


def test_filters_on_instances(site: Client) -> None:
    site.ok("PATCH", "/v1/hosts/a1", json={"provider": "ec2", "instance_id": "i-1", "switch": "s1"})
    for query in ({"instance_id": "i-1"}, {"provider": "ec2"}, {"switch": "s1"}):
        assert site.names("/v1/hosts", **query) == ["a1"]


def test_pages_miss_nothing_that_stays_and_repeat_nothing_while_hosts_come_and_go(site: Client) -> None:
    site.ok("POST", "/v1/hosts", json={"hosts": [host(f"n{number:02}") for number in range(20)]})
    first = site.ok("GET", "/v1/hosts", params={"limit": 10})
    site.ok("POST", "/v1/hosts", json={"hosts": [host("a0"), host("n05x")]})
    second = site.ok("GET", "/v1/hosts", params={"limit": 100, "after": first["next"]})
    names = [item["name"] for page in (first, second) for item in page["items"]]
    assert names == sorted({*names})
    assert {f"n{number:02}" for number in range(20)} <= {*names}


def test_names_are_ordered_alike_on_both_databases(site: Client) -> None:
    names = ["Z1", "a-1", "a.1", "a1-x", "a10", "a_1", "z1"]
    site.ok("PUT", "/v1/clusters/gamma", json={})
    site.ok("POST", "/v1/hosts", json={"hosts": [host(name, "gamma") for name in names]})
    assert site.names("/v1/hosts", cluster="gamma") == sorted(names)


def test_services_are_found_by_what_they_are(site: Client) -> None:
    labels = {"kind": "exporter"}
    wanted = [
        service("node", "a1", labels=labels),
        service("node", "a2"),
        service("db", "a3"),
        service("node", "b1", "beta"),
    ]
    site.ok("POST", "/v1/services", json={"services": wanted})

    def found(**query: Any) -> list[str]:
        return [f"{item['name']}@{item['host']}" for item in site.ok("GET", "/v1/services", params=query)["items"]]

    assert found() == ["db@a3", "node@a1", "node@a2", "node@b1"]
    assert found(name="node", cluster="alpha") == ["node@a1", "node@a2"]
    assert found(host=["a3", "b1"]) == ["db@a3", "node@b1"]
    assert found(label="kind=exporter") == ["node@a1"]
    assert found(label="!kind", cluster="alpha") == ["db@a3", "node@a2"]
    assert found(health="critical") == []
    assert found(health=["passing", "warning"], limit=1000) == found()
    page = site.ok("GET", "/v1/services", params={"limit": 2})
    assert [item["host"] for item in page["items"]] == ["a3", "a1"]
    rest = site.ok("GET", "/v1/services", params={"after": page["next"]})
    assert [item["host"] for item in rest["items"]] == ["a2", "b1"]


# --- Selectors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["=x", "a in x", "a in (x", "!", "a,,b", "a in (x))", "-a=b", "a=(b)", ",a"])
def test_selector_that_cannot_be_read_is_refused(site: Client, text: str) -> None:
    problem = site.refused(422, "GET", "/v1/hosts", params={"label": text})
    assert problem["errors"][0]["pointer"] == "label"


keys = st.from_regex(r"\A[A-Za-z][A-Za-z0-9._/-]{0,9}\Z").filter(lambda key: key not in ("in", "notin"))
values = st.from_regex(r"\A[A-Za-z0-9:.;_-]{0,9}\Z")


@given(st.lists(st.tuples(keys, st.sampled_from(["=", "==", "!=", " in ", " notin "]), values), min_size=1, max_size=5))
def test_selector_means_what_was_put_together(parts: list[tuple[str, str, str]]) -> None:
    def text(key: str, operator: str, value: str) -> str:
        return f"{key}{operator}({value})" if "in" in operator else f"{key}{operator}{value}"

    parsed = selectors.parse(", ".join(text(*part) for part in parts))
    assert parsed == [
        selectors.Requirement(key, (value,), operator.strip() in ("=", "==", "in")) for key, operator, value in parts
    ]


@given(st.text(max_size=60))
def test_any_text_is_a_selector_or_is_refused(text: str) -> None:
    try:
        selectors.parse(text)
    except selectors.SelectorError as error:
        assert str(error)  # noqa: PT017  # nothing needs to be raised


# --- Conditional and compressed answers --------------------------------------------------------------------------------

CONDITIONAL = ["/v1/inventory", "/v1/hosts", "/v1/clusters", "/v1/services", "/v1/prometheus/targets"]


@pytest.mark.parametrize("path", CONDITIONAL)
def test_unchanged_answer_is_not_sent_again(site: Client, path: str) -> None:
    first = site.get(path)
    etag = first.headers["etag"]
    again = site.get(path, headers={"If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    site.ok("PATCH", "/v1/hosts/a1", json={"rack": "r8"})
    changed = site.get(path, headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag


@pytest.mark.parametrize("path", CONDITIONAL)
def test_tokens_of_other_clusters_do_not_share_answers(site: Client, path: str) -> None:
    etag = site.get(path).headers["etag"]
    assert site.of(ALPHA).get(path, headers={"If-None-Match": etag}).status_code == 200


def test_heartbeat_changes_no_revision(site: Client) -> None:
    etag = site.get("/v1/inventory").headers["etag"]
    site.ok("POST", "/v1/heartbeats", json={"beats": [{"host": "a1"}]})
    assert site.get("/v1/inventory", headers={"If-None-Match": etag}).status_code == 304


def test_inventory_is_compressed_once_for_those_who_can_read_it(site: Client) -> None:
    packed = site.get("/v1/inventory", headers={"Accept-Encoding": "gzip"})
    plain = site.get("/v1/inventory", headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.json() == plain.json()
    with httpx.stream("GET", f"{site.base_url}/v1/inventory", headers=dict(site.headers)) as answer:
        assert json.loads(gzip.decompress(b"".join(answer.iter_raw()))) == plain.json()


# --- The inventory -----------------------------------------------------------------------------------------------------


def test_inventory_has_the_variables_that_the_roles_use(site: Client) -> None:
    site.ok("PATCH", "/v1/hosts/a2", json={"variables": {"os_base_timezone": "UTC"}, "addresses": {"main": "10.0.0.2"}})
    found = site.ok("GET", "/v1/inventory")
    assert found["hosts"]["a2"] == {
        "cluster": "alpha",
        "state": "ready",
        "roles": ["slurmd"],
        "partitions": ["batch", "gpu"],
        "labels": {"env": "prod"},
        "vars": {
            "ansible_host": "10.0.0.2",
            "slurm_node_cpus": 4,
            "slurm_node_features": ["avx"],
            "slurm_node_gres": ["gpu:h100:8"],
            "os_base_timezone": "UTC",
        },
    }
    assert found["clusters"]["beta"]["vars"] == {
        "slurm_cluster_name": "beta",
        "slurmctld_parameters": {"SlurmctldTimeout": 300},
    }
    assert found["revision"] == site.ok("GET", "/v1/clusters")["revision"]


def test_full_inventory_has_everything(site: Client) -> None:
    found = site.ok("GET", "/v1/inventory?vars=full")["hosts"]["a1"]["vars"]
    assert found["discovery_rack"] == "r1"
    assert found["discovery_addresses"] == {"main": "10.0.0.1", "bmc": "fe80::1"}


def test_inventory_of_some_clusters_and_states(site: Client) -> None:
    assert sorted(site.ok("GET", "/v1/inventory?cluster=beta")["hosts"]) == ["b1"]
    assert sorted(site.ok("GET", "/v1/inventory?state=active")["hosts"]) == ["a1", "b1"]
    assert sorted(site.of(ALPHA).ok("GET", "/v1/inventory")["hosts"]) == ["a1", "a2", "a3"]
    assert list(site.of(ALPHA).ok("GET", "/v1/inventory")["clusters"]) == ["alpha"]
    site.of(ALPHA).refused(403, "GET", "/v1/inventory?cluster=beta")


def test_inventory_follows_every_kind_of_change(site: Client) -> None:
    def inventory() -> Any:
        return site.ok("GET", "/v1/inventory")

    assert "n1" not in inventory()["hosts"]
    site.ok("PUT", "/v1/hosts/n1", json=host("n1"))
    assert inventory()["hosts"]["n1"]["state"] == "planned"
    site.ok("PATCH", "/v1/hosts/n1", json={"labels": {"x": "y"}})
    assert inventory()["hosts"]["n1"]["labels"] == {"x": "y"}
    site.ok("PUT", "/v1/clusters/gamma", json={"variables": {"a": 1}})
    assert inventory()["clusters"]["gamma"]["vars"]["a"] == 1
    site.ok("DELETE", "/v1/clusters/gamma")
    assert "gamma" not in inventory()["clusters"]
    site.ok("PATCH", "/v1/hosts/n1", json={"state": "retired"})
    assert "n1" not in inventory()["hosts"]
    assert "n1" in site.ok("GET", "/v1/inventory?state=retired")["hosts"]


def test_hostile_values_come_back_as_they_went_in(site: Client) -> None:
    hostile = "{{ lookup('pipe', 'id') }}</script><b>\"'\\ ü\u2028"
    site.ok("PATCH", "/v1/hosts/a1", json={"labels": {"evil": hostile}, "variables": {"evil": {"a": [hostile]}}})
    found = site.ok("GET", "/v1/inventory")["hosts"]["a1"]
    assert found["labels"]["evil"] == hostile
    assert found["vars"]["evil"] == {"a": [hostile]}


# --- Prometheus --------------------------------------------------------------------------------------------------------


def test_targets_are_what_prometheus_reads(site: Client) -> None:
    exporters = [
        service("node_exporter", "a1", scheme="https", metrics_path="/metrics", labels={"job-kind": "os"}),
        service("sshd", "a1", port=22),
        service("node_exporter", "a2", metrics_path="/m"),
    ]
    site.ok("PATCH", "/v1/hosts/a1", json={"addresses": {"main": "fd00::1"}})
    site.ok("POST", "/v1/services", json={"services": exporters})
    targets = site.ok("GET", "/v1/prometheus/targets")
    assert targets[0] == {
        "targets": ["[fd00::1]:9100"],
        "labels": {
            "__scheme__": "https",
            "__metrics_path__": "/metrics",
            "instance": "a1:9100",
            "cluster": "alpha",
            "service": "node_exporter",
            "host": "a1",
            "__meta_discovery_host_state": "active",
            "__meta_discovery_health": "passing",
            "__meta_discovery_host_roles": ",slurmd,",
            "__meta_discovery_host_partitions": ",batch,",
            "__meta_discovery_slurm_node": "a1",
            "__meta_discovery_label_job_kind": "os",
        },
    }
    assert [group["targets"] for group in targets] == [["[fd00::1]:9100"], ["a2:9100"]]
    assert site.ok("GET", "/v1/prometheus/targets?cluster=beta") == []


# --- News --------------------------------------------------------------------------------------------------------------


def test_watcher_is_woken_by_a_change_and_gets_its_events(site: Client) -> None:
    since = site.ok("GET", "/v1/clusters")["revision"]
    news: list[Any] = []
    watcher = threading.Thread(
        target=lambda: news.append(site.of(READER).ok("GET", f"/v1/watch?since={since}&wait=30"))
    )
    watcher.start()
    time.sleep(0.3)
    assert not news
    site.ok("PATCH", "/v1/hosts/a1", json={"rack": "r9"})
    watcher.join(timeout=20)
    assert (news[0]["revision"], news[0]["reset"], news[0]["more"]) == (since + 1, False, False)
    assert [(event["key"], event["after"]["rack"]) for event in news[0]["events"]] == [("a1", "r9")]


def test_watcher_that_is_behind_is_answered_at_once(site: Client) -> None:
    news = site.ok("GET", "/v1/watch?since=1&wait=300")
    assert news["revision"] == site.ok("GET", "/v1/clusters")["revision"]
    assert {event["revision"] for event in news["events"]} == set(range(2, news["revision"] + 1))


def test_watcher_without_news_is_answered_when_its_time_is_over(site: Client) -> None:
    since = site.ok("GET", "/v1/clusters")["revision"]
    assert site.ok("GET", f"/v1/watch?since={since}&wait=1")["events"] == []


def test_watcher_from_another_history_is_told_to_read_everything(site: Client) -> None:
    assert site.ok("GET", "/v1/watch?since=1000&wait=300")["reset"] is True


def test_write_of_more_than_a_watcher_gets_is_not_cut(site: Client) -> None:
    since = site.ok("GET", "/v1/clusters")["revision"]
    site.ok("PATCH", "/v1/hosts/a1", json={"rack": "r9"})
    site.ok("POST", "/v1/hosts", json={"hosts": [host(f"n{number}") for number in range(1500)]})
    first = site.ok("GET", f"/v1/watch?since={since}")
    assert ([event["key"] for event in first["events"]], first["revision"], first["more"]) == (["a1"], since + 1, True)
    second = site.ok("GET", f"/v1/watch?since={first['revision']}")
    assert (second["events"], second["reset"], second["revision"]) == ([], True, since + 2)


def test_watcher_sees_its_clusters_alone(site: Client) -> None:
    since = site.ok("GET", "/v1/clusters")["revision"]
    site.ok("PATCH", "/v1/hosts/b1", json={"rack": "r9"})
    news = site.of(ALPHA).ok("GET", f"/v1/watch?since={since}")
    assert (news["revision"], news["events"]) == (since + 1, [])


def test_events_are_found_by_what_they_concern(site: Client) -> None:
    site.of(READER).refused(403, "PUT", "/v1/hosts/a1", json=host("a1"))
    assert [event["key"] for event in site.ok("GET", "/v1/events?kind=cluster")["items"]] == ["alpha", "beta"]
    assert {event["cluster"] for event in site.ok("GET", "/v1/events?cluster=beta")["items"]} == {"beta"}
    assert [event["actor"] for event in site.ok("GET", "/v1/events?action=denied")["items"]] == ["reader"]
    page = site.ok("GET", "/v1/events?limit=2")
    assert site.ok("GET", f"/v1/events?after={page['next']}")["items"][0]["id"] == 3


def test_admin_token_is_not_in_any_answer(site: Client) -> None:
    for path in [*CONDITIONAL, "/v1/events", "/metrics", "/openapi.json"]:
        assert ADMIN not in site.get(path).text
