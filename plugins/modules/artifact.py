#!/usr/bin/python
# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A pinned release of a program, fetched from upstream or a mirror, verified and put in place."""

from __future__ import annotations

DOCUMENTATION = r"""
module: artifact
short_description: Fetch a pinned release, verify its checksum, and put it in place
version_added: 0.1.0
description:
  - Fetches a release archive, a single binary, or a Debian package, compares its SHA-256, and unpacks it into
    C(DIRECTORY/NAME-VERSION/). Then the named binaries are linked into O(link_directory).
  - Another O(version) lies beside the former ones, and the links move to it, upwards or downwards. Going back to a
    version that is
    still there downloads nothing.
  - A file whose checksum differs, that cannot be fetched, or that lacks a named binary is refused; what was in place
    before stays.
  - A release that is in place is not fetched again.
author:
  - hpcops.cluster contributors (@hpcops)
options:
  name:
    description: Name of the program, for its directory.
    type: str
    required: true
  version:
    description: Its version, for its directory.
    type: str
    required: true
  url:
    description: Where upstream publishes the file. An archive ends in C(.tar.gz), C(.tgz), C(.tar.xz) or C(.tar.bz2).
    type: str
    required: true
  checksum:
    description:
      - The file's SHA-256 as 64 hexadecimal digits, or the address of the list of checksums that upstream publishes,
        in the format of
        C(sha256sum). The digits protect against an upstream that was broken into, the address only against a broken
        download.
    type: str
    required: true
  mirror:
    description:
      - Address that takes the place of scheme and host of O(url) and of a O(checksum) that is an address. With
        V(https://mirror.example.org/github) the file V(https://github.com/a/b.tar.gz) comes from
        V(https://mirror.example.org/github/a/b.tar.gz).
    type: str
    default: ""
  format:
    description: What the file is. V(auto) tells by the end of O(url); a file with no known end is a V(binary).
    type: str
    choices: [auto, archive, binary, deb]
    default: auto
  binaries:
    description:
      - The programs to link. By default the one that is called like O(name).
      - Nothing is linked for a Debian package, which brings its own paths.
    type: list
    elements: dict
    suboptions:
      path:
        description: Path in the archive. A single directory at the archive's top does not count.
        type: str
        required: true
      name:
        description: Name of the link, by default the last part of the path.
        type: str
  directory:
    description: Where releases are unpacked.
    type: path
    default: /opt/hpcops
  link_directory:
    description: Where the links are made.
    type: path
    default: /usr/local/bin
  timeout:
    description: Seconds to wait for the server's answer.
    type: int
    default: 60
attributes:
  check_mode:
    description: Can run in check mode. It downloads nothing, so it does not know whether the checksum is right.
    support: full
  diff_mode:
    description: Shows the release and the links that change.
    support: full
"""

EXAMPLES = r"""
- name: Install node_exporter
  hpcops.cluster.artifact:
    name: node_exporter
    version: 1.9.1
    url: https://github.com/prometheus/node_exporter/releases/download/v1.9.1/node_exporter-1.9.1.linux-amd64.tar.gz
    checksum: https://github.com/prometheus/node_exporter/releases/download/v1.9.1/sha256sums.txt
"""

RETURN = r"""
path:
  description: Directory of the release.
  returned: success
  type: str
  sample: /opt/hpcops/node_exporter-1.9.1
deb:
  description: Path of the Debian package, empty for other formats and as long as check mode has not fetched it.
  returned: success
  type: str
  sample: /opt/hpcops/enroot-4.1.2/enroot_4.1.2-1_amd64.deb
deb_installed:
  description: Whether that package is installed in that version.
  returned: success
  type: bool
fetched:
  description: Whether the file was downloaded, or would be.
  returned: success
  type: bool
"""

import contextlib
import hashlib
import json
import os
import posixpath
import re
import tarfile
import tempfile
from typing import Any, NoReturn
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import fetch_url

ARCHIVE_ENDS = (".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
RECORD = ".artifact.json"
CHUNK = 1 << 20
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]*\Z")
DIGEST = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})\Z")


class ArtifactError(Exception):
    """Why the release cannot be put in place."""


def mirrored(url: str, mirror: str) -> str:
    """The address with its scheme and host replaced by the mirror's address."""
    if not mirror:
        return url
    parts = urlsplit(url)
    return mirror.rstrip("/") + parts.path + (f"?{parts.query}" if parts.query else "")


def format_of(url: str, wanted: str) -> str:
    """What kind of file the address names."""
    if wanted != "auto":
        return wanted
    path = urlsplit(url).path
    if path.endswith(ARCHIVE_ENDS):
        return "archive"
    return "deb" if path.endswith(".deb") else "binary"


def digest_in_list(text: str, file_name: str) -> str | None:
    """The SHA-256 of a file in a list of checksums, or in a text that is nothing but one checksum."""
    words = text.split()
    if words and len(words) == 1 and DIGEST.match(words[0]):
        return words[0].lower()
    for line in text.splitlines():
        bsd = re.match(r"SHA256 \((.+)\) = ([0-9a-fA-F]{64})\s*\Z", line)
        gnu = re.match(r"([0-9a-fA-F]{64})\s+\*?(.+?)\s*\Z", line)
        name, digest = bsd.groups() if bsd else gnu.groups()[::-1] if gnu else ("", "")
        if posixpath.basename(name) == file_name:
            return str(digest).lower()
    return None


def check_member(member: tarfile.TarInfo) -> None:
    """Refuse what would be unpacked outside of the directory, and what is no file, directory or link."""
    inside = posixpath.join(posixpath.dirname(member.name), member.linkname) if member.issym() else member.linkname
    for path in [member.name] + ([inside] if member.islnk() or member.issym() else []):
        if path.startswith("/") or posixpath.normpath(path).startswith(".."):
            raise ArtifactError(f"the archive's member '{member.name}' leads outside of the archive")
    if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
        raise ArtifactError(f"the archive's member '{member.name}' is neither file, directory nor link")


def unpack(archive: str, directory: str) -> str:
    """Unpack an archive; the path of its content without a single directory at the top."""
    try:
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
            for member in members:
                check_member(member)
                member.uid = member.gid = 0
                member.uname = member.gname = "root"
                member.mode = (member.mode | 0o644 | (0o111 if member.isdir() else 0)) & 0o755
            if hasattr(tarfile, "data_filter"):  # not before Python 3.11.4; check_member does what matters here
                tar.extraction_filter = tarfile.data_filter
            tar.extractall(directory, members=members)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ArtifactError(f"the archive cannot be unpacked: {error}") from error
    found = os.listdir(directory)
    if len(found) == 1 and os.path.isdir(os.path.join(directory, found[0])):
        return os.path.join(directory, found[0])
    return directory


class Artifact:
    """One release on this host."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        params = module.params
        self.name, self.version, self.url = params["name"], params["version"], params["url"]
        self.checksum, self.mirror = params["checksum"], params["mirror"]
        self.format = format_of(self.url, params["format"])
        self.file_name = posixpath.basename(urlsplit(self.url).path)
        self.root = params["directory"]
        self.target = os.path.join(self.root, f"{self.name}-{self.version}")
        self.binaries: list[tuple[str, str]] = []
        if self.format != "deb":
            wanted = params["binaries"] if params["binaries"] is not None else [{"path": self.name, "name": None}]
            self.binaries = [(entry["path"], entry["name"] or posixpath.basename(entry["path"])) for entry in wanted]

    def check(self) -> None:
        """Refuse options that make no sense."""
        for option, value in (("name", self.name), ("version", self.version)):
            if not WORD.match(value):
                raise ArtifactError(f"{option} '{value}' is not made of letters, digits and '._+~-'")
        if urlsplit(self.url).scheme not in ("http", "https") or not self.file_name:
            raise ArtifactError(f"url '{self.url}' is not the http or https address of a file")
        if not DIGEST.match(self.checksum) and urlsplit(self.checksum).scheme not in ("http", "https"):
            raise ArtifactError(
                "checksum is neither a SHA-256 of 64 hexadecimal digits nor the address of a list of them"
            )
        for path, _name in self.binaries:
            if path.startswith("/") or posixpath.normpath(path).startswith(".."):
                raise ArtifactError(f"the binary '{path}' is not a path inside the archive")
        if self.format == "binary" and len(self.binaries) > 1:
            raise ArtifactError("a file that is a single binary cannot hold several")

    def fail(self, reason: str) -> NoReturn:
        self.module.fail_json(msg=f"{self.name} {self.version}: {reason}. Nothing was replaced.")
        raise AssertionError  # fail_json does not return

    def in_place(self) -> bool:
        """Whether the wanted file has been unpacked here before."""
        try:
            with open(os.path.join(self.target, RECORD), encoding="utf-8") as handle:
                record = json.load(handle)
        except (OSError, ValueError):
            return False
        pinned = DIGEST.match(self.checksum)
        same = record.get("sha256") == pinned.group(1).lower() if pinned else record.get("url") == self.url
        wanted = [self.file_name] if self.format == "deb" else [path for path, _name in self.binaries]
        return same and all(os.path.isfile(os.path.join(self.target, path)) for path in wanted)

    def open(self, url: str) -> Any:
        """The server's answer to a request for the address, or for the same on the mirror."""
        address = mirrored(url, self.mirror)
        response, info = fetch_url(self.module, address, timeout=self.module.params["timeout"])
        if info["status"] != 200:
            raise ArtifactError(f"cannot fetch {address}: {info['msg']}")
        return response

    def digest(self) -> str:
        """The SHA-256 that the file must have."""
        pinned = DIGEST.match(self.checksum)
        if pinned:
            return pinned.group(1).lower()
        found = digest_in_list(self.open(self.checksum).read().decode("utf-8", "replace"), self.file_name)
        if found is None:
            raise ArtifactError(f"{mirrored(self.checksum, self.mirror)} has no SHA-256 of {self.file_name}")
        return found

    def download(self, path: str) -> str:
        """Fetch the file to path; its SHA-256."""
        response, digest = self.open(self.url), hashlib.sha256()
        with open(path, "wb") as handle:
            for chunk in iter(lambda: response.read(CHUNK), b""):
                digest.update(chunk)
                handle.write(chunk)
        return digest.hexdigest()

    def install(self) -> None:
        """Fetch, verify and unpack the release beside its place, then move it there."""
        os.makedirs(self.root, mode=0o755, exist_ok=True)
        expected = self.digest()
        with tempfile.TemporaryDirectory(prefix=f".{self.name}-{self.version}.", dir=self.root) as work:
            file = os.path.join(work, self.file_name)
            found = self.download(file)
            if found != expected:
                raise ArtifactError(
                    f"the SHA-256 of {mirrored(self.url, self.mirror)} is {found}, but {expected} was expected. "
                    "The file was changed or damaged, or the checksum belongs to another file"
                )
            tree = os.path.join(work, "tree")
            os.mkdir(tree)
            if self.format == "archive":
                tree = unpack(file, tree)
            else:
                os.rename(file, os.path.join(tree, self.file_name if self.format == "deb" else self.binaries[0][0]))
            for path, _name in self.binaries:
                if not os.path.isfile(os.path.join(tree, path)):
                    held = ", ".join(sorted(os.listdir(tree)))
                    raise ArtifactError(f"{self.file_name} has no file '{path}'; it holds {held}")
                os.chmod(os.path.join(tree, path), 0o755)
            with open(os.path.join(tree, RECORD), "w", encoding="utf-8") as handle:
                json.dump({"url": self.url, "sha256": expected}, handle)
            os.chmod(tree, 0o755)
            if os.path.lexists(self.target):
                os.rename(self.target, os.path.join(work, "former"))
            os.rename(tree, self.target)

    def links(self) -> dict[str, tuple[str, str]]:
        """The links to change: path to (is, shall be)."""
        changes = {}
        for path, name in self.binaries:
            link, target = os.path.join(self.module.params["link_directory"], name), os.path.join(self.target, path)
            before = os.readlink(link) if os.path.islink(link) else ""
            if not before and os.path.lexists(link):
                raise ArtifactError(f"{link} exists and is no link. Something else has installed it; remove it first")
            if before != target:
                changes[link] = (before, target)
        return changes


def deb_installed(module: AnsibleModule, deb: str) -> bool:
    """Whether the package in the file is installed, in the file's version."""
    dummy, fields, dummy_err = module.run_command(["dpkg-deb", "--field", deb, "Package", "Version"], check_rc=True)
    package = dict(line.split(": ", 1) for line in fields.splitlines())
    query = ["dpkg-query", "--show", "--showformat", "${db:Status-Abbrev}${Version}", package["Package"]]
    dummy, found, dummy_err = module.run_command(query)
    return str(found) == f"ii {package['Version']}"


def point(link: str, target: str) -> None:
    """Make or replace a link in one step."""
    os.makedirs(os.path.dirname(link), mode=0o755, exist_ok=True)
    candidate = f"{link}.candidate"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(candidate)
    os.symlink(target, candidate)
    os.replace(candidate, link)


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "url": {"type": "str", "required": True},
            "checksum": {"type": "str", "required": True},
            "mirror": {"type": "str", "default": ""},
            "format": {"type": "str", "choices": ["auto", "archive", "binary", "deb"], "default": "auto"},
            "binaries": {
                "type": "list",
                "elements": "dict",
                "options": {"path": {"type": "str", "required": True}, "name": {"type": "str"}},
            },
            "directory": {"type": "path", "default": "/opt/hpcops"},
            "link_directory": {"type": "path", "default": "/usr/local/bin"},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    artifact = Artifact(module)
    try:
        artifact.check()
        links = artifact.links()  # first, so that an obstacle is found before anything is fetched
        fetch = not artifact.in_place()
        if not module.check_mode:
            if fetch:
                artifact.install()
            for link, (_before, target) in links.items():
                point(link, target)
    except (ArtifactError, OSError) as error:
        artifact.fail(str(error))

    deb = os.path.join(artifact.target, artifact.file_name) if artifact.format == "deb" else ""
    if not os.path.isfile(deb):
        deb = ""
    before = "".join(f"{link} -> {is_now or '(absent)'}\n" for link, (is_now, _target) in links.items())
    after = "".join(f"{link} -> {target}\n" for link, (_is_now, target) in links.items())
    fetched = f"{artifact.target} from {mirrored(artifact.url, artifact.mirror)}\n" if fetch else ""
    module.exit_json(
        changed=fetch or bool(links),
        path=artifact.target,
        deb=deb,
        deb_installed=bool(deb) and deb_installed(module, deb),
        fetched=fetch,
        diff={
            "before_header": artifact.name,
            "after_header": artifact.name,
            "before": before,
            "after": fetched + after,
        },
    )


if __name__ == "__main__":
    main()
