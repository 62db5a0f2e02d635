# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host lists as Slurm writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ClusterShell.NodeSet import NodeSet, NodeSetException

from hpcops_elastic.errors import ElasticError

_ONE = re.compile(r"[A-Za-z0-9_.-]+")


def expand(text: str) -> list[str]:
    """Names of a host list such as c[1-3,7], in Slurm's order.

    Raises ElasticError where it is none.
    """
    if _ONE.fullmatch(text):  # a job with one node, of which there may be thousands
        return [text]
    # Groups of ClusterShell's own, @name, are none of Slurm's.
    if "@" in text:
        raise ElasticError(f"'{text[:80]}' is no list of nodes such as c[1-3,7]")
    try:
        return [str(name) for name in NodeSet(text)]
    except NodeSetException as error:
        raise ElasticError(f"'{text[:80]}' is no list of nodes such as c[1-3,7]: {error}") from error


def fold(names: Iterable[str]) -> str:
    """The shortest list of these names; expand gives them back in the list's own order."""
    return str(NodeSet.fromlist(list(names)))
