# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show what a Prometheus knows of a cluster: a few figures as text, or the dashboards' graphs as PNG files.

The queries are those of the dashboards in roles/grafana/files/dashboards, so that what is shown here is what Grafana shows.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
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


def graphs(prometheus: Prometheus, cluster: str, hours: float, folder: Path) -> Iterator[Path]:
    """Draw each dashboard that has something to show, a file for each."""
    import matplotlib as mpl  # which the summary does without

    mpl.use("Agg")
    from matplotlib import dates, pyplot

    end = time.time()
    for path in sorted(DASHBOARDS.glob("*.yml")):
        description = yaml.safe_load(path.read_text(encoding="utf-8"))
        drawn = []
        for panel in (panel for row in description["rows"] for panel in row["panels"]):
            if panel.get("type", "timeseries") != "timeseries":
                continue
            lines = []
            for query in panel["queries"]:
                # What a person would choose at the top of the dashboard: this cluster, and everything in it.
                expression = query["expr"].replace('="$cluster"', f'="{cluster}"')
                for name in ("partition", "node", "jobid"):
                    expression = expression.replace(f'="${name}"', '=~".+"').replace(f'=~"${name}"', '=~".+"')
                step = max(15.0, hours * 3600 / 300)
                found = prometheus.ask(
                    "query_range", query=expression, start=str(end - hours * 3600), end=str(end), step=str(step)
                )
                lines += [(label(query.get("legend", ""), series["metric"]), series["values"]) for series in found]
            if lines:
                drawn.append((panel, lines))
        if not drawn:
            continue
        figure, axes = pyplot.subplots(
            len(drawn), 1, figsize=(10, 2.6 * len(drawn)), squeeze=False, layout="constrained"
        )
        figure.suptitle(f"{description['title']}: {cluster}")
        for (panel, lines), axis in zip(drawn, axes[:, 0], strict=True):
            for name, values in lines[:12]:
                moments = [datetime.fromtimestamp(moment, tz=timezone.utc) for moment, _value in values]
                axis.plot(moments, [float(value) for _moment, value in values], label=name, linewidth=1.2)
            axis.set_title(f"{panel['title']} ({panel['unit']})" if "unit" in panel else panel["title"], fontsize=10)
            axis.set_ylim(bottom=panel.get("min"), top=panel.get("max"))
            axis.xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
            axis.grid(alpha=0.3)
            axis.legend(fontsize=7, loc="upper left")
        folder.mkdir(parents=True, exist_ok=True)
        written = folder / f"{path.stem}.png"
        figure.savefig(written, dpi=110)
        pyplot.close(figure)
        yield written


def label(legend: str, labels: dict[str, str]) -> str:
    """What Grafana writes beside a line."""
    for name, value in labels.items():
        legend = legend.replace("{{" + name + "}}", value)
    return legend or ",".join(labels.values())


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["summary", "graphs"])
    parser.add_argument("--url", required=True, help="Prometheus, such as https://mon1:9090")
    parser.add_argument("--user", default="prometheus")
    parser.add_argument("--password-file", type=Path, help="file with the password")
    parser.add_argument("--ca-file", help="authorities of its certificate")
    parser.add_argument("--cluster", default="demo")
    parser.add_argument("--wait", type=float, default=0, help="seconds that the first target may take to answer")
    parser.add_argument("--hours", type=float, default=1.0, help="how much of the past (graphs)")
    parser.add_argument("--output", type=Path, default=Path(), help="folder (graphs)")
    options = parser.parse_args()
    session = requests.Session()
    if options.password_file:
        session.auth = (options.user, options.password_file.read_text(encoding="utf-8").strip())
    prometheus = Prometheus(options.url.rstrip("/"), session, options.ca_file)
    # What has just been registered is asked for within a minute.
    deadline = time.monotonic() + options.wait
    while prometheus.number(FIGURES["targets that answer"]) is None and time.monotonic() < deadline:
        time.sleep(2)
    if options.what == "summary":
        print("\n".join(summary(prometheus)))
    else:
        for written in graphs(prometheus, options.cluster, options.hours, options.output):
            print(written)


if __name__ == "__main__":
    main()
