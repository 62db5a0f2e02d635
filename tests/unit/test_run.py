# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner sees what Molecule itself lets pass."""

from __future__ import annotations

import importlib.util
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

_PATH = Path(__file__).resolve().parents[1] / "run.py"
_SPEC = importlib.util.spec_from_file_location("hpcops_run", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
run = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = run
_SPEC.loader.exec_module(run)


def log_of(*actions: tuple[str, str]) -> str:
    return "\n".join(
        f"INFO     [munge > {name}] Executing\n{output}\nINFO     [munge > {name}] Executed: Successful"
        for name, output in actions
    )


def recap(changed: int, host: str = "munge-trixie-a") -> str:
    return f"{host}   : ok=17   changed={changed}    unreachable=0    failed=0    skipped=7    rescued=0    ignored=0"


FIRST = ("check", recap(6))
CONVERGE = ("converge", recap(5))
CHECK = ("check", recap(0))
VERIFY = ("verify", "===== 10 passed in 5.17s =====")


def test_good_run_passes() -> None:
    assert run.judge(log_of(FIRST, CONVERGE, CHECK, VERIFY), 0) == run.Outcome()


@pytest.mark.parametrize(
    ("log", "problem"),
    [
        (
            log_of(FIRST, CONVERGE, ("check", f"{recap(0)}\n{recap(2, 'b')}"), VERIFY),
            "the last check would change b (2)",
        ),
        (log_of(FIRST, CONVERGE, VERIFY), "no check came after converge"),
        (log_of(FIRST, CONVERGE, ("check", ""), VERIFY), "the last check reached no host"),
        (log_of(FIRST, CONVERGE, CHECK, ("verify", "no tests ran in 0.01s")), "verify ran no test"),
        (log_of(FIRST, CONVERGE, CHECK), "verify ran no test"),
        (log_of(FIRST, CONVERGE, CHECK, ("verify", "10 skipped")), "verify ran no test"),
    ],
)
def test_run_that_molecule_accepts_fails(log: str, problem: str) -> None:
    assert run.judge(log, 0).problem == problem


def test_failed_action_is_named_with_its_output() -> None:
    log = (
        f"{log_of(FIRST)}\nINFO     [munge > converge] Executing\nfatal: [a]: FAILED!\n"
        f"ERROR    [munge > converge] \x1b[31mExecuted: Failed\x1b[0m\n{log_of(('destroy', 'gone'))}"
    )
    outcome = run.judge(log, 1)
    assert outcome.problem == "converge failed"
    assert "fatal: [a]: FAILED!" in outcome.excerpt
    assert "gone" not in outcome.excerpt


def test_task_that_would_change_something_is_shown() -> None:
    check = f"TASK [munge : Write the key]\nok: [a]\nTASK [munge : Set the limit]\nchanged: [b]\n{recap(1)}"
    excerpt = run.judge(log_of(FIRST, CONVERGE, ("check", check), VERIFY), 0).excerpt
    assert excerpt.splitlines() == ["TASK [munge : Set the limit]", "changed: [b]"]


def test_scenario_about_behaviour_needs_no_check() -> None:
    assert run.judge(log_of(CONVERGE, VERIFY), 0, checked=False) == run.Outcome()
    assert run.judge(log_of(VERIFY), 0, checked=False).problem == "nothing converged"


@pytest.mark.parametrize(
    ("scenario", "checked"), [("munge", True), ("cluster", True), ("cgroup", True), ("change", False)]
)
def test_scenario_of_a_role_and_one_whose_sequence_has_it_are_checked(scenario: str, checked: bool) -> None:
    assert run.has_check(scenario) is checked


@pytest.mark.parametrize(
    ("entry", "distro", "linear"),
    [("munge", None, None), ("munge@forky", "forky", None), ("build_packages@trixie+linear", "trixie", "+linear")],
)
def test_entry_names_scenario_release_and_strategy(entry: str, distro: str | None, linear: str | None) -> None:
    match = run.SCENARIO.fullmatch(entry)
    assert (match["distro"], match["linear"]) == (distro, linear)


def test_processes_of_a_killed_run_are_ended_and_no_others(tmp_path: Path) -> None:
    program = "import sys; print(flush=True); sys.stdin.read()"
    marked, other = (
        subprocess.Popen(
            [sys.executable, "-c", program],
            env={"HPCOPS_RUNNER": str(runner)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for runner in (tmp_path, tmp_path / "other")
    )
    try:
        for process in (marked, other):
            assert process.stdout is not None
            process.stdout.readline()
        assert run.processes_of(tmp_path) == [marked.pid]
        run.end_processes_of(tmp_path)
        assert marked.wait(timeout=30) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        for process in (marked, other):
            process.communicate()


def test_entry_that_hangs_is_ended_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LIMIT_SECONDS", 0.05)
    log = tmp_path / "log"
    assert run.Runner().run(["sleep", "600"], log, {"PATH": "/usr/bin:/bin"}) != 0
    assert re.search(run.FAILURE, log.read_text())
    assert "it did not end in" in log.read_text()


def test_entries_start_with_the_longest_of_an_earlier_run_and_unknown_ones_first() -> None:
    budget = "| entry | wall |\n|---|--:|\n| ruff | 1 | 1 | | |\n| change@trixie | 730 | 364 | | |\n"
    assert run.longest_first(["ruff", "change@trixie", "new@trixie"], budget) == ["new@trixie", "change@trixie", "ruff"]


def test_entry_that_needs_more_slots_than_are_free_goes_before_later_ones() -> None:
    slots = run.Slots(2)
    order: list[int] = []
    with ThreadPoolExecutor() as pool:
        with slots.taken(1, 0):
            for rank, wanted in ((1, 2), (2, 1)):
                pool.submit(_note, slots, order, rank, wanted)
            _eventually(lambda: slots.waiting == {1, 2})
            assert order == []
    assert order == [1, 2]


def _note(slots: Any, order: list[int], rank: int, wanted: int) -> None:
    with slots.taken(wanted, rank):
        order.append(rank)


def _eventually(seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_seconds_of_each_action_are_added_up(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("")
    clock = run.ActionClock(log)
    log.write_text("INFO     [munge > check] Executing\nINFO     [munge > check] Executed: Successful\n")
    _eventually(lambda: "" in clock.spent)
    spent = clock.stop()
    assert set(spent) == {"", "check"}
    ended = {"munge@trixie": run.Ended(run.Outcome(), 61.2, 20.4, {"create": 2.0, "prepare": 1.0, "check": 7.6})}
    assert run.table(ended).splitlines()[-1] == "| munge@trixie | 61 | 20 | 3 |  |  | 8 |  |"


class Unchangeable(type(Path())):  # type: ignore[misc]
    """A file of /proc/sys on a machine that does not let it change."""

    def write_text(self, *_arguments: object, **_options: object) -> int:
        raise PermissionError


def test_limit_that_stops_hosts_from_starting_is_raised(tmp_path: Path) -> None:
    limit = tmp_path / "limit"
    limit.write_text("128\n")
    assert run.slots_of_machine(limit) == run.SLOTS
    assert limit.read_text() == "512\n"
    limit.write_text("8192\n")
    assert run.slots_of_machine(limit) == run.SLOTS
    assert limit.read_text() == "8192\n"


def test_limit_that_cannot_be_raised_is_named_and_fewer_entries_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = Unchangeable(tmp_path / "limit")
    (tmp_path / "limit").write_text("128\n")
    assert run.slots_of_machine(limit) == 1
    assert "sysctl -w fs.inotify.max_user_instances=512" in capsys.readouterr().out
