# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts that are there with their numbers need nothing but the question."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ansible_collections.hpcops.cluster.plugins.plugin_utils._asking import AskingAction


class ActionModule(AskingAction):
    """The action behind hpcops.cluster.service_accounts."""

    module = "hpcops.cluster.service_accounts"

    def question(self, arguments: Mapping[str, Any]) -> str | None:
        """What the host says of the accounts and of their groups, by name and by number."""
        accounts = arguments.get("accounts")
        if set(arguments) != {"accounts"} or not isinstance(accounts, list):
            return None
        if not all(isinstance(account, Mapping) and {"name", "uid"} <= set(account) for account in accounts):
            return None
        keys = [str(account[key]) for account in accounts for key in ("name", "uid")]
        return f"{shlex.join(['getent', 'passwd', *keys])} && {shlex.join(['getent', 'group', *keys])}"

    def settled(self, arguments: Mapping[str, Any], answer: str) -> dict[str, Any] | None:
        """The module's result, when each name and each number led to the same account and group."""
        found = sorted(
            line.split(":")[0] + ":" + line.split(":")[2] for line in answer.splitlines() if line.count(":") >= 3
        )
        wanted = sorted(f"{account['name']}:{account['uid']}" for account in arguments["accounts"])
        return {"created": []} if found == sorted(wanted * 4) else None
