# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWS and botocore say becomes one sentence that names account, region, action and what to do."""

from __future__ import annotations

from typing import Any

import botocore.exceptions as its
import pytest
from botocore.parsers import ResponseParserError

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import AwsError, SourceUnreachableError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_accounts import Account
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_errors import Call, explained

ROLE = "arn:aws:iam::1:role/r"
WHERE = "account lab, region eu-1"
WHAT = f"{WHERE}: ec2:DescribeInstances"
DEFAULT = "the default credentials"
ENABLE = "enable it, or leave it out with exclude_regions"
WRONG = f"either they are wrong, or the account has not enabled the region: {ENABLE}"
RENEW = "renew them, or set this machine's clock"
SLOWER = "lower parallel, or raise retries"
UNREAD = "has an answer that cannot be read, so none of it is used"

DOWN = SourceUnreachableError


def call(page: int = 1, action: str = "ec2:DescribeInstances", **account: Any) -> Call:
    return Call(Account(name="lab", **account), "eu-1", action, page)


def refused(code: str, message: str = "It said so.", status: int = 400) -> its.ClientError:
    response: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return its.ClientError(response, "DescribeInstances")


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (refused("Throttling"), DOWN, f"{WHAT} is throttled, however often it was asked again (Throttling); {SLOWER}"),
        (
            refused("SlowDown", status=503),
            DOWN,
            f"{WHAT} is throttled, however often it was asked again (SlowDown); {SLOWER}",
        ),
        (
            refused("UnauthorizedOperation", "No.  Encoded authorization failure message: abc\ndef"),
            AwsError,
            f"{WHAT} is denied to {DEFAULT} (UnauthorizedOperation: No); give it the IAM permission ec2:DescribeInstances",
        ),
        (
            refused("OptInRequired"),
            AwsError,
            f"{WHERE}: the account has not enabled the region (OptInRequired); {ENABLE}",
        ),
        (
            refused("RegionDisabledException"),
            AwsError,
            f"{WHERE}: the account has not enabled the region (RegionDisabledException); {ENABLE}",
        ),
        (
            refused("AuthFailure"),
            AwsError,
            f"{WHAT} does not accept the credentials of {DEFAULT} (AuthFailure); {WRONG}",
        ),
        *(
            (refused(code), AwsError, f"{WHAT} does not accept the credentials of {DEFAULT} any more ({code}); {RENEW}")
            for code in ("ExpiredToken", "RequestExpired")
        ),
        (refused("InternalError", status=500), DOWN, f"{WHAT} answers InternalError: It said so"),
        (refused("Other", status=499), AwsError, f"{WHAT} answers Other: It said so"),
        (refused("Other", "a" * 400), AwsError, f"{WHAT} answers Other: {'a' * 300}"),
        (
            its.ConnectTimeoutError(endpoint_url="https://x"),
            DOWN,
            f'{WHAT} gets no answer: Connect timeout on endpoint URL: "https://x"',
        ),
        (
            its.EndpointConnectionError(endpoint_url="https://x"),
            DOWN,
            f'{WHAT} gets no answer: Could not connect to the endpoint URL: "https://x"',
        ),
        (ResponseParserError("bad token, invalid XML received: <html>"), AwsError, f"{WHAT} {UNREAD}: bad token"),
        (
            its.IncompleteReadError(actual_bytes=1, expected_bytes=2),
            AwsError,
            f"{WHAT} {UNREAD}: 1 read, but total bytes expected is 2",
        ),
        (
            its.ParamValidationError(report="Unknown parameter"),
            AwsError,
            f"{WHAT} cannot be asked so: Parameter validation failed: Unknown parameter",
        ),
        (
            its.NoCredentialsError(),
            AwsError,
            f"account lab: there are no credentials ({DEFAULT}): Unable to locate credentials",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_fault_is_explained_in_a_sentence(error: Exception, kind: type[Exception], sentence: str) -> None:
    found = explained(error, call())
    assert found.__class__ is kind
    assert str(found) == sentence


def test_later_page_is_named() -> None:
    assert str(explained(refused("Other"), call(page=2))).startswith(f"{WHAT}, page 2, answers")


def test_answer_without_a_code_is_no_fault_of_the_network() -> None:
    found = explained(its.ClientError({}, "x"), call())
    assert (type(found), str(found)) == (AwsError, f"{WHAT} answers : ")


@pytest.mark.parametrize(
    ("account", "message", "sentence"),
    [
        (
            {"profile": "hub"},
            "User is not authorized to perform: sts:TagSession on resource",
            f"account lab: sts:TagSession of {ROLE} is denied to profile hub (AccessDenied); allow sts:TagSession on this role "
            "in the IAM policy of profile hub, and allow sts:TagSession to it in the role's trust policy (which may have "
            "conditions, such as an external_id)",
        ),
        (
            {"web_identity_token_file": "/t"},
            "No",
            f"account lab: sts:AssumeRole of {ROLE} is denied to the token in /t (AccessDenied); allow sts:AssumeRole to it in "
            "the role's trust policy (which may have conditions, such as an external_id)",
        ),
    ],
)
def test_role_that_may_not_be_assumed_says_which_policies_decide(
    account: dict[str, Any], message: str, sentence: str
) -> None:
    asked = call(action="sts:AssumeRole", role_arn=ROLE, **account)
    assert str(explained(refused("AccessDenied", message), asked)) == sentence


def test_role_is_named_where_it_is_the_role_that_asks() -> None:
    assert f" is denied to {ROLE} (AccessDenied" in str(explained(refused("AccessDenied"), call(role_arn=ROLE)))
    throttled = explained(refused("Throttling"), call(action="sts:AssumeRole", role_arn=ROLE))
    assert "is throttled" in str(throttled)
    assert "of profile hub" in str(
        explained(refused("AuthFailure"), call(action="sts:X", role_arn=ROLE, profile="hub"))
    )
