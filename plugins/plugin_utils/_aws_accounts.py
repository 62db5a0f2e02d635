# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS accounts as an inventory's or a lookup's options name them: who asks, where, and how; without AWS's library."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import AwsError

ALL = "all"
_ROLE = re.compile(r"arn:[a-z-]+:iam::(\d{12}):role/[\w+=,.@/-]+", re.ASCII)
_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d+")
_NAMES = (
    "name",
    "role_arn",
    "external_id",
    "session_name",
    "session_tags",
    "duration",
    "profile",
    "web_identity_token_file",
    "regions",
)
# Where requests go, where profiles are, and what decides whose the default credentials are.
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2")
_FILES = ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")
_DEFAULTS = ("AWS_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
# Where the global services of AWS's other partitions are.
_HOMES = {"cn-": "cn-north-1", "us-gov-": "us-gov-west-1"}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How requests are made."""

    endpoint_url: str = ""
    home_region: str = ""
    timeout: float = 30
    retries: int = 5
    parallel: int = 16

    def __post_init__(self) -> None:
        if self.timeout <= 0 or self.retries < 0 or self.parallel < 1:
            raise AwsError(
                "timeout must be more than 0 seconds, retries cannot be negative, and parallel must be at least 1"
            )


@dataclasses.dataclass(frozen=True)
class Account:
    """One account, and as whom it is asked."""

    name: str = "default"
    role_arn: str = ""
    external_id: str = ""
    session_name: str = "hpcops-cluster"
    session_tags: tuple[tuple[str, str], ...] = ()
    duration: int = 3600
    profile: str = ""
    web_identity_token_file: str = ""
    regions: tuple[str, ...] = ()

    @property
    def who(self) -> str:
        """How messages call the one who asks."""
        return self.role_arn or self.source

    @property
    def source(self) -> str:
        """How messages call the one whose credentials are used, or assume the role."""
        if self.web_identity_token_file:
            return f"the token in {self.web_identity_token_file}"
        return f"profile {self.profile}" if self.profile else "the default credentials"

    @property
    def identity(self) -> dict[str, Any]:
        """What decides which account is asked, and what it lets be seen; no secrets."""
        found: dict[str, Any] = {"profile": self.profile, "role_arn": self.role_arn, "session_tags": self.session_tags}
        names = list(_ENDPOINTS)
        if not self.role_arn:
            names += _FILES if self.profile else (*_FILES, *_DEFAULTS)
        found.update((name, os.environ[name]) for name in names if name in os.environ)
        key = os.environ.get("AWS_ACCESS_KEY_ID", "")
        if key and not self.role_arn and not self.profile:
            # Not the key itself, but another one for another key.
            found["key"] = hashlib.sha256(key.encode()).hexdigest()[:16]
        return found

    def home(self, settings: Settings) -> str:
        """Return the region where roles are assumed and the enabled regions are asked for."""
        if settings.home_region:
            return settings.home_region
        partition = self.role_arn.split(":")[1:2]
        for prefix, home in _HOMES.items():
            if partition == [f"aws-{prefix.rstrip('-')}"] or any(region.startswith(prefix) for region in self.regions):
                return home
        return "us-east-1"


def read_settings(option: Callable[[str], Any]) -> Settings:
    """Read the options of the same names."""
    return Settings(
        endpoint_url=str(option("endpoint_url") or ""),
        home_region=str(option("home_region") or ""),
        timeout=option("timeout"),
        retries=option("retries"),
        parallel=option("parallel"),
    )


def read_accounts(entries: Sequence[Any], regions: Sequence[str]) -> tuple[Account, ...]:
    """Read the option accounts; no entry means the default credentials. An account without regions has the common ones."""
    accounts = [_account(entry, regions, number) for number, entry in enumerate(entries or [{}], 1)]
    names = [account.name for account in accounts]
    for name in names:
        if names.count(name) > 1:
            raise AwsError(f"accounts: {names.count(name)} of them are called {name}; give each a name of its own")
    return tuple(accounts)


def _account(entry: Any, regions: Sequence[str], number: int) -> Account:
    where = f"accounts: entry {number}"
    if not isinstance(entry, Mapping):
        raise AwsError(f"{where} is no dict such as {{role_arn: arn:aws:iam::123456789012:role/inventory}}")
    unknown = [str(name) for name in entry if name not in _NAMES]
    if unknown:
        raise AwsError(f"{where} has {', '.join(unknown)}, which is none of these: {', '.join(_NAMES)}")
    given = {name: value for name, value in entry.items() if value not in (None, "")}
    tags = given.pop("session_tags", {})
    if not isinstance(tags, Mapping):
        raise AwsError(f"{where}: session_tags is no dict of keys and values")
    own = given.pop("regions", None) or regions
    duration = given.pop("duration", 3600)
    account = Account(
        **{name: str(value) for name, value in given.items()},
        session_tags=tuple(sorted((str(key), str(value)) for key, value in tags.items())),
        duration=duration,
        regions=_regions([own] if isinstance(own, str) else own, where),
    )
    role = _ROLE.fullmatch(account.role_arn)
    if account.role_arn and not role:
        raise AwsError(f"{where}: role_arn: '{account.role_arn}' is no role's ARN")
    if not role:
        extra = [name for name in ("external_id", "session_tags", "web_identity_token_file") if getattr(account, name)]
        if extra:
            raise AwsError(f"{where} has {', '.join(extra)}, but no role_arn to assume")
    if account.web_identity_token_file and (account.profile or account.external_id or account.session_tags):
        raise AwsError(
            f"{where}: a role assumed with web_identity_token_file takes no profile, external_id or session_tags"
        )
    if isinstance(duration, bool) or not isinstance(duration, int) or not 900 <= duration <= 43200:
        raise AwsError(f"{where}: duration: {duration!r} is no number of seconds from 900 to 43200")
    if "name" in given:
        return account
    return dataclasses.replace(account, name=role[1] if role else account.profile or "default")


def _regions(names: Iterable[Any], where: str) -> tuple[str, ...]:
    regions = tuple(dict.fromkeys(map(str, names)))
    wrong = [name for name in regions if name != ALL and not _REGION.fullmatch(name)]
    if wrong:
        raise AwsError(f"{where}: regions: '{wrong[0]}' is no region such as eu-central-1")
    if not regions:
        raise AwsError(f"regions: {where} has none; name them, or 'all' for those that the account has enabled")
    if ALL in regions and len(regions) > 1:
        raise AwsError(f"{where}: regions: 'all' stands alone")
    return regions
