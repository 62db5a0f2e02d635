"""Fill /srv/mirror: releases of a program with a list of checksums, and a flat, signed package repository with two versions."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import tempfile
from pathlib import Path

ROOT = Path("/srv/mirror")
RELEASES = ROOT / "project" / "releases"
PACKAGES = ROOT / "apt"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def program(version: str) -> bytes:
    return f"#!/bin/sh\necho tool {version}\n".encode()


def archive(version: str, top: str) -> Path:
    path = RELEASES / f"tool-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo(f"{top}bin/tool")
        member.size, member.mode, member.uid = len(program(version)), 0o755, 1234
        tar.addfile(member, io.BytesIO(program(version)))
        licence = tarfile.TarInfo(f"{top}LICENSE")
        tar.addfile(licence, io.BytesIO(b""))
    return path


def package(name: str, version: str, directory: Path) -> Path:
    with tempfile.TemporaryDirectory() as work:
        control = Path(work, "DEBIAN", "control")
        control.parent.mkdir(mode=0o755)
        control.write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: test\n"
        )
        path = directory / f"{name}_{version}_all.deb"
        subprocess.run(
            ["dpkg-deb", "--build", "--root-owner-group", work, str(path)], check=True, stdout=subprocess.DEVNULL
        )
    return path


def main() -> None:
    RELEASES.mkdir(parents=True)
    PACKAGES.mkdir()
    files = [archive("1.0", "tool-1.0/"), archive("2.0", "tool-2.0/"), archive("3.0", "./")]
    files += [package("molecule-deb", version, RELEASES) for version in ("1.0", "2.0")]
    (RELEASES / "single").write_bytes(program("single"))
    sums = [f"{sha256(path)}  {path.name}\n" for path in files]
    sums.append(f"{sha256(files[0])}  tool-9.0.tar.gz\n")  # of another file
    (RELEASES / "tool-9.0.tar.gz").write_bytes(files[1].read_bytes())
    (RELEASES / "sha256sums.txt").write_text("".join(sums))

    entries = []
    for path in (package("molecule-pinned", version, PACKAGES) for version in ("1.0", "2.0")):
        control = subprocess.run(["dpkg-deb", "--field", str(path)], check=True, text=True, capture_output=True).stdout
        entries.append(f"{control}Filename: ./{path.name}\nSize: {path.stat().st_size}\nSHA256: {sha256(path)}\n")
    index = PACKAGES / "Packages"
    index.write_text("\n".join(entries))
    (PACKAGES / "Release").write_text(f"Suite: molecule\nSHA256:\n {sha256(index)} {index.stat().st_size} Packages\n")
    with tempfile.TemporaryDirectory() as home:
        gpg = ["gpg", "--homedir", home, "--batch", "--quiet", "--passphrase", ""]
        subprocess.run([*gpg, "--quick-generate-key", "molecule"], check=True)
        subprocess.run([*gpg, "--clear-sign", "--output", PACKAGES / "InRelease", PACKAGES / "Release"], check=True)
        subprocess.run([*gpg, "--armor", "--export", "--output", PACKAGES / "key.asc"], check=True)
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)


main()
