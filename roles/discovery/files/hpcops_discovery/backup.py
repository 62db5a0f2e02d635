"""Backups: all rows as lines of JSON, compressed. The same file restores into SQLite and into PostgreSQL."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from sqlalchemy import Connection, inspect, select, text, update

from .clock import now
from .database import Database, new_epoch
from .tables import metadata, state

FORMAT = 1
ROWS = 2000


class BackupError(Exception):
    """A backup cannot be made or restored; the message says why."""


def write_backup(database: Database, target: Path) -> int:
    """Write one snapshot to a file that is there as a whole or not at all. Returns the number of rows."""
    schema = database.schema()
    if schema is None:
        raise BackupError("the database has no schema yet: there is nothing to back up")
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as raw:
            with gzip.open(raw, "wt", encoding="utf-8", compresslevel=4) as output, database.read() as connection:
                output.write(json.dumps({"format": FORMAT, "schema": schema, "made": now()}) + "\n")
                rows = _dump(connection, output)
                output.write(json.dumps({"end": rows}) + "\n")
            raw.flush()
            os.fsync(raw.fileno())
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return rows


def _dump(connection: Connection, output: TextIO) -> int:
    # The tables as the database has them: a backup is made before a migration, by the release after it.
    present = set(inspect(connection).get_table_names())
    count = 0
    for table in metadata.sorted_tables:
        if table.name not in present:
            continue
        columns = [column["name"] for column in inspect(connection).get_columns(table.name)]
        names = ", ".join(f'"{name}"' for name in columns)
        rows = connection.execution_options(yield_per=ROWS).execute(text(f'SELECT {names} FROM "{table.name}"'))
        for row in rows:
            output.write(json.dumps([table.name, dict(zip(columns, row, strict=True))], default=str) + "\n")
            count += 1
    return count


def restore_backup(database: Database, source: Path, *, force: bool = False) -> int:
    """Fill an empty database, or replace what is in it. Everything happens in one transaction, or nothing."""
    header, rows = _read(source)
    with database.engine.connect() as connection:
        filled = inspect(connection).has_table(state.name) and connection.execute(select(state.c.revision)).scalar()
    if filled and not force:
        raise BackupError(f"the database has data, of revision {filled}; --force replaces them")
    database.migrate()
    if header["schema"] != database.schema():
        raise BackupError(
            f"{source} has the schema {header['schema']}; restore it with the release that made it, then migrate"
        )
    count = 0
    with database.engine.connect().execution_options(writes=True) as connection, connection.begin():
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
        for name, batch in rows:
            connection.execute(metadata.tables[name].insert(), batch)
            count += len(batch)
        # Revisions go on from the backup's, and readers must not take new ones for those that they know.
        connection.execute(update(state).values(epoch=new_epoch()))
        if not database.sqlite:
            connection.execute(
                text(
                    "SELECT setval(pg_get_serial_sequence('events', 'id'), (SELECT coalesce(max(id), 0) + 1 FROM events), false)"
                )
            )
    return count


def _read(source: Path) -> tuple[dict[str, Any], Iterator[tuple[str, list[dict[str, Any]]]]]:
    """The file's header, and its rows in batches of one table each. A file that is cut off is an error, not a smaller site."""
    lines = _lines(source)
    header = next(lines, None)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise BackupError(f"{source} is no backup of this service")
    return header, _batches(source, lines)


def _batches(source: Path, lines: Iterator[Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    name, count, ended = "", 0, False
    batch: list[dict[str, Any]] = []
    for line in lines:
        if isinstance(line, dict):
            ended = line.get("end") == count
            break
        if batch and (line[0] != name or len(batch) == ROWS):
            yield name, batch
            batch = []
        name = line[0]
        batch.append(line[1])
        count += 1
    if not ended:
        raise BackupError(f"{source} is cut off after {count} rows")
    if batch:
        yield name, batch


def _lines(source: Path) -> Iterator[Any]:
    try:
        with gzip.open(source, "rt", encoding="utf-8") as stream:
            for line in stream:
                yield json.loads(line)
    except (OSError, EOFError, ValueError) as error:
        raise BackupError(f"{source}: {error}") from error
