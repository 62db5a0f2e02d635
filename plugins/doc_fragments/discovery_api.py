# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of everything that asks the service-discovery API."""

from __future__ import annotations


class ModuleDocFragment:
    """The fragment."""

    DOCUMENTATION = r"""
options:
  url:
    description:
      - Where the service-discovery API is, such as V(https://discovery.example.org:8420). May be a template.
      - Anything but V(https) is refused, except to this machine itself, since the token would cross the network in the clear.
    type: str
    required: true
    env:
      - name: HPCOPS_DISCOVERY_URL
  token:
    description:
      - The token to ask with. Scope V(read) is enough. May be a template, such as a lookup in a vault.
      - It is in no message, cache or variable. Without it, O(token_file) is read.
    type: str
    env:
      - name: HPCOPS_DISCOVERY_TOKEN
  token_file:
    description:
      - A file on the control machine whose content is the token. A file that cannot be read, or is empty, is an error.
    type: str
    env:
      - name: HPCOPS_DISCOVERY_TOKEN_FILE
  ca_file:
    description:
      - A file of certificates (PEM) that the server's must be signed by. Without it, those that the requests library trusts.
      - There is no way to do without verification.
    type: str
    env:
      - name: HPCOPS_DISCOVERY_CA_FILE
  timeout:
    description: Seconds to wait for a connection, and for each part of the answer; more than 0.
    type: float
    default: 30
    env:
      - name: HPCOPS_DISCOVERY_TIMEOUT
  retries:
    description:
      - How often to ask again when there is no connection or answer, or one of the statuses 429, 500, 502, 503 and 504.
      - The pauses double from half a second on, up to 30 seconds, and vary at random by half a second.
    type: int
    default: 3
    env:
      - name: HPCOPS_DISCOVERY_RETRIES
requirements:
  - requests >= 2.31 with urllib3 >= 2 (Python libraries on the control machine)
"""
