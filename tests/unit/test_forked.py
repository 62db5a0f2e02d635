"""A program that is a fork of a process with its modules loaded is run as a new interpreter runs it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ansible_collections.hpcops.cluster.tests.support.forked import Loaded

ENVIRONMENT = {"ONE": "1", "PATH": "/usr/bin", "LC_CTYPE": "C.UTF-8"}
PROGRAM = """
import atexit, json, os, sys
atexit.register(print, "at the end")
print(json.dumps([sys.argv, __name__, __file__, sys.path[0], os.getcwd(), dict(os.environ), sys.stdin.read()]))
print("error", file=sys.stderr)
if "raise" in sys.argv:
    raise ValueError("wrong")
if "kill" in sys.argv:
    os.kill(os.getpid(), 9)
sys.exit(3 if "exit" in sys.argv else None)
"""


@pytest.fixture(name="loaded", scope="module")
def loaded_fixture() -> Iterator[Loaded]:
    with Loaded(["json", "decimal"], env=ENVIRONMENT) as made:
        yield made


@pytest.fixture(name="program")
def program_fixture(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def both(loaded: Loaded, folder: Path, command: Sequence[str]) -> list[tuple[int, str, str]]:
    new = subprocess.run(
        [sys.executable, *command], cwd=folder, env=ENVIRONMENT, input="in", capture_output=True, text=True, check=False
    )
    forked = loaded.run(command, cwd=folder, env=ENVIRONMENT, stdin="in")
    return [(done.returncode, done.stdout, done.stderr) for done in (forked, new)]


@pytest.mark.parametrize("how", ["", "exit", "kill"])
def test_script_has_what_a_new_interpreter_gives_it(loaded: Loaded, program: Path, how: str) -> None:
    forked, new = both(loaded, program.parent, [str(program), "one", how])
    assert forked == new


def test_module_has_what_a_new_interpreter_gives_it(loaded: Loaded, program: Path) -> None:
    forked, new = both(loaded, program.parent, ["-m", "program", "exit"])
    assert forked == new
    assert new[0] == 3


def test_error_ends_it_as_it_ends_a_new_interpreter(loaded: Loaded, program: Path) -> None:
    forked, new = both(loaded, program.parent, [str(program), "raise"])
    assert forked[:2] == new[:2]
    assert forked[0] == 1
    assert forked[2].splitlines()[-1] == new[2].splitlines()[-1] == "ValueError: wrong"


def test_modules_are_loaded_before(loaded: Loaded, tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text("import sys\nprint('decimal' in sys.modules, 'csv' in sys.modules)")
    assert loaded.run(["-m", "p"], cwd=tmp_path, env={}).stdout == "True False\n"


def test_programs_run_beside_each_other(loaded: Loaded, program: Path) -> None:
    (program.parent / "wait.py").write_text(
        "import pathlib, sys, time\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "while not pathlib.Path(sys.argv[2]).exists(): time.sleep(0.01)\n"
    )
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(loaded.run, ["-m", "wait", *names], cwd=program.parent, env={})
            for names in (("one", "two"), ("two", "one"))
        ]
        assert [run.result(60).returncode for run in runs] == [0, 0]


def test_process_that_cannot_load_is_no_result(tmp_path: Path) -> None:
    with Loaded(["no_such_module"]) as broken, pytest.raises((RuntimeError, OSError)):
        broken.run(["-m", "json.tool"], cwd=tmp_path, env={})
