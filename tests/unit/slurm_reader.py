# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a configuration file back the way Slurm's own parser does (src/common/parse_config.c)."""

from __future__ import annotations

import re

# keyvalue_pattern of the parser: a key, an equals sign, and a value in quotation marks or without a blank.
_PAIR = re.compile(r'[ \t]*([A-Za-z0-9_.]+)[ \t]*=[ \t]*(?:"([^"]*)"|(\S+))(?=[ \t]|$)')
_BEFORE_COMMENT = re.compile(r"(?:[^\\#]|\\.)*")


def read(text: str) -> list[list[tuple[str, str]]]:
    """Return the pairs of key and value of each line that has any."""
    lines = []
    for line in text.split("\n"):
        before = _BEFORE_COMMENT.match(line)
        bare = re.sub(r"\\(.)", r"\1", before.group() if before else "")
        pairs, position = [], 0
        while match := _PAIR.match(bare, position):
            pairs.append((match.group(1), match.group(2) if match.group(3) is None else match.group(3)))
            position = match.end()
        if bare[position:].strip():
            raise AssertionError(f"left over: {bare[position:]!r}")
        if pairs:
            lines.append(pairs)
    return lines
