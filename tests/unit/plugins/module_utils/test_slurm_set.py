# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A set of files on a disk: whole files at any time, and the former set until the change is settled."""

from __future__ import annotations

import itertools
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_set import (
    BEFORE,
    Files,
    FileSet,
    before_interruption,
    checksum,
    digest,
    write,
)

OLD: Files = {"slurm.conf": "old\n", "gres.conf": "old gres\n", "cgroup.conf": "same\n", "topology.conf": None}
NEW: Files = {"slurm.conf": "new\n", "gres.conf": None, "cgroup.conf": "same\n", "topology.conf": "new topology\n"}


@pytest.fixture(name="directory")
def directory_fixture(tmp_path: Path) -> Path:
    directory = tmp_path / "a [directory]"
    directory.mkdir()
    write(str(directory), OLD)
    return directory


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_set_is_written_and_read_back(directory: Path) -> None:
    files = FileSet(str(directory))
    assert files.read(OLD) == OLD
    files.replace(NEW)
    assert files.read(NEW) == NEW
    assert names(directory) == ["cgroup.conf", "slurm.conf", "topology.conf"]
    assert (directory / "slurm.conf").stat().st_mode & 0o777 == 0o644


@given(st.binary())
def test_a_file_is_put_back_byte_by_byte(tmp_path_factory: Any, content: bytes) -> None:
    directory = tmp_path_factory.mktemp("set")
    (directory / "slurm.conf").write_bytes(content)
    files = FileSet(str(directory))
    found = files.read({"slurm.conf": None})
    assert checksum(found) == checksum({"slurm.conf": content.decode(errors="surrogateescape")})
    files.replace({"slurm.conf": "new"})
    files.replace(found)
    assert (directory / "slurm.conf").read_bytes() == content


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"a": "x", "b": None}, {"a": "x"}, True),
        ({"a": "x", "b": "y"}, {"b": "y", "a": "x"}, True),
        ({"a": "x", "b": ""}, {"a": "x"}, False),
        ({"a": "x"}, {"a": "y"}, False),
        ({"a": "x"}, {"b": "x"}, False),
        ({"a": "x\n"}, {"a": "x\r\n"}, False),
    ],
)
def test_sets_with_the_same_files_have_the_same_checksum(one: Files, other: Files, same: bool) -> None:
    assert (checksum(one) == checksum(other)) == same
    assert digest("x") != digest("y")


def test_a_kept_set_is_pending_until_it_is_settled(directory: Path) -> None:
    files = FileSet(str(directory))
    assert files.interrupted() is None
    files.keep(OLD, "begun today")
    assert (files.interrupted() or "").splitlines()[0] == "begun today"
    files.replace(NEW)
    assert files.former(OLD) == OLD
    files.settle()
    files.settle()
    assert files.interrupted() is None
    assert (directory / BEFORE / "slurm.conf").read_text() == "old\n"


def test_a_set_is_kept_in_place_of_the_one_before_it(directory: Path) -> None:
    files = FileSet(str(directory))
    files.keep(OLD, "first")
    (directory / ".before.left").mkdir()
    files.keep(NEW, "second")
    assert files.former(NEW) == NEW
    assert [name for name in names(directory) if name.startswith(BEFORE)] == [BEFORE], "a killed run's is gone"


def test_a_file_that_the_interrupted_change_left_alone_is_as_it_is(directory: Path) -> None:
    files = FileSet(str(directory))
    files.keep({"slurm.conf": "old\n", "topology.conf": None}, "begun")
    files.replace({"slurm.conf": "new\n", "topology.conf": "new topology\n"})
    assert files.former(OLD) == OLD


@pytest.mark.parametrize(
    ("note", "former"),
    [
        ("begun\na\nb\n", {"a": "old", "b": None, "c": "now"}),
        ("begun\na\n", {"a": "old", "b": "now", "c": "now"}),
        ("", {"a": "now", "b": "now", "c": "now"}),
    ],
)
def test_the_set_before_an_interruption_has_what_was_kept(note: str, former: Files) -> None:
    present, kept = dict.fromkeys("abc", "now"), {"a": "old", "b": None, "c": None}
    assert before_interruption(present, kept, note) == former


class Interrupted(BaseException):
    """Comes from where a process may be killed."""


def change(directory: Path, patch: pytest.MonkeyPatch, step: str, after: int) -> bool:
    """Change the set, interrupted at a call of a step; tell whether it came to that."""
    real, calls = getattr(os, step), itertools.count()

    def interrupted(*arguments: Any, **more: Any) -> Any:
        if next(calls) == after:
            raise Interrupted
        return real(*arguments, **more)

    with patch.context() as patched:
        patched.setattr(os, step, interrupted)
        try:
            FileSet(str(directory)).keep(OLD, "begun")
            FileSet(str(directory)).replace(NEW)
        except Interrupted:
            return True
    return False


@pytest.mark.parametrize(
    ("step", "times"), [("replace", 6), ("unlink", 1), ("rename", 1), ("chmod", 6), ("fsync", 9), ("rmdir", 1)]
)
def test_an_interruption_leaves_whole_files_and_the_former_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, times: int
) -> None:
    for after in range(times):
        directory = tmp_path / str(after)
        directory.mkdir()
        files = FileSet(str(directory))
        files.keep({"slurm.conf": "older\n"}, "an earlier change")
        files.settle()
        files.replace(OLD)
        assert change(directory, monkeypatch, step, after)
        present = files.read(OLD)
        assert all(text in (OLD[name], NEW[name]) for name, text in present.items())
        if files.interrupted() is None:
            assert present == OLD, "nothing is replaced before the former set is safe"
        else:
            assert files.former(OLD) == OLD
            files.replace(files.former(OLD))
            assert files.read(OLD) == OLD
        files.keep(OLD, "again")
        files.replace(NEW)
        assert names(directory) == [BEFORE, "cgroup.conf", "slurm.conf", "topology.conf"], "nothing is left over"


def test_what_a_killed_run_has_left_goes_even_where_it_is_no_folder(directory: Path) -> None:
    (directory / f"{BEFORE}.killed").mkdir()
    (directory / f"{BEFORE}.odd").write_text("no folder", encoding="utf-8")
    FileSet(str(directory)).keep(OLD, "note")
    assert f"{BEFORE}.killed" not in names(directory)


def test_text_is_on_the_disk_before_it_takes_its_place_and_the_name_after_it(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[object] = []
    sync, replace, rename = os.fsync, os.replace, os.rename

    def synced(handle: int) -> None:
        status = os.fstat(handle)
        done.append("folder" if stat.S_ISDIR(status.st_mode) else status.st_size)
        sync(handle)

    def replaced(source: str, target: str) -> None:
        done.append("in place")
        replace(source, target)

    def renamed(source: str, target: str) -> None:
        done.append("kept")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    monkeypatch.setattr(os, "rename", renamed)
    FileSet(str(directory)).replace({"slurm.conf": "four", "gres.conf": None})
    assert done == [4, "in place", "folder"]
    done.clear()
    FileSet(str(directory)).keep({"slurm.conf": "four"}, "note")
    assert done[-2:] == ["kept", "folder"]
