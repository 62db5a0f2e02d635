# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Break the code in one place at a time, and print each change that no test notices.

usage: tests/tools/mutants.py python [--sample N] [--seed N] [MODULE...]
       tests/tools/mutants.py roles [--sample N] [--seed N] [--scenario] [ROLE...]

A MODULE is a file's name without its suffix (_mounts); without one, all of plugins/module_utils and plugins/plugin_utils
are changed. A module is judged by the unit tests that have its name or name it. A role is judged by the unit tests that
read all roles and those that name it; with --scenario also by its Molecule scenario, which takes minutes for each mutant.
All of this happens in copies of the tree: the checkout is never changed.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import difflib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("plugins/module_utils", "plugins/plugin_utils")
PLUGINS = (*MODULES, *(f"plugins/{kind}" for kind in ("modules", "action", "filter", "inventory", "lookup")))
# What compares texts and None alike.
SAME = {f"ReplaceComparisonOperator_{pair}" for pair in ("Eq_Is", "NotEq_IsNot", "Is_Eq", "IsNot_NotEq")}
POLL_SECONDS = 0.02
SCENARIO_SECONDS = 1800.0
UNCHANGED_SECONDS = 900.0


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change of one file."""

    path: str  # from the tree's root
    line: int
    kind: str
    make: Callable[[], str]  # the whole file after the change; made late, since most mutants are not chosen

    def diff(self, before: str) -> str:
        lines = difflib.unified_diff(before.splitlines(), self.make().splitlines(), lineterm="", n=0)
        return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))


def sample(mutants: Iterable[Mutant], size: int, seed: int) -> list[Mutant]:
    """As many mutants, of different lines where there are enough lines, in the order of the file."""
    chance = random.Random(seed)
    by_line: dict[tuple[str, int], list[Mutant]] = {}
    for mutant in mutants:
        by_line.setdefault((mutant.path, mutant.line), []).append(mutant)
    chosen: list[Mutant] = []
    while by_line and len(chosen) < size:
        for place in chance.sample(sorted(by_line), min(len(by_line), size - len(chosen))):
            chosen.append(by_line[place].pop(chance.randrange(len(by_line[place]))))
            if not by_line[place]:
                del by_line[place]
    return sorted(chosen, key=lambda mutant: (mutant.path, mutant.line))


# --- Python --------------------------------------------------------------------------------------------------------


def python_mutants(path: str, source: str) -> Iterator[Mutant]:
    """The changes that Cosmic Ray knows, and each simple statement removed.

    Cosmic Ray's own runner starts pytest anew for each mutant, which costs ten times the tests. Only its operators are
    used; the tests run in forks of a process that has imported what they need.
    """
    # Imported here, since it is needed for nothing else.
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    tree = ast.parse(source)
    silent = silent_lines(tree)
    nodes = list(ast_nodes(get_ast(source)))
    for name in operator_names():
        if get_operator(name).arguments() or name.partition("/")[2] in SAME:
            continue  # variables' operators have to be given names
        operator = get_operator(name)()
        places = [start for node in nodes for start, _end in operator.mutation_positions(node)]
        for occurrence, (line, column) in enumerate(places):
            if any(start <= (line, column) < end for start, end in silent):
                continue
            yield Mutant(path, line, name.partition("/")[2], partial(mutate_code, source, operator, occurrence))
    yield from removed_statements(path, source, tree)


def silent_lines(tree: ast.Module) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where a change has no effect: annotations, which are never evaluated, and whether a dataclass is frozen."""
    silent: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.arg, ast.AnnAssign)):
            silent.extend([node.annotation] if node.annotation else [])
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.returns:
            silent.append(node.returns)
        elif isinstance(node, ast.ClassDef):
            silent.extend(item for item in node.decorator_list if isinstance(item, ast.Call))
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            silent.append(node.test)
    return [
        ((node.lineno, node.col_offset), (node.end_lineno or node.lineno, node.end_col_offset or 0)) for node in silent
    ]


def removed_statements(path: str, source: str, tree: ast.Module) -> Iterator[Mutant]:
    lines = source.splitlines(keepends=True)
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Expr, ast.Assign, ast.AugAssign, ast.Raise, ast.Return, ast.Delete)):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring
        if ast.unparse(node) in ("return", "return None", "raise NotImplementedError"):
            continue  # mostly the last statement; or nobody comes here
        first, last = node.lineno - 1, node.end_lineno or node.lineno
        kept = lines[first].encode()[: node.col_offset].decode()
        rest = lines[last - 1].encode()[node.end_col_offset :].decode()
        text = "".join([*lines[:first], f"{kept}pass{rest}", *lines[last:]])
        yield Mutant(path, node.lineno, "RemoveStatement", partial(str, text))


def tests_of(tree: Path, module: str) -> list[str]:
    """Unit tests that have the module's name or import it, then those of the plugins that import it."""
    tests = {path: path.read_text(encoding="utf-8") for path in sorted((tree / "tests" / "unit").rglob("test_*.py"))}

    def naming(name: str) -> list[Path]:
        word = re.compile(rf"\b{re.escape(name)}\b")
        own = [path for path in tests if path.stem == f"test_{name.lstrip('_')}"]  # ends soonest what it notices
        return own + [path for path, text in tests.items() if any(map(word.search, import_lines(text)))]

    found = naming(module)
    imports = re.compile(rf"^from .*\b{re.escape(module)}\b", re.MULTILINE)
    for folder in PLUGINS:
        for path in sorted((tree / folder).glob("*.py")):
            if imports.search(path.read_text(encoding="utf-8")):
                found += naming(path.stem)
    return [str(path.relative_to(tree)) for path in dict.fromkeys(found)]


def import_lines(text: str) -> list[str]:
    """The import statements of a Python text, each as one line."""
    return [ast.unparse(node) for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))]


def find_modules(tree: Path, name: str) -> list[Path]:
    """The plugins with the name; a module and its action have the same one."""
    found = [path for folder in PLUGINS for path in (tree / folder).glob(f"{name}.py")]
    if not found:
        raise SystemExit(f"mutants: no plugin is named '{name}'")
    return found


# --- Running -------------------------------------------------------------------------------------------------------


def preload() -> None:
    """Import what most tests import, so that no fork has to."""
    import ansible.module_utils.basic
    import ansible.plugins.action
    import ansible.plugins.loader
    import hypothesis
    import hypothesis.strategies
    import jinja2
    import pytest

    assert all((ansible, hypothesis, jinja2, pytest))


def run_pytest(tree: Path, tests: Sequence[str], log: Path, keep_bytecode: bool) -> int:
    """Process number of a fork that runs the tests in the tree."""
    process = os.fork()
    if process:
        return process
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout = sys.stderr = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    code = 70
    try:
        os.chdir(tree)
        # Compiled code is known by the second and the size of its source, which two mutants may share.
        sys.dont_write_bytecode = not keep_bytecode
        if not keep_bytecode:
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        import pytest
        from hypothesis import Phase, settings

        # The tests' own profile builds on this one. That a test fails is enough: no smaller example is looked for.
        phases = [Phase.explicit, Phase.generate]
        settings.register_profile("mutants", phases=phases, database=None, derandomize=True, max_examples=40)
        settings.load_profile("mutants")
        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]))
    finally:
        sys.stdout.flush()
        os._exit(code)


def run_program(tree: Path, command: Sequence[str], log: Path) -> int:
    """Process number of a program that runs in the tree, in a session that can be ended as a whole."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=tree, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    process.returncode = 0  # whoever started it waits for it, not the object that ends here
    return process.pid


def ended(process: int, deadline: float) -> int | None:
    """Exit status of the process, 124 after it was ended at the deadline, None while it runs."""
    done, status = os.waitpid(process, os.WNOHANG)
    if done:
        return os.waitstatus_to_exitcode(status)
    if time.monotonic() < deadline:
        return None
    end(process)
    return 124


def status_of(process: int) -> int:
    """Exit status of tests without a mutant, 124 where they do not end."""
    deadline = time.monotonic() + UNCHANGED_SECONDS
    while (status := ended(process, deadline)) is None:
        time.sleep(POLL_SECONDS)
    return status


def end(process: int) -> None:
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)


Start = Callable[[Path, Path, int], "int | None"]  # tree, log, number of the step: process, or None after the last step


def judge(
    mutants: Sequence[Mutant], trees: Sequence[Path], start: Start, timeout: float
) -> Iterator[tuple[Mutant, str, bool]]:
    """Yield each mutant with the file's text before it and whether it was noticed. A tree has one at a time."""
    waiting, free = list(reversed(mutants)), list(trees)
    running: dict[int, tuple[Mutant, Path, str, int, float]] = {}
    try:
        while waiting or running:
            while waiting and free:
                mutant, tree = waiting.pop(), free.pop()
                before = (tree / mutant.path).read_text(encoding="utf-8")
                (tree / mutant.path).write_text(mutant.make(), encoding="utf-8")
                process = start(tree, tree.with_suffix(".log"), 0)
                assert process is not None, "nothing judges the mutants"
                running[process] = (mutant, tree, before, 0, time.monotonic() + timeout)
            time.sleep(POLL_SECONDS)
            for process, (mutant, tree, before, step, deadline) in list(running.items()):
                status = ended(process, deadline)
                if status is None:
                    continue
                del running[process]
                following = start(tree, tree.with_suffix(".log"), step + 1) if status == 0 else None
                if following is not None:
                    running[following] = (mutant, tree, before, step + 1, time.monotonic() + timeout)
                    continue
                (tree / mutant.path).write_text(before, encoding="utf-8")
                free.append(tree)
                yield mutant, before, status != 0
    finally:
        for process in running:
            end(process)


def copies(folder: Path, count: int) -> list[Path]:
    """Copies of the checkout."""
    trees = []
    for number in range(count):
        made = subprocess.run(
            [str(ROOT / "tests" / "gates" / "copy.sh"), str(folder / str(number))],
            check=True,
            capture_output=True,
            text=True,
        )
        trees.append(Path(made.stdout.strip()))
    return trees


def pass_unchanged(trees: Sequence[Path], tests: Sequence[str]) -> None:
    """Run the tests once in each tree, which also compiles them; end the program where they fail without a mutant."""
    processes = [(tree, run_pytest(tree, tests, tree.with_suffix(".log"), keep_bytecode=True)) for tree in trees]
    failed = [tree for tree, process in processes if status_of(process)]
    if failed:
        raise SystemExit(f"mutants: tests fail without a change:\n{failed[0].with_suffix('.log').read_text()}")


def judge_python(trees: Sequence[Path], module: Path, size: int, seed: int) -> tuple[int, int]:
    """Print the survivors of a module; return how many mutants there were and how many were noticed."""
    path, name = str(module.relative_to(trees[0])), module.stem
    source = module.read_text(encoding="utf-8")
    tests = tests_of(trees[0], name)
    if not tests:
        print(f"{path}: no unit test imports it", flush=True)
        return 0, 0
    began = time.monotonic()
    for tree in trees:
        for keep_bytecode in (True, False):
            process = run_pytest(tree, tests, tree.with_suffix(".log"), keep_bytecode)
            if status_of(process):
                raise SystemExit(
                    f"mutants: {name}: its tests fail without a change:\n{tree.with_suffix('.log').read_text()}"
                )
            for compiled in (tree / path).parent.glob(f"__pycache__/{name}.*"):
                compiled.unlink()
    timeout = max(60.0, 5 * (time.monotonic() - began))

    def start(tree: Path, log: Path, step: int) -> int | None:
        return run_pytest(tree, tests, log, keep_bytecode=False) if step == 0 else None

    return report(name, sample(python_mutants(path, source), size, seed), trees, start, timeout)


def report(
    name: str, mutants: Sequence[Mutant], trees: Sequence[Path], start: Start, timeout: float
) -> tuple[int, int]:
    """Judge the mutants, print the survivors and a line for the name; return how many there were and were noticed."""
    survivors = 0
    for mutant, before, noticed in judge(mutants, trees, start, timeout):
        if not noticed:
            survivors += 1
            print(f"{mutant.path}:{mutant.line}: survived: {mutant.kind}\n{mutant.diff(before)}", flush=True)
    print(f"{name}: {len(mutants) - survivors} of {len(mutants)} noticed", flush=True)
    return len(mutants), len(mutants) - survivors


# --- Roles ---------------------------------------------------------------------------------------------------------

ANCHOR = re.compile(r": &\w")  # what others refer to
NOTHING = "ansible.builtin.meta: noop"
OTHERS = {"owner": "nobody", "group": "nogroup", "mode": '"0777"'}


def role_mutants(tree: Path, role: str) -> Iterator[Mutant]:
    """The changes of a role's tasks, handlers, tables of files and templates, made in the text so that the rest stays."""
    folder = tree / "roles" / role
    for path in sorted([*folder.glob("tasks/*.yml"), *folder.glob("handlers/*.yml")]):
        text, name = path.read_text(encoding="utf-8"), str(path.relative_to(tree))
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if isinstance(node, yaml.SequenceNode):
            yield from task_mutants(name, text, node)
            yield from metadata_mutants(name, text, node)
    for path in sorted([*folder.glob("vars/*.yml"), *folder.glob("defaults/*.yml")]):
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            yield from metadata_mutants(str(path.relative_to(tree)), text, node)
    for path in sorted(folder.glob("templates/**/*")):
        if path.is_file():
            yield from template_mutants(str(path.relative_to(tree)), path.read_text(encoding="utf-8"))


def task_mutants(path: str, text: str, tasks: yaml.SequenceNode) -> Iterator[Mutant]:
    for task in tasks.value:
        if not isinstance(task, yaml.MappingNode):
            continue
        line = task.start_mark.line + 1
        if not ANCHOR.search(text, task.start_mark.index, end_of(text, task)):
            yield Mutant(path, line, "RemoveTask", partial(replaced, text, task, NOTHING))
        for key, value in task.value:
            if key.value in ("block", "rescue", "always") and isinstance(value, yaml.SequenceNode):
                yield from task_mutants(path, text, value)
            elif key.value in ("notify", "no_log", "validate", "changed_when"):
                yield Mutant(
                    path, key.start_mark.line + 1, f"Remove {key.value}", partial(without, text, task, key, value)
                )
            elif key.value == "when":
                condition = value.value[0] if isinstance(value, yaml.SequenceNode) else value
                negated = f"not ({' '.join(condition.value.split())})".replace("'", "''")
                yield Mutant(
                    path, key.start_mark.line + 1, "Negate when", partial(replaced, text, condition, f"'{negated}'")
                )


def metadata_mutants(path: str, text: str, node: yaml.Node) -> Iterator[Mutant]:
    """Another owner, group or mode, at whatever depth they are."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from metadata_mutants(path, text, item)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value in OTHERS and isinstance(value, yaml.ScalarNode):
                line = value.start_mark.line + 1
                yield Mutant(path, line, f"Change {key.value}", partial(replaced, text, value, OTHERS[key.value]))
            else:
                yield from metadata_mutants(path, text, value)


def template_mutants(path: str, text: str) -> Iterator[Mutant]:
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        statement = "{%" in line or "%}" in line or "{#" in line or "#}" in line
        if (
            line.strip()
            and not statement
            and "ansible_managed" not in line
            and not line.lstrip().startswith(("#", ";"))
        ):
            yield Mutant(path, number + 1, "RemoveLine", partial("".join, [*lines[:number], *lines[number + 1 :]]))


def end_of(text: str, node: yaml.Node) -> int:
    """Where the node's own text ends: a block's end mark stands after the comments and empty lines that follow it."""
    own = text[node.start_mark.index : node.end_mark.index].rstrip()
    while own.rpartition("\n")[2].lstrip().startswith("#"):
        own = own.rpartition("\n")[0].rstrip()
    end: int = node.start_mark.index + len(own)
    return end


def replaced(text: str, node: yaml.Node, new: str) -> str:
    start = node.start_mark.index
    return text[:start] + new + text[end_of(text, node) :]


def without(text: str, task: yaml.MappingNode, key: yaml.Node, value: yaml.Node) -> str:
    """The text without a key of the task; in the place of a first key, whose line has the dash, stands another one."""
    if task.flow_style or key is task.value[0][0]:
        return text[: key.start_mark.index] + "vars: {}" + text[end_of(text, value) :]
    start = text.rindex("\n", 0, key.start_mark.index)
    return text[:start] + text[end_of(text, value) :]


def tests_of_role(tree: Path, role: str) -> list[str]:
    """Unit tests that read all roles, and those that name this one's files."""
    wanted = re.compile(rf"roles[\"/ ,]+{re.escape(role)}\b|ROOT / \"roles\"\)")
    quick = ("test_role_tasks", "test_role_contract")  # they come first
    tests = sorted((tree / "tests" / "unit").rglob("test_*.py"), key=lambda path: (path.stem not in quick, path))
    return [
        str(path.relative_to(tree))
        for path in tests
        if path.name.startswith("test_role_") or wanted.search(path.read_text(encoding="utf-8"))
    ]


def judge_role(trees: Sequence[Path], role: str, size: int, seed: int, scenario: bool) -> tuple[int, int]:
    """Print the survivors of a role; return how many mutants there were and how many were noticed."""
    tests = tests_of_role(trees[0], role)

    def start(tree: Path, log: Path, step: int) -> int | None:
        if step == 0:
            return run_pytest(tree, tests, log, keep_bytecode=False)
        if step == 1 and scenario:
            # From bare hosts each time: on hosts that the unchanged role has set up, what a removed task does is still there.
            return run_program(tree, [str(ROOT / ".venv/bin/python"), "tests/run.py", role], log)
        return None

    pass_unchanged(trees, tests)
    timeout = SCENARIO_SECONDS if scenario else 300.0
    return report(role, sample(role_mutants(trees[0], role), size, seed), trees, start, timeout)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kind", choices=["python", "roles"])
    parser.add_argument("names", nargs="*", metavar="NAME", help="modules or roles; all of them where none is named")
    parser.add_argument("--sample", type=int, default=25, help="how many mutants of each (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, help="another seed chooses another sample (default: %(default)s)"
    )
    parser.add_argument("--scenario", action="store_true", help="judge roles by their Molecule scenarios too")
    parser.add_argument("--jobs", type=int, default=0, help="how many at a time (default: processors; scenarios: 1)")
    options = parser.parse_intermixed_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the copies are removed
    preload()
    jobs = options.jobs or (1 if options.scenario else os.cpu_count() or 1)
    with tempfile.TemporaryDirectory(prefix="mutants.") as folder:
        trees = copies(Path(folder), jobs)
        if options.kind == "python":
            everything = [path for where in MODULES for path in sorted((trees[0] / where).glob("_*.py"))]
            names = [path for name in options.names for path in find_modules(trees[0], name)] or everything
            results = [judge_python(trees, path, options.sample, options.seed) for path in names]
        else:
            roles = options.names or sorted(path.parent.name for path in (trees[0] / "roles").glob("*/tasks"))
            results = [judge_role(trees, role, options.sample, options.seed, options.scenario) for role in roles]
    total, noticed = (sum(numbers) for numbers in zip(*results))
    print(f"{noticed} of {total} noticed ({100 * noticed / max(total, 1):.1f} %)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
