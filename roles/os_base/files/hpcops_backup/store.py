# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups and the folder that they are in."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from .tools import BackupError, now, sha256_of, size_of, write_file

FORMAT = 1
MANIFEST = "manifest.json"
NAME = re.compile(r"\d{8}T\d{6}Z")
TIME = "%Y%m%dT%H%M%SZ"


@dataclasses.dataclass(frozen=True)
class Backup:
    """A complete backup."""

    path: Path
    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def content(self) -> dict[str, Any]:
        """What its source says of it."""
        return dict(self.manifest["content"])

    @property
    def size(self) -> int:
        return sum(entry["size"] for entry in self.manifest["files"].values())

    @property
    def made(self) -> datetime.datetime:
        return datetime.datetime.strptime(self.name, TIME).replace(tzinfo=datetime.timezone.utc)

    @property
    def is_regular(self) -> bool:
        """Whether it was made for its own sake, and not to take a restore back."""
        return not self.manifest["before_restore_of"]


class Source(Protocol):
    """What a job saves."""

    def estimate(self) -> int:
        """How many bytes it is at most, before compression."""

    def is_empty(self) -> bool:
        """Whether there is nothing that a restore could overwrite."""

    def save(self, folder: Path) -> dict[str, Any]:
        """Write it into files of the folder, and say what is in them."""

    def check(self, backup: Backup) -> None:
        """Read a backup to its end."""

    def refuse_in_use(self) -> None:
        """Fail while somebody would notice that it is replaced."""

    def restore(self, backup: Backup) -> None:
        """Make it what the backup says."""


class Store:
    """The folder of a job's backups."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One program at a time works here; others wait."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = (self.folder / ".lock").open("w")
        except OSError as error:
            raise BackupError(f"{error.filename} cannot be written: {error.strerror}") from error
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"waiting for another run on {self.folder} to end", file=sys.stderr, flush=True)
                fcntl.flock(handle, fcntl.LOCK_EX)
            for path in self.folder.glob(".*.partial"):  # of a run that was killed
                shutil.rmtree(path)
            yield

    def read(self) -> tuple[list[Backup], dict[str, str]]:
        """The good backups, oldest first, and why others are none."""
        found = {path.name: read_backup(path) for path in sorted(self.folder.glob("*")) if NAME.fullmatch(path.name)}
        good = [each for each in found.values() if isinstance(each, Backup)]
        return good, {name: each for name, each in found.items() if isinstance(each, str)}

    def backups(self) -> list[Backup]:
        """The good backups, oldest first."""
        return self.read()[0]

    def newest(self) -> Backup | None:
        """The newest one that was not made to take a restore back."""
        return next((backup for backup in reversed(self.backups()) if backup.is_regular), None)

    def find(self, name: str) -> Backup | None:
        if name == "newest":
            return self.newest()
        return next((backup for backup in self.backups() if backup.name == name), None)

    @contextlib.contextmanager
    def partial(self, name: str) -> Iterator[Path]:
        """A folder that becomes the backup of this name when all goes well, and is gone when not."""
        folder = self.folder / f".{name}.partial"
        try:
            folder.mkdir(mode=0o700)
            yield folder
            for path in (*folder.iterdir(), folder):
                handle = os.open(path, os.O_RDONLY)
                os.fsync(handle)
                os.close(handle)
            folder.rename(self.folder / name)
        except OSError as error:
            raise BackupError(f"{folder} cannot be written: {error.strerror or error}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def make(self, job: str, source: Source, before_restore_of: str = "") -> Backup:
        """A new backup."""
        self.check_space(source)
        start = time.time()
        while (self.folder / (name := now().strftime(TIME))).exists():
            time.sleep(0.1)
        with self.partial(name) as folder:
            content = source.save(folder)
            files = {
                path.name: {"size": path.stat().st_size, "sha256": sha256_of(path)} for path in sorted(folder.iterdir())
            }
            manifest = {
                "format": FORMAT,
                "job": job,
                "host": socket.gethostname(),
                "seconds": round(time.time() - start, 1),
                "before_restore_of": before_restore_of,
                "files": files,
                "content": content,
            }
            write_file(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
        return Backup(self.folder / name, manifest)

    def check_space(self, source: Source) -> None:
        """Refuse early what would not fit: as much as last time and a fifth, or half of what there is, since it compresses well."""
        last = self.newest()
        need = (1 << 20) + (int(last.size * 1.2) if last else source.estimate() // 2)
        free = shutil.disk_usage(self.folder).free
        if free < need:
            raise BackupError(
                f"{self.folder} has {size_of(free)} free, and the backup needs about {size_of(need)}. Nothing was "
                "written, and earlier backups are kept: make room, or keep fewer"
            )

    def prune(self, keep: int, keep_days: int) -> list[str]:
        """Remove all but the newest so many, and what is older than so many days (0: no such rule); the newest one always stays."""
        backups = self.backups()
        oldest = now() - datetime.timedelta(days=keep_days)
        stays = {backup.name for backup in (*backups[-1:], self.newest()) if backup}
        removed = []
        for position, backup in enumerate(reversed(backups)):
            due = (keep and position >= keep) or (keep_days and backup.made < oldest)
            if due and backup.name not in stays:
                # First it ceases to count: half of one must not look like one.
                shutil.rmtree(backup.path.rename(self.folder / f".{backup.name}.partial"))
                removed.append(backup.name)
        return sorted(removed)

    @staticmethod
    def verify(backup: Backup, source: Source) -> None:
        """Hold a backup against its manifest, and read it to its end."""
        for name, entry in backup.manifest["files"].items():
            if sha256_of(backup.path / name) != entry["sha256"]:
                raise BackupError(f"{backup.path / name} is not what was saved: its checksum is another one")
        source.check(backup)


def read_backup(path: Path) -> Backup | str:
    """A backup, or why it is none."""
    try:
        backup = Backup(path, json.loads((path / MANIFEST).read_text(encoding="utf-8")))
        if backup.manifest["format"] != FORMAT:
            return f"this program does not know the format {backup.manifest['format']} of its manifest"
        for name, entry in backup.manifest["files"].items():
            if (path / name).stat().st_size != entry["size"]:
                return f"{name} has not the size that its manifest says"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return backup
