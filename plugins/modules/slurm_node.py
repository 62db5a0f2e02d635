#!/usr/bin/python
# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nodes out of service, back into it, or rebooted, and nobody else's drain touched."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slurm_node
short_description: Drain nodes, return them to service, reboot them
version_added: 0.1.0
description:
  - Tells slurmctld to drain nodes, to return them to service or to reboot them, and waits until that is done.
  - "The reason that slurmctld keeps shows whose drain it is, as in C(hpcops[CHG-7]: new kernel), or C(hpcops: new kernel)
    without a ticket. Only a drain with the same O(ticket), or none where there is none, is ever taken back. What an operator,
    Slurm itself or another ticket has taken out of service stays so and is listed in RV(left_alone), and so is a node with a drain
    of the collection behind whose reason Slurm has written a trouble of its own, such as C(Kill task failed)."
  - All nodes are checked and their states read before anything is changed. When slurmctld cannot be asked, or does not know one
    of the nodes, the module fails and nothing was changed.
  - Each kind of change is one request to slurmctld for all nodes.
author:
  - hpcops.cluster contributors (@hpcops)
options:
  nodes:
    description: Names of nodes as Slurm knows them, or host lists such as V(c[1-4]).
    type: list
    elements: str
    required: true
  state:
    description:
      - V(drained) lets no new job start on the nodes. A node that is drained or DOWN already counts as drained, its reason stays,
        and it is listed in RV(left_alone) unless the collection drained it under the same ticket. A DOWN node is not drained in
        addition, since its reason would be lost.
      - V(undrained) takes the drain back. A node that is DOWN stays DOWN.
      - V(resumed) returns nodes to service that are drained or DOWN with a reason of the collection and the same ticket.
        A node that slurmctld itself has set DOWN, with a reason such as C(Not responding) or C(Low RealMemory), stays DOWN, since
        the cause is not mended by that.
      - V(rebooted) has slurmctld reboot the nodes as soon as no job is left on them. This is done in each run. A node that is
        DOWN for other reasons than the collection's, powered down or FUTURE is listed in RV(left_alone). A node that was drained by
        somebody else is rebooted, and still drained afterwards with its reason.
    type: str
    choices: [drained, undrained, resumed, rebooted]
    required: true
  reason:
    description: Why, in one line. Required for V(drained) and V(rebooted) of O(state).
    type: str
  ticket:
    description: "The change that this belongs to, in letters, digits and the characters C(. _ : / # -)."
    type: str
  wait:
    description:
      - Whether to wait. For V(drained) until no job is left on the nodes; for V(undrained) and V(resumed) until slurmctld starts
        jobs there; for V(rebooted) until they have booted after the request, registered, and are in O(next_state).
      - Without waiting, O(when_busy) has no effect, and the reason of a node that somebody else drained has C(reboot issued)
        behind it after a reboot.
    type: bool
    default: true
  timeout:
    description: Seconds to wait. The module fails after them, and names the nodes that are not there yet.
    type: int
    default: 600
  when_busy:
    description:
      - What to do when jobs are left on drained nodes after O(timeout). V(fail) names them and leaves the drain.
        V(requeue) puts the batch jobs back into the queue and waits up to two minutes more; it fails and names the jobs that
        cannot be requeued. V(ignore) returns successfully with RV(jobs).
    type: str
    choices: [fail, requeue, ignore]
    default: fail
  next_state:
    description:
      - What a rebooted node is afterwards. V(resume) is in service, V(down) is DOWN, V(none) is as it was before, so that a drain
        of the collection stays until V(undrained).
      - Where C(ReturnToService=2), as the role slurmctld sets it, a DOWN node returns to service as soon as
        its slurmd registers again. To keep nodes out of service until they have been checked, drain them, and reboot with V(none).
    type: str
    choices: [resume, down, none]
    default: resume
attributes:
  check_mode:
    description: Can run in check mode. It reads the states and tells what it would change.
    support: full
  diff_mode:
    description: Returns the states of the changed nodes before and after.
    support: full
requirements:
  - C(scontrol) and C(squeue) on the host, and an account that Slurm takes for an operator, such as root on a controller
seealso:
  - module: hpcops.cluster.slurm_node_info
"""

EXAMPLES = r"""
- name: Drain two racks and wait up to an hour for their jobs
  hpcops.cluster.slurm_node:
    nodes: ["r1n[01-32]", "r2n[01-32]"]
    state: drained
    reason: new kernel
    ticket: CHG-7
    timeout: 3600

- name: Return them to service, except those that somebody else has drained meanwhile
  hpcops.cluster.slurm_node:
    nodes: ["r1n[01-32]", "r2n[01-32]"]
    state: undrained
    ticket: CHG-7
  register: returned

- name: Reboot a node when its jobs have ended
  hpcops.cluster.slurm_node:
    nodes: [r1n07]
    state: rebooted
    reason: firmware
"""

RETURN = r"""
changed_nodes:
  description: Nodes that slurmctld was, or in check mode would be, asked to change.
  returned: always
  type: list
  elements: str
  sample: [c1, c2]
left_alone:
  description: Nodes that were not touched, since somebody else has taken them out of service, or there is no host behind them.
  returned: always
  type: list
  elements: dict
  contains:
    node:
      description: Name of the node.
      type: str
    state:
      description: Its state.
      type: str
    reason:
      description: Why it is out of service.
      type: str
    set_by:
      description: Account that gave the reason; slurmctld's own when it was Slurm.
      type: str
    set_at:
      description: When, in UTC.
      type: str
  sample: [{node: c3, state: IDLE+DRAIN, reason: fan, set_by: root, set_at: "2026-01-01T00:00:00"}]
jobs:
  description: Jobs that are left on the nodes. Always empty unless O(state=drained).
  returned: always
  type: list
  elements: dict
  sample: [{id: "17_3", user: alice, state: RUNNING, nodes: [c1]}]
requeued:
  description: Jobs that were put back into the queue.
  returned: always
  type: list
  elements: str
  sample: ["17_3"]
before:
  description: State of each node before.
  returned: always
  type: dict
  sample: {c1: IDLE, c2: MIXED}
after:
  description: State of each node after; in check mode the one that it would have.
  returned: always
  type: dict
  sample: {c1: IDLE+DRAIN, c2: MIXED+DRAIN}
"""

import time
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import ControllerError, HpcopsError
from ansible_collections.hpcops.cluster.plugins.module_utils._scontrol import Scontrol
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_node_states import (
    Job,
    Node,
    Plan,
    Request,
    arrived,
    expected,
    jobs_on,
    plan,
    select,
    stored_reason,
)

POLL_SECONDS = 1.0
SLOW_POLL_SECONDS = 10.0  # jobs may run for days, and the states of a large cluster are megabytes
REQUEUE_SECONDS = 120


class Change:
    """One call of the module: what it found, does and tells."""

    def __init__(self, module: AnsibleModule, scontrol: Scontrol, nodes: dict[str, Node], steps: Plan) -> None:
        self.module = module
        self.params: dict[str, Any] = module.params
        self.scontrol = scontrol
        self.before = nodes
        self.now = nodes
        self.plan = steps
        self.done: list[str] = []
        self.jobs: list[Job] = []
        self.requeued: list[str] = []

    def run(self) -> None:
        asked = int(time.time())
        for request in self.plan.requests:
            self.request(request)
        self.look()
        if self.params["wait"]:
            waiting = self.wait(self.params["timeout"], asked)
            if waiting and self.params["state"] == "drained":
                self.deal_with_jobs(waiting, asked)
            elif waiting:
                self.fail(f"after {self.params['timeout']} s, not {self.params['state']}: {self.describe(waiting)}")
        if self.params["state"] == "drained":
            self.jobs = self.jobs_left()
        elif self.params["state"] == "rebooted" and self.params["wait"]:
            self.restore_reasons()

    def request(self, request: Request) -> None:
        for names, command in request.commands():
            try:
                self.scontrol.run(command)
            except ControllerError as error:
                self.fail(f"slurmctld refused a request, {len(self.done)} nodes were changed before it: {error}")
            self.done += names

    def look(self) -> None:
        known = self.scontrol.nodes()
        self.now = {name: known[name] for name in self.before if name in known}

    def wait(self, seconds: int, asked: int) -> list[str]:
        """Wait until the nodes are where they shall be; those that are not in time."""
        start = time.monotonic()
        while True:
            problem = ""
            try:
                self.look()
            except ControllerError as error:  # slurmctld may be restarted meanwhile
                problem = str(error)
            waiting = [name for name in self.plan.awaited if not self.has_arrived(name, asked)]
            if not problem and not waiting:
                return []
            left = start + seconds - time.monotonic()
            if left <= 0:
                if problem:
                    self.fail(f"slurmctld cannot be asked any more: {problem}")
                return waiting
            time.sleep(min(left, POLL_SECONDS if time.monotonic() - start < 60 else SLOW_POLL_SECONDS))

    def has_arrived(self, name: str, asked: int) -> bool:
        before, now = self.before[name], self.now.get(name)
        foreign = before.drained and not before.belongs_to(self.params["ticket"])
        if before.rebooting:  # somebody has asked before
            asked = (before.boot_time or 0) + 1
        return now is not None and arrived(
            self.params["state"], now, asked, self.params["next_state"], leave_drained=foreign
        )

    def deal_with_jobs(self, busy: list[str], asked: int) -> None:
        if self.params["when_busy"] == "ignore":
            return
        refused = ""
        if self.params["when_busy"] == "requeue":
            refused = self.requeue(jobs_on(self.scontrol.jobs(), busy))
            if not refused and not self.wait(REQUEUE_SECONDS, asked):
                return
        self.jobs = self.jobs_left()
        jobs = "; ".join(str(job) for job in self.jobs)
        self.fail(
            f"after {self.params['timeout']} s, jobs are left on drained nodes: {jobs or self.describe(busy)}. {refused}"
            "The nodes stay drained. Wait longer (timeout), end the jobs, or requeue them (when_busy)."
        )

    def requeue(self, jobs: list[Job]) -> str:
        """Put jobs back into the queue; which could not be, as a sentence."""
        refused = []
        for job in jobs:
            if job.state == "COMPLETING":
                continue
            try:
                self.scontrol.run(["requeue", job.id])
                self.requeued.append(job.id)
            except ControllerError as error:
                refused.append(f"{job.id} ({error})")
        return f"These cannot be requeued: {', '.join(refused)}. " if refused else ""

    def jobs_left(self) -> list[Job]:
        return jobs_on(self.scontrol.jobs(), self.before)

    def restore_reasons(self) -> None:
        """Give nodes that stay out of service the reasons back, behind which slurmctld has written what it did."""
        names: dict[str, list[str]] = {}
        for name in self.plan.awaited:
            reason = self.before[name].own_reason
            if self.before[name].drained and self.now[name].drained and reason and self.now[name].reason != reason:
                names.setdefault(reason, []).append(name)
        for reason, nodes in names.items():
            self.request(Request(tuple(nodes), ("update",), (f"Reason={reason}",), prefix="NodeName="))
        if names:
            self.look()

    def describe(self, names: list[str]) -> str:
        nodes = [self.now.get(name, self.before[name]) for name in names]
        return ", ".join(
            f"{node.name} is {node.state}" + (f" ({node.reason})" if node.reason else "") for node in nodes
        )

    def predict(self) -> dict[str, str]:
        """The states that the nodes would have."""
        state, ticket, next_state = self.params["state"], self.params["ticket"], self.params["next_state"]
        changed = set(self.plan.changed)
        return {
            name: expected(state, node, ticket, next_state) if name in changed else node.state
            for name, node in self.before.items()
        }

    def result(self) -> dict[str, Any]:
        changed = self.plan.changed if self.module.check_mode else sorted(set(self.done))
        after = self.predict() if self.module.check_mode else {name: node.state for name, node in self.now.items()}
        left = [self.before[name] for name in self.plan.left_alone]
        return {
            "changed": bool(changed or self.requeued),
            "changed_nodes": changed,
            "left_alone": [
                {
                    "node": node.name,
                    "state": node.state,
                    "reason": node.reason,
                    "set_by": node.reason_user,
                    "set_at": node.reason_time,
                }
                for node in left
            ],
            "jobs": [
                {"id": job.id, "user": job.user, "state": job.state, "nodes": list(job.nodes)} for job in self.jobs
            ],
            "requeued": self.requeued,
            "before": {name: node.state for name, node in self.before.items()},
            "after": after,
            "diff": {
                "before_header": "nodes",
                "after_header": "nodes",
                "before": "".join(f"{name}: {self.before[name].state}\n" for name in changed),
                "after": "".join(f"{name}: {after.get(name, 'unknown')}\n" for name in changed),
            },
        }

    def fail(self, message: str) -> NoReturn:
        self.module.fail_json(msg=message, **self.result())
        raise AssertionError  # fail_json does not return


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "nodes": {"type": "list", "elements": "str", "required": True},
            "state": {"type": "str", "choices": ["drained", "undrained", "resumed", "rebooted"], "required": True},
            "reason": {"type": "str"},
            "ticket": {"type": "str"},
            "wait": {"type": "bool", "default": True},
            "timeout": {"type": "int", "default": 600},
            "when_busy": {"type": "str", "choices": ["fail", "requeue", "ignore"], "default": "fail"},
            "next_state": {"type": "str", "choices": ["resume", "down", "none"], "default": "resume"},
        },
        required_if=[("state", "drained", ["reason"]), ("state", "rebooted", ["reason"])],
        supports_check_mode=True,
    )
    params: dict[str, Any] = module.params
    params["ticket"] = params["ticket"] or None
    scontrol = Scontrol(module)
    try:
        reason = stored_reason(params["reason"] or params["state"], params["ticket"])
        nodes = select(params["nodes"], scontrol.nodes())
        if params["state"] == "rebooted" and not scontrol.reboot_program():
            module.fail_json(
                msg="slurm.conf has no RebootProgram, so Slurm cannot reboot nodes. Nothing was changed. "
                "Set slurmctld_parameters.RebootProgram, such as /sbin/reboot, and run the role slurmctld."
            )
    except ControllerError as error:
        module.fail_json(msg=f"slurmctld cannot be asked, so nothing was changed: {error}")
    except HpcopsError as error:
        module.fail_json(msg=f"Nothing was changed: {error}")

    steps = plan(params["state"], nodes, params["ticket"], reason, params["next_state"])
    change = Change(module, scontrol, nodes, steps)
    try:
        if not module.check_mode:
            change.run()
        elif params["state"] == "drained":
            change.jobs = change.jobs_left()
    except ControllerError as error:
        change.fail(f"slurmctld cannot be asked any more: {error}")
    module.exit_json(**change.result())


if __name__ == "__main__":
    main()
