# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tasks of every role keep to: secrets, modes, handlers and variables."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.parent for path in (ROOT / "roles").glob("*/tasks"))
BLOCKS = ("block", "rescue", "always")
# What runs on no host, and shows nothing of its arguments: rules are named by their messages.
SILENT = {
    "hpcops.cluster.validate",
    *(f"ansible.builtin.{kind}_{what}" for kind in ("import", "include") for what in ("role", "tasks")),
}
# Modules that answer with a difference of contents.
DIFFERING = ("config_files", "copy", "template", "lineinfile", "blockinfile", "slurm_config")
SECRET_NAME = re.compile(r"(password|token|secret|passphrase|credential)s?$")
# Whether there is a secret, how much of it, whose it is and where it is kept are none.
HARMLESS = (
    r"\b{name}\.(path|kid)\b|(?<=if ){name}(?= else\b)|\b{name}\b(\.\w+)?( *\| *default\([^()]*\))?"
    r" *(\| *length|is (not )?(defined|none)|\| *map\(attribute='(user|name)'\))"
)
WORD = re.compile(r"\b[A-Za-z_]\w*")

each_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


@dataclasses.dataclass(frozen=True)
class Task:
    """A task with what its blocks hand down to it."""

    file: str
    name: str
    keys: Mapping[str, Any]
    no_log: object
    diff: object

    @property
    def arguments(self) -> dict[str, Any]:
        """The module's arguments, and what they are made of."""
        return {key: value for key, value in self.keys.items() if "." in key or key in ("args", "vars", "loop")}

    def __str__(self) -> str:
        return f"{self.file}: {self.name}"


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def tasks_below(items: Iterable[Mapping[str, Any]], file: str, no_log: object, diff: object) -> Iterator[Task]:
    for item in items:
        task = Task(file, item.get("name", ""), item, item.get("no_log", no_log), item.get("diff", diff))
        if not any(key in item for key in BLOCKS):
            yield task
        for key in BLOCKS:
            yield from tasks_below(item.get(key) or [], file, task.no_log, task.diff)


@cache
def tasks_of(role: Path) -> list[Task]:
    files = sorted([*role.glob("tasks/*.yml"), *role.glob("handlers/*.yml")])
    return [
        task for path in files for task in tasks_below(load(path) or [], f"{path.parent.name}/{path.name}", None, None)
    ]


@cache
def texts_of(role: Path) -> dict[str, str]:
    """What a role says, by file; without what describes it."""
    folders = ("defaults", "vars", "tasks", "handlers", "templates")
    files = (path for folder in folders for path in sorted((role / folder).rglob("*")) if path.is_file())
    return {str(path.relative_to(role)): path.read_text(encoding="utf-8") for path in files}


def options_of(role: Path) -> dict[str, dict[str, Any]]:
    """All options by name, nested ones by their path."""

    def walk(options: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, option in options.items():
            yield prefix + name, option
            yield from walk(option.get("options") or {}, f"{prefix}{name}.")

    specs = load(role / "meta" / "argument_specs.yml")["argument_specs"]
    return {name: option for spec in specs.values() for name, option in walk(spec.get("options") or {}, "")}


# --- Secrets -------------------------------------------------------------------------------------------------------


def expressions_in(value: object) -> str:
    """What is evaluated in the value, without the texts that stand in it."""
    if isinstance(value, Mapping):
        return "\n".join(expressions_in(item) for item in value.values())
    if isinstance(value, list):
        return "\n".join(expressions_in(item) for item in value)
    return "\n".join(re.findall(r"\{[{%].*?[%}]\}", str(value), re.DOTALL))


def names_in(value: object, known: Iterable[str]) -> set[str]:
    """Which of the known names are read in the value for more than their length."""
    text = expressions_in(value)

    def read(name: str) -> bool:
        rest = re.sub(HARMLESS.format(name=name), "", text)
        return bool(re.search(rf"\b{name}\b", re.sub(r"'[^']*'", "", rest)))

    return {name for name in set(WORD.findall(text)) & set(known) if read(name)}


@cache
def secrets_of(role: Path) -> frozenset[str]:
    """Variables of the role that hold a secret, templates that write one, and variables that are made of these."""
    secrets = {name.partition(".")[0] for name, option in options_of(role).items() if option.get("no_log")}
    variables = {
        name: value
        for path in sorted([*role.glob("defaults/**/*.yml"), *role.glob("vars/**/*.yml")])
        for name, value in (load(path) or {}).items()
    }
    secrets |= {name for name, value in variables.items() if "'sensitive': True" in str(value)}
    sources = {**variables, **{path.name: path.read_text() for path in role.glob("templates/**/*") if path.is_file()}}
    while True:
        more = {name for name, value in sources.items() if holds_secret(value, secrets)} - secrets
        if not more:
            return frozenset(secrets)
        secrets |= more


def holds_secret(value: object, secrets: Iterable[str]) -> set[str]:
    names = {secret for secret in secrets if "." not in secret}
    templates = {secret for secret in secrets if "." in secret}
    return names_in(value, names) | {template for template in templates if template in str(value)}


@each_role
def test_option_that_is_named_like_a_secret_is_specified_as_one(role: Path) -> None:
    options = options_of(role)
    assert [
        name
        for name, option in options.items()
        if SECRET_NAME.search(name) and option["type"] == "str" and not option.get("no_log")
    ] == []


@each_role
def test_task_that_handles_a_secret_is_not_logged(role: Path) -> None:
    for task in tasks_of(role):
        if task.no_log or SILENT & set(task.keys):
            continue
        held = holds_secret(task.arguments, secrets_of(role))
        assert not held, f"{task}: lacks no_log, and handles {', '.join(sorted(held))}"
        assert "'sensitive': True" not in str(task.arguments), f"{task}: lacks no_log"


@each_role
def test_task_that_is_not_logged_shows_no_difference(role: Path) -> None:
    for task in tasks_of(role):
        if task.no_log and any(key.rpartition(".")[2] in DIFFERING for key in task.keys):
            assert task.diff is False, f"{task}: lacks diff: false"


# --- Files ---------------------------------------------------------------------------------------------------------


def mappings_in(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from mappings_in(item)


@cache
def entries_of(role: Path) -> list[Mapping[str, Any]]:
    """All that has a mode in the role's tasks and variables."""
    values = [task.keys for task in tasks_of(role)]
    values += [load(path) for path in sorted([*role.glob("defaults/**/*.yml"), *role.glob("vars/**/*.yml")])]
    return [mapping for value in values for mapping in mappings_in(value) if "mode" in mapping]


@each_role
def test_nobody_else_may_write_what_a_role_makes(role: Path) -> None:
    for entry in entries_of(role):
        if re.fullmatch(r"[0-7]+", str(entry["mode"])):
            mode = int(str(entry["mode"]), 8)
            assert not mode & 0o002 or mode & 0o1000, entry


@each_role
def test_everything_with_a_mode_of_its_own_is_quoted(role: Path) -> None:
    for entry in entries_of(role):
        assert isinstance(entry["mode"], str), entry


@each_role
def test_nobody_else_may_read_a_secret_file(role: Path) -> None:
    for entry in entries_of(role):
        if entry.get("sensitive") and re.fullmatch(r"[0-7]+", entry["mode"]):
            assert not int(entry["mode"], 8) & 0o007, entry


# --- Handlers ------------------------------------------------------------------------------------------------------


def listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value] if value else []


def topics_of(handler: Task) -> list[str]:
    """What the handler can be called by."""
    return [handler.name, *listed(handler.keys.get("listen"))]


def handlers_of(role: Path) -> list[Task]:
    return [task for task in tasks_of(role) if task.file.startswith("handlers/")]


def notified_by(role: Path) -> set[str]:
    return {topic for task in tasks_of(role) for topic in listed(task.keys.get("notify"))}


@cache
def topics_in_variables() -> str:
    """What roles hand to the entry points of other roles."""
    return str([task.keys.get("vars") for role in ROLES for task in tasks_of(role)])


def users_of(role: Path, entry_point: str) -> list[Path]:
    """Roles that run the role's entry point."""
    wanted = {"name": f"hpcops.cluster.{role.name}", "tasks_from": entry_point}
    keys = ("ansible.builtin.import_role", "ansible.builtin.include_role")
    return [
        other
        for other in ROLES
        if any(wanted.items() <= task.keys.get(key, {}).items() for task in tasks_of(other) for key in keys)
    ]


@each_role
def test_every_topic_that_is_notified_has_a_handler(role: Path) -> None:
    """In the role, or in all those that run the entry point that notifies it."""
    for task in tasks_of(role):
        users = users_of(role, Path(task.file).stem)
        for topic in listed(task.keys.get("notify")):
            listening = [other for other in ROLES if any(topic in topics_of(handler) for handler in handlers_of(other))]
            found = role in listening or (bool(users) and set(users) <= set(listening))
            assert found or "{{" in topic, f"{task}: there is no handler '{topic}'"


@each_role
def test_every_handler_is_notified(role: Path) -> None:
    everywhere = {topic for other in ROLES for topic in notified_by(other)}
    for handler in handlers_of(role):
        topics = listed(handler.keys.get("listen")) or [handler.name]
        for topic in topics:
            assert topic in everywhere or topic in topics_in_variables(), f"{handler}: nothing notifies '{topic}'"
        assert set(topics_of(handler)) & notified_by(role) or role.name == "os_base" or len(topics) > 1, (
            f"{handler}: no task of its role notifies it"
        )


# --- Shell lines ---------------------------------------------------------------------------------------------------

# What a shell line may have unquoted: numbers, and internals that roles and playbooks fix: plain words and whole shell lines.
FIXED = {
    "ansible_check_mode",
    "__mariadb_folder",
    "__munge_moment",
    "__munge_step",
    "__os_hardening_keep",
    "__restore_verification",
    "os_base_secret_probe",
    "__slurm_auth_newer",
    "__slurm_auth_listener",
}
QUOTED = re.compile(r"\|\s*(quote|int( \* \d+)?)\s*$|\|\s*map\('quote'\)\s*\|\s*join\(' '\)\s*$")
LITERAL = re.compile(r"^\s*'[^']*' if \w+ else ''\s*$")


def shell_lines(task: Task) -> str:
    """The text of a task that a shell reads."""
    shell, command = (task.keys.get(f"ansible.builtin.{kind}") or {} for kind in ("shell", "command"))
    argv = [str(word) for word in command.get("argv", ())] if isinstance(command.get("argv"), list) else []
    script = argv[argv.index("-c") + 1] if argv[:1] == ["sh"] and "-c" in argv else ""
    checks = [
        check["command"]
        for check in (task.keys.get("hpcops.cluster.acceptance_checks") or {}).get("checks", ())
        if isinstance(check, dict)
    ]
    return "\n".join([shell.get("cmd", ""), script, *checks])


def fixed_words(role: Path) -> set[str]:
    """Internals whose value is a word without a meaning to the shell."""
    values = {name: value for path in sorted(role.glob("vars/**/*.yml")) for name, value in (load(path) or {}).items()}
    return {name for name, value in values.items() if re.fullmatch(r"[\w./-]+", str(value))}


def unquoted(task: Task, fixed: set[str]) -> list[str]:
    found = (expression.strip() for expression in re.findall(r"\{\{(.*?)\}\}", shell_lines(task), re.DOTALL))
    return [
        expression
        for expression in found
        if not QUOTED.search(expression)
        and not LITERAL.match(expression)
        and not set(WORD.findall(re.sub(r"'[^']*'|\| *\w+", "", expression))) <= fixed
    ]


@each_role
def test_a_variable_cannot_become_a_command_of_a_shell(role: Path) -> None:
    for task in tasks_of(role):
        assert unquoted(task, FIXED | fixed_words(role)) == [], f"{task}: add | quote"


def test_a_variable_cannot_become_a_command_of_a_playbooks_shell() -> None:
    for path in sorted((ROOT / "playbooks").rglob("*.yml")):
        plays = [item for item in load(path) or [] if isinstance(item, dict)] if path.parent.name != "vars" else []
        items = [task for play in plays for key in ("tasks", "pre_tasks", "post_tasks") for task in play.get(key) or []]
        for task in tasks_below(items or plays, str(path.relative_to(ROOT)), None, None):
            assert unquoted(task, FIXED | {"__restore_what"}) == [], f"{task}: add | quote"


def commands_in(value: object) -> Iterator[str]:
    """The commands of the checks that variables hold."""
    if isinstance(value, Mapping):
        yield from (str(item) for key, item in value.items() if key == "command")
        yield from (command for item in value.values() for command in commands_in(item))
    elif isinstance(value, list):
        yield from (command for item in value for command in commands_in(item))


def test_what_one_host_returned_is_no_part_of_another_hosts_check() -> None:
    files = [*(ROOT / "roles").glob("*/vars/**/*.yml"), *(ROOT / "playbooks").glob("vars/*.yml")]
    commands = [command for path in sorted(files) for command in commands_in(load(path))]
    assert len(commands) > 10
    assert [command for command in commands if "hostvars" in command] == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("echo {{ a_name }}", ["a_name"]),
        ('echo "{{ a_name }}"', ["a_name"]),
        ("echo {{ hostvars[other].result.stdout }}", ["hostvars[other].result.stdout"]),
        ("echo {{ names | join(' ') }}", ["names | join(' ')"]),
        ("echo {{ a_name | quote }} {{ 5 | int }} {{ names | map('quote') | join(' ') }} {{ __word }}", []),
    ],
)
def test_a_word_that_a_shell_would_read_is_found(line: str, found: list[str]) -> None:
    for keys in (
        {"ansible.builtin.shell": {"cmd": line}},
        {"ansible.builtin.command": {"argv": ["sh", "-c", line]}},
        {"hpcops.cluster.acceptance_checks": {"checks": [{"name": "a", "command": line}]}},
    ):
        assert unquoted(Task("a", "b", keys, None, None), {"__word"}) == found


# --- Variables -----------------------------------------------------------------------------------------------------


@each_role
def test_every_input_is_read(role: Path) -> None:
    """By the role, or by those that take the value from the role that owns it."""
    others = "\n".join(text for other in ROLES if other != role for text in texts_of(other).values())
    own = {file: text for file, text in texts_of(role).items() if not file.startswith("defaults/")}
    for name, value in (load(role / "defaults" / "main.yml") or {}).items():
        used = re.compile(rf"\b{name}\b")
        defaults = {other: value for other, value in load(role / "defaults" / "main.yml").items() if other != name}
        assert any(used.search(text) for text in (*own.values(), str(defaults), others)), (
            f"{name} ({value}) is read nowhere"
        )


@each_role
def test_every_internal_variable_that_is_set_is_read(role: Path) -> None:
    playbooks = (path.read_text(encoding="utf-8") for path in sorted((ROOT / "playbooks").rglob("*.yml")))
    words = WORD.findall("\n".join([*playbooks, *(text for other in ROLES for text in texts_of(other).values())]))
    names = {name for path in sorted(role.glob("vars/**/*.yml")) for name in (load(path) or {})}
    names |= {task.keys["register"] for task in tasks_of(role) if "register" in task.keys}
    names |= {name for task in tasks_of(role) for name in task.keys.get("ansible.builtin.set_fact", {})}
    assert [name for name in sorted(names) if words.count(name) < 2] == []
