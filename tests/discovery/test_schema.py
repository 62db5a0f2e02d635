"""The database's schema, backups, and the documents that are kept beside the code."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from conftest import PostgreSQL
from hpcops_discovery import clock
from hpcops_discovery.backup import BackupError, restore_backup, write_backup
from hpcops_discovery.database import Database
from hpcops_discovery.openapi import document
from hpcops_discovery.settings import Settings
from hpcops_discovery.shapes import HostPatch, HostWrite, SlurmNode
from hpcops_discovery.tables import events, metadata
from sqlalchemy import select, update
from support import READER, ROOT, Client, cli, in_thread, service, write_config


def test_migrations_make_the_tables_that_the_code_uses(database_url: str) -> None:
    database = Database(database_url)
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_openapi_document_is_current() -> None:
    assert (ROOT / "roles/discovery/files/openapi.json").read_text() == document(), (
        "out of date: hpcops-discovery openapi > roles/discovery/files/openapi.json"
    )


def test_fields_of_a_node_are_the_host_variables_of_the_inventory() -> None:
    text = (ROOT / "docs/inventory.md").read_text()
    assert {f"slurm_node_{name}" for name in SlurmNode.model_fields} == set(re.findall(r"`(slurm_node_\w+)`", text))


def test_patch_has_the_fields_of_a_host() -> None:
    assert set(HostPatch.model_fields) == set(HostWrite.model_fields)


def test_migration_makes_a_backup_first_and_only_when_something_is_to_do(tmp_path: Path, sqlite_url: str) -> None:
    config = write_config(tmp_path / "c.toml", database_url=f"sqlite:///{tmp_path}/new.db")
    assert cli(config, "migrate", "--check", check=False).returncode == 2
    assert "migrated" in cli(config, "migrate", "--backup", str(tmp_path / "backups")).stdout
    assert cli(config, "migrate", "--backup", str(tmp_path / "backups")).stdout == "unchanged\n"
    assert cli(config, "migrate", "--check").returncode == 0
    assert not (tmp_path / "backups").exists()
    with Database(f"sqlite:///{tmp_path}/new.db").engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    failed = cli(config, "migrate", "--backup", str(tmp_path / "backups"), check=False)
    assert failed.returncode != 0
    (made,) = (tmp_path / "backups").iterdir()
    assert gzip.decompress(made.read_bytes()).splitlines()[0].startswith(b'{"format": 1')


def rows_of(url: str) -> dict[str, list[dict[str, Any]]]:
    tables = [table for table in metadata.sorted_tables if table.name != "site_state"]
    with Database(url).read() as connection:
        return {
            table.name: sorted((dict(row) for row in connection.execute(select(table)).mappings()), key=str)
            for table in tables
        }


@pytest.fixture
def empty(postgresql: PostgreSQL, tmp_path: Path) -> Callable[[str], str]:
    return lambda kind: postgresql.database() if kind == "postgresql" else f"sqlite:///{tmp_path}/restored.db"


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_backup_restores_into_either_database(
    settings: Settings, site: Client, tmp_path: Path, empty: Callable[[str], str], kind: str
) -> None:
    site.ok("POST", "/v1/services", json={"services": [service("s", "a1")]})
    site.ok("POST", "/v1/heartbeats", json={"beats": [{"host": "a1"}]})
    etag = site.get("/v1/inventory").headers["etag"]
    target = tmp_path / "backup.json.gz"
    rows = write_backup(Database(settings.database_url), target)
    assert target.stat().st_mode & 0o077 == 0
    url = empty(kind)
    assert restore_backup(Database(url), target) == rows
    assert rows_of(url) == rows_of(settings.database_url)
    with in_thread(settings.model_copy(update={"database_url": url})) as restored:
        assert restored.ok("GET", "/v1/inventory") == site.ok("GET", "/v1/inventory")
        # Another history: what was known of the former one must not be taken for current.
        assert restored.get("/v1/inventory", headers={"If-None-Match": etag}).status_code == 200
        restored.ok("PATCH", "/v1/hosts/a1", json={"rack": "r9"})
        assert len(restored.ok("GET", "/v1/events?key=a1")["items"]) == 2


def test_restore_replaces_data_only_when_it_is_told_to(settings: Settings, site: Client, tmp_path: Path) -> None:
    database = Database(settings.database_url)
    write_backup(database, tmp_path / "backup")
    site.ok("PATCH", "/v1/hosts/a1", json={"rack": "r9"})
    with pytest.raises(BackupError, match="--force replaces them"):
        restore_backup(database, tmp_path / "backup")
    restore_backup(database, tmp_path / "backup", force=True)
    assert site.ok("GET", "/v1/hosts/a1")["rack"] == "r1"


def test_events_older_than_asked_for_are_removed_and_watchers_learn_that_they_missed_some(
    settings: Settings, site: Client, tmp_path: Path
) -> None:
    config = write_config(tmp_path / "c.toml", database_url=settings.database_url)
    known = site.ok("GET", "/v1/clusters")["revision"]
    site.ok("PATCH", "/v1/hosts/a1", json={"rack": "r8"})
    site.of(READER).refused(403, "PATCH", "/v1/hosts/a1", json={"rack": "r9"})
    with Database(settings.database_url).engine.begin() as connection:
        connection.execute(
            update(events).where(events.c.action != "denied").values(at=clock.at(time.time() - 100 * 86400))
        )
    site.ok("PATCH", "/v1/hosts/a1", json={"rack": "r9"})
    assert cli(config, "prune", "--events", "101d").stdout == "0 events removed\n"
    assert site.ok("GET", f"/v1/watch?since={known}")["reset"] is False
    assert int(cli(config, "prune", "--events", "99d").stdout.split()[0]) > 0
    assert [event["action"] for event in site.ok("GET", "/v1/events")["items"]] == ["denied", "updated"]
    assert site.ok("GET", f"/v1/watch?since={known}")["reset"] is True
    news = site.ok("GET", f"/v1/watch?since={known + 1}")
    assert (news["reset"], [event["key"] for event in news["events"]]) == (False, ["a1"])


@pytest.mark.parametrize("damage", ["cut", "lines", "nothing", "other"])
def test_damaged_backup_changes_nothing(settings: Settings, site: Client, tmp_path: Path, damage: str) -> None:
    database, target = Database(settings.database_url), tmp_path / "backup"
    write_backup(database, target)
    packed = target.read_bytes()
    lines = gzip.decompress(packed).splitlines(keepends=True)
    damaged = {
        "cut": packed[:-200],
        "lines": gzip.compress(b"".join(lines[:-3] + lines[-1:])),
        "nothing": b"",
        "other": gzip.compress(json.dumps({"format": 9}).encode()),
    }
    target.write_bytes(damaged[damage])
    before = rows_of(settings.database_url)
    with pytest.raises(BackupError):
        restore_backup(database, target, force=True)
    assert rows_of(settings.database_url) == before
