# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fold names into a host list."""

from __future__ import annotations

from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HostlistError
from ansible_collections.hpcops.cluster.plugins.module_utils._hostlist import fold
from ansible_collections.hpcops.cluster.plugins.plugin_utils._filters import as_list, raises_filter_errors

DOCUMENTATION = r"""
name: hostlist_fold
author: hpcops.cluster contributors (@hpcops)
version_added: 0.1.0
short_description: Fold host names into a Slurm host list
description:
  - Writes a list of host names as the host list that Slurm reads, such as V(c[1-2],gpu7).
  - The names are sorted and each is there once. A name is never respelled, so V(c1) and V(c01) stay two hosts.
  - Brackets stand only at the end of a name, the one place where every Slurm release reads them, so
    V(c1-ib) and V(c2-ib) stay as they are.
positional: _input
options:
  _input:
    description:
      - Host names. An element may itself be a host list, which is expanded first.
      - An empty name is an error, and so is one with a blank, a quotation mark, V(=), V(#), a backslash, or a bracket
        without its partner.
    type: list
    elements: str
    required: true
requirements:
  - ClusterShell >= 1.9 (Python library on the control node)
seealso:
  - plugin: hpcops.cluster.hostlist_expand
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Drain the nodes of a rack
  ansible.builtin.command:
    argv:
      - scontrol
      - update
      - nodename={{ groups['rack7'] | hpcops.cluster.hostlist_fold }}
      - state=drain
      - reason=cooling

- name: Names are sorted, numbers folded
  ansible.builtin.assert:
    that:
      - "['c4', 'gpu7', 'c1', 'c2'] | hpcops.cluster.hostlist_fold == 'c[1-2,4],gpu7'"
      - "['c1', 'c[01-03]'] | hpcops.cluster.hostlist_fold == 'c[1,01-03]'"
"""

RETURN = r"""
_value:
  description: The host list; empty for an empty list.
  type: str
  sample: c[1-2],gpu7
"""


@raises_filter_errors
def hostlist_fold(names: Any) -> str:
    """Return the host list of the names."""
    hosts = as_list(names, "hostlist_fold: the input")
    wrong = [name for name in hosts if not isinstance(name, str)]
    if wrong:
        raise HostlistError(f"hostlist_fold: {wrong[0]!r} is not a host name; quote it if it is one")
    return fold(hosts)


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"hostlist_fold": hostlist_fold}
