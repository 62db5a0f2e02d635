# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that the inventory plugins have in common."""

from __future__ import annotations


class ModuleDocFragment:
    """The fragment."""

    DOCUMENTATION = r"""
options:
  stale_ok:
    description:
      - For how long the last good answer may stand in for a source that cannot be reached, as V(30m), V(1h), V(2d) or a number
        of seconds. It is counted from when the source last confirmed it.
      - A warning says so, with the age. V(0) means never. Something else than a duration is an error.
      - An answer that refuses the request, or that cannot be used, is an error in any case.
    type: str
    default: "0"
    env:
      - name: HPCOPS_INVENTORY_STALE_OK
  max_shrink:
    description:
      - Percentage of its hosts that a part (a cluster, or a region of an account) may have lost since the last good answer. One that
        lost more is refused by an error that names the lost hosts, since a smaller inventory would take nodes out of slurm.conf.
      - Where the loss is right, set E(HPCOPS_INVENTORY_MAX_SHRINK) to 100 for one run.
      - There is nothing to compare with in the first run with a configuration or other credentials.
    type: int
    default: 20
    env:
      - name: HPCOPS_INVENTORY_MAX_SHRINK
  min_hosts:
    description: An answer with fewer hosts is an error.
    type: int
    default: 1
  cache_dir:
    description:
      - Folder for the last good answers, one file of mode 0600 for each part and configuration. Made where it is missing. No credentials
        are in it.
      - With C(--flush-cache) the source is asked for everything again, and its answer is still compared with the last good one.
    type: path
    default: ~/.ansible/hpcops_inventory
    env:
      - name: HPCOPS_INVENTORY_CACHE_DIR
notes:
  - Paths such as V(labels.rack), their comparisons with constants, and such joined by V(and), V(or) and V(not) are evaluated without
    Jinja in O(compose), O(groups) and O(keyed_groups), several times faster. Other expressions are compiled once.
  - Values from the source are never templates, and never part of an expression's source.
  - In names of groups, whatever is no letter, digit or underscore becomes an underscore.
  - The group C(all) gets the variable C(hpcops_inventory_status), which has for each file its C(plugin), the sources C(asked) and
    C(failed), C(error), C(stale), C(age) in seconds, C(hosts) and C(revision). The collection's playbooks stop where a source failed.
    Set C(any_unparsed_is_failed) in ansible.cfg, section C(inventory), so that all others do.
"""
