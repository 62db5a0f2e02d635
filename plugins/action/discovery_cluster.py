# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a cluster to the service-discovery API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.hpcops.cluster.plugins.plugin_utils._discovery_action import (
    DiscoveryAction,
    Objects,
    Writer,
    checked_name,
)


class ActionModule(DiscoveryAction):
    """The action behind hpcops.cluster.discovery_cluster."""

    single: Mapping[str, Any] = {
        "name": {"type": "str", "required": True},
        "description": {"type": "str"},
        "slurm": {"type": "dict"},
        "variables": {"type": "dict"},
        "revision": {"type": "int"},
    }
    spec: Mapping[str, Any] = {"state": {"type": "str", "choices": ["present", "absent"], "default": "present"}}

    def objects(self, options: Mapping[str, Any]) -> Objects:
        """Return the cluster."""
        return Objects("clusters", [self.named(options)], is_list=False)

    def work(self, writer: Writer, objects: Objects, options: Mapping[str, Any]) -> None:
        """Make the cluster so, or take it out."""
        cluster = dict(objects.items[0])
        path = f"/v1/clusters/{checked_name(cluster.pop('name'), 'name')}"
        if options["state"] == "present":
            writer.write("cluster", "PUT", path, cluster)
        else:
            writer.remove("cluster", path)
