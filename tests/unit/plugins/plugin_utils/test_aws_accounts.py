# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts are read as they are configured, and what is wrong with one is said."""

from __future__ import annotations

import os
from typing import Any

import pytest

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import AwsError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_accounts import (
    Account,
    Settings,
    read_accounts,
    read_settings,
)

ROLE = "arn:aws:iam::111111111111:role/path/inventory"
REGIONS = ("eu-central-1", "us-east-1")


@pytest.mark.parametrize(
    ("entry", "account"),
    [
        ({}, Account(regions=REGIONS)),
        ({"role_arn": ROLE}, Account("111111111111", ROLE, regions=REGIONS)),
        ({"profile": "lab", "regions": "all"}, Account("lab", profile="lab", regions=("all",))),
        (
            {"name": "x", "profile": "hub", "role_arn": ROLE, "session_tags": {"b": 1, "a": "2"}, "duration": 900},
            Account("x", ROLE, session_tags=(("a", "2"), ("b", "1")), duration=900, profile="hub", regions=REGIONS),
        ),
        (
            {"role_arn": ROLE, "web_identity_token_file": "/t", "external_id": "", "regions": ["us-gov-west-1"]},
            Account("111111111111", ROLE, web_identity_token_file="/t", regions=("us-gov-west-1",)),
        ),
    ],
)
def test_account_is_read(entry: dict[str, Any], account: Account) -> None:
    assert read_accounts([entry], REGIONS) == (account,)


def test_no_account_means_the_default_credentials() -> None:
    assert read_accounts([], REGIONS) == (Account(regions=REGIONS),)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["lab"], "entry 1 is no dict"),
        ([{}, {"rol": "x"}], "entry 2 has rol, which is none of these: name, role_arn"),
        ([{"role_arn": "inventory"}], "entry 1: role_arn: 'inventory' is no role's ARN"),
        ([{"role_arn": "arn:aws:iam::111111111111:user/x"}], "is no role's ARN"),
        ([{"external_id": "x", "profile": "lab"}], "has external_id, but no role_arn"),
        ([{"web_identity_token_file": "x"}], "has web_identity_token_file, but no role_arn"),
        ([{"role_arn": ROLE, "web_identity_token_file": "x", "profile": "lab"}], "takes no profile"),
        ([{"role_arn": ROLE, "duration": 60}], "duration: 60 is no number of seconds from 900 to 43200"),
        ([{"role_arn": ROLE, "duration": "1h"}], "duration: '1h' is no number"),
        ([{"role_arn": ROLE, "session_tags": ["x"]}], "session_tags is no dict"),
        ([{"regions": ["Frankfurt"]}], "'Frankfurt' is no region such as"),
        ([{"regions": ["all", "eu-central-1"]}], "'all' stands alone"),
        ([{"role_arn": ROLE}, {"role_arn": ROLE}], "2 of them are called 111111111111"),
    ],
)
def test_what_is_wrong_with_an_account_is_said(entries: list[Any], message: str) -> None:
    with pytest.raises(AwsError, match=message):
        read_accounts(entries, REGIONS)


def test_account_without_regions_is_refused() -> None:
    with pytest.raises(AwsError, match="regions: accounts: entry 1 has none; name them, or 'all'"):
        read_accounts([], ())


@pytest.mark.parametrize(
    ("account", "settings", "home"),
    [
        (Account(regions=REGIONS), Settings(), "us-east-1"),
        (Account(regions=("cn-north-1",)), Settings(), "cn-north-1"),
        (Account(role_arn=ROLE.replace("aws", "aws-us-gov")), Settings(), "us-gov-west-1"),
        (Account(role_arn=ROLE.replace("aws", "aws-cn")), Settings(), "cn-north-1"),
        (Account(regions=REGIONS), Settings(home_region="eu-west-1"), "eu-west-1"),
    ],
)
def test_roles_are_assumed_in_the_partitions_own_region(account: Account, settings: Settings, home: str) -> None:
    assert account.home(settings) == home


@pytest.mark.parametrize("bad", [{"timeout": 0}, {"retries": -1}, {"parallel": 0}])
def test_setting_that_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(AwsError, match=next(iter(bad))):
        Settings(**bad)


@pytest.mark.parametrize(
    ("variable", "default", "profile", "role"),
    [
        ("AWS_ACCESS_KEY_ID", True, False, False),
        ("AWS_PROFILE", True, False, False),
        ("AWS_CONFIG_FILE", True, True, False),
        ("AWS_ENDPOINT_URL", True, True, True),
        ("AWS_SECRET_ACCESS_KEY", False, False, False),
    ],
)
def test_identity_changes_with_the_environment_that_decides_who_asks(
    monkeypatch: pytest.MonkeyPatch, variable: str, default: bool, profile: bool, role: bool
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    accounts = (Account(), Account(profile="lab"), Account(role_arn=ROLE))
    before = [account.identity for account in accounts]
    monkeypatch.setenv(variable, "secret-or-not")
    after = [account.identity for account in accounts]
    assert [one != other for one, other in zip(before, after)] == [default, profile, role]
    assert ("secret-or-not" in str(after)) is ("KEY" not in variable)


@pytest.mark.parametrize(
    ("account", "who"),
    [
        (Account(role_arn=ROLE, profile="hub"), ROLE),
        (Account(profile="hub"), "profile hub"),
        (Account(web_identity_token_file="/t", profile="hub"), "the token in /t"),
        (Account(), "the default credentials"),
    ],
)
def test_who_asks_is_named(account: Account, who: str) -> None:
    assert account.who == who


def test_settings_are_read_from_the_options_of_the_same_names() -> None:
    given = {"endpoint_url": "https://x", "home_region": "eu-1", "timeout": 7.5, "retries": 2, "parallel": 3}
    assert read_settings(given.get) == Settings("https://x", "eu-1", 7.5, 2, 3)
    assert read_settings({**given, "endpoint_url": None, "home_region": None}.get) == Settings("", "", 7.5, 2, 3)
    assert Settings() == Settings("", "", 30, 5, 16)
