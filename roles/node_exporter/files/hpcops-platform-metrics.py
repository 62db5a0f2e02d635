# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what the platform knows of this host, for node_exporter's textfile collector.

usage: python3 hpcops-platform-metrics.py FILE.prom --configuration PATTERN... --certificates PATTERN... --last-run FILE
  hpcops_config_hash{path, sha256}                 1 for each configuration file
  hpcops_config_unreadable{path}                   1 for one that cannot be read (a container's root may lack the capability)
  hpcops_certificate_expiry_timestamp_seconds{path}  when the first certificate in the file ends
  hpcops_certificate_unreadable{path}              1 for a file that is no certificate
  hpcops_last_run_timestamp_seconds                when the playbook "site" last went through, if it ever did
"""

from __future__ import annotations

import argparse
import glob
import hashlib
import os
import ssl
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path


def files(patterns: Iterable[str]) -> list[Path]:
    """The files that the patterns match, each once."""
    return sorted({Path(found) for pattern in patterns for found in glob.glob(pattern) if os.path.isfile(found)})


def sample(name: str, value: float, **labels: str) -> str:
    """A line of the exposition format."""
    quoted = {key: text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for key, text in labels.items()}
    shown = ",".join(f'{key}="{text}"' for key, text in quoted.items())
    return f"{name}{{{shown}}} {value:.0f}" if shown else f"{name} {value:.0f}"


def end_of(certificate: Path) -> float | None:
    """When a certificate ends, in seconds since 1970."""
    command = ["openssl", "x509", "-noout", "-enddate", "-in", str(certificate)]
    asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    _name, _sign, date = asked.stdout.strip().partition("=")
    return ssl.cert_time_to_seconds(date) if asked.returncode == 0 else None


def is_read(path: Path) -> bool:
    """Whether Slurm reads the file: plugstack.conf beside slurm.conf alone, and Debian's packages put one on every host."""
    return path.name != "plugstack.conf" or path.with_name("slurm.conf").exists()


def digest_of(path: Path) -> str | None:
    """The checksum of a file that can be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def samples(configuration: Iterable[str], certificates: Iterable[str], last_run: Path) -> Iterator[str]:
    """All lines."""
    for path in filter(is_read, files(configuration)):
        digest = digest_of(path)
        if digest is None:
            yield sample("hpcops_config_unreadable", 1, path=str(path))
        else:
            yield sample("hpcops_config_hash", 1, path=str(path), sha256=digest)
    for path in files(certificates):
        end = end_of(path)
        if end is None:
            yield sample("hpcops_certificate_unreadable", 1, path=str(path))
        else:
            yield sample("hpcops_certificate_expiry_timestamp_seconds", end, path=str(path))
    if last_run.exists():
        yield sample("hpcops_last_run_timestamp_seconds", last_run.stat().st_mtime)


def main() -> None:
    """Write the file, whole or not at all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--configuration", nargs="*", default=[])
    parser.add_argument("--certificates", nargs="*", default=[])
    parser.add_argument("--last-run", type=Path, required=True)
    options = parser.parse_args()
    written = options.file.with_suffix(".new")
    lines = samples(options.configuration, options.certificates, options.last_run)
    written.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    written.chmod(0o644)
    written.replace(options.file)


if __name__ == "__main__":
    main()
