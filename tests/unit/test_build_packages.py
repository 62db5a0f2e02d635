# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The script that builds Debian packages publishes a complete build in one step, and nothing else. The compiler is a stand-in here;
the scenario build_packages builds the real thing."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "roles/slurm/files/build.deb.sh"


class BuildHost:
    """A folder with a release tarball, a repository, and commands that only pretend."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.repository = path / "repository"
        self.commands = path / "bin"
        for folder in (self.repository, self.commands, path / "slurm-release"):
            folder.mkdir()
        (path / "slurm-release" / "META").write_text("  Meta:\t\t1\n  Version:\t24.11.5\n")
        with tarfile.open(path / "slurm.tar.bz2", "w:bz2") as tarball:
            tarball.add(path / "slurm-release", "slurm-24.11.5")
        self.command("apt-get", ":")
        self.command("dpkg-buildpackage", ": >../slurm-smd_24.11.5-1_amd64.deb")
        self.command("dpkg-deb", "echo ./usr/lib/x86_64-linux-gnu/slurm/auth_munge.so")

    def command(self, name: str, script: str) -> None:
        (self.commands / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.commands / name).chmod(0o755)

    def build(
        self, *plugins: str, version: str = "24.11.5", stamp: str = ".built-1"
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(SCRIPT), "../slurm.tar.bz2", version, str(self.path), str(self.repository), stamp, *plugins],
            cwd=self.repository,
            env={"PATH": f"{self.commands}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )

    def published(self) -> list[str]:
        return sorted(str(path.relative_to(self.repository)) for path in self.repository.rglob("*"))


@pytest.fixture
def host(tmp_path: Path) -> BuildHost:
    return BuildHost(tmp_path)


def test_packages_are_published_with_the_stamp_of_their_source(host: BuildHost) -> None:
    done = host.build("auth_munge")
    assert done.returncode == 0, done.stderr
    assert host.published() == ["24.11.5", "24.11.5/.built-1", "24.11.5/slurm-smd_24.11.5-1_amd64.deb"]


def test_another_build_of_the_same_release_replaces_the_first(host: BuildHost) -> None:
    host.build()
    host.command("dpkg-buildpackage", ": >../slurm-smd_24.11.5-2_amd64.deb")
    host.build(stamp=".built-2")
    assert host.published() == ["24.11.5", "24.11.5/.built-2", "24.11.5/slurm-smd_24.11.5-2_amd64.deb"]


def test_build_without_a_required_plugin_is_refused(host: BuildHost) -> None:
    done = host.build("auth_munge", "auth_jwt", "mpi_pmix")
    assert done.returncode != 0
    assert "slurm_build_required_plugins: the build of Slurm 24.11.5 left out auth_jwt mpi_pmix." in done.stderr
    assert host.published() == []


def test_tarball_of_another_release_is_refused(host: BuildHost) -> None:
    done = host.build(version="25.05.5")
    assert done.returncode != 0
    assert "slurm_version: the tarball holds Slurm 24.11.5, not 25.05.5." in done.stderr
    assert host.published() == []


def test_failed_build_shows_its_last_words_and_leaves_the_former_one(host: BuildHost) -> None:
    host.build()
    host.command("dpkg-buildpackage", "echo 'slurm.h: No such file or directory' >&2; exit 2")
    done = host.build(stamp=".built-2")
    assert done.returncode != 0
    assert "slurm.h: No such file or directory" in done.stderr
    assert host.published() == ["24.11.5", "24.11.5/.built-1", "24.11.5/slurm-smd_24.11.5-1_amd64.deb"]


def test_two_builds_do_not_run_at_once(host: BuildHost) -> None:
    with subprocess.Popen(["flock", str(host.path / ".lock"), "sleep", "30"]) as other:
        while subprocess.run(["flock", "--nonblock", str(host.path / ".lock"), "true"], check=False).returncode == 0:
            pass
        done = host.build()
        other.terminate()
    assert done.returncode != 0
    assert "Another build is running" in done.stderr
