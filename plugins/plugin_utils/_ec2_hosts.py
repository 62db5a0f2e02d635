# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EC2's instances as hosts, groups and variables of Ansible's."""

from __future__ import annotations

import dataclasses
import datetime
import fnmatch
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import InventoryError
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_nodes import PREFIX, VARIABLES
from ansible_collections.hpcops.cluster.plugins.plugin_utils._groups import Origin, is_host_name
from ansible_collections.hpcops.cluster.plugins.plugin_utils._snapshots import NAMED, Snapshot

KINDS = ("role", "cluster", "partition", "state", "account", "region", "zone", "label")
TAG = "hpcops:"
_STATE_FILTER = "instance-state-name"
_SEPARATORS = re.compile(r"[,\s]+")
_CAPITALS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

# What may be a host's name or address, as EC2's filters call it, and the member of an instance that has it.
_NAMES = {
    "instance-id": "InstanceId",
    "private-dns-name": "PrivateDnsName",
    "dns-name": "PublicDnsName",
    "private-ip-address": "PrivateIpAddress",
    "ip-address": "PublicIpAddress",
}
ADDRESSES = tuple(name for name in _NAMES if name != "instance-id")
# Variables that are there on request, and the member that they are made from.
EXTRA = {
    "ec2_architecture": "Architecture",
    "ec2_image_id": "ImageId",
    "ec2_launch_time": "LaunchTime",
    "ec2_lifecycle": "InstanceLifecycle",
    "ec2_private_dns_name": "PrivateDnsName",
    "ec2_public_dns_name": "PublicDnsName",
    "ec2_security_groups": "SecurityGroups",
    "ec2_subnet_id": "SubnetId",
    "ec2_vpc_id": "VpcId",
}
# These come from tags.
TAGGED = ("ec2_tags", "ec2_cluster", "ec2_roles", "ec2_partitions")
_ALWAYS = ("InstanceId", "InstanceType", "Placement", "PrivateIpAddress", "PublicIpAddress", "State", "Tags")
# What instances can be left out by, on this side.
_EXCLUDE = {
    "availability-zone": "ec2_availability_zone",
    "instance-id": "ec2_instance_id",
    "instance-type": "ec2_instance_type",
    "private-ip-address": "ec2_private_ip",
}


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What the operator wants of it, as the options of the same names say."""

    hostnames: tuple[str, ...] = (f"tag:{TAG}host", "tag:Name", "private-dns-name", "instance-id")
    addresses: tuple[str, ...] = ("private-ip-address", "ip-address")
    states: tuple[str, ...] = ("pending", "running", "stopping", "stopped")
    filters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    exclude: tuple[Mapping[str, Any], ...] = ()
    group_by: tuple[str, ...] = KINDS
    group_tags: tuple[str, ...] = ()
    extent: str = "lean"
    """lean, or full."""
    also: tuple[str, ...] = ()
    instance_types: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    on_equal_names: str = "error"
    expressions: bool = False
    """Whether expressions will look at the hosts."""
    page_size: int = 1000

    def __post_init__(self) -> None:
        if not 5 <= self.page_size <= 1000:
            raise InventoryError(f"page_size: EC2 takes 5 to 1000, not {self.page_size}")
        _check("hostnames", self.hostnames, _NAMES)
        _check("addresses", self.addresses, ADDRESSES)
        for rule in self.exclude:
            if not isinstance(rule, Mapping) or not rule:
                raise InventoryError("exclude: each entry is a dict of filters, all of which an instance must match")
            _check("exclude", rule, (*_EXCLUDE, "tag-key"))
        for kind, values in self.instance_types.items():
            wrong = [str(name) for name in values if not _is_node_variable(str(name))]
            if wrong:
                raise InventoryError(f"instance_types: {kind} has {', '.join(wrong)}, which is no variable of a node")

    @property
    def key(self) -> dict[str, Any]:
        """What a region's answer depends on."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "page_size"}

    @property
    def has_all(self) -> bool:
        """Whether all that EC2 says of an instance is wanted."""
        return self.extent == "full" or "ec2_instance" in self.also

    @property
    def ec2_filters(self) -> list[dict[str, Any]]:
        """The filters, as EC2 reads them."""
        given = {str(name): values for name, values in self.filters.items()}
        if self.states and _STATE_FILTER not in given:
            given[_STATE_FILTER] = list(self.states)
        return [{"Name": name, "Values": _texts(values)} for name, values in sorted(given.items())]

    @property
    def members(self) -> frozenset[str] | None:
        """Members of an instance that are looked at; None: all of them."""
        if self.has_all:
            return None
        names = (_NAMES[name] for name in (*self.hostnames, *self.addresses) if name in _NAMES)
        return frozenset((*_ALWAYS, *names, *(EXTRA[name] for name in self.also if name in EXTRA)))


def _check(option: str, names: Iterable[str], known: Iterable[str]) -> None:
    wrong = [name for name in names if name not in known and not (name.startswith("tag:") and option != "addresses")]
    if wrong:
        or_tag = "" if option == "addresses" else ", and no tag:KEY"
        raise InventoryError(f"{option}: '{wrong[0]}' is none of these: {', '.join(known)}{or_tag}")


def _texts(values: Any) -> list[str]:
    return [str(value) for value in (values if isinstance(values, (list, tuple)) else [values])]


def _is_node_variable(name: str) -> bool:
    return name.startswith(PREFIX) and name[len(PREFIX) :] in VARIABLES


def part_of(
    title: str, account: str, region: str, reservations: Iterable[Mapping[str, Any]], wanted: Wanted
) -> Snapshot:
    """Turn one region's answer into hosts, called by their instances' ids until all parts are known."""
    reader = _Reader(account, region, wanted)
    for reservation in reservations:
        owner = str(reservation.get("OwnerId", ""))
        for instance in reservation.get("Instances", ()):
            reader.add(instance, owner)
    return reader.snapshot(title)


class _Reader:
    """Reads the instances of one region."""

    def __init__(self, account: str, region: str, wanted: Wanted) -> None:
        self._account = account
        self._region = region
        self._wanted = wanted
        self._names = [_name_reader(name) for name in wanted.hostnames]
        self._addresses = [_NAMES[name] for name in wanted.addresses]
        self._excluded = [_rule(rule) for rule in wanted.exclude]
        self._extra = EXTRA if wanted.extent == "full" else {name: EXTRA[name] for name in wanted.also if name in EXTRA}
        self._tagged = TAGGED if wanted.extent == "full" else [name for name in TAGGED if name in wanted.also]
        self._kinds = frozenset(wanted.group_by)
        self._hosts: dict[str, dict[str, Any]] = {}
        self._groups: dict[Origin, list[str]] = {}
        self._called: dict[str, list[str]] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        self._warnings: list[str] = []

    def add(self, instance: Mapping[str, Any], owner: str) -> None:
        identity = str(instance.get("InstanceId", ""))
        if not identity:
            raise InventoryError(
                f"account {self._account}, region {self._region}: the answer has an instance without an id"
            )
        tags = {tag["Key"]: tag.get("Value", "") for tag in instance.get("Tags", ())}
        variables: dict[str, Any] = {
            "ec2_account": owner,
            "ec2_availability_zone": instance.get("Placement", {}).get("AvailabilityZone", ""),
            "ec2_instance_id": identity,
            "ec2_instance_type": instance.get("InstanceType", ""),
            "ec2_private_ip": instance.get("PrivateIpAddress", ""),
            "ec2_public_ip": instance.get("PublicIpAddress", ""),
            "ec2_region": self._region,
            "ec2_state": instance.get("State", {}).get("Name", ""),
        }
        if any(rule(variables, tags) for rule in self._excluded):
            return
        address = next((instance[name] for name in self._addresses if instance.get(name)), None)
        if address:
            variables["ansible_host"] = address
        self._called[identity] = self._names_of(identity, instance, tags)
        tagged = _tagged(tags)
        self._add_groups(identity, variables, tags, tagged)
        variables.update(self._wanted.instance_types.get(variables["ec2_instance_type"], {}))
        variables.update(self._node_variables(identity, tags))
        variables.update((name, plain(instance.get(member, ""))) for name, member in self._extra.items())
        variables.update((name, tagged[name]) for name in self._tagged)
        if self._wanted.has_all:
            variables["ec2_instance"] = plain(instance)
        if self._wanted.expressions:
            self._facts[identity] = tagged
        self._hosts[identity] = variables

    def _names_of(self, identity: str, instance: Mapping[str, Any], tags: Mapping[str, str]) -> list[str]:
        given = [name for name in (read(instance, tags) for read in self._names) if name]
        names = [name for name in given if is_host_name(name)]
        if not names:
            raise InventoryError(
                f"hostnames: {identity} (account {self._account}, region {self._region}) has nothing that it could be called: "
                f"none of {', '.join(self._wanted.hostnames)} is there and is a host's name; add instance-id, or exclude it"
            )
        if given[0] != names[0]:
            self._warnings.append(f"{identity} cannot be called {given[0][:100]!r}, and is called {names[0]}")
        return list(dict.fromkeys(names))

    def _add_groups(
        self, identity: str, variables: Mapping[str, Any], tags: Mapping[str, str], tagged: Mapping[str, Any]
    ) -> None:
        origins: list[Origin] = [
            ("account", self._account),
            ("region", self._region),
            ("state", variables["ec2_state"]),
            ("zone", variables["ec2_availability_zone"]),
            ("cluster", tagged["ec2_cluster"]),
            *(("role", role) for role in tagged["ec2_roles"]),
            *(("partition", partition) for partition in tagged["ec2_partitions"]),
            *(("label", key, tags[key]) for key in self._wanted.group_tags if key in tags),
        ]
        for origin in origins:
            # A region's group is what a part is compared by, and a cluster's has variables.
            if origin[1] and (origin[0] in self._kinds or origin[0] in ("region", "cluster")):
                self._groups.setdefault(origin, []).append(identity)

    def _node_variables(self, identity: str, tags: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
        for key, value in tags.items():
            name = key[len(TAG) :]
            if key.startswith(f"{TAG}{PREFIX}"):
                if not _is_node_variable(name) or name == f"{PREFIX}parameters":
                    self._warnings.append(
                        f"{identity}: its tag {key[:100]!r} is no variable of a node, and was left out"
                    )
                elif name in (f"{PREFIX}features", f"{PREFIX}gres"):
                    yield name, _listed(value)
                else:
                    is_number = value.isascii() and value.isdecimal() and name != f"{PREFIX}name"
                    yield name, int(value) if is_number else value

    def snapshot(self, title: str) -> Snapshot:
        more = len(self._warnings) - NAMED
        return Snapshot(
            hosts=self._hosts,
            groups={json.dumps(origin): names for origin, names in self._groups.items()},
            group_vars={},
            facts=self._facts,
            parts={title: json.dumps(("region", self._region))},
            warnings=(*self._warnings[:NAMED], *([f"{title}: {more} more warnings of this kind"] if more > 0 else ())),
            names=self._called,
        )


def _tagged(tags: Mapping[str, str]) -> dict[str, Any]:
    return {
        "ec2_tags": tags,
        "ec2_cluster": tags.get(f"{TAG}cluster", ""),
        "ec2_roles": _listed(tags.get(f"{TAG}roles", "")),
        "ec2_partitions": _listed(tags.get(f"{TAG}partitions", "")),
    }


def _listed(text: str) -> list[str]:
    return list(dict.fromkeys(word for word in _SEPARATORS.split(text) if word))


def _name_reader(name: str) -> Callable[[Mapping[str, Any], Mapping[str, str]], str]:
    if name.startswith("tag:"):
        key = name[len("tag:") :]
        return lambda _instance, tags: tags.get(key, "")
    member = _NAMES[name]
    return lambda instance, _tags: str(instance.get(member) or "")


def _rule(filters: Mapping[str, Any]) -> Callable[[Mapping[str, Any], Mapping[str, str]], bool]:
    """Tell whether an instance matches all of these, each of which may have several values with the wildcards * and ?."""
    patterns = {name: [_pattern(value) for value in _texts(values)] for name, values in filters.items()}

    def matches(variables: Mapping[str, Any], tags: Mapping[str, str]) -> bool:
        for name, wanted in patterns.items():
            if name == "tag-key":
                found = list(tags)
            elif name.startswith("tag:"):
                found = [tags[name[4:]]] if name[4:] in tags else []
            else:
                found = [variables[_EXCLUDE[name]]]
            if not any(pattern.fullmatch(value) for pattern in wanted for value in found):
                return False
        return True

    return matches


def _pattern(value: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(value.replace("[", "[[]")), re.DOTALL)


def plain(value: Any) -> Any:
    """Return what EC2 says as plain data, in mappings with names like variables'."""
    if isinstance(value, Mapping):
        return {_CAPITALS.sub("_", str(name)).lower(): plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return value
