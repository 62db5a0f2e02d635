# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wanted nodes become requests to EC2, and its answers instances."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from hpcops_elastic.aws import CLUSTER, GROUP, LAUNCH, NODES, Cloud, RefusedError
from hpcops_elastic.config import Config, Group, Limits
from hpcops_elastic.hosts import expand, fold
from hpcops_elastic.journal import THERE, Journal, Launch, Row, Started
from hpcops_elastic.pools import Buckets, Pool, blocked, chosen, pool_of, react
from hpcops_elastic.slurm import OURS
from hpcops_elastic.verdicts import Kind, Verdict

LOG = logging.getLogger(__name__)
MOST = 500
"""Instances in one request."""
_LEAST = 100  # a request for fewer than are wanted is not worth a call, unless time has filled the bucket so far
_TAG = 256  # the longest value that a tag may have
_FRESH = 300.0  # what Slurm asked for longer ago must have been confirmed by reconcile
_LONGEST_WAIT = 60.0
_PARALLEL = 16


class Launcher:
    """Acts on what the journal has as wanted."""

    def __init__(self, config: Config, journal: Journal, cloud: Cloud) -> None:
        self._config = config
        self._journal = journal
        self._cloud = cloud
        self._buckets: dict[tuple[str, str], Buckets] = {}
        self._pool = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="launch")
        self._under_way: dict[str, tuple[Launch, Future[Sequence[Mapping[str, Any]]]]] = {}
        self._waiting: set[tuple[str, str]] = set()

    def close(self) -> None:
        """Wait for the answers that are under way, and ask for nothing more."""
        self._pool.shutdown(wait=True)
        self._collect()

    @property
    def busy(self) -> bool:
        return bool(self._under_way)

    def step(self) -> None:
        """Do what can be done now."""
        self._collect()
        self._send_again()
        self._waiting.clear()
        for group, wants in self._bundles():
            self._serve(group, wants)

    # --- Answers -----------------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        for token, (launch, future) in list(self._under_way.items()):
            if not future.done():
                continue
            del self._under_way[token]
            try:
                answer = future.result()
            except RefusedError as refused:
                self._refused(launch, refused.verdict)
            else:
                self._started(launch, answer)

    def _started(self, launch: Launch, answer: Sequence[Mapping[str, Any]]) -> None:
        started = started_of(answer)
        price = self._config.price(launch.type, launch.market)
        with self._journal.transaction():
            self._journal.answered(launch, started, price)
            self._journal.count("launched", f"{launch.account}|{launch.region}", len(started))
            pool = pool_of(self._config, launch)
            if len(started) < len(launch.nodes) and pool is not None:
                missing = f"{len(started)} of {len(launch.nodes)} {launch.type} were there"
                react(self._journal, self._config, pool, Verdict(Kind.CAPACITY, "", missing))
        LOG.info("launched %d of %d for %s in %s", len(started), len(launch.nodes), launch.group, _where(launch))

    def _refused(self, launch: Launch, verdict: Verdict) -> None:
        self._journal.count("refused", f"{launch.account}|{launch.region}|{verdict.kind}")
        LOG.warning("%d for %s in %s: %s", len(launch.nodes), launch.group, _where(launch), verdict)
        if verdict.kind is Kind.UNCLEAR:
            tries = self._journal.rows("SELECT tries FROM launches WHERE token = ?", launch.token)[0]["tries"]
            self._journal.unclear(launch.token, verdict, min(2.0**tries, _LONGEST_WAIT))
            return
        with self._journal.transaction():
            wanted = self._journal.rows("SELECT * FROM wants WHERE launch = ? AND state = 'sent'", launch.token)
            self._journal.refused(launch.token, verdict)
            pool = pool_of(self._config, launch)
            if pool is not None:
                react(self._journal, self._config, pool, verdict)
            if verdict.kind is Kind.UNKNOWN and wanted:
                self._give_up(wanted, f"{OURS}{verdict}")
        if verdict.kind is Kind.THROTTLED:
            self._bucket(launch.account, launch.region).empty()

    # --- Requests ----------------------------------------------------------------------------------------------------

    def _send_again(self) -> None:
        """Requests whose answer was lost, by a crash or on the way: byte for byte the same, so EC2 does them once."""
        now = self._journal.clock()
        for token, (launch, request, again) in self._journal.launches().items():
            if token in self._under_way or again > now:
                continue
            if not self._journal.rows("SELECT 1 FROM wants WHERE launch = ? LIMIT 1", token):
                # Nobody waits for it. What it started all the same is found by its tags.
                self._journal.refused(token, "not wanted any more; its fate is unclear")
                continue
            self._submit(launch, request)

    def _submit(self, launch: Launch, request: Mapping[str, Any]) -> None:
        self._journal.count("calls", f"{launch.account}|{launch.region}")
        future = self._pool.submit(self._cloud.launch, launch.account, launch.region, request)
        self._under_way[launch.token] = (launch, future)

    def _bundles(self) -> Iterator[tuple[Group, list[Row]]]:
        """Wanted nodes that may share a request: those of a job that takes all or none, and all others of a group."""
        bundles: dict[tuple[str, str], list[Row]] = {}
        since = self._journal.clock() - _FRESH
        for row in self._journal.rows(
            "SELECT * FROM wants WHERE state = 'wanted' AND asked >= ? ORDER BY asked", since
        ):
            bundles.setdefault((row["grp"], row["job"] if row["whole"] else ""), []).append(row)
        for (name, _job), rows in bundles.items():
            group = self._config.group(name)
            if group is None:
                self._give_up(rows, f"{OURS}{Kind.WRONG}: there is no group {name} any more")
            else:
                yield group, rows

    def _serve(self, group: Group, rows: list[Row]) -> None:
        """Ask for a bundle, in as few requests as may be."""
        whole = bool(rows[0]["whole"])
        while rows:
            avoided = self._journal.avoided()
            pool = chosen(group, avoided)
            if pool is None:
                why = blocked(group, avoided)
                self._give_up(rows, f"{OURS}{why.reason if why else 'nothing can be had'}")
                return
            where = (pool.place.account, pool.place.region)
            if pool.throttle_scope in avoided or where in self._waiting:
                return
            room, limit = room_of(usage_of(self._journal, self._config), self._config, pool)
            if room < (len(rows) if whole else 1):
                if self._journal.rows("SELECT 1 FROM instances WHERE state = 'ending' LIMIT 1"):
                    return  # some are about to make room
                react(self._journal, self._config, pool, Verdict(Kind.LIMIT, "", limit))
                continue  # a smaller or cheaper type may fit
            most = min(len(rows), MOST, room)
            count = self._bucket(*where).allowed(most, most if whole else _LEAST)
            if not count:
                self._waiting.add(where)  # nobody overtakes: who wants many at once would never get them
                return
            by_name = {row["node"]: row for row in rows}
            names = _fitting(expand(fold(by_name))[:count])
            self._launch(pool, names, whole)
            for name in names:
                del by_name[name]
            rows = list(by_name.values())

    def _give_up(self, rows: Sequence[Row], reason: str) -> None:
        """With all the job's other nodes, where it takes all or none."""
        names = {row["node"] for row in rows}
        for job in {row["job"] for row in rows if row["whole"]}:
            names |= {row["node"] for row in self._journal.rows("SELECT node FROM wants WHERE job = ? AND whole", job)}
        LOG.warning("%s: %s", fold(names), reason)
        self._journal.give_up(sorted(names), reason)

    def _launch(self, pool: Pool, names: Sequence[str], whole: bool) -> None:
        launch = Launch(
            token=f"{self._config.cluster}-{uuid.uuid4().hex}"[-64:],
            group=pool.group.name,
            account=pool.place.account,
            region=pool.place.region,
            subnet=pool.subnet,
            type=pool.type,
            market=pool.group.market,
            nodes=tuple(names),
        )
        request = request_of(self._config, pool, launch, whole)
        self._bucket(launch.account, launch.region).take(len(names))
        self._journal.send(launch, request)
        self._submit(launch, request)

    def _bucket(self, account: str, region: str) -> Buckets:
        if (account, region) not in self._buckets:
            self._buckets[account, region] = Buckets(self._config.account(account))
        return self._buckets[account, region]


Usage = dict[str, tuple[int, int, float]]
"""Instances, vCPUs and hourly price of each group, and of all by the name ''."""


def room_of(usage: Usage, config: Config, pool: Pool) -> tuple[int, str]:
    """How many more of a pool's type the limits allow, and which one allows the fewest."""
    group, known = pool.group, config.instance_types[pool.type]
    price = config.price(pool.type, group.market)
    room, said = MOST * 1000, ""
    for name, limits in ((group.name, group.limits), ("", config.limits)):
        used = usage.get(name, (0, 0, 0.0))
        for what, limit, taken, each in _measures(limits, used, known.vcpus, price):
            left = int((limit - taken) / each + 1e-9) if each else room
            if left < room:
                room = max(left, 0)
                who = f"group {name}" if name else "the cluster"
                said = f"{who} may have {limit:g} {what}, and {taken:g} are in use: no room for another {pool.type}"
    return room, said


def _measures(
    limits: Limits, used: tuple[int, int, float], vcpus: int, price: float
) -> Iterator[tuple[str, float, float, float]]:
    if limits.instances is not None:
        yield "instances", limits.instances, used[0], 1
    if limits.vcpus is not None:
        yield "vCPUs", limits.vcpus, used[1], vcpus
    if limits.hourly_price is not None:
        yield "per hour", limits.hourly_price, used[2], price


def usage_of(journal: Journal, config: Config) -> Usage:
    """What there is, with what is asked for and unanswered."""
    found: Usage = {}
    counted = [
        (row["grp"], row["type"], row["market"], row["number"])
        for row in journal.rows(
            f"SELECT grp, type, market, count(*) AS number FROM instances WHERE {THERE} GROUP BY grp, type, market"
        )
    ]
    counted += [
        (launch.group, launch.type, launch.market, len(launch.nodes))
        for launch, _request, _again in journal.launches().values()
    ]
    for group, instance_type, market, number in counted:
        add_usage(found, config, group, instance_type, market, number)
    return found


def add_usage(usage: Usage, config: Config, group: str, instance_type: str, market: str, number: int) -> None:
    """Count so many more."""
    known = config.instance_types.get(instance_type)
    more = (number, number * (known.vcpus if known else 0), number * config.price(instance_type, market))
    for name in (group, ""):
        had = usage.get(name, (0, 0, 0.0))
        usage[name] = (had[0] + more[0], had[1] + more[1], had[2] + more[2])


def started_of(answer: Sequence[Mapping[str, Any]]) -> list[Started]:
    """Instances with their launch indices, or in the answer's order, where these are not told or not each's own."""
    indices = [each.get("AmiLaunchIndex") for each in answer]
    if None in indices or len(set(indices)) < len(indices):
        indices = list(range(len(answer)))
    return [
        Started(each["InstanceId"], int(index or 0), each.get("PrivateIpAddress") or "")
        for each, index in zip(answer, indices, strict=True)
    ]


def request_of(config: Config, pool: Pool, launch: Launch, whole: bool) -> dict[str, Any]:
    """The parameters of RunInstances. The tags are part of it, so that there is never an instance without them."""
    group, place = pool.group, pool.place
    nodes = fold(launch.nodes)
    tags = {"Name": f"{config.cluster} {group.name}"} | group.tags
    tags |= {CLUSTER: config.cluster, GROUP: group.name, LAUNCH: launch.token, NODES: nodes}
    pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
    request: dict[str, Any] = {
        "ClientToken": launch.token,
        "MinCount": len(launch.nodes) if whole else 1,
        "MaxCount": len(launch.nodes),
        "InstanceType": pool.type,
        "InstanceInitiatedShutdownBehavior": "terminate",
        # One hop: a container's network on the instance does not reach it.
        "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled", "HttpPutResponseHopLimit": 1},
        "TagSpecifications": [{"ResourceType": kind, "Tags": pairs} for kind in ("instance", "volume")],
    }
    if place.image:
        request["ImageId"] = place.image
    else:
        kind = "LaunchTemplateId" if place.launch_template.startswith("lt-") else "LaunchTemplateName"
        request["LaunchTemplate"] = {kind: place.launch_template, "Version": place.launch_template_version}
    if group.efa:
        interface: dict[str, Any] = {"DeviceIndex": 0, "SubnetId": pool.subnet, "InterfaceType": "efa"}
        if place.security_groups:
            interface["Groups"] = list(place.security_groups)
        request["NetworkInterfaces"] = [interface]
    else:
        request["SubnetId"] = pool.subnet
        if place.security_groups:
            request["SecurityGroupIds"] = list(place.security_groups)
    if place.instance_profile:
        kind = "Arn" if place.instance_profile.startswith("arn:") else "Name"
        request["IamInstanceProfile"] = {kind: place.instance_profile}
    if place.key_name:
        request["KeyName"] = place.key_name
    if place.placement_group:
        request["Placement"] = {"GroupName": place.placement_group}
    if group.market == "spot":
        spot = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
        request["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": spot}
    user_data = config.user_data_of(group)
    if user_data:
        request["UserData"] = user_data.replace("@NODES@", nodes)
    return request


def _fitting(names: list[str]) -> list[str]:
    """As many of the first as one tag can name."""
    while len(fold(names)) > _TAG:
        names = names[: max(len(names) * 3 // 4, 1)]
        if len(names) == 1:
            break
    return names


def _where(launch: Launch) -> str:
    return f"{launch.account}/{launch.region}/{launch.subnet} {launch.type}"
