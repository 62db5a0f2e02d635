# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module daemon with stand-ins for systemctl and journalctl, which keep a unit's state in a file."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.hpcops.cluster.plugins.modules import daemon

Run = Callable[..., dict[str, Any]]

# A unit's state is a file of properties. What a verb makes of it is a file of properties too, named like the verb; where there is a
# file VERB.error, the verb fails with its text. "later" takes the place of the state when it is shown for the third time.
SYSTEMCTL = """#!/bin/sh
cd '{state}' || exit 9
echo "$*" >>calls
case $1 in
  show)
    [ ! -e show.error ] || {{ cat show.error >&2; exit 1; }}
    cat unit
    echo >>shown
    if [ -e later ] && [ "$(wc -l <shown)" -ge 3 ]; then mv later unit; fi ;;
  daemon-reload)
    sed -i s/NeedDaemonReload=yes/NeedDaemonReload=no/ unit ;;
  *)
    if [ -e "$1.error" ]; then cat "$1.error" >&2; exit 1; fi
    if [ -e "$1" ]; then cp "$1" unit; fi ;;
esac
"""
JOURNALCTL = """#!/bin/sh
echo "$*" >>'{state}/journal calls'
[ ! -e '{state}/journal' ] || cat '{state}/journal'
"""
GONE = {
    "LoadState": "not-found",
    "ActiveState": "inactive",
    "SubState": "dead",
    "UnitFileState": "",
    "ConditionResult": "no",
    "NeedDaemonReload": "no",
    "MainPID": "0",
}
STOPPED = {**GONE, "LoadState": "loaded", "UnitFileState": "enabled"}
RUNNING = {**STOPPED, "ActiveState": "active", "SubState": "running", "ConditionResult": "yes", "MainPID": "42"}
STARTING = {**RUNNING, "ActiveState": "activating", "SubState": "start-pre"}
DIED = {**STOPPED, "ActiveState": "failed", "SubState": "failed", "ConditionResult": "yes"}
RESTARTED = {**RUNNING, "MainPID": "43"}


class StandIn:
    """The state that the stand-ins keep."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, name: str, status: dict[str, str]) -> None:
        (self.folder / name).write_text("".join(f"{key}={value}\n" for key, value in status.items()), encoding="utf-8")

    def say(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def verbs(self) -> list[str]:
        """What was asked of systemctl, without the looks."""
        calls = (self.folder / "calls").read_text(encoding="utf-8").splitlines()
        return [call for call in calls if not call.startswith("show ")]


@pytest.fixture(name="unit")
def unit_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    state, programs = tmp_path / "state", tmp_path / "bin"
    state.mkdir()
    programs.mkdir()
    for name, text in (("systemctl", SYSTEMCTL), ("journalctl", JOURNALCTL)):
        (programs / name).write_text(text.format(state=state), encoding="utf-8")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setattr(daemon, "POLL_SECONDS", 0.01)
    unit = StandIn(state)
    unit.put("unit", RUNNING)
    return unit


@pytest.fixture(name="run")
def run_fixture(unit: StandIn, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the module on the unit munge, and return what it answers."""

    def run(check: bool = False, **arguments: Any) -> dict[str, Any]:
        with patch_module_args({"name": "munge", "_ansible_check_mode": check, **arguments}):
            with pytest.raises(SystemExit):
                daemon.main()
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    return run


# --- What is done --------------------------------------------------------------------------------------------------


def test_stand_in_that_runs_is_left_alone(run: Run, unit: StandIn) -> None:
    answer = run(probe=["true"])
    assert (answer["changed"], answer["actions"], answer["installed"], answer["pid"]) == (False, [], True, 42)
    assert answer["diff"]["before"] == answer["diff"]["after"] == "active, enabled\n"
    assert unit.verbs() == []


@pytest.mark.parametrize(
    ("before", "arguments", "verbs"),
    [
        (STOPPED, {}, ["start"]),
        (DIED, {}, ["start"]),
        (STARTING, {}, []),
        ({**STOPPED, "UnitFileState": "disabled"}, {}, ["enable", "start"]),
        ({**RUNNING, "UnitFileState": "disabled"}, {}, ["enable"]),
        ({**RUNNING, "UnitFileState": "static"}, {}, []),
        ({**RUNNING, "UnitFileState": "generated"}, {}, []),
        ({**RUNNING, "UnitFileState": "enabled-runtime"}, {}, []),
        ({**RUNNING, "UnitFileState": "alias"}, {}, []),
        ({**RUNNING, "UnitFileState": "indirect"}, {}, []),
        (RUNNING, {"enabled": False}, ["disable"]),
        ({**RUNNING, "UnitFileState": "enabled-runtime"}, {"enabled": False}, ["disable"]),
        ({**RUNNING, "UnitFileState": "disabled"}, {"enabled": False}, []),
        ({**RUNNING, "UnitFileState": "static"}, {"enabled": False}, []),
        (RUNNING, {"state": "restarted"}, ["restart"]),
        (STOPPED, {"state": "restarted"}, ["restart"]),
        (RUNNING, {"state": "reloaded"}, ["reload"]),
        ({**RUNNING, "ActiveState": "reloading"}, {"state": "reloaded"}, ["reload"]),
        (STOPPED, {"state": "reloaded"}, ["start"]),
        (RUNNING, {"state": "stopped"}, ["stop"]),
        (STARTING, {"state": "stopped", "enabled": False}, ["disable", "stop"]),
        (STOPPED, {"state": "stopped"}, []),
        (DIED, {"state": "stopped"}, []),
    ],
)
def test_stand_in_gets_the_verbs_that_its_state_lacks(
    run: Run, unit: StandIn, before: dict[str, str], arguments: dict[str, Any], verbs: list[str]
) -> None:
    unit.put("unit", before)
    checked = run(check=True, **arguments)
    assert unit.verbs() == []
    unit.put("start", RUNNING)
    unit.put("restart", RESTARTED)
    unit.put("stop", STOPPED)
    unit.put("later", RUNNING if arguments.get("state") != "stopped" else STOPPED)
    answer = run(**arguments)
    assert (answer["changed"], answer["actions"]) == (bool(verbs), verbs)
    assert (checked["changed"], checked["actions"]) == (bool(verbs), verbs)
    assert unit.verbs() == [f"{verb} munge.service" for verb in verbs]


def test_stand_in_that_is_restarted_has_another_process(run: Run, unit: StandIn) -> None:
    unit.put("restart", RESTARTED)
    assert run(state="restarted")["pid"] == 43


def test_stand_in_has_its_state_before_and_after_in_the_difference(run: Run, unit: StandIn) -> None:
    unit.put("unit", {**STOPPED, "UnitFileState": "disabled"})
    unit.put("start", RUNNING)
    wanted = {
        "before_header": "munge.service",
        "after_header": "munge.service",
        "before": "inactive, disabled\n",
        "after": "active, enabled\n",
    }
    assert run(check=True)["diff"] == wanted
    assert run()["diff"] == wanted


def test_check_mode_says_that_a_stand_in_is_stopped_and_disabled(run: Run) -> None:
    assert run(check=True, state="stopped", enabled=False)["diff"]["after"] == "inactive, disabled\n"


def test_name_with_a_suffix_is_taken_as_it_is(run: Run, unit: StandIn) -> None:
    unit.put("unit", {key: value for key, value in RUNNING.items() if key != "MainPID"})
    answer = run(name="backup.timer", state="restarted")
    assert unit.verbs() == ["restart backup.timer"]
    assert answer["pid"] == 0


def test_changed_unit_file_is_read_before_the_stand_in_starts(run: Run, unit: StandIn) -> None:
    unit.put("unit", {**STOPPED, "NeedDaemonReload": "yes"})
    unit.put("start", RUNNING)
    run()
    assert unit.verbs() == ["daemon-reload", "start munge.service"]


def test_check_mode_reads_no_changed_unit_file_and_runs_neither_probe_nor_condition(
    run: Run, unit: StandIn, tmp_path: Path
) -> None:
    unit.put("unit", {**RUNNING, "NeedDaemonReload": "yes"})
    touch = ["touch", str(tmp_path / "touched")]
    run(check=True, state="restarted", probe=touch, only_if=touch)
    assert unit.verbs() == []
    assert not (tmp_path / "touched").exists()


# --- Units that are absent or masked -------------------------------------------------------------------------------


def test_absent_unit_is_refused_but_for_check_mode_and_where_it_shall_be_stopped(run: Run, unit: StandIn) -> None:
    unit.put("unit", GONE)
    assert run()["msg"] == "munge.service: there is no such unit on this host. Is its package installed?"
    stopped = run(state="stopped")
    assert (stopped["changed"], stopped["actions"], stopped["installed"], stopped["pid"]) == (False, [], False, 0)
    checked = run(check=True)
    assert (checked["changed"], checked["actions"], checked["installed"]) == (True, ["enable", "start"], False)
    assert checked["diff"]["before"] == "inactive, not installed\n"
    assert checked["diff"]["after"] == "active, enabled\n"
    assert unit.verbs() == []


@pytest.mark.parametrize("check", [False, True])
def test_masked_unit_is_refused_unless_it_shall_be_stopped(run: Run, unit: StandIn, check: bool) -> None:
    unit.put("unit", {**STOPPED, "LoadState": "masked", "UnitFileState": "masked"})
    assert run(check)["msg"] == (
        "munge.service: the unit is masked. Run 'systemctl unmask munge.service' if it shall run."
    )
    assert not run(check, state="stopped", enabled=False)["changed"]
    assert unit.verbs() == []


# --- Waiting -------------------------------------------------------------------------------------------------------


def test_start_is_awaited_until_the_port_listens(run: Run, unit: StandIn) -> None:
    """A real socket: nothing listens on the port when the stand-in starts."""
    unit.put("unit", STOPPED)
    unit.put("start", RUNNING)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        began = time.monotonic()
        timer = threading.Timer(0.2, listening.listen)
        timer.start()
        answer = run(probe=["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}"])
        timer.join()
    assert answer["actions"] == ["start"]
    assert 0.2 <= time.monotonic() - began < 20


def test_port_on_which_nothing_listens_fails_with_the_probe_its_words_and_the_journal(run: Run, unit: StandIn) -> None:
    unit.say("journal", "\nmunged[42]: cannot bind\n\n")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        answer = run(probe=["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}"], timeout=0)
    assert answer["failed"]
    said, _separator, journal = answer["msg"].partition("\nLast lines of journal:\n")
    assert said.startswith(f"munge.service: it runs, but does not answer 'bash -c exec 3<>/dev/tcp/127.0.0.1/{port}': ")
    assert "Connection refused" in said
    assert said.endswith(" (after 0 s)")
    assert journal == "munged[42]: cannot bind"


def test_probe_that_prints_its_reason_is_quoted(run: Run) -> None:
    answer = run(probe=["sh", "-c", "echo '  not ready  '; exit 1"], timeout=0)
    assert ": not ready (after 0 s)\n" in answer["msg"]


def test_time_to_answer_is_counted_in_seconds_from_the_start(run: Run) -> None:
    began = time.monotonic()
    assert "(after 1 s)" in run(probe=["false"], timeout=1)["msg"]
    assert 1 <= time.monotonic() - began < 20


def test_stand_in_that_is_still_starting_is_awaited_and_not_probed_before(
    run: Run, unit: StandIn, tmp_path: Path
) -> None:
    unit.put("unit", STARTING)
    unit.put("later", RUNNING)
    assert (
        run(probe=["sh", "-c", f"grep -q ActiveState=active {unit.folder}/unit && touch {tmp_path}/probed"])["pid"]
        == 42
    )
    assert (tmp_path / "probed").exists()


def test_stand_in_that_never_gets_ready_fails_by_its_state(run: Run, unit: StandIn) -> None:
    unit.put("unit", STARTING)
    assert run(timeout=0)["msg"].startswith("munge.service: it is still activating (start-pre) (after 0 s)\n")


@pytest.mark.parametrize(
    ("becomes", "reason"),
    [
        (DIED, "it died after it was started"),
        ({**STOPPED, "ConditionResult": "yes"}, "it stopped by itself"),
        (
            STOPPED,
            "systemd did not start it, since a condition of the unit is not met (systemctl status tells which)",
        ),
    ],
)
def test_stand_in_that_does_not_stay_fails_at_once_with_its_journal(
    run: Run, unit: StandIn, becomes: dict[str, str], reason: str
) -> None:
    unit.put("unit", STOPPED)
    unit.put("start", becomes)
    unit.say("journal", "munged[42]: no key\n")
    assert run(probe=["true"])["msg"] == f"munge.service: {reason}\nLast lines of journal:\nmunged[42]: no key"


def test_stand_in_that_dies_while_it_is_awaited_fails_before_the_time_is_over(run: Run, unit: StandIn) -> None:
    unit.put("later", DIED)
    assert run(probe=["false"])["msg"].startswith("munge.service: it died after it was started\n")


# --- Failures ------------------------------------------------------------------------------------------------------


def test_failure_shows_as_many_lines_of_journal_and_log_as_wanted(run: Run, unit: StandIn, tmp_path: Path) -> None:
    log = tmp_path / "munged.log"
    log.write_text("".join(f"line {number}\n" for number in range(1, 10)), encoding="utf-8")
    unit.put("unit", DIED)
    unit.put("start", DIED)
    answer = run(log_file=str(log), journal_lines=2)
    assert answer["msg"] == (
        f"munge.service: it died after it was started\nLast lines of journal:\n(empty)\n"
        f"Last lines of {log}:\nline 8\nline 9"
    )
    assert (unit.folder / "journal calls").read_text(encoding="utf-8") == (
        "--unit=munge.service --lines=2 --no-pager --output=short-iso\n"
    )


def test_failure_shows_fifteen_lines_where_no_number_is_given(run: Run, unit: StandIn) -> None:
    unit.put("unit", DIED)
    unit.put("start", DIED)
    run()
    assert "--lines=15 " in (unit.folder / "journal calls").read_text(encoding="utf-8")


@pytest.mark.parametrize("verb", ["enable", "start"])
def test_verb_that_fails_ends_the_task_with_what_systemctl_says(run: Run, unit: StandIn, verb: str) -> None:
    unit.put("unit", {**STOPPED, "UnitFileState": "disabled"})
    unit.say(f"{verb}.error", "Job for munge.service failed.\n")
    unit.say("journal", "munged[42]: no key\n")
    assert run()["msg"] == (
        f"munge.service: systemctl {verb} failed: Job for munge.service failed.\nLast lines of journal:\nmunged[42]: no key"
    )
    assert unit.verbs()[-1] == f"{verb} munge.service"


def test_systemd_that_does_not_answer_is_named(run: Run, unit: StandIn) -> None:
    unit.say("show.error", "System has not been booted with systemd.\n")
    answer = run()
    assert answer["msg"] == "munge.service: systemd cannot be asked: System has not been booted with systemd."
    assert answer["rc"] == 1


def test_condition_that_does_not_hold_leaves_the_stand_in_as_it_is(run: Run, unit: StandIn) -> None:
    answer = run(state="restarted", only_if=["sh", "-c", "echo the other one is away; exit 1"])
    assert answer["msg"].startswith(
        "munge.service: it is left as it is, since 'sh -c echo the other one is away; exit 1' does not hold: "
        "the other one is away\n"
    )
    assert unit.verbs() == []


def test_condition_is_asked_only_where_something_is_to_be_done(run: Run, unit: StandIn) -> None:
    assert not run(only_if=["false"])["changed"]
    unit.put("restart", RESTARTED)
    assert run(state="restarted", only_if=["true"])["actions"] == ["restart"]
