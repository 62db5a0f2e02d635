# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A unit has the strictest sandbox except for what it names."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.hpcops.cluster.plugins.filter.unit_sandbox import STRICTEST, unit_sandbox


def test_unit_that_names_nothing_has_the_strictest_sandbox() -> None:
    assert unit_sandbox({}).splitlines() == [f"{name}={value}" for name, value in STRICTEST.items()]


def test_setting_that_a_unit_names_takes_the_place_of_the_strictest() -> None:
    lines = unit_sandbox({"ProtectHome": "read-only", "UMask": None, "ReadWritePaths": ["/a", "/b"]}).splitlines()
    assert "ProtectHome=read-only" in lines
    assert "ProtectHome=yes" not in lines
    assert not [line for line in lines if line.startswith("UMask")]
    assert [line for line in lines if line.startswith("ReadWritePaths")] == ["ReadWritePaths=/a", "ReadWritePaths=/b"]


def test_settings_that_are_no_mapping_are_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="must be a mapping"):
        unit_sandbox(["ProtectHome"])
