# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal: one SQLite file on each controller. What is in it will be done, whoever is killed in between.

wants       nodes that Slurm wants to run, from resume until suspend
launches    requests to EC2, written before they are sent
instances   what EC2 has started for this cluster, as far as this controller knows
cooling     what is avoided for a while, or until a person has looked
boots       how many instances of a pool in a row did not become nodes
failures    nodes that have to be given back to Slurm, and why
endings     suspended nodes whose instance this controller does not know
jobs        whose the jobs were, for the costs
counters    for the metrics
settings    signs of life, and what is remembered besides
doubts      differences that were seen once; only what is seen again is acted on
"""

from __future__ import annotations

import dataclasses
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpcops_elastic.errors import JournalError

ALIVE = "alive"
"""The setting with the service's last sign of life."""
THERE = "state IN ('running', 'ending')"
"""Of instances: those that are not gone, by the index. There are many more of the others, which are kept for the costs."""
PATIENCE = 10.0
"""Seconds for another program's transaction."""
_PURGE = 3600.0
_SCHEMA = 1
_TABLES = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE wants (
    node TEXT PRIMARY KEY,
    grp TEXT NOT NULL,
    job TEXT NOT NULL,            -- '' where nobody knows it
    whole INTEGER NOT NULL,       -- all of the job's nodes, or none
    asked REAL NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('wanted', 'sent', 'launched')),
    launch TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX wants_by_state ON wants (state);
CREATE TABLE launches (
    token TEXT PRIMARY KEY,       -- EC2's ClientToken, and the tag on its instances
    grp TEXT NOT NULL,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    subnet TEXT NOT NULL,
    type TEXT NOT NULL,
    market TEXT NOT NULL,
    nodes TEXT NOT NULL,          -- as JSON, in the order of EC2's launch index
    request TEXT NOT NULL,        -- as JSON; sent again byte for byte where its fate is unclear
    state TEXT NOT NULL CHECK (state IN ('sent', 'done', 'refused')),
    sent REAL NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    again REAL NOT NULL DEFAULT 0,
    answered REAL,
    verdict TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX launches_by_state ON launches (state);
CREATE TABLE instances (
    id TEXT PRIMARY KEY,
    node TEXT NOT NULL,
    grp TEXT NOT NULL,
    launch TEXT NOT NULL,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    subnet TEXT NOT NULL,
    type TEXT NOT NULL,
    market TEXT NOT NULL,
    job TEXT NOT NULL,
    price REAL NOT NULL,          -- per hour
    address TEXT NOT NULL,
    started REAL NOT NULL,
    joined REAL,                  -- when its node was first seen in Slurm
    state TEXT NOT NULL CHECK (state IN ('running', 'ending', 'gone')),
    ended REAL,
    why TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX instances_by_state ON instances (state);
CREATE INDEX instances_by_node ON instances (node, state);
CREATE TABLE cooling (
    scope TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    refusals INTEGER NOT NULL,
    since REAL NOT NULL,
    until REAL,                   -- NULL: until a person has looked
    said TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE boots (pool TEXT PRIMARY KEY, failures INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE failures (
    node TEXT PRIMARY KEY,
    job TEXT NOT NULL,
    reason TEXT NOT NULL,
    since REAL NOT NULL,
    tried REAL NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE endings (node TEXT PRIMARY KEY, asked REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE doubts (subject TEXT PRIMARY KEY, since REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE jobs (job TEXT PRIMARY KEY, account TEXT NOT NULL, user TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE counters (name TEXT NOT NULL, label TEXT NOT NULL, value REAL NOT NULL, PRIMARY KEY (name, label)) WITHOUT ROWID;
"""

Row = sqlite3.Row


@dataclasses.dataclass(frozen=True)
class Launch:
    """A request for instances, which are alike. The one with EC2's launch index i is the node nodes[i]."""

    token: str
    group: str
    account: str
    region: str
    subnet: str
    type: str
    market: str
    nodes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Started:
    """An instance that EC2 has started."""

    id: str
    index: int
    address: str = ""
    started: float = 0.0


class Journal:
    """The file, opened. One thread uses it."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Open it, or make it.

        Raises JournalError where it cannot be used.
        """
        self.clock = clock
        self.path = path
        try:
            # Readable for nobody else: requests hold user data.
            if not path.exists():
                made = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
                if os.geteuid() == 0:  # a person looks before the service has begun, whose folder it is
                    folder = path.parent.stat()
                    os.fchown(made, folder.st_uid, folder.st_gid)
                os.close(made)
            self._connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._make()
        except OSError as error:
            raise JournalError(f"the journal {path} cannot be used: {error.strerror}") from error
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: sqlite3.Error) -> JournalError:
        return JournalError(f"the journal {self.path} cannot be used: {error}")

    def _make(self) -> None:
        with self.transaction():
            found = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if found == 0:
                for statement in _TABLES.split(";\n"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {_SCHEMA}")
            elif found != _SCHEMA:
                raise JournalError(
                    f"the journal {self.path} has schema {found}, and this program knows {_SCHEMA}; end all instances "
                    "(slurm-elastic status), then remove it"
                )

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or none, and nobody else writes meanwhile."""
        if self._connection.in_transaction:
            yield
            return
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # some failures have ended it
                self._connection.execute("ROLLBACK")
            raise

    def _execute(self, query: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        try:
            return self._connection.execute(query, values)
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def rows(self, query: str, *values: object) -> list[Row]:
        return self._execute(query, values).fetchall()

    def change(self, query: str, *values: object) -> int:
        """Return how many rows it concerned."""
        return self._execute(query, values).rowcount

    def change_all(self, query: str, rows: Iterable[Sequence[object]]) -> None:
        with self.transaction():
            try:
                self._connection.executemany(query, rows)
            except sqlite3.Error as error:
                raise self._unusable(error) from error

    @property
    def version(self) -> int:
        """Another number after another program has written."""
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    # --- Single values -----------------------------------------------------------------------------------------------

    def setting(self, name: str, otherwise: str = "") -> str:
        found = self.rows("SELECT value FROM settings WHERE name = ?", name)
        return str(found[0]["value"]) if found else otherwise

    def note(self, name: str, value: object) -> None:
        self.change("INSERT INTO settings VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2", name, str(value))

    def count(self, name: str, label: str = "", by: float = 1) -> None:
        self.change(
            "INSERT INTO counters VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET value = value + ?3", name, label, by
        )

    # --- What Slurm wants --------------------------------------------------------------------------------------------

    def want(self, wanted: Iterable[tuple[str, str, str, bool]]) -> None:
        """Nodes with their group, job, and whether it takes all or none. What is wanted already stays as it is, but may get its job."""
        now = self.clock()
        with self.transaction():
            for node, group, job, whole in wanted:
                self.change("DELETE FROM endings WHERE node = ?", node)
                self.change("DELETE FROM failures WHERE node = ?", node)
                self.change(
                    "INSERT INTO wants (node, grp, job, whole, asked, state) VALUES (?, ?, ?, ?, ?, 'wanted') "
                    "ON CONFLICT DO UPDATE SET job = excluded.job, whole = excluded.whole WHERE wants.job = ''",
                    *(node, group, job, int(whole), now),
                )

    def unwant(self, nodes: Iterable[str], why: str) -> None:
        """Nodes that are not wanted any more: their instances will end, also those that are on their way."""
        now = self.clock()
        with self.transaction():
            for node in nodes:
                known = self.change("DELETE FROM wants WHERE node = ?", node) + self._end("node = ?", why, node)
                self.change("DELETE FROM failures WHERE node = ?", node)
                if not known:  # another controller may have launched it: EC2 will be asked
                    self.change("INSERT INTO endings VALUES (?1, ?2) ON CONFLICT DO UPDATE SET asked = ?2", node, now)

    def give_up(self, nodes: Iterable[str], reason: str) -> None:
        """Nodes that cannot be had: their instances will end, and Slurm is told why."""
        now = self.clock()
        with self.transaction():
            for node in nodes:
                found = self.rows("SELECT job FROM wants WHERE node = ?", node)
                self.change("DELETE FROM wants WHERE node = ?", node)
                self.change(
                    "INSERT INTO failures (node, job, reason, since) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    *(node, found[0]["job"] if found else "", reason, now),
                )
                self._end("node = ?", reason, node)

    def end(self, instances: Iterable[str], why: str) -> None:
        """Instances that nobody wants."""
        with self.transaction():
            for instance in instances:
                self._end("id = ?", why, instance)

    def _end(self, which: str, why: str, value: str) -> int:
        return self.change(
            f"UPDATE instances SET state = 'ending', why = ? WHERE state = 'running' AND {which}", why, value
        )

    def gone(self, instances: Iterable[str]) -> None:
        """Instances that are no more."""
        now = self.clock()
        self.change_all(
            "UPDATE instances SET state = 'gone', ended = coalesce(ended, ?) WHERE id = ?",
            [(now, instance) for instance in instances],
        )

    # --- Launches ----------------------------------------------------------------------------------------------------

    def send(self, launch: Launch, request: Mapping[str, Any]) -> None:
        """Note a request before it is sent."""
        with self.transaction():
            self.change(
                "INSERT INTO launches (token, grp, account, region, subnet, type, market, nodes, request, state, sent) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'sent', ?)",
                *(launch.token, launch.group, launch.account, launch.region, launch.subnet, launch.type, launch.market),
                *(json.dumps(launch.nodes), json.dumps(request), self.clock()),
            )
            self.change_all(
                "UPDATE wants SET state = 'sent', launch = ? WHERE node = ?",
                [(launch.token, node) for node in launch.nodes],
            )

    def launches(self) -> dict[str, tuple[Launch, dict[str, Any], float]]:
        """Requests without an answer, by token: the launch, what was sent, and before when it is not sent again."""
        rows = self.rows("SELECT * FROM launches WHERE state = 'sent' ORDER BY sent")
        return {row["token"]: (_launch(row), json.loads(row["request"]), row["again"]) for row in rows}

    def launch(self, token: str) -> Launch | None:
        rows = self.rows("SELECT * FROM launches WHERE token = ?", token)
        return _launch(rows[0]) if rows else None

    def answered(self, launch: Launch, started: Iterable[Started], price: float) -> None:
        """EC2 has started these, perhaps not all. Those whose node is not wanted any more will end."""
        with self.transaction():
            self._answer(launch.token, "done", "")
            for each in started:
                node = launch.nodes[each.index] if each.index < len(launch.nodes) else ""
                self.found(each, launch, node, price)
            self._want_again(launch.token)

    def refused(self, token: str, verdict: object) -> None:
        """EC2 has started nothing, and will not by this request."""
        with self.transaction():
            self._answer(token, "refused", str(verdict))
            self._want_again(token)

    def unclear(self, token: str, verdict: object, wait: float) -> None:
        """Nobody knows: the same request is sent again."""
        self.change(
            "UPDATE launches SET tries = tries + 1, again = ?, verdict = ? WHERE token = ?",
            *(self.clock() + wait, str(verdict), token),
        )

    def found(self, each: Started, launch: Launch, node: str, price: float, answered: bool = True) -> None:
        """An instance, from the answer to its launch or by its tags. It is its node's, unless that has one or wants none.

        What was launched for nobody will end at once. What is found by its tags gets its time: the next looks will tell.
        """
        with self.transaction():
            if self.knows(each.id):
                return
            wanted = self.rows("SELECT job, state, launch FROM wants WHERE node = ?", node)
            mine = bool(wanted) and wanted[0]["state"] != "launched" and wanted[0]["launch"] in ("", launch.token)
            suspended = self.rows("SELECT 1 FROM endings WHERE node = ? AND asked > ?", node, each.started)
            ends = not mine and (answered or bool(suspended))
            self.change(
                "INSERT INTO instances (id, node, grp, launch, account, region, subnet, type, market, job, price, address, "
                "started, state, why) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                *(each.id, node, launch.group, launch.token, launch.account, launch.region, launch.subnet, launch.type),
                *(launch.market, wanted[0]["job"] if mine else "", price, each.address, each.started or self.clock()),
                *(("ending", "its node is not wanted, or has another instance") if ends else ("running", "")),
            )
            if mine:
                self.change("UPDATE wants SET state = 'launched', launch = ? WHERE node = ?", launch.token, node)

    def knows(self, instance: str) -> bool:
        return bool(self.rows("SELECT 1 FROM instances WHERE id = ?", instance))

    def sighted(self, begun: float) -> None:
        """EC2 was asked for everything, beginning then."""
        self.change("DELETE FROM endings WHERE asked < ?", begun)

    def strays(self) -> int:
        """Nodes that were suspended here, and whose instances this journal does not know."""
        return int(self.rows("SELECT count(*) AS number FROM endings")[0]["number"])

    def failed_boot(self, pool: str) -> int:
        """Count one, and return how many there were in a row."""
        self.change("INSERT INTO boots VALUES (?, 1) ON CONFLICT DO UPDATE SET failures = failures + 1", pool)
        return int(self.rows("SELECT failures FROM boots WHERE pool = ?", pool)[0]["failures"])

    def booted(self, pool: str) -> None:
        """One has become a node."""
        self.change("DELETE FROM boots WHERE pool = ?", pool)

    def purge(self, before: float) -> None:
        """Forget what ended before then, and requests that were answered a week before now. Looks at all of it: once an hour."""
        now = self.clock()
        if now - float(self.setting("purged", "0")) < _PURGE:
            return
        with self.transaction():
            self.note("purged", now)
            self.change("DELETE FROM instances WHERE state = 'gone' AND ended < ?", before)
            self.change(
                "DELETE FROM launches WHERE state != 'sent' AND answered < ? "
                f"AND token NOT IN (SELECT launch FROM instances WHERE {THERE})",
                now - 7 * 86400,
            )
            self.change("DELETE FROM jobs WHERE job NOT IN (SELECT job FROM instances)")

    def _answer(self, token: str, state: str, verdict: str) -> None:
        self.change(
            "UPDATE launches SET state = ?, answered = ?, verdict = ? WHERE token = ?",
            *(state, self.clock(), verdict, token),
        )

    def _want_again(self, token: str) -> None:
        self.change("UPDATE wants SET state = 'wanted', launch = '' WHERE launch = ? AND state = 'sent'", token)

    # --- What is avoided ---------------------------------------------------------------------------------------------

    def cool(self, scope: str, kind: str, said: str, shortest: float, longest: float) -> None:
        """Avoid it; each refusal within a while after the last doubles the time. No time at all: until a person has looked."""
        now = self.clock()
        with self.transaction():
            found = self.rows("SELECT * FROM cooling WHERE scope = ?", scope)
            until: float | None = None
            refusals = 1
            if shortest:
                if found and found[0]["until"] is None:
                    return
                if found and found[0]["until"] > now:  # refused by a request that was under way already
                    return
                if found and now - found[0]["until"] < longest:
                    refusals = found[0]["refusals"] + 1
                until = now + min(shortest * 2.0 ** (refusals - 1), longest)
            self.change(
                "INSERT INTO cooling VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET "
                "kind = ?2, refusals = ?3, since = ?4, until = ?5, said = ?6",
                *(scope, kind, refusals, now, until, said),
            )

    def avoided(self) -> dict[str, Row]:
        """Scopes that are avoided now."""
        rows = self.rows("SELECT * FROM cooling WHERE until IS NULL OR until > ?", self.clock())
        return {row["scope"]: row for row in rows}

    def forgive(self, scopes: Iterable[str]) -> int:
        """A person has looked."""
        with self.transaction():
            return sum(
                self.change("DELETE FROM cooling WHERE scope = ?", scope)
                + self.change("DELETE FROM boots WHERE pool = ?", scope)
                for scope in scopes
            )

    # --- What is seen once -------------------------------------------------------------------------------------------

    def doubt(self, subjects: Iterable[str], patience: float) -> set[str]:
        """Differences that are there now; return those that were seen before, long enough ago. Others are forgotten."""
        now, present = self.clock(), set(subjects)
        with self.transaction():
            known = {row["subject"]: row["since"] for row in self.rows("SELECT * FROM doubts")}
            self.change_all("DELETE FROM doubts WHERE subject = ?", [(each,) for each in known.keys() - present])
            self.change_all("INSERT INTO doubts VALUES (?, ?)", [(each, now) for each in present - known.keys()])
        return {each for each in present & known.keys() if now - known[each] >= patience}


def _launch(row: Row) -> Launch:
    return Launch(
        token=row["token"],
        group=row["grp"],
        account=row["account"],
        region=row["region"],
        subnet=row["subnet"],
        type=row["type"],
        market=row["market"],
        nodes=tuple(json.loads(row["nodes"])),
    )
