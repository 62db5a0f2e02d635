"""Connections, transactions and the schema, the same over SQLite and PostgreSQL."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Delete, Engine, Insert, Update, create_engine, event, select, update
from sqlalchemy.engine import make_url

from .tables import state

_Item = TypeVar("_Item")
# SQLite takes up to 32766 values in a statement.
BATCH = 5000


@dataclass(frozen=True, slots=True)
class State:
    """Where the site's data stand. What was read at one state is still right while the state is the same."""

    epoch: str
    revision: int
    health_revision: int
    access_revision: int

    @property
    def access_version(self) -> tuple[str, int]:
        """Another one whenever a token was made, changed or revoked."""
        return (self.epoch, self.access_revision)


class Write:
    """A transaction that alone may write."""

    def __init__(self, connection: Connection, before: State) -> None:
        self.connection = connection
        self.before = before
        self.revision = before.revision + 1

    def discard(self) -> None:
        """End the transaction without a trace."""
        self.connection.rollback()

    def commit_revision(self) -> None:
        self._set(revision=self.revision)

    def health_changed(self) -> None:
        self._set(health_revision=self.before.health_revision + 1)

    def access_changed(self) -> None:
        self._set(access_revision=self.before.access_revision + 1)

    def _set(self, **values: int) -> None:
        self.connection.execute(update(state).values(**values))


class Database:
    """The one database of the site, shared by any number of processes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sqlite = make_url(url).get_backend_name() == "sqlite"
        self.engine = _sqlite_engine(url) if self.sqlite else _postgresql_engine(url)
        self._peek = self.engine.execution_options(
            **({"snapshot": False} if self.sqlite else {"isolation_level": "AUTOCOMMIT"})
        )
        self._state = select(state.c.epoch, state.c.revision, state.c.health_revision, state.c.access_revision)

    def state(self) -> State:
        with self._peek.connect() as connection:
            return self.state_in(connection)

    def state_in(self, connection: Connection) -> State:
        """The state that a transaction sees."""
        return State(*connection.execute(self._state).one())

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One snapshot for all that is read."""
        level = {} if self.sqlite else {"isolation_level": "REPEATABLE READ"}
        with self.engine.connect().execution_options(**level) as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Write]:
        """One writer at a time, on all processes; everything or nothing."""
        with self.engine.connect().execution_options(writes=True) as connection:
            yield Write(connection, State(*connection.execute(self._state.with_for_update()).one()))
            connection.commit()

    def close(self) -> None:
        self.engine.dispose()

    # --- The schema --------------------------------------------------------------------------------------------------

    def schema(self) -> str | None:
        """The revision of the schema that the database has."""
        with self.engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()

    def migrate(self, to: str = "head") -> None:
        config = alembic_config()
        with self.engine.connect().execution_options(writes=True) as connection, connection.begin():
            if not self.sqlite:
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(727403)")  # two hosts may be deployed at once
            config.attributes["connection"] = connection
            command.upgrade(config, to)
            if connection.execute(self._state).first() is None:
                counters = dict.fromkeys(("revision", "health_revision", "access_revision"), 0)
                connection.execute(state.insert().values(id=1, epoch=new_epoch(), **counters))


def new_epoch() -> str:
    return secrets.token_hex(4)


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return config


def newest_schema() -> str | None:
    return ScriptDirectory.from_config(alembic_config()).get_current_head()


def execute_many(
    connection: Connection, statement: Insert | Update | Delete, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Execute an insert, update or delete for each row. SQLAlchemy itself takes longer for a row than the database does."""
    if not rows:
        return
    compiled = statement.compile(dialect=connection.dialect, column_keys=list(rows[0]))
    order = compiled.positiontup
    values = [tuple(row[name] for name in order) for row in rows] if order else rows
    connection.exec_driver_sql(str(compiled), values)


def in_batches(values: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    """As many at a time as a statement may carry."""
    for start in range(0, len(values), BATCH):
        yield values[start : start + BATCH]


def _sqlite_engine(url: str) -> Engine:
    # One connection may wait that long for another one's write; on a busy disk a bulk write takes seconds.
    engine = create_engine(url, connect_args={"timeout": 30}, pool_size=20, max_overflow=40, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where "begin" below says so
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")  # what was acknowledged survives a power cut
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA cache_size = -16384")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A reader that becomes a writer may find that another one was faster, and has to fail then: writers say so first.
        options = connection.get_execution_options()
        if options.get("writes"):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        elif options.get("snapshot", True):
            connection.exec_driver_sql("BEGIN")

    return engine


def _postgresql_engine(url: str) -> Engine:
    return create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=30, hide_parameters=True)
