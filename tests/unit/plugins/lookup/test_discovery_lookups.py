# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookups say where services answer and what hosts are; what they are told is in tests/integration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import pytest
from ansible.errors import AnsibleLookupError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import lookup_loader
from ansible.template import Templar

from ansible_collections.hpcops.cluster.plugins.lookup import host, service
from ansible_collections.hpcops.cluster.plugins.module_utils._errors import DiscoveryError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._discovery_client import DiscoveryClient

HOSTS: list[dict[str, Any]] = [
    {"name": "n1", "addresses": {"main": "10.0.0.1"}, "slurm_node": {"cpus": 4}},
    {"name": "n2", "addresses": {}, "slurm_node": {"cpus": 8}},
]


def registered(**more: Any) -> dict[str, Any]:
    return service.endpoint(
        {"name": "x", "cluster": "c", "host": "n1", "port": 80, "health": {"status": "passing"}, **more}
    )


@pytest.mark.parametrize(
    ("found", "by_name", "place", "address"),
    [
        ({}, False, "n1:80", "tcp://n1:80"),
        ({"address": "10.0.0.1"}, False, "10.0.0.1:80", "tcp://10.0.0.1:80"),
        ({"address": "10.0.0.1"}, True, "n1:80", "tcp://n1:80"),
        ({"address": "fd00::1"}, False, "[fd00::1]:80", "tcp://[fd00::1]:80"),
        ({"scheme": "https", "path": "/x"}, False, "n1:80", "https://n1:80/x"),
        ({"scheme": "https", "path": None}, True, "n1:80", "https://n1:80"),
    ],
)
def test_endpoint_is_written_out(found: dict[str, Any], by_name: bool, place: str, address: str) -> None:
    endpoint = registered(**found)
    assert (service.host_port(endpoint, by_name), service.url(endpoint, by_name)) == (place, address)


@pytest.mark.parametrize(
    ("clusters", "states", "message"),
    [
        ([], [], "no service 'x' is passing or warning: none is registered"),
        (["c"], ["critical"], "no service 'x' in cluster c is passing or warning: 1 registered, critical"),
        (["c", "d"], ["critical"] * 3, "in cluster c or d is passing or warning: 3 registered, all critical"),
        ([], ["critical", "unknown", "critical"], "3 registered, of which 2 critical, 1 unknown"),
    ],
)
def test_what_there_is_instead_of_healthy_endpoints_is_said(
    clusters: list[str], states: list[str], message: str
) -> None:
    there = [registered(health={"status": state}) for state in states]
    assert message in service.none_healthy("x", clusters, ["passing", "warning"], there)


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("[].name", ["n1", "n2"]),
        ("[?slurm_node.cpus > `4`].name", ["n2"]),
        ("[0].name", ["n1"]),
        ("length(@)", [2]),
        ("[1].addresses.main", []),
        ("[].addresses.main", ["10.0.0.1"]),
        ("[0].addresses", [{"main": "10.0.0.1"}]),
    ],
)
def test_expression_is_a_list_in_any_case(expression: str, found: list[Any]) -> None:
    pytest.importorskip("jmespath")
    assert host.search(expression, HOSTS) == found


@pytest.mark.parametrize("expression", ["", "[?", "a b", "no_function(@)", "length(`1`)", "{{ x }}"])
def test_expression_that_is_none_is_refused_by_its_text(expression: str) -> None:
    pytest.importorskip("jmespath")
    with pytest.raises(DiscoveryError) as error:
        host.search(expression, HOSTS)
    assert str(error.value).startswith(f"query: '{expression}' is no JMESPath expression")


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "JMESPATH_IMPORT_ERROR", ImportError("No module named 'jmespath'"))
    with pytest.raises(DiscoveryError, match="query: the Python library jmespath is needed on the control machine"):
        host.search("[]", HOSTS)


class Api:
    """A client that keeps how it was made and what it was asked."""

    made: ClassVar[list[tuple[Any, ...]]] = []
    services: ClassVar[list[dict[str, Any]]] = []

    url = "https://x"

    def __init__(self, *arguments: Any) -> None:
        self.made.append(arguments)

    def items(self, path: str, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        self.made.append((path, dict(query)))
        yield from (found for found in self.services if found["name"] in query["name"])


@pytest.fixture(name="look_up")
def look_up_fixture(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The lookup service over the client, as Ansible loads it."""
    monkeypatch.setattr(Api, "made", [])
    monkeypatch.setattr(
        Api, "services", [{"name": "x", "cluster": "c", "host": "n1", "port": 80, "health": {"status": "passing"}}]
    )

    def look_up(*terms: Any, variables: dict[str, Any] | None = None, **options: Any) -> Any:
        plugin = lookup_loader.get("hpcops.cluster.service", loader=DataLoader(), templar=Templar(DataLoader(), {}))
        monkeypatch.setattr(type(plugin), "client", Api)
        return plugin.run(list(terms), variables or {}, **options)

    return look_up


PLACE = {"url": "https://x", "token": "word"}


def test_service_is_asked_of_the_api_that_the_options_name(look_up: Callable[..., Any]) -> None:
    assert look_up(["x"], **PLACE, cluster="c", timeout=3, retries=1, format="host_port") == ["n1:80"]
    assert Api.made[0] == ("https://x", "word", "", 3, 1)
    assert Api.made[1][1]["cluster"] == ["c"]


def test_variables_stand_for_options(look_up: Callable[..., Any]) -> None:
    look_up("x", variables={"hpcops_discovery_url": "https://y", "hpcops_discovery_token": "other"})
    assert Api.made[0][:3] == ("https://y", "other", "")


@pytest.mark.parametrize(
    ("terms", "options", "message"),
    [
        (["x"], {"claster": "c", "a": 1}, "^there is no option a, claster$"),
        ([7], {}, "^names are texts, not int$"),
        (["y"], {}, "no service 'y' is passing or warning"),
    ],
)
def test_lookup_that_cannot_be_answered_is_an_error(
    look_up: Callable[..., Any], terms: list[Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(AnsibleLookupError, match=message):
        look_up(*terms, **PLACE, **options)


def test_lookups_ask_by_the_client_of_the_api() -> None:
    assert host.LookupModule.client is DiscoveryClient
