# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory plugins share: they ask a source, refuse half an answer, keep the last good one, and say how it went."""

from __future__ import annotations

import difflib
import functools
import gc
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import (
    ExpressionError,
    HpcopsError,
    InventoryError,
)
from ansible_collections.hpcops.cluster.plugins.plugin_utils._answers import Limits, Source, ask
from ansible_collections.hpcops.cluster.plugins.plugin_utils._construction import Construction, Rules
from ansible_collections.hpcops.cluster.plugins.plugin_utils._expressions import native
from ansible_collections.hpcops.cluster.plugins.plugin_utils._groups import FAILED, group_name
from ansible_collections.hpcops.cluster.plugins.plugin_utils._snapshots import Snapshot

STATUS = "hpcops_inventory_status"
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(value: Any, option: str) -> int:
    """Read a duration: a number of seconds, or one with s, m, h or d."""
    match = re.fullmatch(r"(\d{1,9})([smhd]?)", str(value).strip())
    if match is None:
        raise InventoryError(f"{option}: '{value}' is no duration; write 0, 90s, 30m, 1h or 2d")
    return int(match[1]) * _UNITS[match[2]]


class Expressions:
    """The evaluator: natively where that is possible, else by Ansible's templar, which compiles each expression once."""

    def __init__(self, templar: Any, extra_vars: Mapping[str, Any] | None = None) -> None:
        self._templar = templar
        # They may be templates themselves, which only the templar resolves.
        self._extra_vars = extra_vars or {}
        engine: Any = getattr(templar, "_engine", None)
        compile_expression = getattr(engine, "_compile_expression", None)
        if compile_expression is not None:
            # The templar would compile anew for each host. Where it is made otherwise, that is all that happens.
            engine._compile_expression = functools.cache(compile_expression)

    def value(self, expression: Any, variables: Mapping[str, Any]) -> Any:
        """Return the expression's value."""
        reader = self._native(expression)
        return reader(variables) if reader else self._ask(self._templar.evaluate_expression, expression, variables)

    def condition(self, expression: Any, variables: Mapping[str, Any]) -> bool:
        """Tell whether the condition is met."""
        reader = self._native(expression)
        if reader:
            value = reader(variables)
            if isinstance(value, bool):
                return value
        return bool(self._ask(self._templar.evaluate_conditional, expression, variables))

    def text(self, template: Any, variables: Mapping[str, Any]) -> Any:
        """Return what becomes of a text that may be a template."""
        return self._ask(self._templar.template, template, variables)

    def _native(self, expression: Any) -> Any:
        return native(expression) if isinstance(expression, str) and not self._extra_vars else None

    def _ask(self, what: Callable[[Any], Any], text: Any, variables: Mapping[str, Any]) -> Any:
        self._templar.available_variables = {**variables, **self._extra_vars}
        try:
            return what(text)
        except (AnsibleError, TypeError) as error:
            raise ExpressionError(str(error)) from error


@contextmanager
def _collecting_nothing() -> Iterator[None]:
    """Look for no garbage while an answer is read: all of it is needed, and looking through it takes as long as reading it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class SourceInventory(BaseInventoryPlugin):
    """Base of the inventory plugins; a subclass makes the source from its options.

    It keeps a cache of its own: Ansible's is slow to read, and knows neither validators nor the last good answer.
    """

    endings: tuple[str, ...] = ()
    uses_known = True
    """Whether what is known may do without asking; not with --flush-cache."""

    def source(self) -> Source:
        """Return what the options describe."""
        raise NotImplementedError

    def verify_file(self, path: str) -> bool:
        """Take only files whose names end as this plugin's do."""
        return bool(super().verify_file(path)) and path.endswith(self.endings)

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Ask the source and fill the inventory. Whatever goes wrong is an error, and is in the status as well."""
        super().parse(inventory, loader, path, cache)
        self.uses_known = cache
        status: dict[str, Any] = {
            "plugin": self.NAME,
            "asked": [],
            "failed": [str(path)],
            "error": "",
            "stale": False,
            "hosts": 0,
        }
        is_whole = False
        try:
            with _collecting_nothing():
                self._read(path, status)
            is_whole = True
        except (HpcopsError, AnsibleError) as error:
            self._publish(path, {**status, "error": str(error)})
            raise AnsibleParserError(f"{self.NAME}: {error}") from None  # it would repeat each cause
        finally:
            if not is_whole:
                # Ansible goes on without this source unless it is told otherwise; this tells the playbooks.
                inventory.add_group(FAILED)
        self._publish(path, status)

    def _read(self, path: str, status: dict[str, Any]) -> None:
        self._refuse_unknown(self._read_config_data(path))
        rules, limits = self._rules(), self._limits()
        source = self.source()
        status.update(asked=list(source.parts), failed=list(source.parts))
        folder = Path(self.get_option("cache_dir")).expanduser()
        answers = ask(source, folder, limits, self.display.warning, use_known=self.uses_known)
        found = {part: answer.stored for part, answer in answers.items() if answer.stored}
        snapshot = source.whole({part: stored.snapshot for part, stored in found.items()})
        self._refuse_few(snapshot)
        for answer in answers.values():
            answer.keep()
        self._populate(snapshot, rules)
        problems = {part: answer.problem for part, answer in answers.items() if answer.problem}
        status.update(
            failed=[part for part in problems if part not in found],
            error="\n".join(problems.values()),
            stale=any(part in found for part in problems),
            age=int(max(stored.age for stored in found.values())),
            hosts=len(snapshot.hosts),
            revision=snapshot.revision,
        )

    def _refuse_unknown(self, given: Mapping[str, Any]) -> None:
        """Ansible passes over what is no option: cluster in place of clusters would be the hosts of all of them."""
        known: Collection[str] = self.option_definitions
        for name in map(str, given):
            if name not in known:
                alike = difflib.get_close_matches(name, known, 1)
                raise InventoryError(f"{name}: there is no such option{f'; is {alike[0]} meant?' if alike else ''}")

    def text_option(self, name: str) -> str:
        """Return an option's text; it may be a template in the configuration, such as a lookup."""
        value = self.get_option(name)
        return "" if value is None else str(self.templar.template(value))

    def texts_option(self, name: str) -> tuple[str, ...]:
        """Return an option's texts."""
        values: list[Any] = self.get_option(name)
        return tuple(map(str, values))

    def variables_option(self, known: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        """Return which variables are wanted: lean or full, and those that a lean inventory shall have as well."""
        variables = self.get_option("variables")
        also: tuple[str, ...] = ()
        if isinstance(variables, list):
            also, variables = tuple(map(str, variables)), "lean"
        unknown = [name for name in also if name not in known]
        if variables not in ("lean", "full") or unknown:
            wrong = ", ".join(unknown) or variables
            raise InventoryError(
                f"variables: '{wrong}' is neither lean nor full, nor a list of these: {', '.join(known)}"
            )
        return variables, also

    def _rules(self) -> Rules:
        names = ("compose", "groups", "keyed_groups", "strict", "leading_separator")
        return Rules(**{name: self.get_option(name) for name in names})

    def on_partial(self) -> str:
        """Return what to do where a part fails: error, cached or skip."""
        return "error"

    def fresh_for(self) -> int:
        """Return for how many seconds an answer is taken as it is, without asking again."""
        return 0

    def _limits(self) -> Limits:
        stale_ok = seconds(self.get_option("stale_ok"), "stale_ok")
        return Limits(stale_ok, self.get_option("max_shrink"), self.on_partial(), self.fresh_for())

    def _refuse_few(self, snapshot: Snapshot) -> None:
        least = self.get_option("min_hosts")
        if len(snapshot.hosts) < least:
            raise InventoryError(
                f"min_hosts: the answer has {len(snapshot.hosts)} hosts, at least {least} are expected"
            )

    # --- Filling the inventory -------------------------------------------------------------------------------------

    def _populate(self, snapshot: Snapshot, rules: Rules) -> None:
        for warning in snapshot.warnings:
            if rules.strict:
                raise InventoryError(warning)
            self.display.warning(f"{self.NAME}: {warning}")
        # All that can fail comes first: Ansible keeps what was added before a failure.
        constructed = self._construct(snapshot, rules) if rules else {}
        inventory = self.inventory
        for group, variables in snapshot.group_vars.items():
            inventory.add_group(group)
            for name, value in variables.items():
                inventory.set_variable(group, name, value)
        for host, variables in snapshot.hosts.items():
            inventory.add_host(host)
            # Not through the inventory, which copies each value to note its origin: that takes longer than all the rest.
            inventory.hosts[host].vars.update(variables)
        for group, names in snapshot.groups.items():
            self._add_hosts(inventory.add_group(group), names)
        self._add_constructed(constructed)

    def _add_hosts(self, group: str, hosts: list[str]) -> None:
        inventory = self.inventory
        add = inventory.groups[group].add_host
        for host in hosts:
            add(inventory.hosts[host])

    def _construct(self, snapshot: Snapshot, rules: Rules) -> dict[str, Construction]:
        evaluator = Expressions(self.templar, self._vars if self.get_option("use_extra_vars") else None)
        return {
            host: rules.construct(
                host, {"inventory_hostname": host, **variables, **snapshot.facts.get(host, {})}, evaluator
            )
            for host, variables in snapshot.hosts.items()
        }

    def _add_constructed(self, constructed: Mapping[str, Construction]) -> None:
        members: dict[str, list[str]] = {}
        parents: dict[tuple[str, str], None] = {}
        for host, made in constructed.items():
            for name, value in made.variables.items():
                self.inventory.set_variable(host, name, value)
            for group in made.groups:
                members.setdefault(group_name(group), []).append(host)
            parents.update(((group_name(parent), group_name(group)), None) for parent, group in made.parents)
        for group, hosts in members.items():
            self._add_hosts(self.inventory.add_group(group), hosts)
        for parent, group in parents:
            self.inventory.add_child(self.inventory.add_group(parent), group)

    def _publish(self, path: str, status: Mapping[str, Any]) -> None:
        """Add this source's status to that of the others."""
        known = self.inventory.groups["all"].vars.get(STATUS, {})
        self.inventory.set_variable("all", STATUS, {**known, str(path): dict(status)})
