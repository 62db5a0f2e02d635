# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Regions of accounts are parts of their own: listed, asked and failing one by one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import (
    AwsError,
    HpcopsError,
    InventoryError,
    SourceUnreachableError,
)
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_accounts import Account, Settings
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_reach import Reach
from ansible_collections.hpcops.cluster.plugins.plugin_utils._ec2_hosts import Wanted
from ansible_collections.hpcops.cluster.plugins.plugin_utils._ec2_source import Ec2Source

ALL = ("all",)


class Cloud:
    """Accounts with the instances of their regions; what the test has put into failing is raised."""

    def __init__(self, **accounts: dict[str, list[str]]) -> None:
        self.accounts = accounts
        self.failing: dict[str, HpcopsError] = {}
        self.asked: list[str] = []
        self.at_once = self.most = 0
        self._lock = threading.Lock()

    def fail_if_told(self, what: str) -> None:
        self.asked.append(what)
        if what in self.failing:
            raise self.failing[what]

    def connect(self, account: Account, _settings: Settings, _members: Any) -> _Connected:
        self.fail_if_told(account.name)
        return _Connected(self, account.name)


class _Connected:
    def __init__(self, cloud: Cloud, name: str) -> None:
        self._cloud = cloud
        self._name = name

    def regions(self) -> list[str]:
        self._cloud.fail_if_told(f"{self._name} regions")
        return list(self._cloud.accounts[self._name])

    def pages(self, region: str, operation: str, **_arguments: Any) -> Iterator[dict[str, Any]]:
        cloud = self._cloud
        assert operation == "DescribeInstances"
        with cloud._lock:
            cloud.at_once += 1
            cloud.most = max(cloud.most, cloud.at_once)
        cloud.fail_if_told(f"{self._name} {region}")
        for name in cloud.accounts[self._name].get(region, []):
            tags = [{"Key": "Name", "Value": name}]
            yield {"Reservations": [{"OwnerId": "1", "Instances": [{"InstanceId": f"i-{name}", "Tags": tags}]}]}
        with cloud._lock:
            cloud.at_once -= 1


def source(cloud: Cloud, folder: Path, *regions: str, parallel: int = 4, fresh_for: int = 0, **reach: Any) -> Ec2Source:
    accounts = tuple(Account(name, role_arn=name, regions=regions) for name in cloud.accounts)
    settings = Settings(parallel=parallel)
    return Ec2Source(Reach(accounts, settings=settings, **reach), Wanted(), cloud.connect, folder, fresh_for)


def fetched(found: Ec2Source) -> dict[str, Any]:
    """Each part's hosts, or its error."""
    said = found.fetch(dict.fromkeys(found.parts))
    return {
        title: str(each) if isinstance(each, HpcopsError) else sorted(each[0].hosts) if each else None
        for title, each in said.items()
    }


def test_each_region_of_each_account_is_a_part(tmp_path: Path) -> None:
    cloud = Cloud(one={"eu-west-1": ["a", "b"]}, two={"us-east-1": ["c"]})
    found = source(cloud, tmp_path, "eu-west-1", "us-east-1")
    assert fetched(found) == {
        "account one, region eu-west-1": ["i-a", "i-b"],
        "account one, region us-east-1": [],
        "account two, region eu-west-1": [],
        "account two, region us-east-1": ["i-c"],
    }
    assert sorted(cloud.asked).count("one") == 1


def test_no_more_requests_are_made_at_once_than_allowed(tmp_path: Path) -> None:
    cloud = Cloud(**{f"account{number}": {} for number in range(6)})
    fetched(source(cloud, tmp_path, "eu-west-1", "us-east-1", parallel=2))
    assert 1 <= cloud.most <= 2


def test_account_that_cannot_be_entered_fails_its_own_regions_alone(tmp_path: Path) -> None:
    cloud = Cloud(one={"eu-west-1": ["a"]}, two={"eu-west-1": ["b"]})
    cloud.failing["two"] = AwsError("denied")
    assert fetched(source(cloud, tmp_path, "eu-west-1")) == {
        "account one, region eu-west-1": ["i-a"],
        "account two, region eu-west-1": "denied",
    }


def test_region_that_fails_fails_alone(tmp_path: Path) -> None:
    cloud = Cloud(one={"eu-west-1": ["a"], "us-east-1": ["b"]})
    cloud.failing["one us-east-1"] = SourceUnreachableError("down")
    assert fetched(source(cloud, tmp_path, *cloud.accounts["one"])) == {
        "account one, region eu-west-1": ["i-a"],
        "account one, region us-east-1": "down",
    }


def test_enabled_regions_are_those_that_the_account_says(tmp_path: Path) -> None:
    cloud = Cloud(one={"eu-west-1": ["a"], "us-east-1": ["b"]})
    assert list(source(cloud, tmp_path, *ALL, exclude_regions=("us-east-1",)).parts) == [
        "account one, region eu-west-1"
    ]


def test_enabled_regions_are_not_asked_for_again_while_they_are_fresh(tmp_path: Path) -> None:
    cloud = Cloud(one={"eu-west-1": ["a"]})
    first = list(source(cloud, tmp_path, *ALL).parts)
    cloud.asked.clear()
    assert list(source(cloud, tmp_path, *ALL, fresh_for=3600).parts) == first
    assert not cloud.asked
    assert list(source(cloud, tmp_path, *ALL).parts) == first
    assert cloud.asked == ["one", "one regions"]


def test_region_that_is_enabled_no_more_is_still_a_part(tmp_path: Path) -> None:
    cloud = Cloud(one={"eu-west-1": ["a"], "us-east-1": ["b"]})
    first = list(source(cloud, tmp_path, *ALL).parts)
    del cloud.accounts["one"]["us-east-1"]
    assert list(source(cloud, tmp_path, *ALL).parts) == first


@pytest.mark.parametrize("what", ["one", "one regions"])
def test_regions_known_before_all_fail_where_they_cannot_be_listed(tmp_path: Path, what: str) -> None:
    cloud = Cloud(one={"eu-west-1": ["a"], "us-east-1": ["b"]}, two={"eu-west-1": ["c"]})
    cloud.failing[what] = AwsError("denied")
    assert fetched(source(cloud, tmp_path, *ALL)) == {"account one": "denied", "account two, region eu-west-1": ["i-c"]}
    cloud.failing.clear()
    list(source(cloud, tmp_path, *ALL).parts)
    cloud.failing[what] = AwsError("denied")
    assert fetched(source(cloud, tmp_path, *ALL)) == {
        "account one, region eu-west-1": "denied",
        "account one, region us-east-1": "denied",
        "account two, region eu-west-1": ["i-c"],
    }


def test_nothing_left_to_ask_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="exclude_regions leaves none"):
        _parts = source(Cloud(one={}), tmp_path, "eu-west-1", exclude_regions=("eu-west-1",)).parts


def test_parts_key_changes_with_what_the_answer_depends_on(tmp_path: Path) -> None:
    def keys(wanted: Wanted, account: Account, **settings: Any) -> str:
        reach = Reach((account,), settings=Settings(**settings))
        return json.dumps(Ec2Source(reach, wanted, Cloud().connect, tmp_path).parts, sort_keys=True, default=str)

    one = Account("one", regions=("eu-west-1",))
    variants = [
        keys(Wanted(), one),
        keys(Wanted(states=("running",)), one),
        keys(Wanted(filters={"vpc-id": "x"}), one),
        keys(Wanted(expressions=True), one),
        keys(Wanted(), one, endpoint_url="http://x"),
        keys(Wanted(), Account("one", profile="lab", regions=("eu-west-1",))),
        keys(Wanted(), Account("one", role_arn="r", regions=("eu-west-1",))),
        keys(Wanted(), Account("one", role_arn="r", session_tags=(("a", "b"),), regions=("eu-west-1",))),
    ]
    assert len(set(variants)) == len(variants)
    assert keys(Wanted(page_size=5), one, retries=1, parallel=1) == variants[0]
    assert keys(Wanted(), Account("one", session_name="x", regions=("eu-west-1",))) == variants[0]


def test_regions_that_are_named_are_not_asked_for(tmp_path: Path) -> None:
    cloud = Cloud(one={"af-south-1": ["a"]})
    assert list(source(cloud, tmp_path, "af-south-1").parts) == ["account one, region af-south-1"]
    assert not cloud.asked
