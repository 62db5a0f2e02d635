# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox of a systemd unit: the strictest one, except for what the unit needs."""

from __future__ import annotations

from typing import Any

from ansible_collections.hpcops.cluster.plugins.plugin_utils._filters import as_mapping, raises_filter_errors

DOCUMENTATION = r"""
name: unit_sandbox
author: hpcops.cluster contributors (@hpcops)
version_added: 0.1.0
short_description: Write the sandbox of a systemd unit
description:
  - Returns the lines of a section C([Service]) that confine a unit. The unit gets no capability, no device, no kernel interface, no home
    directory, a file system that is read-only, the system calls of an ordinary service, and sockets of the kinds unix, IPv4 and IPv6.
  - A unit names what it needs beyond that, so that each template shows its exceptions, and C(systemctl cat) shows all of it.
positional: _input
options:
  _input:
    description:
      - Settings of C(systemd.exec) by name that differ from the strictest sandbox, or are added to it.
      - A list becomes one line for each of its values. V(none) leaves the setting out.
    type: dict
    required: true
seealso:
  - name: systemd.exec
    description: The settings.
    link: https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html
"""

EXAMPLES = r"""
# A unit's template: this daemon writes one directory and binds a port below 1024.
#
# [Service]
# ExecStart=/usr/sbin/exampled
# {{ {'CapabilityBoundingSet': 'CAP_NET_BIND_SERVICE', 'ReadWritePaths': '/var/lib/example'} | hpcops.cluster.unit_sandbox }}

- name: Show the strictest sandbox
  ansible.builtin.debug:
    msg: "{{ {} | hpcops.cluster.unit_sandbox }}"
"""

RETURN = r"""
_value:
  description: The lines, sorted by name.
  type: str
  sample: |-
    CapabilityBoundingSet=
    LockPersonality=yes
"""

STRICTEST: dict[str, Any] = {
    "CapabilityBoundingSet": "",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "NoNewPrivileges": "yes",
    "PrivateDevices": "yes",
    "PrivateTmp": "yes",
    "ProtectClock": "yes",
    "ProtectControlGroups": "yes",
    "ProtectHome": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectSystem": "strict",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "SystemCallArchitectures": "native",
    "SystemCallErrorNumber": "EPERM",  # a call that is not allowed fails; it does not end the program
    "SystemCallFilter": "@system-service",
    "UMask": "0077",
}


@raises_filter_errors
def unit_sandbox(settings: Any) -> str:
    """Return the lines of the sandbox."""
    merged = STRICTEST | dict(as_mapping(settings, "unit_sandbox: the input"))
    return "\n".join(
        f"{name}={value}"
        for name, values in sorted(merged.items())
        if values is not None
        for value in (values if isinstance(values, list) else [values])
    )


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"unit_sandbox": unit_sandbox}
