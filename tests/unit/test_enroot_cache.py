# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes from enroot's cache, and what stays."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "roles" / "enroot" / "files" / "hpcops-enroot-cache.py"
DAY = 86400


def layer(path: Path, days: float, mib: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * (mib << 20))
    when = time.time() - days * DAY
    os.utime(path, (when, when))


def clean(cache: Path, limit: int) -> str:
    done = subprocess.run([sys.executable, PROGRAM, cache, str(limit)], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture(name="cache")
def cache_fixture() -> Iterator[Path]:
    """In a folder that other users may enter, as they may that of the role."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        for user, name, days in (("a", "1", 9), ("b", "2", 8), ("a", "deep/3", 7), ("b", "4", 6)):
            layer(Path(folder, user, name), days)
        yield Path(folder)


def left(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def test_oldest_go_until_the_rest_is_below_the_limit_whoever_they_belong_to(cache: Path) -> None:
    assert clean(cache, 5).startswith(f"{cache}: 8 MiB, now 4 MiB of 5 MiB")
    assert left(cache) == ["3", "4"]


def test_nothing_goes_below_the_limit(cache: Path) -> None:
    clean(cache, 9)
    assert left(cache) == ["1", "2", "3", "4"]


def test_what_was_read_lately_counts_as_new(cache: Path) -> None:
    os.utime(cache / "a" / "1", (time.time() - DAY, time.time() - 9 * DAY))
    clean(cache, 3)
    assert left(cache) == ["1"]


def test_what_an_import_may_be_using_stays_even_above_the_limit(cache: Path) -> None:
    layer(cache / "a" / "young", 0.01)
    clean(cache, 1)
    assert left(cache) == ["young"]


def test_link_out_of_the_cache_is_not_followed(cache: Path, tmp_path: Path) -> None:
    layer(tmp_path / "outside" / "old", 30)
    (cache / "a" / "folder").symlink_to(tmp_path / "outside")
    (cache / "a" / "file").symlink_to(tmp_path / "outside" / "old")
    (cache / "user").symlink_to(tmp_path / "outside")
    clean(cache, 0)
    assert (tmp_path / "outside" / "old").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can be another user")
def test_file_goes_with_the_rights_of_its_user_alone(cache: Path) -> None:
    """As if the user had put another directory in the place of their own while the program ran."""
    os.chown(cache / "a", 65534, 65534)  # what is in "deep" is root's, which this user cannot delete
    clean(cache, 0)
    assert left(cache) == ["3"]
