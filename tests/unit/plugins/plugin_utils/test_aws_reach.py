# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked everywhere is answered everywhere, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import AwsError, SourceUnreachableError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_accounts import Account, Settings
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_reach import Connected, Connections, Reach

ENABLED = {"one": ["eu-west-1"], "two": ["eu-west-1", "us-east-1"]}


class One:
    """An account with its enabled regions."""

    def __init__(self, name: str) -> None:
        if name == "closed":
            raise AwsError("account closed: denied")
        self._name = name

    def regions(self) -> list[str]:
        if self._name == "blind":
            raise AwsError("account blind: ec2:DescribeRegions is denied")
        return ENABLED[self._name]

    def pages(self, region: str, operation: str, **arguments: Any) -> Iterator[Mapping[str, Any]]:
        raise AssertionError(f"not asked for here: {region} {operation} {arguments}")


def connect(account: Account, _settings: Settings, _members: Any) -> Connected:
    return One(account.name)


def everywhere(*names: str, regions: tuple[str, ...] = ("all",), exclude: tuple[str, ...] = ()) -> list[Any]:
    def ask(_connection: Connected, account: Account, region: str) -> str:
        if region == "down-1":
            raise SourceUnreachableError(f"account {account.name}, region {region}: no answer")
        return f"{account.name} {region}"

    accounts = tuple(Account(name, regions=regions) for name in names)
    return Connections(Reach(accounts, exclude), connect).everywhere(ask)


def test_every_region_of_every_account_answers_in_order() -> None:
    assert everywhere("one", "two") == ["one eu-west-1", "two eu-west-1", "two us-east-1"]
    assert everywhere("one", regions=("a-1", "b-1")) == ["one a-1", "one b-1"]


def test_excluded_regions_are_not_asked() -> None:
    assert everywhere("two", exclude=("eu-west-1",)) == ["two us-east-1"]
    with pytest.raises(AwsError, match="exclude_regions leaves none"):
        everywhere("one", exclude=("eu-west-1",))


@pytest.mark.parametrize(
    ("names", "regions", "message"),
    [
        (("one", "closed"), ("all",), "^account closed: denied$"),
        (("closed", "one"), ("a-1", "b-1"), "^account closed: denied$"),
        (("blind",), ("all",), "ec2:DescribeRegions is denied"),
        (("one", "two"), ("down-1",), "account one, region down-1: no answer\naccount two, region down-1: no answer"),
    ],
)
def test_whatever_fails_is_named_once(names: tuple[str, ...], regions: tuple[str, ...], message: str) -> None:
    with pytest.raises(AwsError, match=message):
        everywhere(*names, regions=regions)
