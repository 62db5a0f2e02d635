# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups: which count, which go, what a restore leaves, and what people and monitoring are told. The database is the scenario's."""

from __future__ import annotations

import datetime
import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hpcops_backup import cli
from hpcops_backup.database import differences
from hpcops_backup.job import Job
from hpcops_backup.store import MANIFEST, TIME, Backup, Store
from hpcops_backup.tools import BackupError, compressed
from hpcops_backup.trees import Trees, add


class Text:
    """A source that is one text in a file."""

    def __init__(self, path: Path, refuses: Sequence[str] = ()) -> None:
        self.path, self.refuses = path, refuses

    def estimate(self) -> int:
        return self.path.stat().st_size

    def is_empty(self) -> bool:
        return not self.path.read_text()

    def save(self, folder: Path) -> dict[str, Any]:
        text = self.path.read_text()
        (folder / "text").write_text(text)
        if text == "unreadable":
            raise BackupError("it cannot be read")
        return {"version": "1", "text": text}

    def check(self, backup: Backup) -> None:
        pass

    def refuse_in_use(self) -> None:
        if "in use" in self.refuses:
            raise BackupError("it is in use")

    def restore(self, backup: Backup) -> None:
        self.path.write_text("half")
        if backup.content["text"] in self.refuses:
            raise BackupError("it cannot be written")
        self.path.write_text(backup.content["text"])


@pytest.fixture(name="source")
def source_fixture(tmp_path: Path) -> Text:
    path = tmp_path / "source"
    path.write_text("first")
    return Text(path)


@pytest.fixture(name="store")
def store_fixture(tmp_path: Path) -> Store:
    folder = tmp_path / "backups"
    folder.mkdir()
    return Store(folder)


def made(store: Store, days_ago: float, before_restore_of: str = "") -> str:
    """A backup of some days ago."""
    moment = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=days_ago)
    path = store.folder / moment.strftime(TIME)
    path.mkdir()
    (path / "text").write_text("text")
    files = {"text": {"size": 4, "sha256": "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1"}}
    manifest = {
        "format": 1,
        "job": "text",
        "host": "db",
        "seconds": 1,
        "before_restore_of": before_restore_of,
        "files": files,
        "content": {"version": "1", "text": "text"},
    }
    (path / MANIFEST).write_text(json.dumps(manifest))
    return path.name


@pytest.fixture(autouse=True)
def umask_fixture() -> Iterator[None]:
    """The program sets its process's umask; the other tests have theirs."""
    former = os.umask(0o077)
    yield
    os.umask(former)


# --- Which backups count ---------------------------------------------------------------------------------------------


def test_backup_is_whole_and_for_its_owner_alone(store: Store, source: Text) -> None:
    with store.locked():
        backup = store.make("text", source)
    assert store.backups() == [backup]
    assert backup.path.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in backup.path.iterdir()} == {0o600}
    store.verify(backup, source)


def test_failed_backup_leaves_nothing_behind(store: Store, source: Text) -> None:
    source.path.write_text("unreadable")
    with store.locked(), pytest.raises(BackupError, match="it cannot be read"):
        store.make("text", source)
    assert [path.name for path in store.folder.iterdir()] == [".lock"]


def test_what_a_killed_run_left_does_not_count_and_is_removed_by_the_next(store: Store) -> None:
    left = store.folder / ".20260101T000000Z.partial"
    left.mkdir()
    (left / "dump").write_text("half")
    assert store.newest() is None
    with store.locked():
        assert not left.exists()


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        (MANIFEST, None, "FileNotFoundError"),
        (MANIFEST, "{", "JSONDecodeError"),
        (MANIFEST, "[]", "TypeError"),
        (MANIFEST, '{"format": 2}', "does not know the format 2"),
        ("text", "cut", "text has not the size"),
        ("text", None, "FileNotFoundError"),
    ],
)
def test_damaged_backup_does_not_count_and_is_named(store: Store, file: str, text: str | None, says: str) -> None:
    good, bad = made(store, 2), made(store, 1)
    path = store.folder / bad / file
    path.unlink() if text is None else path.write_text(text)
    backups, problems = store.read()
    assert [backup.name for backup in backups] == [good]
    assert list(problems) == [bad]
    assert says in problems[bad]
    assert store.newest() == backups[0]


def test_changed_byte_is_found(store: Store, source: Text) -> None:
    name = made(store, 1)
    (store.folder / name / "text").write_text("tEXT")
    backup = store.find(name)
    assert backup
    with pytest.raises(BackupError, match=f"{name}/text is not what was saved"):
        store.verify(backup, source)


def test_newest_is_none_that_was_made_to_take_a_restore_back(store: Store) -> None:
    regular = made(store, 2)
    safety = made(store, 1, before_restore_of=regular)
    newest, asked = store.newest(), store.find(safety)
    assert newest
    assert newest.name == regular
    assert asked


def test_what_would_not_fit_is_refused_before_it_is_written(
    store: Store, source: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "estimate", lambda: 1 << 60)
    with store.locked(), pytest.raises(BackupError, match=r"and the backup needs about .* Nothing was written"):
        store.make("text", source)


def test_second_run_waits_for_the_first(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    order = []

    def second() -> None:
        with store.locked():
            order.append("second")

    thread = threading.Thread(target=second)
    with store.locked():
        thread.start()
        while "waiting for another run" not in capsys.readouterr().err:
            pass
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


# --- Which go --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ages", "keep", "keep_days", "left"),
    [
        ([3, 2, 1], 14, 30, [3, 2, 1]),
        ([3, 2, 1], 2, 30, [2, 1]),
        ([40, 35, 1], 14, 30, [1]),
        ([40, 35], 14, 30, [35]),  # the newest stays, however old
        ([40, 35], 1, 0, [35]),
        ([400, 300], 14, 0, [400, 300]),  # no limit of age
        ([], 1, 1, []),
    ],
)
def test_retention_by_number_and_by_age(
    store: Store, ages: list[int], keep: int, keep_days: int, left: list[int]
) -> None:
    names = {age: made(store, age) for age in ages}
    removed = store.prune(keep, keep_days)
    assert [backup.name for backup in store.backups()] == [names[age] for age in left]
    assert removed == [names[age] for age in ages if age not in left]
    assert not list(store.folder.glob(".*"))


def test_newest_regular_backup_stays_though_safety_copies_are_newer(store: Store) -> None:
    regular = made(store, 3)
    made(store, 2, before_restore_of=regular)
    last = made(store, 1, before_restore_of=regular)
    store.prune(1, 0)
    assert [backup.name for backup in store.backups()] == [regular, last]


# --- Folders ---------------------------------------------------------------------------------------------------------


@pytest.fixture(name="trees")
def trees_fixture(tmp_path: Path) -> Trees:
    state, config = tmp_path / "state", tmp_path / "config"
    (state / "hash.1" / "job.11").mkdir(parents=True)
    (state / "job_state").write_text("jobs")
    (state / "job_state.new").write_text("half of them")
    (state / "hash.1" / "job.11" / "script").write_text("#!/bin/sh")
    (state / "hash.1" / "job.11" / "script").chmod(0o700)
    (state / "link").symlink_to("job_state")
    (state / ".mark").write_text("this cluster")
    config.mkdir()
    (config / "slurm.conf").write_text("ClusterName=c")
    trees = {"config": {"path": str(config)}, "state": {"path": str(state), "keep": [".mark"]}}
    return Trees({"trees": trees, "restorable": "state"})


def content(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text() for path in files}


def test_folder_comes_back_as_it_was(store: Store, trees: Trees) -> None:
    before = content(trees.root)
    with store.locked():
        backup = store.make("state", trees)
    store.verify(backup, trees)
    (trees.root / "job_state").write_text("others")
    (trees.root / "later").write_text("later")
    (trees.root / "hash.1" / "job.11" / "script").unlink()
    (trees.root / ".mark").write_text("this cluster, marked anew")
    trees.restore(backup)
    del before["job_state.new"]  # was just being written
    assert content(trees.root) == {**before, ".mark": "this cluster, marked anew"}
    assert (trees.root / "link").readlink() == Path("job_state")
    assert (trees.root / "hash.1" / "job.11" / "script").stat().st_mode & 0o777 == 0o700


def test_mark_comes_back_where_there_is_none(store: Store, trees: Trees) -> None:
    with store.locked():
        backup = store.make("state", trees)
    (trees.root / ".mark").unlink()
    trees.restore(backup)
    assert (trees.root / ".mark").read_text() == "this cluster"


def test_files_are_read_before_the_folders_beside_them(trees: Trees) -> None:
    names = [name for name, _path in trees.entries(trees.tree)]
    assert names.index("job_state") < names.index("hash.1/job.11/script")


def test_folder_is_as_it_was_when_it_cannot_be_replaced(
    store: Store, trees: Trees, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.locked():
        backup = store.make("state", trees)
    (trees.root / "job_state").write_text("others")
    before = content(trees.root)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.parent.name == ".hpcops-restore-new" and self.name == "job_state":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(BackupError, match="Input/output error"):
        trees.restore(backup)
    assert content(trees.root) == before


def test_missing_folder_is_an_error_and_no_empty_backup(store: Store, trees: Trees) -> None:
    trees.root.rename(trees.root.with_name("elsewhere"))
    with store.locked(), pytest.raises(BackupError, match=r"/state cannot be read: No such file"):
        store.make("state", trees)


def test_file_that_is_gone_by_now_is_left_out(tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(), mode="w|") as archive:
        assert add(archive, "gone", tmp_path / "gone") == 0


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside"])
def test_archive_cannot_write_outside_its_folder(store: Store, trees: Trees, tmp_path: Path, name: str) -> None:
    with store.locked():
        backup = store.make("state", trees)
    (backup.path / "state.tar.zst").unlink()
    with (
        compressed(backup.path / "state.tar.zst") as pipe,
        tarfile.open(fileobj=pipe, mode="w|") as archive,
    ):
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    before = content(trees.root)
    with pytest.raises(BackupError, match="leads out of its folder"):
        trees.restore(backup)
    assert content(trees.root) == before
    assert not list(tmp_path.rglob("outside"))


def test_cut_archive_is_found(store: Store, trees: Trees) -> None:
    with store.locked():
        backup = store.make("state", trees)
    archive = backup.path / "state.tar.zst"
    archive.write_bytes(archive.read_bytes()[:-20])
    with pytest.raises(BackupError, match=r"state\.tar\.zst"):
        trees.check(backup)


# --- What a restored database is held against -------------------------------------------------------------------------

BEFORE: Mapping[str, Any] = {"rows": {"c_job_table": 10, "acct_table": 3}, "last_jobs": {"c": [10, 110]}}
AFTER: Mapping[str, Any] = {"rows": {"c_job_table": 12, "acct_table": 3}, "last_jobs": {"c": [12, 112]}}


@pytest.mark.parametrize(
    ("rows", "last", "problems"),
    [
        ({"c_job_table": 11, "acct_table": 3}, [11, 111], []),
        ({"c_job_table": 12, "acct_table": 3}, [12, 112], []),
        ({"c_job_table": 9, "acct_table": 3}, [10, 110], ["table c_job_table has 9 rows, and had 10 to 12"]),
        ({"c_job_table": 13, "acct_table": 3}, [12, 112], ["table c_job_table has 13 rows, and had 10 to 12"]),
        ({"c_job_table": 10}, [10, 110], ["table acct_table is missing, and had 3 rows"]),
        ({"c_job_table": 10, "acct_table": 3, "x": 1}, [10, 110], ["table x has 1 rows, and had 0"]),
        ({"c_job_table": 10, "acct_table": 3}, [9, 109], ["the last job of c is 109, and was 112"]),
        ({"c_job_table": 10, "acct_table": 3}, None, ["the last job of c is 0, and was 112"]),
    ],
)
def test_difference_to_what_was_dumped_is_named(
    rows: dict[str, int], last: list[int] | None, problems: list[str]
) -> None:
    found = {"rows": rows, "last_jobs": {"c": last} if last else {}}
    assert differences({"before": BEFORE, "after": AFTER}, found) == problems


def test_table_that_came_during_the_dump_may_be_there_or_not() -> None:
    saved = {"before": {"rows": {}, "last_jobs": {}}, "after": {"rows": {"new": 5}, "last_jobs": {}}}
    assert differences(saved, {"rows": {"new": 2}, "last_jobs": {}}) == []
    assert differences(saved, {"rows": {}, "last_jobs": {}}) == []


# --- A job -----------------------------------------------------------------------------------------------------------


@pytest.fixture(name="settings")
def settings_fixture(tmp_path: Path, trees: Trees) -> dict[str, Any]:
    return {
        "kind": "trees",
        "trees": trees.trees,
        "restorable": "state",
        "directory": str(tmp_path / "backups"),
        "status_file": str(tmp_path / "status" / "state.json"),
        "keep": 2,
        "keep_days": 0,
        "max_age_hours": 36,
        "metrics_directory": str(tmp_path),
        "s3": {},
    }


def command(tmp_path: Path, settings: Mapping[str, Any], *arguments: str) -> int:
    (tmp_path / "state.json").write_text(json.dumps(settings))
    return cli.main(["--jobs", str(tmp_path), arguments[0], "state", *arguments[1:]])


def metric(tmp_path: Path, name: str) -> float:
    lines = (tmp_path / "hpcops_backup_state.prom").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f'{name}{{backup="state"}} '))


def test_backup_is_told_to_people_and_to_monitoring(
    tmp_path: Path, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, settings, "backup") == 0
    assert f"made {tmp_path}/backups/" in capsys.readouterr().out
    status = json.loads((tmp_path / "status" / "state.json").read_text())["backup"]
    assert status["last_error"] == ""
    assert metric(tmp_path, "hpcops_backup_last_success_timestamp_seconds") == status["last_success"] > 0
    assert metric(tmp_path, "hpcops_backup_size_bytes") == status["size"] > 0
    assert metric(tmp_path, "hpcops_backup_last_result") == 1


def test_failure_is_told_and_the_former_success_is_not_forgotten(
    tmp_path: Path, settings: dict[str, Any], trees: Trees, capsys: pytest.CaptureFixture[str]
) -> None:
    command(tmp_path, settings, "backup")
    success = metric(tmp_path, "hpcops_backup_last_success_timestamp_seconds")
    trees.root.rename(tmp_path / "unmounted")
    assert command(tmp_path, settings, "backup") == 1
    assert "hpcops-backup backup state: " in capsys.readouterr().err
    assert metric(tmp_path, "hpcops_backup_last_success_timestamp_seconds") == success
    assert metric(tmp_path, "hpcops_backup_last_result") == 0
    assert "cannot be read" in json.loads((tmp_path / "status" / "state.json").read_text())["backup"]["last_error"]


def test_missing_metrics_directory_costs_no_backup(
    tmp_path: Path, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, {**settings, "metrics_directory": str(tmp_path / "none")}, "backup") == 0
    assert f"warning: {tmp_path}/none/" in capsys.readouterr().err


def test_host_that_is_not_in_control_makes_none_and_says_why(
    tmp_path: Path, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    settings["condition"] = ["sh", "-c", "echo ctl1 is in control; exit 1"]
    assert command(tmp_path, settings, "backup") == 0
    assert "no backup of state is made here: ctl1 is in control" in capsys.readouterr().out
    assert not (tmp_path / "backups").exists()


def test_list_names_backups_and_what_does_not_count(
    tmp_path: Path, settings: dict[str, Any], store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = made(store, 2), made(store, 1)
    (store.folder / bad / MANIFEST).unlink()
    command(tmp_path, settings, "list")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{bad}  FileNotFoundError")
    assert lines[1].split() == [good, "4", "B", "local"]
    command(tmp_path, settings, "list", "--json")
    assert [entry["places"] for entry in json.loads(capsys.readouterr().out)] == [[], ["local"]]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["restore", "20200101T000000Z"], "has no good backup '20200101T000000Z'; there are: "),
        (["verify"], "has no good backup 'newest'; there are: none"),
        (["drill"], "is no database"),
    ],
)
def test_what_cannot_be_done_is_said(
    tmp_path: Path, settings: dict[str, Any], capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert command(tmp_path, settings, *arguments) == 1
    assert says in capsys.readouterr().err


def test_unknown_job_is_told_with_those_that_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "database.json").write_text("{}")
    assert cli.main(["--jobs", str(tmp_path), "list", "databsae"]) == 1
    assert f"there is no job databsae in {tmp_path}; there are: database" in capsys.readouterr().err


@pytest.fixture(name="job")
def job_fixture(tmp_path: Path, settings: dict[str, Any], source: Text) -> Job:
    (tmp_path / "text.json").write_text(json.dumps(settings))
    job = Job(tmp_path / "text.json")
    job.source = source
    return job


def test_restore_saves_what_is_there_first(job: Job, source: Text) -> None:
    job.make()
    source.path.write_text("second")
    done = json.loads(job.restore("newest", safety=True))
    assert source.path.read_text() == "first"
    job.restore(done["safety"], safety=False)
    assert source.path.read_text() == "second"


def test_failed_restore_brings_back_what_was_there(job: Job, source: Text) -> None:
    job.make()
    source.path.write_text("second")
    source.refuses = ["first"]
    with pytest.raises(BackupError, match="What was there before is there again"):
        job.restore("newest", safety=True)
    assert source.path.read_text() == "second"


def test_where_what_was_there_lies_is_said_when_it_cannot_be_brought_back(job: Job, source: Text) -> None:
    job.make()
    source.path.write_text("second")
    source.refuses = ["first", "second"]
    with pytest.raises(BackupError, match=r"What was there is only in .*/backups/\d+T\d+Z now"):
        job.restore("newest", safety=True)


def test_what_is_in_use_is_not_touched(job: Job, source: Text) -> None:
    job.make()
    source.path.write_text("second")
    source.refuses = ["in use"]
    with pytest.raises(BackupError, match=r"^it is in use$"):
        job.restore("newest", safety=True)
    assert source.path.read_text() == "second"
    assert len(job.store.backups()) == 1


def test_nothing_is_saved_of_an_empty_source(job: Job, source: Text) -> None:
    job.make()
    source.path.write_text("")
    assert json.loads(job.restore("newest", safety=True))["safety"] == ""
    assert source.path.read_text() == "first"
