# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program slurm-elastic."""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hpcops_elastic import asking
from hpcops_elastic.config import DEFAULT, Config, load
from hpcops_elastic.errors import ElasticError, JournalError, SlurmError
from hpcops_elastic.journal import Journal
from hpcops_elastic.logs import JsonFormatter

PROGRAM = "slurm-elastic"


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status: 0, or 1 with a sentence on standard error."""
    resume_file = asking.read_resume_file()  # at once: it is there for some seconds only
    options = _parser().parse_args(arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("botocore").setLevel(logging.ERROR)  # what it cannot do is told by the errors it raises
    os.umask(0o077)
    try:
        config = load(options.config)
        text = options.run(config, options) if options.run is not _resume else _resume(config, options, resume_file)
    except ElasticError as error:
        print(f"{PROGRAM} {options.command}: {error}.", file=sys.stderr)
        return 1
    if text:
        print(text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="EC2 instances as nodes that come and go with Slurm's jobs."
    )
    parser.add_argument("--config", type=Path, default=DEFAULT, help=f"the configuration (default {DEFAULT})")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: object, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    add("status", _status, "what is wanted, runs, is avoided, and why").add_argument("--json", action="store_true")
    wait = commands.choices["status"]
    wait.add_argument(
        "--wait", type=float, metavar="SECONDS", default=0.0, help="until nothing is on its way, and show how it goes"
    )
    for name, run, text in (
        ("plan", _plan, "what would be asked of EC2 for nodes"),
        ("resume", _resume, "want nodes: Slurm's ResumeProgram"),
        ("suspend", _suspend, "want nodes no more: Slurm's SuspendProgram"),
        ("resume-fail", _resume_fail, "give up nodes that did not join: Slurm's ResumeFailProgram"),
    ):
        add(name, run, text).add_argument("nodes", metavar="NODES", help="a host list such as c[1-3,7]")
    add("reconcile", _reconcile, "compare EC2, Slurm and the journal once").add_argument(
        "--dry-run", action="store_true", help="say what differs, and write nothing"
    )
    add("serve", _serve, "the service")
    costs = add("costs", _costs, "what instances cost, by the prices of the configuration: an estimate")
    costs.add_argument(
        "--since", type=_day, default=None, metavar="YYYY-MM-DD", help="first day, in UTC (default: 30 days ago)"
    )
    costs.add_argument(
        "--until", type=_day, default=None, metavar="YYYY-MM-DD", help="the day after the last, in UTC (default: now)"
    )
    costs.add_argument("--csv", action="store_true", help="for programs")
    clear = add("clear", _clear, "use again what is avoided: all of it, or by the names that status shows")
    clear.add_argument("scopes", metavar="SCOPE", nargs="*")
    add("check", _check, "read the configuration, and say what is wrong with it")
    return parser


def _day(text: str) -> float:
    try:
        return datetime.datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=datetime.UTC).timestamp()
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is no day such as 2026-01-31") from error


def _journal(config: Config) -> Journal:
    return Journal(config.journal)


def _resume(config: Config, options: argparse.Namespace, resume_file: object = None) -> str:
    # Where the journal cannot be written either, Slurm is told at least, so that jobs need not wait for ResumeTimeout.
    try:
        given = resume_file if isinstance(resume_file, dict) else {}
        return asking.resume(config, _journal(config), options.nodes, given)
    except (asking.ServiceSilentError, asking.UnknownNodesError, JournalError) as error:
        lost = error.nodes if isinstance(error, asking.UnknownNodesError) else options.nodes
        try:
            asking.give_back(config, lost, str(error))
        except SlurmError as refused:
            raise ElasticError(f"{error}; and Slurm cannot be told: {refused}") from error
        raise


def _suspend(config: Config, options: argparse.Namespace) -> str:
    return asking.suspend(config, _journal(config), options.nodes)


def _resume_fail(config: Config, options: argparse.Namespace) -> str:
    return asking.resume_failed(config, _journal(config), options.nodes)


def _check(config: Config, _options: argparse.Namespace) -> str:
    return f"{len(config.groups)} groups, {sum(group.count for group in config.groups)} nodes: {config.all_nodes}"


def _clear(config: Config, options: argparse.Namespace) -> str:
    journal = _journal(config)
    return f"cleared {journal.forgive(options.scopes or list(journal.avoided()))}"


# --- What takes longer to load -------------------------------------------------------------------------------------------


def _serve(config: Config, _options: argparse.Namespace) -> str:
    from hpcops_elastic.aws import Cloud
    from hpcops_elastic.service import Service
    from hpcops_elastic.slurm import Slurm

    Service(config, _journal(config), Cloud(config), Slurm(config)).run()
    return ""


def _reconcile(config: Config, options: argparse.Namespace) -> str:
    from hpcops_elastic.aws import Cloud
    from hpcops_elastic.reconciling import Reconciler
    from hpcops_elastic.reports import write_metrics
    from hpcops_elastic.slurm import Slurm

    journal = _journal(config)
    try:
        findings = Reconciler(config, journal, Cloud(config), Slurm(config)).step(options.dry_run)
    finally:
        if not options.dry_run:  # that it fails is something to see, too
            write_metrics(config, journal)
    return "\n".join(f"{'now' if each.ripe else 'seen'}  {each.what}: {each.text}" for each in findings)


def _status(config: Config, options: argparse.Namespace) -> str:
    from hpcops_elastic.reports import status, status_text

    journal = _journal(config)
    found = status(config, journal)
    end = time.monotonic() + options.wait
    while time.monotonic() < end and any(each["wanted"] or each["launching"] for each in found["groups"]):
        print(
            "  ".join(
                f"{e['group']}: {e['wanted']} wanted, {e['launching']} launching, {e['launched']} launched"
                for e in found["groups"]
            ),
            file=sys.stderr,
        )
        time.sleep(1)
        found = status(config, journal)
    return json.dumps(found, indent=2) if options.json else status_text(found)


def _plan(config: Config, options: argparse.Namespace) -> str:
    from hpcops_elastic.reports import plan

    return plan(config, _journal(config), options.nodes)


def _costs(config: Config, options: argparse.Namespace) -> str:
    from hpcops_elastic.reports import COSTS, costs, table

    now = time.time()
    rows = costs(
        config,
        _journal(config),
        now - 30 * 86400 if options.since is None else options.since,
        now if options.until is None else options.until,
    )
    if options.csv:
        writer = csv.writer(sys.stdout)
        writer.writerow([name.lower().replace(" ", "_") for name in COSTS])
        writer.writerows(rows)
        return ""
    total = sum(row[-1] for row in rows)
    return table([*rows, ("total", "", "", "", "", "", "", f"{total:.2f}")], COSTS)
