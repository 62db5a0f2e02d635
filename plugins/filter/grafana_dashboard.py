# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a dashboard of Grafana from a short description."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._filters import as_list, as_mapping, raises_filter_errors

DOCUMENTATION = r"""
name: grafana_dashboard
author: hpcops.cluster contributors (@hpcops)
version_added: 0.1.0
short_description: Make a dashboard of Grafana from a short description
description:
  - A dashboard's own JSON is some hundred lines for what a few say, the panels' titles and queries. This filter adds the rest, sizes and
    places included, panels beside each other from left to right, rows from top to bottom.
positional: _input
options:
  _input:
    description:
      - C(title), C(uid), C(tags), C(variables) (each C(name), C(label), C(query), and optionally C(all), whether it may be everything) and
        C(rows), each a C(title) and C(panels).
      - A panel has C(title) and C(queries), each an C(expr) and a C(legend) in Grafana's form, such as V({{partition}}); and optionally
        C(type) (V(timeseries), V(stat), V(bargauge), V(table)), C(unit) as Grafana names it, C(description), C(width) of 24, C(stacked),
        C(max) and C(min) of its axis.
    type: dict
    required: true
  datasource:
    description: The data source's identifier in Grafana, C(uid).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Write a dashboard
  ansible.builtin.copy:
    content: "{{ description | hpcops.cluster.grafana_dashboard('prometheus') | to_nice_json }}"
    dest: /var/lib/grafana/dashboards/queue.json
    mode: "0644"
  vars:
    description:
      title: Queue
      uid: queue
      rows:
        - title: Now
          panels:
            - {title: Jobs that wait, queries: [{expr: "hpcops:jobs_pending", legend: "{{ '{{cluster}}' }}"}]}
"""

RETURN = r"""
_value:
  description: The dashboard as Grafana's JSON model.
  type: dict
  sample: {title: Queue, uid: queue, schemaVersion: 39}
"""

WIDTH = 24
HEIGHT = 8
TYPES = ("timeseries", "stat", "bargauge", "table")
NAMES = {"title", "queries", "type", "unit", "description", "width", "stacked", "max", "min", "data"}


@raises_filter_errors
def grafana_dashboard(description: Any, datasource: str) -> dict[str, Any]:
    """Return the dashboard."""
    given = as_mapping(description, "grafana_dashboard: the input")
    missing = sorted({"title", "uid", "rows"} - set(given))
    if missing:
        raise HpcopsError(
            f"grafana_dashboard: the dashboard {given.get('title', given.get('uid', ''))!r} lacks {', '.join(missing)}"
        )
    source = {"type": "prometheus", "uid": datasource}
    return {
        "title": given["title"],
        "uid": given["uid"],
        "tags": as_list(given.get("tags", []), "tags"),
        "editable": False,
        "schemaVersion": 39,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "1m",
        "timezone": "browser",
        "templating": {"list": [_variable(each, source) for each in as_list(given.get("variables", []), "variables")]},
        "panels": list(_panels(given, source)),
    }


def _variable(given: Mapping[str, Any], source: Mapping[str, str]) -> dict[str, Any]:
    everything = bool(given.get("all"))
    return {
        "name": given["name"],
        "label": given.get("label", given["name"]),
        "type": "query",
        "datasource": source,
        "query": {"query": given["query"], "refId": given["name"]},
        "definition": given["query"],
        "refresh": 2,
        "sort": 7,
        "multi": everything,
        "includeAll": everything,
        "allValue": ".*" if everything else None,
        "current": {"text": "All", "value": "$__all"} if everything else {},
    }


def _panels(given: Mapping[str, Any], source: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    number = top = 0
    for row in as_list(given["rows"], "rows"):
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row["title"],
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1},
        }
        top += 1
        left = 0
        for panel in as_list(row["panels"], f"panels of {row['title']}"):
            number += 1
            width = int(panel.get("width", WIDTH // 2))
            if left + width > WIDTH:
                left, top = 0, top + HEIGHT
            yield _panel(panel, source) | {"id": number, "gridPos": {"x": left, "y": top, "w": width, "h": HEIGHT}}
            left += width
        top += HEIGHT


def _panel(given: Mapping[str, Any], source: Mapping[str, str]) -> dict[str, Any]:
    kind = given.get("type", "timeseries")
    unknown = sorted(set(given) - NAMES)
    if kind not in TYPES or unknown or not given.get("queries"):
        what = f"has the type {kind!r}; there are {', '.join(TYPES)}" if kind not in TYPES else "has no queries"
        raise HpcopsError(
            f"grafana_dashboard: the panel {given.get('title')!r} {'has unknown ' + ', '.join(unknown) if unknown else what}"
        )
    instant = kind != "timeseries"
    axis = {name: given[name] for name in ("max", "min") if name in given}
    custom = {"fillOpacity": 30, "stacking": {"mode": "normal"}} if given.get("stacked") else {"fillOpacity": 10}
    return {
        "type": kind,
        "title": given["title"],
        "description": given.get("description", ""),
        "datasource": source,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": source,
                "expr": query["expr"],
                "legendFormat": query.get("legend", "__auto"),
                "instant": instant,
                "range": not instant,
                "format": "table" if kind == "table" else "time_series",
            }
            for number, query in enumerate(given["queries"])
        ],
        "fieldConfig": {
            "defaults": {"unit": given.get("unit", "short"), **axis, **({"custom": custom} if not instant else {})},
            "overrides": [],
        },
        "options": {"tooltip": {"mode": "multi", "sort": "desc"}} if not instant else {},
    }


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"grafana_dashboard": grafana_dashboard}
