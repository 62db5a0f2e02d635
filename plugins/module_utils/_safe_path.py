# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories and files that root opens without following a link of another account.

A path is walked with a descriptor for each directory, so nobody can exchange a directory between a check and its use. A
symbolic link is followed only where it belongs to root and stands in a directory that only root can change, such as
/etc/alternatives. Everywhere else it is an error.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections import deque
from collections.abc import Iterator
from types import TracebackType

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError

# O_PATH needs no permission to read the directory, which root lacks on NFS with root_squash.
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LINKS = 40  # as many as the kernel follows in one path
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
)


class UnsafePathError(HpcopsError):
    """A path leads through something that another account has put there."""


def kind_of(status: os.stat_result) -> str:
    """What an object is, for a message."""
    return next((kind for is_kind, kind in _KINDS if is_kind(status.st_mode)), "a device")


def _belongs_to_us(status: os.stat_result) -> bool:
    return status.st_uid in (0, os.geteuid())


def _only_we_change(status: os.stat_result) -> bool:
    """Whether no other account can put names into the directory, or only beside ours, as in /tmp."""
    return _belongs_to_us(status) and (not status.st_mode & _WRITABLE_BY_OTHERS or bool(status.st_mode & stat.S_ISVTX))


class Directory:
    """An open directory. Names in it are used relative to its descriptor, and never followed."""

    def __init__(self, descriptor: int, path: str, trusted: bool) -> None:
        self.descriptor = descriptor
        self.path = path
        status = os.fstat(descriptor)
        # Whether root, or the account that runs this, decides what every name on the way here leads to.
        self.trusted = trusted and _only_we_change(status)

    def close(self) -> None:
        os.close(self.descriptor)

    def __enter__(self) -> Directory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def status(self, name: str) -> os.stat_result | None:
        """Status of a name, of the link itself where it is one; None where there is nothing."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open_file(self, name: str) -> int:
        """Descriptor for reading a regular file; does not wait for a FIFO's other end.

        :raises UnsafePathError: anything but a regular file
        """
        try:
            descriptor = os.open(name, _FILE, dir_fd=self.descriptor)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENXIO):  # a link, a socket
                raise
            raise UnsafePathError(f"{self.path_of(name)} is no regular file. Remove it and run again") from error
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            return descriptor
        os.close(descriptor)
        raise UnsafePathError(f"{self.path_of(name)} is {kind_of(status)}, not a regular file. Remove it and run again")

    def open_candidate(self, name: str) -> tuple[int, str]:
        """Make a file that only its owner can read, under a name that no conf.d directory reads: (descriptor, name)."""
        candidate = f".{name}.{secrets.token_hex(6)}.candidate"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(candidate, flags, 0o600, dir_fd=self.descriptor), candidate

    def replace(self, candidate: str, name: str) -> None:
        """Give a name to the candidate, atomically; whatever had it is gone."""
        os.replace(candidate, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    @contextlib.contextmanager
    def readable(self) -> Iterator[int]:
        """Descriptor through which the directory is listed, or its owner and mode are changed."""
        descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.descriptor)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def path_of(self, name: str) -> str:
        return os.path.join(self.path, name)

    def enter(self, name: str) -> Directory:
        """Open a directory in this one."""
        descriptor = os.open(name, _DIRECTORY, dir_fd=self.descriptor)
        return Directory(descriptor, self.path_of(name), self.trusted)

    def target_of(self, name: str, status: os.stat_result) -> str:
        """Where a link leads.

        :raises UnsafePathError: another account may have made it
        """
        if self.trusted and _belongs_to_us(status):
            return os.readlink(name, dir_fd=self.descriptor)
        raise UnsafePathError(
            f"{self.path_of(name)} is a symbolic link that another account than root can make. Replace it by a directory, "
            f"or give it and {self.path} to root, and run again"
        )


def open_directory(path: str, make: bool = False) -> Directory:
    """Open the directory at an absolute path, and make what is missing of it where asked.

    :raises UnsafePathError: a link on the way that another account can make, or '..' below a directory that it can change
    :raises OSError: a part of the path does not exist or is no directory
    """
    directory = _root()
    pending = deque((name, make) for name in _parts(path))
    links = 0
    try:
        while pending:
            name, may_make = pending.popleft()
            if name == ".." and not directory.trusted:
                raise UnsafePathError(
                    f"{path} has '..' below a directory that another account can change. Write it without"
                )
            found = directory.status(name)
            if found is not None and stat.S_ISLNK(found.st_mode):
                links += 1
                if links > _LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                target = directory.target_of(name, found)
                pending.extendleft((part, False) for part in reversed(_parts(target)))
                following = _root() if target.startswith("/") else None
            else:
                if found is None and may_make:
                    os.mkdir(name, dir_fd=directory.descriptor)
                following = directory.enter(name)
            if following is not None:
                directory.close()
                directory = following
    except BaseException:
        directory.close()
        raise
    return directory


def _root() -> Directory:
    return Directory(os.open("/", _DIRECTORY), "/", trusted=True)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
