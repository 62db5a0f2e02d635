# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report shows everything that is wrong, a silent host included, and no host speaks for another one."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.hpcops.cluster.plugins.filter.acceptance_report import acceptance_report


def result(passed: Any, detail: str = "", **more: Any) -> dict[str, Any]:
    return {"name": "slurmd runs", "passed": passed, "detail": detail, "seconds": 0.5, **more}


def registered(*results: Any) -> dict[str, Any]:
    return {"checked": {"results": list(results)}}


def test_passed_and_failed_are_counted() -> None:
    report = acceptance_report(
        ["c1", "c2"], {"c1": registered(result(True)), "c2": registered(result(False))}, "checked"
    )
    assert (report["passed"], report["failed"]) == (1, 1)


def test_failure_shows_what_was_printed() -> None:
    report = acceptance_report(
        ["c1", "c2"],
        {"c1": registered(result(True)), "c2": registered(result(False, "inactive\n(exit status 3)"))},
        "checked",
    )
    assert [line.split()[0] for line in report["table"][:2]] == ["ok", "FAILED"]
    assert report["failures"] == report["table"][1:]
    assert [line.strip() for line in report["failures"][1:]] == ["inactive", "(exit status 3)"]


@pytest.mark.parametrize("found", [{}, {"checked": {}}, {"checked": {"results": []}}, {"checked": None}])
def test_host_without_a_result_is_a_failure(found: dict[str, Any]) -> None:
    report = acceptance_report(["c9", "c1"], {"c1": registered(result(True)), "c9": found}, "checked")
    assert (report["passed"], report["failed"]) == (1, 1)
    assert report["results"][-1]["host"] == "c9"


def test_results_of_a_second_task_count_where_it_ran() -> None:
    hosts = {"c1": {**registered(result(True)), "ran": {"results": [result(False)]}}, "c2": registered(result(True))}
    report = acceptance_report(["c1", "c2"], hosts, "checked", "ran")
    assert [(row["host"], row["passed"]) for row in report["results"]] == [("c1", True), ("c1", False), ("c2", True)]


def test_host_that_had_nothing_to_check_in_the_first_task_has_answered() -> None:
    """As a host that decodes no credential, since no other one could make any."""
    hosts = {"c1": {"checked": {"results": []}, "ran": {"results": [result(True)]}}}
    assert acceptance_report(["c1"], hosts, "checked", "ran")["failed"] == 0


def test_a_compromised_node_cannot_report_for_another_node() -> None:
    hosts = {"c1": registered(result(True, host="c2")), "c2": {}}
    report = acceptance_report(["c1", "c2"], hosts, "checked")
    assert [(row["host"], row["passed"]) for row in report["results"]] == [("c1", True), ("c2", False)]


@pytest.mark.parametrize("lie", ["yes", 1, "False", [True], None])
def test_only_true_passes(lie: object) -> None:
    assert acceptance_report(["c1"], {"c1": registered(result(lie))}, "checked")["failed"] == 1


@pytest.mark.parametrize("odd", [{}, {"seconds": "long"}, "text", 7, {"detail": ["a"], "name": None}])
def test_result_of_another_shape_does_not_end_the_report(odd: object) -> None:
    report = acceptance_report(["c1"], {"c1": registered(result(True), odd)}, "checked")
    assert report["passed"] == 1


def test_nothing_checked_is_an_empty_report() -> None:
    assert acceptance_report([], {}, "checked")["table"] == []
