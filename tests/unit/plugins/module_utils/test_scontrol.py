# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of scontrol and squeue, with a stand-in for both, and what is said when they fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import ControllerError
from ansible_collections.hpcops.cluster.plugins.module_utils._scontrol import Scontrol


@pytest.fixture(name="programs")
def programs_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


def scontrol(programs: Path, text: str, name: str = "scontrol") -> Scontrol:
    """The object over a program that keeps its arguments."""
    (programs / name).write_text(f'#!/bin/sh\necho "$*" >>{programs}/calls\n{text}\n', encoding="utf-8")
    (programs / name).chmod(0o755)
    with patch_module_args({}):
        return Scontrol(AnsibleModule({}))


def calls(programs: Path) -> str:
    return (programs / "calls").read_text(encoding="utf-8")


def test_stand_in_is_asked_in_one_language_and_time_zone(programs: Path) -> None:
    asked = scontrol(programs, "echo $LC_ALL $TZ $SLURM_TIME_FORMAT").run(["ping"])
    assert (asked, calls(programs)) == ("C UTC standard\n", "ping\n")


def test_nodes_are_all_nodes(programs: Path) -> None:
    found = scontrol(programs, "echo 'NodeName=n1 State=IDLE'; echo 'NodeName=n2 State=DOWN'").nodes()
    assert sorted(found) == ["n1", "n2"]
    assert calls(programs) == "--all --future --oneliner show node\n"


def test_jobs_are_those_of_this_cluster(programs: Path) -> None:
    jobs = scontrol(programs, "echo '7|alice|RUNNING|n[1-2]'", "squeue").jobs()
    assert len(jobs) == 1
    assert calls(programs) == "--all --local --noheader --format=%i|%u|%T|%N\n"


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("RebootProgram           = /usr/sbin/reboot now", "/usr/sbin/reboot now"),
        ("ResumeProgram = /x\nRebootProgram = a=b\nSuspendProgram = /y", "a=b"),
        ("RebootProgram           = (null)", ""),
        ("ResumeProgram           = /x", ""),
        ("AccountingStorageHost = db\nRebootProgram = !/x", "!/x"),
    ],
)
def test_program_that_reboots_is_read_from_the_configuration(programs: Path, text: str, program: str) -> None:
    assert scontrol(programs, f"cat <<'END'\n{text}\nEND").reboot_program() == program
    assert calls(programs) == "show config\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo out; echo ' one' >&2; echo two >&2; exit 1", "one; two"),
        ("echo out; exit 1", "out"),
        ("exit 7", "exit status 7"),
    ],
)
def test_failure_names_the_command_and_its_words(programs: Path, text: str, words: str) -> None:
    with pytest.raises(ControllerError) as failure:
        scontrol(programs, text).run(["update", "x" * 300])
    assert str(failure.value) == f"scontrol update {'x' * 193}: {words}"


def test_program_that_is_missing_is_named(
    programs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = scontrol(programs, "")
    monkeypatch.setenv("PATH", str(programs))
    with patch_module_args({}), pytest.raises(SystemExit):
        asked.run(["x"], program="squeue")
    assert "Failed to find required executable" in capsys.readouterr().out
