# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Some variables of many hosts, read from Ansible's hostvars without paying for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable

from ansible.errors import AnsibleError
from jinja2.exceptions import UndefinedError

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def read_variables(
    hosts: Iterable[Any], hostvars: Any, wanted: Callable[[str], bool], who: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each host once, in the given order, with the variables whose names are wanted; who asks is in the errors.

    Ansible merges all variables of a host at each look-up and passes each value through its template engine, which
    takes longer than everything else that the callers do. So a host is looked up once, without templating, and once
    more only where a value may be a template.
    """
    if not isinstance(hostvars, Mapping):
        raise HpcopsError(f"{who}: hostvars must be a mapping of hosts, not {type(hostvars).__name__}")
    look_up = getattr(hostvars, "raw_get", hostvars.get)
    for host in dict.fromkeys(hosts):
        variables = look_up(host)
        if not isinstance(variables, Mapping):
            raise HpcopsError(f"{who}: {host!r} is no host of the inventory; correct the list of hosts")
        values = {name: variables[name] for name in variables if wanted(name)}
        templates = [name for name, value in values.items() if not _is_plain(value)]
        if templates:
            variables = hostvars[host]
            values.update((name, _value(host, name, variables)) for name in templates)
        yield host, values


def _is_plain(value: Any) -> bool:
    """Tell whether a value is none of Ansible's templates, vaulted texts and undefined values."""
    if isinstance(value, str):
        return "{" not in value and not value.startswith("#jinja2:")
    if isinstance(value, (list, tuple)):
        return all(_is_plain(each) for each in value)
    return value is None or isinstance(value, (int, float))


def _value(host: str, name: str, variables: Mapping[str, Any]) -> Any:
    try:
        return _resolved(variables[name])
    except (AnsibleError, UndefinedError) as error:
        raise HpcopsError(f"host {host}: {name} is a template that fails: {error}") from error


def _resolved(value: Any) -> Any:
    """Return a value without templates inside: Ansible resolves those of lists and mappings when they are read."""
    if isinstance(value, Mapping):
        return {key: _resolved(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_resolved(each) for each in value]
    bool(value)  # which an undefined value refuses
    return value
