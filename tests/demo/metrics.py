# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show what a Prometheus knows of a cluster: a few figures as text, or the dashboards' graphs as PNG files.

The queries are those of the dashboards in roles/grafana/files/dashboards, so that what is shown here is what Grafana shows.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import requests
import yaml

DASHBOARDS = Path(__file__).resolve().parents[2] / "roles" / "grafana" / "files" / "dashboards"
FIGURES = {
    "targets that answer": "count(up == 1)",
    "targets that do not": "count(up == 0) or vector(0)",
    "alerts that fire": 'count(ALERTS{alertstate="firing"}) or vector(0)',
    "nodes": 'sum(hpcops:nodes{state="total"})',
    "CPUs": "sum(hpcops:cluster_cpus)",
    "CPUs allocated": "sum(hpcops:cluster_cpus_allocated)",
    "jobs that run": "sum(hpcops:jobs_running)",
    "jobs that wait": "sum(hpcops:jobs_pending)",
    "processor time of slurmctld, s": 'sum(namedprocess_namegroup_cpu_seconds_total{groupname="slurmctld"})',
    "memory of slurmctld, MiB": 'sum(namedprocess_namegroup_memory_bytes{groupname="slurmctld", memtype="resident"}) / 1048576',
    "memory of the database, MiB": 'sum(namedprocess_namegroup_memory_bytes{groupname="mariadbd", memtype="resident"}) / 1048576',
    "configurations among the nodes": 'count(count by (sha256) (hpcops_config_hash{path=~".*/slurm.conf"}))',
    "days until the first certificate ends": "(min(hpcops_certificate_expiry_timestamp_seconds) - time()) / 86400",
}


# There once the daemons are watched, and the cluster is known where its slurmctld tells of it.
READY = (
    'count(namedprocess_namegroup_cpu_seconds_total{groupname="slurmctld"})'
    ' and (sum(absent(up{job="slurmctld"})) or sum(hpcops:nodes))'
)
COLUMNS = 2
# More than these cannot be told apart.
LINES = 10


@dataclass(frozen=True)
class Span:
    """From when to when values are asked for, and how far apart."""

    start: float
    end: float
    step: float

    def moments(self) -> list[float]:
        return [self.start + number * self.step for number in range(int((self.end - self.start) / self.step) + 1)]


@dataclass(frozen=True)
class Prometheus:
    """A server and how it is asked."""

    url: str
    session: requests.Session
    ca_file: str | None

    def ask(self, path: str, **parameters: str) -> list[dict[str, Any]]:
        # Said at each request: a bundle in the environment would come before the session's own.
        verify = self.ca_file or True
        answer = self.session.post(f"{self.url}/api/v1/{path}", data=parameters, timeout=30, verify=verify)
        answer.raise_for_status()
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        return result

    def number(self, query: str) -> float | None:
        """The one value that a query has now, if it has one."""
        found = self.ask("query", query=query)
        return float(found[0]["value"][1]) if found else None


def summary(prometheus: Prometheus) -> Iterator[str]:
    """A line for each figure that there is."""
    for name, query in FIGURES.items():
        value = prometheus.number(query)
        if value is not None:
            yield f"  {name:<38} {value:10.0f}"


def graphs(
    prometheus: Prometheus, chosen: Mapping[str, str], hours: float, folder: Path, only: Collection[str]
) -> Iterator[Path]:
    """Draw each dashboard that has something to show, a file for each."""
    import matplotlib as mpl  # which the summary does without

    mpl.use("Agg")
    from matplotlib import dates, pyplot, ticker

    end = time.time()
    span = Span(end - hours * 3600, end, max(15.0, hours * 3600 / 300))
    for path in sorted(DASHBOARDS.glob("*.yml")):
        if only and path.stem not in only:
            continue
        description = yaml.safe_load(path.read_text(encoding="utf-8"))
        panels = [panel for row in description["rows"] for panel in row["panels"]]
        drawn = [
            (panel, lines)
            for panel in panels
            if panel.get("type", "timeseries") == "timeseries" and (lines := lines_of(prometheus, panel, chosen, span))
        ]
        if not drawn:
            continue
        rows = -(-len(drawn) // COLUMNS)
        figure, axes = pyplot.subplots(
            rows, COLUMNS, figsize=(6.5 * COLUMNS, 2.4 * rows + 0.4), squeeze=False, layout="constrained"
        )
        names = [name for name in ("cluster", "partition", "node", "jobid") if uses(panels, name) and name in chosen]
        figure.suptitle(f"{description['title']}: {', '.join(chosen[name] for name in names)}")
        moments = [datetime.fromtimestamp(moment, tz=timezone.utc) for moment in span.moments()]
        for axis in axes.flat[len(drawn) :]:
            axis.set_visible(False)
        for (panel, lines), axis in zip(drawn, axes.flat):
            if panel.get("stacked"):
                axis.stackplot(
                    moments, [fillna(values) for values in lines.values()], labels=lines, alpha=0.75, linewidth=0
                )
            else:
                for name, values in lines.items():
                    axis.plot(moments, values, label=name, linewidth=1.3)
            axis.set_title(panel["title"], fontsize=9.5, loc="left")
            # What is there moves little, and is to be seen against nothing.
            axis.set_ylim(bottom=panel.get("min"), top=panel.get("max"))
            axis.set_xlim(moments[0], moments[-1])
            axis.xaxis.set_major_locator(dates.AutoDateLocator(maxticks=7))
            axis.xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
            if not any(value for values in lines.values() for value in fillna(values)):
                axis.set_ylim(0, 1)
            highest = axis.get_ylim()[1]
            axis.yaxis.set_major_locator(
                ticker.MultipleLocator(2 ** math.ceil(math.log2(highest / 6)))  # GiB are no decimal number of bytes
                if panel.get("unit") == "bytes" and highest > 0
                else ticker.MaxNLocator(5, integer="unit" not in panel)
            )
            axis.yaxis.set_major_formatter(UNITS[panel.get("unit", "")])
            axis.tick_params(labelsize=8)
            axis.grid(alpha=0.3)
            for side in ("top", "right"):
                axis.spines[side].set_visible(False)
            axis.legend(
                fontsize=7.5,
                loc="center left",
                bbox_to_anchor=(1, 0.5),
                frameon=False,
                reverse=panel.get("stacked", False),
            )
        folder.mkdir(parents=True, exist_ok=True)
        written = folder / f"{path.stem}.png"
        figure.savefig(written, dpi=90, pil_kwargs={"optimize": True})
        pyplot.close(figure)
        yield written


def uses(panels: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether a variable of the dashboards is in any of these panels' queries."""
    return any(f"${name}" in query["expr"] for panel in panels for query in panel["queries"])


def lines_of(
    prometheus: Prometheus, panel: Mapping[str, Any], chosen: Mapping[str, str], span: Span
) -> dict[str, list[float]]:
    """A panel's lines by their names: a value for each moment, NaN where there was none."""
    found: dict[str, list[float]] = {}
    for query in panel["queries"]:
        expression = query["expr"]
        for name in ("cluster", "partition", "node", "jobid"):
            wanted = f'="{chosen[name]}"' if name in chosen else '=~".+"'
            expression = expression.replace(f'=~"${name}"', wanted).replace(f'="${name}"', wanted)
        answer = prometheus.ask(
            "query_range", query=expression, start=str(span.start), end=str(span.end), step=str(span.step)
        )
        for series in answer:
            values = {round((moment - span.start) / span.step): float(value) for moment, value in series["values"]}
            line = [values.get(number, math.nan) for number in range(len(span.moments()))]
            if "{{" not in query.get("legend", "") or any(
                value for value in fillna(line)
            ):  # of many, those that are more than 0
                found[label(query.get("legend", ""), series["metric"])] = line
    peaks = {name: max(fillna(line)) for name, line in found.items()}
    # What would be a name and no area is left out.
    least = max(peaks.values(), default=0) / 100 if panel.get("stacked") else -math.inf
    return {name: found[name] for name in sorted(found, key=lambda name: -peaks[name])[:LINES] if peaks[name] > least}


def fillna(values: Sequence[float]) -> list[float]:
    """The values, and 0 where there is none."""
    return [0.0 if math.isnan(value) else value for value in values]


def label(legend: str, labels: dict[str, str]) -> str:
    """What Grafana writes beside a line."""
    for name, value in labels.items():
        legend = legend.replace("{{" + name + "}}", value)
    return legend or ",".join(labels.values())


def with_prefix(base: int, prefixes: str, unit: str) -> Callable[[float, object], str]:
    """A formatter of an axis that writes 3.5 Gi rather than 3758096384."""

    def write(value: float, _position: object) -> str:
        for power in range(len(prefixes), 0, -1):
            if abs(value) >= base**power:
                return f"{value / base**power:.3g} {prefixes[power - 1]}{'i' if base == 1024 else ''}{unit}"
        return f"{value:.3g} {unit}"

    return write


def seconds(value: float, _position: object) -> str:
    """A formatter of an axis that writes 20 µs rather than 0.00002."""
    for factor, unit in ((1, "s"), (1e-3, "ms")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value / 1e-6:.3g} µs" if value else "0"


# How an axis is written, by Grafana's names of units.
UNITS: Mapping[str, Callable[[float, object], str]] = {
    "": lambda value, _position: f"{value:g}",
    "percentunit": lambda value, _position: f"{value * 100:.3g} %",
    "bytes": with_prefix(1024, "KMGT", "B"),
    "Bps": with_prefix(1000, "kMGT", "B/s"),
    "s": seconds,
    "percent": lambda value, _position: f"{value:.3g} %",
    "celsius": lambda value, _position: f"{value:g} °C",
    "watt": lambda value, _position: f"{value:g} W",
}


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["summary", "graphs"])
    parser.add_argument("--url", required=True, help="Prometheus, such as https://mon1:9090")
    parser.add_argument("--user", default="prometheus")
    parser.add_argument("--password-file", type=Path, help="file with the password")
    parser.add_argument("--ca-file", help="authorities of its certificate")
    parser.add_argument("--cluster", default="demo")
    parser.add_argument("--node", help="the one that is drawn (all together)")
    parser.add_argument("--partition", help="the one that is drawn (all together)")
    parser.add_argument("--dashboard", action="append", default=[], help="only this one; may be repeated (all)")
    parser.add_argument("--wait", type=float, default=0, help="seconds that the first figures may take")
    parser.add_argument("--hours", type=float, default=1.0, help="how much of the past (graphs)")
    parser.add_argument("--output", type=Path, default=Path(), help="folder (graphs)")
    options = parser.parse_args()
    session = requests.Session()
    if options.password_file:
        session.auth = (options.user, options.password_file.read_text(encoding="utf-8").strip())
    prometheus = Prometheus(options.url.rstrip("/"), session, options.ca_file)
    # What has just been registered is asked for within a minute.
    deadline = time.monotonic() + options.wait
    while prometheus.number(READY) is None and time.monotonic() < deadline:
        time.sleep(2)
    if options.what == "summary":
        print("\n".join(summary(prometheus)))
    else:
        chosen = {"cluster": options.cluster, "node": options.node, "partition": options.partition}
        said = {name: value for name, value in chosen.items() if value}
        for written in graphs(prometheus, said, options.hours, options.output, options.dashboard):
            print(written)


if __name__ == "__main__":
    main()
