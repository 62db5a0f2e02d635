# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions that ask a host by one short shell command whether there is anything to do.

A module costs a Python process on the host, several times what a shell command costs, in each run and mostly to find
that nothing has changed. An asking action runs its module only when the answer does not say that all is as wanted; the
module then looks for itself. An argument that the action cannot read is left to the module, whose errors name it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase


class AskingAction(ActionBase):
    """Base of the asking actions; a subclass names its module, asks, and reads the answer."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True
    module = ""

    def question(self, arguments: Mapping[str, Any]) -> str | None:
        """Shell command that only reads, or None when the module has to run in any case."""
        raise NotImplementedError

    def settled(self, arguments: Mapping[str, Any], answer: str) -> dict[str, Any] | None:
        """What the module returns when there is nothing to do, or None when the answer does not show that."""
        raise NotImplementedError

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask, and run the module unless all is as wanted."""
        super().run(tmp, task_vars)
        arguments = self._task.args
        command = self.question(arguments)
        if command is not None:
            answer = self._low_level_execute_command(command, sudoable=True)
            result = self.settled(arguments, answer["stdout"]) if answer["rc"] == 0 else None
            if result is not None:
                return {"changed": False, **result}
        done: dict[str, Any] = self._execute_module(module_name=self.module, module_args=arguments, task_vars=task_vars)
        return done
