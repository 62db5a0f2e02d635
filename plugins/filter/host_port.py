# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Join a host and a port."""

from __future__ import annotations

from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError, kind_of
from ansible_collections.hpcops.cluster.plugins.module_utils._host_port import host_port as joined
from ansible_collections.hpcops.cluster.plugins.plugin_utils._filters import raises_filter_errors

DOCUMENTATION = r"""
name: host_port
author: hpcops.cluster contributors (@hpcops)
version_added: 0.1.0
short_description: Join a host and a port
description:
  - Returns C(HOST:PORT), and C([ADDRESS]:PORT) for an IPv6 address, which would be ambiguous without brackets (RFC 3986, 3.2.2).
positional: _input, port
options:
  _input:
    description: A host name or an address. An address that has its brackets keeps them.
    type: str
    required: true
  port:
    description: The port.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Show where Prometheus answers
  ansible.builtin.debug:
    msg: "https://{{ inventory_hostname | hpcops.cluster.host_port(9090) }}"
"""

RETURN = r"""
_value:
  description: The host and the port.
  type: str
  sample: '[2001:db8::1]:9090'
"""


@raises_filter_errors
def host_port(host: Any, port: Any) -> str:
    """Return the host and the port."""
    if not isinstance(host, str) or not host:
        raise HpcopsError(f"host_port: the input must be a host name or an address, not {host!r} ({kind_of(host)})")
    return joined(host, port)


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"host_port": host_port}
