# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Expressions of an inventory's configuration, evaluated for many hosts.

Paths such as labels.rack, comparisons of them with constants, and these joined by and, or and not are read here, several
times faster than by a template engine. They mean what Jinja makes of them; whatever else there is, is left to Jinja.
"""

from __future__ import annotations

import ast
import functools
import operator
import re
from collections.abc import Mapping
from typing import Any, Callable

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import ExpressionError

Reader = Callable[[Mapping[str, Any]], Any]

_CONSTANTS = {"true": True, "false": False, "none": None}
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda value, container: value in container,
    ast.NotIn: lambda value, container: value not in container,
}
# Jinja finds an object's attributes before a mapping's keys.
_ATTRIBUTES = frozenset(name for kind in (dict, list, tuple, str, int, float) for name in dir(kind))
_TEXT = re.compile(r"'[^']*'|\"[^\"]*\"")
# Where Python and Jinja read differently, once the texts are taken out: comments, and letters before a text.
_AMBIGUOUS = re.compile(r"#|\w\0|\0\w")


class _NotSimple(Exception):  # noqa: N818  # nothing went wrong
    """The expression is Jinja's business."""


@functools.lru_cache(maxsize=1024)
def native(expression: str) -> Reader | None:
    """Return what reads the expression's value from a host's variables; None where only Jinja can."""
    if "\\" in expression or "\0" in expression or _AMBIGUOUS.search(_TEXT.sub("\0", expression)):
        return None
    try:
        return _read(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError, _NotSimple):
        return None


def _read(node: ast.expr) -> Reader:
    if isinstance(node, ast.Constant):
        return _constant(node.value)
    if isinstance(node, ast.Name):
        return _constant(_CONSTANTS[node.id]) if node.id in _CONSTANTS else _item(None, node.id, node.id)
    if isinstance(node, ast.Attribute):
        return _item(_read(node.value), _key(node.attr), ast.unparse(node))
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return _item(_read(node.value), _key(node.slice.value), ast.unparse(node))
    if isinstance(node, (ast.List, ast.Tuple)):
        readers = [_read(element) for element in node.elts]
        make: Callable[[Any], Any] = list if isinstance(node, ast.List) else tuple
        return lambda variables: make(reader(variables) for reader in readers)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        inner = _read(node.operand)
        return lambda variables: not inner(variables)
    if isinstance(node, ast.BoolOp):
        return _joined([_read(value) for value in node.values], isinstance(node.op, ast.And))
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        return _comparison(node.left, node.ops[0], node.comparators[0])
    raise _NotSimple


def _constant(value: Any) -> Reader:
    if value is None or isinstance(value, (str, bool, int, float)):
        return lambda _variables: value
    raise _NotSimple


def _key(key: Any) -> Any:
    if isinstance(key, str) and not key.startswith("_") and key not in _ATTRIBUTES:
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        return key
    raise _NotSimple


def _item(of: Reader | None, key: Any, shown: str) -> Reader:
    def read(variables: Mapping[str, Any]) -> Any:
        value = variables if of is None else of(variables)
        if isinstance(value, Mapping) or (isinstance(key, int) and isinstance(value, (list, tuple, str))):
            try:
                return value[key]
            except LookupError:
                pass
        raise ExpressionError(f"{shown} is undefined")

    return read


def _joined(readers: list[Reader], is_and: bool) -> Reader:
    def read(variables: Mapping[str, Any]) -> Any:
        value: Any = is_and
        for reader in readers:
            value = reader(variables)
            if bool(value) is not is_and:
                break
        return value

    return read


def _comparison(left: ast.expr, how: ast.cmpop, right: ast.expr) -> Reader:
    if isinstance(how, (ast.Is, ast.IsNot)):
        return _is_defined(left, right, isinstance(how, ast.Is))
    compare = _COMPARE[type(how)]
    one, other = _read(left), _read(right)

    def read(variables: Mapping[str, Any]) -> Any:
        try:
            return compare(one(variables), other(variables))
        except TypeError as error:
            raise ExpressionError(str(error)) from error

    return read


def _is_defined(left: ast.expr, right: ast.expr, wanted: bool) -> Reader:
    if not isinstance(right, ast.Name) or right.id != "defined" or not isinstance(left, (ast.Name, ast.Attribute)):
        raise _NotSimple
    reader = _read(left)

    def read(variables: Mapping[str, Any]) -> bool:
        try:
            reader(variables)
        except ExpressionError:
            return not wanted
        return wanted

    return read
