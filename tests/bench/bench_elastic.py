"""Measure how nodes of the cloud come and go: requests to EC2, and what slurmctld waits for.

usage: tests/bench/bench_elastic.py [--nodes 1000] [--peer-nodes 200] [--many 10000] [--times 3]
EC2 is moto's on this machine, as a process of its own, behind a proxy that takes 100 ms for each request and has AWS's limits of
RunInstances for an account and region: 1,000 instances at once and 2 per second, 5 calls at once and 2 per second. The program runs
as it is installed: its service is a process, and so is each command. Beside it one request for each node is sent, one after the
other under the same limits, as the peers do that launch node by node; what is throttled is sent again after the SDK's backoff. These
are fewer nodes by default, since 1,000 take more than eight minutes: what is printed was measured, and nothing is computed from it
for other numbers but seconds per node. Where reconcile is measured, descriptions of instances lie ready, of some 4.5 kB each, so that
moto's time is not in it.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / ".ansible" / "collections"), str(ROOT / "roles" / "slurm_elastic" / "files")]

from hpcops_elastic.aws import Cloud  # noqa: E402
from hpcops_elastic.config import Config  # noqa: E402
from hpcops_elastic.hosts import fold  # noqa: E402
from hpcops_elastic.journal import ALIVE, Journal, Launch, Started  # noqa: E402
from hpcops_elastic.reconciling import node_of  # noqa: E402
from hpcops_elastic.service import Service  # noqa: E402

from ansible_collections.hpcops.cluster.tests.bench.bench_ec2_inventory import (  # noqa: E402  # found by the line above
    _NAMESPACE as NAMESPACE,
)
from ansible_collections.hpcops.cluster.tests.bench.bench_ec2_inventory import PAGE  # noqa: E402
from ansible_collections.hpcops.cluster.tests.bench.bench_ec2_inventory import _instance as described  # noqa: E402
from ansible_collections.hpcops.cluster.tests.elastic.model_of_slurm import RISING, ModelOfSlurm  # noqa: E402
from ansible_collections.hpcops.cluster.tests.elastic.stand_ins import LINE, Programs  # noqa: E402
from ansible_collections.hpcops.cluster.tests.support.ec2_service import KEYS, Bucket, Ec2, Fault, ec2_service  # noqa: E402

LATENCY = 0.1
ACCOUNT, REGION, IMAGE, TYPE = "123456789012", "eu-central-1", "ami-12c6146b", "c5.4xlarge"
_CONTEXT = multiprocessing.get_context("spawn")

# --- EC2 ---------------------------------------------------------------------------------------------------------------


def _served(pipe: Connection) -> None:
    """The server, as a process: does what is asked by name, and answers."""
    with ec2_service() as ec2:
        ec2.delay = LATENCY
        ec2.launch("999999999999", REGION)  # the first takes moto some seconds
        pipe.send((ec2.port, ec2.behind))
        while True:
            what, value = pipe.recv()
            if what == "end":
                return
            pipe.send(_done(ec2, what, value))


def _done(ec2: Ec2, what: str, value: Any) -> Any:
    if what == "limits":
        ec2.bucket, ec2.call_bucket = (Bucket(1000, 2), Bucket(5, 2)) if value else (None, None)
    elif what == "faults":
        ec2.faults[:] = value
    elif what == "describe":
        pages = _pages(value)
        ec2.described = lambda form: pages[int(form.get("NextToken", "0"))]
    elif what == "answers":
        found = list(ec2.answers), ec2.seconds_behind
        ec2.answers.clear()
        ec2.seconds_behind = 0
        return found
    return None


def _pages(instances: list[tuple[str, int, dict[str, str]]]) -> list[bytes]:
    """Answers of DescribeInstances with these: their ids, launch indices, and tags."""
    pages, last = [], (len(instances) - 1) // PAGE
    for number in range(last + 1):
        items = ""
        for name, index, tags in instances[number * PAGE : (number + 1) * PAGE]:
            text = described(number, "cpu")
            pairs = "".join(f"<item><key>{key}</key><value>{value}</value></item>" for key, value in tags.items())
            for pattern, instead in (
                (r"<instanceId>[^<]*<", f"<instanceId>{name}<"),
                (r"<amiLaunchIndex>0<", f"<amiLaunchIndex>{index}<"),
                (r"<tagSet>.*</tagSet>", f"<tagSet>{pairs}</tagSet>"),
            ):
                text = re.sub(pattern, instead, text, flags=re.DOTALL)
            items += f"<item><reservationId>r-{index}</reservationId><instancesSet>{text}</instancesSet></item>"
        token = f"<nextToken>{number + 1}</nextToken>" if number < last else ""
        pages.append(
            f"<DescribeInstancesResponse {NAMESPACE}><requestId>r</requestId><reservationSet>{items}</reservationSet>{token}"
            "</DescribeInstancesResponse>".encode()
        )
    return pages


class Server:
    """That process."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.port, self.behind = pipe.recv()
        self.url = f"http://127.0.0.1:{self.port}"

    def ask(self, what: str, value: Any = None) -> Any:
        self._pipe.send((what, value))
        return self._pipe.recv()

    @property
    def direct(self) -> Ec2:
        """moto without the proxy."""
        return Ec2(self.port, self.behind)


@contextmanager
def server() -> Iterator[Server]:
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=_served, args=(theirs,))
    process.start()
    try:
        yield Server(ours)
    finally:
        ours.send(("end", None))
        process.join()


# --- The program ---------------------------------------------------------------------------------------------------------


class Place:
    """A configuration in a folder, and the program on it."""

    def __init__(self, folder: Path, server: Server, count: int) -> None:
        folder.mkdir()
        found = server.direct.client(ACCOUNT, REGION).describe_subnets()["Subnets"]
        self.subnet = sorted(each["SubnetId"] for each in found)[0]
        self.nodes = [f"cpu-{number}" for number in range(1, count + 1)]
        self.programs = Programs(folder / "bin", self.nodes, "IDLE+CLOUD+POWERING_UP")
        self.given: dict[str, Any] = {
            "cluster": "alpha",
            "accounts": [{"name": "one", "role_arn": f"arn:aws:iam::{ACCOUNT}:role/elastic"}],
            "instance_types": {TYPE: {"vcpus": 16, "price": 0.8}},
            "groups": [
                {
                    "name": "cpu",
                    "prefix": "cpu-",
                    "count": count,
                    "instance_types": [TYPE],
                    "places": [{"account": "one", "region": REGION, "subnets": [self.subnet], "image": IMAGE}],
                }
            ],
            "journal": str(folder / "journal.sqlite"),
            "metrics": str(folder / "elastic.prom"),
            "path": self.programs.path,
            "endpoint_url": server.url,
        }
        self.file = folder / "config.yml"
        self.file.write_text(json.dumps(self.given))
        self.config = Config(**self.given)
        self.journal = Journal(self.config.journal)
        self.resume_file = folder / "resume.json"
        jobs = [
            {"job_id": number, "nodes_resume": name, "nodes_alloc": name, "partition": "cloud", "features": ""}
            for number, name in enumerate(self.nodes, start=1000)
        ]
        self.resume_file.write_text(json.dumps({"jobs": jobs, "all_nodes_resume": fold(self.nodes)}))

    def command(self, *arguments: str) -> float:
        """Run one as a process to its end; return the seconds."""
        begun = time.monotonic()
        subprocess.run(self._argv(*arguments), check=True, env=self._environment(), capture_output=True)
        return time.monotonic() - begun

    def resume(self) -> float:
        return self.command("resume", fold(self.nodes))

    @contextmanager
    def serving(self) -> Iterator[None]:
        """With its service, which has begun to work."""
        process = subprocess.Popen(self._argv("serve"), env=self._environment(), stderr=subprocess.DEVNULL)
        try:
            wait(lambda: float(self.journal.setting(ALIVE, "0")) > 0)
            yield
        finally:
            process.terminate()
            process.wait()

    def _argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "hpcops_elastic", "--config", str(self.file), *arguments]

    def _environment(self) -> dict[str, str]:
        return {
            **KEYS,
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "roles" / "slurm_elastic" / "files"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "SLURM_RESUME_FILE": str(self.resume_file),
        }


def wait(until: Callable[[], bool], seconds: float = 600) -> float:
    """Return when it was so."""
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)
    return time.monotonic()


def line(what: str, value: float, unit: str = "s", more: str = "") -> None:
    print(f"{what:<74} {value:9.3f} {unit}{f'  {more}' if more else ''}", flush=True)


# --- What is measured ----------------------------------------------------------------------------------------------------


def launch(folder: Path, count: int) -> None:
    """All at once, by the program."""
    with server() as ec2:
        place = Place(folder / "launch", ec2, count)
        with place.serving():
            ec2.ask("limits", True)
            ec2.ask("answers")
            begun = time.monotonic()
            resumed = place.resume()
            names = "SELECT count(DISTINCT node) AS number FROM instances WHERE node != '' AND state = 'running'"
            named = wait(lambda: bool(place.journal.rows(names)[0]["number"] == count))
            answers, motos = ec2.ask("answers")
        calls = Counter(action for _at, action, _status in answers)
        launched = max(at for at, action, status in answers if action == "RunInstances" and status == 200)
        refused = sum(status != 200 for _at, action, status in answers if action == "RunInstances")
        found = Cloud(place.config.model_copy(update={"endpoint_url": f"http://{ec2.behind}"})).instances("one", REGION)
        by_tag = {each.id: node_of(each) for each in found}
        by_journal = {row["id"]: row["node"] for row in place.journal.rows("SELECT id, node FROM instances")}
        assert by_tag == by_journal
        assert sorted(by_tag.values()) == sorted(place.nodes)
        line(f"resume of {count} nodes with their {count} jobs, as a whole process", resumed)
        line(f"{count} nodes launched, from the start of resume", launched - begun, "s", f"{motos:.3f} s of it moto's")
        line(f"{count} nodes have their names, by launch index and tag", named - begun)
        line(f"calls for {count} nodes", sum(calls.values()), "", ", ".join(f"{n} {a}" for a, n in calls.items()))
        line("  of which throttled", refused, "")


def peer(count: int) -> None:
    """One request for each node, again after a while where it is throttled."""
    with server() as ec2:
        client = Ec2(ec2.port, ec2.url.removeprefix("http://")).client(ACCOUNT, REGION)
        subnet = sorted(each["SubnetId"] for each in client.describe_subnets()["Subnets"])[0]
        ec2.ask("limits", True)
        ec2.ask("answers")
        begun = time.monotonic()
        for number in range(1, count + 1):
            tags = [{"Key": "Name", "Value": f"cpu-{number}"}]
            for attempt in range(100):
                try:
                    client.run_instances(
                        ImageId=IMAGE,
                        InstanceType=TYPE,
                        SubnetId=subnet,
                        MinCount=1,
                        MaxCount=1,
                        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
                    )
                    break
                except client.exceptions.ClientError as error:
                    if error.response["Error"]["Code"] != "RequestLimitExceeded":
                        raise
                    time.sleep(random.random() * min(2.0**attempt, 20.0))  # as botocore's mode standard does
        seconds = time.monotonic() - begun
        answers, motos = ec2.ask("answers")
        refused = sum(status != 200 for _at, action, status in answers if action == "RunInstances")
        line(f"one request for each of {count} nodes: launched, and named", seconds, "s", f"{motos:.3f} s of it moto's")
        line("  for each node", seconds / count)
        line(f"  calls for {count} nodes", sum(action == "RunInstances" for _at, action, _status in answers), "")
        line("  of which throttled", refused, "")


def _working(given: dict[str, Any], slurm: Path) -> None:
    logging.disable(logging.CRITICAL)
    config = Config(**given)
    journal = Journal(config.journal)
    model: Any = ModelOfSlurm(slurm)
    Service(config, journal, Cloud(config), model).run()


def no_capacity(folder: Path, count: int) -> None:
    """From EC2's refusal until Slurm has the nodes as down, which is when it queues their jobs again."""
    with server() as ec2:
        place = Place(folder / "capacity", ec2, count)
        ec2.ask("faults", [Fault("RunInstances", code="InsufficientInstanceCapacity", status=500)])
        slurm = ModelOfSlurm(folder / "slurm.sqlite", place.nodes)
        process = _CONTEXT.Process(target=_working, args=(place.given, slurm.path))
        process.start()
        wait(lambda: float(place.journal.setting(ALIVE, "0")) > 0)
        slurm.move(place.nodes, RISING)
        place.resume()
        down = wait(lambda: sum("DOWN" in node.states for node in slurm.nodes().values()) == count)
        refused = max(at for at, action, _status in ec2.ask("answers")[0] if action == "RunInstances")
        process.terminate()
        process.join()
        line(f"from the answer InsufficientInstanceCapacity to {count} nodes set down", down - refused)


def commands(folder: Path, count: int, times: int) -> None:
    """What a whole process takes with nodes that are there already, each on its instance."""
    with server() as ec2:
        place = Place(folder / f"commands-{count}", ec2, count)
        place.journal.note(ALIVE, time.time() + 3600)
        place.resume()
        there = []
        for start in range(0, count, 500):
            names = tuple(place.nodes[start : start + 500])
            sent = Launch(f"alpha-{start}", "cpu", "one", REGION, place.subnet, TYPE, "on-demand", names)
            tags = {"cluster": "alpha", "group": "cpu", "launch": sent.token, "nodes": fold(names)}
            started = [Started(f"i-{start + index:017x}", index) for index in range(len(names))]
            place.journal.send(sent, {})
            place.journal.answered(sent, started, 0.8)
            tagged = {f"hpcops:{key}": value for key, value in tags.items()}
            there += [(each.id, each.index, tagged) for each in started]
        ec2.ask("describe", there)
        place.programs.tell(LINE.format(name=name, state="IDLE+CLOUD") for name in place.nodes)
        place.command("reconcile")  # the nodes have joined after it
        ec2.ask("answers")
        for what, arguments in (
            ("resume, all wanted already", ("resume", fold(place.nodes))),
            ("reconcile", ("reconcile",)),
            ("status", ("status", "--json")),
            ("check", ("check",)),
        ):
            before = os.times()
            taken = [place.command(*arguments) for _time in range(times)]
            after = os.times()
            used = after.children_user + after.children_system - before.children_user - before.children_system
            calls = Counter(action for _at, action, _status in ec2.ask("answers")[0])
            more = ", ".join(f"{number // times} {action}" for action, number in calls.items())
            more = f"{used / times:.3f} s of processor time{more and ', '}{more}"
            line(f"{what} as a whole process, {count} nodes (median of {times})", statistics.median(taken), "s", more)
        assert not place.journal.rows("SELECT 1 FROM instances WHERE state != 'running'")
        assert not place.journal.rows("SELECT 1 FROM failures")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--peer-nodes", type=int, default=200, help="0 leaves the peers' way out")
    parser.add_argument("--many", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    os.environ.update(KEYS, AWS_EC2_METADATA_DISABLED="true", AWS_CONFIG_FILE="/dev/null")
    with tempfile.TemporaryDirectory(prefix="bench-elastic.") as name:
        folder = Path(name)
        launch(folder, options.nodes)
        if options.peer_nodes:
            peer(options.peer_nodes)
        no_capacity(folder, options.nodes)
        for count in sorted({options.nodes, options.many}):
            commands(folder, count, options.times)
    return 0


if __name__ == "__main__":
    sys.exit(main())
