# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database of MariaDB: its dump, and what must be the same when it is restored."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .store import Backup
from .tools import BackupError, compressed, decompressed, run, size_of

SCRATCH = "hpcops_drill_"
SCRATCH_COMMENT = "made by hpcops-backup for a restore drill"


class Database:
    """One database of a MariaDB server."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.name: str = settings["database"]
        self.connection: dict[str, Any] = settings["connection"]
        self.scratch = SCRATCH + self.name

    @contextlib.contextmanager
    def client(self, program: str, *arguments: str) -> Iterator[list[str]]:
        """A client's command line. Credentials go through a file that only this account can read, and that is gone at once."""
        lines = ["[client]", "default-character-set=utf8mb4", "max-allowed-packet=1G"]
        for option, value in self.connection.items():
            quoted = str(value).replace("\\", "\\\\").replace('"', '\\"')
            lines.append(f'{option}="{quoted}"')
        with tempfile.NamedTemporaryFile("w", suffix=".cnf", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            yield [program, f"--defaults-file={file.name}", *arguments]

    def ask(self, statement: str) -> list[list[str]]:
        """Rows of the answer."""
        with self.client("mariadb", "--batch", "--skip-column-names") as argv:
            return [line.split("\t") for line in run(argv, statement).splitlines()]

    def schema(self, database: str) -> list[str]:
        """Character set, collation and comment of a database; empty where there is none."""
        rows = self.ask(
            "SELECT default_character_set_name, default_collation_name, schema_comment "
            f"FROM information_schema.schemata WHERE schema_name = '{database}'"
        )
        return rows[0] if rows else []

    def tables(self, database: str) -> dict[str, tuple[int, int]]:
        """Size of each table, and the number that its next row gets (0: none)."""
        rows = self.ask(
            "SELECT table_name, data_length + index_length, coalesce(auto_increment, 0) FROM information_schema.tables "
            f"WHERE table_schema = '{database}' AND table_type = 'BASE TABLE'"
        )
        return {name: (int(size), int(number)) for name, size, number in rows}

    def contents(self, database: str) -> dict[str, Any]:
        """Rows of each table, and each cluster's last job: the number of its record, and its id."""
        tables = sorted(self.tables(database))
        counts = " UNION ALL ".join(f"SELECT '{name}', COUNT(*) FROM `{database}`.`{name}`" for name in tables)
        jobs = {name[: -len("_job_table")]: name for name in tables if name.endswith("_job_table")}
        last = " UNION ALL ".join(
            f"(SELECT '{cluster}', job_db_inx, id_job FROM `{database}`.`{name}` ORDER BY job_db_inx DESC LIMIT 1)"
            for cluster, name in jobs.items()
        )
        return {
            "rows": {name: int(count) for name, count in self.ask(counts)} if counts else {},
            "last_jobs": {cluster: [int(record), int(job)] for cluster, record, job in self.ask(last)} if last else {},
        }

    def estimate(self) -> int:
        return sum(size for size, _number in self.tables(self.name).values())

    def is_empty(self) -> bool:
        return not self.tables(self.name)

    def save(self, folder: Path) -> dict[str, Any]:
        if self.is_empty():
            raise BackupError(f"the server has no database {self.name}, or no table in it: there is nothing to back up")
        before = self.contents(self.name)
        # One transaction: the dump is the database at one moment, and nobody waits for it.
        options = ["--single-transaction", "--quick", "--routines", "--triggers", "--events", "--hex-blob"]
        with self.client("mariadb-dump", *options, self.name) as argv, compressed(folder / "dump.sql.zst") as pipe:
            dump = subprocess.Popen(argv, stdout=pipe, stderr=subprocess.PIPE)
            _nothing, complaint = dump.communicate()
            if dump.returncode != 0:
                raise BackupError(f"mariadb-dump failed: {complaint.decode(errors='replace').strip()}")
        character_set, collation, _comment = self.schema(self.name)
        return {
            "database": self.name,
            "character_set": character_set,
            "collation": collation,
            "bytes": self.estimate(),
            "version": f"MariaDB {self.ask('SELECT version()')[0][0]}",
            "before": before,
            "after": self.contents(self.name),
        }

    def check(self, backup: Backup) -> None:
        end = b""
        with decompressed(backup.path / "dump.sql.zst") as dump:
            while block := dump.read(1 << 20):
                end = (end + block)[-200:]
        if b"-- Dump completed" not in end:
            raise BackupError(f"{backup.path / 'dump.sql.zst'} ends before the dump does")

    def create(self, database: str, backup: Backup, comment: str = "") -> None:
        saved = backup.content
        self.ask(
            f"CREATE DATABASE `{database}` CHARACTER SET {saved['character_set']} COLLATE {saved['collation']} "
            f"COMMENT '{comment}'"
        )

    def load(self, database: str, backup: Backup) -> None:
        with decompressed(backup.path / "dump.sql.zst") as dump, self.client("mariadb", database) as argv:
            done = subprocess.run(argv, stdin=dump, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise BackupError(f"the server does not take the dump {backup.name}: {done.stderr.strip()}")

    def refuse_in_use(self) -> None:
        users = self.ask(f"SELECT DISTINCT user, host FROM information_schema.processlist WHERE db = '{self.name}'")
        if users:
            names = ", ".join(f"{user}@{host}" for user, host in users)
            raise BackupError(f"{self.name} is in use by {names}: stop slurmdbd on all of its hosts first")

    def restore(self, backup: Backup) -> None:
        former = self.tables(self.name)
        self.ask(f"DROP DATABASE IF EXISTS `{self.name}`")
        self.create(self.name, backup)
        self.load(self.name, backup)
        # slurmctld knows running jobs by their records' numbers, which must not be given away a second time.
        for table, (_size, number) in self.tables(self.name).items():
            next_number = former.get(table, (0, 0))[1]
            if next_number > number:
                self.ask(f"ALTER TABLE `{self.name}`.`{table}` AUTO_INCREMENT = {next_number}")
        found = differences(backup.content, self.contents(self.name))
        if found:
            raise BackupError(f"{self.name} is not what {backup.name} says: {'; '.join(found)}")

    def drill(self, backup: Backup) -> list[str]:
        """Restore into a scratch database; what differs from what the manifest says."""
        if "socket" in self.connection:
            need = int(backup.content["bytes"] * 1.2)
            free = shutil.disk_usage(self.ask("SELECT @@datadir")[0][0]).free
            if free < need:
                raise BackupError(f"the drill needs {size_of(need)} beside the databases, and {size_of(free)} are free")
        schema = self.schema(self.scratch)
        if schema and schema[2] != SCRATCH_COMMENT:
            raise BackupError(f"no drill has made the database {self.scratch}. It was not touched; rename or drop it")
        self.ask(f"DROP DATABASE IF EXISTS `{self.scratch}`")
        self.create(self.scratch, backup, SCRATCH_COMMENT)
        try:
            self.load(self.scratch, backup)
            return differences(backup.content, self.contents(self.scratch))
        finally:
            self.ask(f"DROP DATABASE `{self.scratch}`")


def differences(saved: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """What a restored database lacks, or has too much, beside what there was before and after its dump."""
    problems = []
    before, after = saved["before"], saved["after"]
    for table in sorted({*before["rows"], *after["rows"], *found["rows"]}):
        bounds = sorted([before["rows"].get(table, 0), after["rows"].get(table, 0)])
        had = f"and had {' to '.join(map(str, sorted(set(bounds))))}"
        count = found["rows"].get(table)
        if count is None and table in before["rows"] and table in after["rows"]:
            problems.append(f"table {table} is missing, {had} rows")
        elif count is not None and not bounds[0] <= count <= bounds[1]:
            problems.append(f"table {table} has {count} rows, {had}")
    for cluster in sorted({*before["last_jobs"], *after["last_jobs"], *found["last_jobs"]}):
        first, last = (side["last_jobs"].get(cluster, [0, 0]) for side in (before, after))
        record, job = found["last_jobs"].get(cluster, [0, 0])
        if not first[0] <= record <= last[0]:
            problems.append(f"the last job of {cluster} is {job}, and was {last[1]}")
    return problems
