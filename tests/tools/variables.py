# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the roles' variables that nothing sets to another value than their default.

usage: tests/tools/variables.py [ROLE...]

What sets a variable is a YAML file of a scenario, an inventory, a playbook, the demo, or another role that runs an entry
point; or a unit test that names it. A value that Ansible computes counts as another one.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
SETTING = ("molecule", "inventories", "playbooks", "tests/demo", ".config/molecule")


class Loader(yaml.CSafeLoader):
    """Reads what Ansible reads: tags such as !vault are texts."""


Loader.add_multi_constructor("!", lambda loader, suffix, node: f"!{suffix} {node.value}")


def documents(path: Path) -> Iterator[Any]:
    try:
        yield from yaml.load_all(path.read_text(encoding="utf-8"), Loader=Loader)
    except yaml.YAMLError as error:
        print(f"variables: {path.relative_to(ROOT)} cannot be read: {error}", file=sys.stderr)


def pairs(value: object) -> Iterator[tuple[str, Any]]:
    """All keys with their values, at any depth."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key), item
            yield from pairs(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from pairs(item)


def literal(expression: ast.expr) -> Any:
    try:
        return ast.literal_eval(expression)
    except ValueError:
        return (None,)  # computed


def literals(path: Path) -> Iterator[tuple[str, Any]]:
    """The pairs of a Python file's dictionaries and keyword arguments; what is no literal is None in a tuple."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        keys: list[tuple[str, ast.expr]] = []
        if isinstance(node, ast.Dict):
            keys = [
                (key.value, value)
                for key, value in zip(node.keys, node.values)
                if isinstance(key, ast.Constant) and isinstance(key.value, str)
            ]
        elif isinstance(node, ast.Call):
            keys = [(keyword.arg, keyword.value) for keyword in node.keywords if keyword.arg]
        for name, expression in keys:
            yield name, literal(expression)


def settings(root: Path) -> dict[str, list[Any]]:
    """The values that each name is given anywhere."""
    found: dict[str, list[Any]] = {}
    files = [path for folder in SETTING for path in sorted((root / folder).rglob("*.y*ml"))]
    files += sorted(root.glob("roles/*/tasks/*.yml"))
    for path in files:
        for document in documents(path):
            for name, value in pairs(document):
                found.setdefault(name, []).append(value)
    tests = [path for folder in ("tests", "molecule") for path in sorted((root / folder).rglob("*.py"))]
    for path in tests:
        for name, value in literals(path):
            found.setdefault(name, []).append(value)
    for path in [
        path for folder in SETTING for path in sorted((root / folder).rglob("*")) if path.suffix in ("", ".ini")
    ]:
        if path.is_file():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                name, equals, value = line.strip().partition("=")
                if equals and name.isidentifier():
                    found.setdefault(name, []).append(value)
    return found


def unset(root: Path, role: str, found: Mapping[str, Sequence[Any]]) -> list[str]:
    """The role's variables that nothing gives another value than their default."""
    path = root / "roles" / role / "defaults" / "main.yml"
    defaults = next(iter(documents(path)), None) if path.exists() else None
    return [
        name
        for name, default in (defaults or {}).items()
        if all(value == default and type(value) is type(default) for value in found.get(name, ()))
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("roles", nargs="*", metavar="ROLE", help="all roles where none is named")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    root: Path = options.root
    roles = options.roles or sorted(path.parent.name for path in root.glob("roles/*/tasks"))
    found = settings(root)
    count = 0
    for role in roles:
        names = unset(root, role, found)
        count += len(names)
        if names:
            print(f"{role}: {len(names)}")
            print("".join(f"  {name}\n" for name in names), end="")
    print(f"{count} variables are set to nothing but their default")
    return 0


if __name__ == "__main__":
    sys.exit(main())
