"""Run gates and Molecule scenarios, three at a time, judge each, and end with a line "N passed, N failed".

usage: tests/run.py ENTRY...
An entry is a gate by its name (see GATES), or a scenario as SCENARIO[@DISTRO][+linear]; +linear runs Ansible's own
strategy instead of Mitogen's. The entries that took longest in docs/test-budget.md start first. Logs and the table of
this run (budget.md) lie in .cache/logs.
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
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / ".cache" / "logs"
BUDGET = ROOT / "docs" / "test-budget.md"
TAIL = 60
# How many entries run at once on two processors: two leave a fifth of their time idle, three a twentieth.
SLOTS = 3
# Each host's systemd takes about five instances of inotify; without one it ends with an empty log.
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_WANTED = 512
# What hangs is ended and named: no entry takes a third of this, times what the machine is slower (see patience).
LIMIT_SECONDS = 1200.0
# Hosts with kernels of their own take three times as long beside two other entries.
SLOTS_OF = {"cgroup": 2, "storage_nfs": 2}
FAILURE = r"(FAILED|ERROR|ERROR:|fatal:|failed:|E  ) .*\S"
# What is left of the sequence where only what differs between releases is looked for, and where the scenario cluster has shown what
# a check says of a bare host.
SHORT_SEQUENCE = "[create, prepare, converge, check, verify, destroy]"
WITHOUT_FIRST_CHECK = "[create, prepare, converge, idempotence, check, verify, destroy]"
# What an earlier run left is removed before, and converge finds what a check of the syntax would.
WHOLE_SEQUENCE = "[create, prepare, check, converge, idempotence, check, verify, destroy]"
ROLES_OF_CLUSTER = ("os_base", "munge", "mariadb", "slurm", "slurmdbd", "slurmctld", "slurmd", "slurmrestd")
ACTION = re.compile(r"\[[^]]+ > (\w+)\] (?:\x1b\[[0-9;]*m)?Executing(?:\x1b\[[0-9;]*m)?$")
SCENARIO = re.compile(r"(?P<name>[a-z0-9_]+)(@(?P<distro>[a-z]+))?(?P<linear>\+linear)?")

GATES: Mapping[str, Sequence[Sequence[str]]] = {
    "ruff": (("ruff", "check", "."), ("ruff", "format", "--check", ".")),
    "shellcheck": (("tests/gates/shellcheck.sh",),),
    "yamllint": (("yamllint", "--strict", "."),),
    "mypy": (
        (
            "mypy",
            "plugins",
            "tests",
            "molecule",
            "roles/os_base/files/hpcops_backup",
            "roles/slurm_elastic/files/hpcops_elastic",
            "roles/discovery/files/hpcops-heartbeat.py",
            "roles/enroot/files/hpcops-enroot-cache.py",
            "roles/node_exporter/files/hpcops-platform-metrics.py",
        ),
    ),
    "ansible-lint": (("tests/gates/ansible-lint.sh",),),
    "sanity": (("tests/gates/sanity.sh",),),
    "changelog": (("antsibull-changelog", "lint"),),
    "package": (("tests/gates/package.sh",),),
    "docs": ((sys.executable, "tests/tools/role_docs.py", "--check"),),
    "unit": ((sys.executable, "-m", "pytest", "--numprocesses=2", "--dist=loadfile", "--quiet", "tests/unit"),),
    "unit-newest": (("tests/gates/unit-newest.sh",),),
    "discovery": (
        ("tests/gates/discovery.sh",),
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
        self.patience = patience()
        self.processor_seconds: dict[Path, float] = {}  # by log, of all that ran beside the hosts
        self.spent: dict[Path, dict[str, float]] = {}  # by log, wall seconds of each of Molecule's actions

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
            clock = ActionClock(log)
            limit = threading.Timer(LIMIT_SECONDS * self.patience, self._end, (process, log))
            limit.start()
            try:
                _pid, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                self.processor_seconds[log] = self.processor_seconds.get(log, 0.0) + usage.ru_utime + usage.ru_stime
                return process.returncode
            finally:
                limit.cancel()
                self.spent[log] = clock.stop()
                with self._lock:
                    self._processes.discard(process)

    def _end(self, process: subprocess.Popen[bytes], log: Path) -> None:
        with log.open("a") as output:
            output.write(f"\nERROR: it did not end in {LIMIT_SECONDS * self.patience:.0f} s and was ended\n")
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            for _attempt in range(100):
                time.sleep(0.1)
                os.killpg(process.pid, 0)  # raises as soon as nothing is left
            os.killpg(process.pid, signal.SIGKILL)

    def stop(self) -> None:
        with self._lock:
            self.stopping = True
            for process in self._processes:
                os.killpg(process.pid, signal.SIGTERM)


class ActionClock:
    """Follows a log and adds up the wall seconds of each of Molecule's actions."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._ended = threading.Event()
        self.spent: dict[str, float] = {}
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def stop(self) -> dict[str, float]:
        self._ended.set()
        self._thread.join()
        return self.spent

    def _follow(self) -> None:
        action, since = "", time.monotonic()
        with self._log.open(errors="replace") as log:
            while True:
                ended = self._ended.wait(0.2)
                now = time.monotonic()
                for line in log:
                    begin = ACTION.search(line)
                    if begin:
                        self.spent[action] = self.spent.get(action, 0.0) + now - since
                        action, since = begin[1], now
                if ended:
                    self.spent[action] = self.spent.get(action, 0.0) + now - since
                    return


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
        begin = ACTION.search(line)
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
        "HPCOPS_PATIENCE": f"{runner.patience:.2f}",
    }
    own["HPCOPS_SEQUENCE"] = WHOLE_SEQUENCE
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


def described(scenario: str) -> str:
    """A scenario's own settings; nothing where there is none of that name."""
    path = ROOT / "molecule" / scenario / "molecule.yml"
    return path.read_text() if path.is_file() else ""


def has_check(scenario: str) -> bool:
    """Whether a check must come after converge: always with roles, and elsewhere where the scenario's own sequence has it."""
    own = yaml.safe_load(described(scenario)).get("scenario", {})
    return (ROOT / "roles" / scenario).is_dir() or "check" in own.get("test_sequence", ["check"])


def _mitogen_strategies() -> Path:
    spec = importlib.util.find_spec("ansible_mitogen")
    if spec is None or spec.origin is None:
        raise SystemExit("run: mitogen is not installed; make setup")
    return Path(spec.origin).parent / "plugins" / "strategy"


# --- The machine ---------------------------------------------------------------------------------------------------


class Images:
    """Starts the engine and makes the images that scenarios start from, while gates already run."""

    def __init__(self, runner: Runner, scenarios: Sequence[str]) -> None:
        self._runner = runner
        matches = [match for entry in scenarios if (match := SCENARIO.fullmatch(entry))]
        # In the order of the entries, so that the first ones wait least.
        self._ready = {match["distro"] or "trixie": threading.Event() for match in matches}
        self._packages = {
            match["distro"] or "trixie" for match in matches if "hpcops-packages:" in described(match["name"])
        }
        self._made: set[str] = set()
        threading.Thread(target=self._make, daemon=True).start()

    def wait_for(self, distro: str) -> bool:
        """Return whether the images of a release could be made."""
        self._ready[distro].wait()
        return distro in self._made

    def _make(self) -> None:
        try:
            if not self._ready or not self._ran("tests/images/engine.sh"):
                return
            _remove_leftovers()
            self._ran("tests/images/apt-cache.sh")
            for distro, ready in self._ready.items():
                steps = ["build.sh", "packages.sh"] if distro in self._packages else ["build.sh"]
                if all(self._ran(f"tests/images/{step}", distro) for step in steps):
                    self._made.add(distro)
                ready.set()
        finally:
            for ready in self._ready.values():
                ready.set()

    def _ran(self, *command: str) -> bool:
        log = LOGS / "images.log"
        # The engine and the package cache go on after this run, so they are not marked as its own.
        mark = {} if command[0].endswith(("engine.sh", "apt-cache.sh")) else {"HPCOPS_RUNNER": str(ROOT)}
        if self._runner.run(command, log, {**clean_environment(), **mark}) == 0:
            return True
        print(
            "\n".join([f"FAILED   {' '.join(command)}:", *log.read_text(errors="replace").splitlines()[-TAIL:]]),
            flush=True,
        )
        return False


def processes_of(runner: Path) -> list[int]:
    """Return the processes that a run of a checkout started, by the mark that their environment has."""
    mark = f"HPCOPS_RUNNER={runner}".encode()
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            marked = mark in environment.read_bytes().split(b"\0")
        except (PermissionError, ProcessLookupError, FileNotFoundError):  # another account's, or ended meanwhile
            continue
        if marked:
            found.append(int(environment.parent.name))
    return found


def end_processes_of(runner: Path) -> None:
    """Kill what a killed run of a checkout left running. To be called before this run starts anything."""
    for process in processes_of(runner):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _remove_leftovers() -> None:
    """Remove the hosts that a killed run of this checkout left: those with kernels of their own, containers, networks, volumes."""
    kernels = [path.name for path in (ROOT / ".cache" / "uml" / "hosts").glob("*")]
    if kernels:
        print(f"removing what an earlier run left: {' '.join(kernels)}", flush=True)
        subprocess.run(["tests/images/uml.sh", "stop", *kernels], cwd=ROOT, check=True)
    ours = ["--quiet", f"--filter=label=hpcops.runner={ROOT}"]
    for listing, removal in (
        (["docker", "ps", "--all", *ours], ["docker", "rm", "--force", "--volumes"]),
        (["docker", "network", "ls", *ours], ["docker", "network", "rm"]),
        (["docker", "volume", "ls", *ours], ["docker", "volume", "rm"]),
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


def slots_of_machine(limit: Path = INOTIFY) -> int:
    """Return how many entries may run at once, after raising the limit of hosts that can start where that is allowed."""
    if not limit.exists() or (found := int(limit.read_text())) >= INOTIFY_WANTED:
        return SLOTS
    with suppress(OSError):
        limit.write_text(f"{INOTIFY_WANTED}\n")
        return SLOTS
    print(
        f"fs.inotify.max_user_instances is {found}, so about {found // 5} hosts can start, and one entry runs at a time;"
        f" as root: sysctl -w fs.inotify.max_user_instances={INOTIFY_WANTED}",
        flush=True,
    )
    return 1


def patience() -> float:
    """Return by how much tests multiply the time that they wait for something: 1 or more.

    It is the time of a loop beside its time on the machine on which the tests' limits were chosen, two entries at a time.
    """
    took = []
    for _attempt in range(5):
        since = time.thread_time()
        sum(number * number % 7 for number in range(1_000_000))
        took.append(time.thread_time() - since)
    return max(1.0, min(took) / 0.06) * SLOTS / 2


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


@dataclasses.dataclass(frozen=True)
class Ended:
    """An entry that has run: what became of it, and what it took."""

    outcome: Outcome
    wall: float = 0.0
    processor: float = 0.0
    spent: Mapping[str, float] = dataclasses.field(default_factory=dict)  # wall seconds by Molecule's action


class Slots:
    """Lets as many entries run as the machine bears; of those that wait, the one with the lowest rank is next."""

    def __init__(self, free: int) -> None:
        self.total = self._free = free
        self._changed = threading.Condition()
        self.waiting: set[int] = set()

    @contextmanager
    def taken(self, wanted: int, rank: int) -> Iterator[None]:
        with self._changed:
            self.waiting.add(rank)
            self._changed.wait_for(lambda: rank == min(self.waiting) and self._free >= wanted)
            self.waiting.discard(rank)
            self._free -= wanted
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()


def run_entry(runner: Runner, progress: Progress, entry: str) -> Ended:
    progress.start(entry)
    log = LOGS / f"{entry}.log"
    log.write_text("")
    run = run_gate if entry in GATES else run_scenario
    since = time.monotonic()
    outcome = run(runner, entry, log, {**clean_environment(), "HPCOPS_RUNNER": str(ROOT)})
    if runner.stopping:
        outcome = Outcome("interrupted")
    elif outcome.problem:
        outcome = dataclasses.replace(outcome, problem=f"{outcome.problem} (log: {log.relative_to(ROOT)})")
    processor = runner.processor_seconds.get(log, 0.0)
    progress.end(entry, outcome, processor)
    return Ended(outcome, time.monotonic() - since, processor, runner.spent.get(log, {}))


def longest_first(entries: Sequence[str], budget: str) -> list[str]:
    """Order entries by the wall seconds of an earlier run's table, those that it does not have first."""
    known = {row[1]: int(row[2]) for row in re.finditer(r"^\| (\S+) \| (\d+) \|", budget, re.MULTILINE)}
    return sorted(entries, key=lambda entry: -known.get(entry, sys.maxsize))


def table(ended: Mapping[str, Ended]) -> str:
    """What each entry took, in seconds, as a table in Markdown."""
    columns = ("create", "converge", "idempotence", "check", "verify")
    lines = [
        "| entry | wall | processor | create, prepare | converge | idempotence | checks | tests |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for entry, end in sorted(ended.items(), key=lambda item: -item[1].wall):
        spent = {**end.spent, "create": end.spent.get("create", 0.0) + end.spent.get("prepare", 0.0)}
        cells = [f"{spent[name]:.0f}" if spent.get(name) else "" for name in columns]
        lines.append(f"| {entry} | {end.wall:.0f} | {end.processor:.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entries", nargs="+", metavar="ENTRY")
    entries = list(dict.fromkeys(parser.parse_args().entries))
    budget = BUDGET.read_text() if BUDGET.is_file() else ""
    runner, progress, slots = Runner(), Progress(), Slots(slots_of_machine())

    def interrupt(signum: int, _frame: object) -> None:
        runner.stop()

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)

    def run_in_turn(rank: int, entry: str) -> Ended:
        match = None if entry in GATES else SCENARIO.fullmatch(entry)
        if match and not images.wait_for(match["distro"] or "trixie"):
            return Ended(Outcome("the images of its hosts could not be made"))
        with slots.taken(min(SLOTS_OF.get(entry.partition("@")[0], 1), slots.total), rank):
            return run_entry(runner, progress, entry)

    with only_run_of_this_checkout():
        since = time.monotonic()
        end_processes_of(ROOT)
        (LOGS / "images.log").write_text("")
        images = Images(runner, [entry for entry in entries if entry not in GATES])
        with ThreadPoolExecutor(max_workers=len(entries)) as pool:
            ordered = enumerate(longest_first(entries, budget))
            futures = {entry: pool.submit(run_in_turn, rank, entry) for rank, entry in ordered}
            ended = {entry: future.result() for entry, future in futures.items()}
        took = time.monotonic() - since
    text = table(ended)
    (LOGS / "budget.md").write_text(f"{text}\n")
    print(f"\n{text}\n\n{len(entries)} entries in {took:.0f} s\n")
    failed = 0
    for entry, end in ended.items():
        if end.outcome.problem:
            failed += 1
            print("\n".join([f"FAILED   {entry}: {end.outcome.problem}", *end.outcome.essence()]))
    print(f"{len(ended) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
