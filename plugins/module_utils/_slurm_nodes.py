# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts and their slurm_node_* variables to the NodeName lines of slurm.conf: equal nodes share a line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Union

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError, NodeVariableError
from ansible_collections.hpcops.cluster.plugins.module_utils._hostlist import (
    check_name,
    fold_ordered,
    precedes,
    split_number,
)
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_conf import BadValueError, value_text
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_parameters import Schema, schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Scalar = Union[str, int]
_Order = tuple[str, int, str]

PREFIX = "slurm_node_"
NAME_VARIABLE = f"{PREFIX}name"
# Host variable (without the prefix) to parameter, in the order in which a line has them.
_PARAMETERS = {
    "addr": "NodeAddr",
    "hostname": "NodeHostname",
    "port": "Port",
    "cpus": "CPUs",
    "boards": "Boards",
    "sockets": "Sockets",
    "sockets_per_board": "SocketsPerBoard",
    "cores_per_socket": "CoresPerSocket",
    "threads_per_core": "ThreadsPerCore",
    "real_memory": "RealMemory",
    "mem_spec_limit": "MemSpecLimit",
    "core_spec_count": "CoreSpecCount",
    "tmp_disk": "TmpDisk",
    "weight": "Weight",
    "features": "Features",
    "gres": "Gres",
    "state": "State",
}
VARIABLES = frozenset({"name", *_PARAMETERS, "parameters"})
_LISTS = ("Features", "Gres")
_RANK = {parameter: rank for rank, parameter in enumerate(_PARAMETERS.values())}
# The other spellings under which the parser knows a parameter.
_SAME = {"Procs": "CPUs", "Feature": "Features"}
# These may differ between the nodes of one line, where their values belong to the names one by one.
_ALIGNED = ("NodeAddr", "NodeHostname", "BcastAddr", "Port")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\Z")
_DECIMAL = re.compile(r"(?:0|[1-9][0-9]*)\Z")
_RESERVED = ("ALL", "DEFAULT")


def fold_nodes(hosts: Iterable[tuple[str, Mapping[str, Any]]], *, release: object) -> list[dict[str, Scalar]]:
    """Return the lines for the hosts, each given as its inventory name and its slurm_node_* variables."""
    reader = _Reader(schema("slurm.conf", str(release)))
    owners: dict[str, str] = {}
    groups: dict[tuple[tuple[str, Any], ...], list[_Node]] = {}
    for host, variables in hosts:
        name, attributes = reader.node(host, variables)
        if name in owners:
            raise NodeVariableError(
                f"hosts {owners[name]} and {host} are both the Slurm node {name}; give one of them another {NAME_VARIABLE}"
            )
        owners[name] = host
        aligned = {key: str(attributes.pop(key)) for key in _ALIGNED if key in attributes}
        common = (*((key, "") for key in aligned), *sorted(attributes.items()))
        groups.setdefault(common, []).append(_Node(name, aligned))
    lines: list[tuple[_Order, dict[str, Scalar]]] = []
    for common, nodes in groups.items():
        nodes.sort(key=lambda node: node.order)
        lines.extend((run[0].order, _line(run, dict(common))) for run in _runs(nodes))
    return [line for _order, line in sorted(lines, key=lambda pair: pair[0])]


def node_name(host: str, given: Any = None) -> str:
    """Return the name of a host's node: the one given, else the host's own up to the first dot."""
    if given is None:
        name = host.partition(".")[0]
        if name.isdigit():
            raise NodeVariableError(f"host {host}: an address has no short name; give the host {PREFIX}name")
    else:
        name = str(given)
    if not _NAME.match(name) or name.upper() in _RESERVED or isinstance(given, (bool, list, Mapping)):
        raise NodeVariableError(
            f"host {host}: {name!r} cannot be the name of a Slurm node; give the host a {PREFIX}name"
            " of letters, digits, '-', '_' and '.'"
        )
    return name


class _Node:
    """A node's name, and those of its values that the other nodes of its line need not share."""

    __slots__ = ("aligned", "name", "order")

    def __init__(self, name: str, aligned: dict[str, str]) -> None:
        prefix, number = split_number(name)
        self.name = name
        self.aligned = aligned
        self.order: _Order = (prefix, len(number), number)


class _Reader:
    """Reads hosts' variables; a value that many hosts have is checked once."""

    def __init__(self, known: Schema) -> None:
        self._known = known
        self._table = known.lines["nodename"]
        self._checked: dict[tuple[str, type, Any], Scalar] = {}

    def node(self, host: str, variables: Mapping[str, Any]) -> tuple[str, dict[str, Scalar]]:
        """Return the name of a host's node and its parameters."""
        attributes: dict[str, Scalar] = {}
        for variable, value in variables.items():
            parameter = _PARAMETERS.get(variable[len(PREFIX) :])
            if parameter is None:
                _check_variable(host, variable)
            elif value is not None and (text := self._value(host, variable, parameter, value)) != "":
                attributes[parameter] = text
        extra = variables.get(f"{PREFIX}parameters")
        if extra is not None:
            self._add(host, attributes, extra)
        name = node_name(host, variables.get(NAME_VARIABLE))
        # What Slurm takes in their absence is not written.
        if attributes.get("NodeHostname") == name:
            del attributes["NodeHostname"]
        if "NodeAddr" in attributes and attributes["NodeAddr"] == attributes.get("NodeHostname", name):
            del attributes["NodeAddr"]
        return name, attributes

    def _value(self, host: str, variable: str, parameter: str, value: Any) -> Scalar:
        if parameter in _LISTS and isinstance(value, (list, tuple)):
            value = tuple(value)
        elif isinstance(value, (list, tuple, Mapping)):
            raise NodeVariableError(f"host {host}: {variable} is a {_kind(value)}; give one value")
        key = (parameter, type(value), value)
        try:
            if key not in self._checked:
                self._checked[key] = self._parsed(parameter, value)
            return self._checked[key]
        except TypeError as problem:  # an element of the list has no hash, so it is a list or mapping itself
            raise NodeVariableError(f"host {host}: {variable} must be a list of texts") from problem
        except HpcopsError as problem:
            raise NodeVariableError(f"host {host}: {variable} {problem}") from problem

    def _parsed(self, parameter: str, value: Any) -> Scalar:
        text = value_text(self._table.parameters[parameter.lower()], value)
        if text == "" and isinstance(value, str):
            raise BadValueError("is empty; leave it out, or give a value")
        if parameter == "Port":
            if isinstance(value, bool) or not (_DECIMAL.match(text) and 0 < int(text) < 65536):
                raise BadValueError(f"is {text!r}; it must be a port number from 1 to 65535")
        elif parameter in _ALIGNED:
            check_name(text)
        elif self._table.parameters[parameter.lower()].type == "string":
            return text
        return int(text) if _DECIMAL.match(text) else text

    def _add(self, host: str, attributes: dict[str, Scalar], extra: Any) -> None:
        variable = f"{PREFIX}parameters"
        if not isinstance(extra, Mapping):
            raise NodeVariableError(f"host {host}: {variable} must be a mapping of NodeName's parameters to values")
        for name, value in extra.items():
            known = self._table.parameters.get(str(name).lower())
            if known is None:
                unknown = self._known.unknown(self._table, str(name), f"host {host}: {variable}")
                raise NodeVariableError(str(unknown)) from unknown
            if known.name == self._table.kind:
                raise NodeVariableError(f"host {host}: {variable} has {name}; give {PREFIX}name instead")
            parameter = _SAME.get(known.name, known.name)
            if value is None:
                attributes.pop(parameter, None)
                continue
            try:
                attributes[parameter] = self._parsed(parameter, value)
            except HpcopsError as problem:
                raise NodeVariableError(f"host {host}: {variable}: {name} {problem}") from problem


def _check_variable(host: str, variable: str) -> None:
    suffix = variable[len(PREFIX) :]
    if suffix in VARIABLES:
        return
    near = difflib.get_close_matches(suffix, VARIABLES, n=1)
    hint = f"did you mean {PREFIX}{near[0]}?" if near else f"other parameters go into {PREFIX}parameters"
    raise NodeVariableError(f"host {host}: {variable} is not a variable of a node; {hint}")


def _kind(value: Any) -> str:
    return "mapping" if isinstance(value, Mapping) else "list"


def _runs(nodes: list[_Node]) -> Iterator[list[_Node]]:
    """Cut the nodes where one line could not say their addresses in brackets."""
    run = [nodes[0]]
    steps: dict[str, str] = {}
    for node in nodes[1:]:
        aligned = run[-1].aligned
        next_steps = {key: _step(aligned[key], value) for key, value in node.aligned.items()}
        if all(step and steps.get(key, step) == step for key, step in next_steps.items()):
            run.append(node)
            steps = next_steps
        else:
            yield run
            run, steps = [node], {}
    yield run


def _step(value: str, following: str) -> str:
    """Tell how one node's value leads to the next one's: C(same), C(rising), or not at all."""
    if value == following:
        return "same"
    prefix, number = split_number(value)
    next_prefix, next_number = split_number(following)
    return "rising" if number and prefix == next_prefix and precedes(number, next_number) else ""


def _line(run: list[_Node], common: dict[str, Any]) -> dict[str, Scalar]:
    line: dict[str, Scalar] = {"NodeName": fold_ordered(node.name for node in run)}
    for key in run[0].aligned:
        values = [node.aligned[key] for node in run]
        common[key] = values[0] if values[0] == values[-1] else fold_ordered(values)
    for parameter in sorted(common, key=lambda parameter: (_RANK.get(parameter, len(_RANK)), parameter)):
        line[parameter] = common[parameter]
    return line
