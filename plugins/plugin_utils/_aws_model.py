# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS's model of EC2, cut down to what is asked for.

botocore makes a client from a description of all of EC2, some 800 operations, and reads every member of an answer. With the few that
are used, a client takes a tenth of the time, and an answer half. Where the description is not what it was when this was written, all
of it is used.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from typing import Any

try:
    from botocore.loaders import Loader
except ImportError:  # whoever would use this says so
    Loader = object

OPERATIONS = (
    "DescribeImages",
    "DescribeInstances",
    "DescribeInstanceTypes",
    "DescribeRegions",
    "DescribeSecurityGroups",
    "DescribeSubnets",
)
_MEMBERS = {
    "Reservation": ("OwnerId", "Instances"),
    "Placement": ("AvailabilityZone",),
    "InstanceState": ("Name",),
}


def pruned(model: Mapping[str, Any], members: Collection[str] | None) -> Mapping[str, Any]:
    """Return the model with these operations, and of instances these members (None: all of them); all of it where that fails."""
    try:
        operations = {name: model["operations"][name] for name in OPERATIONS}
        shapes = dict(model["shapes"])
        wanted = {**_MEMBERS, "Instance": members} if members is not None else {}
        for shape, names in wanted.items():
            shapes[shape] = {**shapes[shape], "members": {name: shapes[shape]["members"][name] for name in names}}
    except (KeyError, TypeError):
        return model
    return {**model, "operations": operations, "shapes": shapes}


class LeanLoader(Loader):
    """Loads AWS's models, and of EC2's what is wanted."""

    def __init__(self, members: Collection[str] | None) -> None:
        super().__init__()
        self._members = members
        self._lean: dict[str | None, Mapping[str, Any]] = {}

    def load_service_model(self, service_name: str, type_name: str, api_version: str | None = None) -> Any:
        """Return the model, which is the same object each time."""
        if (service_name, type_name) != ("ec2", "service-2"):
            return super().load_service_model(service_name, type_name, api_version)
        if api_version not in self._lean:
            model = super().load_service_model(service_name, type_name, api_version)
            self._lean[api_version] = pruned(model, self._members)
        return self._lean[api_version]


@functools.cache
def loader(members: frozenset[str] | None) -> LeanLoader:
    """Return the loader for all sessions: reading the models takes most of the time that a session does."""
    return LeanLoader(members)
