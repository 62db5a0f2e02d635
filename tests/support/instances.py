# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances of moto's EC2 as containers: each boots, runs its user data as cloud-init does, and asks for its metadata."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ansible_collections.hpcops.cluster.tests.support.ec2_service import KEYS, Ec2

LOG = logging.getLogger(__name__)
OURS = "hpcops.instances"
# What a scenario's hosts have as well.
_HOST = (
    *(f"--cap-add={each}" for each in ("SYS_ADMIN", "NET_ADMIN", "SYS_NICE", "IPC_LOCK", "SYS_PTRACE")),
    *("--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined"),
    *("--tmpfs=/run:exec", "--tmpfs=/tmp:exec"),
)


def docker(*argv: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *argv], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise AssertionError(f"docker {' '.join(argv)}: {done.stderr}")
    return done.stdout.strip()


@dataclass
class Instance:
    """One, with the container that stands for it."""

    id: str
    account: str
    region: str
    index: int
    type: str
    spot: bool
    group: str
    container: str
    address: str = ""
    console: str = field(default="", repr=False)
    """What it had printed when it ended."""
    notices: dict[str, str] = field(default_factory=dict)
    """What its metadata says besides, by path."""

    def metadata(self) -> Mapping[str, str]:
        return {
            "instance-id": self.id,
            "ami-launch-index": str(self.index),
            "instance-type": self.type,
            "instance-life-cycle": "spot" if self.spot else "on-demand",
            "placement/region": self.region,
            "iam/info": "{}",
            "iam/security-credentials/": "node",
            "iam/security-credentials/node": json.dumps(
                {
                    "Code": "Success",
                    "Type": "AWS-HMAC",
                    "AccessKeyId": KEYS["AWS_ACCESS_KEY_ID"],
                    "SecretAccessKey": KEYS["AWS_SECRET_ACCESS_KEY"],
                    "Token": "",
                    "LastUpdated": "2026-01-01T00:00:00Z",
                    "Expiration": "2126-01-01T00:00:00Z",
                }
            ),
            **self.notices,
        }


@dataclass
class Instances:
    """Makes containers of instances, and ends instances whose container has ended."""

    ec2: Ec2
    places: Sequence[tuple[str, str]]
    """Accounts and regions."""
    network: str
    image: str
    labels: Sequence[str] = ()
    images: dict[str, str] = field(default_factory=dict)
    """Images of single groups."""
    pause: float = 0.3
    """Seconds between two looks at EC2."""
    all: dict[str, Instance] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self._stop.wait(self.pause):
            self._look()

    def _look(self) -> None:
        try:
            self.step()
        except Exception:  # the tests see what does not come; the next look may be better
            LOG.exception("instances")

    def step(self) -> None:
        running = set(docker("ps", f"--filter=label={OURS}", "--format={{.Names}}").split())
        for account, region in self.places:
            client = self.ec2.client(account, region)
            for page in client.get_paginator("describe_instances").paginate():
                for each in (each for group in page["Reservations"] for each in group["Instances"]):
                    self._follow(client, account, region, each, running)

    def _follow(self, client: Any, account: str, region: str, each: Mapping[str, Any], running: set[str]) -> None:
        known = self.all.get(each["InstanceId"])
        alive = each["State"]["Name"] in ("pending", "running")
        if known is None and alive:
            self._boot(client, account, region, each)
        elif known and alive and known.container not in running:
            client.terminate_instances(InstanceIds=[known.id])  # as its InstanceInitiatedShutdownBehavior says
        if known and known.container and not alive:
            known.console = self.printed(known)
            docker("rm", "--force", "--volumes", known.container, check=False)
            known.container = ""

    def _boot(self, client: Any, account: str, region: str, each: Mapping[str, Any]) -> None:
        tags = {tag["Key"]: tag["Value"] for tag in each.get("Tags", ())}
        group = tags.get("hpcops:group", "")
        name = f"{self.network}-{each['InstanceId']}"
        instance = Instance(
            each["InstanceId"],
            account,
            region,
            int(each["AmiLaunchIndex"]),
            each["InstanceType"],
            each.get("InstanceLifecycle") == "spot",
            group,
            name,
        )
        labels = [f"--label={each}" for each in (OURS, *self.labels)]
        host = f"ip-{each['PrivateIpAddress'].replace('.', '-')}"
        image = self.images.get(group, self.image)
        docker(
            "run",
            "--detach",
            f"--name={name}",
            f"--hostname={host}",
            f"--network={self.network}",
            *_HOST,
            *labels,
            image,
        )
        instance.address = docker(
            "inspect", "--format={{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", instance.container
        )
        self.all[instance.id] = instance
        data = client.describe_instance_attribute(InstanceId=instance.id, Attribute="userData")["UserData"].get("Value")
        if data:
            threading.Thread(target=self._user_data, args=(name, base64.b64decode(data)), daemon=True).start()

    def _user_data(self, name: str, script: bytes) -> None:
        booted = (
            'until systemctl is-system-running --wait 2>/dev/null | grep -qE "running|degraded"; do sleep 0.2; done'
        )
        subprocess.run(["docker", "exec", name, "timeout", "60", "sh", "-c", booted], check=False)
        write = "mkdir -p /var/lib/cloud && cat >/var/lib/cloud/user-data && chmod 700 /var/lib/cloud/user-data"
        subprocess.run(["docker", "exec", "--interactive", name, "sh", "-c", write], input=script, check=False)
        first = "/var/lib/cloud/user-data >/var/log/cloud-init-output.log 2>&1"
        subprocess.run(["docker", "exec", "--detach", name, "sh", "-c", first], check=False)

    # --- What AWS does -----------------------------------------------------------------------------------------------

    def of(self, group: str) -> list[Instance]:
        """Those that are there."""
        return [each for each in self.all.values() if each.group == group and each.container]

    def printed(self, instance: Instance) -> str:
        """The console of one that is there, or was."""
        if not instance.container:
            return instance.console
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder, "log")
            docker("cp", f"{instance.container}:/var/log/cloud-init-output.log", str(log), check=False)
            return log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""

    def by_address(self, address: str) -> Instance | None:
        return next((each for each in self.all.values() if each.container and each.address == address), None)

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()

    def remove(self) -> None:
        """Remove all containers."""
        left = docker("ps", "--all", "--quiet", f"--filter=label={OURS}", f"--filter=network={self.network}").split()
        if left:
            docker("rm", "--force", "--volumes", *left)


class _Metadata(BaseHTTPRequestHandler):
    """The metadata service, version 2: who asks is known by the address."""

    instances: Instances

    def do_PUT(self) -> None:
        self._answer(200, "token")

    def do_GET(self) -> None:
        instance = self.instances.by_address(self.client_address[0])
        path = self.path.removeprefix("/latest/meta-data/")
        found = instance.metadata().get(path) if instance else None
        if self.headers.get("X-aws-ec2-metadata-token") != "token":
            self._answer(401, "")
        elif found is None:
            self._answer(404, "")
        else:
            self._answer(200, found)

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(text.encode())

    def log_message(self, *_arguments: Any) -> None:
        pass


@contextmanager
def booting(instances: Instances, address: str, port: int) -> Iterator[Instances]:
    """Let instances become containers, and answer them at the port, until the end."""

    class Metadata(_Metadata):
        pass

    Metadata.instances = instances
    server = ThreadingHTTPServer((address, port), Metadata)
    threads = [threading.Thread(target=server.serve_forever), threading.Thread(target=instances.run)]
    for thread in threads:
        thread.start()
    try:
        yield instances
    finally:
        instances.stop()
        server.shutdown()
        for thread in threads:
            thread.join()
        server.server_close()
        instances.remove()
