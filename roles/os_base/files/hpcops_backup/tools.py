# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every part needs: errors for people, files, programs and pipes."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO


class BackupError(Exception):
    """What went wrong, and what a person may do."""


def now() -> datetime.datetime:
    """The present time in UTC."""
    return datetime.datetime.now(datetime.timezone.utc)


def size_of(number: float) -> str:
    """A number of bytes for people."""
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while number >= 1024 and len(units) > 1:
        number /= 1024
        units.pop(0)
    return f"{number:.0f} {units[0]}"


def write_file(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file that is there as a whole or not at all."""
    candidate = path.with_name(f".{path.name}.new")
    candidate.write_text(text, encoding="utf-8")
    candidate.chmod(mode)
    candidate.replace(path)


def sha256_of(path: Path) -> str:
    """Checksum of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def run(argv: Sequence[str], stdin: str | None = None) -> str:
    """Run a program and return what it prints."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BackupError(f"{argv[0]} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        raise BackupError(f"{argv[0]} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


@contextlib.contextmanager
def compressed(path: Path) -> Iterator[IO[bytes]]:
    """A pipe whose bytes go into a new file, compressed. Where zstd fails, its own words tell best why."""
    with path.open("xb") as output:
        zstd = subprocess.Popen(
            ["zstd", "--quiet", "--stdout"], stdin=subprocess.PIPE, stdout=output, stderr=subprocess.PIPE
        )
        assert zstd.stdin
        assert zstd.stderr
        failure: Exception | None = None
        try:
            yield zstd.stdin
        except (BrokenPipeError, BackupError) as error:
            failure = error
        with contextlib.suppress(BrokenPipeError):
            zstd.stdin.close()
        complaint = zstd.stderr.read().decode(errors="replace").strip()
        if zstd.wait() != 0:
            raise BackupError(f"{path} cannot be written: {complaint}") from failure
        if failure:
            raise failure
        os.fsync(output.fileno())


@contextlib.contextmanager
def decompressed(path: Path) -> Iterator[IO[bytes]]:
    """A pipe that the content of a compressed file comes from."""
    zstd = subprocess.Popen(["zstd", "--quiet", "--decompress", "--stdout", str(path)], stdout=subprocess.PIPE)
    assert zstd.stdout
    with zstd.stdout as output:
        yield output
        output.read()  # what is left after an archive's end
    if zstd.wait() != 0:
        raise BackupError(f"{path} cannot be decompressed")
