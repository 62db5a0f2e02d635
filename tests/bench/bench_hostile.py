"""Measure what hostile clients without a token cost the service-discovery API, and what a reader notices of them.

usage: tests/bench/bench_hostile.py [--connections 1000] [--seconds 20] [--one-address]
The service runs as one process over TLS. Clients are silent before and after the handshake of TLS, send headers drop by drop, 60 MB of
headers, and bodies of 60 MiB; what the server ends, they begin again. They come from many addresses, the reader from another one.
It fails when the process takes more than 250 MiB, or a reader's p99 is over a second.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import multiprocessing
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".ansible" / "collections"))

from ansible_collections.hpcops.cluster.tests.bench.bench_discovery import (  # noqa: E402  # found by the line above
    PORT,
    Client,
    memory_of,
    percentiles,
    service,
)

MOST_MIB = 250
MOST_SECONDS = 1.0
PIECE = 64 << 10
HEAD = b"POST /v1/hosts HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


async def silence() -> AsyncIterator[bytes]:
    await asyncio.sleep(3600)
    yield b""


async def drops() -> AsyncIterator[bytes]:
    yield HEAD
    while True:
        await asyncio.sleep(1)
        yield b"X-A: b\r\n"


async def headers() -> AsyncIterator[bytes]:
    yield HEAD
    for _piece in range(60_000_000 // PIECE):
        yield b"X-A: b\r\n" * (PIECE // 8)


async def body() -> AsyncIterator[bytes]:
    yield HEAD + b"Content-Length: 62914560\r\n\r\n"
    for _piece in range((60 << 20) // PIECE):
        yield b"[],[" * (PIECE // 4)


# What is sent, and whether over TLS.
KINDS = [(silence, False), (silence, True), (drops, True), (headers, True), (body, True)]


async def attack(number: int, trust: ssl.SSLContext, source: str) -> None:
    """One client that never gives up."""
    parts, encrypted = KINDS[number % len(KINDS)]
    while True:
        try:
            async with asyncio.timeout(30):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", PORT, ssl=trust if encrypted else None, local_addr=(source, 0)
                )
        except (OSError, TimeoutError):
            await asyncio.sleep(0.5)
            continue
        ended = asyncio.create_task(until_end(reader))
        sending = asyncio.create_task(send(parts(), writer))
        await asyncio.wait([ended, sending], return_when=asyncio.FIRST_COMPLETED)
        sending.cancel()
        ended.cancel()
        writer.transport.abort()
        await asyncio.sleep(0.5)


async def until_end(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(PIECE):
            pass
    except OSError:
        return


async def send(parts: AsyncIterator[bytes], writer: asyncio.StreamWriter) -> None:
    try:
        async for part in parts:
            writer.write(part)
            await writer.drain()
    except OSError:
        return


async def attackers(count: int, folder: Path, one_address: bool) -> None:
    trust = ssl.create_default_context(cafile=str(folder / "cert.pem"))
    sources = ["127.0.0.1" if one_address else f"127.0.{1 + number % 250}.1" for number in range(count)]
    await asyncio.gather(*(attack(number, trust, source) for number, source in enumerate(sources)))


def run_attackers(count: int, folder: Path, one_address: bool) -> None:
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of each piece that is sent to nobody
    asyncio.run(attackers(count, folder, one_address))


def read(folder: Path, seconds: float) -> list[float]:
    """A reader's times, each request on a connection of its own."""
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        client = Client(folder, source="127.0.0.2")
        client.ask("GET", "/v1/clusters")
        client.close()
        times.append(time.perf_counter() - begin)
        time.sleep(0.02)
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--one-address", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-hostile.") as name:
        folder = Path(name)
        with service(folder, f"sqlite:///{folder}/discovery.db") as process:
            percentiles("a reader before", read(folder, 3))
            before = memory_of(process)
            arguments = (options.connections, folder, options.one_address)
            hostile = multiprocessing.get_context("spawn").Process(target=run_attackers, args=arguments)
            hostile.start()
            time.sleep(2)
            times = sorted(read(folder, options.seconds))
            hostile.kill()
            hostile.join()
            percentiles(f"a reader beside {options.connections} hostile clients", times)
            memory = memory_of(process)
            print(f"{'memory of the process, before and at the peak':<58} {before:9.0f} MiB   {memory:9.0f} MiB")
    return int(memory > MOST_MIB or times[int(len(times) * 0.99)] > MOST_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
