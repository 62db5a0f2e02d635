# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks are run as they are given, and what they are given to read is no part of a command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.hpcops.cluster.plugins.modules import acceptance_checks


def check(command: str, **more: Any) -> dict[str, Any]:
    given = {"name": "it works", "stdin": "", "user": None, "expect": None, "timeout": 30, "retry": 0}
    return {**given, "command": command, **more}


@pytest.mark.parametrize(
    ("given", "passed", "detail"),
    [
        (check("echo one; echo two"), True, "one\ntwo"),
        (check("echo wrong; exit 3"), False, "wrong (exit status 3)"),
        (check("exit 3"), False, "no output (exit status 3)"),
        (check("echo UP", expect="is UP"), False, "UP (expected: is UP)"),
        (check("cat", stdin="a credential"), True, "a credential"),
        (check("cat"), True, ""),
        (check("sleep 9", timeout=0.1), False, "no end after 0.1 s"),
    ],
)
def test_check_passes_when_its_command_does_and_prints_what_is_expected(
    given: dict[str, Any], passed: bool, detail: str
) -> None:
    assert acceptance_checks.attempt(given) == (passed, detail)


def test_failing_command_is_run_again(tmp_path: Path) -> None:
    ran = acceptance_checks.run(check(f"test -e {tmp_path}/a || {{ touch {tmp_path}/a; exit 1; }}", retry=30))
    assert ran["passed"]


def test_output_of_another_host_cannot_run_a_command(tmp_path: Path) -> None:
    hostile = f"MUNGE:x; touch {tmp_path}/owned; $(touch {tmp_path}/owned) `touch {tmp_path}/owned`' \" | touch {tmp_path}/owned"
    assert acceptance_checks.attempt(check("cat", stdin=hostile)) == (True, hostile)
    assert not (tmp_path / "owned").exists()
