# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change alerting rules of Prometheus as a site wants them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._filters import as_mapping, raises_filter_errors

DOCUMENTATION = r"""
name: prometheus_rules
author: hpcops.cluster contributors (@hpcops)
version_added: 0.1.0
short_description: Change alerting rules of Prometheus as a site wants them
description:
  - Takes the content of a file of rules, and returns it with the site's changes of its alerts. Recording rules stay as they are.
  - An address is put before the C(runbook_url) of each alert.
positional: _input
options:
  _input:
    description: What a file of rules holds, C(groups) with their C(rules).
    type: dict
    required: true
  changes:
    description:
      - By the alert's name, what is to be different. C(enabled) false leaves the alert out. C(expr), C(for) and C(keep_firing_for) take the
        place of the rule's own, C(labels) and C(annotations) are added to them.
      - Alerts that the file does not have are passed over, so that all files may be given the same changes.
    type: dict
    default: {}
  runbooks:
    description: Address of the folder of runbooks, without a slash at its end.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Write the rules of nodes, with more patience for one of them
  ansible.builtin.copy:
    content: "{{ rules | hpcops.cluster.prometheus_rules(changes, runbooks='https://wiki.example.org/runbooks') | to_nice_yaml }}"
    dest: /etc/prometheus/rules/nodes.yml
    mode: "0644"
  vars:
    rules: "{{ lookup('ansible.builtin.file', 'nodes.yml') | from_yaml }}"
    changes:
      SlurmNodeDown: {for: 30m, labels: {team: hardware}}
"""

RETURN = r"""
_value:
  description: The file's content with the changes.
  type: dict
"""

REPLACED = ("expr", "for", "keep_firing_for")
MERGED = ("labels", "annotations")


@raises_filter_errors
def prometheus_rules(rules: Any, changes: Any, runbooks: str) -> dict[str, Any]:
    """Return the rules with the site's changes."""
    wanted = {name: as_mapping(change, f"changes: {name}") for name, change in as_mapping(changes, "changes").items()}
    for name, change in wanted.items():
        unknown = sorted(set(change) - {"enabled", *REPLACED, *MERGED})
        if unknown:
            raise HpcopsError(f"changes: {name}: {', '.join(unknown)} cannot be changed")
    groups = [
        {**group, "rules": [changed(rule, wanted, runbooks) for rule in group["rules"] if enabled(rule, wanted)]}
        for group in as_mapping(rules, "rules")["groups"]
    ]
    return {"groups": groups}


def enabled(rule: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
    return bool(changes.get(rule.get("alert", ""), {}).get("enabled", True))


def changed(rule: Mapping[str, Any], changes: Mapping[str, Any], runbooks: str) -> dict[str, Any]:
    """The rule as it is written."""
    if "alert" not in rule:
        return dict(rule)
    change = changes.get(rule["alert"], {})
    merged = {name: {**rule[name], **change.get(name, {})} for name in MERGED}
    if "runbook_url" not in change.get("annotations", {}):
        merged["annotations"]["runbook_url"] = f"{runbooks}/{merged['annotations']['runbook_url']}"
    return {**rule, **{name: change[name] for name in REPLACED if name in change}, **merged}


class FilterModule:
    """The filter under its name."""

    def filters(self) -> dict[str, Any]:
        """Return the filter's function by its name."""
        return {"prometheus_rules": prometheus_rules}
