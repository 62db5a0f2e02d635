# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter host_records: one entry for many hosts becomes their records, or a sentence that names the entry."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.hpcops.cluster.plugins.filter.host_records import host_records


def test_entry_with_a_host_list_becomes_a_record_for_each_host() -> None:
    entry = {"name": "c[08-10]", "addresses": {"main": "10.0.1.[8-10]", "ib": "10.9.0.1"}, "roles": ["slurmd"]}
    assert host_records([entry, {"name": "login", "cluster": "beta"}], cluster="alpha") == [
        {"name": "c08", "cluster": "alpha", "addresses": {"main": "10.0.1.8", "ib": "10.9.0.1"}, "roles": ["slurmd"]},
        {"name": "c09", "cluster": "alpha", "addresses": {"main": "10.0.1.9", "ib": "10.9.0.1"}, "roles": ["slurmd"]},
        {"name": "c10", "cluster": "alpha", "addresses": {"main": "10.0.1.10", "ib": "10.9.0.1"}, "roles": ["slurmd"]},
        {"name": "login", "cluster": "beta"},
    ]


def test_name_may_have_a_domain() -> None:
    assert [record["name"] for record in host_records([{"name": "c[1-2].example.org"}])] == [
        "c1.example.org",
        "c2.example.org",
    ]


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ("c1", "the input must be a list, not str"),
        (["c1"], "entry 0 must be a mapping, not str"),
        ([{"cluster": "a"}], "entry 0 has no name"),
        ([{"name": "c[2-1]"}], r"c\[2-1\]: name: host list 'c\[2-1\]': range '2-1' must rise"),
        ([{"name": "c1"}, {"name": "c[1-2]"}], "entry 1 has c1, which was there before"),
        ([{"name": "c[1-2]", "addresses": "10.0.0.1"}], r"c\[1-2\]: addresses must be a mapping"),
        (
            [{"name": "c[1-2]", "addresses": {"main": "10.0.0.[1-3]"}}],
            "addresses.main is 3 addresses for 2 names",
        ),
    ],
)
def test_wrong_entry_is_named(entries: Any, says: str) -> None:
    with pytest.raises(AnsibleFilterError, match=says):
        host_records(entries)
