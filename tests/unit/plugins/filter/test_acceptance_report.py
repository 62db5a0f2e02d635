"""The report tells everything that is wrong, a silent host included."""

from __future__ import annotations

from typing import Any

from ansible_collections.hpcops.cluster.plugins.filter.acceptance_report import acceptance_report


def result(host: str, passed: bool, detail: str = "") -> dict[str, Any]:
    return {"host": host, "name": "slurmd runs", "passed": passed, "detail": detail, "seconds": 0.5}


def test_passed_and_failed_are_counted() -> None:
    report = acceptance_report([result("c1", True), result("c2", False, "inactive")], ["c1", "c2"])
    assert (report["passed"], report["failed"]) == (1, 1)


def test_failure_shows_what_was_printed() -> None:
    report = acceptance_report([result("c2", False, "inactive\n(exit status 3)")], ["c2"])
    assert report["table"][0].startswith("FAILED  c2")
    assert [line.strip() for line in report["table"][1:]] == ["inactive", "(exit status 3)"]


def test_host_without_a_result_is_a_failure() -> None:
    report = acceptance_report([result("c1", True)], ["c1", "c9"])
    assert report["failed"] == 1
    assert report["results"][-1]["host"] == "c9"


def test_nothing_checked_is_an_empty_report() -> None:
    assert acceptance_report([], [])["table"] == []
