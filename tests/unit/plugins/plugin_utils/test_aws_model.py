# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cut-down model of EC2 answers as AWS's own does, with the botocore that is installed."""

from __future__ import annotations

import copy
import sys
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from botocore.loaders import Loader

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import AwsError
from ansible_collections.hpcops.cluster.plugins.plugin_utils import _aws_sessions
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_accounts import Account, Settings
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_errors import Call, explained
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_model import OPERATIONS, LeanLoader, pruned
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_sessions import Connection
from ansible_collections.hpcops.cluster.plugins.plugin_utils._ec2_hosts import EXTRA, Wanted

ANSWER = b"""<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId><reservationSet><item>
<reservationId>r-1</reservationId><ownerId>111111111111</ownerId><instancesSet><item><instanceId>i-1</instanceId>
<instanceState><code>16</code><name>running</name></instanceState><privateDnsName>n1.internal</privateDnsName>
<instanceType>c7i.large</instanceType><launchTime>2026-01-01T00:00:00.000Z</launchTime><ebsOptimized>true</ebsOptimized>
<placement><availabilityZone>eu-central-1a</availabilityZone><tenancy>default</tenancy></placement>
<privateIpAddress>10.0.0.1</privateIpAddress><tagSet><item><key>Name</key><value>n1</value></item><item><key>empty</key><value/></item>
</tagSet></item></instancesSet></item></reservationSet><nextToken>%s</nextToken></DescribeInstancesResponse>"""
MODEL = Loader().load_service_model("ec2", "service-2")


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")


def answering(monkeypatch: pytest.MonkeyPatch, *tokens: bytes, body: bytes = b"") -> None:
    """Let each request be answered, with these tokens for the next page, or all by something else."""
    left = list(tokens)

    def send(_self: Any, request: Any) -> AWSResponse:
        response = AWSResponse(request.url, 200, {}, None)
        response._content = body or ANSWER % left.pop(0)
        return response

    monkeypatch.setattr("botocore.httpsession.URLLib3Session.send", send)


def asked(monkeypatch: pytest.MonkeyPatch, members: frozenset[str] | None) -> Any:
    answering(monkeypatch, b"")
    connection = Connection(Account(), Settings(), members)
    (page,) = connection.pages("eu-central-1", "DescribeInstances", MaxResults=5)
    return page["Reservations"]


def test_answer_is_that_of_the_whole_model_without_what_nobody_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    members = Wanted(also=("ec2_launch_time",)).members
    assert members is not None
    ((lean,), (full,)) = asked(monkeypatch, members), asked(monkeypatch, None)
    assert (lean["OwnerId"], full["ReservationId"]) == (full["OwnerId"], "r-1")
    (lean,), (full,) = lean["Instances"], full["Instances"]
    assert full["EbsOptimized"] is True
    expected = {name: value for name, value in full.items() if name in members}
    expected["Placement"] = {"AvailabilityZone": "eu-central-1a"}
    expected["State"] = {"Name": "running"}
    assert lean == expected


def test_all_that_may_be_wanted_is_in_the_installed_model() -> None:
    members = Wanted(also=tuple(EXTRA), addresses=("dns-name",)).members
    found = pruned(MODEL, members)
    assert sorted(found["operations"]) == sorted(OPERATIONS)
    assert members == frozenset(found["shapes"]["Instance"]["members"])
    assert set(pruned(MODEL, None)["shapes"]["Instance"]["members"]) > set(members or ())


@pytest.mark.parametrize("gone", ["operations", "shapes"])
def test_model_that_is_made_otherwise_is_used_whole(gone: str) -> None:
    for changed in ({**MODEL, gone: {}}, {**MODEL, gone: None}, {}):
        assert pruned(changed, frozenset({"InstanceId"})) is changed
    assert pruned(MODEL, frozenset({"Renamed"})) is MODEL


def test_model_that_botocore_keeps_is_not_changed() -> None:
    loader = LeanLoader(frozenset({"InstanceId"}))
    before = copy.deepcopy(super(LeanLoader, loader).load_service_model("ec2", "service-2"))
    loader.load_service_model("ec2", "service-2")
    assert super(LeanLoader, loader).load_service_model("ec2", "service-2") == before


def test_botocores_own_loader_does_where_ours_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, f"{_aws_sessions.__package__}._aws_model", None)
    (reservation,) = asked(monkeypatch, frozenset({"InstanceId"}))
    assert reservation["Instances"][0]["EbsOptimized"] is True


def test_repeated_page_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, b"again", b"again")
    with pytest.raises(AwsError, match="account default, region eu-central-1: ec2:DescribeInstances repeats a page"):
        list(Connection(Account(), Settings()).pages("eu-central-1", "DescribeInstances"))


@pytest.mark.parametrize("body", [b"<html><body>Sign in</body></html>", b"<DescribeInstancesResponse/>"])
def test_page_of_another_server_is_never_taken_for_an_empty_region(
    monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    answering(monkeypatch, b"", body=body)
    connection = Connection(Account(), Settings())
    for ask in (connection.regions, lambda: list(connection.pages("eu-central-1", "DescribeInstances"))):
        with pytest.raises(
            AwsError, match=r"account default, region .*: ec2:Describe.* has an answer that is not AWS's"
        ):
            ask()
    with pytest.raises(AwsError, match="account one, region us-east-1: sts:AssumeRole has an answer that is not AWS's"):
        Connection(Account("one", role_arn="arn:aws:iam::111111111111:role/inventory"), Settings())


def test_second_page_of_another_server_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = Connection(Account(), Settings()).pages("eu-central-1", "DescribeInstances")
    answering(monkeypatch, b"more")
    assert next(pages)["Reservations"]
    answering(monkeypatch, b"", body=b"<html/>")
    with pytest.raises(AwsError, match="ec2:DescribeInstances, page 2, has an answer that is not AWS's"):
        next(pages)


@pytest.mark.parametrize("url", ["nonsense", "http://[::"])
def test_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(AwsError, match="endpoint_url: Invalid"):
        Connection(Account(), Settings(endpoint_url=url)).regions()


def test_permission_that_signing_in_lacks_is_named() -> None:
    said = {
        "Error": {
            "Code": "AccessDenied",
            "Message": "User: x is not authorized to perform: sts:TagSession on resource: y",
        }
    }
    account = Account("one", role_arn="r", profile="hub")
    error = str(explained(ClientError(said, "AssumeRole"), Call(account, "us-east-1", "sts:AssumeRole")))
    assert (
        "account one: sts:TagSession of r is denied to profile hub (AccessDenied); allow sts:TagSession on this role"
        in error
    )
    account = Account("one", role_arn="r", web_identity_token_file="/t")
    said["Error"]["Message"] = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
    error = str(explained(ClientError(said, "x"), Call(account, "us-east-1", "sts:AssumeRoleWithWebIdentity")))
    assert "IAM policy" not in error
    assert "allow sts:AssumeRoleWithWebIdentity to it in the role's trust policy" in error
