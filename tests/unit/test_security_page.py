# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each attack that docs/security.md names is a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ROWS = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| ") and "test_" in line]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1][:60])
def test_attack_of_the_threat_model_is_run(row: list[str]) -> None:
    named = re.fullmatch(r"`(\S+\.py)` `(test_\w+)` \|", row[3])
    assert named, f"name a file and a test: {row[3]}"
    text = (ROOT / named[1]).read_text(encoding="utf-8")
    assert re.search(rf"^def {named[2]}\(", text, re.MULTILINE), f"{named[1]} has no {named[2]}"


def test_every_line_of_the_table_has_a_test_or_says_why_not() -> None:
    table = PAGE.partition("## What each party cannot do")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(lines) > 25
    assert [line for line in lines if "test_" not in line and "(a default, no attack)" not in line] == []
