# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Expand a host list into names."""

from __future__ import annotations

from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HostlistError
from ansible_collections.hpcops.cluster.plugins.module_utils._hostlist import expand
from ansible_collections.hpcops.cluster.plugins.plugin_utils._filters import raises_filter_errors

DOCUMENTATION = r"""
name: hostlist_expand
author: hpcops.cluster contributors (@hpcops)
version_added: 0.1.0
short_description: Expand a Slurm host list into host names
description:
  - Does what C(scontrol show hostnames) does, without Slurm.
  - The names come in the order in which they are written, and a name that is written twice comes twice.
positional: _input
options:
  _input:
    description:
      - A host list, such as V(c[1-2,08-10],gpu7) or V(rack[0-3]n[1-4]).
      - A text that Slurm does not read is an error, for example V(c[1-2]-ib), V(c[3-1]) or V(c[1-2).
      - A range has at most 65536 names, as in Slurm.
    type: str
    required: true
seealso:
  - plugin: hpcops.cluster.hostlist_fold
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Wait for the nodes of an allocation
  ansible.builtin.wait_for:
    host: "{{ item }}"
    port: 6818
  loop: "{{ 'c[1-2],gpu7' | hpcops.cluster.hostlist_expand }}"

- name: Padding is kept
  ansible.builtin.assert:
    that: "'c[08-10]' | hpcops.cluster.hostlist_expand == ['c08', 'c09', 'c10']"
"""

RETURN = r"""
_value:
  description: The names; an empty list for an empty text.
  type: list
  elements: str
  sample: [c1, c2, gpu7]
"""


@raises_filter_errors
def hostlist_expand(hostlist: Any) -> list[str]:
    """Return the names of the host list."""
    if not isinstance(hostlist, str):
        raise HostlistError(f"hostlist_expand: the input must be a text, not {type(hostlist).__name__}")
    return expand(hostlist)


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"hostlist_expand": hostlist_expand}
