"""Measure the service-discovery API on this machine, over TLS, as clients see it.

usage: tests/bench/bench_discovery.py [--hosts 10000] [--seconds 5] [--database URL]
The service runs as one process with its data in an SQLite file, unless another database is given.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".cache" / "venv-discovery"
SOURCE = ROOT / "roles" / "discovery" / "files"
TOKEN = "token-of-the-benchmark-0123456789abcdef"
PORT = 18421
READERS = 50
SENDERS = 50


def host(number: int, generation: int = 0) -> dict[str, Any]:
    """A host that makes five groups and eleven variables: site, state, role, partition and label, as the roles use them."""
    return {
        "name": f"n{number:06}",
        "cluster": "alpha",
        "state": "active",
        "addresses": {"main": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"},
        "roles": ["slurmd"],
        "partitions": ["gpu" if number % 8 == 0 else "batch"],
        "rack": f"r{number // 40}",
        "labels": {"environment": "production"},
        "slurm_node": {
            "cpus": 64,
            "boards": 1,
            "sockets": 2,
            "cores_per_socket": 16,
            "threads_per_core": 2,
            "real_memory": 257000,
            "tmp_disk": 100000,
            "features": ["avx512"],
        },
        "variables": {"os_base_timezone": "UTC", "site_image": f"image-{generation}"},
    }


class Client:
    """One connection."""

    def __init__(self, folder: Path) -> None:
        context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        self._connection = http.client.HTTPSConnection("127.0.0.1", PORT, context=context, timeout=300)
        self._headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, body, {**self._headers, **more})
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 400:
            raise SystemExit(f"{method} {path}: {answer.status} {content[:500]!r}")
        return answer, content

    def close(self) -> None:
        self._connection.close()


@contextmanager
def service(folder: Path, database: str) -> Iterator[int]:
    """Run the service until the end. Yields its process."""
    subprocess.run(
        [
            "tests/setup.sh",
            str(ENVIRONMENT.relative_to(ROOT)),
            "tests/requirements-discovery.txt",
            "3.11",
            "3.12",
            "3.13",
        ],
        cwd=ROOT,
        check=True,
    )
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout key.pem -out cert.pem -subj /CN=x"
    subprocess.run(
        [*make.split(), "-addext", "subjectAltName=IP:127.0.0.1"], cwd=folder, check=True, capture_output=True
    )
    settings: dict[str, Any] = {
        "database_url": database,
        "listen_port": PORT,
        "workers": 1,
        "log_level": "warning",
        "tls_certificate": str(folder / "cert.pem"),
        "tls_key": str(folder / "key.pem"),
    }
    config = folder / "config.toml"
    config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    command = [str(ENVIRONMENT / "bin" / "python"), "-m", "hpcops_discovery", "--config", str(config)]
    subprocess.run([*command, "migrate"], cwd=SOURCE, check=True, stdout=subprocess.DEVNULL)
    token = [*command, "token", "set", "bench", "--scope", "admin"]
    subprocess.run(token, cwd=SOURCE, check=True, input=TOKEN, text=True, stdout=subprocess.DEVNULL)
    process = subprocess.Popen([*command, "serve"], cwd=SOURCE)
    try:
        for _try in range(300):
            if subprocess.run([*command, "ping"], cwd=SOURCE, capture_output=True, check=False).returncode == 0:
                break
        yield worker_of(process.pid)
    finally:
        process.terminate()
        process.wait()


def worker_of(parent: int) -> int:
    """The process that serves: the other child is multiprocessing's own bookkeeper."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return next(
        int(child) for child in children if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes()
    )


def cpu_of(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


class Figures:
    """Prints what was measured: wall time for a client, and the server's processor time."""

    def __init__(self, process: int) -> None:
        self._process = process

    def show(self, name: str, action: Callable[[], Any], times: int = 3) -> None:
        walls, cpus = [], []
        for _time in range(times):
            wall, cpu = time.perf_counter(), cpu_of(self._process)
            action()
            walls.append(time.perf_counter() - wall)
            cpus.append(cpu_of(self._process) - cpu)
        print(
            f"{name:<58} {statistics.median(walls) * 1000:9.1f} ms   server {statistics.median(cpus) * 1000:7.0f} ms CPU",
            flush=True,
        )

    def rate(self, name: str, action: Callable[[], Any], seconds: float) -> None:
        count, begin, cpu = 0, time.perf_counter(), cpu_of(self._process)
        while time.perf_counter() - begin < seconds:
            action()
            count += 1
        took, cpu = time.perf_counter() - begin, cpu_of(self._process) - cpu
        print(f"{name:<58} {count / took:9.0f} /s   server {cpu / count * 1000:7.2f} ms CPU each", flush=True)


def percentiles(name: str, times: list[float]) -> None:
    ordered = sorted(times)
    p50, p99 = (ordered[min(int(len(ordered) * part), len(ordered) - 1)] * 1000 for part in (0.5, 0.99))
    print(f"{name:<58} p50 {p50:7.1f} ms   p99 {p99:7.1f} ms   ({len(ordered)} requests)", flush=True)


def readers_and_writer(folder: Path, seconds: float, hosts: int) -> None:
    """Fifty clients read pages while one writes a host at a time, all as fast as they can."""
    end = time.perf_counter() + seconds
    reads: list[float] = []
    writes: list[float] = []

    def repeat(
        times: list[float], method: str, path: Callable[[int], str], body: Callable[[int], bytes | None]
    ) -> None:
        client = Client(folder)
        number = 0
        while time.perf_counter() < end:
            begin = time.perf_counter()
            client.ask(method, path(number), body(number))
            times.append(time.perf_counter() - begin)
            number += 1

    def change(number: int) -> bytes:
        return json.dumps({"variables": {"site_image": f"image-{number}"}}).encode()

    threads = [
        threading.Thread(
            target=repeat, args=(reads, "GET", lambda _n, r=reader: f"/v1/hosts?rack=r{r}", lambda _n: None)
        )
        for reader in range(READERS)
    ]
    threads.append(
        threading.Thread(
            target=repeat, args=(writes, "PATCH", lambda number: f"/v1/hosts/n{number % hosts:06}", change)
        )
    )
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    percentiles(f"read of a rack (40 hosts), {READERS} readers and 1 writer", reads)
    percentiles("write of a host meanwhile", writes)
    print(f"{'together':<58} {len(reads) / seconds:9.0f} reads/s {len(writes) / seconds:6.0f} writes/s", flush=True)


def measure(folder: Path, process: int, hosts: int, seconds: float) -> None:
    client, figures = Client(folder), Figures(process)
    client.ask("PUT", "/v1/clusters/alpha", b"{}")
    bodies = iter(
        [
            json.dumps({"hosts": [host(number, generation) for number in range(hosts)]}).encode()
            for generation in range(4)
        ]
    )
    figures.show(f"bulk upsert, {hosts} new hosts", lambda: client.ask("POST", "/v1/hosts", next(bodies)), 1)
    same = json.dumps({"hosts": [host(number) for number in range(hosts)]}).encode()
    figures.show(f"bulk upsert, {hosts} hosts, none changed", lambda: client.ask("POST", "/v1/hosts", same))
    figures.show(f"bulk upsert, {hosts} hosts, all changed", lambda: client.ask("POST", "/v1/hosts", next(bodies)), 1)

    def patch_and_export() -> None:
        body = json.dumps({"variables": {"site_image": str(time.time())}}).encode()
        client.ask("PATCH", "/v1/hosts/n000001", body)
        client.ask("GET", "/v1/inventory", Accept_Encoding="gzip")

    figures.show("inventory, all hosts read again from the database", lambda: client.ask("GET", "/v1/inventory"), 1)
    figures.show("a host written, then the whole inventory, compressed", patch_and_export)
    figures.show("inventory, unchanged", lambda: client.ask("GET", "/v1/inventory"))
    figures.show("inventory, unchanged, compressed", lambda: client.ask("GET", "/v1/inventory", Accept_Encoding="gzip"))
    answer, plain = client.ask("GET", "/v1/inventory")
    packed = client.ask("GET", "/v1/inventory", Accept_Encoding="gzip")[1]
    if gzip.decompress(packed) != plain or len(json.loads(plain)["hosts"]) != hosts:
        raise SystemExit("the inventory is not whole")
    print(f"{'inventory':<58} {len(plain) / 1e6:9.2f} MB   compressed {len(packed) / 1e6:.2f} MB", flush=True)
    etag = str(answer.headers["ETag"])
    figures.rate("inventory, 304", lambda: client.ask("GET", "/v1/inventory", If_None_Match=etag), seconds)
    page = "/v1/hosts?role=slurmd&partition=gpu&label=environment%3Dproduction&limit=100&after=n005000"
    figures.rate("page of 100 hosts by role, partition and label", lambda: client.ask("GET", page), seconds)
    figures.rate("one host", lambda: client.ask("GET", "/v1/hosts/n000001"), seconds)
    readers_and_writer(folder, seconds, hosts)

    def beat(first: int, count: int) -> bytes:
        return json.dumps(
            {"beats": [{"host": f"n{number % hosts:06}"} for number in range(first, first + count)]}
        ).encode()

    figures.show(
        "heartbeats of 1,000 hosts in one request", lambda: client.ask("POST", "/v1/heartbeats", beat(0, 1000))
    )
    heartbeats(folder, process, seconds, hosts, beat)
    print(f"{'peak memory of the process':<58} {memory_of(process):9.0f} MiB", flush=True)


def heartbeats(folder: Path, process: int, seconds: float, hosts: int, beat: Callable[[int, int], bytes]) -> None:
    """Each host for itself: all of them once a minute, and as fast as they can."""
    once_a_minute = SENDERS * 60 / hosts  # seconds between two requests of one sender
    for name, pause, kept in (
        (f"heartbeats of {hosts} hosts once a minute, {hosts / 60:.0f} /s", once_a_minute, True),
        ("the same, on a new connection each", once_a_minute, False),
        (f"heartbeats, {SENDERS} senders that wait for their answers", 0.0, True),
    ):
        begin, cpu = time.perf_counter(), cpu_of(process)
        with ThreadPoolExecutor(SENDERS) as pool:
            sending = [
                pool.submit(send_beats, folder, number, pause, begin, seconds, beat, kept) for number in range(SENDERS)
            ]
            sent = sum(sender.result() for sender in sending)
        took, used = time.perf_counter() - begin, cpu_of(process) - cpu
        print(f"{name:<58} {sent / took:9.0f} /s   server {used / took * 100:7.1f} % of a core", flush=True)


def send_beats(
    folder: Path, number: int, pause: float, begin: float, seconds: float, beat: Callable[[int, int], bytes], kept: bool
) -> int:
    """Send one host's beat after the other, on a connection that is kept or not, and return how many."""
    client, sent = Client(folder), 0
    while time.perf_counter() - begin < seconds:
        due = begin + pause * (sent + number / SENDERS)
        time.sleep(max(0.0, due - time.perf_counter()))
        client.ask("POST", "/v1/heartbeats", beat(number * 100 + sent, 1))
        sent += 1
        if not kept:
            client.close()  # the next request opens another one
    return sent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--database")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-discovery.") as name:
        folder = Path(name)
        database = options.database or f"sqlite:///{folder}/discovery.db"
        with service(folder, database) as process:
            measure(folder, process, options.hosts, options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
