# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of docs/runbooks, for the scenarios that run them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

RUNBOOKS = Path(__file__).resolve().parents[2] / "docs" / "runbooks"
ALL = sorted(path.stem for path in RUNBOOKS.glob("*.md") if path.stem != "README")
# A block, and the line before it that tells why it cannot be run.
_BLOCK = re.compile(r"^(_Not run by the tests: [^\n]+_\n\n)?```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMPT = re.compile(r"(?P<where>\w+)[#$] (?P<command>.+)")


@dataclass(frozen=True)
class Command:
    """A line of a runbook."""

    part: str
    where: str
    """The prompt's host, such as ctl."""
    command: str
    runs_here: bool = True

    def filled(self, words: Mapping[str, str]) -> str:
        """The command with what stands for the site's own names, such as NODE."""
        return re.sub(r"\b[A-Z]{4,}\b", lambda word: words.get(word[0], word[0]), self.command)


def text_of(runbook: str) -> str:
    return (RUNBOOKS / f"{runbook}.md").read_text(encoding="utf-8")


def commands_of(runbook: str) -> list[Command]:
    """All commands in their order."""
    found = []
    for section in re.split(r"^## ", text_of(runbook), flags=re.MULTILINE)[1:]:
        part, _newline, body = section.partition("\n")
        for reason, block in _BLOCK.findall(body):
            for line in block.splitlines():
                match = _PROMPT.fullmatch(line)
                assert match, f"{runbook}, {part}: not a command behind a prompt: {line}"
                found.append(Command(part, match["where"], match["command"], runs_here=not reason))
    return found
