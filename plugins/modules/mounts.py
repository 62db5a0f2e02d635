#!/usr/bin/python
# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""File systems mounted by systemd units, and nothing hidden, overwritten or waited for in vain."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mounts
short_description: Mount file systems by systemd units, safely
version_added: 0.1.0
description:
  - Writes a systemd mount unit, and where asked an automount unit, for each file system, enables and starts it, and sees that it answers.
  - First it looks at all of them, and touches nothing where one is refused. Refused are a mount point that has content or is a symbolic
    link, one on which something else is mounted, one that C(/etc/fstab) has as well, a server that does not answer, and a device
    that would have to be formatted though it carries a signature.
  - A mount that hangs is an error that names it. The module looks at mounts by child processes with a time limit and never waits for one.
  - New options of a file system that is mounted take effect when it is mounted the next time; a warning says so. It is not
    unmounted under its users.
author:
  - hpcops.cluster contributors (@hpcops)
options:
  mounts:
    description: The file systems.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: The mount point. It is made where it is missing, for root with the mode 0755.
        type: path
        required: true
      source:
        description:
          - What is mounted, as C(mount) takes it. For V(bind) a directory, for NFS C(SERVER:/DIRECTORY), for a local file system
            a device, or C(UUID=) or C(LABEL=).
        type: str
      type:
        description: V(nfs), V(nfs4), V(ceph), V(lustre), V(ext4), V(xfs), V(bind), or V(fuse.PROGRAM).
        type: str
      purpose:
        description: What it is for, which brings options and whether it is mounted on use.
        type: str
        choices: [home, scratch, software, state]
      options:
        description: Further options. They prevail over those of the purpose.
        type: list
        elements: str
        default: []
      automount:
        description: Whether it is mounted when it is used. The default is the purpose's, V(true) for V(home) and else V(false).
        type: bool
      idle:
        description: Seconds after which an automount that nobody uses is let go; 0 is never.
        type: int
        default: 600
      format:
        description: Whether a file system is made on a device that carries no signature.
        type: bool
        default: false
      format_options:
        description: Arguments of C(mkfs), such as V(-O), V(quota).
        type: list
        elements: str
        default: []
      state:
        description: V(mounted), or V(absent), which unmounts it and removes the units; the mount point stays.
        type: str
        choices: [mounted, absent]
        default: mounted
  overwrite:
    description: Devices on which a file system is made although they carry a signature. One that has the wanted file system stays as it is.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds within which a server and a mount must answer.
    type: int
    default: 10
attributes:
  check_mode:
    description: Can run in check mode. There a server that does not answer is a warning, since the same run may be about to set it up.
    support: full
  diff_mode:
    description: Shows the units that change, and file systems that are made.
    support: full
"""

EXAMPLES = r"""
- name: Mount home directories when they are used
  hpcops.cluster.mounts:
    mounts:
      - {path: /home, source: "nfs1:/srv/home", type: nfs4, purpose: home}
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: [enable home.automount, start home.automount]
"""

import contextlib
import os
import socket
from typing import NoReturn

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.hpcops.cluster.plugins.module_utils._child import child
from ansible_collections.hpcops.cluster.plugins.module_utils._errors import StorageError
from ansible_collections.hpcops.cluster.plugins.module_utils._mounts import (
    HEADER,
    LOCAL_TYPES,
    Mount,
    Mounted,
    faults,
    is_the_same,
    mounted,
    on_top,
    unit_name,
)
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_set import write

UNITS = "/etc/systemd/system"
FSTAB = "/etc/fstab"
# A call of NFS' procedure NULL, which every server answers (RFC 5531): a record of 40 bytes, of which the reply repeats the
# number 0x68706373, then type, RPC version, program, version and procedure, no credential and no verifier.
NULL_CALL = (0x80000028, 0x68706373, 0, 2, 100003, 4, 0, 0, 0, 0, 0)


def hangs(path: str, timeout: float) -> bool:
    """Whether the file system at the path does not answer. Asking for its size goes to the server, not to a cache."""
    return child(["stat", "--file-system", path], timeout) is None


def answers(host: str, port: int, nfs: bool, timeout: float) -> str:
    """Nothing when the server answers, else what is wrong."""
    try:
        with socket.create_connection((host, port), timeout=timeout) as connection:
            if not nfs:
                return ""
            connection.settimeout(timeout)
            connection.sendall(b"".join(word.to_bytes(4, "big") for word in NULL_CALL))
            reply = connection.recv(8)
            return "" if reply[4:] == NULL_CALL[1].to_bytes(4, "big") else "what answers there is no NFS server"
    except OSError as error:
        return str(error)


def resolved(source: str) -> str:
    """The device that a source of a local file system names."""
    kind, equals, name = source.partition("=")
    return os.path.realpath(f"/dev/disk/by-{kind.lower()}/{name}" if equals else source)


def number_of(device: str) -> str:
    """MAJOR:MINOR of a device, which has several names where it is a logical volume; nothing when it is not there."""
    try:
        number = os.stat(device).st_rdev
    except FileNotFoundError:
        return ""
    return f"{os.major(number)}:{os.minor(number)}"


def in_fstab(path: str) -> bool:
    with contextlib.suppress(FileNotFoundError), open(FSTAB, encoding="utf-8") as handle:
        return any(line.split()[1:2] == [path] for line in handle if not line.lstrip().startswith("#"))
    return False


class Host:
    """This host's mounts, and what is to become of them."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.timeout: int = module.params["timeout"]
        self.actions: list[str] = []
        self.diffs: list[dict[str, str]] = []
        self.table = self.read_table()

    @staticmethod
    def read_table() -> list[Mounted]:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as handle:
            return mounted(handle.read())

    def fail(self, reason: str) -> NoReturn:
        self.module.fail_json(msg=reason, actions=self.actions)
        raise AssertionError  # fail_json does not return

    # --- Looking -----------------------------------------------------------------------------------------------------

    def is_trapped(self, path: str) -> bool:
        """Whether an automount unit waits at the path: looking into it would mount it."""
        return any(entry.path == path and entry.type == "autofs" for entry in self.table)

    def refusal(self, mount: Mount) -> str:
        """Why the mount cannot be, or nothing."""
        found = on_top(self.table, mount.path)
        if mount.state == "absent":
            return ""
        if in_fstab(mount.path):
            return f"{mount.path}: {FSTAB} mounts it as well. Remove its line there, and run again."
        if found:
            device = number_of(resolved(mount.source)) if mount.type in LOCAL_TYPES else ""
            if not is_the_same(mount, found, self.table, device):
                return (
                    f"{mount.path}: {found.source} ({found.type}) is mounted there, not {mount.source}. "
                    "Unmount it when nobody uses it, and run again."
                )
            if hangs(mount.path, self.timeout):
                return (
                    f"{mount.path}: the mount of {mount.source} does not answer within {self.timeout} s. "
                    "See whether its server runs and is reachable; processes that use it wait for it."
                )
            return ""
        return self.wrong_place(mount) or self.wrong_server(mount) or self.wrong_device(mount)

    def wrong_place(self, mount: Mount) -> str:
        if self.is_trapped(mount.path):
            return ""
        looked = child(["find", mount.path, "-maxdepth", "1", "-printf", r"%y\n"], self.timeout)
        if looked is None:
            return f"{mount.path}: looking at the mount point takes more than {self.timeout} s. A mount above it hangs."
        code, kinds = looked
        if code != 0 and not kinds.startswith("find:"):
            return f"{mount.path}: cannot be looked at: {kinds}"
        if code != 0:
            return "" if "No such file" in kinds else kinds
        kind, *content = kinds.splitlines()
        if kind == "l":
            return f"{mount.path}: is a symbolic link. Give the directory that it leads to, or remove it."
        if kind != "d":
            return f"{mount.path}: is no directory. Remove it, and run again."
        if content:
            return (
                f"{mount.path}: has content, which the mount would hide ({len(content)} entries). "
                "Move it away, into the file system if it belongs there, and run again."
            )
        return ""

    def wrong_server(self, mount: Mount) -> str:
        nfs = mount.type.startswith("nfs")
        problems = []
        for host, port in mount.servers:
            problem = answers(host, port, nfs, self.timeout)
            if not problem:
                return ""
            problems.append(f"{host} port {port}: {problem}")
        if not problems:
            return ""
        text = f"{mount.path}: the server of {mount.source} does not answer ({'; '.join(problems)}). Is it up and reachable?"
        if self.module.check_mode:
            self.module.warn(text)
            return ""
        return text

    def wrong_device(self, mount: Mount) -> str:
        if mount.type == "bind":
            looked = child(["stat", "--format=%F", mount.source], self.timeout)
            if looked == (0, "directory") or self.module.check_mode:
                return ""
            return f"{mount.path}: {mount.source} is no directory that could be mounted there, or does not answer."
        if mount.type not in LOCAL_TYPES:
            return ""
        device = resolved(mount.source)
        if not os.path.exists(device):
            return f"{mount.path}: this host has no device {mount.source}."
        signatures = self.signatures(device)
        if mount.type in signatures:
            return ""
        if any(entry.device == number_of(device) for entry in self.table):
            return f"{mount.path}: {mount.source} is mounted elsewhere with another file system."
        if signatures and device not in map(resolved, self.module.params["overwrite"]):
            return (
                f"{mount.path}: {mount.source} carries {', '.join(signatures)}, and is not formatted. Name the device in "
                "storage_overwrite_devices if what is on it may go, or name another device."
            )
        if not mount.format:
            return f"{mount.path}: there is no {mount.type} on {mount.source}. Set format to true if one is to be made there."
        return ""

    def signatures(self, device: str) -> list[str]:
        """Kinds of what the device carries: file systems, partition tables, RAID, LVM."""
        code, out, err = self.module.run_command(["wipefs", "--noheadings", "--output", "TYPE", device])
        if code != 0:
            self.fail(f"{device}: cannot be looked at: {err.strip()}")
        return list(out.split())

    # --- Doing -------------------------------------------------------------------------------------------------------

    def run(self, *command: str) -> None:
        """Run a command that changes something, or only say so."""
        self.actions.append(" ".join(command).removeprefix("systemctl "))
        if self.module.check_mode:
            return
        code, out, err = self.module.run_command(list(command))
        if code == 0:
            return
        journal = self.journal(command[-1]) if command[0] == "systemctl" else ""
        self.fail(f"'{' '.join(command)}' failed: {(err or out).strip()}\n{journal}".strip())

    def journal(self, unit: str) -> str:
        """The unit's last lines."""
        arguments = ["journalctl", "--no-pager", "--lines=15", "--output=cat", f"--unit={unit}"]
        return str(self.module.run_command(arguments)[1]).strip()

    def write_units(self, mount: Mount) -> bool:
        """Write the mount's units, and take away that which it has no more. Whether the text of the mount itself changed."""
        wanted = mount.units()
        changed = False
        for kind in ("automount", "mount"):  # this order, so that what is taken away is not mounted again
            name = f"{unit_name(mount.path)}.{kind}"
            file = f"{UNITS}/{name}"
            try:
                with open(file, encoding="utf-8") as handle:
                    before = handle.read()
            except FileNotFoundError:
                before = ""
            text = wanted.get(name, "")
            if before == text or (not text and not before.startswith(HEADER)):
                continue
            changed = changed or kind == "mount"
            self.diffs.append({"before_header": file, "after_header": file, "before": before, "after": text})
            if not text:
                if kind == "mount" and on_top(self.table, mount.path) and hangs(mount.path, self.timeout):
                    self.fail(f"{mount.path}: does not answer, so it cannot be unmounted. See whether its server runs.")
                self.run("systemctl", "disable", "--now", name)
            elif "[Install]" in before and "[Install]" not in text:
                self.run("systemctl", "disable", name)  # its automount unit stands in its place
            self.actions.append(f"{'write' if text else 'remove'} {name}")
            if self.module.check_mode:
                continue
            write(UNITS, {name: text or None})
        return changed

    def status(self, name: str) -> tuple[str, str]:
        dummy_code, out, dummy_err = self.module.run_command(
            ["systemctl", "show", name, "--property=ActiveState,UnitFileState"]
        )
        properties = dict(line.split("=", 1) for line in out.splitlines())
        return properties.get("ActiveState", ""), properties.get("UnitFileState", "")

    def format(self, mount: Mount) -> None:
        device = resolved(mount.source)
        if not mount.format or on_top(self.table, mount.path) or mount.type in self.signatures(device):
            return
        problem = self.wrong_device(mount)  # again, since another of the mounts may have used it by now
        if problem:
            self.fail(problem)
        if self.signatures(device):
            self.run("wipefs", "--quiet", "--all", device)
        self.run(f"mkfs.{mount.type}", "-q", *mount.format_options, device)

    def start(self, mount: Mount) -> None:
        """Let the mount be there now and after a boot, and see that it answers."""
        name = unit_name(mount.path) + (".automount" if mount.automount else ".mount")
        active, enabled = self.status(name)
        if enabled != "enabled":
            self.run("systemctl", "enable", name)
        # An automount that cannot be stopped under its users takes over when the file system is mounted the next time.
        there = on_top(self.table, mount.path) is not None
        if active == "active" or there:
            return
        # Again, since one of the others may be mounted above it by now.
        problem = self.wrong_place(mount)
        if problem:
            self.fail(problem)
        self.run("systemctl", "start", name)
        if self.module.check_mode:
            return
        if hangs(mount.path, self.timeout + 60):  # the unit's own limit, since the first look mounts an automount
            self.fail(f"{mount.path}: {mount.source} was mounted, and does not answer.")
        if on_top(self.read_table(), mount.path) is None:
            journal = self.journal(f"{unit_name(mount.path)}.mount")
            self.fail(f"{mount.path}: {mount.source} could not be mounted.\n{journal}")

    def apply(self, mounts: list[Mount]) -> None:
        changed = [mount for mount in mounts if self.write_units(mount) and mount.state != "absent"]
        if self.diffs and not self.module.check_mode:
            self.module.run_command(["systemctl", "daemon-reload"], check_rc=True)
            self.table = self.read_table()  # an automount that was taken away took its mount along
        outdated = [mount.path for mount in changed if on_top(self.table, mount.path)]
        for mount in mounts:
            if mount.state == "absent":
                continue
            if mount.type in LOCAL_TYPES:
                self.format(mount)
            self.start(mount)
        for path in outdated:
            self.module.warn(
                f"{path} stays mounted as it is. Its new options take effect when it is mounted the next time."
            )


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "mounts": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "path", "required": True},
                    "source": {"type": "str"},
                    "type": {"type": "str"},
                    "purpose": {"type": "str", "choices": ["home", "scratch", "software", "state"]},
                    "options": {"type": "list", "elements": "str", "default": []},
                    "automount": {"type": "bool"},
                    "idle": {"type": "int", "default": 600},
                    "format": {"type": "bool", "default": False},
                    "format_options": {"type": "list", "elements": "str", "default": []},
                    "state": {"type": "str", "choices": ["mounted", "absent"], "default": "mounted"},
                },
            },
            "overwrite": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    problems = faults(module.params["mounts"])
    if problems:
        module.fail_json(msg="\n".join(problems))
    try:
        mounts = sorted((Mount.of(entry) for entry in module.params["mounts"]), key=lambda mount: mount.path)
    except StorageError as error:
        module.fail_json(msg=str(error))
    host = Host(module)
    problems = [problem for mount in mounts if (problem := host.refusal(mount))]
    if problems:
        module.fail_json(msg="\n".join(problems))
    host.apply(mounts)
    module.exit_json(changed=bool(host.actions), actions=host.actions, diff=host.diffs)


if __name__ == "__main__":
    main()
