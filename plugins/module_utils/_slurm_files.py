# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm's configuration files as data: what a controller's set of files says about nodes, partitions and parameters."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError, SlurmParameterError
from ansible_collections.hpcops.cluster.plugins.module_utils._hostlist import expand

# The files whose lines are "key=value ..." pairs; any other is only compared as a whole.
READABLE = ("slurm.conf", "cgroup.conf", "gres.conf", "topology.conf")
# A pair, as the parser's own expression has it (parse_config.c).
_PAIR = re.compile(r'\s*([A-Za-z0-9_.]+)\s*[-+/*]?=\s*(?:"([^"]*)"|(\S+))(?=\s|$)', re.ASCII)
_INCLUDE = re.compile(r"\s*include\s+(\S+)\s*\Z", re.ASCII | re.IGNORECASE)
_BLANKS = " \t\r\f\v"
# A backslash takes the meaning of the character after it; at a line's end, that of the end.
_BEFORE_COMMENT = re.compile(r"(?:[^\\#]|\\.|\\\Z)*")
_ESCAPED = re.compile(r"\\(.?)")
_BLANK = re.compile(r"\s")
# Spellings of one parameter of a node.
_SAME = {"procs": "cpus", "feature": "features"}
# Values that belong to the names of a line one by one.
ALIGNED = {"nodeaddr": "NodeAddr", "nodehostname": "NodeHostname", "bcastaddr": "BcastAddr", "port": "Port"}
# Parameters that may stand several times.
REPEATED = ("slurmctldhost", "prolog", "epilog", "prologslurmctld", "epilogslurmctld")
# Lines that are only compared.
_LINES = ("frontendname", "poweraction")

Attributes = Mapping[str, str]


@dataclass(frozen=True)
class Entry:
    """A line of a file: where it stands, and its pairs in order, or the file that it includes."""

    file: str
    line: int
    pairs: tuple[tuple[str, str], ...] = ()
    include: str = ""

    @property
    def where(self) -> str:
        return f"{self.file}: line {self.line}"

    @property
    def key(self) -> str:
        return self.pairs[0][0].lower()

    @property
    def attributes(self) -> dict[str, str]:
        """The pairs after the first, by lower-case name; of a repeated one the last counts, as for the parser."""
        return {name.lower(): value for name, value in self.pairs[1:]}

    def value(self, name: str) -> str:
        """Return the value of a name, or an empty text."""
        return {key.lower(): value for key, value in self.pairs}.get(name.lower(), "")

    @property
    def written(self) -> list[str]:
        """The pairs as the parser reads them back."""
        return [f"{name}={_quoted(value)}" for name, value in self.pairs]


@dataclass
class Configuration:
    """What a set of files says. Nodes and partitions have their DEFAULT lines' attributes."""

    parameters: dict[str, list[str]] = field(default_factory=dict)  # of slurm.conf, by lower-case name
    names: dict[str, str] = field(default_factory=dict)  # lower-case name to the one that is written
    nodes: dict[str, Attributes] = field(default_factory=dict)
    nodesets: dict[str, Attributes] = field(default_factory=dict)
    partitions: dict[str, Attributes] = field(default_factory=dict)
    down: list[Entry] = field(default_factory=list)
    lines: list[Entry] = field(default_factory=list)  # of other kinds, such as PowerAction
    cgroup: dict[str, list[str]] = field(default_factory=dict)
    gres: list[Entry] = field(default_factory=list)
    topology: list[Entry] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)  # files that are not read, by name
    twice: list[str] = field(default_factory=list)  # nodes and partitions that are defined again
    uneven: list[str] = field(default_factory=list)  # lines whose addresses are neither one nor one for each node
    includes: list[str] = field(default_factory=list)  # files outside the set, whose lines are not known

    def value(self, name: str) -> str:
        """Return a parameter of slurm.conf, or an empty text."""
        return self.parameters.get(name.lower(), [""])[-1]


def read(files: Mapping[str, str | None]) -> Configuration:
    """Return what the files say, given by their names; None is a file that is not there. It is not to be changed."""
    return _read(tuple(files.items()))


@functools.lru_cache(maxsize=4)  # planning and checking read the same two sets
def _read(items: tuple[tuple[str, str | None], ...]) -> Configuration:
    files = dict(items)
    configuration = Configuration()
    defaults: dict[str, dict[str, str]] = {"nodename": {}, "partitionname": {}}
    lines = {name: list(entries(files, name)) for name in READABLE}
    were_read = set(READABLE)
    for name in READABLE:
        were_read.update(entry.file for entry in lines[name])
        configuration.includes.extend(entry.include for entry in lines[name] if entry.include)
        lines[name] = [entry for entry in lines[name] if not entry.include]
    for entry in lines["slurm.conf"]:
        _add(configuration, entry, defaults)
    for entry in lines["cgroup.conf"]:
        for parameter, value in entry.pairs:
            configuration.names.setdefault(parameter.lower(), parameter)
            configuration.cgroup.setdefault(parameter.lower(), []).append(value)
    configuration.gres, configuration.topology = lines["gres.conf"], lines["topology.conf"]
    for name, text in files.items():
        if name not in were_read and text is not None:
            configuration.others[name] = text
    return configuration


def entries(files: Mapping[str, str | None], name: str, within: tuple[str, ...] = ()) -> Iterator[Entry]:
    """Yield the lines of a file, with those of the files of the set that it includes; other includes as they are.

    Raises SlurmParameterError for a line that is not made of pairs, and for a file that includes itself.
    """
    for entry in _parsed(name, files.get(name) or ""):
        if entry.include in (name, *within):
            raise SlurmParameterError(f"{entry.where}: {entry.include} includes itself")
        if entry.include and files.get(entry.include) is not None:
            yield from entries(files, entry.include, (name, *within))
        else:
            yield entry


@functools.lru_cache(maxsize=16)  # planning, checking and trying read the same few texts
def _parsed(name: str, text: str) -> tuple[Entry, ...]:
    found: list[Entry] = []
    for number, line in _lines(text):
        include = _INCLUDE.match(line)
        if include:
            found.append(Entry(name, number, include=include.group(1)))
            continue
        found.append(Entry(name, number, _plain_pairs(line) or _pairs(line, f"{name}: line {number}")))
    return tuple(found)


def _pairs(line: str, where: str) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    end = 0
    while match := _PAIR.match(line, end):
        pairs.append((match.group(1), match.group(2) if match.group(3) is None else match.group(3)))
        end = match.end()
    left = line[end:].strip(_BLANKS)
    if left or not pairs:
        raise SlurmParameterError(f"{where} cannot be read from {left!r} on")
    return tuple(pairs)


def _plain_pairs(line: str) -> tuple[tuple[str, str], ...]:
    """Return the pairs of a line that has nothing special, or none: most of a long file is such lines, and much alike."""
    if '"' in line or not (line.isascii() and line.isprintable()):
        return ()
    pairs = tuple(map(_plain_pair, line.split()))
    return () if ("", "") in pairs else pairs


@functools.lru_cache(maxsize=65536)
def _plain_pair(text: str) -> tuple[str, str]:
    key, _equals, value = text.partition("=")
    return (key, value) if value and key.isidentifier() else ("", "")


def forget() -> None:
    """Read everything anew from now on."""
    _read.cache_clear()
    _parsed.cache_clear()
    _plain_pair.cache_clear()


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines without comments and escapes, those that end in a backslash joined with the next."""
    joined, first = "", 0
    for number, raw in enumerate(text.split("\n"), start=1):
        match = _BEFORE_COMMENT.match(raw) if "#" in raw else None
        line = (match.group() if match else raw).rstrip(_BLANKS)
        first = first or number
        if (len(line) - len(line.rstrip("\\"))) % 2:
            joined += line[:-1]
            continue
        if joined or line:
            yield from _unescaped(first, joined + line)
        joined, first = "", 0
    yield from _unescaped(first, joined)


def _unescaped(number: int, line: str) -> Iterator[tuple[int, str]]:
    if "\\" in line:
        line = _ESCAPED.sub(r"\1", line)
    if line.strip(_BLANKS):
        yield number, line


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("#", "\\#")
    return escaped if value and not _BLANK.search(value) else f'"{escaped}"'


def _add(configuration: Configuration, entry: Entry, defaults: dict[str, dict[str, str]]) -> None:
    key, name = entry.key, entry.pairs[0][1]
    if key in defaults and name.upper() == "DEFAULT":
        defaults[key].update(_node_attributes(entry) if key == "nodename" else entry.attributes)
    elif key == "nodename":
        _add_nodes(configuration, entry, {**defaults[key], **_node_attributes(entry)})
    elif key == "partitionname":
        for partition in name.split(","):
            if partition in configuration.partitions:
                configuration.twice.append(f"partition {partition}")
            configuration.partitions[partition] = {**defaults[key], **entry.attributes}
    elif key == "nodeset":
        configuration.nodesets[name] = entry.attributes
    elif key == "downnodes":
        configuration.down.append(entry)
    elif key in _LINES:
        configuration.lines.append(entry)
    else:
        for written, value in entry.pairs:
            configuration.names.setdefault(written.lower(), written)
            configuration.parameters.setdefault(written.lower(), []).append(value)


def _node_attributes(entry: Entry) -> dict[str, str]:
    return {_SAME.get(name, name): value for name, value in entry.attributes.items()}


def _add_nodes(configuration: Configuration, entry: Entry, attributes: dict[str, str]) -> None:
    """Add the nodes of a line. Those of its values that name several belong to the nodes one by one."""
    try:
        nodes = expand(entry.pairs[0][1])
        several = [key for key in ALIGNED if "[" in attributes.get(key, "") or "," in attributes.get(key, "")]
        aligned = {key: expand(attributes[key]) for key in several}
    except HpcopsError as error:
        raise SlurmParameterError(f"{entry.where}: {error}") from error
    for key, values in aligned.items():
        if len(values) == 1:
            aligned[key] = values * len(nodes)
        elif len(values) != len(nodes):
            configuration.uneven.append(
                f"{entry.where}: {ALIGNED[key]} has {len(values)} values for {len(nodes)} nodes"
            )
            aligned[key] = [attributes[key]] * len(nodes)
    for position, node in enumerate(nodes):
        if node in configuration.nodes:
            configuration.twice.append(f"node {node}")
        own = {key: values[position] for key, values in aligned.items()}
        configuration.nodes[node] = {**attributes, **own} if own else attributes


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
            if attributes.get("feature"):
                wanted = attributes["feature"]
                names.extend(
                    node for node, own in configuration.nodes.items() if wanted in own.get("features", "").split(",")
                )
        else:
            names.append(name)
    return list(dict.fromkeys(names))


def partition_nodes(configuration: Configuration, partition: str) -> list[str]:
    """Return the nodes of a partition."""
    text = configuration.partitions[partition].get("nodes", "")
    return members(text, configuration) if text else []


def words(text: str) -> list[str]:
    """Return the parts of a list whose parts may have commas in brackets or parentheses."""
    depth = itertools.accumulate((c in "([") - (c in ")]") for c in text)
    return [
        word for word in "".join("\n" if c == "," and d == 0 else c for c, d in zip(text, depth)).split("\n") if word
    ]
