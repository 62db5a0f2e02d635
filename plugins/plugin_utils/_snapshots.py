# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a source of hosts said, and the copy of it on the control machine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import stat
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import InventoryError

FORMAT = 1
NAMED = 20


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Hosts, as Ansible gets them. Nothing here is changed once it is made."""

    hosts: Mapping[str, Mapping[str, Any]]
    """Each host's variables."""
    groups: Mapping[str, list[str]]
    """Each group's hosts."""
    group_vars: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, Mapping[str, Any]]
    """What expressions see of a host besides its variables; empty where there are no expressions."""
    parts: Mapping[str, str]
    """Parts that may not shrink unnoticed: how they are called in messages, and their groups."""
    revision: str = ""
    warnings: tuple[str, ...] = ()
    names: Mapping[str, list[str]] = dataclasses.field(default_factory=dict)
    """What hosts may be called, best first, where it is not decided before all parts of a source are known."""

    def called(self, group: str) -> list[str]:
        """Return what a group's hosts are called."""
        return [self.names[host][0] if host in self.names else host for host in self.groups.get(group, ())]


@dataclasses.dataclass(frozen=True)
class Stored:
    """The last good answer: what it was, the validator to ask with, and how many seconds ago the source confirmed it."""

    snapshot: Snapshot
    etag: str
    age: float


class KeptFile:
    """A document in one file of plain JSON for each key. Its time is when the source last confirmed it."""

    def __init__(self, folder: Path, key: Mapping[str, Any]) -> None:
        text = json.dumps({"format": FORMAT, **key}, sort_keys=True, default=str)
        self.path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"

    def read(self) -> tuple[Any, float] | None:
        """Return the document and its age in seconds, or None where there is none yet."""
        try:
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
                    raise ValueError("it is not a file of this account alone")
                return json.load(file), max(0.0, time.time() - found.st_mtime)
        except (FileNotFoundError, NotADirectoryError):  # the latter is told when it cannot be written
            return None
        except (OSError, ValueError) as error:
            raise self.unreadable(error) from error

    def unreadable(self, error: Exception) -> InventoryError:
        """Return the error to raise where the document is not what was written."""
        return InventoryError(
            f"the last good answer in {self.path} cannot be read ({error}); remove the file, and the next answer "
            "is taken as it is"
        )

    def write(self, document: Any) -> None:
        """Replace the file in one step."""
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".new-")  # mode 0600
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(name, self.path)
            except BaseException:
                os.unlink(name)
                raise
        except OSError as error:
            raise InventoryError(f"cache_dir: {self.path} cannot be written: {error}") from error

    def confirm(self) -> None:
        """Note that the source still says the same."""
        try:
            os.utime(self.path)
        except OSError as error:
            raise InventoryError(f"cache_dir: {self.path} cannot be touched: {error}") from error


class SnapshotStore(KeptFile):
    """The last good answer for a configuration and principal."""

    def load(self) -> Stored | None:
        """Return the last good answer, or None where there is none yet."""
        found = self.read()
        if found is None:
            return None
        document, age = found
        try:
            snapshot = Snapshot(**{**document["snapshot"], "warnings": tuple(document["snapshot"]["warnings"])})
            return Stored(snapshot, document["etag"], age)
        except (KeyError, TypeError) as error:
            raise self.unreadable(error) from error

    def save(self, snapshot: Snapshot, etag: str) -> None:
        """Make this the last good answer."""
        fields = {field.name: getattr(snapshot, field.name) for field in dataclasses.fields(snapshot)}
        self.write({"etag": etag, "snapshot": fields})


def refuse_shrinking(before: Snapshot, after: Snapshot, most: int) -> None:
    """Refuse an answer in which a part lost more than so many per cent of its hosts."""
    for title, group in before.parts.items():
        had = before.called(group)
        lost = list((Counter(had) - Counter(after.called(group))).elements())
        if len(lost) * 100 > most * len(had):
            more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
            raise InventoryError(
                f"max_shrink: {title} lost {len(lost)} of {len(had)} hosts since the last good answer, more than "
                f"{most} %: {', '.join(lost[:NAMED])}{more}. Nothing was taken over. If that is right, say so once: "
                "HPCOPS_INVENTORY_MAX_SHRINK=100"
            )
