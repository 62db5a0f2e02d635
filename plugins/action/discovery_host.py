# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write hosts to the service-discovery API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import DiscoveryError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._discovery_action import (
    DiscoveryAction,
    Objects,
    Writer,
    checked_name,
)
from ansible_collections.hpcops.cluster.plugins.plugin_utils._discovery_client import batches

STATES = ["planned", "ready", "active", "maintenance", "retired"]
_TEXTS = {"type": "list", "elements": "str"}


class ActionModule(DiscoveryAction):
    """The action behind hpcops.cluster.discovery_host."""

    collection = "hosts"
    elements = "raw"
    single: Mapping[str, Any] = {
        "name": {"type": "str"},
        "cluster": {"type": "str"},
        "lifecycle": {"type": "str", "choices": STATES},
        "addresses": {"type": "dict"},
        "roles": _TEXTS,
        "partitions": _TEXTS,
        "rack": {"type": "str"},
        "switch": {"type": "str"},
        "provider": {"type": "str"},
        "instance_id": {"type": "str"},
        "labels": {"type": "dict"},
        "slurm_node": {"type": "dict"},
        "variables": {"type": "dict"},
        "revision": {"type": "int"},
    }
    spec: Mapping[str, Any] = {
        "state": {"type": "str", "choices": ["present", "retired", "absent"], "default": "present"},
        "merge": {"type": "bool", "default": True},
    }

    def objects(self, options: Mapping[str, Any]) -> Objects:
        """Return the hosts; the API calls the lifecycle a host's state."""
        hosts = self.listed(options)
        if hosts is not None:
            return Objects("hosts", hosts, is_list=True)
        host = self.named(options)
        if "lifecycle" in host:
            host["state"] = host.pop("lifecycle")
        return Objects("hosts", [host], is_list=False, renamed={"state": "lifecycle"})

    def work(self, writer: Writer, objects: Objects, options: Mapping[str, Any]) -> None:
        """Make the hosts so, or retire them."""
        if options["state"] == "present":
            method = "PATCH" if options["merge"] else "POST"
            writer.write("host", method, "/v1/hosts", {"hosts": objects.items})
            return
        names = [checked_name(host.get("name"), objects.subject(at)) for at, host in enumerate(objects.items)]
        known = {host["name"] for host in _of_hosts(writer, "/v1/hosts", "name", names)}
        missing = [name for name in names if name not in known]
        if missing and options["state"] == "retired":
            raise DiscoveryError(f"there is no host {', '.join(missing)} to retire; state absent takes that for done")
        retired = [
            {"name": host["name"], "state": "retired", "revision": host.get("revision")}
            for host in objects.items
            if host["name"] in known
        ]
        if not retired:
            return
        if options["state"] == "absent":
            # Services go first, since the API does not show those of retired hosts; but only where nothing is wrong with the rest.
            writer.try_out("PATCH", "/v1/hosts", {"hosts": retired})
            for service in list(_of_hosts(writer, "/v1/services", "host", sorted(known))):
                writer.remove_service(service["cluster"], service["name"], service["host"])
        writer.write("host", "PATCH", "/v1/hosts", {"hosts": retired})


def _of_hosts(writer: Writer, path: str, option: str, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    for part in batches(names):
        if part:  # no filter would mean all hosts
            yield from writer.items(path, {option: part})
