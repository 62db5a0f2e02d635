# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every alert says what it is about and has a runbook, and every rule is tested by promtool, which runs in the scenario prometheus."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = sorted((ROOT / "roles" / "prometheus" / "files" / "rules").glob("*.yml"))
TESTS = sorted((ROOT / "tests" / "prometheus").glob("*.yml"))
RUNBOOKS = ROOT / "docs" / "runbooks"


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules() -> list[dict[str, Any]]:
    return [rule for path in RULES for group in load(path)["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDS = sorted({rule["record"] for rule in rules() if "record" in rule})
CASES = [case for path in TESTS for case in load(path)["tests"]]
FIRINGS = [test for case in CASES for test in case.get("alert_rule_test", [])]
RECORDED = [
    sample["labels"].partition("{")[0]
    for case in CASES
    for test in case.get("promql_expr_test", [])
    for sample in test["exp_samples"]
]


def anchors(page: Path) -> set[str]:
    """Those that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_no_two_alerts_have_one_name() -> None:
    assert len(ALERTS) == len([rule for rule in rules() if "alert" in rule])


@pytest.mark.parametrize("name", ALERTS)
def test_alert_says_how_bad_it_is_and_what_it_is_about(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert sorted(alert["annotations"]) == ["description", "runbook_url", "summary"]


@pytest.mark.parametrize("name", ALERTS)
def test_alert_leads_to_its_heading_in_a_runbook(name: str) -> None:
    page, _hash, anchor = ALERTS[name]["annotations"]["runbook_url"].partition("#")
    assert anchor in anchors(RUNBOOKS / page)


def test_runbooks_have_no_alerts_that_are_none() -> None:
    headings = {
        heading
        for page in RUNBOOKS.glob("*.md")
        for heading in re.findall(r"^### ([A-Z]\w+[A-Z]\w+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert headings == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_promtool_sees_the_alert_fire_and_be_silent(name: str) -> None:
    expected = [bool(test["exp_alerts"]) for test in FIRINGS if test["alertname"] == name]
    assert True in expected, "no case in which it fires"
    assert False in expected, "no case in which it is silent"


@pytest.mark.parametrize("name", RECORDS)
def test_promtool_sees_what_is_recorded(name: str) -> None:
    assert name in RECORDED


def test_tests_read_the_rules_as_they_are_and_know_no_others() -> None:
    read = {path.parent.joinpath(name).resolve() for path in TESTS for name in load(path)["rule_files"]}
    assert read == set(RULES)
    assert {test["alertname"] for test in FIRINGS} <= set(ALERTS)
