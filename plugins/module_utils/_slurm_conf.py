# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm's configuration files from data: merge, check against what the release parses, render."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError, SlurmParameterError
from ansible_collections.hpcops.cluster.plugins.module_utils._hostlist import expand, fold, fold_ordered
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_parameters import (
    Parameter,
    Schema,
    Table,
    schema,
    types_in_releases,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

# A text that needs neither quotation marks nor a backslash.
_PLAIN = re.compile(r'[^\s"#\\\x00-\x1f\x7f]+\Z')
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# What strtoul() reads with base 0, and the one suffix that follows it in 32 and 64 bits (parse_value.c).
_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)([kK]?)\Z")
_INFINITE = ("UNLIMITED", "INFINITE")
_BITS = {"uint16": 16, "uint32": 32, "uint64": 64}
_BOOLEANS = ("yes", "up", "true", "1", "no", "down", "false", "0")
# Never shown in a message.
_SECRETS = ("storagepass", "jobcomppass")
# Values of a line that are host lists. Those in _ALIGNED belong to the names one by one, so their order is kept.
_HOSTLISTS = frozenset(("nodename", "nodes", "downnodes", "frontendname", "switches"))
_ALIGNED = frozenset(("nodeaddr", "nodehostname", "bcastaddr", "port"))


class BadValueError(HpcopsError):
    """A value that the parser would refuse: the end of a sentence that begins with the parameter's name."""


def render(
    params: Mapping[str, Any],
    *,
    release: object,
    file: str = "slurm.conf",
    defaults: Mapping[str, Any] | None = None,
    lines: Iterable[Mapping[str, Any]] = (),
) -> str:
    """Return the text of a configuration file: the parameters, then the lines."""
    known = schema(file, str(release))
    text: list[str] = []
    for name, value in merge(params, defaults or {}, file=file).items():
        text.extend(_parameter_lines(known, name, value))
    data = list(lines)
    kept = _node_sets(data)
    rendered = [_line(known, number, line, kept) for number, line in enumerate(data, start=1)]
    if text and rendered:
        text.append("")
    return "".join(f"{line}\n" for line in text + rendered)


def merge(params: Mapping[str, Any], defaults: Mapping[str, Any], *, file: str = "slurm.conf") -> dict[str, Any]:
    """Return the parameters laid over the defaults.

    Names are compared without regard to case; a parameter keeps the default's place. Where the default is a mapping of
    options, a mapping or a list ("option" or "option=value") adds to it, so that a site's SlurmctldParameters do not lose
    enable_configless. Any other value replaces the default, null included.
    """
    merged: dict[str, tuple[str, Any]] = {}
    for source in (defaults, params):
        seen: dict[str, str] = {}
        for name, value in source.items():
            lower = str(name).lower()
            if lower in seen:
                raise SlurmParameterError(f"{file}: {seen[lower]} and {name} are the same parameter; give it once")
            seen[lower] = name
            _name, default = merged.get(lower, (name, None))
            if isinstance(default, Mapping) and isinstance(value, (Mapping, list, tuple)):
                merged[lower] = (name, {**dict(default.items()), **_options(value)})
            else:
                merged[lower] = (name, value)
    return dict(merged.values())


def _options(value: Mapping[str, Any] | list[Any] | tuple[Any, ...]) -> dict[str, Any]:
    """Return a parameter's options as a mapping; an option without a value is true."""
    if isinstance(value, Mapping):
        return dict(value.items())
    words = [str(item).partition("=") for item in value]
    return {name: text if separator else True for name, separator, text in words}


def value_text(parameter: Parameter, value: Any) -> str:
    """Return a value as the parser reads it back; an empty text is a value that says nothing."""
    if parameter.type in ("string", "array"):
        return _string(value)
    text = _checked(parameter, value)
    if text is None:
        raise BadValueError(f"is {_shown(parameter, value)}; Slurm reads {_wanted(parameter.type)} there")
    return text


def _parameter_lines(known: Schema, name: str, value: Any) -> list[str]:
    parameter = known.main.parameters.get(name.lower())
    if parameter is None:
        # What is taken back need not exist in this release, only in some.
        if value is None and types_in_releases(known.file, "", name):
            return []
        raise known.unknown(known.main, name)
    if value is None:
        return []
    if parameter.defunct:
        raise SlurmParameterError(
            f"{known.file}: {parameter.name} is defunct in Slurm {known.release}, which ignores it and logs an error;"
            " remove it (null takes back a default)"
        )
    try:
        values = [value]
        if isinstance(value, (list, tuple)):
            if parameter.type == "array":
                values = list(value)
            else:
                _check_takes_several(known, parameter, value)
        texts = [_written(parameter, value_text(parameter, each)) for each in values]
    except BadValueError as problem:
        raise SlurmParameterError(f"{known.file}: {parameter.name} {problem}") from problem
    # An empty list or mapping of options has nothing to say; an empty text says that the parameter is empty.
    return [f"{parameter.name}={text}" for text in texts if text != '""' or isinstance(value, str)]


def _check_takes_several(known: Schema, parameter: Parameter, value: list[Any] | tuple[Any, ...]) -> None:
    since = [release for release, kind in types_in_releases(known.file, "", parameter.name).items() if kind == "array"]
    if len(value) > 1 and since:
        raise BadValueError(
            f"has {len(value)} values; Slurm {known.release} takes one (several are possible from {since[0]})"
        )


def _node_sets(lines: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Return the names that stand for sets of nodes: Slurm finds them only when they are written as they are."""
    names = (value for line in lines for key, value in line.items() if key.lower() == "nodeset")
    return frozenset(("ALL", *(name for name in names if isinstance(name, str))))


def _line(known: Schema, number: int, line: Mapping[str, Any], node_sets: frozenset[str]) -> str:
    values = {key.lower(): value for key, value in line.items()}
    where = f"{known.file}: line {number}"
    table = next((table for kind, table in known.lines.items() if kind in values), None)
    if table is None:
        if not known.lines:
            raise SlurmParameterError(f"{known.file} has no lines beside its parameters")
        kinds = ", ".join(line.kind for line in known.lines.values())
        raise SlurmParameterError(f"{where} has none of {kinds}; it has {', '.join(line) or 'nothing'}")
    if len(values) < len(line):
        raise SlurmParameterError(f"{where}: a key is there twice: {', '.join(line)}")
    opening = table.kind.lower()
    ordered = not _ALIGNED.isdisjoint(values)
    texts: dict[str, str] = {}
    written: dict[str, str] = {}
    for lower, value in values.items():
        if value is None and lower != opening:
            continue
        parameter = table.parameters.get(lower)
        if parameter is None:
            unknown = next(key for key in line if key.lower() == lower)
            raise known.unknown(table, unknown, _about(where, table, values[opening]))
        try:
            if isinstance(value, (list, tuple)) and (lower in _HOSTLISTS or lower in _ALIGNED):
                text = _hostlist(value, node_sets, ordered)
            else:
                text = value_text(parameter, value)
            # A partition may be without nodes; any other empty list has nothing to say.
            if text or isinstance(value, str) or lower == "nodes":
                texts[lower] = text
                written[lower] = f"{parameter.name}={_written(parameter, text)}"
        except HpcopsError as problem:
            about = _about(where, table, values[opening])
            raise SlurmParameterError(f"{about}: {parameter.name} {problem}") from problem
    if not texts.get(opening):
        raise SlurmParameterError(f"{where}: {table.kind} is empty; leave the line out")
    if ordered:
        _check_counts(_about(where, table, texts[opening]), texts, table)
    return " ".join((written.pop(opening), *written.values()))


def _about(where: str, table: Table, opening: Any) -> str:
    """Return where a line is, and which one it is."""
    text = str(opening)
    return f"{where} ({table.kind} {text if len(text) <= 60 else text[:57] + '...'})"


def _hostlist(names: Iterable[Any], node_sets: frozenset[str], ordered: bool) -> str:
    plain = [_scalar(name) for name in names]
    if ordered:
        return fold_ordered(plain)
    sets = [name for name in plain if name in node_sets]
    hosts = fold(name for name in plain if name not in node_sets)
    return ",".join([*sets, hosts] if hosts else sets)


def _check_counts(where: str, texts: Mapping[str, str], table: Table) -> None:
    """Refuse addresses that are neither one nor one for each node: that ends the controller when it starts."""
    nodes = len(expand(texts["nodename"])) if "nodename" in texts else 0
    for key in ("nodeaddr", "nodehostname", "bcastaddr"):
        text = texts.get(key, "")
        count = len(expand(text)) if "[" in text or "," in text else 1
        if count not in (1, nodes):
            name = table.parameters[key].name
            raise SlurmParameterError(f"{where}: {name} has {count} values for {nodes} nodes; give one, or one each")


def _string(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(
            str(name) if option is None or option is True else f"{name}={_scalar(option)}"
            for name, option in value.items()
            if option is not False
        )
    if isinstance(value, (list, tuple)):
        return ",".join(_scalar(each) for each in value)
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "YES" if value else "NO"
    if isinstance(value, (str, int, float)):
        return str(value)
    kind = "null" if value is None else f"a {type(value).__name__}"
    raise BadValueError(f"has {kind} inside; give a text, a number, true or false, or a list or mapping of these")


def _checked(parameter: Parameter, value: Any) -> str | None:
    """Return a boolean's or number's text, or None where the parser would refuse it."""
    if isinstance(value, bool):
        return _scalar(value) if parameter.type == "boolean" else None
    if not isinstance(value, (str, int, float)):
        return None
    text = str(value).strip()
    if parameter.type == "boolean":
        return text if text.lower() in _BOOLEANS else None
    if text.upper() in _INFINITE:
        return text
    if parameter.type == "float":
        try:
            float(text)
        except ValueError:
            return None
        return text
    match = _NUMBER.match(text)
    if not match or (match.group(2) and parameter.type == "uint16"):
        return None
    digits = match.group(1)
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits[0] == "0" else 10
    number = int(digits, base) * (1024 if match.group(2) else 1)
    return text if number < 1 << _BITS[parameter.type] else None


def _wanted(kind: str) -> str:
    if kind == "boolean":
        return "true or false (YES or NO)"
    if kind == "float":
        return "a number"
    return f"a whole number from 0 to {(1 << _BITS[kind]) - 1}, or UNLIMITED"


def _shown(parameter: Parameter, value: Any) -> str:
    if parameter.name.lower() in _SECRETS:
        return "a secret that is not shown"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return f"'{value}'"
    return "a mapping" if isinstance(value, Mapping) else f"a {type(value).__name__}"


def _written(parameter: Parameter, text: str) -> str:
    """Return a text as it stands in the file: quoted where it has blanks, its # and \\ escaped."""
    if _PLAIN.match(text):
        return text
    if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1]:
        text = text[1:-1]
    if _CONTROL.search(text):
        raise BadValueError("has a line break or another control character; Slurm reads one line")
    if "#" in text and parameter.name.lower() == "storagepass":
        raise BadValueError("has a '#' in it, which slurmdbd does not permit in a password; choose another")
    quoted = not text or any(character.isspace() for character in text)
    if '"' in text and (quoted or text[0] == '"'):
        raise BadValueError(f"is {_shown(parameter, text)}; Slurm cannot read a quotation mark inside a quoted value")
    escaped = text.replace("\\", "\\\\").replace("#", "\\#")
    return f'"{escaped}"' if quoted else escaped
