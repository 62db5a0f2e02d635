# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's slurmctld: what is asked and done, and what counts as verified."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

import pytest

from ansible_collections.hpcops.cluster.plugins.module_utils import _slurm_controller
from ansible_collections.hpcops.cluster.plugins.module_utils._errors import ControllerError
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_controller import (
    STILL_FINE,
    USABLE,
    Controller,
)

ME = socket.gethostname().partition(".")[0]
MINE = f"Slurmctld(primary) at {ME} is UP\nSlurmctld(backup1) at other is UP\n"
ACTIVE = {"systemctl is-active": (0, "", "")}
Answers = Mapping[str, "tuple[int, str, str]"]


class Host:
    """Answers commands by how they begin, the longest first; what is not known fails."""

    def __init__(self, answers: Answers) -> None:
        self.answers = dict(answers)
        self.commands: list[str] = []

    def __call__(self, command: Sequence[str]) -> tuple[int, str, str]:
        text = " ".join(command)
        self.commands.append(text)
        for start in sorted(self.answers, key=len, reverse=True):
            if text.startswith(start):
                return self.answers[start]
        return 1, "", f"{command[0]}: no answer"


def controller(host: Host, timeout: float = 0) -> Controller:
    return Controller(host, "slurmctld.service", ["scontrol", "ping"], timeout)


def asked(**answers: str) -> Controller:
    return controller(Host({command.replace("_", " "): (0, out, "") for command, out in answers.items()}))


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        (MINE, True),
        (f"Slurmctld(primary) at {ME}.example.org is UP\n", True),
        (f"Slurmctld(primary) at other is DOWN\nSlurmctld(backup1) at {ME} is UP\n", True),
        (f"Slurmctld(primary) at other is UP\nSlurmctld(backup1) at {ME} is UP\n", False),
        (f"Slurmctld(primary) at {ME} is DOWN\n", False),
        (f"Slurmctld(primary) at {ME}2 is UP\n", False),
        ("", False),
    ],
)
def test_the_first_controller_that_answers_is_in_charge(out: str, expected: bool) -> None:
    assert asked(scontrol_ping=out).in_charge() == expected


WORDS = ("idle", "mixed", "allocated", "completing", "reserved", "planned", "blocked")


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("mark", ["", "+", "-", "$", "@"])
def test_a_node_that_runs_jobs_or_could_is_usable(word: str, mark: str) -> None:
    assert USABLE.match(word + mark)
    assert STILL_FINE.match(word + mark)


@pytest.mark.parametrize("mark", ["~", "#", "!", "%", "^"])
def test_a_node_that_sleeps_or_wakes_need_not_come_back_but_may_do_so_meanwhile(mark: str) -> None:
    assert not USABLE.match(f"idle{mark}")
    assert STILL_FINE.match(f"idle{mark}")


@pytest.mark.parametrize("state", ["maint", "reboot", "reboot^", "reboot@"])
def test_a_node_may_go_into_maintenance_meanwhile(state: str) -> None:
    assert not USABLE.match(state)
    assert STILL_FINE.match(state)


@pytest.mark.parametrize(
    "state",
    [
        *("down", "down*", "down~", "drained", "drained*", "draining", "draining@", "fail", "failing", "error"),
        *("unknown", "unk*", "inval", "future", "idle*", "mixed*", "allocated*", "maint*", "reboot*", "no_respond", ""),
    ],
)
def test_a_node_that_is_down_drained_or_silent_is_lost(state: str) -> None:
    assert not USABLE.match(state)
    assert not STILL_FINE.match(state)


def test_a_node_in_several_partitions_is_usable_once() -> None:
    out = "c1|idle\nc1|idle\nc2|mixed-\nc2|mixed-\nc3|down*\n c4|drained \n"
    assert asked(sinfo=out).usable_nodes() == {"c1", "c2"}


def test_nodes_and_jobs_of_hidden_partitions_count() -> None:
    host = Host({"sinfo": (0, "", ""), "squeue": (0, "", "")})
    controller(host).usable_nodes()
    controller(host).jobs()
    assert all(" --all " in command for command in host.commands)


def test_parameters_are_read_as_slurmctld_shows_them() -> None:
    out = """Configuration data as of 2026-11-20T12:00:00
AccountingStorageBackupHost = (null)
SlurmctldTimeout        = 120 sec
SlurmctldHost[0]        = ctl1
SchedulerParameters     = a=b,c = d
HASH_VAL                = Match

Cgroup Support Configuration:
ConstrainCores          = no
"""
    shown = asked(scontrol_show_config=out).shown()
    assert shown["slurmctldtimeout"] == "120 sec"
    assert shown["schedulerparameters"] == "a=b,c = d"
    assert shown["hash_val"] == "Match"


@pytest.mark.parametrize(
    ("where", "options"),
    [
        ({}, "--states=RUNNING,SUSPENDED,COMPLETING,CONFIGURING,STOPPED"),
        ({"nodes": "c[1-2]"}, "--states=RUNNING,SUSPENDED,COMPLETING,CONFIGURING,STOPPED --nodelist=c[1-2]"),
        ({"partition": "p"}, "--partition=p"),
    ],
)
def test_jobs_are_named_with_user_and_place(where: dict[str, str], options: str) -> None:
    host = Host({"squeue": (0, "7|ann|RUNNING|p|c1\n8_[1-9]|bob|PENDING|p|\n", "")})
    assert controller(host).jobs(**where) == ["job 7 of ann (running in p on c1)", "job 8_[1-9] of bob (pending in p)"]
    assert host.commands[0].endswith(options)


def test_jobs_wait_for_a_node_when_they_name_it() -> None:
    host = Host({"squeue": (0, "7|ann|PENDING|p|c[1-3]\n8|bob|PENDING|p|\n9|eve|PENDING|p|c9\n", "")})
    assert controller(host).waiting_jobs("c[3-4]") == ["job 7 of ann (pending in p on c[1-3])"]
    assert "--states=PENDING" in host.commands[0]


def test_a_controller_that_does_not_answer_is_an_error_with_the_reason() -> None:
    with pytest.raises(ControllerError, match=r"squeue --noheader .*: squeue: no answer"):
        controller(Host({})).jobs()


def test_last_words_are_those_of_the_journal_and_the_log() -> None:
    host = Host({"journalctl": (0, "one\n", ""), "tail": (0, "two\n", "")})
    assert controller(host).last_words().split() == ["one", "one"]  # slurmctld's own, and systemd's about it
    assert ["_SYSTEMD_UNIT=" in command for command in host.commands] == [True, False]
    assert controller(host).last_words("/var/log/x").split() == ["one", "one", "/var/log/x:", "two"]


# --- Taking over -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "in_charge", "does"),
    [
        ("none", True, []),
        ("reconfigure", True, ["scontrol reconfigure"]),
        ("restart", True, ["systemctl restart slurmctld.service", "scontrol reconfigure"]),
        ("start", True, ["systemctl restart slurmctld.service", "scontrol reconfigure"]),
        ("restart", False, ["systemctl restart slurmctld.service"]),
    ],
)
def test_slurmctld_is_moved_as_little_as_its_action_says(action: str, in_charge: bool, does: list[str]) -> None:
    ping = MINE if in_charge else MINE.replace("primary", "x").replace(ME, "nobody")
    host = Host({**ACTIVE, "scontrol ping": (0, ping, ""), **dict.fromkeys(does, (0, "", ""))})
    assert controller(host).take_over(action) == ""
    assert [command for command in host.commands if "ping" not in command and "is-active" not in command] == does


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ({}, "scontrol reconfigure failed: scontrol: no answer"),
        ({"scontrol reconfigure": (0, "", "")}, "slurmctld does not answer: scontrol: no answer (after 0 s)"),
        (
            {"scontrol reconfigure": (0, "", ""), "scontrol ping": (0, "up", "")},
            "slurmctld does not answer: up (after 0 s)",
        ),
    ],
)
def test_slurmctld_that_does_not_take_over_is_a_problem(answers: Answers, problem: str) -> None:
    assert controller(Host(answers)).take_over("reconfigure") == problem


def test_slurmctld_is_given_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_slurm_controller, "POLL_SECONDS", 0)
    problems = iter(["not yet", "not yet", ""])
    assert controller(Host({}), timeout=60).until_fine(lambda: next(problems)) == ""


# --- Verifying -------------------------------------------------------------------------------------------------------

CONFIG = "scontrol show config"


def verified(
    before: Mapping[str, str],
    now: Mapping[str, str],
    values: Mapping[str, tuple[str | None, str | None]],
    nodes: Sequence[str] = (),
    sinfo: str = "",
) -> str:
    text = "".join(f"{name:<24}= {value}\n" for name, value in now.items())
    host = Host({CONFIG: (0, text, ""), "sinfo": (0, sinfo, "")})
    return controller(host).verify(nodes, {name.lower(): value for name, value in before.items()}, values)


@pytest.mark.parametrize(
    ("name", "old", "new", "before", "after"),
    [
        ("SlurmctldTimeout", "60", "61", "60 sec", "61 sec"),
        ("SelectTypeParameters", "CR_CPU", "CR_Core", "CR_CPU", "CR_CORE"),
        # Slurm has words and an order of its own.
        ("PriorityMaxAge", "7-00:00:00", "14-0", "7-00:00:00", "14-00:00:00"),
        ("MaxJobCount", "10000", "64K", "10000", "65536"),
        ("SlurmctldDebug", "info", "4", "info", "verbose"),
        ("DebugFlags", "Power", "Power,Backfill", "Power", "Backfill,Power"),
        ("PrologFlags", "Alloc", "Contain", "Alloc", "Alloc,Contain"),
        ("DisableRootJobs", "NO", "true", "No", "Yes"),
        # What says the same is not a change.
        ("DisableRootJobs", "NO", "false", "No", "No"),
        ("PrivateData", "jobs,nodes", "nodes,jobs", "jobs,nodes", "jobs,nodes"),
        # What was not shown as it was written cannot be compared.
        ("PriorityMaxAge", "7-0", "8-0", "7-00:00:00", "7-00:00:00"),
        ("SlurmUser", "slurm", "root", "slurm(64030)", "slurm(64030)"),
        # What came or went has no former or no new value; slurmctld has the file, and that is all that can be known.
        ("KillWait", None, "31", "30 sec", "31 sec"),
        ("KillWait", "31", None, "31 sec", "30 sec"),
        ("KillWait", "30", None, "30 sec", "30 sec"),
    ],
)
def test_a_value_that_was_taken_over_is_verified(
    name: str, old: str | None, new: str | None, before: str, after: str
) -> None:
    assert verified({name: before}, {name: after, "HASH_VAL": "Match"}, {name: (old, new)}) == ""


@pytest.mark.parametrize(
    ("name", "old", "new", "shown"),
    [
        ("SlurmctldTimeout", "60", "61", "60 sec"),
        ("slurmctldtimeout", "60", "61", "60 sec"),
        ("DisableRootJobs", "NO", "YES", "No"),
        ("PrivateData", "jobs", "jobs,nodes", "jobs"),
    ],
)
def test_a_value_that_was_not_taken_over_is_a_problem(name: str, old: str, new: str, shown: str) -> None:
    problem = verified({name: shown}, {name: shown}, {name: (old, new)})
    assert problem == f"slurmctld still runs with {name}={old}, not with {new} (after 0 s)"


def test_slurmctld_has_to_run_with_the_file_that_is_there() -> None:
    problem = verified({}, {"HASH_VAL": "Different Ours=0x1 Slurmctld=0x2"}, {})
    assert problem.startswith("slurmctld runs with another slurm.conf (HASH_VAL = Different Ours=0x1 Slurmctld=0x2)")


@pytest.mark.parametrize(
    ("sinfo", "lost"),
    [
        ("c1|idle\nc2|mixed\nc2|mixed\n", ""),
        ("c1|idle~\nc2|idle#\n", ""),
        ("c1|idle*\nc2|idle\n", "c1"),
        ("c1|idle\n", "c2"),
        ("c1|down\nc2|inval\nc3|idle\n", "c1, c2"),
    ],
)
def test_nodes_that_were_usable_have_to_be_so_again(sinfo: str, lost: str) -> None:
    problem = verified({}, {}, {}, ["c1", "c2"], sinfo)
    assert problem == (f"nodes that were usable are not any more: {lost} (after 0 s)" if lost else "")


def test_of_many_lost_nodes_some_are_named() -> None:
    problem = verified({}, {}, {}, [f"c{number:05d}" for number in range(10000)])
    assert "c00019 and 9980 others" in problem


def test_a_controller_that_cannot_be_asked_is_not_verified() -> None:
    assert controller(Host({})).verify([], {}, {}).startswith("scontrol show config: scontrol: no answer")
