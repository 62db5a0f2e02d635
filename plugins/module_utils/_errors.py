# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's own exceptions: raised by pure code, turned into Ansible's by the plugin that called it."""

from __future__ import annotations


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


class InventoryError(HpcopsError):
    """A source of hosts gave no answer that may be used."""


class SourceUnreachableError(InventoryError):
    """A source of hosts cannot be asked now; what it said before may serve instead."""


class ExpressionError(InventoryError):
    """An expression of an inventory's configuration has no value for a host."""
