# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each part of a source is kept, compared and replaced by itself; nothing stands in for another answer unasked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import (
    AwsError,
    InventoryError,
    SourceUnreachableError,
)
from ansible_collections.hpcops.cluster.plugins.plugin_utils._answers import Answer, Limits, Said, ask
from ansible_collections.hpcops.cluster.plugins.plugin_utils._snapshots import Snapshot

DOWN, DENIED = SourceUnreachableError("a is down"), AwsError("a is denied")


def snapshot(*hosts: str) -> Snapshot:
    return Snapshot({host: {} for host in hosts}, {"g": list(hosts)}, {}, {}, {"part": "g"})


class Parts:
    """A source whose parts say what the test tells them."""

    def __init__(self, **said: Said) -> None:
        self.said = said
        self.validators: dict[str, str | None] = {}

    @property
    def parts(self) -> dict[str, dict[str, Any]]:
        return {name: {"part": name} for name in self.said}

    def fetch(self, validators: Mapping[str, str | None]) -> dict[str, Said]:
        self.validators = dict(validators)
        return {name: self.said[name] for name in validators}

    def whole(self, parts: Mapping[str, Snapshot]) -> Snapshot:
        raise AssertionError("not asked for here")


def good(*hosts: str) -> Said:
    return snapshot(*hosts), f"tag{len(hosts)}"


def run(
    folder: Path, source: Parts, warnings: list[str] | None = None, use_known: bool = True, **limits: Any
) -> dict[str, list[str] | None]:
    """The hosts of each part, None where it is left out; what was said is kept."""
    warn = [] if warnings is None else warnings
    answers: dict[str, Answer] = ask(source, folder, Limits(**limits), warn.append, use_known)
    for answer in answers.values():
        answer.keep()
    return {name: list(answer.stored.snapshot.hosts) if answer.stored else None for name, answer in answers.items()}


@pytest.mark.parametrize(
    ("said", "limits", "outcome", "warning"),
    [
        (DOWN, {}, "a is down. stale_ok would allow", ""),
        (DOWN, {"stale_ok": 5}, ["a1", "a2"], "STALE INVENTORY: a is down.*as stale_ok allows"),
        (DENIED, {"stale_ok": 5}, "a is denied$", ""),
        (DOWN, {"on_partial": "cached"}, ["a1", "a2"], "STALE INVENTORY: a is down.*as on_partial allows"),
        (DENIED, {"on_partial": "cached"}, ["a1", "a2"], "STALE INVENTORY: a is denied"),
        (DENIED, {"on_partial": "skip"}, None, "PARTIAL INVENTORY: a is denied.*hosts of a, as on_partial allows"),
        (DOWN, {"on_partial": "skip", "stale_ok": 5}, ["a1", "a2"], "as stale_ok allows"),
        (good("a1"), {}, "max_shrink: part lost 1 of 2", ""),
        (good("a1"), {"on_partial": "cached"}, "max_shrink: part lost 1 of 2", ""),
        (good("a1"), {"max_shrink": 50}, ["a1"], ""),
        (None, {}, ["a1", "a2"], ""),
    ],
)
def test_part_that_was_known_is_replaced_only_as_allowed(
    tmp_path: Path, said: Said, limits: dict[str, Any], outcome: Any, warning: str
) -> None:
    run(tmp_path, Parts(a=good("a1", "a2"), b=good("b1")))
    warnings: list[str] = []
    source = Parts(a=said, b=good("b1", "b2"))
    if isinstance(outcome, str):
        with pytest.raises(InventoryError, match=outcome):
            run(tmp_path, source, warnings, **limits)
    else:
        assert run(tmp_path, source, warnings, **limits) == {"a": outcome, "b": ["b1", "b2"]}
    assert len(warnings) == bool(warning)
    assert re.search(warning, "".join(warnings))


@pytest.mark.parametrize("policy", ["error", "cached"])
def test_part_that_was_never_known_cannot_be_replaced(tmp_path: Path, policy: str) -> None:
    with pytest.raises(InventoryError, match=r"a is down\. There is no earlier answer"):
        run(tmp_path, Parts(a=DOWN, b=good("b1")), on_partial=policy, stale_ok=60)


def test_all_parts_that_failed_are_named(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match=r"a is denied\nb is denied"):
        run(tmp_path, Parts(a=DENIED, b=InventoryError("b is denied"), c=good("c1")))
    with pytest.raises(InventoryError, match=r"a is denied\nb is denied"):
        run(tmp_path, Parts(a=DENIED, b=InventoryError("b is denied")), on_partial="skip")


def test_nothing_is_kept_of_a_run_that_failed(tmp_path: Path) -> None:
    with pytest.raises(InventoryError):
        run(tmp_path, Parts(a=DENIED, b=good("b1")))
    assert not list(tmp_path.iterdir())


def test_fresh_part_is_not_asked_and_an_old_one_is(tmp_path: Path) -> None:
    run(tmp_path, Parts(a=good("a1")))
    source = Parts(a=good("a1", "a2"), b=good("b1"))
    assert run(tmp_path, source, fresh_for=3600) == {"a": ["a1"], "b": ["b1"]}
    assert source.validators == {"b": None}
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    assert run(tmp_path, source, fresh_for=3600) == {"a": ["a1", "a2"], "b": ["b1"]}
    assert source.validators == {"a": "tag1", "b": "tag1"}


def test_flushed_cache_is_asked_for_everything_and_still_compared(tmp_path: Path) -> None:
    run(tmp_path, Parts(a=good("a1", "a2")))
    source = Parts(a=good("a1"))
    with pytest.raises(InventoryError, match="lost 1 of 2"):
        run(tmp_path, source, use_known=False, fresh_for=3600)
    assert source.validators == {"a": None}


def test_old_answer_stands_in_no_longer_than_allowed(tmp_path: Path) -> None:
    run(tmp_path, Parts(a=good("a1")))
    (kept,) = tmp_path.iterdir()
    os.utime(kept, (kept.stat().st_mtime - 100,) * 2)
    with pytest.raises(InventoryError, match="stale_ok allows 60 s"):
        run(tmp_path, Parts(a=DOWN), stale_ok=60)
    assert run(tmp_path, Parts(a=DOWN), on_partial="cached") == {"a": ["a1"]}


def test_defaults_replace_nothing_and_let_a_fifth_go() -> None:
    assert Limits() == Limits(stale_ok=0, max_shrink=20, on_partial="error", fresh_for=0)


def test_what_was_confirmed_is_new_again_and_comes_with_its_tag(tmp_path: Path) -> None:
    run(tmp_path, Parts(a=good("a1")))
    source = Parts(a=None)
    answer = ask(source, tmp_path, Limits(), print)["a"]
    assert answer.stored is not None
    assert (answer.news, answer.stored.age, answer.stored.etag) == ("confirmed", 0, "tag1")
    assert source.validators == {"a": "tag1"}, "what is known is used unless that is not wanted"


def test_first_fault_is_the_cause(tmp_path: Path) -> None:
    with pytest.raises(InventoryError) as failure:
        run(tmp_path, Parts(a=DENIED, b=InventoryError("b is denied")))
    assert failure.value.__cause__ is DENIED


def test_denied_part_that_was_never_known_has_no_hint_at_earlier_answers_unless_they_are_asked_for(
    tmp_path: Path,
) -> None:
    with pytest.raises(InventoryError, match=r"^a is denied$"):
        run(tmp_path, Parts(a=DENIED, b=good("b1")), on_partial="error")
    with pytest.raises(InventoryError, match=r"^a is denied\. There is no earlier answer"):
        run(tmp_path, Parts(a=DENIED, b=good("b1")), on_partial="cached")
