"""A model of Slurm's power saving, in a file that several processes may use. Real Slurm is in the scenario slurm_elastic.

What it does to a node, as slurmctld 24.11 does: resume takes it from powered down to powering up; once a host registers it is up;
power down takes it to powering down, calls suspend, and then to powered down, whatever else it was.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hpcops_elastic.errors import SlurmError
from hpcops_elastic.slurm import TIMED_OUT, Node

OFF, RISING, UP, SINKING = "POWERED_DOWN", "POWERING_UP", "UP", "POWERING_DOWN"


class ModelOfSlurm:
    """Has the methods of hpcops_elastic.slurm.Slurm, and those of a test."""

    def __init__(self, path: Path, nodes: Iterable[str] = ()) -> None:
        self.path = path
        self.is_active = True
        self.answers = True
        with self._connection() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS nodes (name TEXT PRIMARY KEY, power TEXT, down INT, drain INT, reason TEXT)"
            )
            connection.execute("CREATE TABLE IF NOT EXISTS explained (job TEXT, text TEXT)")
            connection.execute("CREATE TABLE IF NOT EXISTS forgotten (name TEXT)")
            connection.executemany("INSERT INTO nodes VALUES (?, ?, 0, 0, '')", [(name, OFF) for name in nodes])

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        connection.execute("PRAGMA synchronous = OFF")
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()

    # --- As the program sees it ----------------------------------------------------------------------------------------

    def active(self) -> bool:
        self._ask()
        return self.is_active

    def nodes(self) -> dict[str, Node]:
        self._ask()
        found = {}
        with self._connection() as connection:
            for name, power, down, drain, reason in connection.execute("SELECT * FROM nodes"):
                states = {"DOWN" if down else "IDLE", "CLOUD", power, *(["DRAIN"] if drain else [])} - {UP}
                found[name] = Node(name, frozenset(states), reason, "10.0.0.7" if power == UP else name)
        return found

    def update(self, nodes: Iterable[str], state: str, reason: str = "") -> None:
        self._ask()
        change = {
            "DOWN": "down = 1, reason = :reason",
            "DRAIN": "drain = 1, reason = :reason",
            "RESUME": "drain = 0, down = 0",
            "POWER_DOWN": f"power = CASE power WHEN '{OFF}' THEN power ELSE '{SINKING}' END",
        }[state]
        with self._connection() as connection:
            connection.executemany(
                f"UPDATE nodes SET {change} WHERE name = :name", [{"name": name, "reason": reason} for name in nodes]
            )

    def forget_names(self, nodes: Iterable[str]) -> None:
        self._ask()
        with self._connection() as connection:
            connection.executemany("INSERT INTO forgotten VALUES (?)", [(name,) for name in nodes])

    def explain(self, jobs: Iterable[str], text: str) -> None:
        with self._connection() as connection:
            connection.executemany("INSERT INTO explained VALUES (?, ?)", [(job, text) for job in jobs])

    def jobs(self, jobs: Iterable[str]) -> Mapping[str, tuple[str, str]]:
        return {job: ("research", "alice") for job in jobs if job.isdigit()}

    def _ask(self) -> None:
        if not self.answers:
            raise SlurmError("no slurmctld answers (scontrol ping)")

    # --- As a test moves it ----------------------------------------------------------------------------------------------

    def power(self, power: str) -> list[str]:
        """Nodes in this state of power."""
        with self._connection() as connection:
            return [
                name for (name,) in connection.execute("SELECT name FROM nodes WHERE power = ? ORDER BY name", (power,))
            ]

    def move(self, names: Iterable[str], power: str) -> None:
        """Set their state of power; one that is powered down has nothing left of why it was down."""
        more = ", down = 0" if power == OFF else ""
        with self._connection() as connection:
            connection.executemany(
                f"UPDATE nodes SET power = ?{more} WHERE name = ?", [(power, name) for name in names]
            )

    def time_out(self, names: Iterable[str]) -> None:
        """What Slurm does when nodes have not registered in time."""
        self.move(names, OFF)
        self.update(names, "DOWN", TIMED_OUT)

    def usable(self) -> list[str]:
        """Nodes that Slurm may resume for a job."""
        with self._connection() as connection:
            query = "SELECT name FROM nodes WHERE power = ? AND NOT drain AND NOT down ORDER BY name"
            return [name for (name,) in connection.execute(query, (OFF,))]

    def explained(self) -> dict[str, str]:
        with self._connection() as connection:
            return dict(connection.execute("SELECT job, text FROM explained").fetchall())

    def forgotten(self) -> list[str]:
        """Nodes whose names slurmctld is to look up no more."""
        with self._connection() as connection:
            return [name for (name,) in connection.execute("SELECT name FROM forgotten ORDER BY name")]
