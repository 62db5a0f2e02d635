# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders: their archives, and how one is put back."""

from __future__ import annotations

import contextlib
import io
import os
import pwd
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .store import Backup
from .tools import BackupError, compressed, decompressed, run


class Trees:
    """Folders, each in an archive of its own. One can be restored; the others are for people to look at."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.trees: dict[str, dict[str, Any]] = settings["trees"]
        self.version: list[str] = settings.get("version", [])
        self.unit: str = settings.get("unit", "")
        self.name: str = settings["restorable"]
        self.tree = self.trees[self.name]
        self.root = Path(self.tree["path"])

    def entries(self, tree: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
        """Names and paths of what is in a tree.

        Files come before folders: slurmctld's list of jobs says which jobs' scripts there must be, so these are read after it. What
        is just being written (*.new) is no state yet.
        """
        root = Path(tree["path"])

        def stop(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError) or error.filename == str(root):
                raise BackupError(f"{error.filename} cannot be read: {error.strerror}")

        for folder, folders, files in os.walk(root, onerror=stop):
            folders[:] = sorted(name for name in folders if not name.startswith(".hpcops-restore"))
            for name in sorted(name for name in files if not name.endswith(".new")) + folders:
                path = Path(folder, name)
                yield str(path.relative_to(root)), path

    def estimate(self) -> int:
        total = 0
        for tree in self.trees.values():
            with acting_as(tree.get("user", "")):
                for _name, path in self.entries(tree):
                    with contextlib.suppress(FileNotFoundError):
                        total += path.lstat().st_size
        return total

    def is_empty(self) -> bool:
        kept = self.tree.get("keep", [])
        with acting_as(self.tree.get("user", "")):
            return all(name in kept for name, _path in self.entries(self.tree))

    def save(self, folder: Path) -> dict[str, Any]:
        counts = {}
        for name, tree in self.trees.items():
            with compressed(folder / f"{name}.tar.zst") as pipe:
                with acting_as(tree.get("user", "")), tarfile.open(fileobj=pipe, mode="w|") as archive:
                    counts[name] = sum(add(archive, *entry) for entry in self.entries(tree))
        version = run(self.version).strip() if self.version else ""
        paths = {name: tree["path"] for name, tree in self.trees.items()}
        return {"trees": paths, "entries": counts, "version": version}

    def check(self, backup: Backup) -> None:
        for name, count in backup.content["entries"].items():
            path = backup.path / f"{name}.tar.zst"
            try:
                with decompressed(path) as pipe, tarfile.open(fileobj=pipe, mode="r|") as archive:
                    found = sum(1 for _member in archive)
            except tarfile.TarError as error:
                raise BackupError(f"{path} is damaged: {error}") from error
            if found != count:
                raise BackupError(f"{path} has {found} entries, and had {count}")

    def refuse_in_use(self) -> None:
        if self.unit and subprocess.run(["systemctl", "is-active", "--quiet", self.unit], check=False).returncode == 0:
            raise BackupError(f"{self.unit} runs: stop it on all hosts that share {self.root} first")

    def restore(self, backup: Backup) -> None:
        """Unpack beside what is there, then exchange both."""
        staged, former = self.root / ".hpcops-restore-new", self.root / ".hpcops-restore-former"
        archived = backup.path / f"{self.name}.tar.zst"
        with decompressed(archived) as pipe, acting_as(self.tree.get("user", "")):
            try:
                for folder in (staged, former):
                    shutil.rmtree(folder, ignore_errors=True)
                    folder.mkdir(mode=0o700)
                with tarfile.open(fileobj=pipe, mode="r|") as archive:
                    for member in archive:
                        extract(archive, member, staged)
                self.exchange(staged, former)
                shutil.rmtree(former)
            except (OSError, tarfile.TarError) as error:
                raise BackupError(f"{archived} cannot be unpacked into {self.root}: {error}") from error
            finally:
                shutil.rmtree(staged, ignore_errors=True)
                with contextlib.suppress(OSError):
                    former.rmdir()  # it is there, and empty, where nothing was exchanged

    def exchange(self, staged: Path, former: Path) -> None:
        """Put what was unpacked in place; all of it, or nothing."""
        kept = {name for name in self.tree.get("keep", []) if (self.root / name).exists()}
        leave = [path for path in sorted(self.root.iterdir()) if path not in (staged, former) and path.name not in kept]
        enter = [path for path in sorted(staged.iterdir()) if path.name not in kept]
        moves = [(path, former / path.name) for path in leave] + [(path, self.root / path.name) for path in enter]
        done: list[tuple[Path, Path]] = []
        try:
            for before, after in moves:
                before.rename(after)
                done.append((before, after))
        except OSError:
            for before, after in reversed(done):
                after.rename(before)
            raise


@contextlib.contextmanager
def acting_as(user: str) -> Iterator[None]:
    """Read and write as this account: on NFS root may not."""
    if not user or os.geteuid() != 0:
        yield
        return
    try:
        account = pwd.getpwnam(user)
    except KeyError as error:
        raise BackupError(f"there is no account {user} on this host") from error
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def add(archive: tarfile.TarFile, name: str, path: Path) -> int:
    """Add a file, folder or link to the archive; 0 for one that is gone by now, or is none of these.

    A file is read whole before its length is written down: others write it meanwhile.
    """
    info = tarfile.TarInfo(name)
    content = b""
    try:
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
            info.size = len(content)
        elif stat.S_ISDIR(status.st_mode):
            info.type = tarfile.DIRTYPE
        elif stat.S_ISLNK(status.st_mode):
            info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
        else:
            return 0
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror}") from error
    info.mode, info.mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
    info.uid, info.gid = status.st_uid, status.st_gid
    archive.addfile(info, io.BytesIO(content))
    return 1


def extract(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> None:
    """Unpack an entry that add() has made, as the account that runs this."""
    if member.name.startswith("/") or ".." in Path(member.name).parts:
        raise BackupError(f"the archive has an entry '{member.name}', which leads out of its folder")
    path = root / member.name
    if member.issym():
        path.symlink_to(member.linkname)
        return
    if member.isdir():
        path.mkdir()
    else:
        content = archive.extractfile(member)
        assert content
        with path.open("xb") as target:
            shutil.copyfileobj(content, target)
            target.flush()
            os.fsync(target.fileno())
    path.chmod(member.mode)
    os.utime(path, (member.mtime, member.mtime))
