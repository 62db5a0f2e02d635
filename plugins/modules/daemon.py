#!/usr/bin/python
# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A systemd unit that runs and answers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: daemon
short_description: Make sure that a systemd service runs, starts at boot, and answers
version_added: 0.1.0
description:
  - Starts, restarts, reloads or stops a systemd service, then waits until it answers a probe.
  - C(systemctl start) succeeds for a service that dies a moment later and for one whose C(Condition…) is not met. This
    module fails in both cases, and its message ends with the last lines of the service's journal.
  - In check mode a unit that is not installed yet counts as one that would be started, so that a dry run over a new host
    goes through to the end.
author:
  - hpcops.cluster contributors (@hpcops)
options:
  name:
    description: Unit name; C(.service) is added where there is no suffix.
    type: str
    required: true
  state:
    description:
      - V(started) starts it if it does not run. V(restarted) always restarts it. V(reloaded) reloads it, or starts it if it
        does not run. V(stopped) stops it.
    type: str
    choices: [started, restarted, reloaded, stopped]
    default: started
  enabled:
    description: Whether it starts at boot.
    type: bool
    default: true
  probe:
    description:
      - Command, as a list of arguments, that succeeds when the service answers. It is run without a shell, repeatedly, until
        it succeeds or O(timeout) is over. It must not change anything.
      - Without it the service only has to stay active.
    type: list
    elements: str
  only_if:
    description:
      - Command, as a list of arguments, that must succeed before the service is started, stopped or restarted; else the task fails and
        the service stays as it is. With C(throttle=1), for services of which only one may be away at a time.
    type: list
    elements: str
  timeout:
    description: Seconds within which the service must be active and answer the probe.
    type: int
    default: 30
  log_file:
    description: The service's own log file. A failure shows its last lines too.
    type: path
  journal_lines:
    description: How many of the last lines of the journal, and of O(log_file), a failure shows.
    type: int
    default: 15
attributes:
  check_mode:
    description: Can run in check mode. The probe is not run there.
    support: full
  diff_mode:
    description: Returns the unit's state before and after.
    support: full
"""

EXAMPLES = r"""
- name: Run munge
  hpcops.cluster.daemon:
    name: munge
    probe: [munge, --no-input]
"""

RETURN = r"""
actions:
  description: The systemctl verbs that were, or in check mode would be, run.
  returned: success
  type: list
  elements: str
  sample: [enable, start]
installed:
  description: Whether the unit exists on the host. False only in check mode, and for a service that shall be stopped.
  returned: success
  type: bool
  sample: true
pid:
  description: Main process of the service; 0 when it has none.
  returned: success
  type: int
  sample: 4711
"""

import time
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule

PROPERTIES = "LoadState,ActiveState,SubState,UnitFileState,ConditionResult,NeedDaemonReload,MainPID"
ENABLED_STATES = ("enabled", "enabled-runtime", "static", "alias", "indirect", "generated")
POLL_SECONDS = 0.2


class Unit:
    """One systemd unit, as systemctl shows it."""

    def __init__(self, module: AnsibleModule, name: str) -> None:
        self.module = module
        self.name = name if "." in name else f"{name}.service"

    def show(self) -> dict[str, str]:
        code, out, err = self.module.run_command(["systemctl", "show", self.name, f"--property={PROPERTIES}"])
        if code != 0:
            self.module.fail_json(msg=f"{self.name}: systemd cannot be asked: {err.strip()}", rc=code)
        return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)

    def systemctl(self, verb: str) -> None:
        code, dummy_out, err = self.module.run_command(["systemctl", verb, self.name])
        if code != 0:
            self.fail(f"systemctl {verb} failed: {err.strip()}")

    def fail(self, reason: str) -> NoReturn:
        lines = str(self.module.params["journal_lines"])
        sources = {
            "journal": ["journalctl", f"--unit={self.name}", f"--lines={lines}", "--no-pager", "--output=short-iso"]
        }
        if self.module.params["log_file"]:
            sources[self.module.params["log_file"]] = ["tail", f"--lines={lines}", self.module.params["log_file"]]
        message = f"{self.name}: {reason}"
        for source, command in sources.items():
            dummy, out, dummy_err = self.module.run_command(command)
            message += f"\nLast lines of {source}:\n{out.strip() or '(empty)'}"
        self.module.fail_json(msg=message)
        raise AssertionError  # fail_json does not return


def plan(state: str, enabled: bool, status: dict[str, str]) -> list[str]:
    """The systemctl verbs that lead from the unit's status to the wanted state."""
    active = status["ActiveState"] in ("active", "activating", "reloading")
    verbs = []
    if enabled and status["UnitFileState"] not in ENABLED_STATES:
        verbs.append("enable")
    if not enabled and status["UnitFileState"] in ("enabled", "enabled-runtime"):
        verbs.append("disable")
    if state == "restarted":
        verbs.append("restart")
    elif state == "reloaded":
        verbs.append("reload" if active else "start")
    elif state == "started" and not active:
        verbs.append("start")
    elif state == "stopped" and active:
        verbs.append("stop")
    return verbs


def wait_until_it_answers(unit: Unit, probe: list[str] | None, timeout: int) -> dict[str, str]:
    """The unit's status once it is active and answers; fails with its journal after timeout seconds."""
    deadline = time.monotonic() + timeout
    while True:
        status = unit.show()
        if status["ActiveState"] == "failed":
            unit.fail("it died after it was started")
        if status["ActiveState"] == "inactive":
            if status["ConditionResult"] == "no":
                unit.fail(
                    "systemd did not start it, since a condition of the unit is not met (systemctl status tells which)"
                )
            unit.fail("it stopped by itself")
        reason = f"it is still {status['ActiveState']} ({status['SubState']})"
        if status["ActiveState"] == "active":
            if not probe:
                return status
            code, out, err = unit.module.run_command(probe)
            if code == 0:
                return status
            reason = f"it runs, but does not answer '{' '.join(probe)}': {(err or out).strip()}"
        if time.monotonic() >= deadline:
            unit.fail(f"{reason} (after {timeout} s)")
        time.sleep(POLL_SECONDS)


def describe(status: dict[str, str]) -> str:
    return f"{status['ActiveState']}, {status['UnitFileState'] or 'not installed'}\n"


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["started", "restarted", "reloaded", "stopped"], "default": "started"},
            "enabled": {"type": "bool", "default": True},
            "probe": {"type": "list", "elements": "str"},
            "only_if": {"type": "list", "elements": "str"},
            "timeout": {"type": "int", "default": 30},
            "log_file": {"type": "path"},
            "journal_lines": {"type": "int", "default": 15},
        },
        supports_check_mode=True,
    )
    params: dict[str, Any] = module.params
    unit = Unit(module, params["name"])
    before = unit.show()

    if before["LoadState"] == "masked" and params["state"] != "stopped":
        module.fail_json(msg=f"{unit.name}: the unit is masked. Run 'systemctl unmask {unit.name}' if it shall run.")
    if before["LoadState"] == "not-found" and not module.check_mode:
        if params["state"] == "stopped":
            module.exit_json(changed=False, actions=[], installed=False, pid=0)
        module.fail_json(msg=f"{unit.name}: there is no such unit on this host. Is its package installed?")

    verbs = plan(params["state"], params["enabled"], before)
    stopped = params["state"] == "stopped"
    after = dict(before)
    if module.check_mode:
        if verbs:
            after.update(
                ActiveState="inactive" if stopped else "active",
                UnitFileState="enabled" if params["enabled"] else "disabled",
            )
    else:
        if verbs and params["only_if"]:
            code, out, err = module.run_command(params["only_if"])
            if code != 0:
                unit.fail(
                    f"it is left as it is, since '{' '.join(params['only_if'])}' does not hold: {(err or out).strip()}"
                )
        if before["NeedDaemonReload"] == "yes":
            module.run_command(["systemctl", "daemon-reload"], check_rc=True)
        for verb in verbs:
            unit.systemctl(verb)
        after = unit.show() if stopped else wait_until_it_answers(unit, params["probe"], params["timeout"])

    module.exit_json(
        changed=bool(verbs),
        actions=verbs,
        installed=before["LoadState"] != "not-found",
        pid=int(after.get("MainPID", 0)),  # sockets and timers have none
        diff={
            "before_header": unit.name,
            "after_header": unit.name,
            "before": describe(before),
            "after": describe(after),
        },
    )


if __name__ == "__main__":
    main()
