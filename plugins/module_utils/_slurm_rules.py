# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a set of Slurm configuration files, found without Slurm: names, types, and what refers to what.

The installed parser says nothing of a partition's nodes, a GRES or a switch's members; the controller then dies of the
first and ignores the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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
            checked: dict[tuple[str, str, str], str] = {}  # many nodes have the same values
            for entry in entries(files, name):
                found.extend(_misfits(known, entry, files, checked))
        configuration = read(files)
    except SlurmParameterError as error:
        return [*found, str(error)]
    found.extend(f"slurm.conf: {twice} is defined twice" for twice in dict.fromkeys(configuration.twice))
    found.extend(f"{uneven}; give one, or one each" for uneven in configuration.uneven)
    if not configuration.includes:  # what is defined there is not known
        found.extend(_gres(configuration))
        found.extend(_references(configuration))
        found.extend(_moves(configuration, before or {}))
    return found


# --- Names and types -------------------------------------------------------------------------------------------------


def _misfits(
    known: Schema, entry: Entry, files: Mapping[str, str | None], checked: dict[tuple[str, str, str], str]
) -> Iterator[str]:
    if entry.include:
        if entry.include in files:
            yield f"{entry.where}: it includes {entry.include}, which is not to exist"
        return
    table = known.lines.get(entry.key, known.main)
    for name, value in entry.pairs:
        once = (table.kind, name, value)
        if once not in checked:
            checked[once] = _misfit(known, table, name, value)
        if checked[once]:
            yield f"{entry.where}: {checked[once]}"
    if table is known.main and len(entry.pairs) > 1:
        yield f"{entry.where}: {', '.join(name for name, _value in entry.pairs)} need a line each"


def _misfit(known: Schema, table: Table, name: str, value: str) -> str:
    parameter = table.parameters.get(name.lower())
    if parameter is None:
        return str(known.unknown(table, name)).removeprefix(f"{known.file}: ")
    if parameter.defunct:
        return f"{parameter.name} is defunct in Slurm {known.release}; remove it"
    try:
        value_text(parameter, value)
    except BadValueError as problem:
        return f"{parameter.name} {problem}"
    return ""


# --- What is defined, and what refers to it --------------------------------------------------------------------------


def _gres(configuration: Configuration) -> Iterator[str]:
    known = _types(configuration)
    for nodes, gres in _gres_of_nodes(configuration):
        if gres not in known:
            yield f"slurm.conf: node {nodes} has the GRES {gres!r}, which {_lacking(known)}"
    for entry in configuration.gres:
        name = entry.value("Name")
        if name and name not in known:
            yield f"{entry.where}: Name is {name!r}, which {_lacking(known)}"


def _lacking(known: list[str]) -> str:
    return f"GresTypes in slurm.conf lacks (it has {_listed(known) or 'none'})"


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
    sets = configuration.nodesets
    for name, attributes in configuration.partitions.items():
        text = attributes.get("nodes", "")
        yield from _unknown(f"slurm.conf: partition {name}: Nodes", text, "node or node set", nodes, sets)
    for name, attributes in sets.items():
        yield from _unknown(f"slurm.conf: node set {name}: Nodes", attributes.get("nodes", ""), "node", nodes)
    for entry in configuration.down:
        yield from _unknown(f"{entry.where}: DownNodes", entry.pairs[0][1], "node", nodes)
    for entry in configuration.gres:
        yield from _unknown(f"{entry.where}: NodeName", entry.value("NodeName"), "node", nodes)
    switches = {entry.pairs[0][1]: entry for entry in configuration.topology if entry.key == "switchname"}
    for entry in configuration.topology:
        yield from _unknown(f"{entry.where}: Nodes", entry.value("Nodes"), "node", nodes)
        yield from _unknown(f"{entry.where}: Switches", entry.value("Switches"), "switch", switches)


def _unknown(where: str, text: str, kind: str, *known: Mapping[str, object]) -> Iterator[str]:
    """Complain of the names in a host list that are none of the known ones; ALL is all nodes."""
    try:
        names = expand(text)
    except HpcopsError as error:
        yield f"{where}: {error}"
        return
    missing = [name for name in names if not any(name in names_of for names_of in known)]
    if kind != "switch":
        missing = [name for name in missing if name.upper() != "ALL"]
    if missing:
        file = "topology.conf" if kind == "switch" else "slurm.conf"
        yield f"{where} names {_listed(missing)}; there is no such {kind} in {file}"


def _listed(names: list[str]) -> str:
    """Return some names as a text for a message."""
    if len(names) > _SHOWN:
        return f"{', '.join(names[:_SHOWN])} and {len(names) - _SHOWN} others"
    return ", ".join(names)


# --- What cannot become something else -------------------------------------------------------------------------------


def _moves(after: Configuration, files: Mapping[str, str | None]) -> Iterator[str]:
    try:
        before = read(files)
    except SlurmParameterError:  # nothing runs with such a file
        return
    old, new = before.value("ClusterName"), after.value("ClusterName")
    if not old or before.includes:
        return
    # Slurm knows clusters by their names in lower case.
    if old.lower() != new.lower() and before.value("StateSaveLocation") == after.value("StateSaveLocation"):
        yield (
            f"slurm.conf: ClusterName cannot change from {old!r} to {new!r}: the controller does not start with the state of a"
            " cluster of another name; give the new cluster a StateSaveLocation of its own"
        )
