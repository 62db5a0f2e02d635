#!/usr/bin/python
# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Accounts, users, QOS, clusters and federations as a document says."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slurm_accounting
short_description: Keep Slurm's accounts, users, QOS, clusters and federations as data
version_added: 0.1.0
description:
  - Compares what slurmdbd keeps with a document, and leads from the one to the other by as few C(sacctmgr) commands as it takes,
    each for all names that it is the same for. Then it reads everything again, and fails where Slurm has made something else of it.
  - An object that the document lists is described by it completely. A parameter that is not named is as Slurm has it by itself, so a
    limit that leaves the document is lifted. What the document does not list stays, unless O(purge) says otherwise.
  - "Everything is checked before anything is changed: names with other capitals, unknown QOS, resources that are no TRES,
    circles and gaps in the tree of accounts, users in accounts that do not exist."
  - "C(parameters) are those of C(sacctmgr), by its own names. Resources are a dict such as C({cpu: 64, mem: 512G}), times such as
    C('1-12:00:00') are quoted, since YAML takes C(12:00:00) for a number, and a bare number is minutes."
author:
  - hpcops.cluster contributors (@hpcops)
options:
  clusters:
    description:
      - Clusters that the document is about. A new one is registered; none is ever removed.
      - Where the list is not given, the document is about all clusters that slurmdbd knows.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the cluster.
        type: str
        required: true
      parameters:
        description:
          - Parameters of the cluster's root account, which hold for all others that have none of their own; C(QOS) is V(normal)
            unless it is given. They stay as they are where this is not given.
        type: dict
  federations:
    description: Federations. A cluster is in one at most.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the federation.
        type: str
        required: true
      clusters:
        description: All of its clusters.
        type: list
        elements: str
        default: []
  qos:
    description: Qualities of service.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the QOS.
        type: str
        required: true
      description:
        description: A line for people; Slurm keeps it in lower case. It stays as it is where this is not given.
        type: str
      parameters:
        description:
          - "Any of C(Priority), C(Flags), C(Preempt), C(PreemptMode), C(PreemptExemptTime), C(GraceTime) (seconds), C(UsageFactor),
            C(UsageThreshold), C(LimitFactor), C(GrpJobs), C(GrpJobsAccrue), C(GrpSubmitJobs), C(GrpTRES), C(GrpTRESMins),
            C(GrpTRESRunMins), C(GrpWall), C(MaxJobsPerUser), C(MaxJobsPerAccount), C(MaxJobsAccruePerUser),
            C(MaxJobsAccruePerAccount), C(MaxSubmitJobsPerUser), C(MaxSubmitJobsPerAccount), C(MaxTRES) (of a job), C(MaxTRESPerNode),
            C(MaxTRESPerUser), C(MaxTRESPerAccount), C(MaxTRESMins), C(MaxWall), C(MinPrioThres), C(MinTRES)."
        type: dict
  accounts:
    description: Accounts, which make a tree on each cluster.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the account.
        type: str
        required: true
      parent:
        description: The account above, listed or not.
        type: str
        default: root
      clusters:
        description: Those of the document's clusters that the account is on. All of them by default.
        type: list
        elements: str
      description:
        description: A line for people; Slurm keeps it in lower case. It stays as it is where this is not given.
        type: str
      organization:
        description: Whom it belongs to; Slurm keeps it in lower case. It stays as it is where this is not given.
        type: str
      coordinators:
        description:
          - All users who may manage the account, besides those of the accounts above, who manage it in any case. They stay as they are
            where this is not given.
        type: list
        elements: str
      parameters:
        description:
          - "Any of C(Fairshare), C(GrpJobs), C(GrpJobsAccrue), C(GrpSubmitJobs), C(GrpTRES), C(GrpTRESMins), C(GrpTRESRunMins),
            C(GrpWall), C(MaxJobs), C(MaxJobsAccrue), C(MaxSubmitJobs), C(MaxTRES) (of a job), C(MaxTRESPerNode), C(MaxTRESMins),
            C(MaxWall), C(MinPrioThres), C(Priority), C(QOS), C(DefaultQOS)."
        type: dict
  users:
    description: Users with the accounts that they are in.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the user.
        type: str
        required: true
      accounts:
        description:
          - "Accounts that the user is in. Each is a name, or a dict of C(name) with any of C(clusters) (by default those of the account),
            C(partitions) and C(parameters), which are those of O(accounts[].parameters). An account may be there again for other
            partitions. Slurm keeps names of partitions in lower case."
        type: list
        elements: raw
        required: true
      default_account:
        description: The account that jobs are in which name none. Needed by a user who is in several.
        type: str
      admin_level:
        description: What the user may do in all of Slurm. It stays as it is where this is not given.
        type: str
        choices: [none, operator, administrator]
  purge:
    description:
      - What becomes of what the document does not list. The account and the user V(root), the QOS V(normal), clusters, and whatever
        other clusters have are never removed.
      - V(none) leaves it.
      - V(listed_scopes) takes users out of the listed accounts, and removes the accounts beneath these.
      - V(all) removes them wherever they are on the document's clusters, and QOS and federations as well.
      - Kinds of objects whose list is not given are left as they are; but with an account go the users who are in it.
      - Users and accounts that are left without any association are removed themselves.
    type: str
    choices: [none, listed_scopes, all]
    default: none
  purge_max_share:
    description: Percentage of all users that may lose an account in one run. Above it the module refuses, and changes nothing.
    type: float
    default: 10
  config_file:
    description:
      - The slurm.conf that C(sacctmgr) shall read, such as C(/etc/slurm/sacctmgr.conf), which the role slurmdbd writes for hosts that
        have no other. By default what C(sacctmgr) takes by itself.
    type: path
attributes:
  check_mode:
    description: Can run in check mode. It reads, checks, and tells what it would change.
    support: full
  diff_mode:
    description: Returns a line for each object that is, or would be, changed, before and after.
    support: full
notes:
  - Slurm itself removes no account of a running job. The module refuses that beforehand, and for jobs that wait as well.
requirements:
  - C(sacctmgr), C(squeue) and C(sacct) on the host, and an account that is an administrator to Slurm, such as root
seealso:
  - name: Accounts as data
    description: How to write the document, and what a run does.
    link: https://github.com/hpcops/cluster/blob/main/docs/accounting.md
"""

EXAMPLES = r"""
- name: Keep accounts as they are in the repository
  hpcops.cluster.slurm_accounting:
    config_file: /etc/slurm/sacctmgr.conf
    clusters:
      - {name: hpc}
    qos:
      - {name: normal}
      - name: urgent
        parameters: {Priority: 1000, MaxJobsPerUser: 2, MaxWall: "04:00:00", Flags: [DenyOnLimit], Preempt: [normal]}
    accounts:
      - {name: science, description: all of science}
      - name: physics
        parent: science
        coordinators: [alice]
        parameters: {Fairshare: 40, GrpTRES: {cpu: 512, mem: 4T}, QOS: [normal, urgent], DefaultQOS: normal}
    users:
      - {name: alice, accounts: [physics], admin_level: operator}
      - name: bob
        default_account: physics
        accounts:
          - physics
          - {name: science, partitions: [gpu], parameters: {MaxJobs: 1}}
    purge: listed_scopes

- name: Two clusters on one slurmdbd that take each other's jobs
  hpcops.cluster.slurm_accounting:
    clusters: [{name: hall1}, {name: hall2}]
    federations:
      - {name: site, clusters: [hall1, hall2]}
"""

RETURN = r"""
commands:
  description: The commands that were run, or in check mode would be, each as one line that is cut where it is long.
  returned: always
  type: list
  elements: str
  sample: ["sacctmgr add user alice,bob Account=physics Cluster=hpc DefaultAccount=physics"]
removed:
  description: What was removed, or in check mode would be, by kind.
  returned: always
  type: dict
  contains:
    accounts:
      description: Names of accounts.
      type: list
      elements: str
    users:
      description: Names of users.
      type: list
      elements: str
    qos:
      description: Names of QOS.
      type: list
      elements: str
    associations:
      description: How many associations.
      type: int
  sample: {accounts: [], users: [mallory], qos: [], associations: 1}
"""

from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import AccountingError
from ansible_collections.hpcops.cluster.plugins.module_utils._sacctmgr import Sacctmgr, shortened
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_accounts import (
    ADMIN_LEVELS,
    Accounting,
    Facts,
    parse,
    parse_facts,
)
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_accounts_document import (
    PURGES,
    complete,
    problems,
    read,
)
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_accounts_plan import (
    clusters_that_lose,
    plan,
    refusals,
)

# A round may bring something to light: sacctmgr shows a coordinator of an account and of that above it but once.
ROUNDS = 3
SHOWN_PROBLEMS = 20


class Change:
    """One call of the module: what it found, does and tells."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params: dict[str, Any] = module.params
        self.sacctmgr = Sacctmgr(module.run_command)
        self.before, self.facts = self.look()
        self.target = self.before
        self.commands: list[str] = []

    def look(self) -> tuple[Accounting, Facts]:
        printed = self.sacctmgr.shown()
        return parse(printed), parse_facts(printed)

    def aim(self) -> None:
        """Find what there shall be, and whether it may be done."""
        document = read(self.params, self.before.clusters)
        self.target = complete(document, self.before, self.params["purge"])
        found = list(problems(document, self.before, self.target, self.facts))
        if not found:
            losing = clusters_that_lose(self.before, self.target)
            jobs = [job for cluster in losing for job in self.sacctmgr.jobs(cluster)]
            found = list(refusals(self.before, self.target, jobs, self.params["purge_max_share"]))
        if found:
            more = [f"and {len(found) - SHOWN_PROBLEMS} more"] if len(found) > SHOWN_PROBLEMS else []
            raise AccountingError("; ".join([*found[:SHOWN_PROBLEMS], *more]))

    def run(self) -> None:
        now = self.before
        for _round in range(ROUNDS):
            steps = plan(now, self.target)
            if not steps:
                return
            for arguments in steps:
                self.commands.append(shortened(["sacctmgr", *arguments]))
                if not self.module.check_mode:
                    self.change(arguments)
            if self.module.check_mode:
                return
            now, _facts = self.look()
        wanted, found = self.target.describe(), now.describe()
        other = [
            f"{name} is {found.get(name, 'absent')}, not {wanted.get(name, 'absent')}"
            for name in differing(found, wanted)
        ]
        if other:
            raise AccountingError(
                f"Slurm took the commands, but made something else of them: {'; '.join(other[:SHOWN_PROBLEMS])}"
            )

    def change(self, arguments: list[str]) -> None:
        try:
            self.sacctmgr.change(arguments)
        except AccountingError as error:
            done = len(self.commands) - 1
            raise AccountingError(
                f"{error}. {done} commands were carried out before this one; nothing after it"
            ) from error

    def result(self) -> dict[str, Any]:
        before, after = self.before.describe(), self.target.describe()
        names = differing(before, after)
        gone = {
            kind: sorted(set(getattr(self.before, kind)) - set(getattr(self.target, kind)))
            for kind in ("accounts", "users", "qos")
        }
        lost = set(self.before.associations) - set(self.target.associations)
        return {
            "changed": bool(self.commands),
            "commands": self.commands,
            "removed": {**gone, "associations": len(lost)},
            "diff": {
                "before_header": "accounting",
                "after_header": "accounting",
                "before": "".join(f"{name}: {before[name]}\n" for name in names if name in before),
                "after": "".join(f"{name}: {after[name]}\n" for name in names if name in after),
            },
        }


def differing(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Names of the objects that are not the same."""
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


def main() -> None:
    """Entry point of the module."""
    parameters = {"type": "dict"}
    name = {"type": "str", "required": True}
    names = {"type": "list", "elements": "str"}
    module = AnsibleModule(
        argument_spec={
            "clusters": {"type": "list", "elements": "dict", "options": {"name": name, "parameters": parameters}},
            "federations": {
                "type": "list",
                "elements": "dict",
                "options": {"name": name, "clusters": {**names, "default": []}},
            },
            "qos": {
                "type": "list",
                "elements": "dict",
                "options": {"name": name, "description": {"type": "str"}, "parameters": parameters},
            },
            "accounts": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "name": name,
                    "parent": {"type": "str", "default": "root"},
                    "clusters": names,
                    "description": {"type": "str"},
                    "organization": {"type": "str"},
                    "coordinators": names,
                    "parameters": parameters,
                },
            },
            "users": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "name": name,
                    "accounts": {"type": "list", "elements": "raw", "required": True},
                    "default_account": {"type": "str"},
                    "admin_level": {"type": "str", "choices": list(ADMIN_LEVELS)},
                },
            },
            "purge": {"type": "str", "choices": list(PURGES), "default": "none"},
            "purge_max_share": {"type": "float", "default": 10},
            "config_file": {"type": "path"},
        },
        supports_check_mode=True,
    )
    module.run_command_environ_update = {"LC_ALL": "C", "TZ": "UTC"}
    if module.params["config_file"]:
        module.run_command_environ_update["SLURM_CONF"] = module.params["config_file"]
    try:
        change = Change(module)
        change.aim()
    except AccountingError as error:
        fail(module, f"Nothing was changed: {error}")
    try:
        change.run()
    except AccountingError as error:
        fail(module, str(error), commands=change.commands)
    module.exit_json(**change.result())


def fail(module: AnsibleModule, message: str, **result: Any) -> NoReturn:
    module.fail_json(msg=message, **result)
    raise AssertionError  # fail_json does not return


if __name__ == "__main__":
    main()
