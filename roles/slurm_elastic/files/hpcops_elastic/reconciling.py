# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EC2, Slurm and the journal compared. What differs is written into the journal, and done by the service.

It fails closed: where Slurm or a region of EC2 cannot be asked, nothing is ended and no node given up. EC2 is asked before Slurm,
so that a node that is suspended in between is not taken for one that lost its instance. What differs once is looked at again.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from hpcops_elastic.aws import ALIVE, CLUSTER, GROUP, LAUNCH, NODES, Cloud, Instance
from hpcops_elastic.config import Config
from hpcops_elastic.errors import ElasticError
from hpcops_elastic.hosts import expand, fold
from hpcops_elastic.journal import THERE, Journal, Launch, Row, Started
from hpcops_elastic.pools import count_boot_failures, pool_of_row
from hpcops_elastic.slurm import OURS, Node, Slurm
from hpcops_elastic.verdicts import Kind

LOG = logging.getLogger(__name__)
_PARALLEL = 8


@dataclasses.dataclass(frozen=True)
class Finding:
    """A difference."""

    what: str
    subject: str
    """The instance or the node."""
    text: str
    ripe: bool
    """Whether it was seen before, long enough ago."""


class Seen(NamedTuple):
    """An instance, and where it is."""

    account: str
    region: str
    instance: Instance


Sight = Mapping[str, Seen]
"""Instances by their ids."""


class Reconciler:
    """Compares once."""

    def __init__(self, config: Config, journal: Journal, cloud: Cloud, slurm: Slurm) -> None:
        self._config = config
        self._journal = journal
        self._cloud = cloud
        self._slurm = slurm
        self._group_of = config.group_of()

    def sight(self) -> Sight:
        """Ask EC2 for all of this cluster's instances.

        Raises RefusedError where one region does not answer.
        """
        regions = self._config.regions
        with ThreadPoolExecutor(min(len(regions), _PARALLEL), thread_name_prefix="sight") as pool:
            found = list(pool.map(lambda where: self._cloud.instances(*where), regions))
        return {
            instance.id: Seen(account, region, instance)
            for (account, region), instances in zip(regions, found, strict=True)
            for instance in instances
        }

    def take_over(self, seen: Sight, begun: float) -> None:
        """Note those that the journal does not know: by another controller, or by a launch whose answer was lost."""
        with self._journal.transaction():
            waiting = self._journal.launches()
            for account, region, instance in seen.values():
                token = instance.tags.get(LAUNCH, "")
                if instance.state not in ALIVE or token in waiting:
                    continue  # the answer to its launch will tell
                if self._journal.knows(instance.id):
                    continue
                market = "spot" if instance.spot else "on-demand"
                group = instance.tags.get(GROUP, "")
                launch = Launch(token, group, account, region, instance.subnet, instance.type, market, ())
                started = Started(instance.id, instance.index, instance.address, instance.started)
                price = self._config.price(instance.type, market)
                self._journal.found(started, launch, node_of(instance), price, answered=False)
            self._journal.sighted(begun)

    def step(self, dry_run: bool = False) -> list[Finding]:
        """Compare. A dry run writes nothing, and says of each difference what it would."""
        if not self._slurm.active():
            LOG.info("another controller is in charge")
            return []
        # EC2 first; what Slurm says then is newer.
        begun = self._journal.clock()
        seen = self.sight()
        retagged = self._lost_tags(seen)
        nodes = self._slurm.nodes()
        try:
            with self._journal.transaction():
                self._sync_wants(nodes, seen)
                self._joined(nodes)  # before those are known that have come uncalled
                self.take_over(seen, begun)
                findings = [*self._instances(seen, retagged), *self._nodes(nodes, begun)]
                findings = self._ripen(findings)
                self._act([finding for finding in findings if finding.ripe])
                if dry_run:
                    raise _DryRun
        except _DryRun:
            return findings
        self._retag(seen, retagged)
        self._release(nodes)
        self._bookkeeping()
        return findings

    # --- What Slurm wants --------------------------------------------------------------------------------------------

    def _sync_wants(self, nodes: Mapping[str, Node], seen: Sight) -> None:
        """Nodes that are on in Slurm and have an instance are wanted, whoever was told so; a backup controller has no journal."""
        wants = {row["node"] for row in self._journal.rows("SELECT node FROM wants")}
        failing = {row["node"] for row in self._journal.rows("SELECT node FROM failures")}
        with_instance = {node_of(instance) for _account, _region, instance in seen.values() if instance.state in ALIVE}
        now = self._journal.clock()
        on = [node for node in nodes.values() if not node.off and not node.leaving]
        self._journal.want(
            (node.name, self._group_of[node.name], "", False)
            for node in on
            if node.name in self._group_of
            and node.name not in wants
            and node.name not in failing
            and node.name in with_instance
        )
        self._journal.change_all(
            "UPDATE wants SET asked = ? WHERE node = ? AND state = 'wanted'",
            [(now, node.name) for node in on if node.starting],
        )

    # --- What differs ------------------------------------------------------------------------------------------------

    def _instances(self, seen: Sight, retagged: Mapping[str, Instance]) -> Iterable[Finding]:
        now, timing = self._journal.clock(), self._config.timing
        nodes_own = self._nodes_own()
        for row in self._journal.rows("SELECT * FROM instances WHERE state = 'running'"):
            name, node = row["id"], row["node"]
            there = seen[name].instance if name in seen else retagged.get(name)
            if there is None or there.state not in ALIVE:
                state = there.state if there else "not there"
                yield Finding("gone", name, f"{name} of {node} is {state}", there is not None)
            elif there.state in ("stopping", "stopped"):
                yield Finding("stopped", name, f"{name} of {node} is {there.state}", False)
            elif there.state == "pending" and now - row["started"] > timing.pending:
                yield Finding("stuck", name, f"{name} of {node} is pending for {now - row['started']:.0f} s", False)
            elif nodes_own.get(node) != name:
                yield Finding("orphan", name, f"{name} of {node or 'no node'} runs, and nobody wants it", False)

    def _nodes_own(self) -> dict[str, str]:
        """Each wanted node's instance: of the launch that was for it, the first, since a second one has come uncalled."""
        rows = self._journal.rows(
            "SELECT i.node, i.id FROM instances i JOIN wants w ON w.node = i.node AND w.launch = i.launch "
            "WHERE i.state = 'running' ORDER BY i.joined IS NULL, i.started, i.id"
        )
        found: dict[str, str] = {}
        for row in rows:
            found.setdefault(row["node"], row["id"])
        return found

    def _nodes(self, nodes: Mapping[str, Node], begun: float) -> Iterable[Finding]:
        have = {row["node"] for row in self._journal.rows("SELECT node FROM instances WHERE state = 'running'")}
        wants = self._journal.rows("SELECT node, state, asked FROM wants")
        known = {row["node"] for row in wants} | {
            row["node"] for row in self._journal.rows("SELECT node FROM failures")
        }
        for node in nodes.values():
            if node.name not in self._group_of or node.name in known or node.off or node.leaving:
                continue
            if node.starting:  # mostly Slurm is about to tell; another controller may have been told, and be gone
                yield Finding("untold", node.name, f"{node.name} powers up, and nobody was told here", False)
            else:
                yield Finding("lost", node.name, f"{node.name} is on, and nobody knows an instance of it", False)
        for row in wants:
            wanted = nodes.get(row["node"])
            if wanted is None or wanted.off:
                if row["asked"] < begun:
                    yield Finding("unwanted", row["node"], f"{row['node']} is off in Slurm, and wanted here", False)
            elif row["state"] == "launched" and row["node"] not in have:
                yield Finding("lost", row["node"], f"{row['node']} is on, and has no instance", False)

    def _ripen(self, findings: Iterable[Finding]) -> list[Finding]:
        found = list(findings)
        subjects = [f"{finding.what} {finding.subject}" for finding in found]
        ripe = self._journal.doubt(subjects, self._config.timing.grace)
        return [
            dataclasses.replace(finding, ripe=finding.ripe or subject in ripe)
            for finding, subject in zip(found, subjects, strict=True)
        ]

    # --- What is done about it ---------------------------------------------------------------------------------------

    def _act(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            LOG.warning("%s: %s", finding.what, finding.text)
            self._journal.count("findings", finding.what)
            if finding.what == "gone":
                self._gone(finding)
            elif finding.what in ("stopped", "stuck"):
                self._give_up_instance(finding, Kind.LOST if finding.what == "stopped" else Kind.BOOT)
            elif finding.what == "orphan":
                self._journal.end([finding.subject], "nobody wants it")
            elif finding.what == "unwanted":
                self._journal.unwant([finding.subject], "its node is off in Slurm")
            elif finding.what == "untold":
                self._journal.want([(finding.subject, self._group_of[finding.subject], "", False)])
            elif finding.what == "lost":
                self._journal.give_up([finding.subject], f"{OURS}{Kind.LOST}: it has no instance any more")

    def _gone(self, finding: Finding) -> None:
        row = self._row(finding.subject)
        self._journal.gone([row["id"]])
        kind = Kind.LOST if row["joined"] else Kind.BOOT
        if kind is Kind.BOOT:
            count_boot_failures(self._config, self._journal, [row])
        self._journal.give_up(self._wanted(row), f"{OURS}{kind}: {finding.text}")

    def _give_up_instance(self, finding: Finding, kind: Kind) -> None:
        row = self._row(finding.subject)
        self._journal.end([row["id"]], finding.text)
        self._journal.give_up(self._wanted(row), f"{OURS}{kind}: {finding.text}")

    def _row(self, instance: str) -> Row:
        return self._journal.rows("SELECT * FROM instances WHERE id = ?", instance)[0]

    def _wanted(self, row: Row) -> list[str]:
        """The instance's node, where Slurm wants it and it has no other instance."""
        others = self._journal.rows(
            "SELECT 1 FROM instances WHERE node = ? AND state = 'running' AND id != ?", row["node"], row["id"]
        )
        wanted = self._journal.rows("SELECT 1 FROM wants WHERE node = ?", row["node"])
        return [row["node"]] if wanted and not others else []

    def _joined(self, nodes: Mapping[str, Node]) -> None:
        now, nodes_own = self._journal.clock(), self._nodes_own()
        for row in self._journal.rows("SELECT * FROM instances WHERE state = 'running' AND joined IS NULL"):
            node = nodes.get(row["node"])
            if node is not None and node.joined and nodes_own.get(node.name) == row["id"]:
                self._journal.change("UPDATE instances SET joined = ? WHERE id = ?", now, row["id"])
                self._journal.booted(pool_of_row(row))

    def _release(self, nodes: Mapping[str, Node]) -> None:
        """Drains of ours whose cause is over, left by a service that was killed, or by another controller's.

        And nodes that are off but down still, as slurmctld leaves them after ResumeTimeout: no job would ever get them.
        """
        for group in self._config.groups:
            drained = any(name in nodes and nodes[name].kept for name in group.nodes)
            noted = self._journal.setting(f"drain:{group.name}")
            if drained and not noted:
                self._journal.note(f"drain:{group.name}", "unknown")  # another than what should be: the service looks
        down = [node.name for node in nodes.values() if node.name in self._group_of and node.finished]
        if down:
            LOG.warning("%s: off and down, and may be used again", fold(down))
            self._slurm.update(down, "RESUME")

    def _bookkeeping(self) -> None:
        """Whose jobs the instances were started for, while Slurm knows it; and what need not be kept any longer."""
        unknown = [
            row["job"]
            for row in self._journal.rows(
                f"SELECT DISTINCT job FROM instances WHERE {THERE} AND job NOT IN (SELECT job FROM jobs)"
            )
        ]
        for job, (account, user) in self._slurm.jobs(unknown).items():
            self._journal.change("INSERT INTO jobs VALUES (?, ?, ?) ON CONFLICT DO NOTHING", job, account, user)
        now = self._journal.clock()
        self._journal.purge(now - self._config.timing.keep_days * 86400)
        self._journal.note("reconciled", now)

    # --- Tags --------------------------------------------------------------------------------------------------------

    def _lost_tags(self, seen: Sight) -> dict[str, Instance]:
        """Instances of the journal that the tag does not find any more: looked at by their ids before they count as gone."""
        found: dict[str, Instance] = {}
        missing: dict[tuple[str, str], list[str]] = {}
        for row in self._journal.rows("SELECT id, account, region FROM instances WHERE state = 'running'"):
            if row["id"] not in seen and (row["account"], row["region"]) in self._config.regions:
                missing.setdefault((row["account"], row["region"]), []).append(row["id"])
        for (account, region), ids in missing.items():
            found |= {each.id: each for each in self._cloud.untagged(account, region, ids)}
        return found

    def _retag(self, seen: Sight, retagged: Mapping[str, Instance]) -> None:
        """Give back the tags that someone has taken or changed. Another cluster's tag is not touched: that is for people."""
        rows = self._journal.rows("SELECT * FROM instances WHERE state = 'running'")
        launches = {token: self._journal.launch(token) for token in {row["launch"] for row in rows}}
        right = {token: _tags(self._config, launch) for token, launch in launches.items() if launch is not None}
        wrong: dict[tuple[str, str, str], list[str]] = {}
        for row in rows:
            there = seen[row["id"]].instance if row["id"] in seen else retagged.get(row["id"])
            if there is None or there.state not in ALIVE or row["launch"] not in right:
                continue
            if there.tags.get(CLUSTER, self._config.cluster) != self._config.cluster:
                LOG.error("%s of %s has the tag %s=%s", row["id"], row["node"], CLUSTER, there.tags[CLUSTER])
                continue
            if any(there.tags.get(key) != value for key, value in right[row["launch"]].items()):
                wrong.setdefault((row["account"], row["region"], row["launch"]), []).append(row["id"])
        for (account, region, token), ids in wrong.items():
            LOG.warning("tags of %s are not what they were, and are set again", ", ".join(ids))
            self._journal.count("findings", "tags", len(ids))
            self._cloud.tag(account, region, ids, right[token])


class _DryRun(Exception):  # noqa: N818  # no error: it takes back what a dry run has written
    pass


def _tags(config: Config, launch: Launch) -> dict[str, str]:
    return {CLUSTER: config.cluster, GROUP: launch.group, LAUNCH: launch.token, NODES: fold(launch.nodes)}


def node_of(instance: Instance) -> str:
    """Which node an instance is: of those that its tag names, the one with its launch index. Empty where it is none."""
    names = _named(instance.tags.get(NODES, ""))
    return names[instance.index] if instance.index < len(names) else ""


@functools.lru_cache(maxsize=256)  # all instances of a launch have the same tag
def _named(nodes: str) -> tuple[str, ...]:
    try:
        return tuple(expand(nodes))
    except ElasticError:
        return ()
