# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A site's changes reach the alerts that they name, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.hpcops.cluster.plugins.filter.prometheus_rules import prometheus_rules

RECORD = {"record": "a:b", "expr": "b"}
ALERT = {
    "alert": "Down",
    "expr": "up == 0",
    "for": "5m",
    "labels": {"severity": "critical"},
    "annotations": {"summary": "It is {{ $labels.x }}", "runbook_url": "x.md#down"},
}
DOCUMENT = {"groups": [{"name": "g", "interval": "1m", "rules": [RECORD, ALERT]}]}


def rules(changes: Any) -> list[dict[str, Any]]:
    changed: list[dict[str, Any]] = prometheus_rules(DOCUMENT, changes, "https://r")["groups"][0]["rules"]
    return changed


def test_without_changes_only_the_runbook_gets_its_address() -> None:
    annotations = {**ALERT["annotations"], "runbook_url": "https://r/x.md#down"}  # type: ignore[dict-item]
    assert rules({}) == [RECORD, {**ALERT, "annotations": annotations}]
    assert prometheus_rules(DOCUMENT, {}, "https://r")["groups"][0]["interval"] == "1m"


@pytest.mark.parametrize(
    ("change", "part", "becomes"),
    [
        ({"for": "30m"}, "for", "30m"),
        ({"expr": "up < 1"}, "expr", "up < 1"),
        ({"keep_firing_for": "1h"}, "keep_firing_for", "1h"),
        ({"labels": {"team": "hw"}}, "labels", {"severity": "critical", "team": "hw"}),
        ({"labels": {"severity": "warning"}}, "labels", {"severity": "warning"}),
    ],
)
def test_change_takes_the_place_of_the_rules_own(change: dict[str, Any], part: str, becomes: Any) -> None:
    assert rules({"Down": change})[1][part] == becomes


def test_site_may_have_a_runbook_of_its_own() -> None:
    changed = rules({"Down": {"annotations": {"runbook_url": "https://wiki/down"}}})
    assert changed[1]["annotations"]["runbook_url"] == "https://wiki/down"


def test_alert_that_is_not_enabled_is_left_out() -> None:
    assert rules({"Down": {"enabled": False}}) == [RECORD]
    assert len(rules({"Other": {"enabled": False}})) == 2


@pytest.mark.parametrize(
    ("changes", "says"), [({"Down": {"fore": "1m"}}, "Down: fore"), ({"Down": 3}, "must be a mapping")]
)
def test_change_of_something_else_is_refused(changes: Any, says: str) -> None:
    with pytest.raises(AnsibleFilterError, match=says):
        rules(changes)
