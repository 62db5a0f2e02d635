# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin reads its options, keeps no credentials anywhere, and asks nobody while its answers are fresh."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import inventory_loader

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import AwsError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._groups import FAILED
from ansible_collections.hpcops.cluster.plugins.plugin_utils._source_inventory import STATUS
from ansible_collections.hpcops.cluster.tests.unit.conftest import ROOT, collections_path

ROLE = "arn:aws:iam::111111111111:role/inventory"


class Fake:
    """One account that always answers the same, or fails."""

    failing: tuple[AwsError, ...] = ()
    connected: list[Any]

    def __init__(self, *arguments: Any) -> None:
        self.connected.append(arguments)
        for error in self.failing:
            raise error

    def regions(self) -> list[str]:
        self.connected.append("regions")
        return ["eu-west-1"]

    def pages(self, region: str, _operation: str, **_arguments: Any) -> Iterator[dict[str, Any]]:
        tags = [{"Key": "Name", "Value": f"n-{region}"}, {"Key": "evil", "Value": "{{ evil }}"}]
        instance = {"InstanceId": f"i-{region}", "InstanceType": "c7i.large", "Tags": tags}
        yield {"Reservations": [{"OwnerId": "111111111111", "Instances": [instance]}]}


class Site:
    """A configuration file, and the inventory that comes of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "x.ec2.yml"
        self.cache = folder / "cache"
        self.inventory = InventoryData()

    def read(self, cache: bool = True, **options: Any) -> InventoryData:
        config = {"plugin": "hpcops.cluster.ec2", "regions": ["eu-west-1"], "cache_dir": str(self.cache), **options}
        self.path.write_text(json.dumps(config))
        plugin = inventory_loader.get("hpcops.cluster.ec2")
        plugin.connect = Fake
        assert plugin.verify_file(str(self.path))
        self.inventory = InventoryData()
        plugin.parse(self.inventory, DataLoader(), str(self.path), cache=cache)
        return self.inventory


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(Fake, "connected", [], raising=False)
    monkeypatch.setattr(Fake, "failing", ())
    return Site(tmp_path)


def test_hosts_and_status_are_there(site: Site) -> None:
    inventory = site.read(accounts=[{"name": "one", "role_arn": ROLE}], regions=["eu-west-1", "us-east-1"])
    assert list(inventory.hosts) == ["n-eu-west-1", "n-us-east-1"]
    assert inventory.groups["all"].vars[STATUS][str(site.path)] == {
        "plugin": "hpcops.cluster.ec2",
        "asked": ["account one, region eu-west-1", "account one, region us-east-1"],
        "failed": [],
        "error": "",
        "stale": False,
        "age": 0,
        "hosts": 2,
        "revision": "",
    }


@pytest.mark.parametrize("name", ["x.yml", "ec2.yml", "x.aws_ec2.yml", "x.ec2.yml.bak", "x.ec2.ini"])
def test_other_files_are_left_alone(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("plugin: hpcops.cluster.ec2")
    assert not inventory_loader.get("hpcops.cluster.ec2").verify_file(str(path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regions": []}, "regions: accounts: entry 1 has none"),
        ({"accounts": [{"rol": "x"}]}, "accounts: entry 1 has rol"),
        ({"variables": "all"}, "variables: 'all' is neither lean nor full"),
        ({"variables": ["ec2_x"]}, "variables: 'ec2_x' is neither"),
        ({"hostnames": ["name"]}, "hostnames: 'name' is none of these"),
        ({"on_partial": "maybe"}, "on_partial"),
        ({"fresh_for": "soon"}, "fresh_for: 'soon' is no duration"),
        ({"page_size": 1}, "page_size: EC2 takes 5 to 1000"),
        ({"states": ["gone"]}, "states"),
        ({"retries": -1}, "retries cannot be negative"),
        ({"max_shrink": 101}, "max_shrink: 101 is no percentage"),
        ({"min_hosts": 2}, "min_hosts: the answer has 1 hosts"),
        ({"strict": True, "compose": {"y": "absent"}}, "compose: y: host n-eu-west-1: absent is undefined"),
    ],
)
def test_option_that_makes_no_sense_is_refused(site: Site, options: dict[str, Any], message: str) -> None:
    with pytest.raises(AnsibleParserError, match=message):
        site.read(**options)
    assert not site.inventory.hosts
    assert FAILED in site.inventory.groups


def test_failing_account_fails_the_inventory_unless_it_may_be_replaced(site: Site) -> None:
    site.read()
    Fake.failing = (AwsError("account default: denied"),)
    with pytest.raises(AnsibleParserError, match="account default: denied"):
        site.read()
    assert not site.inventory.hosts
    assert list(site.read(on_partial="cached").hosts) == ["n-eu-west-1"]
    status = site.inventory.groups["all"].vars[STATUS][str(site.path)]
    assert (status["stale"], status["error"]) == (True, "account default: denied")


@pytest.mark.parametrize("regions", [["eu-west-1"], ["all"]])
def test_nobody_is_asked_while_answers_are_fresh(site: Site, regions: list[str]) -> None:
    options: dict[str, Any] = {
        "regions": regions,
        "compose": {"y": "ec2_tags.evil"},
        "instance_types": {"c7i.large": {"slurm_node_features": ["a"]}},
    }
    first = site.read(fresh_for="1h", **options).hosts["n-eu-west-1"].vars
    Fake.connected.clear()
    assert site.read(fresh_for="1h", **options).hosts["n-eu-west-1"].vars == first
    assert not Fake.connected
    site.read(fresh_for="1h", cache=False, **options)
    assert ("regions" in Fake.connected) is (regions == ["all"])
    assert len(Fake.connected) == 1 + ("regions" in Fake.connected)


def test_aws_library_is_loaded_only_by_those_who_ask() -> None:
    code = (
        "import sys; from ansible_collections.hpcops.cluster.plugins.inventory import ec2; "
        "sys.exit('botocore' in sys.modules)"
    )
    environment = {"PYTHONPATH": str(collections_path())}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_accounts_may_be_templates(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_ID", "id-of-ours")
    template = "{{ lookup('ansible.builtin.env', 'OUR_ID') }}"
    site.read(accounts=[{"role_arn": ROLE, "external_id": template}])
    assert Fake.connected[0][0].external_id == "id-of-ours"
    assert "id-of-ours" not in "".join(path.read_text() for path in site.cache.iterdir())
