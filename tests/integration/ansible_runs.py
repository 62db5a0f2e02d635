"""Ansible as its user starts it, on an inventory of a plugin's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.hpcops.cluster.tests.support.discovery_service import READER, ROOT, Service
from ansible_collections.hpcops.cluster.tests.support.forked import Loaded

# The settings for results_of.
RESULTS = {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}


def results_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """What became of each task of a playbook, by host."""
    begin = f"\n{done.stdout}".find("\n{")
    assert begin >= 0, done.stdout + done.stderr
    plays = json.loads(done.stdout[begin:])["plays"]
    return [task["hosts"] for play in plays for task in play["tasks"]]


class Starter(ExitStack):
    """Starts Ansible's programs, as forks of a process for each set of Ansible's settings."""

    def __init__(self, home: Path) -> None:
        super().__init__()
        self.home = home
        self._loaded: dict[frozenset[tuple[str, str]], Loaded] = {}

    def command(self, program: str, *arguments: str) -> list[str]:
        return [str(Path(sys.executable).with_name(program)), *arguments]

    def environment(self, **settings: str) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
            "ANSIBLE_HOME": str(self.home),
            "ANSIBLE_LOCALHOST_WARNING": "0",
            **settings,
        }

    def start(self, folder: Path, program: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        # The loading process is in another folder, where it would not find this file.
        assert not (folder / "ansible.cfg").exists(), "name it by ANSIBLE_CONFIG"
        environment = self.environment(**settings)
        of_ansible = frozenset(item for item in environment.items() if item[0].startswith("ANSIBLE_"))
        if of_ansible not in self._loaded:
            loading = {**environment, "PYTHONPATH": str(Path(__file__).parent)}
            self._loaded[of_ansible] = self.enter_context(Loaded(["loaded_ansible"], env=loading))
        return self._loaded[of_ansible].run(self.command(program, *arguments), cwd=folder, env=environment)


@dataclass
class Programs:
    """Ansible's programs on an inventory in a folder."""

    folder: Path
    starter: Starter

    @property
    def source(self) -> Path:
        raise NotImplementedError

    def run(self, program: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return self.start(program, "-i", str(self.source), *arguments, **settings)

    def play(
        self,
        *tasks: dict[str, Any],
        options: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        **play: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run tasks on a host that cannot be reached; one that fails does not stop the others."""
        named = [{"name": f"task {number}", "ignore_errors": True, **task} for number, task in enumerate(tasks)]
        playbook = self.folder / "playbook.yml"
        playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": named, **play}]))
        return self.start("ansible-playbook", "-i", "host.invalid,", str(playbook), *options, **(settings or {}))

    def results(self, *tasks: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
        """What becomes of each task."""
        done = self.play(*tasks, settings=RESULTS, **more)
        return [next(iter(hosts.values())) for hosts in results_of(done)]

    def start(self, program: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return self.starter.start(self.folder, program, *arguments, **settings)

    def listed(self, **settings: str) -> dict[str, Any]:
        """The inventory as ansible-inventory shows it."""
        done = self.run("ansible-inventory", "--list", **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def names(self) -> list[str]:
        done = self.run("ansible", "all", "--list-hosts", ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED="1")
        assert done.returncode == 0, done.stdout + done.stderr
        return [line.strip() for line in done.stdout.splitlines()[1:]]


@dataclass
class Ansible(Programs):
    """A folder with a configuration of the plugin discovery, and Ansible's programs on it."""

    service: Service

    @property
    def source(self) -> Path:
        return self.folder / "site.discovery.yml"

    def configure(self, **options: Any) -> None:
        common = {
            "plugin": "hpcops.cluster.discovery",
            "url": self.service.url,
            "ca_file": str(self.service.ca_file),
            "token": READER,
            "cache_dir": str(self.folder / "cache"),
            "retries": 0,
        }
        self.source.write_text(json.dumps({**common, **options}))
