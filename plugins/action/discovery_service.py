# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write services to the service-discovery API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import DiscoveryError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._discovery_action import (
    DiscoveryAction,
    Objects,
    Writer,
    checked_name,
)


class ActionModule(DiscoveryAction):
    """The action behind hpcops.cluster.discovery_service."""

    collection = "services"
    single: Mapping[str, Any] = {
        "name": {"type": "str"},
        "cluster": {"type": "str"},
        "hosts": {"type": "list", "elements": "str"},
        "port": {"type": "int"},
        "scheme": {"type": "str"},
        "path": {"type": "str"},
        "metrics_path": {"type": "str"},
        "check": {"type": "dict"},
        "labels": {"type": "dict"},
    }
    spec: Mapping[str, Any] = {"state": {"type": "str", "choices": ["present", "absent"], "default": "present"}}

    def objects(self, options: Mapping[str, Any]) -> Objects:
        """Return the services, one for each host."""
        services = self.listed(options)
        if services is not None:
            return Objects("services", services, is_list=True)
        service = self.named(options)
        missing = [option for option in ("cluster", "hosts") if option not in service]
        if missing:
            raise DiscoveryError(f"{', '.join(missing)}: needed with name")
        hosts = service.pop("hosts")
        return Objects("services", [{**service, "host": host} for host in hosts], is_list=False)

    def work(self, writer: Writer, objects: Objects, options: Mapping[str, Any]) -> None:
        """Make the services so, or take them out one by one."""
        if options["state"] == "present":
            writer.write("service", "POST", "/v1/services", {"services": objects.items})
            return
        keys = [
            tuple(
                checked_name(service.get(part), f"{objects.subject(at)}: {part}")
                for part in ("cluster", "name", "host")
            )
            for at, service in enumerate(objects.items)
        ]
        for cluster, name, host in dict.fromkeys(keys):
            writer.remove_service(cluster, name, host)
