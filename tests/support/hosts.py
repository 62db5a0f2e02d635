# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of a Molecule scenario: their names, their containers, and waiting for what they do."""

from __future__ import annotations

import copy
import functools
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import testinfra
from testinfra.utils.ansible_runner import AnsibleRunner

if TYPE_CHECKING:
    from testinfra.host import Host

Value = TypeVar("Value")
# What the fixture "report" is: tells a figure, of what and in seconds.
Report = Callable[[str, float], None]
DISTRO = os.environ.get("DISTRO", "trixie")
# What a container's name has before its host's name in the inventory.
PREFIX = f"{os.environ.get('MOLECULE_SCENARIO_NAME', '')}-{DISTRO}-"
# `make test` runs all on trixie, and elsewhere what differs there; `make test-matrix` runs all everywhere.
IN_MATRIX = "HPCOPS_MATRIX" in os.environ
seen_before = pytest.mark.skipif(
    DISTRO != "trixie" and not IN_MATRIX, reason="shown on trixie; make test-matrix runs it"
)
# What the units show as well, or another case beside it.
matrix_alone = pytest.mark.skipif(not IN_MATRIX, reason="make test-matrix runs it")
# How much longer than on the machine that the limits were chosen on things may take: tests/run.py measures it.
PATIENCE = float(os.environ.get("HPCOPS_PATIENCE", "1"))
# The whole folder: Molecule's variable MOLECULE_INVENTORY_FILE names the driver's hosts alone, without what a scenario adds.
INVENTORY = str(Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "inventory"))


@functools.cache
def _inventory() -> AnsibleRunner:
    """The scenario's inventory, read once: each reading starts Ansible."""
    return AnsibleRunner(INVENTORY)


def names(group: str) -> list[str]:
    """Inventory names of a group's hosts."""
    return [str(name) for name in _inventory().get_hosts(group)]


def variables_of(name: str) -> dict[str, Any]:
    """A host's variables as the scenario's inventory has them, for the caller to change."""
    return copy.deepcopy(dict(_inventory().get_variables(name)))


@functools.cache
def container(name: str) -> Host:
    """The container of a host."""
    return testinfra.get_host(f"docker://{PREFIX}{name}")


def said(host: Host, command: str) -> str:
    """What a command printed, whether or not it succeeded."""
    return str(host.run(command).stdout).strip()


def eventually(look: Callable[[], Value], wanted: Callable[[Value], bool] = bool, seconds: float = 30) -> Value:
    """Look until the wanted is seen, and return it; fail with what was seen last. A slower machine gets more seconds."""
    deadline = time.monotonic() + seconds * PATIENCE
    pause = 0.2  # each look costs processor time that what is waited for needs
    while True:
        seen = look()
        if wanted(seen):
            return seen
        assert time.monotonic() < deadline, f"after {seconds} s still: {seen!r}"
        time.sleep(pause)
        pause = min(pause * 1.15, 0.7)


@contextmanager
def asking(host: Host, command: str) -> Iterator[list[tuple[float, float, str]]]:
    """Ask again and again meanwhile. What was answered is there afterwards: begin, end, and the error or nothing."""
    answers: list[tuple[float, float, str]] = []
    folder = host.check_output("mktemp --directory")
    loop = (
        f"cd {folder}; while [ ! -e stop ]; do begin=$(date +%s.%N);"
        f' error=$(cd /tmp; timeout 30 {command} 2>&1 >/dev/null) && error= || error="$? $(echo $error)";'
        ' echo "$begin $(date +%s.%N) $error"; sleep 0.05; done >answers; touch ended'
    )
    subprocess.run(["docker", "exec", "--detach", host.backend.name, "sh", "-c", loop], check=True)
    try:
        yield answers
    finally:
        host.check_output(f"touch {folder}/stop")
        eventually(lambda: host.file(f"{folder}/ended").exists, seconds=60)
        for line in host.check_output(f"cat {folder}/answers").splitlines():
            begin, end, *error = line.split(" ", 2)
            answers.append((float(begin), float(end), "".join(error).strip()))
