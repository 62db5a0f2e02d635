# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts can run containers of ordinary users, and what the others are told."""

from __future__ import annotations

import subprocess

import pytest

from ansible_collections.hpcops.cluster.plugins.module_utils._user_namespaces import PROBE, judge, read_probe

ALLOWED = {"namespaces": "yes", "overlay": "yes", "user/max_user_namespaces": "95821"}
REFUSED = ALLOWED | {
    "namespaces": "unshare: unshare failed: No space left on device",
    "overlay": "unshare: unshare failed",
}


def test_host_that_allows_all_is_fine() -> None:
    assert judge(ALLOWED) == (None, [])


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({"user/max_user_namespaces": "0"}, "user.max_user_namespaces is 0: set it to 65536 in os_base_sysctl"),
        ({"user/max_mnt_namespaces": "0"}, "user.max_mnt_namespaces is 0: set it to 65536"),
        ({"kernel/unprivileged_userns_clone": "0"}, "kernel.unprivileged_userns_clone is 0: set it to 1"),
        ({}, "CONFIG_USER_NS"),
    ],
)
def test_host_without_user_namespaces_is_refused_with_the_setting_to_change(found: dict[str, str], says: str) -> None:
    problem, warnings = judge(REFUSED | found)
    assert problem is not None
    assert "No space left on device" in problem
    assert says in problem
    assert not warnings


def test_where_apparmor_allows_named_programs_the_host_is_not_refused() -> None:
    problem, (warning,) = judge(REFUSED | {"kernel/apparmor_restrict_unprivileged_userns": "1"})
    assert problem is None
    assert "kernel.apparmor_restrict_unprivileged_userns is 1" in warning


def test_old_kernel_without_overlay_for_users_is_told_what_needs_it() -> None:
    problem, (warning,) = judge(ALLOWED | {"overlay": "mount: permission denied"})
    assert problem is None
    assert "enroot_caps" in warning


def test_probe_reads_the_settings_of_this_kernel() -> None:
    done = subprocess.run(["/bin/sh", "-c", PROBE], capture_output=True, text=True, check=True)
    found = read_probe(done.stdout)
    assert found["user/max_user_namespaces"].isdigit()
    assert found["namespaces"]
    assert found["overlay"]
