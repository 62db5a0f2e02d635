#!/usr/bin/python
# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""System accounts whose numbers are the same on every host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_accounts
short_description: Make system accounts with fixed numbers, or say who has taken them
version_added: 0.1.0
description:
  - Makes each account of O(accounts) with its group, both with the given number, where they are missing.
  - Never changes an account that exists. One with another number is an error that names it, since its files and its daemon
    would have to change with it.
  - The whole list is one task, thus one round trip to the host.
author:
  - hpcops.cluster contributors (@hpcops)
options:
  accounts:
    description: The accounts.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the account and of its group.
        type: str
        required: true
      uid:
        description: Number of the account and of its group.
        type: int
        required: true
      home:
        description: Home directory. It is not created.
        type: path
        default: /nonexistent
      comment:
        description: What the account is for.
        type: str
        default: ""
attributes:
  check_mode:
    description: Can run in check mode.
    support: full
  diff_mode:
    description: Lists the accounts that are made.
    support: full
"""

EXAMPLES = r"""
- name: Make the account of slurmctld
  hpcops.cluster.service_accounts:
    accounts:
      - name: slurm
        uid: 64030
        home: /var/lib/slurm
        comment: Slurm workload manager
"""

RETURN = r"""
created:
  description: Names of the accounts that were made.
  returned: success
  type: list
  elements: str
  sample: [slurm]
"""

import grp
import pwd
from typing import Any

from ansible.module_utils.basic import AnsibleModule


def conflicts(account: dict[str, Any]) -> list[str]:
    """What stands in the account's way on this host, as sentences."""
    name, number = account["name"], account["uid"]
    found = []
    for kind, by_name, by_number in (
        ("uid", users_by_name(), users_by_number()),
        ("gid", groups_by_name(), groups_by_number()),
    ):
        if by_name.get(name, number) != number:
            found.append(f"'{name}' has {kind} {by_name[name]} here instead of {number}")
        if by_number.get(number, name) != name:
            found.append(f"{kind} {number} of '{name}' belongs to '{by_number[number]}' here")
    return found


def users_by_name() -> dict[str, int]:
    return {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}


def users_by_number() -> dict[int, str]:
    return {entry.pw_uid: entry.pw_name for entry in pwd.getpwall()}


def groups_by_name() -> dict[str, int]:
    return {entry.gr_name: entry.gr_gid for entry in grp.getgrall()}


def groups_by_number() -> dict[int, str]:
    return {entry.gr_gid: entry.gr_name for entry in grp.getgrall()}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "accounts": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "uid": {"type": "int", "required": True},
                    "home": {"type": "path", "default": "/nonexistent"},
                    "comment": {"type": "str", "default": ""},
                },
            },
        },
        supports_check_mode=True,
    )
    accounts = module.params["accounts"]
    problems = [problem for account in accounts for problem in conflicts(account)]
    if problems:
        module.fail_json(
            msg=f"service accounts: {'; '.join(problems)}. Nothing was changed. Stop the daemon that uses the account and renumber it "
            "(usermod, groupmod, chown of its files), or give the account the number that all hosts share."
        )

    present, groups = users_by_name(), groups_by_name()
    created = [account["name"] for account in accounts if account["name"] not in present]
    if not module.check_mode:
        for account in accounts:
            name, number = account["name"], str(account["uid"])
            if name not in groups:
                module.run_command(["groupadd", "--system", "--gid", number, name], check_rc=True)
            if name not in present:
                identity = ["--uid", number, "--gid", number, "--comment", account["comment"]]
                place = ["--home-dir", account["home"], "--no-create-home", "--shell", "/usr/sbin/nologin"]
                module.run_command(["useradd", "--system", *identity, *place, name], check_rc=True)
    lines = [
        f"{account['name']} uid={account['uid']} gid={account['uid']}\n"
        for account in accounts
        if account["name"] in created
    ]
    module.exit_json(
        changed=bool(created),
        created=created,
        diff={"before_header": "accounts", "after_header": "accounts", "before": "", "after": "".join(lines)},
    )


if __name__ == "__main__":
    main()
