"""Label selectors: environment=prod, tier!=web, rack in (a, b), rack notin (a, b), gpu, !gpu; commas mean and."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_KEY = r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}"
_REQUIREMENT = re.compile(
    rf"""\s*(?:
      (?P<absent>!)\s*(?P<missing>{_KEY})
    | (?P<key>{_KEY})\s*(?:
        (?P<operator>==|=|!=)\s*(?P<value>[^,()\s]*(?:\ +[^,()\s]+)*)
      | \s(?P<set>in|notin)\s*\((?P<values>[^()]*)\)
      )?
    )\s*(?:,|\Z)""",
    re.VERBOSE,
)
MAX_REQUIREMENTS = 20


class SelectorError(ValueError):
    """The selector cannot be read."""


@dataclass(frozen=True)
class Requirement:
    """The label must have one of the values (none: any), or else must not."""

    key: str
    values: tuple[str, ...]
    wanted: bool


def parse(text: str) -> list[Requirement]:
    found = list(_requirements(text))
    if len(found) > MAX_REQUIREMENTS:
        raise SelectorError(f"has more than {MAX_REQUIREMENTS} requirements")
    return found


def _requirements(text: str) -> Iterator[Requirement]:
    position = 0
    while position < len(text):
        match = _REQUIREMENT.match(text, position)
        if match is None:
            raise SelectorError(f"cannot be read from {text[position : position + 30]!r} on; see label selectors")
        position = match.end()
        if match["absent"]:
            yield Requirement(match["missing"], (), wanted=False)
        elif match["operator"]:
            yield Requirement(match["key"], (match["value"],), wanted=match["operator"] != "!=")
        elif match["set"]:
            values = tuple(value.strip() for value in match["values"].split(","))
            yield Requirement(match["key"], values, wanted=match["set"] == "in")
        else:
            yield Requirement(match["key"], (), wanted=True)
