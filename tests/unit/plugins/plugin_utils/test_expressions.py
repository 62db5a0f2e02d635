# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Expressions that are read natively mean what Ansible's own templar makes of them; the rest is left to it."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import ExpressionError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._expressions import native
from ansible_collections.hpcops.cluster.plugins.plugin_utils._source_inventory import Expressions

VARIABLES: dict[str, Any] = {
    "cpus": 64,
    "name": "n1",
    "empty": "",
    "nothing": None,
    "roles": ["slurmd", "login"],
    "labels": {"env": "prod", "rack": "r1", "items": "hidden", "in": "x"},
    "deep": {"a": {"b": [{"c": 7}]}},
    "evil": "{{ lookup('pipe', 'touch /tmp/never') }}",
    "yes": True,
}
NATIVE = [
    "cpus",
    "labels.env",
    "labels['env']",
    'labels["rack"]',
    "deep.a.b[0].c",
    "roles[1]",
    "cpus == 64",
    "cpus != 64",
    "cpus >= 65",
    "64 <= cpus",
    "name == 'n1'",
    "name in ['n1', 'n2']",
    "name in ('n2',)",
    "name not in ['n1']",
    "'slurmd' in roles",
    "'env' in labels",
    "labels.env == 'prod' and cpus > 1",
    "cpus < 1 or 'login' in roles and not yes",
    "not cpus < 1",
    "nothing == none",
    "nothing == None",
    "yes == true",
    "empty or name",
    "empty and name",
    "labels.tier is defined",
    "labels.env is defined",
    "absent is not defined",
    "evil",
    "evil == '{{ x }}'",
    "'text'",
    "[cpus, name]",
    "1.5",
    "labels.absent",
    "absent",
    "absent.more",
    "absent == 1",
    "roles[9]",
    "name.more",
    "cpus in 5",
    "name < 5",
]
JINJA = [
    "labels.items",
    "labels.get('env')",
    "name | upper",
    "name ~ 'x'",
    "cpus + 1",
    "'a\\\\b'",
    "name if cpus else empty",
    "1 < cpus < 100",
    "labels.in",
    "cpus is number",
    "f'{name}'",
    "labels.__class__",
    "labels['__class__']",
    "-cpus",
    "roles[0:1]",
    "(lambda: 1)()",
    "[c for c in roles]",
    "lookup('pipe', 'id')",
    "cpus # 1",
    "",
    "a b",
]


def by_ansible(expression: str) -> Any:
    templar = Templar(loader=DataLoader(), variables=VARIABLES)
    return templar.evaluate_expression(trust_as_template(expression))


@pytest.mark.parametrize("expression", NATIVE)
def test_native_expression_means_what_ansible_makes_of_it(expression: str) -> None:
    reader = native(expression)
    assert reader is not None
    try:
        expected = by_ansible(expression)
    except (AnsibleError, TypeError):
        with pytest.raises(ExpressionError):
            reader(VARIABLES)
    else:
        assert reader(VARIABLES) == expected


@pytest.mark.parametrize("expression", JINJA)
def test_other_expressions_are_left_to_jinja(expression: str) -> None:
    assert native(expression) is None


def evaluator(**extra: Any) -> Expressions:
    return Expressions(Templar(loader=DataLoader()), extra)


def test_jinja_expression_is_compiled_once_for_all_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    stock = jinja2.Environment.compile_expression

    def counting(self: Any, source: str, *more: Any, **options: Any) -> Any:
        compiled.append(source)
        return stock(self, source, *more, **options)

    monkeypatch.setattr(jinja2.Environment, "compile_expression", counting)
    expressions = evaluator()
    text, condition = trust_as_template("name | upper"), trust_as_template("name | length > 2")
    found = [
        (expressions.value(text, {"name": name}), expressions.condition(condition, {"name": name}))
        for name in ("a", "bcd", "e")
    ]
    assert found == [("A", False), ("BCD", True), ("E", False)]
    assert sorted(compiled) == ["name | length > 2", "name | upper"]


def test_jinja_expression_works_where_the_templar_is_made_otherwise() -> None:
    class Other:
        def __init__(self) -> None:
            self.available_variables: dict[str, Any] = {}

        def evaluate_expression(self, expression: str) -> str:
            return f"{expression} of {self.available_variables['name']}"

    assert Expressions(Other()).value("name | upper", {"name": "n1"}) == "name | upper of n1"


def test_condition_that_is_no_boolean_is_refused() -> None:
    with pytest.raises(ExpressionError, match="boolean"):
        evaluator().condition(trust_as_template("name"), {"name": "n1"})


def test_expression_that_is_no_text_is_refused() -> None:
    with pytest.raises(ExpressionError):
        evaluator().value(5, {})


def test_remote_value_is_no_template_in_a_jinja_expression() -> None:
    value = evaluator().value(trust_as_template("evil ~ '!'"), VARIABLES)
    assert value == VARIABLES["evil"] + "!"


def test_text_that_is_not_the_operators_is_never_evaluated() -> None:
    with pytest.raises(ExpressionError, match="trusted"):
        evaluator().value("lookup('pipe', 'id')", {})


def test_extra_variables_win_and_may_be_templates() -> None:
    expressions = evaluator(name=trust_as_template("{{ 'x' ~ 'y' }}"))
    assert expressions.value(trust_as_template("name"), {"name": "n1"}) == "xy"
