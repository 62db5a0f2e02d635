#!/usr/bin/python
# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: validate
short_description: Hold variables against rules, and report all that are violated
version_added: 0.1.0
description:
  - Evaluates conditional expressions as M(ansible.builtin.assert) does, but any number of rules in one task. It fails with
    the messages of all rules that are violated, so that a user corrects a configuration at once and not by and by.
  - Works on the control node alone; the host is not contacted.
author:
  - hpcops.cluster contributors (@hpcops)
options:
  rules:
    description:
      - The rules. Every rule is evaluated, whatever became of those before it.
      - Written out in the task; a template in their place is an error.
    type: list
    elements: dict
    required: true
    suboptions:
      that:
        description:
          - Conditional expressions, without braces, all of which have to be true. One whose result is no boolean is an error.
          - Those after the first that is false are not evaluated, and may rely on the ones before.
        type: list
        elements: raw
        required: true
      message:
        description:
          - What is wrong, which variable, and what to do. Templated only when the rule is violated, so that it may use what
            exists only then.
          - It is printed. It should not have a secret in it.
        type: str
        required: true
attributes:
  check_mode:
    description: Can run in check mode, where it does the same.
    support: full
  diff_mode:
    description: Has nothing to show.
    support: none
seealso:
  - module: ansible.builtin.assert
"""

EXAMPLES = r"""
- name: Check the hosts and the password
  hpcops.cluster.validate:
    rules:
      - that: slurmdbd_hosts | length in [1, 2]
        message: >-
          slurmdbd_hosts: slurmdbd has one primary and at most one backup; found {{ slurmdbd_hosts | length }}.
      - that:
          - slurmdbd_storage_password | length > 0
          - "'#' not in slurmdbd_storage_password"
        message: >-
          slurmdbd_storage_password is empty or contains a "#", at which slurmdbd would cut it off.
"""

RETURN = r"""
msg:
  description: The messages of the rules that are violated, each on a line of its own.
  returned: when a rule is violated
  type: str
violated:
  description: The expression of each of these rules that was not true.
  returned: when a rule is violated
  type: list
  elements: raw
  sample: ["slurmdbd_hosts | length in [1, 2]"]
"""
