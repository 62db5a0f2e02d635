"""Whatever is sent is answered by what was asked for, or by a problem document that names the fault; never by a 500."""

from __future__ import annotations

import json
import os
from typing import Any

import httpx
import pytest
import schemathesis
from hpcops_discovery.openapi import document
from hpcops_discovery.settings import Settings
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from support import ADMIN, Client, host, in_thread, service

HOST = "/v1/hosts/n1"
# Of each request, and more of them before a release.
EXAMPLES = 60 if "HPCOPS_MATRIX" in os.environ else 12


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"colour": "blue"}, "/colour"),
        ({"slurm_node": {"cpu": 4}}, "/slurm_node/cpu"),
        ({"slurm_node": {"cpus": "4"}}, "/slurm_node/cpus"),
        ({"slurm_node": {"cpus": 4.5}}, "/slurm_node/cpus"),
        ({"slurm_node": {"cpus": True}}, "/slurm_node/cpus"),
        ({"slurm_node": {"cpus": 0}}, "/slurm_node/cpus"),
        ({"slurm_node": {"cpus": 2**64}}, "/slurm_node/cpus"),
        ({"addresses": {"main": "10.0.0.300"}}, "/addresses/main"),
        ({"addresses": {"main": "node1"}}, "/addresses/main"),
        ({"addresses": ["10.0.0.1"]}, "/addresses"),
        ({"cluster": "no such"}, "/cluster"),
        ({"cluster": None}, "/cluster"),
        ({"state": "broken"}, "/state"),
        ({"roles": "slurmd"}, "/roles"),
        ({"roles": ["a", "a"]}, "/roles"),
        ({"roles": ["{{ evil }}"]}, "/roles/0"),
        ({"rack": "r\n1"}, "/rack"),
        ({"labels": {"a b": "x"}}, "/labels/a b/[key]"),
        ({"labels": {"a": "x\u0000"}}, "/labels/a"),
        ({"labels": {"a": 1}}, "/labels/a"),
        ({"variables": {"a-b": 1}}, "/variables/a-b/[key]"),
        ({"variables": {"slurm_node_cpus": 1}}, ""),
        ({"variables": {"big": 2**60}}, "/variables/big"),
        ({"revision": -1}, "/revision"),
        ({"name": "other"}, "/name"),
        ({"name": "../etc"}, "/name"),
        ({"instance_id": "i-1"}, "/provider"),
    ],
)
def test_wrong_field_is_named(site: Client, changes: dict[str, Any], pointer: str) -> None:
    problem = site.refused(422, "PUT", HOST, json={**host("n1"), **changes})
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


def test_wrong_field_of_a_bulk_is_named_with_its_index(site: Client) -> None:
    hosts = [host("n1"), host("n2", slurm_node={"cpus": "4"}), host("n3", addresses={"main": "x"})]
    problem = site.refused(422, "POST", "/v1/hosts", json={"hosts": hosts})
    assert [(error["pointer"], error["index"]) for error in problem["errors"]] == [
        ("/hosts/1/slurm_node/cpus", 1),
        ("/hosts/2/addresses/main", 2),
    ]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"port": 0}, "/services/0/port"),
        ({"port": "9100"}, "/services/0/port"),
        ({"scheme": "HTTP://"}, "/services/0/scheme"),
        ({"check": {"type": "ping"}}, "/services/0/check"),
        ({"check": {"type": "tcp", "interval": 0}}, "/services/0/check/tcp/interval"),
        ({"check": {"type": "tcp", "path": "/"}}, "/services/0/check/tcp/path"),
        ({"metrics_path": "metrics"}, "/services/0/metrics_path"),
    ],
)
def test_wrong_field_of_a_service_is_named(site: Client, changes: dict[str, Any], pointer: str) -> None:
    problem = site.refused(422, "POST", "/v1/services", json={"services": [{**service("s", "a1"), **changes}]})
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"nonsense",
        b'"text"',
        b"\xff\xfe",
        b'{"hosts": []}',
        b'{"hosts": {}}',
        b"[" * 5000,
        b'{"hosts": [' + b'{"a":' * 500,
    ],
)
def test_body_that_is_none_is_refused(site: Client, body: bytes) -> None:
    answer = site.post("/v1/hosts", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_number_that_json_lacks_is_refused(site: Client, number: str) -> None:
    text = json.dumps(host("n1", variables={"x": "NUMBER"})).replace('"NUMBER"', number)
    answer = site.put(HOST, content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text


def test_half_characters_are_refused(site: Client) -> None:
    for place in ("labels", "variables"):
        text = json.dumps({**host("n1"), place: {"x": "HALF"}}).replace("HALF", "\\ud800")
        assert site.put(HOST, content=text, headers={"Content-Type": "application/json"}).status_code in (400, 422)


@pytest.mark.parametrize("announced", [True, False])
def test_body_over_the_limit_is_refused_before_it_is_read(settings: Settings, *, announced: bool) -> None:
    body = json.dumps({"hosts": [host(f"n{number}") for number in range(100)]}).encode()
    pieces = body if announced else iter([body[:1500], body[1500:]])
    with in_thread(settings.model_copy(update={"max_body_bytes": 2000})) as client:
        problem = client.refused(413, "POST", "/v1/hosts", content=pieces, headers={"Content-Type": "application/json"})
        assert "2000 bytes" in problem["detail"]
        client.ok("GET", "/v1/hosts")


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/v1/hosts?limit=0", "limit"),
        ("/v1/hosts?limit=x", "limit"),
        ("/v1/hosts?limit=100000", "limit"),
        ("/v1/hosts?after=%00", "after"),
        ("/v1/hosts?colour=blue", "colour"),
        ("/v1/hosts?state=broken", "state.0"),
        ("/v1/hosts?role=a%20b", "role.0"),
        ("/v1/services?after=x", "after"),
        ("/v1/services?health=ill", "health.0"),
        ("/v1/inventory?vars=some", "vars"),
        ("/v1/inventory?token=x", "token"),
        ("/v1/watch", "since"),
        ("/v1/watch?since=-1", "since"),
        ("/v1/watch?since=1&wait=3600", "wait"),
        ("/v1/events?after=9223372036854775808", "after"),
        ("/v1/hosts/%00", "name"),
        ("/v1/hosts/a%20b", "name"),
    ],
)
def test_wrong_parameter_is_named(site: Client, path: str, parameter: str) -> None:
    problem = site.refused(422, "GET", path)
    assert [error["pointer"] for error in problem["errors"]] == [parameter]


def test_unknown_path_and_method_are_problems_as_well(site: Client) -> None:
    site.refused(404, "GET", "/v2/hosts")
    site.refused(404, "GET", "/v1/hosts/nobody")
    site.refused(405, "PUT", "/v1/inventory")


def test_problem_does_not_repeat_what_was_sent(site: Client) -> None:
    answer = site.put(HOST, json=host("n1", state="a-secret-in-the-wrong-place"))
    assert "a-secret-in-the-wrong-place" not in answer.text


# --- Anything at all -----------------------------------------------------------------------------------------------------

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
fields = st.dictionaries(
    st.sampled_from(
        ["name", "cluster", "state", "addresses", "roles", "labels", "slurm_node", "variables", "revision", "rack"]
    ),
    anything,
)
relaxed = how(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@relaxed
@given(st.sampled_from(["/v1/hosts", "/v1/services", "/v1/heartbeats"]), anything)
def test_any_json_is_answered(site: Client, path: str, body: Any) -> None:
    send(site, "POST", path, body)


@relaxed
@given(fields)
def test_any_host_is_answered_and_comes_back_as_it_went_in(site: Client, some: dict[str, Any]) -> None:
    wanted = {**host("n1"), **some}
    answer = send(site, "PUT", HOST, wanted)
    if answer.is_success:
        found = site.ok("GET", HOST)
        assert all(
            found[name] == value
            for name, value in some.items()
            if value is not None and name not in ("revision", "addresses")
        )
        site.ok("GET", "/v1/inventory")


@relaxed
@given(
    st.dictionaries(st.sampled_from(["cluster", "label", "after", "limit", "state", "name", "x"]), st.text(max_size=20))
)
def test_any_query_is_answered(site: Client, query: dict[str, str]) -> None:
    for path in ("/v1/hosts", "/v1/services", "/v1/inventory", "/v1/prometheus/targets", "/v1/events"):
        assert_answered(site.get(path, params=query))


@relaxed
@given(st.text(min_size=1, max_size=20))
def test_any_path_is_answered(site: Client, name: str) -> None:
    for base in ("/v1/hosts", "/v1/clusters", "/v1/services/alpha/s"):
        quoted = "".join(f"%{byte:02x}" for byte in name.encode("utf-8", "surrogatepass"))
        assert_answered(site.get(f"{base}/{quoted}"))


def send(client: Client, method: str, path: str, body: Any) -> httpx.Response:
    text = json.dumps(body).encode("utf-8", "surrogatepass")
    answer = client.request(method, path, content=text, headers={"Content-Type": "application/json"})
    assert_answered(answer)
    return answer


def assert_answered(answer: httpx.Response) -> None:
    assert answer.status_code < 500, answer.text
    if answer.is_client_error:
        assert answer.headers["content-type"] == "application/problem+json"


# --- The OpenAPI document -------------------------------------------------------------------------------------------------

schema = schemathesis.openapi.from_dict(json.loads(document()))


# Over the database that takes less: what is above it is the same, and the tests before this one use both.
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@schema.include(path_regex="^/v1").parametrize()
@relaxed
def test_answers_are_as_the_openapi_document_says(site: Client, case: schemathesis.Case[Any]) -> None:
    if case.path == "/v1/watch" and isinstance(case.query, dict):
        case.query["wait"] = 0
    case.call_and_validate(
        base_url=str(site.base_url).rstrip("/"),
        headers={"Authorization": f"Bearer {ADMIN}"},
        checks=[not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance],
    )
