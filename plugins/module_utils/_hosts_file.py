# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts of the inventory as lines of hosts(5)."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ADDRESS_VARIABLES = ("os_base_address", "ansible_host")
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\Z")


def hosts_lines(hosts: Iterable[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Return a line "ADDRESS NAME SHORT" for each host, given as its name and its variables; SHORT where it differs."""
    lines = []
    owners: dict[str, str] = {}
    for host, variables in hosts:
        address = _address(host, variables)
        short = _short_name(host)
        other = owners.setdefault(short, host)
        if other != host:
            raise HpcopsError(
                f"hosts_file: {other} and {host} would both be '{short}'; leave one of them out of the list"
            )
        lines.append(" ".join([address, host] if short == host else [address, host, short]))
    return lines


def _short_name(host: str) -> str:
    if _ip(host) is not None:
        raise HpcopsError(
            f"hosts_file: {host} is an address and no name; give the host a name in the inventory and its ansible_host"
        )
    if not _NAME.match(host):
        raise HpcopsError(
            f"hosts_file: {host!r} is no host name; leave it out of the list, or rename it in the inventory"
        )
    return host.split(".", 1)[0]


def _address(host: str, variables: Mapping[str, Any]) -> str:
    """Return the address by which the other hosts reach a host."""
    for name in ADDRESS_VARIABLES:
        value = variables.get(name)
        if value is None or value == "":
            continue
        address = _ip(value)
        if address is None:
            raise HpcopsError(
                f"hosts_file: {name} of {host} is {value!r}, which is no IP address; set os_base_address for it"
            )
        if address.is_loopback or address.is_unspecified or address.is_multicast:
            raise HpcopsError(
                f"hosts_file: {name} of {host} is {value}, where no other host reaches it; set os_base_address for it"
            )
        return str(address)
    raise HpcopsError(
        f"hosts_file: {host} has no address; set os_base_address for it, or an IP address as its ansible_host"
    )


def _ip(value: Any) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(str(value))
    except ValueError:
        return None
