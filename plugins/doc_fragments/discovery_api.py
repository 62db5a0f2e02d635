# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of everything that asks the service-discovery API."""

from __future__ import annotations


class ModuleDocFragment:
    """The fragment. PLUGINS says in addition where plugins find the options, LOOKUPS where lookups do."""

    DOCUMENTATION = r"""
options:
  url:
    description:
      - Where the service-discovery API is, such as V(https://discovery.example.org:8420). May be a template.
      - Anything but V(https) is refused, except to this machine itself, since the token would cross the network in the clear.
      - The environment variable E(HPCOPS_DISCOVERY_URL) may have it.
    type: str
    required: true
  token:
    description:
      - The token to ask with. What reads needs the scope V(read), what writes V(write). May be a template, such as a lookup in a vault.
      - It is in no message, cache or variable. Without it or E(HPCOPS_DISCOVERY_TOKEN), O(token_file) is read.
    type: str
  token_file:
    description:
      - A file on the control machine whose content is the token. A file that cannot be read, or is empty, is an error.
      - The environment variable E(HPCOPS_DISCOVERY_TOKEN_FILE) may have it.
    type: str
  ca_file:
    description:
      - A file of certificates (PEM) that the server's must be signed by. Without it, those that the requests library trusts.
      - There is no way to do without verification.
      - The environment variable E(HPCOPS_DISCOVERY_CA_FILE) may have it.
    type: str
  timeout:
    description:
      - Seconds to wait for a connection, and for each part of the answer; more than 0.
      - The environment variable E(HPCOPS_DISCOVERY_TIMEOUT) may have it.
    type: float
    default: 30
  retries:
    description:
      - How often to ask again. A question is asked again when there is no connection or answer, or one of the statuses 429, 500, 502,
        503 and 504. A write is sent again only when there is no connection, or one of the statuses 429 and 503.
      - The pauses double from half a second on, up to 30 seconds, and vary at random by half a second.
      - The environment variable E(HPCOPS_DISCOVERY_RETRIES) may have it.
    type: int
    default: 3
requirements:
  - requests >= 2.31 with urllib3 >= 2 (Python libraries on the control machine)
"""

    PLUGINS = r"""
options:
  url:
    env:
      - name: HPCOPS_DISCOVERY_URL
  token:
    env:
      - name: HPCOPS_DISCOVERY_TOKEN
  token_file:
    env:
      - name: HPCOPS_DISCOVERY_TOKEN_FILE
  ca_file:
    env:
      - name: HPCOPS_DISCOVERY_CA_FILE
  timeout:
    env:
      - name: HPCOPS_DISCOVERY_TIMEOUT
  retries:
    env:
      - name: HPCOPS_DISCOVERY_RETRIES
"""

    LOOKUPS = r"""
options:
  url:
    vars:
      - name: hpcops_discovery_url
  token:
    vars:
      - name: hpcops_discovery_token
  token_file:
    vars:
      - name: hpcops_discovery_token_file
  ca_file:
    vars:
      - name: hpcops_discovery_ca_file
notes:
  - Reads the API once for each evaluation, and keeps nothing. Values from the API are never templates.
  - The variables C(hpcops_discovery_url), C(hpcops_discovery_token), C(hpcops_discovery_token_file) and C(hpcops_discovery_ca_file)
    stand in for the options of these names.
"""
