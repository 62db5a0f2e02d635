# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the filter plugins share: the collection's errors as Ansible's, and a list that is one."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any, Callable, TypeVar

from ansible.errors import AnsibleFilterError

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError

Result = TypeVar("Result")


def raises_filter_errors(function: Callable[..., Result]) -> Callable[..., Result]:
    """Let a filter's errors be Ansible's."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Result:
        try:
            return function(*args, **kwargs)
        except HpcopsError as error:
            raise AnsibleFilterError(str(error)) from error

    return wrapped


def as_list(value: Any, what: str) -> list[Any]:
    """Return a list, tuple, set or generator as a list; a text or mapping is refused, though it could be iterated."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise HpcopsError(f"{what} must be a list, not {type(value).__name__}")
    return list(value)


def as_mapping(value: Any, what: str) -> Mapping[str, Any]:
    """Return a mapping whose keys are texts."""
    if not isinstance(value, Mapping):
        raise HpcopsError(f"{what} must be a mapping, not {type(value).__name__}")
    wrong = [key for key in value if not isinstance(key, str)]
    if wrong:
        raise HpcopsError(f"{what} has the key {wrong[0]!r}; keys are texts (quote it in YAML)")
    return value
