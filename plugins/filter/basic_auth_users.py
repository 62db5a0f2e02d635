# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hash passwords for the web configuration file of Prometheus and its exporters."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._filters import as_mapping, raises_filter_errors

try:
    import bcrypt

    IMPORT_ERROR: ImportError | None = None
except ImportError as error:
    IMPORT_ERROR = error

DOCUMENTATION = r"""
name: basic_auth_users
author: hpcops.cluster contributors (@hpcops)
version_added: 0.1.0
short_description: Hash passwords for the web configuration file of Prometheus and its exporters
description:
  - Makes what C(basic_auth_users) of that file is to be, bcrypt hashes by user name, the same ones in each run.
  - The cost is the lowest, since what protects a random password of 20 characters is its length, and a site of 10,000 hosts has as many
    hashes made in a run. A short password is refused for that reason.
positional: _input
requirements:
  - bcrypt (Python library on the control machine)
options:
  _input:
    description: Passwords by user name, each of 20 to 72 printable ASCII characters.
    type: dict
    required: true
  seed:
    description: A text that differs from host to host, such as its name, for the salt. Nothing secret.
    type: str
    required: true
seealso:
  - name: Web configuration of Prometheus' exporter toolkit
    description: What the file may hold.
    link: https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md
"""

EXAMPLES = r"""
- name: Let Prometheus alone read an exporter's metrics
  ansible.builtin.copy:
    content: "{{ {'basic_auth_users': users | hpcops.cluster.basic_auth_users(inventory_hostname)} | to_nice_yaml }}"
    dest: /etc/node_exporter/web.yml
    owner: root
    group: node_exporter
    mode: "0640"
  no_log: true
  vars:
    users:
      prometheus: "{{ vault_metrics_password }}"
"""

RETURN = r"""
_value:
  description: Hashes by user name.
  type: dict
  sample: {prometheus: $2b$04$uSxbuBN0Q31oeMnlVNI.m.R/zrTN95Ppr64U62PgZUiHMFg3kf5Zq}
"""

# bcrypt writes its own base64: the same order, other letters.
OWN_LETTERS = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
)


@raises_filter_errors
def basic_auth_users(users: Any, seed: Any) -> dict[str, str]:
    """Return the passwords' hashes."""
    if IMPORT_ERROR is not None:
        raise HpcopsError(
            "basic_auth_users needs the Python library bcrypt on the control machine: pip install bcrypt"
        ) from IMPORT_ERROR
    return {
        user: _hashed(user, password, f"{seed}/{user}")
        for user, password in as_mapping(users, "basic_auth_users: the input").items()
    }


def _hashed(user: str, password: Any, seed: str) -> str:
    if not (isinstance(password, str) and 20 <= len(password) <= 72 and password.isascii() and password.isprintable()):
        raise HpcopsError(
            f"basic_auth_users: the password of {user} must have 20 to 72 printable ASCII characters, better random ones"
        )
    salt = base64.b64encode(hashlib.sha256(seed.encode()).digest()[:16]).rstrip(b"=").translate(OWN_LETTERS)
    return str(bcrypt.hashpw(password.encode(), b"$2b$04$" + salt).decode())


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"basic_auth_users": basic_auth_users}
