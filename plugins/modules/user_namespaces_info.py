#!/usr/bin/python
# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether ordinary users can make containers on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: user_namespaces_info
short_description: See whether ordinary users can make containers on a host
version_added: 0.1.0
description:
  - Makes a user namespace with a mount namespace in it, as the account with the number 65534, the same that a container without rights
    begins with, and mounts overlay there.
  - Fails where that is not allowed, and names the setting that is in the way. Where only overlay cannot be mounted, or AppArmor allows
    namespaces to named programs alone, it warns.
author:
  - hpcops.cluster contributors (@hpcops)
options: {}
attributes:
  check_mode:
    description: Only reads. What it makes is gone when it ends.
    support: full
"""

EXAMPLES = r"""
- name: See whether ordinary users can make containers here
  hpcops.cluster.user_namespaces_info:
"""

RETURN = r"""
found:
  description:
    - C(namespaces) and C(overlay) are V(yes) or what the kernel said instead; the kernel's settings by their path below C(/proc/sys), as
      far as it has them.
  returned: always
  type: dict
  sample: {namespaces: "yes", overlay: "yes", user/max_user_namespaces: "95821", user/max_mnt_namespaces: "95821"}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.hpcops.cluster.plugins.module_utils._user_namespaces import PROBE, judge, read_probe


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    _code, out, _err = module.run_command(["/bin/sh", "-c", PROBE], check_rc=True)
    found = read_probe(out)
    problem, warnings = judge(found)
    if problem:
        module.fail_json(msg=problem, found=found)
    for warning in warnings:
        module.warn(warning)
    module.exit_json(changed=False, found=found)


if __name__ == "__main__":
    main()
