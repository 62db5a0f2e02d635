# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host lists in the dialect of Slurm, on ClusterShell's range sets.

ClusterShell's own node sets speak another dialect: they read C(@), C(!), C(&), C(^) and C(/2) as operators, write
brackets in the middle of a name, and know no order. What is written here is what C(scontrol show hostnames) reads:
at most one bracket expression, at the end of a name, and every name kept as it is spelled (c1, c01 and c001 differ).
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HostlistError, HpcopsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

try:
    from ClusterShell.RangeSet import RangeSet
except ImportError:
    RangeSet = None

# Slurm reads the number at a name's end into 64 bits, and makes another name of one that does not fit. Of the digits
# that do, those before the last eighteen are left to the name.
_TOO_LONG = re.compile(r"[0-9]{20}\Z")
_TRAILING_NUMBER = re.compile(r"[0-9]{1,18}\Z")
_NOT_IN_A_NAME = re.compile(r"[\[\],\s\"'=#\\\x00-\x1f]")
_RANGE = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?\Z")
_MAX_RANGE = 65536  # MAX_RANGE of Slurm's hostlist.c


def fold(names: Iterable[str]) -> str:
    """Return the host list of a set of names: sorted, each once. A name may itself be a host list."""
    numbers: dict[str, list[str]] = {}
    for name in _flat(names):
        prefix, number = split_number(name)
        numbers.setdefault(prefix, []).append(number)
    return ",".join(piece for prefix in sorted(numbers) for piece in _pieces(prefix, numbers[prefix]))


def fold_ordered(names: Iterable[str]) -> str:
    """Return a host list that expands to exactly these names in this order, for lists that belong to another list."""
    pieces: list[str] = []
    for prefix, run in _runs(_flat(names)):
        pieces.extend(_pieces(prefix, run))
    return ",".join(pieces)


def expand(hostlist: str) -> list[str]:
    """Return the names of a host list, as C(scontrol show hostnames) prints them: in order, repeated ones repeated."""
    return [name for piece in _split_list(hostlist) for name in _expand_piece(piece, hostlist)]


def split_number(name: str) -> tuple[str, str]:
    """Split a name into what is before its trailing digits and the digits, which may be none."""
    match = _TRAILING_NUMBER.search(name)
    return (name[: match.start()], match.group()) if match else (name, "")


def precedes(number: str, other: str) -> bool:
    """Tell whether a bracket expression that holds both numbers lists them in this order."""
    return (len(number), number) < (len(other), other)


def check_name(name: str) -> str:
    """Return the name when it can be part of a host list."""
    if not name:
        raise HostlistError("a host name is empty")
    match = _NOT_IN_A_NAME.search(name)
    if match:
        raise HostlistError(f"{name!r} cannot be a host name: it has {match.group()!r}")
    if _TOO_LONG.search(name):
        raise HostlistError(f"{name!r} cannot be a host name: it ends in a number that Slurm cannot hold")
    if name[0] == "-":
        raise HostlistError(f"{name!r} cannot be a host name: it begins with '-', as an option does")
    return name


def _flat(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if "[" in name or "," in name:
            yield from expand(name)
        else:
            yield check_name(name)


def _runs(names: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Cut a sequence of names where one bracket expression would lose its order."""
    prefix, run = "", []  # type: tuple[str, list[str]]
    for name in names:
        this, number = split_number(name)
        if run and this == prefix and number and run[-1] and precedes(run[-1], number):
            run.append(number)
            continue
        if run:
            yield prefix, run
        prefix, run = this, [number]
    if run:
        yield prefix, run


def _pieces(prefix: str, numbers: Sequence[str]) -> list[str]:
    distinct = {number for number in numbers if number}
    pieces = [prefix] if len(distinct) < len(set(numbers)) else []
    if len(distinct) == 1:
        pieces.append(prefix + distinct.pop())
    elif distinct:
        pieces.append(f"{prefix}[{_range_set(distinct)}]")
    return pieces


def _range_set(numbers: Iterable[str]) -> str:
    if RangeSet is None:
        raise HpcopsError(
            "host lists need the Python library ClusterShell on the control node: pip install ClusterShell"
        )
    ranges = RangeSet()
    ranges.update(numbers)
    return str(ranges)


def _split_list(hostlist: str) -> Iterator[str]:
    start = depth = 0
    for position, character in enumerate(hostlist):
        if character == "[":
            depth += 1
        elif character == "]":
            depth -= 1
        elif character == "," and depth == 0:
            yield hostlist[start:position].strip()
            start = position + 1
        if depth not in (0, 1):
            break
    if depth:
        raise HostlistError(f"host list {hostlist!r}: a bracket has no partner")
    last = hostlist[start:].strip()
    if last or start:
        yield last


def _expand_piece(piece: str, hostlist: str) -> list[str]:
    if "[" not in piece:
        return [check_name(piece)]
    if not piece.endswith("]"):
        raise HostlistError(
            f"host list {hostlist!r}: {piece!r} goes on after its last bracket, which Slurm does not read"
        )
    parts: list[list[str]] = []
    for text in piece[:-1].split("]"):
        literal, _bracket, ranges = text.partition("[")
        parts.append([check_name(literal)] if literal else [""])
        parts.append([number for part in ranges.split(",") for number in _expand_range(part, hostlist)])
    return ["".join(combination) for combination in itertools.product(*parts)]


def _expand_range(text: str, hostlist: str) -> list[str]:
    match = _RANGE.match(text)
    if not match:
        raise HostlistError(f"host list {hostlist!r}: {text!r} is no number and no range of numbers")
    first, last = match.group(1), match.group(2) or match.group(1)
    count = int(last) - int(first) + 1
    if not 0 < count <= _MAX_RANGE:
        raise HostlistError(f"host list {hostlist!r}: range {text!r} must rise, and by less than {_MAX_RANGE}")
    return [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
