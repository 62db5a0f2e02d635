# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold variables against rules, all of them in one task, on the control node."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """The action behind hpcops.cluster.validate."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset({"rules"})
    _requires_connection = False
    _supports_check_mode = True

    @classmethod
    def finalize_task_arg(cls, name: str, value: Any, templar: Any, context: Any) -> Any:
        """Leave the rules as they are written, so that a message is made only when its rule is violated.

        As ansible.builtin.assert does it. A release of Ansible without this hook would make all messages beforehand.
        """
        return value

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the messages of all rules that are violated."""
        super().run(tmp, task_vars)
        violated, messages = [], []
        for that, message in self._rules():
            wrong = next((each for each in that if not self._templar.evaluate_conditional(each)), None)
            if wrong is not None:
                violated.append(wrong)
                messages.append(str(self._templar.template(message)).strip())
        if not violated:
            return {"changed": False}
        return {"changed": False, "failed": True, "msg": "\n".join(messages), "violated": violated}

    def _rules(self) -> list[tuple[list[str | bool], str]]:
        """Each rule's expressions and its message."""
        rules = self._task.args.get("rules")
        if not isinstance(rules, list):
            raise AnsibleActionFail("validate: 'rules' must be a list, written out in the task")
        return [self._rule(rule) for rule in rules]

    @staticmethod
    def _rule(rule: Any) -> tuple[list[str | bool], str]:
        if not isinstance(rule, dict) or set(rule) != {"that", "message"} or not isinstance(rule["message"], str):
            raise AnsibleActionFail(
                "validate: each of 'rules' has the keys 'that' and 'message', a text, and no others", obj=rule
            )
        that = rule["that"] if isinstance(rule["that"], list) else [rule["that"]]
        if not that or not all(isinstance(each, (str, bool)) for each in that):
            raise AnsibleActionFail("validate: 'that' is a conditional expression, or a list of them", obj=rule)
        return that, rule["message"]
