#!/usr/bin/python
# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controllers' configuration files as one set: planned, checked, replaced, made active, verified, or put back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slurm_config
short_description: Change a controller's configuration files as a set, or leave everything as it was
version_added: 0.1.0
description:
  - Compares the given files with those in O(directory) and plans what each difference takes in this O(release), from nothing
    over C(scontrol reconfigure) and a restart of slurmctld to a restart of some slurmd. The plan is returned, and shown with
    C(--diff).
  - "Then checks the new set before anything is replaced: names and types of all parameters, and what refers to what, on the control
    machine; the installed release's own parser; and a trial boot of the installed slurmctld in a network and mount namespace of its
    own with an empty state directory. The running one is not disturbed. All of this happens in check mode too."
  - A change that jobs would not survive is refused with the names of the jobs, unless O(force) is set.
  - The former files are kept in C(.before) in O(directory). The new ones replace them atomically, slurmctld takes them over
    by the least disruptive way, and is verified. It has to answer, to run with the new slurm.conf and no longer with a value that
    has changed, and to have all nodes that were usable before.
  - When that fails, the former files return, slurmctld is brought back with them, and the module fails with the last lines of
    its log.
  - A run that was interrupted between these steps is noticed by the next one, which takes it from there.
  - A controller that is in charge is reconfigured or restarted as planned, a backup that only waits is restarted. A slurmctld
    that has never had a configuration is left alone, one that does not run is started.
  - Restarting slurmd is left to whoever reaches the nodes; see RV(restart_slurmd).
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
  approved_plan:
    description:
      - A plan as RV(plan) had it. Changes that are not in it are refused, and all when the files have changed since it was made.
    type: dict
  known_hosts:
    description:
      - Names that the inventory knows. Every other SlurmctldHost without an address must resolve on the host.
    type: list
    elements: str
    default: []
  force:
    description: Whether a change may be made that jobs will not survive.
    type: bool
    default: false
  trial:
    description:
      - Whether the trial boot is part of the check. It needs the capabilities SYS_ADMIN and NET_ADMIN, and is left out with a
        warning where it cannot be had, or where C(slurm.conf) includes a file that is none of O(files).
    type: bool
    default: true
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
    description: Seconds within which slurmctld must answer, and all nodes be back, after it took the files over.
    type: int
    default: 60
  plan:
    description: What the action of this name found out on the control machine. Not to be given.
    type: dict
attributes:
  check_mode:
    description: Can run in check mode. The set is planned and checked there as otherwise.
    support: full
  diff_mode:
    description: Shows the plan, and a difference for each file that changes.
    support: full
"""

EXAMPLES = r"""
- name: Bring the configuration to the controller
  hpcops.cluster.slurm_config:
    release: "24.11"
    files:
      slurm.conf: "{{ lookup('ansible.builtin.template', 'slurm.conf.j2') }}"
      cgroup.conf: "{{ lookup('ansible.builtin.template', 'cgroup.conf.j2') }}"

- name: Make no other changes than those that were approved
  hpcops.cluster.slurm_config:
    release: "24.11"
    files: "{{ files }}"
    approved_plan: "{{ lookup('ansible.builtin.file', 'change-4711.json') | from_json }}"
"""

RETURN = r"""
changed_files:
  description: Names of the files that were made, replaced or removed.
  returned: success
  type: list
  elements: str
  sample: [slurm.conf]
action:
  description: What slurmctld was, or in check mode would be, made to do. One of V(none), V(reconfigure), V(restart) and V(start).
  returned: success
  type: str
  sample: reconfigure
restart_slurmd:
  description: Host list of the nodes whose slurmd has to be restarted for the changes to be complete, V(ALL), or an empty text.
  returned: success
  type: str
  sample: c[1-4]
plan:
  description:
    - The differences and what they take. C(before) and C(after) of RV(plan) are checksums of the sets.
    - Of each change it has the file, the kind (V(parameter), V(node), V(nodeset), V(partition), V(line) or V(file)), the name, and the
      values before and after (of a file a checksum), null where it comes or goes.
    - What a change takes is its action, V(none), V(reconfigure), V(restart_slurmctld) or V(restart_slurmd), with the nodes whose slurmd
      must restart; and the jobs that would not survive it, V(any), those on the V(nodes) or in the V(partition), or none.
  returned: always
  type: dict
  sample:
    format: 1
    before: 1f0c6a…
    after: 90ab31…
    action: reconfigure
    restart_slurmd: ''
    changes:
      - {file: slurm.conf, kind: node, name: 'c[3-4]', before: null, after: CPUs=64, action: reconfigure, slurmd: '', jobs: ''}
"""

import fcntl
import glob
import os
import platform
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import ControllerError
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_controller import Controller
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_set import BEFORE, FileSet, checksum, write

CANDIDATE = "/run/slurm-candidate-"
TRIAL_SECONDS = 30
NO_AUTHENTICATION = re.compile(r"Couldn't load specified plugin name for auth/|auth/slurm: cannot stat")
TRIAL_LINES = 5
# Own hosts and resolver files, an address that is not the loopback's (else Slurm resolves nothing), then slurmctld itself,
# until it controls its cluster or dies.
TRIAL = r"""
set -e
candidate=$1 user=$2 address=$3 seconds=$4
mount --bind "$candidate/trial/hosts" /etc/hosts
[ ! -e /etc/nsswitch.conf ] || mount --bind "$candidate/trial/nsswitch.conf" /etc/nsswitch.conf
if grep -qi '^AuthType *= *auth/slurm' "$candidate/slurm.conf"; then
  # There slurmctld makes a socket in /run/slurmctld, which must not be the running one's.
  mount --rbind /run /mnt
  mount -t tmpfs -o mode=0755 tmpfs /run
  for each in /mnt/*; do [ "$each" = /mnt/slurmctld ] || ln -s "$each" /run/; done
  mkdir /run/slurmctld
  chown "$user" /run/slurmctld
fi
ip link set lo up
ip address add "$address/32" dev lo
echo "trial: ready"
setpriv --reuid="$user" --regid="$(id --group "$user")" --init-groups \
  slurmctld -D -c -f "$candidate/trial.conf" >"$candidate/trial/log" 2>&1 &
left=$((seconds * 20))
while kill -0 $! 2>/dev/null && [ $left -gt 0 ]; do
  if grep -q "Running as primary controller" "$candidate/trial/log"; then kill -KILL $!; exit 0; fi
  left=$((left - 1)); sleep 0.05
done
kill -KILL $! 2>/dev/null || :
cat "$candidate/trial/log"
exit 3
"""


@contextmanager
def alone_with(module: AnsibleModule, directory: str) -> Iterator[None]:
    """Wait until no other run changes the same files.

    A killed one gives its lock back. This one does so in the end, since its process may go on and run the next module (Mitogen).
    """
    if not os.path.isdir(directory):
        yield
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        deadline = time.monotonic() + 2 * module.params["timeout"]
        while not is_locked_by_us(handle):
            if time.monotonic() > deadline:
                module.fail_json(
                    msg=f"{directory}: another run is changing these files; wait for its end",
                    plan=module.params["plan"]["data"],
                )
            time.sleep(1)
        yield
    finally:
        os.close(handle)


def is_locked_by_us(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def resolves(name: str) -> bool:
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return False
    return True


class Candidate:
    """The new set in a directory of its own, with everything else that lies beside the present one."""

    def __init__(self, module: AnsibleModule, files: dict[str, str | None]) -> None:
        self.module = module
        self.plan: dict[str, Any] = module.params["plan"]
        for left_over in glob.glob(f"{CANDIDATE}*"):  # of a run that was killed
            shutil.rmtree(left_over, ignore_errors=True)
        self.path = tempfile.mkdtemp(prefix=os.path.basename(CANDIDATE), dir=os.path.dirname(CANDIDATE))
        directory = module.params["directory"]
        if os.path.isdir(directory):
            for entry in os.scandir(directory):
                if not entry.name.startswith(BEFORE):
                    module.run_command(["cp", "--archive", entry.path, self.path], check_rc=True)
        write(self.path, files)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def parse(self) -> str:
        """Return what the installed release's parser says against it."""
        command = ["scontrol", "show", "hostnames", "localhost"]
        environment = {"SLURM_CONF": os.path.join(self.path, "slurm.conf")}
        code, out, err = self.module.run_command(command, environ_update=environment)
        return "" if code == 0 else (err or out).strip()

    def boot(self) -> str:
        """Return what the installed slurmctld says against it when it starts with it, in a network of its own."""
        if not self.plan["trial"]:
            self.module.warn("No trial boot was made: slurm.conf includes a file that is none of the given ones.")
            return ""
        host, user = platform.node().partition(".")[0], self.plan["user"]
        own = os.path.join(self.path, "trial")
        os.mkdir(own)
        state = os.path.join(own, "state")
        os.mkdir(state)
        text = self.plan["trial"] + (f"SlurmctldHost={host}\nStateSaveLocation={state}\nSlurmctldPidFile={state}/pid\n")
        write(self.path, {"trial.conf": text})
        hosts = f"127.0.0.1 localhost\n{self.plan['address']} {host}\n"
        write(own, {"hosts": hosts, "nsswitch.conf": "passwd: files systemd\ngroup: files systemd\nhosts: files\n"})
        for path in (self.path, own, state):
            shutil.chown(path, user)
        code, out, err = self.module.run_command(
            [
                "unshare",
                "--net",
                "--mount",
                "sh",
                "-c",
                TRIAL,
                "sh",
                self.path,
                user,
                self.plan["address"],
                str(TRIAL_SECONDS),
            ]
        )
        if code == 0:
            return ""
        if "trial: ready" not in out:
            self.module.warn(f"No trial boot of the new configuration could be made: {(err or out).strip()}")
            return ""
        if self.module.check_mode and NO_AUTHENTICATION.search(out):
            # The run that is planned installs the key and starts munged before it comes here.
            self.module.warn(
                "No trial boot was made: the authentication that the configuration names does not work on this host yet."
            )
            return ""
        return "\n".join(out.splitlines()[-TRIAL_LINES:])


class Change:
    """The way from the present set to the wanted one."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        params = module.params
        self.plan: dict[str, Any] = params["plan"]
        self.wanted: dict[str, str | None] = {name: str(text) for name, text in params["files"].items()}
        self.wanted.update(dict.fromkeys(params["absent"]))
        self.set = FileSet(params["directory"])
        self.controller = Controller(module.run_command, params["service"], params["probe"], params["timeout"])
        self.present = self.set.read(self.wanted)
        self.interrupted = self.set.interrupted()
        self.before = self.present if self.interrupted is None else self.set.former(self.wanted)

    def fail(self, message: str) -> NoReturn:
        self.module.fail_json(msg=message, plan=self.plan["data"])
        raise AssertionError  # fail_json does not return

    def check(self) -> None:
        """Refuse the set when something is wrong with it, and the change when jobs are in its way."""
        if self.interrupted is not None:
            self.module.warn(
                f"An earlier change was interrupted ({self.interrupted.splitlines()[0]}). The files before it are in {self.set.before};"
                " this run starts from them."
            )
        if checksum(self.before) != self.plan["data"]["before"]:
            self.fail(
                f"The files in {self.set.directory} have changed while the plan was made. Nothing was replaced; run again."
            )
        if self.module.get_bin_path("slurmctld") and self.module.get_bin_path("scontrol"):
            # Otherwise this is check mode on a host that has yet to get its packages.
            self.check_controllers()
            candidate = Candidate(self.module, self.wanted)
            try:
                problem = candidate.parse()
                if not problem and self.module.params["trial"]:
                    problem = candidate.boot()
            finally:
                candidate.remove()
            if problem:
                self.fail(f"The installed Slurm refuses the new configuration, and nothing was replaced:\n{problem}")
        if not self.module.params["force"]:
            self.check_jobs()

    def check_controllers(self) -> None:
        for name in self.plan["controllers"]:
            if name not in self.module.params["known_hosts"] and not resolves(name):
                self.fail(
                    f"slurm.conf: SlurmctldHost {name}: the inventory has no host of this name, and it does not resolve here. Correct the"
                    f" name, or give its address: {name}(ADDRESS). Nothing was replaced."
                )

    def check_jobs(self) -> None:
        found: list[str] = []
        for change in self.plan["data"]["changes"]:
            if not change["jobs"]:
                continue
            where = {} if change["jobs"] == "any" else {change["jobs"]: change["name"]}
            try:
                jobs = self.controller.jobs(**where)
                if change["kind"] == "node" and change["after"] is None:
                    jobs += self.controller.waiting_jobs(change["name"])
            except ControllerError as error:
                self.fail(
                    f"{change['file']}: {change['kind']} {change['name']} may only change when no job is concerned, and slurmctld"
                    f" cannot be asked ({error}). Nothing was replaced. Start slurmctld, or set force."
                )
            found += [f"{change['file']}: {change['kind']} {change['name']}: {job}" for job in jobs]
        if found:
            self.fail(
                "Jobs would not survive this change, and nothing was replaced. Wait for them, drain first, or set force:\n"
                + "\n".join(found)
            )

    def action(self) -> str:
        """Return what has to be done to slurmctld."""
        if self.before["slurm.conf"] is None:
            return "none"
        if not self.controller.running():
            return "start"
        planned = str(self.plan["data"]["action"])
        if planned == "none" and self.interrupted is None:
            return "none"
        if not self.controller.in_charge():
            return "restart"
        return "reconfigure" if planned in ("none", "reconfigure") else "restart"

    def apply(self, action: str) -> None:
        """Replace the files and let slurmctld take them over, or put everything back and fail."""
        in_charge = action != "none" and self.controller.running() and self.controller.in_charge()
        try:
            nodes = self.controller.usable_nodes() if in_charge else set()
            shown = self.controller.shown() if in_charge else {}
        except ControllerError:
            nodes, shown = set(), {}
        os.makedirs(self.set.directory, exist_ok=True)
        if self.interrupted is None:
            self.set.keep(self.before, time.strftime("begun %Y-%m-%d %H:%M:%S %z"))
        self.set.replace(self.wanted)
        problem = self.controller.take_over(action)
        if not problem and in_charge:
            problem = self.controller.verify(nodes - set(self.plan["leaving"]), shown, self.plan["values"])
        if problem:
            self.roll_back(action, problem)
        self.set.settle()

    def roll_back(self, action: str, problem: str) -> NoReturn:
        words = self.controller.last_words(self.plan["log_file"])
        self.set.replace(self.before)
        again = action if action == "reconfigure" and self.controller.running() else "restart"
        failure = self.controller.take_over(again)
        if failure and again == "reconfigure":
            failure = self.controller.take_over("restart")
        if not failure:
            self.set.settle()
        outcome = f"but {failure}" if failure else "and slurmctld answers with them."
        self.fail(
            f"slurmctld did not take the new configuration over: {problem}\nThe former files are back, {outcome}\n"
            f"The last lines of its log before that:\n{words}"
        )


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "dict", "required": True},
            "directory": {"type": "path", "default": "/etc/slurm"},
            "absent": {"type": "list", "elements": "str", "default": []},
            "release": {"type": "str", "required": True},
            "approved_plan": {"type": "dict"},
            "known_hosts": {"type": "list", "elements": "str", "default": []},
            "force": {"type": "bool", "default": False},
            "trial": {"type": "bool", "default": True},
            "service": {"type": "str", "default": "slurmctld.service"},
            "probe": {"type": "list", "elements": "str", "default": ["scontrol", "ping"]},
            "timeout": {"type": "int", "default": 60},
            "plan": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    if not module.params["plan"]:
        module.fail_json(msg="slurm_config needs its action plugin, which makes the plan on the control machine")
    with alone_with(module, module.params["directory"]):
        run(module)


def run(module: AnsibleModule) -> NoReturn:
    """Change what differs, and end the module."""
    change = Change(module)
    changed = [name for name in change.wanted if change.present[name] != change.wanted[name]]
    action = "none"
    if changed or change.interrupted is not None:
        change.check()
        action = change.action()
        if not module.check_mode:
            change.apply(action)
    module.exit_json(
        changed=bool(changed) or change.interrupted is not None,
        changed_files=changed,
        action=action,
        restart_slurmd=change.plan["data"]["restart_slurmd"],
        plan=change.plan["data"],
        diff=[{"prepared": change.plan["text"]}]
        + [
            {
                "before_header": os.path.join(change.set.directory, name),
                "after_header": os.path.join(change.set.directory, name),
                "before": change.present[name] or "",
                "after": change.wanted[name] or "",
            }
            for name in changed
        ],
    )
    raise AssertionError  # exit_json does not return


if __name__ == "__main__":
    main()
