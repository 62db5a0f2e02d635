# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances of many accounts and regions as a source of hosts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError, InventoryError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._answers import Said
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_accounts import ALL, Account
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_reach import Connect, Connected, Connections, Reach
from ansible_collections.hpcops.cluster.plugins.plugin_utils._ec2_hosts import Wanted, part_of
from ansible_collections.hpcops.cluster.plugins.plugin_utils._ec2_whole import whole_of
from ansible_collections.hpcops.cluster.plugins.plugin_utils._snapshots import KeptFile, Snapshot


@dataclasses.dataclass(frozen=True)
class _Part:
    account: Account
    region: str
    problem: HpcopsError | None = None
    """Why there is no need to ask."""

    @property
    def title(self) -> str:
        return f"account {self.account.name}" + (f", region {self.region}" if self.region else "")


class Ec2Source:
    """All regions of all accounts, each a part of its own."""

    def __init__(
        self,
        reach: Reach,
        wanted: Wanted,
        connect: Connect,
        folder: Path,
        fresh_for: int = 0,
    ) -> None:
        """The folder keeps the regions that accounts have enabled, which are as good as an answer for so many seconds."""
        self._reach = reach
        self._wanted = wanted
        self._connections = Connections(reach, connect, wanted.members)
        self._folder = folder
        self._fresh_for = fresh_for
        self._parts: dict[str, _Part] = {}

    @property
    def parts(self) -> dict[str, dict[str, Any]]:
        """Each region that is asked, and what its answer depends on."""
        if not self._parts:
            self._parts = {part.title: part for part in self._list_parts()}
            if not self._parts:
                raise InventoryError("regions: exclude_regions leaves none to ask")
        common = {"kind": "ec2", "endpoint_url": self._reach.settings.endpoint_url, **self._wanted.key}
        return {
            title: {**common, **part.account.identity, "account": part.account.name, "region": part.region}
            for title, part in self._parts.items()
        }

    def fetch(self, validators: Mapping[str, str | None]) -> dict[str, Said]:
        """Ask for these parts. EC2 has no validators: each is asked for all of its instances."""
        said: dict[str, Said] = {title: self._parts[title].problem for title in validators}
        asked = [title for title, problem in said.items() if problem is None]
        places = [(self._parts[title].account, self._parts[title].region) for title in asked]
        said.update(zip(asked, self._connections.each(places, self._fetch)))
        return said

    def whole(self, parts: Mapping[str, Snapshot]) -> Snapshot:
        """Join the parts."""
        return whole_of(parts, self._wanted)

    def _fetch(self, connection: Connected, account: Account, region: str) -> Said:
        pages = connection.pages(
            region, "DescribeInstances", Filters=self._wanted.ec2_filters, MaxResults=self._wanted.page_size
        )
        reservations = (reservation for page in pages for reservation in page.get("Reservations", ()))
        return part_of(_Part(account, region).title, account.name, region, reservations, self._wanted), ""

    # --- Regions ---------------------------------------------------------------------------------------------------

    def _list_parts(self) -> Iterator[_Part]:
        kept = {account.name: self._kept(account) for account in self._reach.accounts if account.regions == (ALL,)}
        known = {name: file.read() for name, file in kept.items()}
        old = [name for name, document in known.items() if document is None or document[1] >= self._fresh_for]
        said = self._connections.regions([account for account in self._reach.accounts if account.name in old])
        for account in self._reach.accounts:
            regions: Any = account.regions
            problem = None
            if account.name in kept:
                document = known[account.name]
                regions = document[0] if document else []
                news = said.get(account.name)
                if isinstance(news, HpcopsError):
                    problem, regions = news, regions or [""]
                elif news is not None:
                    # One that is enabled no longer is asked all the same: its hosts are gone, which must not go unnoticed.
                    regions = sorted({*news, *regions})
                    kept[account.name].write(regions)
            left = [region for region in regions if region not in self._reach.exclude_regions]
            yield from (_Part(account, region, problem) for region in left)

    def _kept(self, account: Account) -> KeptFile:
        endpoint = self._reach.settings.endpoint_url
        return KeptFile(self._folder, {"kind": "regions", "endpoint_url": endpoint, **account.identity})
