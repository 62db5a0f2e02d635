# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every role promises: its defaults, its argument specification, its README and its scenario say the same."""

from __future__ import annotations

import ast
import runpy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.parent for path in (ROOT / "roles").glob("*/tasks"))
TYPES = {"str", "bool", "int", "float", "list", "dict", "path", "raw", "jsonarg", "json", "bytes", "bits"}

pytestmark = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def specs_of(role: Path) -> dict[str, Any]:
    specs: dict[str, Any] = load(role / "meta" / "argument_specs.yml")["argument_specs"]
    return specs


def options_of(role: Path) -> dict[str, Any]:
    """Return the options of all entry points by name."""
    return {name: option for spec in specs_of(role).values() for name, option in (spec.get("options") or {}).items()}


def nested(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, option in options.items():
        yield prefix + name, option
        yield from nested(option.get("options") or {}, f"{prefix}{name}.")


def defaults_of(role: Path) -> dict[str, Any]:
    path = role / "defaults" / "main.yml"
    return load(path) or {} if path.exists() else {}


def test_every_default_is_specified(role: Path) -> None:
    assert sorted(defaults_of(role)) == sorted(name for name, option in options_of(role).items() if "default" in option)


def test_specification_names_the_value_that_the_defaults_have(role: Path) -> None:
    options = options_of(role)
    specified = {name: options[name].get("default") for name in defaults_of(role) if name in options}
    assert {name: defaults_of(role)[name] for name in specified} == specified


def test_every_option_has_a_type_and_a_description(role: Path) -> None:
    for name, option in nested(options_of(role)):
        assert option.get("type") in TYPES, name
        assert option.get("description"), name
        assert option["type"] != "list" or "elements" in option, name


def test_every_option_carries_the_prefix_of_the_role(role: Path) -> None:
    assert [name for name in options_of(role) if not name.startswith(f"{role.name}_")] == []


def test_every_entry_point_is_specified_and_has_its_tasks(role: Path) -> None:
    """A tasks file that no other one of the role includes can only be meant for users."""
    tasks = {path.stem: path.read_text() for path in (role / "tasks").glob("*.yml")}
    everything = "\n".join(tasks.values()) + "\n".join(path.read_text() for path in (role / "handlers").glob("*.yml"))
    entry_points = {name for name in tasks if f"{name}.yml" not in everything}
    specified = set(specs_of(role))
    assert specified <= set(tasks)
    assert entry_points <= specified


def test_validation_comes_first(role: Path) -> None:
    first = load(role / "tasks" / "main.yml")[0]
    assert "validate.yml" in str(first), first["name"]
    assert first.get("tags") == ["always"]


def test_readme_has_the_table_of_the_variables(role: Path) -> None:
    readme = runpy.run_path(str(ROOT / "tests" / "tools" / "role_docs.py"))["readme"]
    for path, text in readme(role).items():
        assert path.read_text() == text, "out of date: make docs"


def test_scenario_has_tests(role: Path) -> None:
    scenario = ROOT / "molecule" / role.name
    assert (scenario / "molecule.yml").exists()
    functions = [
        node.name
        for path in (scenario / "tests").glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert functions
