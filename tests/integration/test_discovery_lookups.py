"""The lookups of services and hosts against the real API over TLS, as expressions of a play."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.hpcops.cluster.tests.integration.ansible_runs import Ansible
from ansible_collections.hpcops.cluster.tests.support.discovery_service import ADMIN, ALPHA, READER

HOSTILE = "{{ lookup('pipe', 'touch evil') }}"
EVERY = "health=['passing', 'warning', 'critical', 'unknown']"


@pytest.fixture
def site(ansible: Ansible) -> Ansible:
    """The site with services: api on a1 (with an address of IPv6), a2 (without one), a3 (not checked yet) and b1."""
    service = ansible.service
    service.ask("PATCH", "/v1/hosts/a1", {"addresses": {"main": "fd00::1"}})
    service.ask("PATCH", "/v1/hosts/a2", {"addresses": {"main": None}})
    for found in service.ask("GET", "/v1/services?limit=1000")["items"]:
        service.ask("DELETE", f"/v1/services/{found['cluster']}/{found['name']}/{found['host']}")
    api = {"name": "api", "port": 6820, "scheme": "https", "path": "/slurm", "labels": {"evil": HOSTILE}}
    checked = {"name": "checked", "cluster": "alpha", "port": 1, "check": {"type": "tcp"}}
    mixed = {"name": "mixed", "cluster": "alpha", "port": 1}
    services = [
        {**api, "cluster": "alpha", "host": "a1"},
        {**api, "cluster": "alpha", "host": "a2"},
        {**api, "cluster": "alpha", "host": "a3", "check": {"type": "tcp"}},
        {**api, "cluster": "beta", "host": "b1", "labels": {"env": "prod"}},
        *({**checked, "host": name} for name in ("a1", "a2", "a3")),
        {**mixed, "host": "a1"},
        {**mixed, "host": "a2", "check": {"type": "heartbeat"}},
    ]
    service.ask("POST", "/v1/services", {"services": services})
    return ansible


def evaluate(site: Ansible, *expressions: str, **more: Any) -> list[Any]:
    """What expressions are; of one that fails, its message."""
    connection = {
        "base": site.service.url,
        "hpcops_discovery_url": "{{ base }}",
        "hpcops_discovery_token": "{{ [token_of_site] | first }}",
        "token_of_site": READER,
        "hpcops_discovery_ca_file": str(site.service.ca_file),
    }
    tasks = [{"ansible.builtin.debug": {"msg": f"{{{{ {expression} }}}}"}} for expression in expressions]
    done = site.results(*tasks, vars={**connection, **more.pop("vars", {})}, **more)
    return [result["msg"] for result in done]


def service(*terms: str, **options: Any) -> str:
    return _call("service", *terms, **options)


def host(*terms: str, **options: Any) -> str:
    return _call("host", *terms, **options)


def _call(lookup: str, *terms: str, **options: Any) -> str:
    given = [*map(repr, terms), *(f"{name}={value!r}" for name, value in options.items())]
    return f"query({', '.join([repr(f'hpcops.cluster.{lookup}'), *given])})"


# --- Services ------------------------------------------------------------------------------------------------------


def test_healthy_endpoints_are_found_by_name_and_cluster(site: Ansible) -> None:
    found = evaluate(
        site,
        service("api", cluster="alpha"),
        service("api"),
        service("api", cluster=["alpha", "beta"], format="host_port", host_as="name"),
        service("api", host="b1", format="host_port"),
        service("api", label="env=prod"),
        service("api", "mixed", cluster="alpha", health=["unknown"], format="host_port"),
        f"lookup('hpcops.cluster.service', ['api'], {EVERY}, cluster='alpha', format='host_port')",
    )
    of_alpha = ["https://[fd00::1]:6820/slurm", "https://a2:6820/slurm"]
    assert found == [
        of_alpha,
        [*of_alpha, "https://10.0.0.1:6820/slurm"],
        ["a1:6820", "a2:6820", "b1:6820"],
        ["10.0.0.1:6820"],
        ["https://10.0.0.1:6820/slurm"],
        ["10.0.0.1:6820", "a2:1"],
        "[fd00::1]:6820,a2:6820,10.0.0.1:6820",
    ]


def test_dict_has_all_that_is_known_and_values_stay_what_they_are(site: Ansible) -> None:
    found = evaluate(
        site,
        service("api", cluster="alpha", host="a1", format="dict"),
        "copied",
        vars={
            "copied": f"{{{{ {service('api', host='a1', format='dict')} | map(attribute='labels') | first }}}}",
        },
    )
    assert found[0] == [
        {
            "name": "api",
            "cluster": "alpha",
            "host": "a1",
            "address": "fd00::1",
            "port": 6820,
            "scheme": "https",
            "path": "/slurm",
            "health": "passing",
            "labels": {"evil": HOSTILE},
        }
    ]
    assert found[1] == {"evil": HOSTILE}
    assert not list(site.folder.rglob("evil"))


def test_service_without_a_healthy_endpoint_is_an_error_that_says_what_there_is(site: Ansible) -> None:
    found = evaluate(
        site,
        service("checked", cluster="alpha"),
        service("mixed", cluster="alpha", health=["critical"]),
        service("nothing", cluster="alpha"),
        service("api", "checked"),
        service("checked", default=[]),
        service("mixed", "checked", cluster="alpha", default="10.0.0.9:1", format="host_port"),
    )
    assert (
        f"{site.service.url}: no service 'checked' in cluster alpha is passing or warning: 3 registered, all unknown"
        in found[0]
    )
    assert "is critical: 2 registered, of which 1 passing, 1 unknown" in found[1]
    assert "no service 'nothing' in cluster alpha is passing or warning: none is registered" in found[2]
    assert "no service 'checked' is" in found[3]
    assert found[4:] == [[], ["[fd00::1]:1", "10.0.0.9:1"]]


# --- Hosts ---------------------------------------------------------------------------------------------------------


def test_hosts_are_found_by_filter_and_by_expression(site: Ansible) -> None:
    names = " | map(attribute='name')"
    found = evaluate(
        site,
        host(cluster="alpha") + names,
        host("b1", "a4") + names,
        host(role="slurmctld", rack=["r1", "r2"]) + names,
        host(label="env=prod") + names,
        host(partition="none", state="planned") + names,
        host(cluster="alpha", query="[?slurm_node.cpus > `2`].name"),
        host("a3", query="[0].addresses.main"),
        host("a3", query="[0].switch"),
        host("a1", query="[].labels.evil"),
        host("a1"),
    )
    assert found[:5] == [["a1", "a2", "a3", "a4"], ["a4", "b1"], ["a4"], ["a1"], []]
    assert found[5:9] == [["a1", "a2", "a3", "a4"], ["10.0.0.1"], [], [HOSTILE]]
    assert (found[9][0]["variables"], found[9][0]["slurm_node"]["cpus"]) == ({"evil": HOSTILE}, 4)
    assert not list(site.folder.rglob("evil"))


def test_pages_are_put_together(site: Ansible) -> None:
    many = [{"name": f"y{number}", "cluster": "beta", "state": "planned"} for number in range(2300)]
    site.service.ask("POST", "/v1/hosts", {"hosts": many})
    endpoints = [{"name": "paged", "cluster": "beta", "host": each["name"], "port": 1} for each in many]
    site.service.ask("POST", "/v1/services", {"services": endpoints})
    try:
        found = evaluate(
            site,
            host(cluster="beta", query="length(@)"),
            "query('hpcops.cluster.host', range(450) | map('regex_replace', '^', 'y') | list, query='length(@)')",
            service("paged", format="host_port") + " | unique | length",
        )
    finally:
        retired = [{"name": each["name"], "state": "retired"} for each in many]
        site.service.ask("PATCH", "/v1/hosts", {"hosts": retired})
    assert found == [[2301], [450], 2300]


# --- What goes wrong -----------------------------------------------------------------------------------------------


def test_each_fault_is_said(site: Ansible) -> None:
    cases = {
        host("a9", "a1"): "has no host a9 that meets the filters",
        host("a1", state="retired"): "has no host a1",
        host(query="[?"): "query: '[?' is no JMESPath expression",
        host(query="length(`1`)"): "query: 'length(`1`)' is no JMESPath expression for hosts",
        host(state="gone"): "gone",
        host(clusters="alpha"): "there is no option clusters",
        host(label="=="): "answers 422 (label: ",
        host(cluster="beta", token=ALPHA): "answers 403 (token 'alpha' is not for cluster 'beta')",
        service("api", cluster="beta", token=ALPHA): "answers 403",
        service("api", token=ADMIN[:-1]): "answers 401",
        service("api", token=" "): "token: there is none",
        service("api", url="https://127.0.0.1:1", retries=0): "https://127.0.0.1:1/v1/services cannot be asked: ",
        service("api", url="http://discovery.invalid"): "in the clear to discovery.invalid",
        service("api", default=[], url="https://127.0.0.1:1", retries=0): "cannot be asked",
        service("api", format="yaml"): "yaml",
        service(): "there is no name",
    }
    for message, said in zip(cases.values(), evaluate(site, *cases)):
        assert message in said


def test_token_is_in_no_output(site: Ansible) -> None:
    tasks = [
        {
            "ansible.builtin.debug": {
                "msg": f"{{{{ query('hpcops.cluster.{lookup}', 'a1', token=secret, url={url!r}) }}}}"
            }
        }
        for lookup in ("host", "service")
        for url in (site.service.url, "https://127.0.0.1:1", "nowhere")
    ]
    file = site.folder / "secret.yml"
    file.write_text(f"secret: {json.dumps(READER)}\n")
    settings = {"HPCOPS_DISCOVERY_CA_FILE": str(site.service.ca_file), "HPCOPS_DISCOVERY_RETRIES": "0"}
    done = site.play(*tasks, vars_files=[str(file)], settings=settings, options=["-vvvvv"])
    assert "ok=6" in done.stdout, done.stdout
    assert "ignored=5" in done.stdout, done.stdout
    assert READER not in done.stdout + done.stderr
