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
  - Gathers the results of M(hpcops.cluster.acceptance_checks) of all hosts into one dictionary.
  - A host without any result did not answer, which is a failure of its own.
author:
  - hpcops.cluster contributors
positional: _input, hosts
options:
  _input:
    description: Results of all hosts, each with C(host), C(name), C(passed), C(detail) and C(seconds).
    type: list
    elements: dict
    required: true
  hosts:
    description: Names of all hosts that had to be checked.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show what was found
  ansible.builtin.debug:
    msg: "{{ (results | hpcops.cluster.acceptance_report(ansible_play_hosts_all)).table }}"
"""

RETURN = r"""
_value:
  description: C(passed) and C(failed) as numbers, C(results) as given, and C(table), lines of text in columns.
  type: dict
"""


def acceptance_report(results: Iterable[Mapping[str, Any]], hosts: Iterable[str]) -> dict[str, Any]:
    """The results with those hosts that gave none, counted and laid out."""
    rows = [dict(result) for result in results]
    silent = sorted(set(hosts) - {row["host"] for row in rows})
    rows += [
        {"host": host, "name": "the host answers", "passed": False, "detail": "unreachable", "seconds": 0.0}
        for host in silent
    ]
    failed = sum(not row["passed"] for row in rows)
    return {"passed": len(rows) - failed, "failed": failed, "results": rows, "table": table(rows)}


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
