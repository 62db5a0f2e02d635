# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A short description becomes a dashboard whose panels stand beside each other, each with its queries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.hpcops.cluster.plugins.filter.grafana_dashboard import grafana_dashboard

DASHBOARDS = sorted((Path(__file__).resolve().parents[4] / "roles" / "grafana" / "files" / "dashboards").glob("*.yml"))


def described(*panels: dict[str, Any]) -> dict[str, Any]:
    return {"title": "t", "uid": "u", "rows": [{"title": "r", "panels": list(panels)}]}


def panel(**more: Any) -> dict[str, Any]:
    return {"title": "p", "queries": [{"expr": "up"}]} | more


def places(dashboard: dict[str, Any]) -> list[tuple[int, ...]]:
    return [tuple(each["gridPos"][key] for key in "xywh") for each in dashboard["panels"]]


def test_panels_stand_beside_each_other_and_below_where_there_is_no_room() -> None:
    first = {"title": "r", "panels": [panel(width=10), panel(width=10), panel(width=10)]}
    dashboard = grafana_dashboard({"title": "t", "uid": "u", "rows": [first, {"title": "s", "panels": [panel()]}]}, "x")
    assert places(dashboard) == [
        (0, 0, 24, 1),
        (0, 1, 10, 8),
        (10, 1, 10, 8),
        (0, 9, 10, 8),
        (0, 17, 24, 1),
        (0, 18, 12, 8),
    ]
    assert [each["id"] for each in dashboard["panels"]] == [1, 2, 3, 4, 5, 6]


def test_query_asks_the_data_source_over_time_or_for_now() -> None:
    drawn, number = grafana_dashboard(described(panel(), panel(type="stat")), "x")["panels"][1:]
    assert [each["targets"][0]["range"] for each in (drawn, number)] == [True, False]
    assert drawn["targets"][0]["datasource"] == {"type": "prometheus", "uid": "x"}
    assert drawn["targets"][0]["expr"] == "up"


def test_variable_that_may_be_everything_matches_everything() -> None:
    variables = [{"name": "node", "query": "label_values(up, node)", "all": True}]
    (made,) = grafana_dashboard(described(panel()) | {"variables": variables}, "x")["templating"]["list"]
    assert (made["includeAll"], made["allValue"], made["query"]["query"]) == (True, ".*", "label_values(up, node)")


@pytest.mark.parametrize(
    ("description", "says"),
    [
        ([], "must be a mapping"),
        ({"title": "t"}, "the dashboard 't' lacks rows, uid"),
        (described(panel(type="pie")), "the panel 'p' has the type 'pie'; there are timeseries"),
        (described(panel(colour="red")), "the panel 'p' has unknown colour"),
        (described({"title": "p"}), "the panel 'p' has no queries"),
    ],
)
def test_wrong_description_is_refused_in_words(description: Any, says: str) -> None:
    with pytest.raises(AnsibleFilterError, match=says):
        grafana_dashboard(description, "x")


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboard_of_the_role_names_in_its_queries_only_variables_that_it_has(path: Path) -> None:
    description = yaml.safe_load(path.read_text(encoding="utf-8"))
    dashboard = grafana_dashboard(description, "x")
    known = {each["name"] for each in dashboard["templating"]["list"]}
    queries = [target["expr"] for each in dashboard["panels"] for target in each.get("targets", [])]
    queries += [each["definition"] for each in dashboard["templating"]["list"]]
    assert queries
    for query in queries:
        used = {word.split('"')[0].split("}")[0] for word in query.split("$")[1:]}
        assert used <= known, query
