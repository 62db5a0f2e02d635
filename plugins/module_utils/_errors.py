# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's own exceptions: raised by pure code, turned into Ansible's by the plugin that called it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class HpcopsError(Exception):
    """Something the user can put right; the message says what, where and how."""


class HostlistError(HpcopsError):
    """A text is no host list, or a name cannot be part of one."""


class SlurmParameterError(HpcopsError):
    """A parameter that a Slurm release does not know, or a value its parser would refuse."""


class NodeVariableError(HpcopsError):
    """A host's slurm_node_* variables do not make a node."""


class SlurmNodeError(HpcopsError):
    """Nodes that slurmctld does not know, or a reason or time that it could not be given."""


class ControllerError(HpcopsError):
    """slurmctld cannot be asked, or refuses a request."""


class AccountingError(HpcopsError):
    """Accounts, users or QOS that cannot be made so, or slurmdbd that cannot be asked."""


class StorageError(HpcopsError):
    """A mount, export or quota that cannot be made as it is described."""


class InventoryError(HpcopsError):
    """A source of hosts gave no answer that may be used."""


class SourceUnreachableError(HpcopsError):
    """A source cannot be asked now; what it said before may serve instead."""


class DiscoveryError(HpcopsError):
    """The service-discovery API cannot be asked so, or gives no answer that may be used."""


class DiscoveryRefusalError(DiscoveryError):
    """The API refuses a request; its problem document says why."""

    def __init__(self, message: str, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem


class AwsError(HpcopsError):
    """An AWS account cannot be asked so, or gives no answer that may be used."""


class ExpressionError(InventoryError):
    """An expression of an inventory's configuration has no value for a host."""
