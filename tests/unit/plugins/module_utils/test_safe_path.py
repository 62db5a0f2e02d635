# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths that root walks, with directories that really belong to another account."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ansible_collections.hpcops.cluster.plugins.module_utils._safe_path import UnsafePathError, open_directory

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give directories away")
NOBODY = 65534


def hostile(path: Path) -> Path:
    """A directory of another account."""
    path.mkdir()
    os.chown(path, NOBODY, NOBODY)
    return path


def shown(path: Path | str, make: bool = False) -> str:
    """Where the walk arrives."""
    with open_directory(str(path), make) as directory:
        return os.readlink(f"/proc/self/fd/{directory.descriptor}")


def test_path_without_links_is_opened_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert shown(f"{tmp_path}//a/./b/") == str(tmp_path / "a" / "b")
    assert shown("/") == "/"


@pytest.mark.parametrize("target", ["real", "{tmp}/real", "real/../real", "second"])
def test_link_of_root_in_roots_directory_is_followed(tmp_path: Path, target: str) -> None:
    (tmp_path / "real" / "below").mkdir(parents=True)
    (tmp_path / "second").symlink_to("real")
    (tmp_path / "link").symlink_to(target.format(tmp=tmp_path))
    assert shown(tmp_path / "link" / "below") == str(tmp_path / "real" / "below")


def test_links_in_a_circle_end_with_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        shown(tmp_path / "a")


@ROOT_ONLY
@pytest.mark.parametrize("below", ["", "deeper/"])
def test_link_in_a_directory_of_another_account_is_refused(tmp_path: Path, below: str) -> None:
    folder = hostile(tmp_path / "theirs")
    (folder / "deeper").mkdir()  # root's own directory changes nothing: its owner can exchange it
    (folder / below / "link").symlink_to("/etc")
    with pytest.raises(UnsafePathError, match=f"{folder}/{below}link is a symbolic link that another account"):
        shown(folder / below / "link")
    with pytest.raises(UnsafePathError):
        shown(folder / below / "link" / "cron.d", make=True)


@ROOT_ONLY
def test_link_that_another_account_owns_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    (tmp_path / "link").symlink_to("/etc")
    os.chown(tmp_path / "link", NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(UnsafePathError):
        shown(tmp_path / "link")


@pytest.mark.parametrize(("mode", "follows"), [(0o755, True), (0o1777, True), (0o777, False), (0o775, False)])
def test_link_in_a_directory_that_others_can_change_is_refused(tmp_path: Path, mode: int, follows: bool) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "link").symlink_to("/etc")
    folder.chmod(mode)
    if follows:
        assert shown(folder / "link") == "/etc"
    else:
        with pytest.raises(UnsafePathError):
            shown(folder / "link")


@ROOT_ONLY
def test_directory_of_another_account_is_entered_but_never_left_upwards(tmp_path: Path) -> None:
    folder = hostile(tmp_path / "theirs")
    (folder / "below").mkdir()
    assert shown(folder / "below") == str(folder / "below")
    with pytest.raises(UnsafePathError, match=r"has '\.\.' below a directory that another account can change"):
        shown(folder / "below" / ".." / "below")


def test_missing_directories_are_made_on_request_but_not_where_a_link_leads(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        shown(tmp_path / "a" / "b")
    assert shown(tmp_path / "a" / "b", make=True) == str(tmp_path / "a" / "b")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError):
        shown(tmp_path / "link", make=True)
    assert not (tmp_path / "nowhere").exists()


def test_file_in_the_way_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        shown(tmp_path / "file" / "below", make=True)


@pytest.mark.parametrize("kind", ["fifo", "link", "socket", "directory"])
def test_only_a_regular_file_is_opened_as_one(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's address is short
    if kind == "fifo":
        os.mkfifo("it")  # without a writer, which open() would wait for
    elif kind == "link":
        os.symlink("/etc/passwd", "it")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("it")
    else:
        os.mkdir("it")
    with open_directory(str(tmp_path)) as directory, pytest.raises(UnsafePathError, match="regular file"):
        directory.open_file("it")


def test_candidate_takes_the_place_in_the_directory_that_was_opened(tmp_path: Path) -> None:
    """The directory's name leads elsewhere meanwhile."""
    (tmp_path / "d").mkdir()
    (tmp_path / "other").mkdir()
    with open_directory(str(tmp_path / "d")) as directory:
        descriptor, candidate = directory.open_candidate("a.conf")
        os.write(descriptor, b"new")
        assert os.fstat(descriptor).st_mode & 0o777 == 0o600
        os.close(descriptor)
        (tmp_path / "d").rename(tmp_path / "moved")
        (tmp_path / "d").symlink_to("other")
        directory.replace(candidate, "a.conf")
    assert [path.name for path in (tmp_path / "moved").iterdir()] == ["a.conf"]
    assert not list((tmp_path / "other").iterdir())


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    before = os.listdir("/proc/self/fd")
    shown(tmp_path / "link")
    for path in (tmp_path / "missing", tmp_path / "link" / "missing" / "x"):
        with pytest.raises(FileNotFoundError):
            shown(path)
    assert os.listdir("/proc/self/fd") == before
