# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Some variables of many hosts, read from Ansible's hostvars without paying for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleError
from jinja2.exceptions import UndefinedError

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


def read_scalars(
    hosts: Iterable[Any], hostvars: Mapping[str, Any], names: Sequence[str], who: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each host once, in the given order, with those of the named variables that it has.

    Ansible merges all variables of a host at each look-up and passes each value through its template engine. So a host
    is looked up without templating first, and once more only where a value may be a template.
    """
    look_up = getattr(hostvars, "raw_get", hostvars.get)
    for host in dict.fromkeys(hosts):
        variables = look_up(host)
        if not isinstance(variables, Mapping):
            raise HpcopsError(f"{who}: {host!r} is no host of the inventory; correct the list of hosts")
        values = {name: variables[name] for name in names if name in variables}
        if any(isinstance(value, str) and ("{" in value or value.startswith("#jinja2:")) for value in values.values()):
            variables = hostvars[host]
            values = {name: _templated(host, name, variables, who) for name in values}
        yield host, values


def _templated(host: str, name: str, variables: Mapping[str, Any], who: str) -> Any:
    try:
        value = variables[name]
        bool(value)  # which an undefined value refuses
    except (AnsibleError, UndefinedError) as error:
        raise HpcopsError(f"{who}: {name} of {host} is a template that fails: {error}") from error
    return value
