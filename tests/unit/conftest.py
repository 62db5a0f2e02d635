# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the checkout importable as the collection it is, wherever it lies."""

from __future__ import annotations

from pathlib import Path

from ansible.utils.collection_loader import AnsibleCollectionConfig
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[2]


def collections_path() -> Path:
    """Return a collections path that has this checkout in it; made on first use, and not under version control."""
    path = ROOT / ".ansible" / "collections"
    link = path / "ansible_collections" / "hpcops" / "cluster"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(ROOT, target_is_directory=True)
    return path


# ansible-test brings its own finder, which knows where the collection is (and lets no plugin loader near module_utils).
if AnsibleCollectionConfig.collection_finder is None:
    from ansible.plugins.loader import init_plugin_loader

    init_plugin_loader([str(collections_path())])

# How busy the machine is says nothing of the code.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
