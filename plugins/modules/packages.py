#!/usr/bin/python
# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: Install packages, asking the package manager only when something is missing
version_added: 0.1.0
description:
  - Asks the package database which of the packages are installed, by one short command, and hands the others to
    M(ansible.builtin.package).
  - Opening the package manager's cache costs M(ansible.builtin.apt) more than a second on each host, in every run. A run
    that has nothing to install does not pay that.
author:
  - hpcops.cluster contributors (@hpcops)
options:
  name:
    description:
      - The packages. V(name=version), where the version may hold C(*), asks for that version and replaces another one.
    type: list
    elements: str
    required: true
  absent:
    description:
      - Packages that are removed first, if they are installed, because those of O(name) take their place.
      - May hold C(*).
      - Their configuration files stay.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description:
      - Can run in check mode. Packages that no repository of the host has count as ones that would be installed, since
        the repository may be one that the same run would have declared.
    support: full
  diff_mode:
    description: Shows what the package manager would do.
    support: full
notes:
  - Needs the fact C(pkg_mgr); without it every run asks the package manager.
  - C(module_defaults) of M(ansible.builtin.apt) and M(ansible.builtin.dnf) apply when something has to be installed.
"""

EXAMPLES = r"""
- name: Install what is needed
  hpcops.cluster.packages:
    name: [chrony, slurm-smd=25.05.5*]
"""

RETURN = r"""#"""
