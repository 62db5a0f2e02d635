# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people and programs want to know: status, plan, costs, metrics."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpcops_elastic.config import Config
from hpcops_elastic.errors import ElasticError
from hpcops_elastic.hosts import expand, fold
from hpcops_elastic.journal import ALIVE, Journal
from hpcops_elastic.launching import MOST, add_usage, room_of, usage_of
from hpcops_elastic.pools import blocked, obstacle, pools
from hpcops_elastic.verdicts import Kind


def table(rows: Sequence[Sequence[object]], head: Sequence[str]) -> str:
    """Columns for people."""
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def status(config: Config, journal: Journal) -> dict[str, Any]:
    """Everything, for programs."""
    now = journal.clock()
    avoided = journal.avoided()
    usage = usage_of(journal, config)
    groups = []
    for group in config.groups:
        wants = {
            row["state"]: row["number"]
            for row in journal.rows(
                "SELECT state, count(*) AS number FROM wants WHERE grp = ? GROUP BY state", group.name
            )
        }
        instances, vcpus, price = usage.get(group.name, (0, 0, 0.0))
        joined = journal.rows(
            "SELECT count(*) AS number FROM instances WHERE grp = ? AND state = 'running' AND joined IS NOT NULL",
            group.name,
        )
        why = blocked(group, avoided)
        groups.append(
            {
                "group": group.name,
                "nodes": group.count,
                "wanted": wants.get("wanted", 0),
                "launching": wants.get("sent", 0),
                "launched": wants.get("launched", 0),
                "joined": joined[0]["number"],
                "instances": instances,
                "vcpus": vcpus,
                "hourly_price": round(price, 4),
                "blocked": why.reason if why else "",
            }
        )
    alive = float(journal.setting(ALIVE, "0"))
    return {
        "cluster": config.cluster,
        "service": {
            "alive": now - alive <= config.timing.service_timeout,
            "seconds_silent": round(now - alive, 1) if alive else None,
        },
        "reconciled_seconds_ago": _ago(journal, "reconciled"),
        "groups": groups,
        "avoided": [
            {"scope": row["scope"], "kind": row["kind"], "until": row["until"], "said": row["said"]}
            for row in sorted(avoided.values(), key=lambda row: str(row["scope"]))
        ],
        "ending": [row["id"] for row in journal.rows("SELECT id FROM instances WHERE state = 'ending' ORDER BY id")],
        "failures": [
            {"node": row["node"], "reason": row["reason"]}
            for row in journal.rows("SELECT * FROM failures ORDER BY node")
        ],
        "doubts": [row["subject"] for row in journal.rows("SELECT subject FROM doubts ORDER BY subject")],
    }


def status_text(found: Mapping[str, Any]) -> str:
    """The same, for people."""
    service = found["service"]
    silent = service["seconds_silent"]
    lines = [
        f"cluster {found['cluster']}: the service "
        + (
            "is at work"
            if service["alive"]
            else f"is silent ({'never seen' if silent is None else f'for {silent:.0f} s'})"
        )
        + f", compared {_seconds(found['reconciled_seconds_ago'])}",
        "",
        table(
            [
                (
                    each["group"],
                    each["nodes"],
                    each["wanted"],
                    each["launching"],
                    each["launched"],
                    each["joined"],
                    each["instances"],
                    each["vcpus"],
                    f"{each['hourly_price']:.2f}",
                    each["blocked"] or "-",
                )
                for each in found["groups"]
            ],
            ("GROUP", "NODES", "WANTED", "LAUNCHING", "LAUNCHED", "JOINED", "INSTANCES", "VCPUS", "PRICE/H", "BLOCKED"),
        ),
    ]
    if found["avoided"]:
        rows = [(each["scope"], _until(each["until"]), each["said"]) for each in found["avoided"]]
        lines += ["", table(rows, ("AVOIDED", "UNTIL", "BECAUSE"))]
    if found["failures"]:
        by_reason: dict[str, list[str]] = {}
        for each in found["failures"]:
            by_reason.setdefault(each["reason"], []).append(each["node"])
        lines += ["", table([(fold(nodes), reason) for reason, nodes in by_reason.items()], ("GIVEN BACK", "BECAUSE"))]
    if found["ending"]:
        lines += ["", f"ending: {len(found['ending'])} instances"]
    lines += ["doubtful: " + each for each in found["doubts"]]
    return "\n".join(lines)


def plan(config: Config, journal: Journal, nodes: str) -> str:
    """What would be asked of EC2 for these nodes, were they wanted now."""
    by_group: dict[str, list[str]] = {}
    group_of = config.group_of()
    for name in expand(nodes):
        if name not in group_of:
            raise ElasticError(f"no group of the configuration has the node {name}; it has {config.all_nodes}")
        by_group.setdefault(group_of[name], []).append(name)
    avoided, usage, rows = journal.avoided(), usage_of(journal, config), []
    for name, rest in by_group.items():
        group = config.group(name)
        assert group is not None
        limits = []
        for pool in pools(group):
            why = obstacle(pool, avoided)
            if why is not None:
                rows.append((name, "-", pool.where, "-", "-", f"avoided until {_until(why['until'])}: {why['said']}"))
            elif rest:
                room, limit = room_of(usage, config, pool)
                fit, rest = rest[:room], rest[room:]
                if fit:
                    price = len(fit) * config.price(pool.type, group.market)
                    rows.append((name, fold(fit), pool.where, str(-(-len(fit) // MOST)), f"{price:.2f}", group.market))
                    add_usage(usage, config, name, pool.type, group.market, len(fit))
                limits.append(f"{Kind.LIMIT}: {limit}")
        if rest and limits:
            rows.append((name, fold(rest), "-", "-", "-", limits[0]))
    return table(rows, ("GROUP", "NODES", "POOL", "CALLS", "PRICE/H", ""))


def costs(
    config: Config, journal: Journal, since: float, until: float
) -> list[tuple[str, str, str, str, str, str, float, float]]:
    """Day, job, its Slurm account and user, AWS account, group, hours of instances, and their price, by what the configuration says."""
    sums: dict[tuple[str, str, str, str, str, str], list[float]] = {}
    rows = journal.rows(
        "SELECT i.*, coalesce(j.account, '') AS job_account, coalesce(j.user, '') AS job_user FROM instances i "
        "LEFT JOIN jobs j ON j.job = i.job WHERE i.started < ? AND coalesce(i.ended, ?) > ?",
        *(until, until, since),
    )
    for row in rows:
        for day, seconds in _days(max(row["started"], since), min(row["ended"] or journal.clock(), until)):
            key = (day, row["job"], row["job_account"], row["job_user"], row["account"], row["grp"])
            had = sums.setdefault(key, [0.0, 0.0])
            had[0] += seconds / 3600
            had[1] += seconds / 3600 * row["price"]
    return [(*key, round(hours, 4), round(price, 4)) for key, (hours, price) in sorted(sums.items())]


COSTS = ("DAY", "JOB", "ACCOUNT", "USER", "AWS ACCOUNT", "GROUP", "HOURS", "PRICE")


def _days(begin: float, end: float) -> Iterator[tuple[str, float]]:
    """Parts of a time span by the days, in UTC."""
    while begin < end:
        day = datetime.datetime.fromtimestamp(begin, datetime.UTC)
        midnight = (day.replace(hour=0, minute=0, second=0, microsecond=0) + datetime.timedelta(days=1)).timestamp()
        part = min(end, midnight)
        yield day.strftime("%Y-%m-%d"), part - begin
        begin = part


def metrics(config: Config, journal: Journal) -> str:
    """In Prometheus's text format."""
    found = status(config, journal)
    lines: list[str] = []

    def add(name: str, kind: str, text: str, values: Iterable[tuple[str, float]]) -> None:
        lines.extend((f"# HELP slurm_elastic_{name} {text}", f"# TYPE slurm_elastic_{name} {kind}"))
        lines.extend(f"slurm_elastic_{name}{labels} {value!r}" for labels, value in values)

    groups = found["groups"]
    add("service_alive", "gauge", "Whether the service shows signs of life.", [("", float(found["service"]["alive"]))])
    add(
        "reconciled_timestamp_seconds",
        "gauge",
        "When EC2, Slurm and the journal were last compared.",
        [("", float(journal.setting("reconciled", "0")))],
    )
    states = ("wanted", "launching", "launched", "joined")
    add(
        "nodes",
        "gauge",
        "Nodes that Slurm wants, by how far they are.",
        [(_labels(group=each["group"], state=state), each[state]) for each in groups for state in states],
    )
    add(
        "instances",
        "gauge",
        "Instances that are paid for.",
        [(_labels(group=e["group"]), e["instances"]) for e in groups],
    )
    add(
        "hourly_price",
        "gauge",
        "What they cost per hour.",
        [(_labels(group=e["group"]), e["hourly_price"]) for e in groups],
    )
    add(
        "blocked",
        "gauge",
        "Whether no node can be had.",
        [(_labels(group=e["group"]), float(bool(e["blocked"]))) for e in groups],
    )
    stopped = [each for each in found["avoided"] if each["until"] is None]
    add(
        "pool_stopped",
        "gauge",
        "Pools that are avoided until a person has looked.",
        [(_labels(pool=each["scope"], kind=each["kind"]), 1.0) for each in stopped],
    )
    for name, text in (
        ("calls", "Requests for instances."),
        ("launched", "Instances launched."),
        ("refused", "Requests refused, by class."),
        ("terminated", "Instances terminated."),
        ("findings", "Differences between EC2, Slurm and the journal that were acted on."),
    ):
        rows = journal.rows("SELECT label, value FROM counters WHERE name = ? ORDER BY label", name)
        keys = ("what",) if name == "findings" else ("account", "region", "kind")
        add(
            f"{name}_total",
            "counter",
            text,
            [(_labels(**dict(zip(keys, row["label"].split("|"), strict=False))), row["value"]) for row in rows],
        )
    return "\n".join(lines) + "\n"


def write_metrics(config: Config, journal: Journal) -> None:
    """For node_exporter's textfile collector, which must never see half of it."""
    if config.metrics is None:
        return
    path = Path(config.metrics)
    partial = path.with_suffix(f".{os.getpid()}")
    try:
        partial.write_text(metrics(config, journal), encoding="utf-8")
        partial.chmod(0o644)
        partial.replace(path)
    except OSError as error:
        raise ElasticError(f"metrics: {path} cannot be written: {error.strerror}") from error


def _labels(**labels: str) -> str:
    parts = (f'{key}="{_quoted(value)}"' for key, value in labels.items())
    return "{" + ",".join(parts) + "}"


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def _ago(journal: Journal, name: str) -> float | None:
    at = float(journal.setting(name, "0"))
    return round(journal.clock() - at, 1) if at else None


def _seconds(ago: float | None) -> str:
    return "never" if ago is None else f"{ago:.0f} s ago"


def _until(at: float | None) -> str:
    return "cleared" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
