# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables and groups that an inventory's configuration makes from a host's own: compose, groups, keyed_groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import ExpressionError, InventoryError

_EMPTY = (None, "")


class Evaluator(Protocol):
    """Finds what an expression is for a host; raises ExpressionError where it is nothing."""

    def value(self, expression: Any, variables: Mapping[str, Any]) -> Any:
        """Return the expression's value."""

    def condition(self, expression: Any, variables: Mapping[str, Any]) -> bool:
        """Tell whether the condition is met."""

    def text(self, template: Any, variables: Mapping[str, Any]) -> Any:
        """Return what becomes of a text that may be a template."""


@dataclasses.dataclass
class Construction:
    """What was made for a host: variables, groups, and the parents of some of these."""

    variables: dict[str, Any] = dataclasses.field(default_factory=dict)
    groups: list[str] = dataclasses.field(default_factory=list)
    parents: list[tuple[str, str]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Rules:
    """The options of the same names."""

    compose: Mapping[str, Any]
    groups: Mapping[str, Any]
    keyed_groups: Sequence[Mapping[str, Any]]
    strict: bool = False
    leading_separator: bool = True

    def __post_init__(self) -> None:
        for entry in self.keyed_groups:
            if not isinstance(entry, Mapping) or not entry.get("key"):
                raise InventoryError("keyed_groups: each entry is a dict with a key")
            if entry.get("default_value") is not None and entry.get("trailing_separator") is not None:
                raise InventoryError("keyed_groups: default_value and trailing_separator exclude each other")

    def __bool__(self) -> bool:
        return bool(self.compose or self.groups or self.keyed_groups)

    def construct(self, host: str, variables: Mapping[str, Any], evaluator: Evaluator) -> Construction:
        """Make composed variables first, which groups and then keyed groups may use. The given ones stay as they are."""
        made = Construction()
        seen = dict(variables)
        for name, expression in self.compose.items():
            with self._tolerating(f"compose: {name}", host):
                made.variables[name] = seen[name] = evaluator.value(expression, seen)
        for name, condition in self.groups.items():
            with self._tolerating(f"groups: {name}", host):
                if evaluator.condition(condition, seen):
                    made.groups.append(name)
        for entry in self.keyed_groups:
            with self._tolerating(f"keyed_groups: {entry['key']}", host):
                self._keyed(entry, seen, evaluator, made)
        return made

    @contextmanager
    def _tolerating(self, what: str, host: str) -> Iterator[None]:
        """Leave out what has no value for the host, unless that is forbidden."""
        try:
            yield
        except ExpressionError as error:
            if self.strict:
                raise InventoryError(f"{what}: host {host}: {error}") from error

    def _keyed(
        self, entry: Mapping[str, Any], variables: Mapping[str, Any], evaluator: Evaluator, made: Construction
    ) -> None:
        value = evaluator.value(entry["key"], variables)
        if not value and (entry.get("default_value") is None or value not in _EMPTY):
            if value not in ([], {}):
                raise ExpressionError("it is empty")
            return
        parent = evaluator.text(entry["parent_group"], variables) if entry.get("parent_group") else None
        prefix = str(entry.get("prefix") or "")
        separator = str(entry.get("separator", "_"))
        joint = "" if not prefix and not self.leading_separator else separator
        for name in _names(value, entry, separator):
            made.groups.append(f"{prefix}{joint}{name}")
            if parent:
                made.parents.append((str(parent), made.groups[-1]))


def _names(value: Any, entry: Mapping[str, Any], separator: str) -> Iterator[Any]:
    default = entry.get("default_value")
    if value in _EMPTY:
        yield default
    elif isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        yield from (default if each in _EMPTY and default is not None else each for each in value)
    elif isinstance(value, Mapping):
        for key, each in value.items():
            if each not in _EMPTY:
                yield f"{key}{separator}{each}"
            elif default is not None:
                yield f"{key}{separator}{default}"
            else:
                yield key if entry.get("trailing_separator") is False else f"{key}{separator}"
    else:
        raise ExpressionError(f"names of groups are made from texts, lists and dicts, not from {type(value).__name__}")
