# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a set of Slurm configuration files, found without Slurm: names, types, and what refers to what.

The installed parser says nothing of a partition's nodes, a GRES or a switch's members; the controller then dies of the
first and ignores the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError, SlurmParameterError
from ansible_collections.hpcops.cluster.plugins.module_utils._hostlist import expand, fold
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_conf import BadValueError, value_text
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_files import (
    READABLE,
    Configuration,
    Entry,
    entries,
    read,
    words,
)
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_parameters import Schema, Table, schema

_SHOWN = 20


def problems(
    files: Mapping[str, str | None], release: str, before: Mapping[str, str | None] | None = None
) -> list[str]:
    """Return a sentence for each thing that is wrong with the files; before is the set that they replace."""
    found: list[str] = []
    try:
        for name in READABLE:
            known = schema(name, release)
            for entry in entries(files, name):
                found.extend(_misfits(known, entry))
        configuration = read(files)
        found.extend(_definitions(configuration))
        if not configuration.includes:
            found.extend(_references(configuration))
        found.extend(_moves(configuration, read(before or {})))
    except SlurmParameterError as error:
        found.append(str(error))
    return found


# --- Names and types -------------------------------------------------------------------------------------------------


def _misfits(known: Schema, entry: Entry) -> Iterator[str]:
    table = known.lines.get(entry.key, known.main)
    for name, value in entry.pairs:
        problem = _misfit(known, table, name, value)
        if problem:
            yield f"{entry.where}: {problem}"


def _misfit(known: Schema, table: Table, name: str, value: str) -> str:
    parameter = table.parameters.get(name.lower())
    if parameter is None:
        return str(known.unknown(table, name))
    if parameter.defunct:
        return f"{parameter.name} is defunct in Slurm {known.release}; remove it"
    try:
        value_text(parameter, value)
    except BadValueError as problem:
        return f"{parameter.name} {problem}"
    return ""


# --- What is defined, and what refers to it --------------------------------------------------------------------------


def _definitions(configuration: Configuration) -> Iterator[str]:
    for twice in dict.fromkeys(configuration.twice):
        yield f"slurm.conf: {twice} is defined twice"
    known = _types(configuration)
    for node, gres in _gres_of_nodes(configuration):
        if gres not in known:
            yield f"slurm.conf: node {node} has the GRES {gres!r}, which GresTypes ({_listed(known)}) lacks"


def _types(configuration: Configuration) -> list[str]:
    return [word.strip() for word in configuration.value("GresTypes").split(",") if word.strip()]


def _gres_of_nodes(configuration: Configuration) -> Iterator[tuple[str, str]]:
    """Yield each kind of GRES that nodes have, with the nodes that have it."""
    nodes: dict[str, list[str]] = {}
    for node, attributes in configuration.nodes.items():
        if attributes.get("gres"):
            nodes.setdefault(attributes["gres"], []).append(node)
    for text, names in nodes.items():
        for kind in dict.fromkeys(word.partition(":")[0].partition("(")[0] for word in words(text)):
            yield fold(names), kind


def _references(configuration: Configuration) -> Iterator[str]:
    nodes = configuration.nodes
    sets = {*configuration.nodesets, "ALL"}
    for name, attributes in configuration.partitions.items():
        yield from _unknown(f"slurm.conf: partition {name}", "Nodes", attributes.get("nodes", ""), (nodes, sets))
    for name, attributes in configuration.nodesets.items():
        yield from _unknown(f"slurm.conf: node set {name}", "Nodes", attributes.get("nodes", ""), (nodes, {"ALL"}))
    for entry in configuration.down:
        yield from _unknown(entry.where, "DownNodes", entry.pairs[0][1], (nodes, {"ALL"}))
    known = _types(configuration)
    for entry in configuration.gres:
        pairs = {name.lower(): value for name, value in entry.pairs}
        yield from _unknown(entry.where, "NodeName", pairs.get("nodename", ""), (nodes,))
        if "name" in pairs and pairs["name"] not in known:
            yield f"{entry.where}: Name is {pairs['name']!r}, which GresTypes ({_listed(known)}) in slurm.conf lacks"
    switches = {entry.pairs[0][1] for entry in configuration.topology if entry.key == "switchname"}
    for entry in configuration.topology:
        yield from _unknown(entry.where, "Nodes", entry.attributes.get("nodes", ""), (nodes,))
        below = entry.attributes.get("switches", "")
        yield from _unknown(entry.where, "Switches", below, (switches,), "switch of topology.conf")


def _unknown(
    where: str, key: str, text: str, known: Iterable[Iterable[str]], what: str = "node of slurm.conf"
) -> Iterator[str]:
    """Complain of the names in a host list that none of the collections has."""
    if not text.strip('"'):
        return
    try:
        names = expand(text)
    except HpcopsError as error:
        yield f"{where}: {key}: {error}"
        return
    missing = [name for name in names if not any(name in names_of for names_of in known)]
    if missing:
        are = (
            f"are no {what.replace('switch', 'switches', 1).replace('node', 'nodes', 1)}"
            if len(missing) > 1
            else f"is no {what}"
        )
        yield f"{where}: {key} names {_listed(missing)}, which {are}"


def _listed(names: list[str]) -> str:
    """Return some names as a text for a message."""
    if len(names) > _SHOWN:
        return f"{', '.join(names[:_SHOWN])} and {len(names) - _SHOWN} others"
    return ", ".join(names) or "which is empty"


# --- What cannot become something else -------------------------------------------------------------------------------


def _moves(after: Configuration, before: Configuration) -> Iterator[str]:
    old, new = before.value("ClusterName"), after.value("ClusterName")
    if old and old != new and before.value("StateSaveLocation") == after.value("StateSaveLocation"):
        yield (
            f"slurm.conf: ClusterName cannot change from {old!r} to {new!r}: the controller does not start with the state of a"
            " cluster of another name; give the new cluster a StateSaveLocation of its own"
        )
