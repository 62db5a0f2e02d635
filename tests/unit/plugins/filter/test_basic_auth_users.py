# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords are hashed so that a server of Prometheus' family knows them again, the same way in each run."""

from __future__ import annotations

from typing import Any

import bcrypt
import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hpcops.cluster.plugins.filter.basic_auth_users import basic_auth_users

PASSWORDS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=20, max_size=72)


@given(PASSWORDS, st.text())
def test_hash_is_of_the_password_and_the_same_each_time(password: str, seed: str) -> None:
    hashed = basic_auth_users({"prometheus": password}, seed)
    assert bcrypt.checkpw(password.encode(), hashed["prometheus"].encode())
    assert not bcrypt.checkpw(b"another", hashed["prometheus"].encode())
    assert hashed == basic_auth_users({"prometheus": password}, seed)


def test_salt_differs_from_host_to_host_and_from_user_to_user() -> None:
    users = {"alice": "x" * 20, "bob": "x" * 20}
    hashes = [*basic_auth_users(users, "c1").values(), *basic_auth_users(users, "c2").values()]
    assert len({text[:29] for text in hashes}) == 4


@pytest.mark.parametrize(
    ("users", "says"),
    [
        ({"alice": "short"}, "the password of alice must have 20 to 72"),
        ({"alice": "x" * 73}, "the password of alice"),
        ({"alice": "ö" * 20}, "the password of alice"),
        ({"alice": None}, "the password of alice"),
        (["alice"], "must be a mapping"),
    ],
)
def test_what_cannot_be_hashed_is_named_and_not_shown(users: Any, says: str) -> None:
    with pytest.raises(AnsibleFilterError, match=says) as raised:
        basic_auth_users(users, "c1")
    assert "x" * 20 not in str(raised.value)
