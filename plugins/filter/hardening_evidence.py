# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What checks have found, as evidence that can be kept."""

from __future__ import annotations

from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._filters import as_list, as_mapping, raises_filter_errors

DOCUMENTATION = r"""
name: hardening_evidence
author: hpcops.cluster contributors (@hpcops)
version_added: 0.1.0
short_description: Results of checks as evidence that can be kept
description:
  - Puts beside each result of M(hpcops.cluster.acceptance_checks) what was expected, without times, so that nothing changes where
    nothing has changed.
positional: _input, host, controls
options:
  _input:
    description: The results, in the order of the controls.
    type: list
    elements: dict
    required: true
  host:
    description: Name of the host that returned them. It counts whatever the results say.
    type: str
    required: true
  controls:
    description: The checks, as the module took them.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Keep what was found
  ansible.builtin.copy:
    dest: evidence.json
    content: "{{ found.results | hpcops.cluster.hardening_evidence(inventory_hostname, controls) | to_nice_json }}"
"""

RETURN = r"""
_value:
  description: A list of C(host), C(control), C(command), C(expected), C(actual) and C(passed).
  type: list
  elements: dict
"""


@raises_filter_errors
def hardening_evidence(results: Any, host: str, controls: Any) -> list[dict[str, Any]]:
    """Return the evidence."""
    found = [as_mapping(result, "a result") for result in as_list(results, "hardening_evidence: the input")]
    asked = [as_mapping(control, "a control") for control in as_list(controls, "hardening_evidence: the controls")]
    if [result.get("name") for result in found] != [control.get("name") for control in asked]:
        raise HpcopsError("hardening_evidence: the results are not those of the controls")
    return [
        {
            "host": host,
            "control": control["name"],
            "command": control["command"],
            "expected": control.get("expect", "the command succeeds"),
            "actual": result.get("detail", ""),
            "passed": result["passed"],
        }
        for result, control in zip(found, asked)
    ]


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"hardening_evidence": hardening_evidence}
