# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An account with another number is an error, unless any number will do."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.hpcops.cluster.plugins.modules import service_accounts


@pytest.fixture(autouse=True)
def accounts_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """mysql as Debian's package makes it, and a group users that has the same number."""
    monkeypatch.setattr(service_accounts, "users_by_name", lambda: {"root": 0, "mysql": 100})
    monkeypatch.setattr(service_accounts, "users_by_number", lambda: {0: "root", 100: "mysql"})
    monkeypatch.setattr(service_accounts, "groups_by_name", lambda: {"root": 0, "users": 100, "mysql": 101})
    monkeypatch.setattr(service_accounts, "groups_by_number", lambda: {0: "root", 100: "users", 101: "mysql"})


@pytest.mark.parametrize(
    ("name", "uid", "any_number", "problems"),
    [
        ("mysql", 452, False, ["'mysql' has uid 100 here instead of 452", "'mysql' has gid 101 here instead of 452"]),
        ("mysql", 452, True, []),
        ("new", 452, True, []),
        ("new", 100, True, ["uid 100 of 'new' belongs to 'mysql' here", "gid 100 of 'new' belongs to 'users' here"]),
    ],
)
def test_account_that_exists_keeps_its_number_where_that_is_accepted(
    name: str, uid: int, any_number: bool, problems: list[str]
) -> None:
    account: dict[str, Any] = {"name": name, "uid": uid, "any_number": any_number}
    assert service_accounts.conflicts(account) == problems
