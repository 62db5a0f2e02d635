# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last good answer is kept whole, for its owner alone, and a smaller one is not taken over unnoticed."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import InventoryError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._snapshots import Snapshot, SnapshotStore, refuse_shrinking


def snapshot(**parts: list[str]) -> Snapshot:
    hosts: dict[str, dict[str, Any]] = {name: {"x": "{{ y }}"} for names in parts.values() for name in names}
    return Snapshot(hosts, parts, {}, {}, {f"cluster {part}": part for part in parts}, "7", ("careful",))


def names(count: int, first: int = 0) -> list[str]:
    return [f"n{number:03}" for number in range(first, first + count)]


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "deep" / "er", {"url": "x"})
    assert store.load() is None
    store.save(snapshot(a=names(3)), "tag")
    stored = store.load()
    assert stored is not None
    assert (stored.snapshot, stored.etag) == (snapshot(a=names(3)), "tag")
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert json.loads(store.path.read_text())["etag"] == "tag"
    assert list(store.path.parent.iterdir()) == [store.path]


def test_age_is_counted_from_the_last_confirmation(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path, {})
    store.save(snapshot(), "tag")
    os.utime(store.path, (0, 0))
    aged, before = store.load(), store.path.read_bytes()
    assert aged is not None
    assert aged.age > 1e9
    store.confirm()
    confirmed = store.load()
    assert confirmed is not None
    assert confirmed.age < 1e6
    assert store.path.read_bytes() == before


def test_each_key_has_its_file(tmp_path: Path) -> None:
    keys: list[dict[str, Any]] = [
        {"url": "a"},
        {"url": "b"},
        {"url": "a", "principal": "x"},
        {"url": "a", "clusters": ("c",)},
    ]
    assert len({SnapshotStore(tmp_path, key).path for key in keys}) == len(keys)
    assert SnapshotStore(tmp_path, {"a": 1, "b": 2}).path == SnapshotStore(tmp_path, {"b": 2, "a": 1}).path


def test_interrupted_save_leaves_the_former_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SnapshotStore(tmp_path, {})
    store.save(snapshot(a=names(1)), "first")

    def fail(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InventoryError, match="No space left"):
        store.save(snapshot(a=names(2)), "second")
    stored = store.load()
    assert stored is not None
    assert stored.etag == "first"
    assert list(tmp_path.iterdir()) == [store.path]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"etag": "x", "snapshot": {"hosts": {}}}'])
def test_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path, content: str) -> None:
    store = SnapshotStore(tmp_path, {})
    store.save(snapshot(), "tag")
    store.path.write_text(content)
    with pytest.raises(InventoryError, match=store.path.name):
        store.load()


def test_file_that_others_can_read_is_not_trusted(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path, {})
    store.save(snapshot(), "tag")
    store.path.chmod(0o644)
    with pytest.raises(InventoryError, match="not a file of this account alone"):
        store.load()


@pytest.mark.parametrize(
    ("before", "after", "most", "lost"),
    [
        ({"a": names(10)}, {"a": names(10)}, 0, ""),
        ({"a": names(10)}, {"a": names(12)}, 0, ""),
        ({"a": names(10)}, {"a": names(8)}, 20, ""),
        ({"a": names(10)}, {"a": names(7)}, 20, "a lost 3 of 10 .*: n007, n008, n009\\."),
        ({"a": names(10)}, {"a": names(9)}, 0, "a lost 1 of 10 .*: n009\\."),
        ({"a": names(10)}, {"a": names(10, first=5)}, 20, "a lost 5 of 10"),
        ({"a": names(10)}, {"a": []}, 100, ""),
        ({"a": names(10), "b": ["b1"]}, {"a": names(10)}, 50, "b lost 1 of 1 .*: b1\\."),
        ({"a": names(90), "b": names(10, first=100)}, {"a": names(90), "b": []}, 20, "b lost 10 of 10"),
        ({"a": names(100)}, {"a": []}, 20, "lost 100 of 100 .* and 80 more\\."),
        ({}, {}, 20, ""),
        ({"a": []}, {"a": []}, 0, ""),
    ],
)
def test_part_that_lost_too_many_hosts_is_refused_by_name(
    before: dict[str, list[str]], after: dict[str, list[str]], most: int, lost: str
) -> None:
    if not lost:
        refuse_shrinking(snapshot(**before), snapshot(**after), most)
        return
    with pytest.raises(InventoryError, match=lost):
        refuse_shrinking(snapshot(**before), snapshot(**after), most)


def test_folder_is_for_its_owner_alone_and_names_are_32_digits(tmp_path: Path) -> None:
    former = os.umask(0)
    try:
        store = SnapshotStore(tmp_path / "cache", {"url": "x"})
        store.save(snapshot(), "tag")
    finally:
        os.umask(former)
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
    assert re.fullmatch(r"[0-9a-f]{32}\.json", store.path.name)


def test_answer_that_cannot_be_confirmed_is_named(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path, {"url": "x"})
    with pytest.raises(InventoryError, match=rf"^cache_dir: {store.path} cannot be touched: .*No such file"):
        store.confirm()


def test_answer_is_on_the_disk_before_it_takes_the_place_of_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    sync = os.fsync

    def synced(handle: int) -> None:
        sizes.append(os.fstat(handle).st_size)
        sync(handle)

    monkeypatch.setattr(os, "fsync", synced)
    store = SnapshotStore(tmp_path, {})
    store.save(snapshot(a=names(3)), "tag")
    assert sizes == [store.path.stat().st_size]
