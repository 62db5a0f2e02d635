# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pools: what a group's instances can be taken from, which of them are avoided, and how fast they may be asked."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Mapping

from hpcops_elastic.config import Account, Config, Group, Place
from hpcops_elastic.journal import Journal, Launch, Row
from hpcops_elastic.verdicts import Kind, Verdict

LOG = logging.getLogger(__name__)
_THROTTLED, _THROTTLED_MOST = 2.0, 60.0
_AFTER_UNKNOWN = 60.0


@dataclasses.dataclass(frozen=True)
class Pool:
    """One type in one subnet of one account, for one group."""

    group: Group
    place: Place
    subnet: str
    type: str

    @property
    def scope(self) -> str:
        """How the journal calls it."""
        return scope_of(self.group.name, self.place.account, self.place.region, self.subnet, self.type)

    @property
    def capacity_scope(self) -> str:
        """What other groups ask for, too."""
        return "|".join(("capacity", self.place.account, self.place.region, self.subnet, self.type, self.group.market))

    @property
    def quota_scope(self) -> str:
        return "|".join(("quota", self.place.account, self.place.region, self.group.market))

    @property
    def limit_scope(self) -> str:
        """A type that is too much for the configuration's own limits, wherever it is."""
        return "|".join(("limit", self.group.name, self.type))

    @property
    def throttle_scope(self) -> str:
        return throttle_scope(self.place.account, self.place.region)

    @property
    def where(self) -> str:
        return f"{self.place.account}/{self.place.region}/{self.subnet} {self.type}"


def scope_of(group: str, account: str, region: str, subnet: str, instance_type: str) -> str:
    return "|".join(("pool", group, account, region, subnet, instance_type))


def throttle_scope(account: str, region: str) -> str:
    return f"throttled|{account}|{region}"


def pools(group: Group) -> list[Pool]:
    """In order of preference: places, in each the types, of each type the subnets."""
    return [
        Pool(group, place, subnet, instance_type)
        for place in group.places
        for instance_type in group.instance_types
        for subnet in place.subnets
    ]


def pool_of(config: Config, launch: Launch) -> Pool | None:
    """The pool of a launch, where the configuration has it still."""
    group = config.group(launch.group)
    wanted = (launch.account, launch.region, launch.subnet, launch.type)
    for pool in pools(group) if group else ():
        if (pool.place.account, pool.place.region, pool.subnet, pool.type) == wanted:
            return pool
    return None


def obstacle(pool: Pool, avoided: Mapping[str, Row]) -> Row | None:
    """Why a pool is avoided; that it is asked too often is no reason."""
    for scope in (pool.scope, pool.quota_scope, pool.capacity_scope, pool.limit_scope):
        if scope in avoided:
            return avoided[scope]
    return None


def chosen(group: Group, avoided: Mapping[str, Row]) -> Pool | None:
    """The first pool that is not avoided."""
    return next((pool for pool in pools(group) if obstacle(pool, avoided) is None), None)


@dataclasses.dataclass(frozen=True)
class Blocked:
    """A group of which no node can be had."""

    reason: str
    until: float | None


def blocked(group: Group, avoided: Mapping[str, Row]) -> Blocked | None:
    """Say why none can be had and until when, by the first pool; None where one may be."""
    rows = [obstacle(pool, avoided) for pool in pools(group)]
    if not rows or not all(rows):
        return None
    ends = [row["until"] for row in rows if row is not None and row["until"] is not None]
    first = rows[0]
    assert first is not None
    return Blocked(first["said"], min(ends) if ends else None)


def react(journal: Journal, config: Config, pool: Pool, verdict: Verdict) -> None:
    """Avoid what a refusal concerns, and no more than that."""
    timing = config.timing
    scope, shortest, longest = {
        Kind.THROTTLED: (pool.throttle_scope, _THROTTLED, _THROTTLED_MOST),
        Kind.CAPACITY: (pool.capacity_scope, float(timing.cooling), float(timing.cooling_most)),
        Kind.QUOTA: (pool.quota_scope, float(timing.quota), float(timing.quota)),
        Kind.DENIED: (pool.scope, 0.0, 0.0),
        Kind.WRONG: (pool.scope, 0.0, 0.0),
        Kind.BOOT: (pool.scope, 0.0, 0.0),
        Kind.LIMIT: (pool.limit_scope, float(timing.cooling), float(timing.cooling)),
        Kind.UNKNOWN: (pool.scope, _AFTER_UNKNOWN, _AFTER_UNKNOWN),
    }[verdict.kind]
    journal.cool(scope, verdict.kind, str(verdict), shortest, longest)


def pool_of_row(row: Row) -> str:
    return scope_of(row["grp"], row["account"], row["region"], row["subnet"], row["type"])


def count_boot_failures(config: Config, journal: Journal, rows: Iterable[Row]) -> None:
    """Stop a pool whose instances do not become nodes so many times in a row, and no other."""
    for row in rows:
        pool = pool_of_row(row)
        failures = journal.failed_boot(pool)
        if failures >= config.timing.boot_failures:
            said = f"{Kind.BOOT}: {failures} instances in a row did not become nodes"
            LOG.error("%s: %s", pool, said)
            journal.cool(pool, Kind.BOOT, said, 0.0, 0.0)


class Bucket:
    """So many at once, and so many per second."""

    def __init__(self, burst: float, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.burst = burst
        self._rate = rate
        self._clock = clock
        self._level = burst
        self._at = clock()

    @property
    def level(self) -> float:
        now = self._clock()
        self._level = min(self.burst, self._level + (now - self._at) * self._rate)
        self._at = now
        return self._level

    def take(self, count: float) -> None:
        self._level = self.level - count

    def empty(self) -> None:
        """AWS says that it is."""
        self.take(max(self.level, 0))


class Buckets:
    """Those of an account's region: for instances, and for calls."""

    def __init__(self, account: Account) -> None:
        self.instances = Bucket(account.launch_burst, account.launch_rate)
        self.calls = Bucket(account.call_burst, account.call_rate)

    def allowed(self, wanted: int, least: int) -> int:
        """How many may be launched now; 0 where it is better to wait until least are."""
        ready = int(self.instances.level)
        if self.calls.level < 1 or ready < min(wanted, least, self.instances.burst):
            return 0
        return min(wanted, ready)

    def take(self, count: int) -> None:
        self.instances.take(count)
        self.calls.take(1)

    def empty(self) -> None:
        self.instances.empty()
        self.calls.empty()
