"""Run gates and Molecule scenarios two at a time, judge each, and end with a line "N passed, N failed".

usage: tests/run.py ENTRY...
An entry is a gate by its name (see GATES), or a scenario as SCENARIO[@DISTRO][+linear]; +linear runs Ansible's own
strategy instead of Mitogen's. Logs lie in .cache/logs.
"""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / ".cache" / "logs"
TAIL = 60
FAILURE = r"(FAILED|ERROR|ERROR:|fatal:|failed:|E  ) .*\S"
# What is left of the sequence where only what differs between releases is looked for, and where the scenario cluster has shown what
# a check says of a bare host.
SHORT_SEQUENCE = "[destroy, create, prepare, converge, check, verify, destroy]"
WITHOUT_FIRST_CHECK = "[destroy, create, prepare, converge, idempotence, check, verify, destroy]"
ROLES_OF_CLUSTER = ("os_base", "munge", "mariadb", "slurm", "slurmdbd", "slurmctld", "slurmd", "slurmrestd")
SCENARIO = re.compile(r"(?P<name>[a-z0-9_]+)(@(?P<distro>[a-z]+))?(?P<linear>\+linear)?")

GATES: Mapping[str, Sequence[Sequence[str]]] = {
    "ruff": (("ruff", "check", "."), ("ruff", "format", "--check", ".")),
    "yamllint": (("yamllint", "--strict", "."),),
    "mypy": (
        (
            "mypy",
            "plugins",
            "tests",
            "molecule",
            "roles/os_base/files/hpcops_backup",
            "roles/slurm_elastic/files/hpcops_elastic",
        ),
    ),
    "ansible-lint": (("tests/lint",),),
    "sanity": (("tests/sanity",),),
    "changelog": (("antsibull-changelog", "lint"),),
    "package": (("tests/package",),),
    "docs": ((sys.executable, "tests/tools/role_docs.py", "--check"),),
    "unit": ((sys.executable, "-m", "pytest", "--numprocesses=2", "--dist=loadfile", "--quiet", "tests/unit"),),
    "unit-newest": (("tests/newest",),),
    "discovery": (
        ("tests/discovery/run",),
        (sys.executable, "-m", "pytest", "--quiet", "tests/integration"),
    ),
    "elastic": (
        (
            sys.executable,
            "-m",
            "pytest",
            "-c",
            "tests/elastic/pytest.ini",
            "--numprocesses=2",
            "--quiet",
            "tests/elastic",
        ),
    ),
    "second-run": ((sys.executable, "tests/bench/bench_second_run.py"),),
}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of an entry: no problem means that it passed. Notes are shown either way."""

    problem: str = ""
    excerpt: str = ""
    notes: Sequence[str] = ()

    def essence(self) -> list[str]:
        """The excerpt's few lines that name what failed, for the end of a long run."""
        return [f"    | {line[:300]}" for line in self.excerpt.splitlines() if re.match(FAILURE, line)][:10]


class Runner:
    """Starts programs with their output in a log, and ends them all when it is told to stop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self.stopping = False
        self.processor_seconds: dict[Path, float] = {}  # by log, of all that ran beside the hosts

    def run(self, command: Sequence[str], log: Path, env: Mapping[str, str]) -> int:
        with log.open("ab") as output:
            with self._lock:
                if self.stopping:
                    return 1
                process = subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                self._processes.add(process)
            try:
                _pid, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                self.processor_seconds[log] = self.processor_seconds.get(log, 0.0) + usage.ru_utime + usage.ru_stime
                return process.returncode
            finally:
                with self._lock:
                    self._processes.discard(process)

    def stop(self) -> None:
        with self._lock:
            self.stopping = True
            for process in self._processes:
                os.killpg(process.pid, signal.SIGTERM)


# --- Gates ---------------------------------------------------------------------------------------------------------


def run_gate(runner: Runner, name: str, log: Path, env: Mapping[str, str]) -> Outcome:
    for command in GATES[name]:
        if runner.run(command, log, env) != 0:
            return Outcome(" ".join(command[:3]), "\n".join(log.read_text(errors="replace").splitlines()[-TAIL:]))
    lines = log.read_text(errors="replace").splitlines()
    return Outcome(notes=[line for line in lines if line.startswith("SKIPPED: ") or " ratio " in line])


# --- Scenarios -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Action:
    """One action of Molecule's sequence, as its log shows it."""

    name: str
    lines: list[str] = dataclasses.field(default_factory=list)

    @property
    def failed(self) -> bool:
        return any(re.search(rf"\[\S+ > {self.name}\] Executed: Failed", line) for line in self.lines)

    def changed_hosts(self) -> dict[str, int]:
        recaps = (re.match(r"(\S+)\s+: ok=\d+\s+changed=(\d+)", line) for line in self.lines)
        return {recap[1]: int(recap[2]) for recap in recaps if recap}


def actions_of(text: str) -> list[Action]:
    actions = [Action("start")]
    for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines():
        begin = re.search(r"\[\S+ > (\w+)\] Executing$", line)
        if begin:
            actions.append(Action(begin[1]))
        actions[-1].lines.append(line)
    return actions


def judge(text: str, returned: int, checked: bool = True) -> Outcome:
    """Judge a run of Molecule, which itself accepts a check that would change something and a verify without tests.

    A scenario whose sequence has a check must have run it after converge.
    """
    actions = actions_of(text)
    for action in actions:
        if action.failed:
            return Outcome(f"{action.name} failed", "\n".join(action.lines[-2 * TAIL :]))
    if returned != 0:
        return Outcome(f"molecule returned {returned}", "\n".join(text.splitlines()[-TAIL:]))

    names = [action.name for action in actions]
    if "converge" not in names:
        return Outcome("nothing converged")
    if checked:
        if "check" not in names[names.index("converge") :]:
            return Outcome("no check came after converge")
        check = next(action for action in reversed(actions) if action.name == "check")
        changed = check.changed_hosts()
        if not changed:
            return Outcome("the last check reached no host", "\n".join(check.lines[-TAIL:]))
        if any(changed.values()):
            hosts = ", ".join(f"{host} ({count})" for host, count in changed.items() if count)
            tasks = [line for line in check.lines if line.startswith(("TASK", "RUNNING HANDLER", "changed:"))]
            return Outcome(f"the last check would change {hosts}", "\n".join(_before_changes(tasks)))
    verify = "\n".join(line for action in actions if action.name == "verify" for line in action.lines)
    if not re.search(r"\b[1-9]\d* passed\b", verify):
        return Outcome("verify ran no test", verify)
    return Outcome()


def _before_changes(lines: Sequence[str]) -> Iterator[str]:
    for before, line in zip(lines, lines[1:]):
        if line.startswith("changed:"):
            yield from (before, line)


def run_scenario(runner: Runner, entry: str, log: Path, env: Mapping[str, str]) -> Outcome:
    match = SCENARIO.fullmatch(entry)
    if match is None:
        return Outcome(f"{entry} is no SCENARIO[@DISTRO][+linear]")
    home = ROOT / ".ansible" / "runs" / entry
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    own = {
        **env,
        "ANSIBLE_HOME": str(home),
        "DISTRO": match["distro"] or "trixie",
        "HPCOPS_RUNNER": str(ROOT),
    }
    if "HPCOPS_MATRIX" not in env:
        if own["DISTRO"] != "trixie":
            own["HPCOPS_SEQUENCE"] = SHORT_SEQUENCE
        elif match["name"] in ROLES_OF_CLUSTER:
            own["HPCOPS_SEQUENCE"] = WITHOUT_FIRST_CHECK
    if match["linear"]:
        own["HPCOPS_VERBOSITY"] = "4"
    else:
        own["ANSIBLE_STRATEGY"] = "mitogen_linear"
        own["ANSIBLE_STRATEGY_PLUGINS"] = str(_mitogen_strategies())
    returned = runner.run(["molecule", "test", "--scenario-name", match["name"]], log, own)
    return judge(log.read_text(errors="replace"), returned, checked=has_check(match["name"]))


def has_check(scenario: str) -> bool:
    """Whether a check must come after converge: always with roles, and elsewhere where the scenario's own sequence has it."""
    own = yaml.safe_load((ROOT / "molecule" / scenario / "molecule.yml").read_text()).get("scenario", {})
    return (ROOT / "roles" / scenario).is_dir() or "check" in own.get("test_sequence", ["check"])


def _mitogen_strategies() -> Path:
    spec = importlib.util.find_spec("ansible_mitogen")
    if spec is None or spec.origin is None:
        raise SystemExit("run: mitogen is not installed; make setup")
    return Path(spec.origin).parent / "plugins" / "strategy"


# --- The machine ---------------------------------------------------------------------------------------------------


def prepare_engine(entries: Sequence[str]) -> bool:
    """Start the container engine, clear away what a killed run left, and make the images that the entries need."""
    _remove_leftovers_after(["tests/images/engine"])
    distros = sorted({match["distro"] or "trixie" for entry in entries if (match := SCENARIO.fullmatch(entry))})
    for command in (["tests/images/apt-cache"], ["tests/images/build", *distros]):
        if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
            return False
    return True


def _remove_leftovers_after(engine: Sequence[str]) -> None:
    subprocess.run(engine, cwd=ROOT, check=True)
    ours = ["--quiet", f"--filter=label=hpcops.runner={ROOT}"]
    for listing, removal in (
        (["docker", "ps", "--all", *ours], ["docker", "rm", "--force", "--volumes"]),
        (["docker", "network", "ls", *ours], ["docker", "network", "rm"]),
    ):
        found = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split()
        if found:
            print(f"removing what an earlier run left: {' '.join(found)}", flush=True)
            subprocess.run([*removal, *found], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def only_run_of_this_checkout() -> Iterator[None]:
    """Two runs would remove each other's containers."""
    LOGS.mkdir(parents=True, exist_ok=True)
    with (LOGS.parent / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another run of this checkout to end", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def clean_environment() -> dict[str, str]:
    """Nothing of the caller's Ansible, no colours in logs, and Python keeps what it compiles."""
    foreign = ("ANSIBLE_", "MOLECULE_", "PYTHONDONTWRITEBYTECODE")
    env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    own = {"NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1", "PYTHONUNBUFFERED": "1"}
    return {**env, **own, "PATH": f"{Path(sys.executable).parent}:{env['PATH']}"}


# --- All of it -----------------------------------------------------------------------------------------------------


class Progress:
    """One line when an entry starts, one when it ends, and one a minute in which nothing ended."""

    def __init__(self) -> None:
        self._running: dict[str, float] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._remind, daemon=True).start()

    def start(self, entry: str) -> None:
        with self._lock:
            self._running[entry] = time.monotonic()
            print(f"         started  {entry}", flush=True)

    def end(self, entry: str, outcome: Outcome, processor: float) -> None:
        with self._lock:
            took = time.monotonic() - self._running.pop(entry)
            word = f"FAILED   {entry}: {outcome.problem}" if outcome.problem else f"passed   {entry}"
            print(f"[{took:5.0f} s] {word} ({processor:.0f} s of processor time beside the hosts')", flush=True)
            for note in outcome.notes:
                print(f"           {note}", flush=True)
            if outcome.excerpt:
                print("\n".join(f"    | {line}" for line in outcome.excerpt.splitlines()), flush=True)

    def _remind(self) -> None:
        while True:
            time.sleep(60)
            with self._lock:
                now = time.monotonic()
                running = ", ".join(f"{entry} ({now - since:.0f} s)" for entry, since in self._running.items())
                if running:
                    print(f"         running  {running}", flush=True)


def run_entry(runner: Runner, progress: Progress, entry: str) -> Outcome:
    progress.start(entry)
    log = LOGS / f"{entry}.log"
    log.write_text("")
    run = run_gate if entry in GATES else run_scenario
    outcome = run(runner, entry, log, clean_environment())
    if runner.stopping:
        outcome = Outcome("interrupted")
    elif outcome.problem:
        outcome = dataclasses.replace(outcome, problem=f"{outcome.problem} (log: {log.relative_to(ROOT)})")
    progress.end(entry, outcome, runner.processor_seconds.get(log, 0.0))
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entries", nargs="+", metavar="ENTRY")
    entries = list(dict.fromkeys(parser.parse_args().entries))
    runner, progress = Runner(), Progress()

    def interrupt(signum: int, _frame: object) -> None:
        runner.stop()

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)

    with only_run_of_this_checkout():
        scenarios = [entry for entry in entries if entry not in GATES]
        failed = 0
        if scenarios and not prepare_engine(scenarios):
            print("FAILED   the containers' images could not be made; no scenario runs", flush=True)
            failed = len(scenarios)
            entries = [entry for entry in entries if entry in GATES]
        with ThreadPoolExecutor(max_workers=2) as pool:
            futures = {entry: pool.submit(run_entry, runner, progress, entry) for entry in entries}
            outcomes = {entry: future.result() for entry, future in futures.items()}
    for entry, outcome in outcomes.items():
        if outcome.problem:
            failed += 1
            print("\n".join([f"FAILED   {entry}: {outcome.problem}", *outcome.essence()]))
    passed = sum(not outcome.problem for outcome in outcomes.values())
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
