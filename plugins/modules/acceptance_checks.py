#!/usr/bin/python
# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands that show whether a host does its part, run to the last one and reported together."""

from __future__ import annotations

DOCUMENTATION = r"""
module: acceptance_checks
short_description: Run a list of checks on a host and report each outcome
version_added: 0.1.0
description:
  - Runs each command of O(checks). A check passes when its command succeeds and prints what is expected.
  - A check that fails does not fail the task, so that one run tells everything that is wrong. The caller decides with
    RV(results).
author:
  - hpcops.cluster contributors (@hpcops)
options:
  checks:
    description: The checks, run in their order.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What is shown by this check, as a sentence.
        type: str
        required: true
      command:
        description:
          - Shell command line. It must not leave anything behind.
          - Never put another host's output into it. Pass such text as O(checks[].stdin).
        type: str
        required: true
      stdin:
        description: Text for the command's standard input.
        type: str
        default: ""
      user:
        description: Account to run as, in a login session. The default is the account that the task runs as.
        type: str
      expect:
        description: Regular expression that must be found in the command's output.
        type: str
      timeout:
        description: Seconds until the command is killed.
        type: int
        default: 60
      retry:
        description: Seconds for which a failing command is run again. V(0) runs it once.
        type: int
        default: 0
attributes:
  check_mode:
    description: Runs the checks in check mode too, since they are reads.
    support: full
"""

EXAMPLES = r"""
- name: See whether the controller answers
  hpcops.cluster.acceptance_checks:
    checks:
      - name: slurmctld answers
        command: scontrol ping
        expect: is UP
  register: outcome
"""

RETURN = r"""
results:
  description: The outcome of each check, in order.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the check.
      type: str
    passed:
      description: Whether it passed.
      type: bool
    detail:
      description: The last lines that the command printed, or why it failed.
      type: str
    seconds:
      description: How long it took.
      type: float
  sample: [{name: slurmctld answers, passed: true, detail: "Slurmctld(primary) at ctl is UP", seconds: 0.1}]
"""

import re
import subprocess
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DETAIL_LINES = 4
RETRY_SECONDS = 0.5


def attempt(check: dict[str, Any]) -> tuple[bool, str]:
    """Run the check's command once: whether it passed, and what to tell of it."""
    argv = ["/bin/sh", "-c", check["command"]]
    if check["user"]:
        argv = ["su", "--login", check["user"], "--command", check["command"]]
    try:
        done = subprocess.run(
            argv,
            input=check["stdin"].encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=check["timeout"],
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f"no end after {check['timeout']} s"
    output = done.stdout.decode("utf-8", "replace").strip()
    detail = "\n".join(output.splitlines()[-DETAIL_LINES:])
    if done.returncode != 0:
        return False, f"{detail or 'no output'} (exit status {done.returncode})"
    if check["expect"] and not re.search(check["expect"], output):
        return False, f"{detail or 'no output'} (expected: {check['expect']})"
    return True, detail


def run(check: dict[str, Any]) -> dict[str, Any]:
    """The outcome of the check, repeated until it passes or its retry time is over."""
    start = time.monotonic()
    while True:
        passed, detail = attempt(check)
        elapsed = time.monotonic() - start
        if passed or elapsed >= check["retry"]:
            return {
                "name": check["name"],
                "passed": passed,
                "detail": detail,
                "seconds": round(elapsed, 2),
            }
        time.sleep(RETRY_SECONDS)


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "checks": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "command": {"type": "str", "required": True},
                    "stdin": {"type": "str", "default": ""},
                    "user": {"type": "str"},
                    "expect": {"type": "str"},
                    "timeout": {"type": "int", "default": 60},
                    "retry": {"type": "int", "default": 0},
                },
            },
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, results=[run(check) for check in module.params["checks"]])


if __name__ == "__main__":
    main()
