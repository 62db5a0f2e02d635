#!/usr/bin/python
# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controllers' configuration files as one set: checked, replaced, made active, verified, or put back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slurm_config
short_description: Replace a controller's configuration files as a set, or leave everything as it was
version_added: 0.1.0
description:
  - Compares the given files with those in O(directory). When one differs, the whole set is checked by the installed release's own
    parser in a directory beside it before anything is replaced.
  - Then the files are replaced atomically and the running slurmctld takes them over by the least disruptive way that O(release)
    allows, C(scontrol reconfigure), or a restart and then C(scontrol reconfigure) for the nodes that fetch their configuration.
  - When slurmctld does not answer afterwards, the former files return, it is started with them, and the module fails with the
    last lines of its journal.
  - A slurmctld that does not run is left alone; the files are checked and replaced.
author:
  - hpcops.cluster contributors (@hpcops)
options:
  files:
    description: The files of the set by their names in O(directory). C(slurm.conf) must be one of them.
    type: dict
    required: true
  directory:
    description: Where the files live.
    type: path
    default: /etc/slurm
  absent:
    description: Names of files in O(directory) that must not exist.
    type: list
    elements: str
    default: []
  release:
    description: Slurm's release, such as V(24.11). Up to V(23.02) more changes need a restart.
    type: str
    required: true
  service:
    description: The systemd unit of slurmctld.
    type: str
    default: slurmctld.service
  probe:
    description: Command, as a list of arguments, that succeeds when slurmctld answers.
    type: list
    elements: str
    default: [scontrol, ping]
  timeout:
    description: Seconds within which slurmctld must answer after it took the files over.
    type: int
    default: 60
attributes:
  check_mode:
    description: Can run in check mode. The files are checked by the parser there too, where Slurm is installed.
    support: full
  diff_mode:
    description: Returns a difference for each file that changes.
    support: full
"""

EXAMPLES = r"""
- name: Bring the configuration to the controller
  hpcops.cluster.slurm_config:
    release: "24.11"
    files:
      slurm.conf: "{{ lookup('ansible.builtin.template', 'slurm.conf.j2') }}"
      cgroup.conf: "{{ lookup('ansible.builtin.template', 'cgroup.conf.j2') }}"
"""

RETURN = r"""
changed_files:
  description: Names of the files that were made, replaced or removed.
  returned: success
  type: list
  elements: str
  sample: [slurm.conf]
action:
  description: What slurmctld was, or in check mode would be, made to do.
  returned: success
  type: str
  sample: reconfigure
reasons:
  description: Parameters and kinds of lines that ask for a restart.
  returned: success
  type: list
  elements: str
  sample: [selecttype]
"""

import os
import shutil
import tempfile
import time
from typing import NoReturn

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_files import required_action

POLL_SECONDS = 0.3
JOURNAL_LINES = "20"


def read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except FileNotFoundError:
        return None


def write_set(directory: str, files: dict[str, str | None]) -> None:
    """Bring each file of the set into the directory, atomically one by one; None removes it."""
    for name, content in files.items():
        path = os.path.join(directory, name)
        if content is None:
            if os.path.lexists(path):
                os.unlink(path)
            continue
        handle, candidate = tempfile.mkstemp(prefix=f".{name}.", dir=directory)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(candidate, 0o644)
        os.replace(candidate, path)


def check_with_parser(module: AnsibleModule, files: dict[str, str | None]) -> None:
    """Let the installed release parse the candidate; fail with its words and touch nothing when it refuses."""
    scontrol = module.get_bin_path("scontrol")
    if scontrol is None:
        return  # check mode on a new host; otherwise the package has just been installed
    staging = tempfile.mkdtemp(prefix="slurm-candidate-", dir=module.tmpdir)
    try:
        write_set(staging, files)
        code, out, err = module.run_command(
            [scontrol, "show", "hostnames", "localhost"],
            environ_update={"SLURM_CONF": os.path.join(staging, "slurm.conf")},
        )
    finally:
        shutil.rmtree(staging)
    if code != 0:
        module.fail_json(
            msg=f"The installed Slurm refuses the new configuration, and nothing was replaced: {(err or out).strip()}",
            rc=code,
        )


class Controller:
    """The slurmctld of this host, through systemd and scontrol."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.service: str = module.params["service"]

    def running(self) -> bool:
        return bool(self.module.run_command(["systemctl", "is-active", "--quiet", self.service])[0] == 0)

    def take_over(self, action: str) -> str | None:
        """Make slurmctld read its files; None when it answers afterwards, else what went wrong."""
        if action == "none":
            return None
        command = ["scontrol", "reconfigure"] if action == "reconfigure" else ["systemctl", "restart", self.service]
        problem = self.run(command) or self.wait()
        if problem is None and action == "restart":
            # A started slurmctld leaves the nodes with the configuration they fetched from the former one.
            problem = self.run(["scontrol", "reconfigure"]) or self.wait()
        return problem

    def run(self, command: list[str]) -> str | None:
        """Run a command; None when it succeeds, else what it says."""
        code, out, err = self.module.run_command(command)
        return None if code == 0 else f"{' '.join(command)} failed: {(err or out).strip()}"

    def wait(self) -> str | None:
        deadline = time.monotonic() + self.module.params["timeout"]
        while True:
            code, out, err = self.module.run_command(self.module.params["probe"])
            if code == 0 and self.running():
                return None
            if time.monotonic() >= deadline:
                return f"slurmctld does not answer after {self.module.params['timeout']} s: {(err or out).strip()}"
            time.sleep(POLL_SECONDS)

    def journal(self) -> str:
        dummy_code, out, dummy_err = self.module.run_command(
            ["journalctl", f"--unit={self.service}", f"--lines={JOURNAL_LINES}", "--no-pager", "--output=short-iso"]
        )
        return str(out.strip())


def roll_back(module: AnsibleModule, controller: Controller, before: dict[str, str | None], problem: str) -> NoReturn:
    journal = controller.journal()
    write_set(module.params["directory"], before)
    restored = controller.take_over("restart")
    outcome = "and slurmctld answers with them." if restored is None else f"but {restored}"
    module.fail_json(
        msg=f"slurmctld did not take the new configuration over: {problem}\nThe former files are back, {outcome}\n"
        f"Last lines of its journal:\n{journal}"
    )
    raise AssertionError  # fail_json does not return


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "dict", "required": True},
            "directory": {"type": "path", "default": "/etc/slurm"},
            "absent": {"type": "list", "elements": "str", "default": []},
            "release": {"type": "str", "required": True},
            "service": {"type": "str", "default": "slurmctld.service"},
            "probe": {"type": "list", "elements": "str", "default": ["scontrol", "ping"]},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    directory: str = module.params["directory"]
    wanted: dict[str, str | None] = {name: str(content) for name, content in module.params["files"].items()}
    if "slurm.conf" not in wanted:
        module.fail_json(msg="files: slurm.conf is missing from the set")
    wanted.update(dict.fromkeys(module.params["absent"]))
    before = {name: read(os.path.join(directory, name)) for name in wanted}
    changed = [name for name in wanted if before[name] != wanted[name]]

    action = "none"
    reasons: list[str] = []
    if changed:
        check_with_parser(module, wanted)
        action, reasons = required_action(
            before["slurm.conf"] or "", wanted["slurm.conf"] or "", module.params["release"]
        )
        if action == "none":
            action = "reconfigure"  # one of the files beside slurm.conf
    controller = Controller(module)
    if not controller.running():
        action, reasons = "none", []

    if changed and not module.check_mode:
        os.makedirs(directory, exist_ok=True)
        write_set(directory, wanted)
        problem = controller.take_over(action)
        if problem:
            roll_back(module, controller, before, problem)

    module.exit_json(
        changed=bool(changed),
        changed_files=changed,
        action=action,
        reasons=reasons,
        diff=[
            {
                "before_header": os.path.join(directory, name),
                "after_header": os.path.join(directory, name),
                "before": before[name] or "",
                "after": wanted[name] or "",
            }
            for name in changed
        ],
    )


if __name__ == "__main__":
    main()
