# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The outcomes of acceptance checks as one report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

DOCUMENTATION = r"""
name: acceptance_report
short_description: Results of acceptance checks as a report, for people and for programs
version_added: 0.1.0
description:
  - Gathers what M(hpcops.cluster.acceptance_checks) registered on each host into one dictionary.
  - A result counts for the host that returned it, whatever the result itself says.
  - A host without results of the first task did not answer, which counts as a failed check.
author:
  - hpcops.cluster contributors
positional: _input, hostvars, registered
options:
  _input:
    description: Names of all hosts that had to be checked.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variables of all hosts. Only those named in O(registered) are read.
    type: dict
    required: true
  registered:
    description: Names of the variables into which the tasks registered. Every host must have results in the first one.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show what was found
  ansible.builtin.debug:
    msg: "{{ (ansible_play_hosts_all | hpcops.cluster.acceptance_report(hostvars, 'outcome')).table }}"
"""

RETURN = r"""
_value:
  description:
    - C(passed) and C(failed) as numbers; C(results), one dictionary per check with C(host), C(name), C(passed), C(detail) and
      C(seconds); C(table), lines of text in columns; C(failures), the lines of the failed checks.
  type: dict
"""


def acceptance_report(
    hosts: Iterable[str], hostvars: Mapping[str, Mapping[str, Any]], *registered: str
) -> dict[str, Any]:
    """The results of the hosts, counted and laid out; a failed one for each host without any."""
    rows, silent = [], []
    for host in hosts:
        found = [(hostvars[host].get(name) or {}).get("results") for name in registered]
        own = [_row(host, result) for results in found for result in results or () if isinstance(result, Mapping)]
        if own and found[0] is not None:
            rows += own
        else:
            silent.append(host)
    rows += [
        {"host": host, "name": "the host answers", "passed": False, "detail": "unreachable", "seconds": 0.0}
        for host in sorted(silent)
    ]
    failures = [row for row in rows if not row["passed"]]
    return {
        "passed": len(rows) - len(failures),
        "failed": len(failures),
        "results": rows,
        "table": table(rows),
        "failures": table(failures),
    }


def _row(host: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """A host's result. A compromised host may return anything, and speaks only of itself."""
    seconds = result.get("seconds")
    return {
        "host": host,
        "name": str(result.get("name")),
        "passed": result.get("passed") is True,
        "detail": str(result.get("detail", "")),
        "seconds": float(seconds) if isinstance(seconds, (int, float)) else 0.0,
    }


def table(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each row; a failed row's detail follows it, indented."""
    host_width = max((len(row["host"]) for row in rows), default=0)
    name_width = max((len(row["name"]) for row in rows), default=0)
    lines = []
    for row in rows:
        word, detail = ("ok    ", row["detail"].splitlines()[-1:]) if row["passed"] else ("FAILED", [])
        lines.append(
            f"{word}  {row['host']:{host_width}}  {row['name']:{name_width}}  {row['seconds']:6.2f} s  {''.join(detail)}".rstrip()
        )
        if not row["passed"]:
            lines += [f"        {line}" for line in row["detail"].splitlines()]
    return lines


class FilterModule:
    """Names the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"acceptance_report": acceptance_report}
