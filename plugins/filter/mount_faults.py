# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what is wrong with mounts before any host is touched."""

from __future__ import annotations

from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._mounts import faults
from ansible_collections.hpcops.cluster.plugins.plugin_utils._filters import as_list, as_mapping, raises_filter_errors

DOCUMENTATION = r"""
name: mount_faults
author: hpcops.cluster contributors (@hpcops)
version_added: 0.1.0
short_description: Say what is wrong with mounts
description:
  - Holds the mounts that M(hpcops.cluster.mounts) takes against what can be known without the host.
positional: _input
options:
  _input:
    description: Mounts as O(hpcops.cluster.mounts#module:mounts) has them.
    type: list
    elements: dict
    required: true
seealso:
  - module: hpcops.cluster.mounts
"""

EXAMPLES = r"""
- name: Refuse what could not be mounted
  ansible.builtin.assert:
    that: storage_mounts | hpcops.cluster.mount_faults | length == 0
"""

RETURN = r"""
_value:
  description: A sentence for each fault.
  type: list
  elements: str
"""


@raises_filter_errors
def mount_faults(mounts: Any) -> list[str]:
    """Return the faults."""
    return faults([as_mapping(entry, "a mount") for entry in as_list(mounts, "mount_faults: the input")])


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"mount_faults": mount_faults}
