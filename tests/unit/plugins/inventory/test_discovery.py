# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin fails closed, keeps no token anywhere, and leaves no half inventory, with a client that says what it is told."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import inventory_loader
from ansible.template import is_trusted_as_template

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import (
    DiscoveryError,
    InventoryError,
    SourceUnreachableError,
)
from ansible_collections.hpcops.cluster.plugins.plugin_utils._discovery_client import DiscoveryClient, read_token
from ansible_collections.hpcops.cluster.plugins.plugin_utils._groups import FAILED
from ansible_collections.hpcops.cluster.plugins.plugin_utils._source_inventory import STATUS, seconds

TOKEN = "secret-of-the-tests-0123456789abcdef"
HOSTILE = "{{ lookup('pipe', 'id') }}"


def answer(*names: str, **variables: Any) -> dict[str, Any]:
    hosts = {name: {"cluster": "alpha", "state": "active", "roles": ["slurmd"], "vars": variables} for name in names}
    return {"revision": 7, "clusters": {"alpha": {"vars": {"slurm_cluster_name": "alpha"}}}, "hosts": hosts}


class FakeClient:
    """Answers with what the test set last: a document, None for unchanged, or an error."""

    said: Any
    asked: list[Any]

    def __init__(self, url: str, token: str, *_more: Any) -> None:
        assert token == TOKEN
        self.url, self.principal = url, "p"

    def get(self, path: str, query: Any, etag: str | None = None) -> Any:
        type(self).asked.append((path, query, etag))
        said: Any = self.said
        if isinstance(said, Exception):
            raise said
        return (self.said, f"tag{len(self.said['hosts'])}") if self.said else None


class Site:
    """A configuration file, and the inventory that comes of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "x.discovery.yml"
        self.cache = folder / "cache"
        self.inventory = InventoryData()

    def read(self, said: Any, cache: bool = True, **options: Any) -> InventoryData:
        FakeClient.said = said
        config = {"plugin": "hpcops.cluster.discovery", "url": "https://d:1", "cache_dir": str(self.cache), **options}
        self.path.write_text(json.dumps({"token": TOKEN, **config}))
        plugin = inventory_loader.get("hpcops.cluster.discovery")
        plugin.client = FakeClient
        assert plugin.verify_file(str(self.path))
        self.inventory = InventoryData()
        plugin.parse(self.inventory, DataLoader(), str(self.path), cache=cache)
        return self.inventory

    def refused(self, said: Any, **options: Any) -> str:
        with pytest.raises(AnsibleParserError) as error:
            self.read(said, **options)
        assert not self.inventory.hosts
        assert FAILED in self.inventory.groups
        assert self.status()["failed"]
        assert str(error.value) == f"hpcops.cluster.discovery: {self.status()['error']}"
        return str(error.value)

    def status(self) -> Any:
        return self.inventory.groups["all"].vars[STATUS][str(self.path)]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    FakeClient.asked = []
    return Site(tmp_path)


def test_hosts_groups_and_variables_are_there(site: Site) -> None:
    inventory = site.read(answer("n1", "n2", slurm_node_cpus=4))
    assert list(inventory.hosts) == ["n1", "n2"]
    assert FAILED not in inventory.groups
    assert inventory.hosts["n1"].vars["slurm_node_cpus"] == 4
    assert [host.name for host in inventory.groups["slurmd"].get_hosts()] == ["n1", "n2"]
    assert inventory.groups["cluster_alpha"].vars == {"slurm_cluster_name": "alpha"}
    assert site.status() == {
        "plugin": "hpcops.cluster.discovery",
        "asked": ["https://d:1"],
        "failed": [],
        "error": "",
        "stale": False,
        "age": 0,
        "hosts": 2,
        "revision": "7",
    }


@pytest.mark.parametrize("name", ["x.yml", "discovery.yml", "x.discovery.ini", "x.discovery.yml.bak"])
def test_other_files_are_left_alone(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("plugin: hpcops.cluster.discovery")
    assert not inventory_loader.get("hpcops.cluster.discovery").verify_file(str(path))


def test_second_run_asks_with_the_validator_and_has_the_same_hosts(site: Site) -> None:
    options: dict[str, Any] = {"compose": {"y": "x"}, "keyed_groups": [{"key": "x", "prefix": "k"}]}
    first = {name: host.vars for name, host in site.read(answer("n1", x=["a"]), **options).hosts.items()}
    file = next(site.cache.iterdir())
    before = file.read_bytes()
    second = {name: host.vars for name, host in site.read(None, **options).hosts.items()}
    assert [etag for _path, _query, etag in FakeClient.asked] == [None, "tag1"]
    assert first == second
    assert "k_a" in site.inventory.groups
    assert file.read_bytes() == before


def test_flushed_cache_is_not_asked_with_but_still_compared(site: Site) -> None:
    site.read(answer("n1", "n2", "n3"))
    with pytest.raises(AnsibleParserError, match=r"lost 2 of 3 hosts .* n2, n3"):
        site.read(answer("n1"), cache=False)
    assert FakeClient.asked[-1][2] is None


@pytest.mark.parametrize(
    ("first", "said", "options", "message"),
    [
        (None, SourceUnreachableError("d is down"), {}, "d is down.*no earlier answer"),
        (None, SourceUnreachableError("d is down"), {"stale_ok": "1h"}, "d is down.*no earlier answer"),
        (["n1"], SourceUnreachableError("d is down"), {}, "d is down.*stale_ok would allow"),
        (["n1"], DiscoveryError("d answers 401"), {"stale_ok": "1h"}, "d answers 401"),
        (["n1", "n2"], answer("n1"), {}, "max_shrink: cluster alpha lost 1 of 2 hosts.*n2"),
        (None, answer(), {}, "min_hosts: the answer has 0 hosts"),
        (None, answer("n1"), {"min_hosts": 2}, "min_hosts: the answer has 1 hosts"),
        (None, answer("n1"), {"clusters": ["beta"]}, "no cluster beta"),
        (None, answer("n1"), {"stale_ok": "soon"}, "stale_ok: 'soon' is no duration"),
        (None, answer("n1"), {"max_shrink": 101}, "max_shrink: 101 is no percentage"),
        (None, answer("n1"), {"variables": "all"}, "variables: 'all' is neither"),
        (None, answer("n1"), {"variables": ["discovery_x"]}, "variables: 'discovery_x' is neither"),
        (None, answer("n1"), {"states": ["gone"]}, "states"),
        (None, answer("n1"), {"token": ""}, "token: there is none"),
        (None, answer("n1"), {"token": "", "token_file": "/nowhere"}, "token_file: /nowhere cannot be read"),
        (None, answer("n1"), {"strict": True, "compose": {"y": "absent"}}, "compose: y: host n1: absent is undefined"),
        (None, answer("n1", **{"class": 1}), {"strict": True}, "left out: class"),
        (None, answer("n1"), {"keyed_groups": [{"prefix": "x"}]}, "keyed_groups: each entry"),
    ],
)
def test_nothing_is_taken_from_a_source_that_fails(
    site: Site, first: list[str] | None, said: Any, options: dict[str, Any], message: str
) -> None:
    if first:
        site.read(answer(*first))
    FakeClient.asked = []
    refused = site.refused(said, **options)
    assert re.search(message, refused, re.DOTALL), refused
    assert TOKEN not in refused


def test_last_good_answer_stands_in_with_a_loud_warning(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr("ansible.utils.display.Display.warning", lambda _self, text, **_more: warnings.append(text))
    site.read(answer("n1"))
    file = next(site.cache.iterdir())
    then = file.stat().st_mtime - 1800
    os.utime(file, (then, then))
    inventory = site.read(SourceUnreachableError("d is down"), stale_ok="1h")
    assert list(inventory.hosts) == ["n1"]
    assert site.status()["stale"] is True
    assert 1800 <= site.status()["age"] < 3600
    assert len(warnings) == 1
    assert warnings[0].startswith("STALE INVENTORY: d is down")
    assert str(site.status()["age"])[:2] in warnings[0]
    assert "stale_ok allows 60 s" in site.refused(SourceUnreachableError("d is down"), stale_ok="1m")


def test_answer_from_the_future_does_not_stand_in_unasked(site: Site) -> None:
    site.read(answer("n1"))
    os.utime(next(site.cache.iterdir()), (4e9, 4e9))
    assert "stale_ok would allow" in site.refused(SourceUnreachableError("d is down"))


def test_fault_in_the_plugin_leaves_the_mark_of_failure_too(site: Site) -> None:
    with pytest.raises(ZeroDivisionError):
        site.read(ZeroDivisionError())
    assert FAILED in site.inventory.groups


def test_refused_answer_does_not_become_the_last_good_one(site: Site) -> None:
    site.read(answer("n1", "n2"))
    for _run in range(2):
        site.refused(answer("n1"))
    assert list(site.read(answer("n1"), max_shrink=100).hosts) == ["n1"]
    assert list(site.read(answer("n1")).hosts) == ["n1"]


def test_token_is_in_no_variable_and_no_file(site: Site) -> None:
    inventory = site.read(answer("n1"))
    text = json.dumps([inventory.hosts["n1"].vars, inventory.groups["all"].vars])
    assert TOKEN not in text + "".join(path.name + path.read_text() for path in site.cache.iterdir())


def test_token_may_come_from_a_lookup(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_TOKEN", TOKEN)
    assert site.read(answer("n1"), token="{{ lookup('env', 'SITE_TOKEN') }}").hosts


def test_hostile_values_stay_what_they_are(site: Site) -> None:
    inventory = site.read(
        answer("n1", evil=HOSTILE),
        compose={"copied": "evil", "made": "evil ~ evil"},
        groups={"never": "evil == 'x'"},
        keyed_groups=[
            {"key": "evil", "prefix": "k"},
            {"key": "evil ~ ''", "prefix": "j", "parent_group": "{{ evil }}"},
        ],
    )
    variables = inventory.hosts["n1"].vars
    assert (variables["evil"], variables["copied"], variables["made"]) == (HOSTILE, HOSTILE, HOSTILE * 2)
    assert not any(is_trusted_as_template(variables[name]) for name in ("evil", "copied", "made"))
    assert "k____lookup__pipe____id_____" in inventory.groups
    assert "never" not in inventory.groups


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cluster": "alpha"}, "cluster: there is no such option; is clusters meant?"),
        ({"max_shirnk": 5}, "max_shirnk: there is no such option; is max_shrink meant?"),
        ({"colour": "red"}, "colour: there is no such option"),
    ],
)
def test_option_that_is_none_is_refused(site: Site, options: dict[str, Any], message: str) -> None:
    assert site.refused(answer("n1"), **options).endswith(message)


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0), (90, 90), ("90s", 90), ("30m", 1800), ("1h", 3600), ("2d", 172800)]
)
def test_duration_is_read(text: Any, value: int) -> None:
    assert seconds(text, "stale_ok") == value


@pytest.mark.parametrize("text", ["", "1w", "-1h", "1.5h", "h", None, "{{ x }}"])
def test_what_is_no_duration_is_refused(text: Any) -> None:
    with pytest.raises(InventoryError, match="stale_ok"):
        seconds(text, "stale_ok")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("discovery:8420", "is no address"),
        ("ftp://discovery", "is no address"),
        ("https://", "is no address"),
        ("https://user:password@discovery", "is no address"),
        ("https://discovery/?token=x", "is no address"),
        ("http://discovery", "in the clear to discovery"),
        ("http://127.0.0.1.example.org", "in the clear"),
    ],
)
def test_address_that_is_none_or_unsafe_is_refused(url: str, message: str) -> None:
    with pytest.raises(DiscoveryError, match=message) as error:
        DiscoveryClient(url, TOKEN)
    assert "password" not in str(error.value)


@pytest.mark.parametrize("token", ["two words", "x\ny", "schlüssel", "\x00"])
def test_what_cannot_be_a_token_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(DiscoveryError, match="token") as error:
        read_token(token, "")
    assert token not in str(error.value)
