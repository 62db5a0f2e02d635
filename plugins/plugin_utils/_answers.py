# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The answers of a source of hosts, part by part: asked for, compared with the last good ones, replaced by them where that is allowed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, Union

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import (
    HpcopsError,
    InventoryError,
    SourceUnreachableError,
)
from ansible_collections.hpcops.cluster.plugins.plugin_utils._snapshots import (
    Snapshot,
    SnapshotStore,
    Stored,
    refuse_shrinking,
)

Said = Union[tuple[Snapshot, str], None, HpcopsError]
"""An answer and its validator, None where the given validator still holds, or why there is no answer."""


class Source(Protocol):
    """Where hosts come from, in parts that are asked for, kept and lost one by one."""

    @property
    def parts(self) -> Mapping[str, Mapping[str, Any]]:
        """What each part is called in messages, and what its answer depends on: configuration, and as whom it is asked for.

        There are no secrets in it.
        """

    def fetch(self, validators: Mapping[str, str | None]) -> Mapping[str, Said]:
        """Ask for these parts, with the validator of what is known of them."""

    def whole(self, parts: Mapping[str, Snapshot]) -> Snapshot:
        """Join the parts that there are."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What is put up with, as the options of the same names say."""

    stale_ok: int = 0
    max_shrink: int = 20
    on_partial: str = "error"
    fresh_for: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.max_shrink <= 100:
            raise InventoryError(f"max_shrink: {self.max_shrink} is no percentage from 0 to 100")


@dataclasses.dataclass(frozen=True)
class Answer:
    """What is known of a part, and where it is kept."""

    store: SnapshotStore
    stored: Stored | None
    """None where the part is left out."""
    news: str = ""
    """changed, confirmed, or nothing to keep."""
    problem: str = ""
    """Why it is not what the source says now."""

    def keep(self) -> None:
        """Make it the last good answer."""
        if self.stored and self.news == "changed":
            self.store.save(self.stored.snapshot, self.stored.etag)
        elif self.news == "confirmed":
            self.store.confirm()


def ask(
    source: Source, folder: Path, limits: Limits, warn: Callable[[str], None], use_known: bool = True
) -> dict[str, Answer]:
    """Return each part's answer: what the source says, its last good answer where that holds, or where it may stand in."""
    stores = {part: SnapshotStore(folder, key) for part, key in source.parts.items()}
    known = {part: store.load() for part, store in stores.items()}
    answers = {
        part: Answer(stores[part], stored)
        for part, stored in known.items()
        if use_known and stored and stored.age < limits.fresh_for
    }
    validators = {
        part: stored.etag if stored and use_known else None for part, stored in known.items() if part not in answers
    }
    problems: list[HpcopsError] = []
    for part, said in source.fetch(validators).items() if validators else ():
        try:
            answers[part] = _take(part, said, stores[part], known[part], limits, warn)
        except HpcopsError as error:  # noqa: PERF203  # all that failed are worth knowing
            problems.append(error)
    if problems:
        raise InventoryError("\n".join(map(str, problems))) from problems[0]
    if not any(answer.stored for answer in answers.values()):
        raise InventoryError("\n".join(answer.problem for answer in answers.values()))
    return {part: answers[part] for part in stores}


def _take(
    part: str, said: Said, store: SnapshotStore, known: Stored | None, limits: Limits, warn: Callable[[str], None]
) -> Answer:
    if isinstance(said, HpcopsError):
        return Answer(store, _instead(part, said, known, limits, warn), problem=str(said))
    if said is None:
        if known is None:
            raise InventoryError("the source says that nothing changed, but was asked for everything")
        return Answer(store, Stored(known.snapshot, known.etag, 0), news="confirmed")
    snapshot, etag = said
    if known:
        refuse_shrinking(known.snapshot, snapshot, limits.max_shrink)
    return Answer(store, Stored(snapshot, etag, 0), news="changed")


def _instead(
    part: str, error: HpcopsError, known: Stored | None, limits: Limits, warn: Callable[[str], None]
) -> Stored | None:
    """What stands in for a part that failed: its last good answer, or nothing; where neither may, that is an error."""
    is_down = isinstance(error, SourceUnreachableError)
    is_young = known is not None and 0 < limits.stale_ok >= known.age
    if known and (limits.on_partial == "cached" or (is_down and is_young)):
        option = "on_partial" if limits.on_partial == "cached" else "stale_ok"
        warn(
            f"STALE INVENTORY: {error}. Going on with what it said {int(known.age)} s ago, as {option} allows; "
            "hosts that have come, gone or changed since are not known."
        )
        return known
    if limits.on_partial == "skip":
        warn(f"PARTIAL INVENTORY: {error}. Going on without the hosts of {part}, as on_partial allows.")
        return None
    if is_down or limits.on_partial == "cached":
        raise InventoryError(f"{error}. {_no_substitute(known, limits.stale_ok)}") from error
    raise error


def _no_substitute(known: Stored | None, stale_ok: int) -> str:
    if known is None:
        return "There is no earlier answer to go on with"
    if not stale_ok:
        return "stale_ok would allow to go on with an earlier answer for a while"
    return f"The last good answer is {int(known.age)} s old, and stale_ok allows {stale_ok} s"
