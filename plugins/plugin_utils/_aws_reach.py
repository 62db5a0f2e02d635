# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many AWS accounts and regions, asked side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, Union

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import AwsError, HpcopsError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_accounts import ALL, Account, Settings


class Connected(Protocol):
    """One account that can be asked."""

    def regions(self) -> list[str]:
        """Return the regions that it has enabled."""

    def pages(self, region: str, operation: str, **arguments: Any) -> Iterator[Mapping[str, Any]]:
        """Ask for all pages of an answer."""


Members = Union[frozenset[str], None]
Connect = Callable[[Account, Settings, Members], Connected]


@dataclasses.dataclass(frozen=True)
class Reach:
    """What is asked: these accounts, in their regions without these, and how."""

    accounts: tuple[Account, ...]
    exclude_regions: tuple[str, ...] = ()
    settings: Settings = dataclasses.field(default_factory=Settings)


class Connections:
    """The accounts' connections, made when they are needed. What an account or region answers may be an error, as a value."""

    def __init__(self, reach: Reach, connect: Connect, members: Members = None) -> None:
        """The members are those of an instance that will be looked at, None for all."""
        self._reach = reach
        self._connect = connect
        self._members = members
        self._made: dict[str, Connected | HpcopsError] = {}

    def regions(self, accounts: Sequence[Account]) -> dict[str, list[str] | HpcopsError]:
        """Return the regions that each of these accounts has enabled."""
        self._make(accounts)
        said = self._at_once(lambda account: self._with(account, lambda one: one.regions()), accounts)
        return dict(zip((account.name for account in accounts), said))

    def each(
        self, places: Sequence[tuple[Account, str]], what: Callable[[Connected, Account, str], Any]
    ) -> list[Any | HpcopsError]:
        """Do this in each of these accounts and regions."""
        self._make(account for account, _region in places)
        return self._at_once(lambda place: self._with(place[0], lambda one: what(one, place[0], place[1])), places)

    def everywhere(self, what: Callable[[Connected, Account, str], Any]) -> list[Any]:
        """Do this in all accounts and regions; where one fails, that is an error."""
        listed: dict[str, Any] = self.regions(
            [account for account in self._reach.accounts if account.regions == (ALL,)]
        )
        _raise_any(listed.values())
        places = [
            (account, region)
            for account in self._reach.accounts
            for region in listed.get(account.name, account.regions)
            if region not in self._reach.exclude_regions
        ]
        if not places:
            raise AwsError("regions: exclude_regions leaves none to ask")
        said = self.each(places, what)
        _raise_any(said)
        return said

    def _make(self, accounts: Iterable[Account]) -> None:
        new = list({account.name: account for account in accounts if account.name not in self._made}.values())
        self._made.update(zip((account.name for account in new), self._at_once(self._connected, new)))

    def _connected(self, account: Account) -> Connected | HpcopsError:
        try:
            return self._connect(account, self._reach.settings, self._members)
        except HpcopsError as error:
            return error

    def _with(self, account: Account, what: Callable[[Connected], Any]) -> Any | HpcopsError:
        connection = self._made[account.name]
        if isinstance(connection, HpcopsError):
            return connection
        try:
            return what(connection)
        except HpcopsError as error:
            return error

    def _at_once(self, what: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        if not items:
            return []
        with ThreadPoolExecutor(min(self._reach.settings.parallel, len(items))) as pool:
            return list(pool.map(what, items))


def _raise_any(said: Iterable[Any]) -> None:
    errors = list(dict.fromkeys(str(each) for each in said if isinstance(each, HpcopsError)))
    if errors:
        raise AwsError("\n".join(errors))
