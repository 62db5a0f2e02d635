# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What went wrong at AWS, in one sentence that names account, region, action, and what to do."""

from __future__ import annotations

import dataclasses
import re

try:
    import botocore.exceptions as its
    from botocore.parsers import ResponseParserError
except ImportError:  # whoever would use this says so
    pass

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import (
    AwsError,
    HpcopsError,
    SourceUnreachableError,
)
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_accounts import Account

_DENIED = frozenset({"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"})
_NOT_ENABLED = frozenset({"OptInRequired", "RegionDisabledException"})
# EC2 answers this in a region that the account has not enabled, too.
_NOT_ACCEPTED = frozenset(
    {"AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch"}
)
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_THROTTLED = frozenset(
    {
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "EC2ThrottledException",
        "BandwidthLimitExceeded",
        "SlowDown",
    }
)
_ENCODED = re.compile(r"\s*Encoded authorization failure message:.*", re.DOTALL)
_STS_ACTION = re.compile(r"\bsts:[A-Za-z]+")
_LONGEST = 300


@dataclasses.dataclass(frozen=True)
class Call:
    """A request, as messages tell of it."""

    account: Account
    region: str
    action: str
    """The permission that it takes, such as ec2:DescribeInstances."""
    page: int = 1

    @property
    def where(self) -> str:
        return f"account {self.account.name}, region {self.region}"

    @property
    def what(self) -> str:
        return f"{self.where}: {self.action}" + (f", page {self.page}," if self.page > 1 else "")


def explained(error: Exception, call: Call) -> HpcopsError:
    """Return the error to raise instead."""
    if isinstance(error, its.ClientError):
        return _refused(error, call)
    if isinstance(error, (its.HTTPClientError, its.ConnectionError)):
        return SourceUnreachableError(f"{call.what} gets no answer: {_short(error)}")
    if isinstance(error, (ResponseParserError, its.IncompleteReadError)):
        cause = str(error).partition(", invalid XML received")[0]
        return AwsError(f"{call.what} has an answer that cannot be read, so none of it is used: {_short(cause)}")
    if isinstance(error, its.ParamValidationError):
        return AwsError(f"{call.what} cannot be asked so: {_short(error)}")
    return AwsError(f"account {call.account.name}: there are no credentials ({call.account.source}): {_short(error)}")


def _refused(error: its.ClientError, call: Call) -> HpcopsError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    said = _short(_ENCODED.sub("", str(error.response.get("Error", {}).get("Message", ""))))
    is_sign_in = call.action.startswith("sts:")
    who = call.account.source if is_sign_in else call.account.who
    if code in _THROTTLED:
        return SourceUnreachableError(
            f"{call.what} is throttled, however often it was asked again ({code}); lower parallel, or raise retries"
        )
    if code in _DENIED and is_sign_in:
        # A session's tags are a permission of their own, which AWS names.
        named = _STS_ACTION.search(said)
        action = named[0] if named else call.action
        advice = f"allow {action} on this role in the IAM policy of {who}, and "
        if call.account.web_identity_token_file:
            advice = ""
        return AwsError(
            f"account {call.account.name}: {action} of {call.account.role_arn} is denied to {who} ({code}); {advice}"
            f"allow {action} to it in the role's trust policy (which may have conditions, such as an external_id)"
        )
    if code in _DENIED:
        return AwsError(f"{call.what} is denied to {who} ({code}: {said}); give it the IAM permission {call.action}")
    if code in _NOT_ENABLED:
        return AwsError(
            f"{call.where}: the account has not enabled the region ({code}); enable it, or leave it out with exclude_regions"
        )
    if code in _NOT_ACCEPTED:
        return AwsError(
            f"{call.what} does not accept the credentials of {who} ({code}); either they are wrong, or the account "
            "has not enabled the region: enable it, or leave it out with exclude_regions"
        )
    if code in _EXPIRED:
        return AwsError(
            f"{call.what} does not accept the credentials of {who} any more ({code}); renew them, or set this "
            "machine's clock"
        )
    kind = SourceUnreachableError if status >= 500 else AwsError
    return kind(f"{call.what} answers {code}: {said}")


def _short(text: object) -> str:
    return " ".join(str(text).split()).rstrip(".")[:_LONGEST]
