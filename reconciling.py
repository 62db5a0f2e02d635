# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm, EC2 and the journal compared, both ways. What differs once is looked at again before anything is done.

It fails closed: where Slurm or any region of EC2 cannot be asked, nothing is terminated and no node is set down.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence

from .choices import states, usable
from .cloud import LAUNCH, Cloud, Instance
from .config import Config
from .errors import ElasticError
from .failures import BOOTSTRAP, LOST, Refused
from .hosts import fold
from .journal import Journal, Launched, Node
from .names import node_of
from .slurm import OURS, Slurm, SlurmNode

LOG = logging.getLogger("hpcops_elastic.reconciling")
_TWICE = 2


@dataclasses.dataclass(frozen=True)
class Finding:
    """A difference, and whether it is old enough to act on."""

    what: str
    node: str
    instance: str
    ripe: bool
    text: str


@dataclasses.dataclass
class _View:
    slurm: Mapping[str, SlurmNode]
    ec2: Mapping[str, Instance]
    nodes: Mapping[str, Node]


class Reconciler:
    """Compares, and acts."""

    def __init__(self, config: Config, journal: Journal, cloud: Cloud, slurm: Slurm) -> None:
        self._config = config
        self._journal = journal
        self._cloud = cloud
        self._slurm = slurm

    def step(self, dry_run: bool = False) -> list[Finding]:
        """Compare once; return what differs."""
        if not self._slurm.active():
            return []
        view = self._look()
        if not dry_run:
            self._adopt(view)
            view = dataclasses.replace(view, nodes={node.name: node for node in self._journal.nodes()})
        found = [
            *self._orphans(view, dry_run),
            *self._ghosts(view, dry_run),
            *self._stuck(view),
            *self._forgotten(view, dry_run),
            *self._unasked(view, dry_run),
        ]
        if not dry_run:
            for finding in found:
                if finding.ripe:
                    LOG.warning("%s: %s %s: %s", finding.what, finding.node, finding.instance, finding.text)
                    self._journal.count("reconciled", finding.what)
            self._act(found, view)
            self._journal.tidy(keep=86400 * 400)
        return found

    def _look(self) -> _View:
        ec2: dict[str, Instance] = {}
        # Instances first: what is launched while Slurm answers is not there yet, rather than there without a node.
        for account, region in self._config.regions:
            try:
                ec2.update((each.id, each) for each in self._cloud.instances(account, region))
            except Refused as refused:
                raise ElasticError(f"EC2 cannot be asked, so nothing is done: {refused.failure.reason}") from refused
        slurm = {name: node for name, node in self._slurm.nodes().items() if name in self._config.group_of}
        return _View(slurm, ec2, {node.name: node for node in self._journal.nodes()})

    def _adopt(self, view: _View) -> None:
        """Take over what another controller launched: this one's journal does not know of it."""
        known = {node.instance for node in view.nodes.values()} | {one.instance for one in self._journal.leaving()}
        open_tokens = {launch.token for launch in self._journal.open_launches()}
        for each in view.ec2.values():
            name = node_of(self._journal, each)
            group = self._config.group_of.get(name)
            slurm = view.slurm.get(name)
            if each.id in known or group is None or slurm is None or slurm.off or "DOWN" in slurm.flags:
                continue
            if each.tags.get(LAUNCH, "") in open_tokens:
                continue  # the answer is still to come
            kind = next((kind for kind in group.instance_types if kind.name == each.type), None)
            launched = Launched(
                each.id,
                name,
                each.subnet,
                each.type,
                each.address,
                kind.vcpus if kind else 0,
                kind.price if kind else 0.0,
                each.launched,
            )
            if self._journal.adopt(launched, group.name, each.account, each.region, each.market):
                LOG.info("%s is %s, as its tags say", each.id, name)

    def _sight(self, what: str, subjects: Sequence[str], dry_run: bool) -> Mapping[str, tuple[float, int]]:
        if dry_run:
            return {subject: (self._journal.clock(), 1) for subject in subjects}
        return self._journal.sight(what, subjects)

    def _orphans(self, view: _View, dry_run: bool) -> list[Finding]:
        """Instances that no node of the journal has, and no launch's answer will bring."""
        now = self._journal.clock()
        known = {node.instance for node in view.nodes.values()} | {one.instance for one in self._journal.leaving()}
        open_tokens = {launch.token for launch in self._journal.open_launches()}
        those = [
            each
            for each in view.ec2.values()
            if each.id not in known and each.tags.get(LAUNCH, "") not in open_tokens
        ]
        seen = self._sight("orphan", [each.id for each in those], dry_run)
        return [
            Finding(
                "orphan",
                node_of(self._journal, each),
                each.id,
                seen[each.id][1] >= _TWICE
                and now - max(each.launched, seen[each.id][0] - self._config.orphan_seconds)
                >= self._config.orphan_seconds,
                f"an instance in {each.account}/{each.region} that no node has",
            )
            for each in those
        ]

    def _ghosts(self, view: _View, dry_run: bool) -> list[Finding]:
        """Nodes whose instance is not there. EC2 may be late, so one missing answer is none."""
        now = self._journal.clock()
        those = [
            node
            for node in view.nodes.values()
            if node.state == "launched"
            and node.instance not in view.ec2
            and now - node.since >= self._config.orphan_seconds
        ]
        seen = self._sight("ghost", [node.instance for node in those], dry_run)
        return [
            Finding(
                "ghost",
                node.name,
                node.instance,
                seen[node.instance][1] >= self._config.ghost_checks,
                "its instance is gone",
            )
            for node in those
        ]

    def _stuck(self, view: _View) -> list[Finding]:
        """Nodes whose instance came, but that do not register."""
        now = self._journal.clock()
        found = []
        for node in view.nodes.values():
            slurm = view.slurm.get(node.name)
            if node.state != "launched" or slurm is None:
                continue
            if not slurm.coming and not slurm.off:
                self._journal.reset("bootstrap_row", node.pool)
            elif slurm.coming and now - node.since > self._config.resume_timeout:
                text = f"did not register within {self._config.resume_timeout:.0f} s"
                found.append(Finding("stuck", node.name, node.instance, True, text))
        return found

    def _forgotten(self, view: _View, dry_run: bool) -> list[Finding]:
        """Nodes that Slurm has powered down while they still have an instance: a suspend was lost."""
        now = self._journal.clock()
        those = [
            node
            for node in view.nodes.values()
            if node.state in ("launched", "wanted")
            and (slurm := view.slurm.get(node.name)) is not None
            and slurm.off
            and now - node.since >= self._config.orphan_seconds
        ]
        seen = self._sight("forgotten", [f"{node.name} {node.since}" for node in those], dry_run)
        return [
            Finding(
                "forgotten",
                node.name,
                node.instance,
                seen[f"{node.name} {node.since}"][1] >= _TWICE,
                "Slurm has powered it down",
            )
            for node in those
        ]

    def _unasked(self, view: _View, dry_run: bool) -> list[Finding]:
        """Nodes that Slurm waits for, and nobody has asked for: a resume was lost."""
        those = [name for name, slurm in view.slurm.items() if slurm.coming and name not in view.nodes]
        seen = self._sight("unasked", those, dry_run)
        return [
            Finding("unasked", name, "", seen[name][1] >= _TWICE, "Slurm waits for it, and nobody launched it")
            for name in those
        ]

    def _act(self, found: Sequence[Finding], view: _View) -> None:
        ripe = [finding for finding in found if finding.ripe]
        for finding in ripe:
            if finding.what == "orphan":
                instance = view.ec2[finding.instance]
                self._journal.terminate(instance.id, instance.account, instance.region, finding.node, "no node has it")
            elif finding.what == "ghost":
                self._journal.ended([finding.instance])
                self._journal.fail([finding.node], LOST, f"{LOST}: {finding.instance} is gone")
            elif finding.what == "stuck":
                node = view.nodes[finding.node]
                self._journal.count("bootstrap_failures", node.pool)
                self._journal.count("bootstrap_row", node.pool)
                self._journal.fail([finding.node], BOOTSTRAP, f"{BOOTSTRAP}: {finding.instance} {finding.text}")
            elif finding.what == "forgotten":
                self._journal.leave([finding.node], "suspended")
            elif finding.what == "unasked":
                group = self._config.group_of[finding.node]
                self._journal.want(0, group.name, "", False, [finding.node], self._config.resume_timeout)


class Teller:
    """Tells Slurm what failed, keeps jobs away from groups that can have nothing, and lets them back."""

    def __init__(self, config: Config, journal: Journal, slurm: Slurm) -> None:
        self._config = config
        self._journal = journal
        self._slurm = slurm

    def tell(self) -> bool:
        """Set failed nodes down, and tell their jobs why; return whether there were any."""
        intents = self._journal.intents()
        by_reason: dict[str, list[Node]] = {}
        for node in self._journal.nodes():
            if node.state == "failed" and not node.told:
                by_reason.setdefault(node.reason, []).append(node)
        for reason, nodes in by_reason.items():
            jobs = sorted({intents[node.intent].job for node in nodes if node.intent in intents} - {0})
            self._slurm.note(jobs, reason)
            self._slurm.down([node.name for node in nodes], reason)
            self._journal.told([node.name for node in nodes])
        return bool(by_reason)

    def keep_away(self) -> None:
        """Drain what is powered down in a group that can have nothing, and release what was set down when it can again."""
        self._stop_broken()
        slurm = {name: node for name, node in self._slurm.nodes().items() if name in self._config.group_of}
        journal = {node.name: node for node in self._journal.nodes()}
        for group in self._config.groups:
            found = states(self._journal, group)
            mine = [slurm[name] for name in group.nodes if name in slurm]
            if usable(found) is None:
                worst = max(found, key=lambda state: state.until)
                idle = [node.name for node in mine if node.off and not node.flags & {"DRAIN", "DOWN"} and "IDLE" in node.flags]
                self._slurm.drain([name for name in idle if name not in journal], f"avoided: {worst.reason}")
                continue
            self._slurm.undrain(
                [node.name for node in mine if node.reason.startswith(f"{OURS}avoided: ") and "DRAIN" in node.flags]
            )
            failed = [
                node.name
                for node in mine
                if node.ours
                and "DOWN" in node.flags
                and (node.name not in journal or (journal[node.name].state == "failed" and journal[node.name].told))
            ]
            if failed:
                LOG.info("%s can be had again: %s", group.name, fold(failed))
                self._slurm.release(failed)
            # Also those that a person has taken over: what is theirs is not failed for us any longer.
            self._journal.forget(
                [
                    name
                    for name in group.nodes
                    if name in journal
                    and journal[name].state == "failed"
                    and journal[name].told
                    and (name in failed or name not in slurm or "DOWN" not in slurm[name].flags)
                ]
            )

    def _stop_broken(self) -> None:
        """A group whose instances come but do not become nodes is stopped: that group only."""
        for name, label, value in self._journal.counters():
            if name == "bootstrap_row" and value >= self._config.bootstrap_failures:
                text = f"{BOOTSTRAP}: {value:.0f} instances in a row did not become nodes"
                seconds = self._config.stop_seconds
                self._journal.cool(f"{BOOTSTRAP}|{label}", BOOTSTRAP, text, seconds, max(seconds, self._config.cooling_most))
                self._journal.reset("bootstrap_row", label)
