# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each Slurm release parses: the names and types in slurm_parameters.json, which were read from its sources."""

from __future__ import annotations

import difflib
import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import SlurmParameterError

if TYPE_CHECKING:
    from collections.abc import Mapping

_RELEASE = re.compile(r"([0-9]{2}\.[0-9]{2})(?:[.-].*)?\Z")
_MAIN = "main"
# The keys that open a line, the first that a line has being its kind. gres.conf has one table for all its lines.
_GRES_LINES = ("NodeName", "Name", "AutoDetect")
_GRES_GLOBAL = ("AutoDetect",)


@dataclass(frozen=True)
class Parameter:
    """A name that a release parses; its type is the parser's own, C(array) being a name that may be repeated."""

    name: str
    type: str
    defunct: bool = False


@dataclass(frozen=True)
class Table:
    """The parameters of one place, the file itself or one kind of line, by lower-case name."""

    kind: str
    parameters: Mapping[str, Parameter]


@dataclass(frozen=True)
class Schema:
    """A configuration file as one release parses it."""

    file: str
    release: str
    main: Table
    lines: Mapping[str, Table]

    def unknown(self, table: Table, name: str, where: str = "") -> SlurmParameterError:
        """Return the error for a name that the table lacks; it says where the name would be known."""
        of = f"of a {table.kind} line in" if table.kind else "of"
        message = f"{where or self.file}: {name!r} is not a parameter {of} Slurm {self.release}"
        lower = name.lower()
        homes = [line.kind for line in self.lines.values() if lower in line.parameters]
        elsewhere = types_in_releases(self.file, table.kind, name)
        near = difflib.get_close_matches(lower, table.parameters, n=1, cutoff=0.75)
        if not table.kind and lower in self.lines:
            message += " by itself: it opens a line; give it in lines"
        elif not table.kind and homes:
            message += f"; it belongs on a {' or '.join(homes)} line"
        elif table.kind and lower in self.main.parameters:
            message += "; it is a parameter of the whole file"
        elif elsewhere:
            message += f"; known in {', '.join(elsewhere)}"
        elif near:
            message += f"; did you mean {table.parameters[near[0]].name}?"
        return SlurmParameterError(message)


def files() -> list[str]:
    """Return the names of the files whose parameters are known."""
    return sorted(_data())


@functools.cache
def schema(file: str, release: str) -> Schema:
    """Return what a release parses in a file; a release without a table of its own has the nearest older one's."""
    if file not in _data():
        raise SlurmParameterError(f"{file!r} is not a file whose parameters are known: {', '.join(files())}")
    wanted = short_release(release)
    older = [known for known in _data()[file] if known <= wanted]
    if not older:
        raise SlurmParameterError(f"Slurm {wanted} is older than the oldest release known, {min(_data()[file])}")
    tables = _data()[file][max(older)]
    if file == "gres.conf":
        every = _parameters(tables[_MAIN])
        lines = {kind.lower(): Table(kind, every) for kind in _GRES_LINES}
        main = Table("", {name.lower(): every[name.lower()] for name in _GRES_GLOBAL})
    else:
        lines = {kind.lower(): _line_table(kind, names) for kind, names in tables.items() if kind != _MAIN}
        # What opens a line is in the parser's main table too, as an array of lines.
        own = {name: parameter for name, parameter in _parameters(tables[_MAIN]).items() if name not in lines}
        main = Table("", own)
    return Schema(file, wanted, main, lines)


def types_in_releases(file: str, kind: str, name: str) -> dict[str, str]:
    """Return the parameter's type by release, for the releases in whose table of this kind it is."""
    place = kind if kind and file != "gres.conf" else _MAIN
    lower = name.lower()
    return {
        release: str(entry["type"])
        for release, tables in _data()[file].items()
        for known, entry in tables.get(place, {}).items()
        if known.lower() == lower
    }


def short_release(release: object) -> str:
    """Return a release as Slurm's two numbers: 24.11 for 24.11.5-4 (and for YAML's number 24.11)."""
    match = _RELEASE.match(str(release))
    if not match:
        raise SlurmParameterError(f"release {release!r} is not a Slurm release such as '24.11'")
    return match.group(1)


def _line_table(kind: str, names: Mapping[str, Mapping[str, Any]]) -> Table:
    return Table(kind, {kind.lower(): Parameter(kind, "string"), **_parameters(names)})


def _parameters(names: Mapping[str, Mapping[str, Any]]) -> dict[str, Parameter]:
    return {
        name.lower(): Parameter(name, str(entry["type"]), bool(entry.get("defunct", False)))
        for name, entry in names.items()
    }


@functools.cache
def _data() -> dict[str, dict[str, dict[str, dict[str, dict[str, Any]]]]]:
    text = Path(__file__).with_name("slurm_parameters.json").read_text(encoding="utf-8")
    return cast("dict[str, dict[str, dict[str, dict[str, dict[str, Any]]]]]", json.loads(text)["files"])
