# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller's configuration files as a set on its disk, and the former set beside it.

The former set lies in the directory .before from before the first file is replaced. While it is marked as pending, the
controller may run with either set: a run that was interrupted leaves the mark behind.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping

BEFORE = ".before"
PENDING = "pending"

# A file that is there may have any bytes and line ends; it is put back as it was.
_ERRORS = "surrogateescape"

Files = Mapping[str, "str | None"]  # None: a file that is not there


def checksum(files: Files) -> str:
    """Return the checksum of a set of files."""
    present = {name: text for name, text in files.items() if text is not None}
    return digest(json.dumps(present, sort_keys=True))


def digest(text: str) -> str:
    """Return the checksum of a file's text."""
    return hashlib.sha256(text.encode(errors=_ERRORS)).hexdigest()


def before_interruption(present: Files, kept: Files, note: str) -> dict[str, str | None]:
    """Return the set before an interrupted change: the files that it kept, and the present ones that it left alone."""
    names = note.splitlines()[1:]
    return {name: kept[name] if name in names else text for name, text in present.items()}


class FileSet:
    """The files in a directory."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.before = os.path.join(directory, BEFORE)
        self._pending = os.path.join(self.before, PENDING)

    def read(self, names: Mapping[str, object]) -> dict[str, str | None]:
        """Return the files that are there now."""
        return {name: _read(os.path.join(self.directory, name)) for name in names}

    def interrupted(self) -> str | None:
        """Return what an interrupted run wrote of itself, and the names of its files, or None when there was none."""
        return _read(self._pending)

    def former(self, names: Mapping[str, object]) -> dict[str, str | None]:
        """Return the set before the interrupted change."""
        kept = {name: _read(os.path.join(self.before, name)) for name in names}
        return before_interruption(self.read(names), kept, self.interrupted() or "")

    def keep(self, files: Files, note: str) -> None:
        """Put the given files aside as the former set, pending."""
        for left_over in glob.glob(f"{glob.escape(self.before)}.*"):  # of a run that was killed
            shutil.rmtree(left_over, ignore_errors=True)
        fresh = tempfile.mkdtemp(prefix=f"{BEFORE}.", dir=self.directory)
        write(fresh, {**files, PENDING: "".join(f"{line}\n" for line in (note, *files))})
        shutil.rmtree(self.before, ignore_errors=True)
        os.rename(fresh, self.before)
        _sync(self.directory)

    def replace(self, files: Files) -> None:
        """Bring files into the directory, each atomically."""
        write(self.directory, files)

    def settle(self) -> None:
        """Take the mark off: the controller runs with what lies in the directory."""
        if os.path.exists(self._pending):
            os.unlink(self._pending)


def write(directory: str, files: Files) -> None:
    """Bring each file into a directory, atomically one by one; None removes it."""
    for name, text in files.items():
        path = os.path.join(directory, name)
        if text is None:
            if os.path.lexists(path):
                os.unlink(path)
            continue
        handle, candidate = tempfile.mkstemp(prefix=f".{name}.", dir=directory)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors=_ERRORS, newline="") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(candidate, 0o644)
            os.replace(candidate, path)
        except BaseException:
            os.unlink(candidate)
            raise
    _sync(directory)


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors=_ERRORS, newline="") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def _sync(directory: str) -> None:
    """Make what happened to the directory's names last."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
