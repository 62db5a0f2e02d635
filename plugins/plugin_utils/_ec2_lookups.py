# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lookup ec2 asks, and what it makes of the answers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import AwsError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_accounts import Account
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_reach import Connected
from ansible_collections.hpcops.cluster.plugins.plugin_utils._ec2_hosts import plain

_UNNAMEABLE = re.compile(r"[^a-z0-9]+")


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked, as the options of the same names say."""

    kind: str
    filters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    owners: tuple[str, ...] = ()
    newest: int = 1
    memory_percent: int = 95
    prices: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise AwsError(f"'{self.kind}' is none of these: {', '.join(KINDS)}")
        if self.kind == "images" and not self.owners:
            raise AwsError(
                "owners: images are looked up of named owners only, since anybody may publish one of any name"
            )
        if self.newest < 0 or not 1 <= self.memory_percent <= 100:
            raise AwsError("newest cannot be negative, and memory_percent is a percentage from 1 to 100")

    def ask(self, connection: Connected, account: Account, region: str) -> list[dict[str, Any]]:
        """Return what there is in one region of an account."""
        kind = KINDS[self.kind]
        request: dict[str, Any] = {"MaxResults": 100 if self.kind == "instance_types" else 1000}
        if self.filters:
            request["Filters"] = [
                {
                    "Name": str(name),
                    "Values": [str(value) for value in (values if isinstance(values, list) else [values])],
                }
                for name, values in self.filters.items()
            ]
        if self.kind == "images":
            request["Owners"] = list(self.owners)
        items = (item for page in connection.pages(region, kind.operation, **request) for item in kind.items(page))
        found = [{"account": account.name, "region": region, **_named(item)} for item in items]
        return kind.finish(self, found)


def _named(item: Mapping[str, Any]) -> dict[str, Any]:
    tags = {tag["Key"]: tag.get("Value", "") for tag in item.get("Tags", ())}
    return {**plain({name: value for name, value in item.items() if name != "Tags"}), "tags": tags}


def _images(question: Question, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found.sort(key=lambda image: (image.get("creation_date", ""), image["image_id"]), reverse=True)
    return found[: question.newest] if question.newest else found


def _types(question: Question, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for kind in found:
        kind["slurm_node"] = node_variables(kind, question.memory_percent)
        if kind["instance_type"] in question.prices:
            kind["price"] = question.prices[kind["instance_type"]]
    return sorted(found, key=lambda kind: str(kind["instance_type"]))


def _by(key: str) -> Callable[[Question, list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda _question, found: sorted(found, key=lambda item: str(item.get(key, "")))


def node_variables(kind: Mapping[str, Any], memory_percent: int) -> dict[str, Any]:
    """Return the variables of a node of this instance type, with what the operating system leaves of its memory."""
    processors = kind.get("v_cpu_info", {})
    memory = kind.get("memory_info", {}).get("size_in_mi_b", 0)
    gpus = [
        f"gpu:{_UNNAMEABLE.sub('_', str(gpu.get('name', 'gpu')).lower()).strip('_')}:{gpu.get('count', 0)}"
        for gpu in kind.get("gpu_info", {}).get("gpus", ())
    ]
    found = {
        "slurm_node_cpus": processors.get("default_v_cpus"),
        "slurm_node_threads_per_core": processors.get("default_threads_per_core"),
        "slurm_node_real_memory": memory * memory_percent // 100,
        "slurm_node_gres": gpus,
    }
    return {name: value for name, value in found.items() if value}


@dataclasses.dataclass(frozen=True)
class _Kind:
    operation: str
    items: Callable[[Mapping[str, Any]], Iterable[Mapping[str, Any]]]
    finish: Callable[[Question, list[dict[str, Any]]], list[dict[str, Any]]]


def _instances(page: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    for reservation in page.get("Reservations", ()):
        yield from ({**instance, "OwnerId": reservation.get("OwnerId", "")} for instance in reservation["Instances"])


KINDS: Mapping[str, _Kind] = {
    "images": _Kind("DescribeImages", lambda page: page.get("Images", ()), _images),
    "instances": _Kind("DescribeInstances", _instances, _by("instance_id")),
    "instance_types": _Kind("DescribeInstanceTypes", lambda page: page.get("InstanceTypes", ()), _types),
    "security_groups": _Kind("DescribeSecurityGroups", lambda page: page.get("SecurityGroups", ()), _by("group_id")),
    "subnets": _Kind("DescribeSubnets", lambda page: page.get("Subnets", ()), _by("subnet_id")),
}
