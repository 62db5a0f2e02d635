# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration: one YAML file, which the role writes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import pydantic
import yaml

from hpcops_elastic.errors import ConfigError

DEFAULT = Path("/etc/hpcops-elastic/config.yml")

Name = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Positive = Annotated[int, pydantic.Field(ge=1)]
Price = Annotated[float, pydantic.Field(ge=0, le=1e6)]

_USER_DATA = 16_000  # bytes that EC2 takes, less the names


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Account(_Model):
    """An AWS account, and as whom it is asked."""

    name: Name
    role_arn: Annotated[str, pydantic.Field(pattern=r"^(arn:[a-z-]+:iam::\d{12}:role/[\w+=,.@/-]+)?$")] = ""
    external_id: str = ""
    profile: str = ""
    # AWS's limits of RunInstances, for each account and region: instances at once and per second, and calls at once and per second.
    launch_burst: Positive = 1000
    launch_rate: Annotated[float, pydantic.Field(gt=0)] = 2.0
    call_burst: Positive = 5
    call_rate: Annotated[float, pydantic.Field(gt=0)] = 2.0


class Place(_Model):
    """Where instances may be, in an account."""

    account: Name
    region: Annotated[str, pydantic.Field(pattern=r"^[a-z]{2,}(-[a-z]+)+-\d+$")]
    subnets: Annotated[tuple[str, ...], pydantic.Field(min_length=1)]
    image: str = ""
    launch_template: str = ""
    launch_template_version: str = "$Default"
    security_groups: tuple[str, ...] = ()
    instance_profile: str = ""
    key_name: str = ""
    placement_group: str = ""

    @pydantic.model_validator(mode="after")
    def _has_an_image(self) -> Self:
        if bool(self.image) == bool(self.launch_template):
            raise ValueError("give either image or launch_template, which holds one")
        return self


class Limits(_Model):
    """What is not exceeded; none where it is left out."""

    instances: Positive | None = None
    vcpus: Positive | None = None
    hourly_price: Price | None = None


class InstanceType(_Model):
    """What is known of an instance type."""

    vcpus: Positive
    price: Price = 0.0
    spot_price: Price | None = None


class Group(_Model):
    """Nodes that are alike."""

    name: Name
    prefix: Annotated[str, pydantic.Field(pattern=r"^[a-z][a-z0-9-]{0,50}$")]
    first: Annotated[int, pydantic.Field(ge=0)] = 1
    count: Annotated[int, pydantic.Field(ge=1, le=100_000)]
    places: Annotated[tuple[Place, ...], pydantic.Field(min_length=1)]
    instance_types: Annotated[tuple[str, ...], pydantic.Field(min_length=1)]
    market: Literal["on-demand", "spot"] = "on-demand"
    efa: bool = False
    all_or_nothing: bool = False
    tags: dict[str, str] = {}
    user_data: str = ""
    limits: Limits = Limits()
    # What slurm.conf says of them, which is not this program's.
    node: dict[str, object] = {}
    partitions: tuple[str, ...] = ()

    @property
    def nodes(self) -> list[str]:
        return [f"{self.prefix}{number}" for number in range(self.first, self.first + self.count)]

    @property
    def all_nodes(self) -> str:
        """As a host list."""
        last = self.first + self.count - 1
        return f"{self.prefix}{self.first}" if last == self.first else f"{self.prefix}[{self.first}-{last}]"


class Timing(_Model):
    """Seconds, and numbers of times."""

    # Without a sign of life of the service for so long, resume refuses.
    service_timeout: Positive = 60
    # Before an instance that nobody knows is ended, and before a node whose instance is missing is given up.
    grace: Annotated[int, pydantic.Field(ge=0)] = 90
    # In state pending for longer than this an instance is stuck.
    pending: Positive = 600
    # A type in a zone is avoided after a refusal for lack of capacity: the first time, and at most; each refusal doubles it.
    cooling: Positive = 60
    cooling_most: Positive = 1800
    # An account's region is avoided after its quota was reached.
    quota: Positive = 600
    # Failed boots in a row that stop a pool.
    boot_failures: Positive = 3
    # Records of ended instances are kept, for the costs.
    keep_days: Positive = 400


class Config(_Model):
    """All of it."""

    cluster: Name
    accounts: Annotated[tuple[Account, ...], pydantic.Field(min_length=1)]
    groups: Annotated[tuple[Group, ...], pydantic.Field(min_length=1)]
    instance_types: dict[str, InstanceType]
    limits: Limits = Limits()
    timing: Timing = Timing()
    # Of groups that have none of their own. "@NODES@" in it becomes the names of the nodes that are launched together.
    user_data: str = ""
    journal: Path = Path("/var/lib/hpcops-elastic/journal.sqlite")
    metrics: Path | None = None
    controller: str = ""
    slurm_conf: str = ""
    path: str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    aws_config_file: str = ""
    aws_credentials_file: str = ""
    endpoint_url: str = ""

    @pydantic.model_validator(mode="after")
    def _names_fit(self) -> Self:
        accounts = {account.name for account in self.accounts}
        if len(accounts) < len(self.accounts):
            raise ValueError("accounts: two have the same name")
        if len({group.name for group in self.groups}) < len(self.groups):
            raise ValueError("groups: two have the same name")
        seen: dict[str, str] = {}
        for group in self.groups:
            for name in group.nodes:
                if name in seen:
                    raise ValueError(
                        f"groups: {group.name} and {seen[name]} both have a node {name}; give them other prefixes"
                    )
                seen[name] = group.name
            for place in group.places:
                if place.account not in accounts:
                    raise ValueError(f"groups: {group.name}: accounts has no {place.account}")
            unknown = [name for name in group.instance_types if name not in self.instance_types]
            if unknown:
                raise ValueError(f"groups: {group.name}: instance_types does not say what {unknown[0]} is")
            reserved = [key for key in group.tags if key.startswith(("hpcops:", "aws:"))]
            if reserved:
                raise ValueError(f"groups: {group.name}: tags: {reserved[0]} is reserved")
            if len(self.user_data_of(group).encode()) > _USER_DATA:
                raise ValueError(f"groups: {group.name}: its user data is longer than EC2's 16 KiB")
        return self

    def user_data_of(self, group: Group) -> str:
        return group.user_data or self.user_data

    def account(self, name: str) -> Account:
        return next(account for account in self.accounts if account.name == name)

    def group(self, name: str) -> Group | None:
        return next((group for group in self.groups if group.name == name), None)

    def group_of(self) -> dict[str, str]:
        """Each node's group."""
        return {node: group.name for group in self.groups for node in group.nodes}

    @property
    def all_nodes(self) -> str:
        return ",".join(group.all_nodes for group in self.groups)

    @property
    def regions(self) -> list[tuple[str, str]]:
        """Account and region of all places."""
        return sorted({(place.account, place.region) for group in self.groups for place in group.places})

    def price(self, instance_type: str, market: str) -> float:
        """Dollars, or whatever the prices are in, per hour."""
        known = self.instance_types.get(instance_type)
        if known is None:
            return 0.0
        return known.spot_price if market == "spot" and known.spot_price is not None else known.price


def load(path: Path) -> Config:
    """Read and check the file.

    Raises ConfigError, which names the variable.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no settings")
    try:
        return Config(**content)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{path}: " + "; ".join(_sentence(entry) for entry in error.errors())) from error


def _sentence(entry: pydantic.type_adapter.ErrorDetails) -> str:  # type: ignore[name-defined]
    where = ".".join(str(part) for part in entry["loc"])
    said = entry["msg"].removeprefix("Value error, ")
    given = "" if isinstance(entry["input"], dict | list) else f" (it is {entry['input']!r})"
    return f"{where}: {said}{given}" if where else said
