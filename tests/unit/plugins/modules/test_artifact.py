# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module artifact: addresses, lists of checksums, and what it refuses to unpack. Fetching is tested by the scenario of os_base."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from ansible_collections.hpcops.cluster.plugins.modules.artifact import (
    ArtifactError,
    digest_in_list,
    format_of,
    mirrored,
    unpack,
)

A, B = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("mirror", "address"),
    [
        ("", "https://github.com/a/b.tgz?raw=1"),
        ("http://mirror", "http://mirror/a/b.tgz?raw=1"),
        ("https://mirror.example.org:8443/github/", "https://mirror.example.org:8443/github/a/b.tgz?raw=1"),
    ],
)
def test_mirror_takes_the_place_of_scheme_and_host(mirror: str, address: str) -> None:
    assert mirrored("https://github.com/a/b.tgz?raw=1", mirror) == address


@pytest.mark.parametrize(
    ("url", "wanted", "kind"),
    [
        ("https://x/a.tar.gz", "auto", "archive"),
        ("https://x/a.tgz?raw=1", "auto", "archive"),
        ("https://x/a.tar.xz", "auto", "archive"),
        ("https://x/a_1_amd64.deb", "auto", "deb"),
        ("https://x/a-linux-amd64", "auto", "binary"),
        ("https://x/download", "archive", "archive"),
    ],
)
def test_kind_of_file_follows_the_end_of_its_address(url: str, wanted: str, kind: str) -> None:
    assert format_of(url, wanted) == kind


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        (f"{B}  other\n{A}  file.tar.gz\n", A),
        (f"{A} *file.tar.gz\n", A),
        (f"{A}  ./dist/file.tar.gz\r\n", A),
        (f"SHA256 (file.tar.gz) = {A}\n", A),
        (f"{A.upper()}  file.tar.gz\n", A),
        (f"{A}\n", A),  # file.tar.gz.sha256
        (f"{A}  file.tar.gz.sig\n", None),
        (f"{A}  not-file.tar.gz\n", None),
        ("d41d8cd98f00b204e9800998ecf8427e  file.tar.gz\n", None),  # MD5
        ("<html>not found</html>", None),
        ("", None),
    ],
)
def test_checksum_is_found_in_the_formats_of_upstreams(text: str, digest: str | None) -> None:
    assert digest_in_list(text, "file.tar.gz") == digest


def archive_of(path: Path, *members: tarfile.TarInfo) -> str:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return str(path)


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = 1 if kind == tarfile.REGTYPE else 0
    info.mode, info.uid = 0o4777, 0
    return info


def test_single_directory_at_the_top_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    archive = archive_of(
        tmp_path / "a.tgz", member("tool-1/bin/tool"), member("tool-1/link", tarfile.SYMTYPE, "bin/tool")
    )
    tree = Path(unpack(archive, str(tmp_path / "tree")))
    assert sorted(path.name for path in tree.iterdir()) == ["bin", "link"]
    assert (tree / "bin" / "tool").stat().st_mode & 0o7777 == 0o755  # neither set-id nor writable for others


@pytest.mark.parametrize(
    "bad",
    [
        member("../outside"),
        member("/etc/outside"),
        member("a/../../outside"),
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("a/link", tarfile.SYMTYPE, "../../outside"),
        member("hard", tarfile.LNKTYPE, "../outside"),
        member("device", tarfile.CHRTYPE),
        member("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda info: f"{info.name} {info.linkname}",
)
def test_member_that_leads_outside_is_refused_before_anything_is_unpacked(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    (tmp_path / "tree").mkdir()
    with pytest.raises(ArtifactError, match=f"the archive's member '{bad.name}'"):
        unpack(archive_of(tmp_path / "a.tgz", member("good"), bad), str(tmp_path / "tree"))
    assert list((tmp_path / "tree").iterdir()) == []


def test_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "a.tgz").write_text("<html>not found</html>", encoding="utf-8")
    with pytest.raises(ArtifactError, match="cannot be unpacked"):
        unpack(str(tmp_path / "a.tgz"), str(tmp_path / "tree"))
