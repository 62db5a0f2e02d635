# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring enroot's cache below its limit: hpcops-enroot-cache.py DIRECTORY MIB.

The files that were not read for the longest time go first; those of the last hour stay, since an import may be under way. Below
DIRECTORY each user has a directory of their own and may put links there, so all is read and deleted with the rights of that user alone.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

MIB = 1 << 20
YOUNG = 3600  # seconds


class File(NamedTuple):
    used: float
    size: int
    path: str
    user: int


@contextmanager
def rights_of(user: int) -> Iterator[None]:
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(os.getuid())


def files(cache: str) -> Iterator[File]:
    """All files of all users."""
    with os.scandir(cache) as users:
        homes = [(entry.path, entry.stat().st_uid) for entry in users if entry.is_dir(follow_symlinks=False)]
    for home, user in homes:
        with rights_of(user):
            yield from [File(*of_file, user) for of_file in measured(home)]


def measured(home: str) -> Iterator[tuple[float, int, str]]:
    """When each file of a user was last used, its size in bytes, and its path."""
    for folder, _folders, names in os.walk(home):
        for name in names:
            path = os.path.join(folder, name)
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue  # its user was faster
            yield max(status.st_atime, status.st_mtime), status.st_blocks * 512, path


def delete(file: File) -> bool:
    """Whether the file's user could delete it."""
    try:
        with rights_of(file.user):
            os.unlink(file.path)
    except OSError as error:
        print(f"{file.path} stays: {error.strerror}", file=sys.stderr)
        return False
    return True


def main(cache: str, limit_mib: int) -> None:
    found = sorted(files(cache))
    before = size = sum(file.size for file in found)
    young = time.time() - YOUNG
    for file in found:
        if size <= limit_mib * MIB or file.used > young:
            break
        if delete(file):
            size -= file.size
    print(f"{cache}: {before // MIB} MiB, now {size // MIB} MiB of {limit_mib} MiB")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
