# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an answer of EC2 means for a launch.

Codes are those of "Error codes for the Amazon EC2 API" and "Troubleshoot instance launch issues". The code decides, not the HTTP status:
lack of capacity comes with status 500.
"""

from __future__ import annotations

import dataclasses
import enum
import re

_TEXT = 200


class Kind(enum.StrEnum):
    """Classes of failures; each has its own reaction."""

    THROTTLED = "throttled"
    """Asked too often: wait, and ask again. Says nothing of capacity."""
    CAPACITY = "capacity"
    """None of this type in this zone now: avoid just this for a while, and take the next."""
    QUOTA = "quota"
    """The account has as many as it may: avoid it in this region for a while."""
    DENIED = "denied"
    """Not allowed: stop this place until a person has looked."""
    WRONG = "configuration"
    """Can never work so: stop this place until a person has looked."""
    LIMIT = "limit"
    """Not asked for: the configuration's own limit is reached."""
    BOOT = "boot"
    """It was launched, and did not become a node in time."""
    LOST = "lost"
    """The instance has gone, and its node was in use."""
    UNCLEAR = "unclear"
    """Nobody knows whether it was done: ask again with the same token."""
    UNKNOWN = "unknown"
    """Refused in words that nobody has classified: give up, and keep them."""


_CODES: dict[str, Kind] = {
    **dict.fromkeys(
        (
            "RequestLimitExceeded",
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestThrottled",
            "RequestThrottledException",
            "RequestResourceCountExceeded",
            "TooManyRequestsException",
            "EC2ThrottledException",
            "BandwidthLimitExceeded",
            "SlowDown",
            "ResourceCountExceeded",
            "MaxConfigLimitExceededException",
            "ConcurrentCreateLimitExceeded",
        ),
        Kind.THROTTLED,
    ),
    **dict.fromkeys(
        (
            "InsufficientInstanceCapacity",
            "InsufficientHostCapacity",
            "InsufficientReservedInstanceCapacity",
            "InsufficientCapacity",
            "InsufficientCapacityOnHost",
            "UnfulfillableCapacity",
            "SpotMaxPriceTooLow",
            "InsufficientFreeAddressesInSubnet",
            "InsufficientAddressCapacity",
            "InsufficientVolumeCapacity",
        ),
        Kind.CAPACITY,
    ),
    **dict.fromkeys(
        (
            "InstanceLimitExceeded",
            "VcpuLimitExceeded",
            "MaxSpotInstanceCountExceeded",
            "MaxSpotFleetRequestCountExceeded",
            "MaxIOPSLimitExceeded",
            "VolumeLimitExceeded",
            "AttachmentLimitExceeded",
            "NetworkInterfaceLimitExceeded",
            "DedicatedHostLimitExceeded",
            "PendingVerification",
        ),
        Kind.QUOTA,
    ),
    **dict.fromkeys(
        (
            "UnauthorizedOperation",
            "AccessDenied",
            "AccessDeniedException",
            "AuthFailure",
            "Blocked",
            "InvalidClientTokenId",
            "UnrecognizedClientException",
            "SignatureDoesNotMatch",
            "OptInRequired",
            "RegionDisabledException",
            "ExpiredToken",
            "ExpiredTokenException",
            "PendingVerificationException",
            "InvalidCredentials",
            "NotSignedUp",
        ),
        Kind.DENIED,
    ),
    **dict.fromkeys(
        (
            "Unsupported",
            "UnsupportedOperation",
            "UnsupportedInstanceType",
            "UnsupportedInstanceTypeOnHost",
            "NoSuchEntity",
        ),
        Kind.WRONG,
    ),
    **dict.fromkeys(
        (
            "InternalError",
            "InternalFailure",
            "InternalServerError",
            "ServiceUnavailable",
            "Unavailable",
            "RequestTimeout",
            "RequestTimeoutException",
            "RequestExpired",
        ),
        Kind.UNCLEAR,
    ),
}
# The API's way to say that a parameter is wrong, or that what it names is not there.
_WRONG = re.compile(
    r"(Invalid|Missing|Malformed|Unknown|Incorrect).*|.*\.(NotFound|Malformed|Duplicate|InUse|InvalidState)"
)
_ENCODED = re.compile(r"\s*Encoded authorization failure message:.*", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Why something could not be had."""

    kind: Kind
    code: str
    text: str

    def __str__(self) -> str:
        said = f"{self.code}: {self.text}" if self.code else self.text
        return f"{self.kind}: {said}"


def classify(code: str, text: str, status: int = 400) -> Verdict:
    """Judge an error by its code; the status counts only for codes that nobody knows."""
    short = " ".join(_ENCODED.sub("", text).split())[:_TEXT]
    if code == "IdempotentParameterMismatch":
        kind = Kind.UNKNOWN
    elif code in _CODES:
        kind = _CODES[code]
    elif status >= 500:
        kind = Kind.UNCLEAR
    elif status == 429:
        kind = Kind.THROTTLED
    elif _WRONG.fullmatch(code):
        kind = Kind.WRONG
    else:
        kind = Kind.UNKNOWN
    return Verdict(kind, code, short)
