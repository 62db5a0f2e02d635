"""Ansible as its user starts it, on an inventory of the plugin's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.hpcops.cluster.tests.discovery_service import READER, ROOT, Service


@dataclass
class Ansible:
    """A folder with a configuration of the plugin, and Ansible's programs on it."""

    folder: Path
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

    def run(self, program: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
            "ANSIBLE_HOME": str(self.folder / "home"),
            "ANSIBLE_LOCALHOST_WARNING": "0",
            **settings,
        }
        command = [str(Path(sys.executable).with_name(program)), "-i", str(self.source), *arguments]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def listed(self) -> dict[str, Any]:
        """The inventory as ansible-inventory shows it."""
        done = self.run("ansible-inventory", "--list")
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def names(self) -> list[str]:
        done = self.run("ansible", "all", "--list-hosts", ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED="1")
        assert done.returncode == 0, done.stdout + done.stderr
        return [line.strip() for line in done.stdout.splitlines()[1:]]
