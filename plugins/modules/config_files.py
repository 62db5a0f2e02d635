#!/usr/bin/python
# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A set of configuration files and directories, written in one task."""

from __future__ import annotations

DOCUMENTATION = r"""
module: config_files
short_description: Write a set of configuration files and directories in one task
version_added: 0.1.0
description:
  - Brings small text files and directories into the state described by O(files).
  - The whole set is one task, thus one round trip to the host. With C(ansible.builtin.template) every unchanged file
    costs two.
  - Directories are made first. Then every file's new content is written beside its target and checked by its
    O(files[].validate) command. When one check fails, no file of the set has been replaced or removed.
  - A file is replaced atomically.
author:
  - hpcops.cluster contributors (@hpcops)
options:
  files:
    description: The files, directories and links.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Absolute path on the host.
        type: path
        required: true
      content:
        description:
          - The file's whole text. Needed for O(files[].state=file).
          - A missing newline at the end is added.
        type: str
      base64:
        description: O(files[].content) is base64, of bytes that are written as they are.
        type: bool
        default: false
      state:
        description:
          - V(file) with the given content, V(directory) with its parents, V(link) to O(files[].target), or V(absent) (files, links
            and empty directories).
        type: str
        choices: [file, directory, link, absent]
        default: file
      target:
        description:
          - Where the symbolic link points to. Needed for O(files[].state=link).
          - It must exist, or be one of O(files), except in check mode.
        type: str
      owner:
        description: Name or number of the owner. An unknown name is an error, except in check mode.
        type: str
        default: root
      group:
        description: Name or number of the group. An unknown name is an error, except in check mode.
        type: str
        default: root
      mode:
        description: Octal mode as a string. The default is V(0644) for a file and V(0755) for a directory.
        type: str
      validate:
        description:
          - Command that checks the new content, with C(%s) for the path of the candidate, run without a shell.
          - It is skipped as long as the command is not installed.
        type: str
      sensitive:
        description: Keep the content out of the diff. The task needs C(no_log) as well, so that its arguments stay secret.
        type: bool
        default: false
attributes:
  check_mode:
    description: Can run in check mode and reports exactly what it would change.
    support: full
  diff_mode:
    description: Returns a difference for each file that changes, unless it is sensitive.
    support: full
"""

EXAMPLES = r"""
- name: Write the limits and the kernel settings
  hpcops.cluster.config_files:
    files:
      - path: /etc/security/limits.d/90-hpc.conf
        content: "{{ lookup('ansible.builtin.template', 'limits.conf.j2') }}"
      - path: /etc/sysctl.d/90-hpc.conf
        content: "{{ lookup('ansible.builtin.template', 'sysctl.conf.j2') }}"
  register: files
  notify: Kernel settings are active
"""

RETURN = r"""
changed_paths:
  description: Paths of the files and directories that were made, replaced, removed, or got another owner or mode.
  returned: success
  type: list
  elements: str
  sample: [/etc/sysctl.d/90-hpc.conf]
"""

import contextlib
import grp
import os
import pwd
import shlex
import tempfile
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.hpcops.cluster.plugins.module_utils._config_files import (
    DEFAULT_MODES,
    ConfigFileError,
    written_text,
)


@contextlib.contextmanager
def naming(module: AnsibleModule, path: str) -> Iterator[None]:
    """Fail with the path and the reason when the host refuses what is done for it."""
    try:
        yield
    except OSError as error:
        module.fail_json(msg=f"{path}: {error.strerror}")


def account_id(module: AnsibleModule, entry: dict[str, Any], kind: str) -> int | None:
    """Number of the entry's owner or group; None for a name that check mode cannot know yet."""
    name = entry[kind]
    if name.isdigit():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid if kind == "owner" else grp.getgrnam(name).gr_gid
    except KeyError:
        if module.check_mode:
            return None
        module.fail_json(
            msg=f"{entry['path']}: the {kind} '{name}' does not exist on this host. "
            "Create the account first (role os_base, os_base_service_accounts) or name another one."
        )
        raise  # fail_json does not return


def current_text(path: str) -> str | None:
    """Content of the file at path, None when there is none. Undecodable bytes survive as surrogates."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as handle:
            return handle.read()
    except FileNotFoundError:
        return None


def metadata_changes(
    path: str, entry: dict[str, Any], owner: int | None, group: int | None
) -> dict[str, tuple[str, str]]:
    """What differs in owner, group and mode of the existing path: name to (is, shall be)."""
    status = os.stat(path)
    changes = {}
    if owner is None or status.st_uid != owner:
        changes["owner"] = (str(status.st_uid), entry["owner"])
    if group is None or status.st_gid != group:
        changes["group"] = (str(status.st_gid), entry["group"])
    if status.st_mode & 0o7777 != entry["bits"]:
        changes["mode"] = (f"{status.st_mode & 0o7777:04o}", f"{entry['bits']:04o}")
    return changes


def set_metadata(path: str, entry: dict[str, Any], owner: int | None, group: int | None) -> None:
    os.chown(path, -1 if owner is None else owner, -1 if group is None else group)
    os.chmod(path, entry["bits"])  # after chown, which clears set-id bits


def stage(
    module: AnsibleModule,
    entry: dict[str, Any],
    owner: int | None,
    group: int | None,
    leftovers: contextlib.ExitStack,
) -> str:
    """Write the entry's content beside its target (in check mode: in the temporary directory) and check it there."""
    directory = module.tmpdir if module.check_mode else os.path.dirname(entry["path"])
    try:
        # The name starts with a dot and ends oddly, so that no conf.d directory reads a candidate.
        handle, candidate = tempfile.mkstemp(
            prefix=f".{os.path.basename(entry['path'])}.", suffix=".candidate", dir=directory
        )
    except OSError as error:
        module.fail_json(msg=f"{entry['path']}: cannot write into {directory}: {error.strerror}")
    leftovers.callback(remove_leftover, candidate)
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        stream.write(entry["content"])
        stream.flush()
        os.fsync(stream.fileno())
    if not module.check_mode:
        set_metadata(candidate, entry, owner, group)
    if entry["validate"]:
        check(module, entry, candidate)
    return candidate


def check(module: AnsibleModule, entry: dict[str, Any], candidate: str) -> None:
    command = [argument.replace("%s", candidate) for argument in shlex.split(entry["validate"])]
    if module.get_bin_path(command[0]) is None:
        return  # the package that brings the command is not installed yet
    code, out, err = module.run_command(command)
    if code != 0:
        module.fail_json(
            msg=f"{entry['path']}: the new content is refused by '{command[0]}' and was not installed: {(err or out).strip()}",
            rc=code,
        )


def remove_leftover(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def normalise(module: AnsibleModule, entry: dict[str, Any]) -> None:
    """Fill in what the argument specification cannot express, and refuse what makes no sense."""
    path = entry["path"]
    if not os.path.isabs(path):
        module.fail_json(msg=f"files: '{path}' is not an absolute path")
    if entry["state"] == "link" and not entry["target"]:
        module.fail_json(msg=f"{path}: a link needs 'target'")
    if entry["state"] in ("absent", "link"):
        return
    mode = entry["mode"] or DEFAULT_MODES[entry["state"]]
    try:
        entry["bits"] = int(mode, 8)
    except ValueError:
        module.fail_json(msg=f"{path}: mode '{mode}' is not an octal number such as '0644'")
    if entry["state"] == "file":
        if entry["content"] is None:
            module.fail_json(msg=f"{path}: a file needs 'content'")
        try:
            entry["content"] = written_text(entry["content"], entry["base64"])
        except ConfigFileError as error:
            module.fail_json(msg=f"{path}: {error}")


def check_target(module: AnsibleModule, entry: dict[str, Any], made: set[str]) -> None:
    """Refuse a link that would lead nowhere. In check mode something else may be about to make its target."""
    target = os.path.normpath(os.path.join(os.path.dirname(entry["path"]), entry["target"]))
    if not module.check_mode and target not in made and not os.path.exists(target):
        module.fail_json(
            msg=f"{entry['path']}: '{entry['target']}', where the link shall point to, does not exist on this host"
        )


def difference(entry: dict[str, Any], before: str | None, metadata: dict[str, tuple[str, str]]) -> dict[str, str]:
    """The entry's part of the diff that Ansible prints."""
    path = entry["path"]

    def side(text: str | None, index: int) -> str:
        shown = "(not shown)\n" if text and entry["sensitive"] else (text or "")
        shown = shown.encode("utf-8", "replace").decode()
        return shown + "".join(f"# {name}: {values[index]}\n" for name, values in sorted(metadata.items()))

    after = entry["content"] if entry["state"] == "file" else None
    return {
        "before_header": f"{path} (absent)" if before is None else path,
        "after_header": f"{path} (absent)" if entry["state"] == "absent" else path,
        "before": side(before, 0),
        "after": side(after, 1),
    }


def apply_directory(module: AnsibleModule, entry: dict[str, Any]) -> dict[str, str] | None:
    path = entry["path"]
    owner, group = account_id(module, entry, "owner"), account_id(module, entry, "group")
    if os.path.lexists(path) and not os.path.isdir(path):
        module.fail_json(msg=f"{path}: exists and is not a directory")
    if os.path.isdir(path):
        metadata = metadata_changes(path, entry, owner, group)
        if not metadata:
            return None
        found: str | None = ""
    else:
        metadata = {"directory": ("absent", "present")}
        found = None
    if not module.check_mode:
        os.makedirs(path, exist_ok=True)
        set_metadata(path, entry, owner, group)
    return difference(entry, found, metadata)


def apply_absent(module: AnsibleModule, entry: dict[str, Any]) -> dict[str, str] | None:
    path = entry["path"]
    if not os.path.lexists(path):
        return None
    directory = os.path.isdir(path) and not os.path.islink(path)
    before = current_text(path) if os.path.isfile(path) and not os.path.islink(path) else ""
    if not module.check_mode:
        try:
            if directory:
                os.rmdir(path)
            else:
                os.unlink(path)
        except OSError as error:
            module.fail_json(msg=f"{path}: cannot be removed: {error.strerror}")
    return difference(entry, before, {})


def apply_link(module: AnsibleModule, entry: dict[str, Any]) -> dict[str, str] | None:
    path, target = entry["path"], entry["target"]
    before = None
    if os.path.islink(path):
        before = os.readlink(path)
    elif os.path.isdir(path):
        module.fail_json(msg=f"{path}: is a directory, a link was asked for")
    elif os.path.exists(path):
        before = "a file"
    if before == target:
        return None
    if not module.check_mode:
        candidate = f"{path}.candidate"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(candidate)
        os.symlink(target, candidate)
        os.replace(candidate, path)
    return difference(entry, None if before is None else "", {"target": (before or "", target)})


def stage_file(
    module: AnsibleModule, entry: dict[str, Any], leftovers: contextlib.ExitStack
) -> tuple[dict[str, str] | None, str | None]:
    """Difference and staged candidate of one file; (None, None) when nothing has to change."""
    path = entry["path"]
    owner, group = account_id(module, entry, "owner"), account_id(module, entry, "group")
    if os.path.isdir(path):
        module.fail_json(msg=f"{path}: is a directory, a file was asked for")
    before = current_text(path)
    metadata = metadata_changes(path, entry, owner, group) if before is not None else {}
    if before == entry["content"]:
        if not metadata:
            return None, None
        if not module.check_mode:
            set_metadata(path, entry, owner, group)
        return difference(entry, before, metadata), None
    return difference(entry, before, metadata), stage(module, entry, owner, group, leftovers)


APPLY = {"directory": apply_directory, "absent": apply_absent, "link": apply_link}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "path", "required": True},
                    "content": {"type": "str"},
                    "base64": {"type": "bool", "default": False},
                    "state": {"type": "str", "choices": ["file", "directory", "link", "absent"], "default": "file"},
                    "target": {"type": "str"},
                    "owner": {"type": "str", "default": "root"},
                    "group": {"type": "str", "default": "root"},
                    "mode": {"type": "str"},
                    "validate": {"type": "str"},
                    "sensitive": {"type": "bool", "default": False},
                },
            },
        },
        supports_check_mode=True,
    )
    files = [
        dict(entry) for entry in module.params["files"]
    ]  # Ansible returns the parameters, and takes no bytes that are no text
    for entry in files:
        normalise(module, entry)
    made = {entry["path"] for entry in files if entry["state"] in ("file", "directory")}
    for entry in files:
        if entry["state"] == "link":
            check_target(module, entry, made)

    differences: dict[str, dict[str, str]] = {}
    candidates: list[tuple[str, str]] = []
    with contextlib.ExitStack() as leftovers:
        # Directories first: a file's candidate is staged in its own directory. Nothing is replaced before all is checked.
        for state in ("directory", "file", "absent", "link"):
            for entry in (entry for entry in files if entry["state"] == state):
                changed: dict[str, str] | None
                with naming(module, entry["path"]):
                    if state == "file":
                        changed, candidate = stage_file(module, entry, leftovers)
                        if candidate:
                            candidates.append((candidate, entry["path"]))
                    else:
                        changed = APPLY[state](module, entry)
                    if changed:
                        differences[entry["path"]] = changed
        if not module.check_mode:
            for candidate, path in candidates:
                with naming(module, path):
                    os.replace(candidate, path)

    paths = [entry["path"] for entry in files if entry["path"] in differences]
    module.exit_json(changed=bool(paths), changed_paths=paths, diff=[differences[path] for path in paths])


if __name__ == "__main__":
    main()
