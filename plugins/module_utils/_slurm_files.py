# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm's configuration files as data: what a controller's set of files says about nodes, partitions and parameters."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError, SlurmParameterError
from ansible_collections.hpcops.cluster.plugins.module_utils._hostlist import expand

# The files whose lines are "key=value ..." pairs; any other is only compared as a whole.
READABLE = ("slurm.conf", "cgroup.conf", "gres.conf", "topology.conf")
# A pair, as the parser's own expression has it (parse_config.c).
_PAIR = re.compile(r'\s*([A-Za-z0-9_.]+)\s*[-+/*]?=\s*(?:"([^"]*)"|(\S+))(?=\s|$)')
_COMMENT = re.compile(r"(?<!\\)#.*")
_INCLUDE = re.compile(r"\s*include\s+(\S+)\s*\Z", re.IGNORECASE)
# Spellings of one parameter.
_SAME = {"procs": "cpus", "feature": "features"}
# Values that belong to the names of a line one by one.
_ALIGNED = ("nodeaddr", "nodehostname", "bcastaddr", "port")
# Parameters that may stand several times.
REPEATED = ("slurmctldhost", "prolog", "epilog", "prologslurmctld", "epilogslurmctld")

Attributes = Mapping[str, str]


@dataclass(frozen=True)
class Entry:
    """A line of a file: its pairs in order, and where it stands."""

    where: str
    pairs: tuple[tuple[str, str], ...]

    @property
    def key(self) -> str:
        return self.pairs[0][0].lower()

    @property
    def attributes(self) -> dict[str, str]:
        """The pairs after the first, by lower-case name; of a repeated one the last counts, as for the parser."""
        return {_SAME.get(name.lower(), name.lower()): value for name, value in self.pairs[1:]}


@dataclass
class Configuration:
    """What a set of files says. Nodes and partitions have their DEFAULT lines' attributes."""

    parameters: dict[str, list[str]] = field(default_factory=dict)  # of slurm.conf, by lower-case name
    names: dict[str, str] = field(default_factory=dict)  # lower-case name to the one that is written
    nodes: dict[str, Attributes] = field(default_factory=dict)
    nodesets: dict[str, Attributes] = field(default_factory=dict)
    partitions: dict[str, Attributes] = field(default_factory=dict)
    down: list[Entry] = field(default_factory=list)
    cgroup: dict[str, list[str]] = field(default_factory=dict)
    gres: list[Entry] = field(default_factory=list)
    topology: list[Entry] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)  # files that are not read, by name
    twice: list[str] = field(default_factory=list)  # nodes and partitions that are defined again
    includes: list[str] = field(default_factory=list)  # files outside the set, whose lines are not known

    def value(self, name: str) -> str:
        """Return a parameter of slurm.conf, or an empty text."""
        return self.parameters.get(name.lower(), [""])[-1]


def read(files: Mapping[str, str | None]) -> Configuration:
    """Return what the files say, given by their names; None is a file that is not there."""
    configuration = Configuration()
    defaults: dict[str, dict[str, str]] = {"nodename": {}, "partitionname": {}}
    for entry in entries(files, "slurm.conf", configuration.includes):
        _add(configuration, entry, defaults)
    for entry in entries(files, "cgroup.conf"):
        for name, value in entry.pairs:
            configuration.names.setdefault(name.lower(), name)
            configuration.cgroup.setdefault(name.lower(), []).append(value)
    configuration.gres = list(entries(files, "gres.conf"))
    configuration.topology = list(entries(files, "topology.conf"))
    for name, text in files.items():
        if name not in READABLE and text is not None:
            configuration.others[name] = text
    return configuration


def entries(files: Mapping[str, str | None], name: str, outside: list[str] | None = None) -> Iterator[Entry]:
    """Yield the lines of a file, with those of the files of the set that it includes; others are noted in outside.

    Raises SlurmParameterError for a line that is not made of pairs.
    """
    text = files.get(name) or ""
    for number, line in _lines(text):
        include = _INCLUDE.match(line)
        if include:
            if include.group(1) in files and include.group(1) != name:
                yield from entries(files, include.group(1), outside)
            elif outside is not None:
                outside.append(include.group(1))
            continue
        pairs: list[tuple[str, str]] = []
        end = 0
        for match in iter(lambda: _PAIR.match(line, end), None):  # noqa: B023  # both are this round's
            pairs.append((match.group(1), match.group(2) if match.group(3) is None else match.group(3)))
            end = match.end()
        if line[end:].strip() or not pairs:
            raise SlurmParameterError(f"{name}: line {number} cannot be read from {line[end:].strip()!r} on")
        yield Entry(f"{name}: line {number}", tuple(pairs))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines without comments, those that end in a backslash joined with the next."""
    joined, first = "", 0
    for number, raw in enumerate(text.splitlines(), start=1):
        line = _COMMENT.sub("", raw).rstrip()
        first = first or number
        if line.endswith("\\"):
            joined += line[:-1] + " "
            continue
        if (joined + line).strip():
            yield first, joined + line
        joined, first = "", 0
    if joined.strip():
        yield first, joined


def _add(configuration: Configuration, entry: Entry, defaults: dict[str, dict[str, str]]) -> None:
    key, name = entry.key, entry.pairs[0][1]
    if key in defaults and name.upper() == "DEFAULT":
        defaults[key].update(entry.attributes)
    elif key == "nodename":
        for node, attributes in _nodes(name, {**defaults[key], **entry.attributes}, entry.where):
            if node in configuration.nodes:
                configuration.twice.append(f"node {node}")
            configuration.nodes[node] = attributes
    elif key == "partitionname":
        for partition in name.split(","):
            if partition in configuration.partitions:
                configuration.twice.append(f"partition {partition}")
            configuration.partitions[partition] = {**defaults[key], **entry.attributes}
    elif key == "nodeset":
        configuration.nodesets[name] = entry.attributes
    elif key == "downnodes":
        configuration.down.append(entry)
    else:
        for written, value in entry.pairs:
            configuration.names.setdefault(written.lower(), written)
            configuration.parameters.setdefault(written.lower(), []).append(value)


def _nodes(names: str, attributes: dict[str, str], where: str) -> Iterator[tuple[str, Attributes]]:
    """Yield the nodes of a line. Those of its values that name several belong to the nodes one by one."""
    try:
        nodes = expand(names)
        several = [key for key in _ALIGNED if "[" in attributes.get(key, "") or "," in attributes.get(key, "")]
        aligned = {key: expand(attributes[key]) for key in several}
    except HpcopsError as error:
        raise SlurmParameterError(f"{where}: {error}") from error
    for position, node in enumerate(nodes):
        own = {key: values[position] for key, values in aligned.items() if len(values) == len(nodes)}
        yield node, {**attributes, **own} if own else attributes


def members(text: str, configuration: Configuration) -> list[str]:
    """Return the names in a Nodes value: node sets are resolved where their nodes are written, ALL is every node."""
    names: list[str] = []
    for name in expand(text):
        if name.upper() == "ALL":
            names.extend(configuration.nodes)
        elif name in configuration.nodesets:
            attributes = configuration.nodesets[name]
            if attributes.get("nodes"):
                names.extend(
                    configuration.nodes if attributes["nodes"].upper() == "ALL" else expand(attributes["nodes"])
                )
            if attributes.get("features"):
                wanted = attributes["features"]
                names.extend(
                    node for node, own in configuration.nodes.items() if wanted in own.get("features", "").split(",")
                )
        else:
            names.append(name)
    return list(dict.fromkeys(names))


def partition_nodes(configuration: Configuration, partition: str) -> list[str]:
    """Return the nodes of a partition."""
    text = configuration.partitions[partition].get("nodes", "")
    return members(text, configuration) if text.strip('"') else []


def words(text: str) -> list[str]:
    """Return the parts of a list whose parts may have commas in brackets or parentheses."""
    depth = itertools.accumulate((c in "([") - (c in ")]") for c in text)
    return [
        word for word in "".join("\n" if c == "," and d == 0 else c for c, d in zip(text, depth)).split("\n") if word
    ]
