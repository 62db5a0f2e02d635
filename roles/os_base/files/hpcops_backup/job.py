# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job, and what its commands do."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .bucket import Bucket
from .database import Database
from .store import Backup, Source, Store
from .tools import BackupError, now, size_of, write_file
from .trees import Trees

# Which field of which part of the status they are.
METRICS = {
    "hpcops_backup_last_success_timestamp_seconds": ("backup", "last_success", "When the newest backup was made."),
    "hpcops_backup_last_result": ("backup", "last_result", "Whether the last run succeeded, its copy included."),
    "hpcops_backup_size_bytes": ("backup", "size", "Size of the newest backup."),
    "hpcops_backup_duration_seconds": ("backup", "seconds", "How long it took to make."),
    "hpcops_restore_drill_last_success_timestamp_seconds": ("drill", "last_success", "When a drill last succeeded."),
    "hpcops_restore_drill_last_result": ("drill", "last_result", "Whether the last drill succeeded."),
}


class Job:
    """A job as its file describes it."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        try:
            self.settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            known = ", ".join(sorted(other.stem for other in path.parent.glob("*.json"))) or "none"
            raise BackupError(f"there is no job {self.name} in {path.parent}; there are: {known}") from error
        except (OSError, ValueError) as error:
            raise BackupError(f"{path} cannot be read: {error}") from error
        self.database = Database(self.settings) if self.settings["kind"] == "database" else None
        self.source: Source = self.database or Trees(self.settings)
        self.store = Store(Path(self.settings["directory"]))
        self.bucket = Bucket(self.settings["s3"], self.name) if self.settings.get("s3") else None
        self.status_file = Path(self.settings["status_file"])

    def status(self) -> dict[str, dict[str, Any]]:
        """What became of the last runs."""
        try:
            told: dict[str, dict[str, Any]] = json.loads(self.status_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            told = {}
        return told

    @contextlib.contextmanager
    def recorded(self, kind: str) -> Iterator[dict[str, Any]]:
        """Write down how it ends, for people and for monitoring."""
        told = self.status()
        entry = told.setdefault(kind, {"last_success": 0})
        entry.update(last_result=0, last_error="")
        try:
            yield entry
            entry.update(last_result=1)
        except BackupError as error:
            entry.update(last_error=str(error), last_error_time=int(time.time()))
            raise
        finally:
            self.tell(told)

    def tell(self, told: Mapping[str, Mapping[str, Any]]) -> None:
        """Write status and metrics. That they cannot be written is no fault of the backup."""
        folder = self.settings.get("metrics_directory")
        try:
            self.status_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_file(self.status_file, json.dumps(told, indent=1) + "\n")
            if folder:
                write_file(Path(folder, f"hpcops_backup_{self.name}.prom"), metrics(self.name, told), 0o644)
        except OSError as error:
            print(f"warning: {error.filename} cannot be written: {error.strerror}", file=sys.stderr)

    def elsewhere(self) -> str:
        """Why it is another host's turn, where several share what is saved."""
        condition = self.settings.get("condition")
        if not condition:
            return ""
        asked = subprocess.run(condition, capture_output=True, text=True, check=False)
        return "" if asked.returncode == 0 else (asked.stdout or asked.stderr).strip() or "its condition is not met"

    def make(self) -> str:
        """The command backup."""
        if elsewhere := self.elsewhere():
            return f"no backup of {self.name} is made here: {elsewhere}"
        copied: list[str] = []
        with self.store.locked(), self.recorded("backup") as entry:
            start = time.time()
            backup = self.store.make(self.name, self.source)
            entry.update(
                name=backup.name, size=backup.size, seconds=backup.manifest["seconds"], last_success=int(start)
            )
            removed = self.store.prune(self.settings["keep"], self.settings["keep_days"])
            for name, problem in self.store.read()[1].items():
                print(f"warning: {self.store.folder / name} does not count: {problem}", file=sys.stderr)
            if self.bucket:
                copied = self.copy(self.bucket, entry)
        parts = [f"made {backup.path}, {size_of(backup.size)}"]
        parts += [f"copied {', '.join(copied)} to {self.bucket.place}"] if self.bucket else []
        parts += [f"removed {', '.join(removed)}"] if removed else []
        return "; ".join(parts)

    def copy(self, bucket: Bucket, entry: dict[str, Any]) -> list[str]:
        """Copy the new backup to S3, and those for which that had failed."""
        names = []
        for backup in self.store.backups():
            if backup.is_regular and backup.name > entry.get("copied", ""):
                try:
                    bucket.copy(backup)
                except BackupError as error:
                    raise BackupError(f"the backup is in {self.store.folder}, but {error}") from error
                entry["copied"] = backup.name
                names.append(backup.name)
        return names

    def entries(self) -> list[dict[str, Any]]:
        """What there is to restore, oldest first."""
        good, bad = self.store.read()
        there = self.bucket.names() if self.bucket else []
        nothing = {"places": [], "host": "", "size": 0, "version": "", "before_restore_of": "", "problem": ""}
        found: dict[str, dict[str, Any]] = {name: {**nothing, "problem": problem} for name, problem in bad.items()}
        found.update({name: {**nothing, "places": ["s3"]} for name in there})
        for backup in good:
            found[backup.name] = {
                "places": ["local", *(["s3"] if backup.name in there else [])],
                "host": backup.manifest["host"],
                "size": backup.size,
                "version": backup.content["version"],
                "before_restore_of": backup.manifest["before_restore_of"],
                "problem": "",
            }
        return [{"name": name, **found[name]} for name in sorted(found)]

    def find(self, name: str) -> Backup:
        """The backup of this name, brought from S3 where it is only there."""
        backup = self.store.find(name)
        if backup is None and self.bucket:
            there = self.bucket.names()
            name = there[-1] if name == "newest" and there else name
            if name in there:
                shutil.rmtree(self.store.folder / name, ignore_errors=True)  # a damaged one
                self.bucket.fetch(name, self.store)
                backup = self.store.find(name)
        if backup is None:
            known = ", ".join(entry["name"] for entry in self.entries() if not entry["problem"]) or "none"
            raise BackupError(f"{self.store.folder} has no good backup '{name}'; there are: {known}")
        return backup

    def verify(self, name: str) -> str:
        """The command verify."""
        with self.store.locked():
            backup = self.find(name)
            self.store.verify(backup, self.source)
        return f"{backup.name} is whole"

    def restore(self, name: str, safety: bool) -> str:
        """The command restore."""
        with self.store.locked():
            backup = self.find(name)
            self.store.verify(backup, self.source)
            self.source.refuse_in_use()
            saved = None
            if safety and not self.source.is_empty():
                saved = self.store.make(self.name, self.source, before_restore_of=backup.name)
            try:
                self.source.restore(backup)
            except BackupError as error:
                if saved is None:
                    raise
                try:
                    self.source.restore(saved)
                except BackupError as second:
                    raise BackupError(f"{error}. What was there is only in {saved.path} now: {second}") from error
                raise BackupError(f"{error}. What was there before is there again") from error
        return json.dumps({"restored": backup.name, "safety": saved.name if saved else ""})

    def drill(self) -> str:
        """The command drill."""
        if self.database is None:
            raise BackupError(f"{self.name} is no database: the command verify reads its backups to their end")
        if elsewhere := self.elsewhere():
            return f"no restore of {self.name} is drilled here: {elsewhere}"
        with self.store.locked(), self.recorded("drill") as entry:
            backup, bad = self.store.newest(), self.store.read()[1]
            if backup is None:
                raise BackupError(f"{self.store.folder} has no good backup to restore")
            found = []
            hours = (now() - backup.made).total_seconds() / 3600
            if hours > self.settings["max_age_hours"]:
                found.append(f"it is {hours:.0f} hours old, and {self.settings['max_age_hours']} are allowed")
            found += [f"{name}, which is newer, does not count: {bad[name]}" for name in bad if name > backup.name]
            self.store.verify(backup, self.source)
            found += self.database.drill(backup)
            if found:
                raise BackupError(f"the newest backup {backup.name} is not good: {'; '.join(found)}")
            entry.update(name=backup.name, last_success=int(time.time()))
        saved = backup.content["after"]
        last = ", ".join(f"{job} of {cluster}" for cluster, (_record, job) in saved["last_jobs"].items()) or "none"
        return (
            f"restored {backup.name}: {len(saved['rows'])} tables, {sum(saved['rows'].values())} rows; last job {last}"
        )


def metrics(job: str, told: Mapping[str, Mapping[str, Any]]) -> str:
    """The status in Prometheus' text format."""
    lines = []
    for name, (kind, field, text) in METRICS.items():
        if field in told.get(kind, {}):
            lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge", f'{name}{{backup="{job}"}} {told[kind][field]}']
    return "\n".join(lines) + "\n"
