# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an account is asked, with stand-ins for botocore's clients; with a server, it is tests/integration."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore import UNSIGNED
from botocore.parsers import ResponseParserError

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import AwsError
from ansible_collections.hpcops.cluster.plugins.plugin_utils import _aws_sessions
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_accounts import Account, Settings
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_sessions import Connection

ROLE = "arn:aws:iam::1:role/r"
KEYS = {"Credentials": {"AccessKeyId": "ASIA", "SecretAccessKey": "s", "SessionToken": "t"}}


class StandIn:
    """A client that gives the next answer to each request, and keeps what was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        def answer(**arguments: Any) -> Any:
            self.asked.append((name, arguments))
            found = self.answers.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

        return answer


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")


def connected(
    monkeypatch: pytest.MonkeyPatch, client: StandIn, account: Account | None = None, **settings: Any
) -> tuple[Connection, list[tuple[Any, ...]]]:
    """A connection to the stand-in, and which clients it made."""
    made: list[tuple[Any, ...]] = []

    def make(_self: Connection, session: Any, service: str, region: str, more: Any = None) -> StandIn:
        made.append((session.get_credentials(), service, region, more))
        return client

    monkeypatch.setattr(Connection, "_make", make)
    return Connection(account or Account(name="lab"), Settings(**settings)), made


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_aws_sessions, "IMPORT_ERROR", ImportError("No module named 'botocore'"))
    with pytest.raises(AwsError, match="the Python library botocore is needed on the control machine: No module"):
        Connection(Account(), Settings())


def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for account in (Account(name="lab"), Account(name="lab", role_arn=ROLE)):
        with pytest.raises(AwsError, match=r"^account lab: there are no credentials \(the default credentials\)"):
            Connection(account, Settings())


def test_enabled_regions_are_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    client = StandIn({"Regions": [{"RegionName": "us-1"}, {"RegionName": "eu-1"}]})
    connection, made = connected(monkeypatch, client, home_region="eu-9")
    assert connection.regions() == ["eu-1", "us-1"]
    assert [entry[1:] for entry in made] == [("ec2", "eu-9", None)]
    assert client.asked == [("describe_regions", {})]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"Regions": []}, "ec2:DescribeRegions answers without any region"),
        ({"ResponseMetadata": {}}, "ec2:DescribeRegions has an answer that is not AWS's"),
    ],
)
def test_answer_without_regions_is_refused(monkeypatch: pytest.MonkeyPatch, answer: Any, message: str) -> None:
    with pytest.raises(AwsError, match=message):
        connected(monkeypatch, StandIn(answer))[0].regions()


def test_all_pages_are_asked_for_by_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [{"R": [1], "NextToken": "a"}, {"R": [2], "NextToken": "b"}, {"R": [3], "NextToken": ""}]
    client = StandIn(*pages)
    connection, made = connected(monkeypatch, client)
    assert list(connection.pages("eu-1", "DescribeInstances", MaxResults=5)) == pages
    assert client.asked == [
        ("describe_instances", {"MaxResults": 5}),
        ("describe_instances", {"MaxResults": 5, "NextToken": "a"}),
        ("describe_instances", {"MaxResults": 5, "NextToken": "b"}),
    ]
    client.answers.append({"R": []})
    assert list(connection.pages("eu-1", "DescribeInstances")) == [{"R": []}]
    assert len(made) == 1


def test_page_that_comes_again_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    client = StandIn({"R": [1], "NextToken": "a"}, {"R": [2], "NextToken": "a"})
    pages = connected(monkeypatch, client)[0].pages("eu-1", "DescribeInstances")
    assert [next(pages), next(pages)] == [{"R": [1], "NextToken": "a"}, {"R": [2], "NextToken": "a"}]
    with pytest.raises(AwsError, match=r"^account lab, region eu-1: ec2:DescribeInstances repeats a page$"):
        next(pages)


def test_later_page_that_is_not_of_aws_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    client = StandIn({"R": [1], "NextToken": "a"}, {"NextToken": "b", "ResponseMetadata": {}})
    with pytest.raises(AwsError, match=r"ec2:DescribeInstances, page 2, has an answer that is not AWS's"):
        list(connected(monkeypatch, client)[0].pages("eu-1", "DescribeInstances"))


@pytest.mark.parametrize(("broken", "works"), [(0, True), (2, True), (3, False)])
def test_answer_that_breaks_off_is_asked_for_again_as_often_as_allowed(
    monkeypatch: pytest.MonkeyPatch, broken: int, works: bool
) -> None:
    client = StandIn(*[ResponseParserError("broken off")] * broken, {"R": [1]})
    pages = connected(monkeypatch, client, retries=2)[0].pages("eu-1", "DescribeInstances")
    if works:
        assert list(pages) == [{"R": [1]}]
    else:
        with pytest.raises(AwsError, match="cannot be read, so none of it is used: broken off"):
            next(pages)
        assert len(client.asked) == 3


@pytest.mark.parametrize(
    ("account", "request_"),
    [
        ({}, {}),
        ({"external_id": "x"}, {"ExternalId": "x"}),
        (
            {"session_tags": (("a", "1"), ("b", "2"))},
            {"Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]},
        ),
        ({"duration": 900, "session_name": "me"}, {"DurationSeconds": 900, "RoleSessionName": "me"}),
    ],
)
def test_role_is_assumed_as_the_account_says_and_its_keys_ask(
    monkeypatch: pytest.MonkeyPatch, account: dict[str, Any], request_: dict[str, Any]
) -> None:
    client = StandIn(KEYS, {"Regions": [{"RegionName": "eu-1"}]})
    connection, made = connected(monkeypatch, client, Account(name="lab", role_arn=ROLE, **account))
    common = {"RoleArn": ROLE, "RoleSessionName": "hpcops-cluster", "DurationSeconds": 3600}
    assert client.asked == [("assume_role", {**common, **request_})]
    connection.regions()
    assert [(entry[0].access_key, entry[1]) for entry in made] == [("AKIA", "sts"), ("ASIA", "ec2")]
    assert (made[1][0].secret_key, made[1][0].token) == ("s", "t")


def test_role_is_assumed_by_a_token_without_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    (tmp_path / "token").write_text(" word\n", encoding="utf-8")
    client = StandIn(KEYS)
    account = Account(name="lab", role_arn=ROLE, web_identity_token_file=str(tmp_path / "token"), external_id="x")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    _connection, made = connected(monkeypatch, client, account)
    assert client.asked == [
        (
            "assume_role_with_web_identity",
            {"RoleArn": ROLE, "RoleSessionName": "hpcops-cluster", "DurationSeconds": 3600, "WebIdentityToken": "word"},
        )
    ]
    assert made[0][3].signature_version is UNSIGNED


def test_token_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    account = Account(name="lab", role_arn=ROLE, web_identity_token_file=str(tmp_path))
    with pytest.raises(
        AwsError, match=rf"^account lab: web_identity_token_file: {tmp_path} cannot be read: .*directory"
    ):
        connected(monkeypatch, StandIn(), account)


def test_answer_that_is_not_of_sts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AwsError, match="sts:AssumeRole has an answer that is not AWS's"):
        connected(monkeypatch, StandIn({}), Account(name="lab", role_arn=ROLE))


@pytest.mark.parametrize(("timeout", "connect"), [(30, 10), (3, 3)])
def test_client_keeps_to_the_settings(timeout: float, connect: float) -> None:
    made: list[tuple[Any, ...]] = []
    session: Any = SimpleNamespace(create_client=lambda service, **options: made.append((service, options)))
    connection = Connection(Account(), Settings("https://x", timeout=timeout, retries=4))
    connection._make(session, "ec2", "eu-1")
    ((service, options),) = made
    assert (service, options["region_name"], options["endpoint_url"]) == ("ec2", "eu-1", "https://x")
    config = options["config"]
    assert config.retries == {"mode": "adaptive", "total_max_attempts": 5}
    assert (config.connect_timeout, config.read_timeout) == (connect, timeout)
    assert config.user_agent_extra == "hpcops.cluster"


def test_address_that_is_none_is_refused_by_its_option() -> None:
    with pytest.raises(AwsError, match=r"^endpoint_url: Invalid endpoint: nowhere; it is one like https://"):
        Connection(Account(), Settings("nowhere")).regions()
