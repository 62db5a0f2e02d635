# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts as data: what their purposes ask for, the systemd units that they become, and what the kernel says of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import StorageError

NFS_PORT, CEPH_PORT, LUSTRE_PORT = 2049, 6789, 988
HEADER = "# Ansible managed: role hpcops.cluster.storage"
TYPE = re.compile(r"nfs4?|ceph|lustre|ext4|xfs|bind|fuse\.[a-z0-9_.-]+")
LOCAL_TYPES = ("ext4", "xfs")
NETWORK_TYPES = ("nfs", "nfs4", "ceph", "lustre")


@dataclass(frozen=True)
class Purpose:
    """What a purpose asks for: flags of any file system, and what only an NFS client understands."""

    flags: tuple[str, ...]
    nfs: tuple[str, ...]
    automount: bool = False


PURPOSES: Mapping[str, Purpose] = {
    # Mounted when somebody logs in or a job starts, and let go when idle.
    "home": Purpose(("nosuid", "nodev"), ("hard",), automount=True),
    # Several connections for bandwidth; no write for each read.
    "scratch": Purpose(("nosuid", "nodev", "noatime"), ("hard", "nconnect=8")),
    # Changes seldom and starts on all nodes at once: attributes may be ten minutes old.
    "software": Purpose(("ro", "nodev"), ("hard", "nocto", "actimeo=600")),
    # Two controllers see what the other one wrote, at once, and nothing that they wrote is lost.
    "state": Purpose(("nosuid", "nodev", "noexec"), ("hard", "sync", "noac", "lookupcache=none")),
}


@dataclass(frozen=True)
class Mount:
    """A file system that a host mounts."""

    path: str
    source: str = ""
    type: str = ""
    purpose: str = ""
    options: tuple[str, ...] = ()
    automount: bool = False
    idle: int = 600
    format: bool = False
    format_options: tuple[str, ...] = ()
    state: str = "mounted"

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Mount:
        """The mount that an entry describes, or an error that says what is wrong with it."""
        path = str(entry.get("path") or "")
        if not re.fullmatch(r"(/[^/\s]+)+", path) or "/../" in f"{path}/" or "/./" in f"{path}/":
            raise StorageError(
                f"'{path}' is no mount point. Give an absolute path without blanks, '..' and a slash at its end."
            )
        state = str(entry.get("state") or "mounted")
        if state == "absent":
            return cls(path, state=state)
        source, kind = str(entry.get("source") or ""), str(entry.get("type") or "")
        options = tuple(str(option) for option in entry.get("options") or ())
        purpose = str(entry.get("purpose") or "")
        if not source or re.search(r"\s", source):
            raise StorageError(
                f"{path}: source '{source}' is empty or has a blank. Name what is mounted, such as nfs1:/srv/home."
            )
        if not TYPE.fullmatch(kind):
            raise StorageError(
                f"{path}: type '{kind}' is not known. Choose nfs, nfs4, ceph, lustre, ext4, xfs, bind, or fuse.PROGRAM."
            )
        if kind.startswith("nfs") and not re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^:/\[\]]+):/\S*", source):
            raise StorageError(f"{path}: source '{source}' is no SERVER:/DIRECTORY, as NFS needs it.")
        if kind == "bind" and not source.startswith("/"):
            raise StorageError(f"{path}: source '{source}' is no absolute path, as a bind mount needs it.")
        if kind in LOCAL_TYPES and not re.match(r"/dev/|(UUID|LABEL|PARTUUID|PARTLABEL)=.", source):
            raise StorageError(f"{path}: source '{source}' is no device. Give /dev/… or UUID=…, LABEL=….")
        wrong = [option for option in options if not re.fullmatch(r"[^\s,]+", option)]
        if wrong:
            raise StorageError(
                f"{path}: option '{wrong[0]}' is empty or has a blank or comma. Write one option an entry."
            )
        if purpose and purpose not in PURPOSES:
            raise StorageError(
                f"{path}: purpose '{purpose}' is not known. Choose {', '.join(PURPOSES)}, or leave it out."
            )
        if entry.get("format") and not (kind in LOCAL_TYPES and source.startswith("/dev/")):
            raise StorageError(f"{path}: only ext4 and xfs on a device that is named /dev/… can be made (format).")
        automount = entry.get("automount")
        if automount is None:
            automount = bool(purpose) and PURPOSES[purpose].automount
        if purpose == "state" and (automount or {"soft", "softerr"} & set(options)):
            raise StorageError(
                f"{path}: a state directory is mounted at boot, and hard: with automount or soft, slurmctld might see an empty "
                "one and cancel every job. Leave them out."
            )
        return cls(
            path=path,
            source=source,
            type=kind,
            purpose=purpose,
            options=options,
            automount=bool(automount),
            idle=int(entry.get("idle", 600)),
            format=bool(entry.get("format")),
            format_options=tuple(str(option) for option in entry.get("format_options") or ()),
        )

    @property
    def all_options(self) -> tuple[str, ...]:
        """What the purpose asks for, then the mount's own, so that the latter prevail."""
        purpose = PURPOSES.get(self.purpose, Purpose((), ()))
        wanted = ("bind",) if self.type == "bind" else ()
        return wanted + purpose.flags + (purpose.nfs if self.type.startswith("nfs") else ()) + self.options

    @property
    def servers(self) -> list[tuple[str, int]]:
        """Who has to answer before it is mounted: any one of them. None over InfiniBand, which has no port to ask."""
        values = dict(option.split("=", 1) for option in self.all_options if "=" in option)
        if self.type.startswith("nfs"):
            port = values.get("port", str(NFS_PORT))
            if not port.isdigit():
                raise StorageError(
                    f"{self.path}: option 'port={port}' is no number. Give the server's port, or leave it out."
                )
            if "rdma" in self.all_options or values.get("proto", "").startswith("rdma"):
                return []
            return [(self.source.rpartition(":/")[0].strip("[]"), int(port))]
        if self.type == "ceph":
            monitors = values.get("mon_addr", "").replace("/", ",") or (
                self.source.rpartition(":/")[0] if "@" not in self.source else ""
            )
            return [_host_and_port(monitor, CEPH_PORT) for monitor in monitors.split(",") if monitor]
        if self.type == "lustre":
            nids = re.split(r"[:,]", self.source.rpartition(":/")[0])
            return [(nid.partition("@")[0], LUSTRE_PORT) for nid in nids if re.search(r"@tcp\d*$", nid)]
        return []

    def units(self) -> dict[str, str]:
        """Text of its systemd units by their names."""
        if self.state == "absent":
            return {}
        name = unit_name(self.path)
        remote = self.type in NETWORK_TYPES or "_netdev" in self.options
        target = "remote-fs.target" if remote else "local-fs.target"
        if self.type.startswith("fuse."):
            target = "multi-user.target"  # programs of /usr, and often the network
        what = self.path + (f" ({self.purpose})" if self.purpose else "")
        mount = [
            HEADER,
            "[Unit]",
            f"Description=File system {_literal(what)}",
            *(["Wants=network-online.target", "After=network-online.target"] if target == "multi-user.target" else []),
            "",
            "[Mount]",
            f"What={_literal(self.source)}",
            f"Where={_literal(self.path)}",
            f"Type={'none' if self.type == 'bind' else self.type}",
            *([f"Options={_literal(','.join(self.all_options))}"] if self.all_options else []),
            "TimeoutSec=60",
        ]
        install = ["", "[Install]", f"WantedBy={target}"]
        if not self.automount:
            return {f"{name}.mount": _text(mount + install)}
        automount = [
            HEADER,
            "[Unit]",
            f"Description=File system {_literal(what)}, when it is used",
            "",
            "[Automount]",
            f"Where={_literal(self.path)}",
            f"TimeoutIdleSec={self.idle}",
        ]
        return {f"{name}.mount": _text(mount), f"{name}.automount": _text(automount + install)}


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "%%")


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


def _host_and_port(text: str, port: int) -> tuple[str, int]:
    """HOST, HOST:PORT, [IPV6] or [IPV6]:PORT."""
    match = re.fullmatch(r"(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:]+))(?::(?P<port>\d+))?", text)
    if match is None:
        raise StorageError(f"'{text}' is no server. Write HOST, HOST:PORT or [IPV6]:PORT.")
    return match["v6"] or match["host"], int(match["port"] or port)


def unit_name(path: str) -> str:
    """The path as systemd-escape --path writes it."""
    escaped = "".join(
        "-"
        if char == "/"
        else char
        if re.fullmatch(r"[A-Za-z0-9:_.]", char)
        else "".join(f"\\x{byte:02x}" for byte in char.encode())
        for char in path.strip("/")
    )
    return re.sub(r"^\.", r"\\x2e", escaped)


def faults(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with the entries, a sentence each."""
    paths = [str(entry.get("path") or "") for entry in entries]
    twice = [f"{path} is given twice. Leave one of them." for path in sorted(set(paths)) if paths.count(path) > 1]
    return [fault for fault in map(_fault, entries) if fault] + twice


def _fault(entry: Mapping[str, Any]) -> str:
    try:
        dummy = Mount.of(entry).servers
    except StorageError as error:
        return str(error)
    return ""


# --- What the kernel says ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mounted:
    """A line of /proc/self/mountinfo."""

    path: str
    source: str
    type: str
    device: str
    root: str


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def mounted(mountinfo: str) -> list[Mounted]:
    """What is mounted, the later over the earlier."""
    found = []
    for line in mountinfo.splitlines():
        fields, _dash, rest = line.partition(" - ")
        dummy_id, dummy_parent, device, root, path, *dummy = fields.split(" ")
        kind, source, *dummy = rest.split(" ")
        found.append(Mounted(_unescaped(path), _unescaped(source), kind, device, _unescaped(root)))
    return found


def on_top(table: Sequence[Mounted], path: str) -> Mounted | None:
    """What is mounted at the path; the trap of an automount unit is nothing."""
    return next((entry for entry in reversed(table) if entry.path == path and entry.type != "autofs"), None)


def place_of(table: Sequence[Mounted], path: str) -> tuple[str, str]:
    """Device of the path's file system, and where the path is in it."""
    above = [entry for entry in table if entry.type != "autofs" and f"{path}/".startswith(f"{entry.path.rstrip('/')}/")]
    entry = max(reversed(above), key=lambda entry: len(entry.path))  # the last one mounted of those as long
    inside = path[len(entry.path.rstrip("/")) :]
    return entry.device, (entry.root.rstrip("/") + inside) or "/"


def is_the_same(mount: Mount, found: Mounted, table: Sequence[Mounted], device: str) -> bool:
    """Whether what is mounted is the mount's source; device is the number, MAJOR:MINOR, of what a local source leads to."""
    if mount.type == "bind":
        return (found.device, found.root) == place_of([entry for entry in table if entry is not found], mount.source)
    if mount.type.startswith("fuse."):
        return found.type in (mount.type, "fuse")  # many tell another type or source than they were given
    if mount.type in LOCAL_TYPES:
        return (found.type, found.device, found.root) == (mount.type, device, "/")
    same_type = found.type == mount.type or {found.type, mount.type} == {"nfs", "nfs4"}
    seen, wanted = found.source, mount.source
    if mount.type in ("ceph", "lustre"):  # their programs mount from addresses, and from the cluster with its number
        if "@." in wanted:
            seen = re.sub(r"@[0-9a-f-]+\.", "@.", seen, count=1)
        seen, wanted = seen.rpartition(":/")[2], wanted.rpartition(":/")[2]
    return same_type and seen.rstrip("/") == wanted.rstrip("/")
