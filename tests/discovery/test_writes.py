"""Writes: everything or nothing, nobody's change is lost, and each one leaves its trace."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hpcops_discovery.changes import merge
from hpcops_discovery.shapes import HOST_STATES, TRANSITIONS
from hypothesis import given
from hypothesis import strategies as st
from support import ALPHA, READER, WRITER, Client, host, service


def revision(api: Client) -> int:
    found: int = api.ok("GET", "/v1/clusters")["revision"]
    return found


def test_host_is_made_read_changed_and_read_again(site: Client) -> None:
    made = site.ok("PUT", "/v1/hosts/n1", json=host("n1", slurm_node={"cpus": 2}))
    assert (made["created"], made["updated"]) == (1, 0)
    assert site.ok("GET", "/v1/hosts/n1")["state"] == "planned"
    done = site.ok("PUT", "/v1/hosts/n1", json=host("n1", slurm_node={"cpus": 4}, state="ready"))
    assert (done["created"], done["updated"]) == (0, 1)
    found = site.ok("GET", "/v1/hosts/n1")
    assert (found["slurm_node"], found["state"], found["revision"]) == ({"cpus": 4}, "ready", done["revision"])


def test_write_without_a_difference_changes_no_revision_and_leaves_no_event(site: Client) -> None:
    before, events = revision(site), len(site.ok("GET", "/v1/events")["items"])
    wanted = host("a3", roles=["slurmctld"], rack="r2", labels={"gone": "", "env": "test"})
    assert site.ok("POST", "/v1/hosts", json={"hosts": [wanted]})["unchanged"] == 1
    assert revision(site) == before
    assert len(site.ok("GET", "/v1/events")["items"]) == events


def test_bulk_write_is_one_revision(site: Client) -> None:
    before = revision(site)
    answer = site.ok("POST", "/v1/hosts", json={"hosts": [host(f"n{number}") for number in range(50)]})
    assert answer["revision"] == before + 1
    assert {site.ok("GET", f"/v1/hosts/n{number}")["revision"] for number in (0, 49)} == {before + 1}


def test_one_fault_refuses_the_whole_bulk_and_names_its_index(site: Client) -> None:
    before = revision(site)
    problem = site.refused(422, "POST", "/v1/hosts", json={"hosts": [host("n1"), host("n2", "nowhere"), host("n3")]})
    assert [(error["index"], error["key"], error["pointer"]) for error in problem["errors"]] == [
        (1, "n2", "/hosts/1/cluster")
    ]
    assert "nowhere" in problem["detail"]
    assert revision(site) == before
    site.refused(404, "GET", "/v1/hosts/n1")


def test_every_fault_of_a_bulk_is_told_at_once(site: Client) -> None:
    hosts = [host("n1"), host("n1"), host("a1", "beta"), host("a2", state="planned"), host("n5", instance_id="i-1")]
    problem = site.refused(422, "POST", "/v1/hosts", json={"hosts": hosts})
    assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [
        ("/hosts/1/name", "duplicate"),
        ("/hosts/2/cluster", "other_cluster"),
        ("/hosts/4/provider", "missing"),
    ]


def test_host_cannot_be_in_two_clusters(site: Client) -> None:
    problem = site.refused(422, "POST", "/v1/hosts", json={"hosts": [host("a1", "beta")]})
    assert "belongs to cluster 'alpha'; retire it there first" in problem["detail"]


def test_retired_host_may_come_back_in_another_cluster(site: Client) -> None:
    site.ok("PATCH", "/v1/hosts/a1", json={"state": "retired"})
    site.ok("PATCH", "/v1/hosts/a1", json={"state": "planned", "cluster": "beta"})
    assert site.ok("GET", "/v1/hosts/a1")["cluster"] == "beta"


def test_two_hosts_cannot_be_one_instance(site: Client) -> None:
    cloud = {"provider": "ec2", "instance_id": "i-1"}
    site.ok("PUT", "/v1/hosts/n1", json=host("n1", **cloud))
    problem = site.refused(422, "POST", "/v1/hosts", json={"hosts": [host("n2"), host("n3", **cloud)]})
    assert problem["errors"][0]["pointer"] == "/hosts/1/instance_id"
    assert "is the host 'n1'" in problem["detail"]
    site.refused(
        422,
        "POST",
        "/v1/hosts",
        json={"hosts": [host("n4", **cloud | {"instance_id": "i-2"}), host("n5", **cloud | {"instance_id": "i-2"})]},
    )


# --- Optimistic concurrency ------------------------------------------------------------------------------------------


def test_write_at_another_revision_gets_the_current_object(site: Client) -> None:
    seen = site.ok("GET", "/v1/hosts/a1")
    site.ok("PATCH", "/v1/hosts/a1", json={"rack": "r9"})
    problem = site.refused(409, "PATCH", "/v1/hosts/a1", json={"rack": "r8", "revision": seen["revision"]})
    assert problem["current"]["rack"] == "r9"
    site.ok("PATCH", "/v1/hosts/a1", json={"rack": "r8", "revision": problem["current"]["revision"]})


@pytest.mark.parametrize(("name", "expected"), [("a1", 0), ("new", 7), ("a1", 1)])
def test_unmet_expectation_is_a_conflict(site: Client, name: str, expected: int) -> None:
    site.refused(409, "POST", "/v1/hosts", json={"hosts": [host("n1"), host(name, revision=expected)]})
    site.refused(404, "GET", "/v1/hosts/n1")


def test_conflicts_in_clusters_and_services(site: Client) -> None:
    assert site.refused(409, "PUT", "/v1/clusters/alpha", json={"revision": 0})["current"]["name"] == "alpha"
    site.ok("POST", "/v1/services", json={"services": [service("s", "a1")]})
    problem = site.refused(409, "POST", "/v1/services", json={"services": [service("s", "a1", revision=0)]})
    assert problem["current"]["host"] == "a1"


def test_of_many_writers_at_one_revision_exactly_one_wins(site: Client) -> None:
    seen = site.ok("GET", "/v1/hosts/a1")["revision"]

    def write(number: int) -> int:
        return site.patch("/v1/hosts/a1", json={"rack": f"new{number}", "revision": seen}).status_code

    with ThreadPoolExecutor(8) as pool:
        answers = sorted(pool.map(write, range(16)))
    assert answers == [200] + [409] * 15


# --- Dry run, diff, merge --------------------------------------------------------------------------------------------


def test_dry_run_tells_what_a_write_would_do_and_does_not_do_it(site: Client) -> None:
    wanted = {"hosts": [host("a1", rack="r7"), host("n1")]}
    before = revision(site)
    told = site.ok("POST", "/v1/hosts", json=wanted, params={"dry_run": True})
    assert told["dry_run"] is True
    assert [(change["key"], change["action"]) for change in told["changes"]] == [("a1", "updated"), ("n1", "created")]
    assert told["changes"][0]["before"]["rack"] == "r1"
    assert told["changes"][0]["after"]["rack"] == "r7"
    assert told["changes"][1]["before"] is None
    assert revision(site) == before
    done = site.ok("POST", "/v1/hosts", json=wanted, params={"diff": True})
    assert done["changes"] == told["changes"]
    assert (done["created"], done["updated"]) == (told["created"], told["updated"])


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/v1/clusters/alpha", {"description": "new"}),
        ("PUT", "/v1/clusters/gamma", {}),
        ("PATCH", "/v1/hosts/a1", {"state": "retired"}),
        ("POST", "/v1/services", {"services": [service("s", "a1")]}),
        ("DELETE", "/v1/services/alpha/kept/a1", None),
    ],
)
def test_dry_run_of_any_write_keeps_everything(site: Client, method: str, path: str, body: Any) -> None:
    site.ok("POST", "/v1/services", json={"services": [service("kept", "a1")]})
    before = {path: site.ok("GET", path) for path in ("/v1/clusters", "/v1/hosts", "/v1/services", "/v1/events")}
    assert site.ok(method, path, json=body, params={"dry_run": True})["changes"]
    assert {path: site.ok("GET", path) for path in before} == before


def test_dry_run_finds_the_same_faults(site: Client) -> None:
    site.refused(422, "POST", "/v1/hosts", json={"hosts": [host("n1", "nowhere")]}, params={"dry_run": True})


def test_patch_changes_what_it_names_and_null_takes_away(site: Client) -> None:
    site.ok(
        "PATCH",
        "/v1/hosts/a2",
        json={"slurm_node": {"cpus": 8, "gres": None}, "labels": {"env": None, "x": "y"}, "rack": None},
    )
    found = site.ok("GET", "/v1/hosts/a2")
    assert found["slurm_node"] == {"cpus": 8, "features": ["avx"]}
    assert found["labels"] == {"x": "y"}
    assert "rack" not in found
    assert found["partitions"] == ["batch", "gpu"]
    assert site.names("/v1/hosts", label="env") == ["a1", "a3"]


def test_bulk_patch_makes_new_hosts_and_names_what_they_lack(site: Client) -> None:
    site.ok("PATCH", "/v1/hosts", json={"hosts": [{"name": "a1", "rack": "r5"}, host("n1", slurm_node={"cpus": 1})]})
    assert site.ok("GET", "/v1/hosts/n1")["slurm_node"] == {"cpus": 1}
    problem = site.refused(422, "PATCH", "/v1/hosts", json={"hosts": [{"name": "a1", "rack": "r6"}, {"name": "n2"}]})
    assert [(error["pointer"], error["index"]) for error in problem["errors"]] == [("/hosts/1/cluster", 1)]
    site.refused(404, "PATCH", "/v1/hosts/n2", json={"rack": "r1"})


def test_whole_write_keeps_the_lifecycle_state_unless_it_names_one(site: Client) -> None:
    site.ok("PUT", "/v1/hosts/a1", json=host("a1"))
    assert site.ok("GET", "/v1/hosts/a1")["state"] == "active"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(json_values, json_values)
def test_merged_patch_keeps_nothing_that_it_takes_away(target: Any, patch: Any) -> None:
    merged = merge(target, patch)
    assert merge(merged, patch) == merged
    if isinstance(patch, dict):
        assert all(key not in merged for key, value in patch.items() if value is None)
        if isinstance(target, dict):
            assert all(merged[key] == value for key, value in target.items() if key not in patch)


# --- Lifecycle -------------------------------------------------------------------------------------------------------

WAYS = {
    "planned": [],
    "ready": ["ready"],
    "active": ["active"],
    "maintenance": ["active", "maintenance"],
    "retired": ["retired"],
}


@pytest.mark.parametrize("begin", HOST_STATES)
def test_host_goes_only_where_its_lifecycle_allows(site: Client, begin: str) -> None:
    for end in HOST_STATES:
        name = f"{begin}-{end}"
        site.ok("PUT", f"/v1/hosts/{name}", json=host(name))
        for state in WAYS[begin]:
            site.ok("PATCH", f"/v1/hosts/{name}", json={"state": state})
        answer = site.patch(f"/v1/hosts/{name}", json={"state": end})
        allowed = end == begin or end in TRANSITIONS[begin]  # type: ignore[index]
        assert answer.status_code == (200 if allowed else 422), answer.text
        if not allowed:
            assert answer.json()["errors"][0]["pointer"] == "/state"


def test_host_is_never_deleted_but_retired(site: Client) -> None:
    site.refused(405, "DELETE", "/v1/hosts/a1")
    assert site.ok("PATCH", "/v1/hosts/a1", json={"state": "retired"})["retired"] == 1
    assert site.ok("GET", "/v1/hosts/a1")["state"] == "retired"
    assert "a1" not in site.ok("GET", "/v1/inventory")["hosts"]
    problem = site.refused(422, "PATCH", "/v1/hosts/a1", json={"state": "active"})
    assert "a host that is retired can become planned; not active" in problem["detail"]


def test_new_host_cannot_be_retired(site: Client) -> None:
    site.refused(422, "PUT", "/v1/hosts/n1", json=host("n1", state="retired"))


# --- Services and clusters ---------------------------------------------------------------------------------------------


def test_service_is_made_changed_and_removed(site: Client) -> None:
    site.ok("POST", "/v1/services", json={"services": [service("s", "a1"), service("s", "a2")]})
    site.ok("POST", "/v1/services", json={"services": [service("s", "a1", port=9200)]})
    assert [item["port"] for item in site.ok("GET", "/v1/services?name=s")["items"]] == [9200, 9100]
    assert site.ok("GET", "/v1/services/alpha/s/a1")["address"] == "10.0.0.1"
    assert site.ok("DELETE", "/v1/services/alpha/s/a1")["removed"] == 1
    site.refused(404, "DELETE", "/v1/services/alpha/s/a1")
    site.refused(404, "GET", "/v1/services/alpha/s/a1")


def test_service_needs_a_cluster_and_a_host_that_is_not_retired(site: Client) -> None:
    site.ok("PATCH", "/v1/hosts/a2", json={"state": "retired"})
    services = [
        service("s", "nobody"),
        service("s", "a2"),
        service("s", "a1", "nowhere"),
        service("t", "a1"),
        service("t", "a1"),
    ]
    problem = site.refused(422, "POST", "/v1/services", json={"services": services})
    assert [error["pointer"] for error in problem["errors"]] == [
        "/services/0/host",
        "/services/1/host",
        "/services/2/cluster",
        "/services/4/name",
    ]


def test_services_of_a_retired_host_are_out_of_sight(site: Client) -> None:
    site.ok("POST", "/v1/services", json={"services": [service("s", "a1", metrics_path="/metrics")]})
    site.ok("PATCH", "/v1/hosts/a1", json={"state": "retired"})
    assert site.ok("GET", "/v1/services")["items"] == []
    assert site.ok("GET", "/v1/prometheus/targets") == []


def test_cluster_is_removed_only_when_nothing_was_in_it(site: Client) -> None:
    site.ok("PUT", "/v1/clusters/gamma", json={})
    assert site.ok("DELETE", "/v1/clusters/gamma")["removed"] == 1
    site.refused(404, "DELETE", "/v1/clusters/gamma")
    assert site.refused(409, "DELETE", "/v1/clusters/beta")["current"]["name"] == "beta"


# --- Events ----------------------------------------------------------------------------------------------------------


def test_event_tells_who_changed_what_and_what_it_was_before(site: Client) -> None:
    site.of(WRITER).ok("PATCH", "/v1/hosts/a1", json={"rack": "r9"})
    event = site.ok("GET", "/v1/events?key=a1&kind=host")["items"][-1]
    assert (event["actor"], event["action"], event["cluster"]) == ("writer", "updated", "alpha")
    assert (event["before"]["rack"], event["after"]["rack"]) == ("r1", "r9")
    assert event["revision"] == revision(site)


def test_events_of_removed_things_stay(site: Client) -> None:
    site.ok("POST", "/v1/services", json={"services": [service("s", "a1")]})
    site.ok("DELETE", "/v1/services/alpha/s/a1")
    events = site.ok("GET", "/v1/events?key=alpha/s/a1")["items"]
    assert [event["action"] for event in events] == ["created", "removed"]
    assert events[1]["before"]["port"] == 9100
    assert "after" not in events[1]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST", "DELETE"])
def test_events_cannot_be_written(site: Client, method: str) -> None:
    site.refused(405, method, "/v1/events", json={})


def test_token_of_one_cluster_writes_there_alone(site: Client) -> None:
    alpha = site.of(ALPHA)
    alpha.ok("PATCH", "/v1/hosts/a1", json={"rack": "r3"})
    problem = alpha.refused(403, "POST", "/v1/hosts", json={"hosts": [host("n1"), host("n2", "beta")]})
    assert "not for cluster 'beta'" in problem["detail"]
    alpha.refused(403, "PATCH", "/v1/hosts/b1", json={"cluster": "alpha"})
    for cluster in ("alpha", "beta"):
        alpha.refused(403, "POST", "/v1/services", json={"services": [service("s", "b1", cluster)]})
    site.of(READER).refused(403, "PATCH", "/v1/hosts/a1", json={"rack": "r3"})
    assert site.names("/v1/hosts") == ["a1", "a2", "a3", "b1"]
