# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that have their content, owner and mode need nothing but the question, and their content does not travel."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._config_files import (
    DEFAULT_MODES,
    ConfigFileError,
    written_text,
)
from ansible_collections.hpcops.cluster.plugins.plugin_utils._asking import AskingAction

OPTIONS = {"path", "content", "base64", "state", "target", "owner", "group", "mode", "validate", "sensitive"}
# One line for each path: what it is, its owner and group by number and name, its mode, then where it leads or its checksum.
# Fields are separated by "|", which none of them contains but a link's target, the last one.
LOOK = """look() {
  stat --format='%F|%u|%U|%g|%G|%a|' "$1" 2>/dev/null | tr -d '\\n'
  if [ -L "$1" ]; then readlink "$1"; elif [ -f "$1" ]; then sha256sum <"$1"; else echo; fi
}"""
KINDS = {
    "file": ("regular file", "regular empty file"),
    "directory": ("directory",),
    "link": ("symbolic link",),
}


class ActionModule(AskingAction):
    """The action behind hpcops.cluster.config_files."""

    module = "hpcops.cluster.config_files"

    def question(self, arguments: Mapping[str, Any]) -> str | None:
        """What each path is now."""
        files = arguments.get("files")
        if set(arguments) != {"files"} or not isinstance(files, list) or not files:
            return None
        if not all(isinstance(entry, Mapping) and str(entry.get("path")).startswith("/") for entry in files):
            return None
        return "\n".join([LOOK, *(f"look {shlex.quote(entry['path'])}" for entry in files)])

    def settled(self, arguments: Mapping[str, Any], answer: str) -> dict[str, Any] | None:
        """The module's result, when every path is as wanted."""
        lines = answer.splitlines()
        if len(lines) != len(arguments["files"]):
            return None
        if not all(is_as_wanted(entry, line.strip()) for entry, line in zip(arguments["files"], lines)):
            return None
        return {"changed_paths": [], "diff": []}


def is_as_wanted(entry: Mapping[str, Any], line: str) -> bool:
    """Whether the line that the host answered for the entry's path shows the entry's state; False in every doubt."""
    state = entry.get("state", "file")
    if state == "absent":
        return not line
    fields = line.split("|", 6)
    if len(fields) != 7 or state not in KINDS or fields[0] not in KINDS[state] or set(entry) - OPTIONS:
        return False
    _kind, uid, owner, gid, group, mode, rest = fields
    if state == "link":
        return rest == entry.get("target")
    wanted = str(entry.get("mode") or DEFAULT_MODES[state])
    if str(entry.get("owner", "root")) not in (uid, owner) or str(entry.get("group", "root")) not in (gid, group):
        return False
    if mode != wanted.lstrip("0"):
        return False
    return state == "directory" or rest.split()[:1] == [checksum(entry)]


def checksum(entry: Mapping[str, Any]) -> str:
    """SHA-256 of what the module would write; empty for what it would refuse."""
    content, encoded = entry.get("content"), entry.get("base64", False)
    if not isinstance(content, str) or not isinstance(encoded, bool):
        return ""
    try:
        text = written_text(content, encoded)
    except ConfigFileError:
        return ""
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
