#!/usr/bin/python
# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Limits on what users and groups may store."""

from __future__ import annotations

DOCUMENTATION = r"""
module: quotas
short_description: Limit what users and groups may store
version_added: 0.1.0
description:
  - Sets the limits of each entry where they differ, with C(setquota). Limits of others stay as they are.
  - The file system must have quotas on. That is XFS mounted with C(uquota) or C(gquota), or ext4 made with C(-O quota) and mounted with
    C(usrquota) or C(grpquota). NFS clients need nothing, since the server's limits hold for them.
author:
  - hpcops.cluster contributors (@hpcops)
options:
  quotas:
    description: The limits. Each is 0, none, where it is left out.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Mount point of the file system.
        type: path
        required: true
      kind:
        description: Whose limit it is.
        type: str
        choices: [user, group]
        default: user
      name:
        description: Name or number of the user or group.
        type: str
        required: true
      soft_mib:
        description: MiB that may be exceeded for the file system's grace time.
        type: int
        default: 0
      hard_mib:
        description: MiB that may never be exceeded.
        type: int
        default: 0
      soft_files:
        description: Number of files that may be exceeded for the grace time.
        type: int
        default: 0
      hard_files:
        description: Number of files that may never be exceeded.
        type: int
        default: 0
attributes:
  check_mode:
    description: Can run in check mode. Limits on a file system that has no quotas yet count as ones that would be set.
    support: full
  diff_mode:
    description: Shows the limits before and after.
    support: full
"""

EXAMPLES = r"""
- name: Let alice have 100 GiB
  hpcops.cluster.quotas:
    quotas:
      - {path: /srv/home, name: alice, soft_mib: 92160, hard_mib: 102400}
"""

RETURN = r"""#"""

import csv
import grp
import pwd
from typing import Any

from ansible.module_utils.basic import AnsibleModule

LIMITS = ("BlockSoftLimit", "BlockHardLimit", "FileSoftLimit", "FileHardLimit")
Limits = tuple[int, ...]


def number_of(module: AnsibleModule, kind: str, name: str) -> str:
    """Number of a user or group, as text."""
    if name.isdigit():
        return name
    try:
        return str(pwd.getpwnam(name).pw_uid if kind == "user" else grp.getgrnam(name).gr_gid)
    except KeyError:
        if not module.check_mode:
            module.fail_json(
                msg=f"quotas: this host knows no {kind} '{name}'. Give the number, or make the account first."
            )
        return name


def limits_of(report: str) -> dict[str, Limits]:
    """Limits by number, as repquota prints them: KiB and files."""
    rows = csv.DictReader(report.splitlines())
    return {
        next(iter(row.values())).lstrip("#"): tuple(int(row[name]) for name in LIMITS)
        for row in rows
        if row.get(LIMITS[0])
    }


def shown(entry: dict[str, Any], limits: Limits) -> str:
    names = ("soft KiB", "hard KiB", "soft files", "hard files")
    return f"{entry['path']} {entry['kind']} {entry['name']}: " + ", ".join(
        f"{limit} {name}" for limit, name in zip(limits, names)
    )


def main() -> None:
    """Entry point of the module."""
    number: dict[str, Any] = {"type": "int", "default": 0}
    module = AnsibleModule(
        argument_spec={
            "quotas": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "path", "required": True},
                    "kind": {"type": "str", "choices": ["user", "group"], "default": "user"},
                    "name": {"type": "str", "required": True},
                    "soft_mib": number,
                    "hard_mib": number,
                    "soft_files": number,
                    "hard_files": number,
                },
            },
        },
        supports_check_mode=True,
    )
    reports: dict[tuple[str, str], dict[str, Limits]] = {}
    before, after = [], []
    for entry in module.params["quotas"]:
        kind, path = entry["kind"], entry["path"]
        for what in ("mib", "files"):
            if entry[f"soft_{what}"] > entry[f"hard_{what}"] > 0:
                module.fail_json(msg=f"{path}: soft_{what} of {entry['name']} is above hard_{what}. Make it less.")
        if (kind, path) not in reports:
            reports[kind, path] = report_of(module, kind, path)
        number_there = number_of(module, kind, entry["name"])
        is_now = reports[kind, path].get(number_there, (0, 0, 0, 0))
        wanted = (entry["soft_mib"] * 1024, entry["hard_mib"] * 1024, entry["soft_files"], entry["hard_files"])
        if is_now == wanted:
            continue
        before.append(shown(entry, is_now))
        after.append(shown(entry, wanted))
        if not module.check_mode:
            module.run_command(["setquota", f"--{kind}", number_there, *map(str, wanted), path], check_rc=True)
    module.exit_json(changed=bool(after), diff={"before": "\n".join([*before, ""]), "after": "\n".join([*after, ""])})


def report_of(module: AnsibleModule, kind: str, path: str) -> dict[str, Limits]:
    """Limits that the file system has; none in check mode, where it has no quotas yet."""
    if module.check_mode and module.get_bin_path("repquota") is None:
        return {}
    code, out, err = module.run_command(
        ["repquota", f"--{kind}", "--no-names", "--raw-grace", "--verbose", "--output=csv", path]
    )
    if code == 0:
        return limits_of(out)
    if not module.check_mode:
        module.fail_json(
            msg=f"{path}: {kind} quotas are not on ({err.strip()}). XFS needs the mount option {kind[0]}quota, ext4 "
            f"{'usrquota' if kind == 'user' else 'grpquota'} and mkfs -O quota (or tune2fs -O quota on one that is not mounted)."
        )
    return {}


if __name__ == "__main__":
    main()
