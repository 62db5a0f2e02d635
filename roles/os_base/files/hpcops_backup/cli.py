# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make, list, verify and restore the backups of a job, and drill its restore.

A job is a file /etc/hpcops/backup/JOB.json. Its backups are folders named by their time in UTC, each with a manifest.json that
tells what was saved. A folder gets its name when it is complete, and counts only while its files are as the manifest says.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .job import Job
from .tools import BackupError, size_of

COMMANDS = {
    "backup": "make a backup now",
    "list": "show what there is",
    "verify": "read a backup to its end",
    "restore": "make the database or the folder what a backup says; what is there is backed up before",
    "drill": "restore the newest backup into a scratch database and compare",
}


def listed(entries: Iterable[Mapping[str, Any]]) -> str:
    """Backups for people, a line each."""
    lines = []
    for entry in entries:
        about = entry["problem"] or f"{size_of(entry['size']):>9}  {'+'.join(entry['places'])}"
        note = f"  before the restore of {entry['before_restore_of']}" if entry["before_restore_of"] else ""
        lines.append(f"{entry['name']}  {about}{note}")
    return "\n".join(lines) or "none"


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the program."""
    parser = argparse.ArgumentParser(
        prog="hpcops-backup", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=Path, default=Path("/etc/hpcops/backup"), help="where the jobs' files are")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command, text in COMMANDS.items():
        sub = commands.add_parser(command, help=text, description=text)
        sub.add_argument("job", metavar="JOB")
        if command in ("verify", "restore"):
            sub.add_argument("backup", metavar="BACKUP", nargs="?", default="newest", help="its name, or newest")
        if command == "list":
            sub.add_argument("--json", action="store_true", help="for programs")
        if command == "restore":
            sub.add_argument("--no-safety", action="store_true", help="do not back up what is there")
    options = parser.parse_args(arguments)
    os.umask(0o077)
    try:
        job = Job(options.jobs / f"{options.job}.json")
        if options.command == "backup":
            text = job.make()
        elif options.command == "list":
            text = json.dumps(job.entries()) if options.json else listed(job.entries())
        elif options.command == "verify":
            text = job.verify(options.backup)
        elif options.command == "restore":
            text = job.restore(options.backup, not options.no_safety)
        else:
            text = job.drill()
    except BackupError as error:
        print(f"hpcops-backup {options.command} {options.job}: {error}.", file=sys.stderr)
        return 1
    print(text)
    return 0
