# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which node an instance is."""

from __future__ import annotations

from .cloud import LAUNCH, NODE, NODES, Instance
from .errors import ElasticError
from .hosts import expand
from .journal import Journal


def node_of(journal: Journal, instance: Instance) -> str:
    """The name of an instance's node, by what its launch wrote on it; empty where that does not tell."""
    if instance.tags.get(NODE):
        return instance.tags[NODE]
    try:
        names = expand(instance.tags.get(NODES, ""))
    except ElasticError:
        return ""
    if not names:
        launch = journal.launch(instance.tags.get(LAUNCH, ""))
        taken = {row["instance"]: row["node"] for row in journal.running()} if launch else {}
        return taken.get(instance.id, "")
    return names[instance.index] if instance.index < len(names) else ""
