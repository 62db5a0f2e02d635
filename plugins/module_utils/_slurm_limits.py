# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a QOS and an association may be given: the values that people write, those that sacctmgr prints, and one form for both."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import AccountingError

_MULTIPLES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4, "P": 1024**5}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGTP]?)B?\Z", re.IGNORECASE)
_CLEARED = ("", "-1")


# --- One form for each kind of value; "" is none ---


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("must be a text or a number")  # noqa: TRY004  # one exception for all that people may write
    return str(value).strip()


def _count(value: Any) -> str:
    text = _text(value)
    if text in _CLEARED:
        return ""
    if not re.fullmatch(r"\d+", text):
        raise ValueError("must be a whole number")
    return str(int(text))


def _fraction(value: Any) -> str:
    text = _text(value)
    if text in _CLEARED:
        return ""
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise ValueError("must be a number")
    return f"{float(text):g}"


def _share(value: Any) -> str:
    text = _text(value).lower()
    return text if text == "parent" else _count(text)


def description(value: Any) -> str:
    """Slurm keeps descriptions in lower case; a vertical bar would part what sacctmgr prints."""
    text = _text(value).lower()
    if re.search(r"[|'\"\x00-\x1f\x7f]", text):
        raise ValueError("must be one line without quotes and vertical bars")
    return text


def _word(value: Any) -> str:
    text = _text(value).lower()
    if text == "-1":
        return ""
    if re.search(r"[\s,='\"|]", text):
        raise ValueError("must be one name")
    return text


def _names(value: Any) -> str:
    items = value if isinstance(value, (list, tuple)) else _text(value).split(",")
    return ",".join(sorted({name for name in map(_word, items) if name}))


def _seconds(value: Any) -> int | None:
    """Seconds of minutes, M:S, H:M:S, D-H, D-H:M and D-H:M:S."""
    text = _text(value)
    if text in _CLEARED or text.lower() in ("unlimited", "infinite", "none"):
        return None
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if not match:
        raise ValueError("must be a time such as 1-12:00:00, 12:00:00 or a number of minutes")
    days, first, second, third = match.groups()
    fields = [int(field) for field in (first, second, third) if field is not None]
    if days is None:
        if len(fields) == 3:
            hours, minutes, seconds = fields
        else:
            hours, minutes, seconds = 0, fields[0], (fields[1:] or [0])[0]
    else:
        hours, minutes, seconds = [*fields, 0, 0][:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def _clock(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{clock}" if days else clock


def _wall(value: Any) -> str:
    """A time that Slurm keeps in minutes, and rounds up to them."""
    seconds = _seconds(value)
    return "" if seconds is None else _clock(-(-seconds // 60) * 60)


def _period(value: Any) -> str:
    """A time that Slurm keeps in seconds."""
    seconds = _seconds(value)
    return "" if seconds is None else _clock(seconds)


def _grace(value: Any) -> str:
    """A number of seconds; sacctmgr takes nothing else, and shows a time."""
    text = _text(value)
    seconds = int(text) if re.fullmatch(r"\d+", text) else _seconds(value)
    return str(seconds or 0)


def _tres(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = [(str(name), amount) for name, amount in value.items()]
    else:
        pairs = []
        for item in filter(None, _text(value).split(",")):
            name, equals, amount = item.rpartition("=")
            if not equals:
                raise ValueError("must be resources with amounts, such as {cpu: 64, mem: 512G}")
            pairs.append((name, amount))
    counted = {name.strip().lower(): _amount(name.strip().lower(), amount) for name, amount in pairs}
    return ",".join(f"{name}={amount}" for name, amount in sorted(counted.items()) if amount)


def _amount(name: str, value: Any) -> str:
    """Slurm keeps memory in mebibytes, and takes a bare number as these."""
    text = _text(value)
    if text in _CLEARED:
        return ""
    if name != "mem" and not name.startswith("bb/"):
        if not re.fullmatch(r"\d+", text):
            raise ValueError(f"must have a whole number for {name}, not {text!r}")
        return str(int(text))
    match = _SIZE.match(text)
    if not match:
        raise ValueError(f"must have a size such as 512G for {name}, not {text!r}")
    mebibytes = float(match[1]) * _MULTIPLES[match[2].upper() or "M"] / _MULTIPLES["M"]
    if mebibytes != int(mebibytes):
        raise ValueError(f"must have whole mebibytes for {name}, not {text!r}")
    return f"{int(mebibytes)}M"


# --- The parameters ---


@dataclass(frozen=True)
class Parameter:
    """A parameter by the name that sacctmgr takes, with the column in which it shows it where that has another name."""

    name: str
    canonical: Callable[[Any], str]
    shown_as: str = ""
    default: str = ""  # what a new object has
    cleared: str = "-1"  # what sacctmgr takes for none

    @property
    def column(self) -> str:
        return self.shown_as or self.name

    @property
    def is_tres(self) -> bool:
        return self.canonical is _tres

    @property
    def is_qos(self) -> bool:
        """Whether it names QOS."""
        return self.name in ("QOS", "DefaultQOS", "Preempt")

    def assignment(self, before: str, after: str) -> str:
        """What sacctmgr is told to lead from one value to the other."""
        if not self.is_tres:
            return f"{self.name}={after or self.default or self.cleared}"
        kept = tres_of(after)
        cleared = dict.fromkeys(tres_of(before), "-1")
        return f"{self.name}=" + ",".join(f"{name}={amount}" for name, amount in {**cleared, **kept}.items())


def _table(*parameters: Parameter) -> dict[str, Parameter]:
    return {parameter.name: parameter for parameter in parameters}


_GROUP = (
    Parameter("GrpJobs", _count),
    Parameter("GrpJobsAccrue", _count),
    Parameter("GrpSubmitJobs", _count, shown_as="GrpSubmit"),
    Parameter("GrpTRES", _tres),
    Parameter("GrpTRESMins", _tres),
    Parameter("GrpTRESRunMins", _tres),
    Parameter("GrpWall", _wall),
)
ASSOCIATION = _table(
    Parameter("Fairshare", _share, shown_as="Share", default="1"),
    *_GROUP,
    Parameter("MaxJobs", _count),
    Parameter("MaxJobsAccrue", _count),
    Parameter("MaxSubmitJobs", _count, shown_as="MaxSubmit"),
    Parameter("MaxTRES", _tres),
    Parameter("MaxTRESPerNode", _tres),
    Parameter("MaxTRESMins", _tres),
    Parameter("MaxWall", _wall),
    Parameter("MinPrioThres", _count),
    Parameter("Priority", _count),
    Parameter("QOS", _names, cleared=""),
    Parameter("DefaultQOS", _word),
)
QOS = _table(
    Parameter("Priority", _count, default="0"),
    Parameter("Flags", _names),
    Parameter("Preempt", _names, cleared=""),
    Parameter("PreemptMode", _names, default="cluster"),
    Parameter("PreemptExemptTime", _period),
    Parameter("GraceTime", _grace, default="0"),
    Parameter("UsageFactor", _fraction, default="1"),
    Parameter("UsageThreshold", _fraction, shown_as="UsageThres"),
    Parameter("LimitFactor", _fraction),
    *_GROUP,
    Parameter("MaxJobsPerUser", _count, shown_as="MaxJobsPU"),
    Parameter("MaxJobsPerAccount", _count, shown_as="MaxJobsPA"),
    Parameter("MaxJobsAccruePerUser", _count, shown_as="MaxJobsAccruePU"),
    Parameter("MaxJobsAccruePerAccount", _count, shown_as="MaxJobsAccruePA"),
    Parameter("MaxSubmitJobsPerUser", _count, shown_as="MaxSubmitPU"),
    Parameter("MaxSubmitJobsPerAccount", _count, shown_as="MaxSubmitPA"),
    Parameter("MaxTRES", _tres),
    Parameter("MaxTRESPerNode", _tres),
    Parameter("MaxTRESPerUser", _tres, shown_as="MaxTRESPU"),
    Parameter("MaxTRESPerAccount", _tres, shown_as="MaxTRESPA"),
    Parameter("MaxTRESMins", _tres),
    Parameter("MaxWall", _wall),
    Parameter("MinPrioThres", _count),
    Parameter("MinTRES", _tres),
)


def tres_of(text: str) -> dict[str, str]:
    """Resources with their amounts of a value in its one form."""
    return dict(item.rsplit("=", 1) for item in text.split(",") if item)


def canonical(table: Mapping[str, Parameter], given: Mapping[str, Any] | None, where: str) -> dict[str, str]:
    """The parameters of an object in their one form, without those that are as Slurm has them by itself."""
    values = {}
    for name, value in (given or {}).items():
        if name not in table:
            raise AccountingError(f"{where}: there is no parameter {name!r}{_advice(name, table)}")
        try:
            values[name] = "" if value is None else table[name].canonical(value)
        except ValueError as error:
            raise AccountingError(f"{where}: {name} {error}; found {value!r}") from None
    return without_defaults(table, values)


def shown(table: Mapping[str, Parameter], fields: Iterable[str]) -> dict[str, str]:
    """The parameters of an object as sacctmgr prints them in the table's columns."""
    values = {name: table[name].canonical(field) for name, field in zip(table, fields)}
    return without_defaults(table, values)


def without_defaults(table: Mapping[str, Parameter], values: Mapping[str, str]) -> dict[str, str]:
    """Those values that an object has not by itself, in the table's order."""
    return {name: values[name] for name in table if values.get(name, "") not in ("", table[name].default)}


def assignments(table: Mapping[str, Parameter], before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What sacctmgr is told to lead from the values of an object to the others."""
    return [
        parameter.assignment(before.get(name, ""), after.get(name, ""))
        for name, parameter in table.items()
        if before.get(name, "") != after.get(name, "")
    ]


def _advice(name: str, table: Mapping[str, Parameter]) -> str:
    for known in table:
        if name.lower() in (known.lower(), table[known].column.lower()):
            return f"; write {known}"
    return f". Known are {', '.join(sorted(table))}"
