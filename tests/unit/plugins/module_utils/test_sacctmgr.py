# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of sacctmgr, squeue and sacct, and what is said when they fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import AccountingError
from ansible_collections.hpcops.cluster.plugins.module_utils._sacctmgr import Sacctmgr, shortened
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_accounts import SHOW


class StandIn:
    """Answers by a command's first word, and keeps what was run."""

    def __init__(self, answers: Mapping[str, tuple[int, str, str]]) -> None:
        self.answers = answers
        self.commands: list[list[str]] = []

    def __call__(self, command: Sequence[str]) -> tuple[int, str, str]:
        self.commands.append(list(command))
        return self.answers[command[0]]


def test_everything_is_shown_in_a_form_that_can_be_read() -> None:
    run = StandIn({"sacctmgr": (0, "a|b\n", "a warning")})
    assert Sacctmgr(run).shown() == dict.fromkeys(SHOW, "a|b\n")
    assert run.commands == [["sacctmgr", "--parsable2", "--noheader", "show", *words] for words in SHOW.values()]


def test_change_is_made_without_a_question() -> None:
    run = StandIn({"sacctmgr": (0, "", "")})
    Sacctmgr(run).change(["add", "account", "physics"])
    assert run.commands == [["sacctmgr", "--immediate", "--quiet", "add", "account", "physics"]]


def test_jobs_are_asked_of_slurmctld_and_of_slurmdbd_where_it_does_not_answer() -> None:
    run = StandIn({"squeue": (0, "", "")})
    assert Sacctmgr(run).jobs("hpc") == []
    assert [command[0] for command in run.commands] == ["squeue"]
    assert {"--all", "--noheader", "--clusters=hpc"} < set(run.commands[0])
    run = StandIn({"squeue": (1, "", "no controller"), "sacct": (0, "", "")})
    assert Sacctmgr(run).jobs("hpc") == []
    asked = run.commands[1]
    assert asked[0] == "sacct"
    assert {"--allusers", "--allocations", "--clusters=hpc", "--state=RUNNING,PENDING,SUSPENDED"} < set(asked)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((1, "out\n", " bad\n\n worse \n"), "bad; worse; out"),
        ((7, "\n", ""), "exit status 7"),
        ((-9, "", ""), "exit status -9"),
    ],
)
def test_failure_names_the_command_and_its_words(answer: tuple[int, str, str], words: str) -> None:
    with pytest.raises(AccountingError) as failure:
        Sacctmgr(StandIn({"sacctmgr": answer})).change(["delete", "qos", "x"])
    assert str(failure.value) == f"sacctmgr --immediate --quiet delete qos x: {words}"


@pytest.mark.parametrize(("length", "shown"), [(300, "x" * 300), (301, "x" * 300 + "...")])
def test_long_command_is_cut_for_people(length: int, shown: str) -> None:
    assert shortened(["x" * length]) == shown
    assert shortened(["a", "b"]) == "a b"
