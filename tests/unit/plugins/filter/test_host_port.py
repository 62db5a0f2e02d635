# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An IPv6 address has brackets before its port, wherever host and port are joined."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.hpcops.cluster.plugins.filter.host_port import host_port

ROOT = Path(__file__).resolve().parents[4]
# A variable before a colon and a port.
JOINED = re.compile(r"\{\{[^{}]*\}\}:(\{\{|[0-9])|~ *':' *~|\{[a-z_.]*(host|address)[a-z_.]*\}:\{(?!port)")


@pytest.mark.parametrize(
    ("host", "joined"),
    [
        ("n1.example.org", "n1.example.org:9100"),
        ("10.0.0.1", "10.0.0.1:9100"),
        ("fd00::1", "[fd00::1]:9100"),
        ("[fd00::1]", "[fd00::1]:9100"),
    ],
)
def test_address_of_ipv6_has_brackets(host: str, joined: str) -> None:
    assert host_port(host, 9100) == joined


@pytest.mark.parametrize("host", ["", None, 7])
def test_what_is_no_host_is_refused(host: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="host_port: the input must be a host name or an address, not"):
        host_port(host, 1)


def test_nothing_else_joins_host_and_port() -> None:
    """The programs in files/ have their own tests; a line that adds brackets itself is right."""
    found = []
    for path in sorted([*ROOT.glob("roles/*/*/**/*"), *ROOT.glob("playbooks/**/*"), *ROOT.glob("plugins/**/*")]):
        if (
            path.suffix not in (".yml", ".j2", ".py")
            or "files" in path.relative_to(ROOT).parts
            or path.name == "_host_port.py"
        ):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if JOINED.search(line) and "'[' ~" not in line:
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert found == []
