# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module config_files on real files, with small programs that check the new content."""

from __future__ import annotations

import base64
import json
import os
import pwd
import resource
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.hpcops.cluster.plugins.modules import config_files

Run = Callable[..., dict[str, Any]]
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
OWNER, GROUP = str(os.geteuid()), str(os.getegid())
UNKNOWN = "nobody-is-called-so"


@pytest.fixture(name="run")
def run_fixture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the module on entries, which belong to who runs the tests, and return what it answers."""
    remote = tmp_path / "remote tmp"
    remote.mkdir()

    def run(*entries: dict[str, Any], check: bool = False) -> dict[str, Any]:
        files = [{"owner": OWNER, "group": GROUP, **entry, "path": str(entry["path"])} for entry in entries]
        arguments = {"files": files, "_ansible_check_mode": check, "_ansible_tmpdir": str(remote)}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            config_files.main()
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    return run


@pytest.fixture(name="etc")
def etc_fixture(tmp_path: Path) -> Path:
    """The folder that is configured; whatever the module leaves behind in it is seen."""
    path = tmp_path / "etc"
    path.mkdir()
    return path


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def mode_of(path: Path) -> str:
    return f"{stat.S_IMODE(path.lstat().st_mode):04o}"


def listing(folder: Path) -> dict[str, str]:
    """All that is below the folder: kind, mode, and what a file says or where a link leads."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            what = f"-> {os.readlink(path)}"
        elif path.is_dir():
            what = "directory"
        else:
            what = path.read_text(encoding="utf-8", errors="surrogateescape")
        found[str(path.relative_to(folder))] = f"{mode_of(path)} {what}"
    return found


def changes_of(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(part["before"], part["after"]) for part in answer["diff"]]


# --- Files ---------------------------------------------------------------------------------------------------------


def test_new_file_has_its_text_with_a_newline_at_the_end_and_the_default_mode(run: Run, etc: Path) -> None:
    answer = run({"path": etc / "a.conf", "content": "key=value"})
    assert listing(etc) == {"a.conf": "0644 key=value\n"}
    assert (answer["changed"], answer["changed_paths"]) == (True, [str(etc / "a.conf")])
    assert answer["diff"] == [
        {
            "before_header": f"{etc}/a.conf (absent)",
            "after_header": f"{etc}/a.conf",
            "before": "",
            "after": "key=value\n",
        }
    ]


@pytest.mark.parametrize("umask", [0o000, 0o077])
@pytest.mark.parametrize("mode", ["0600", "640", "4755"])
def test_mode_is_the_wanted_one_whatever_the_umask(run: Run, etc: Path, mode: str, umask: int) -> None:
    former = os.umask(umask)
    try:
        run({"path": etc / "a", "content": "x", "mode": mode}, {"path": etc / "d", "state": "directory", "mode": mode})
    finally:
        os.umask(former)
    assert [mode_of(etc / name) for name in ("a", "d")] == [f"{int(mode, 8):04o}"] * 2


@pytest.mark.parametrize(
    "wanted",
    [
        {"content": "key=value"},
        {"content": "key=value\n"},
        {"content": base64.b64encode(b"key=value\n").decode(), "base64": True},
    ],
)
def test_file_that_is_as_wanted_is_left_alone(run: Run, etc: Path, wanted: dict[str, Any]) -> None:
    (etc / "a").write_text("key=value\n", encoding="utf-8")
    (etc / "a").chmod(0o644)
    before = (etc / "a").stat()
    answer = run({"path": etc / "a", "validate": "false %s", **wanted})
    assert (answer["changed"], answer["changed_paths"], answer["diff"]) == (False, [], [])
    after = (etc / "a").stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )


def test_second_run_changes_nothing(run: Run, etc: Path) -> None:
    (etc / "old").touch()
    entries: list[dict[str, Any]] = [
        {"path": etc / "d" / "e", "state": "directory", "mode": "0750"},
        {"path": etc / "d" / "e" / "a", "content": "x", "mode": "0600"},
        {"path": etc / "empty", "content": ""},
        {"path": etc / "link", "state": "link", "target": "d/e/a"},
        {"path": etc / "old", "state": "absent"},
    ]
    first = run(*entries)
    assert first["changed_paths"] == [str(entry["path"]) for entry in entries]
    state = listing(etc)
    assert state == {
        "d": "0755 directory",
        "d/e": "0750 directory",
        "d/e/a": "0600 x\n",
        "empty": "0644 ",
        "link": "0777 -> d/e/a",
    }
    assert run(*entries)["changed"] is False
    assert listing(etc) == state


def test_bytes_are_written_as_they_are(run: Run, etc: Path) -> None:
    key = bytes(range(256)) + b"\r\n\xff without an end"
    run({"path": etc / "key", "content": base64.b64encode(key).decode(), "base64": True})
    assert (etc / "key").read_bytes() == key
    assert not run({"path": etc / "key", "content": base64.b64encode(key).decode(), "base64": True})["changed"]


def test_line_ends_of_a_text_stay(run: Run, etc: Path) -> None:
    run({"path": etc / "a", "content": "one\r\ntwo\n"})
    assert (etc / "a").read_bytes() == b"one\r\ntwo\n"
    assert run({"path": etc / "a", "content": "one\ntwo\n"})["changed"]


def test_difference_shows_both_texts_and_what_else_differs(run: Run, etc: Path) -> None:
    (etc / "a").write_text("old\n", encoding="utf-8")
    (etc / "a").chmod(0o600)
    answer = run({"path": etc / "a", "content": "new"})
    assert changes_of(answer) == [("old\n# mode: 0600\n", "new\n# mode: 0644\n")]
    assert answer["diff"][0]["before_header"] == answer["diff"][0]["after_header"] == str(etc / "a")


def test_mode_alone_is_put_right_without_another_file(run: Run, etc: Path) -> None:
    (etc / "a").write_text("x\n", encoding="utf-8")
    (etc / "a").chmod(0o666)
    number = (etc / "a").stat().st_ino
    answer = run({"path": etc / "a", "content": "x", "mode": "0640"})
    assert changes_of(answer) == [("x\n# mode: 0666\n", "x\n# mode: 0640\n")]
    assert (mode_of(etc / "a"), (etc / "a").stat().st_ino) == ("0640", number)


@ROOT_ONLY
@pytest.mark.parametrize("state", ["file", "directory"])
def test_owner_and_group_are_put_right_and_set_id_bits_stay(run: Run, etc: Path, state: str) -> None:
    nobody = pwd.getpwnam("nobody")
    entry = {"path": etc / "a", "state": state, "content": "x", "mode": "6755", "owner": "4711", "group": "4712"}
    run(entry)
    assert ((etc / "a").stat().st_uid, (etc / "a").stat().st_gid, mode_of(etc / "a")) == (4711, 4712, "6755")
    answer = run({**entry, "owner": "nobody"})
    assert (etc / "a").stat().st_uid == nobody.pw_uid
    assert mode_of(etc / "a") == "6755"
    assert ("# owner: 4711\n" in answer["diff"][0]["before"], "# owner: nobody\n" in answer["diff"][0]["after"]) == (
        True,
    ) * 2
    assert "group" not in answer["diff"][0]["before"]


@ROOT_ONLY
def test_group_is_looked_up_among_groups(run: Run, etc: Path) -> None:
    run({"path": etc / "a", "content": "x", "group": "tty"})
    assert (etc / "a").stat().st_gid == 5


@ROOT_ONLY
def test_owner_is_root_where_none_is_named(run: Run, etc: Path) -> None:
    (etc / "a").write_text("x\n", encoding="utf-8")
    os.chown(etc / "a", 4711, 4711)
    files = [{"path": str(etc / "a"), "content": "x"}]
    with patch_module_args({"files": files}), pytest.raises(SystemExit):
        config_files.main()
    assert ((etc / "a").stat().st_uid, (etc / "a").stat().st_gid) == (0, 0)


@pytest.mark.parametrize("kind", ["owner", "group"])
def test_unknown_account_is_refused_by_name_but_for_check_mode(run: Run, etc: Path, kind: str) -> None:
    entry = {"path": etc / "a", "content": "x", kind: UNKNOWN}
    answer = run(entry)
    assert answer["failed"]
    assert answer["msg"].startswith(f"{etc}/a: the {kind} '{UNKNOWN}' does not exist on this host. ")
    assert listing(etc) == {}
    checked = run(entry, check=True)
    assert checked["changed_paths"] == [str(etc / "a")]


@pytest.mark.parametrize("kind", ["owner", "group"])
def test_account_that_check_mode_cannot_know_is_a_change_of_an_existing_file(run: Run, etc: Path, kind: str) -> None:
    (etc / "a").write_text("x\n", encoding="utf-8")
    (etc / "a").chmod(0o644)
    answer = run({"path": etc / "a", "content": "x", kind: UNKNOWN}, check=True)
    assert answer["diff"][0]["after"] == f"x\n# {kind}: {UNKNOWN}\n"


def test_another_file_takes_the_place_at_once(run: Run, etc: Path) -> None:
    """Who has the old file open reads it to its end, and no name of a candidate is read by a conf.d folder."""
    (etc / "a.conf").write_text("old\n", encoding="utf-8")
    seen = program(
        etc.parent / "see", f'ls -A {etc} | grep -v "^a.conf$" >{etc.parent}/seen; cat {etc}/a.conf >>{etc.parent}/seen'
    )
    with (etc / "a.conf").open(encoding="utf-8") as reader:
        run({"path": etc / "a.conf", "content": "new", "validate": f"{seen} %s"})
        assert reader.read() == "old\n"
    candidate, former = (etc.parent / "seen").read_text(encoding="utf-8").splitlines()
    assert candidate.startswith(".a.conf.")
    assert candidate.endswith(".candidate")
    assert former == "old"
    assert listing(etc) == {"a.conf": "0644 new\n"}


def test_link_gives_way_to_the_file_and_its_target_stays(run: Run, etc: Path) -> None:
    (etc / "target").write_text("other\n", encoding="utf-8")
    (etc / "a").symlink_to("target")
    run({"path": etc / "a", "content": "new"})
    assert not (etc / "a").is_symlink()
    assert (etc / "target").read_text(encoding="utf-8") == "other\n"


# --- Checks of the content -----------------------------------------------------------------------------------------


def test_content_is_checked_with_its_mode_and_without_a_shell(run: Run, etc: Path) -> None:
    look = program(
        etc.parent / "look",
        f'printf "%s|" "$1" "$3" >{etc.parent}/args; stat -c %a "$2" >>{etc.parent}/args; cat "$2" >>{etc.parent}/args',
    )
    run({"path": etc / "a", "content": "new", "mode": "0640", "validate": f"{look} '; x *' %s --dir={etc}"})
    assert (etc.parent / "args").read_text(encoding="utf-8") == f"; x *|--dir={etc}|640\nnew\n"


@pytest.mark.parametrize("check", [False, True])
def test_refused_content_leaves_every_file_of_the_set_as_it_was(run: Run, etc: Path, check: bool) -> None:
    refuse = program(etc.parent / "refuse", "echo out; echo line 1: no such key >&2; exit 3")
    for name in ("first", "second", "old", "replaced"):
        (etc / name).write_text("former\n", encoding="utf-8")
        (etc / name).chmod(0o644)
    before = listing(etc)
    answer = run(
        {"path": etc / "first", "content": "new"},
        {"path": etc / "replaced", "state": "link", "target": "first"},
        {"path": etc / "second", "content": "new", "validate": f"{refuse} %s"},
        {"path": etc / "third", "content": "new"},
        {"path": etc / "old", "state": "absent"},
        check=check,
    )
    assert answer["msg"] == (
        f"{etc}/second: the new content is refused by '{refuse}' and was not installed: line 1: no such key"
    )
    assert answer["rc"] == 3
    assert listing(etc) == before
    assert list((etc.parent / "remote tmp").iterdir()) == []


def test_refusal_shows_what_the_program_printed_where_it_says_nothing_of_errors(run: Run, etc: Path) -> None:
    refuse = program(etc.parent / "refuse", "echo '  said on standard output  '; exit 1")
    answer = run({"path": etc / "a", "content": "x", "validate": f"{refuse} %s"})
    assert answer["msg"].endswith("was not installed: said on standard output")


def test_program_that_is_not_installed_checks_nothing(run: Run, etc: Path) -> None:
    assert run({"path": etc / "a", "content": "x", "validate": "/nothing/there %s"})["changed"]
    assert listing(etc) == {"a": "0644 x\n"}


# --- Check mode ----------------------------------------------------------------------------------------------------


def test_check_mode_reports_what_would_change_and_changes_nothing(run: Run, etc: Path) -> None:
    (etc / "a").write_text("old\n", encoding="utf-8")
    (etc / "mode").write_text("same\n", encoding="utf-8")
    (etc / "mode").chmod(0o600)
    (etc / "old").write_text("former\n", encoding="utf-8")
    (etc / "folder").mkdir(mode=0o700)
    (etc / "empty").mkdir()
    accept = program(etc.parent / "accept", f'cp "$1" {etc.parent}/checked')
    entries: list[dict[str, Any]] = [
        {"path": etc / "new" / "d", "state": "directory"},
        {"path": etc / "new" / "d" / "file", "content": "x"},
        {"path": etc / "folder", "state": "directory", "mode": "0755"},
        {"path": etc / "a", "content": "new", "validate": f"{accept} %s"},
        {"path": etc / "mode", "content": "same"},
        {"path": etc / "link", "state": "link", "target": "not/made/yet"},
        {"path": etc / "old", "state": "absent"},
        {"path": etc / "empty", "state": "absent"},
    ]
    before = listing(etc)
    answer = run(*entries, check=True)
    assert answer["changed_paths"] == [str(entry["path"]) for entry in entries]
    assert listing(etc) == before
    assert (etc.parent / "checked").read_text(encoding="utf-8") == "new\n"
    assert list((etc.parent / "remote tmp").iterdir()) == []
    (etc / "not" / "made").mkdir(parents=True)
    (etc / "not" / "made" / "yet").touch()
    assert run(*entries)["diff"] == answer["diff"]


# --- Secrets -------------------------------------------------------------------------------------------------------


def test_secret_is_in_no_difference(run: Run, etc: Path) -> None:
    secret = {"path": etc / "key", "mode": "0600", "sensitive": True}
    answers = [
        run({**secret, "content": "SECRET-1"}),
        run({**secret, "content": "SECRET-2"}),
        run({**secret, "content": "SECRET-2", "mode": "0400"}),
        run({**secret, "state": "absent"}),
    ]
    assert [changes_of(answer)[0] for answer in answers] == [
        ("", "(not shown)\n"),
        ("(not shown)\n", "(not shown)\n"),
        ("(not shown)\n# mode: 0600\n", "(not shown)\n# mode: 0400\n"),
        ("(not shown)\n", ""),
    ]
    for answer in answers:
        answer.pop("invocation")
        assert "SECRET" not in str(answer)


def test_candidate_is_never_readable_for_more_than_the_file_is(run: Run, etc: Path) -> None:
    look = program(etc.parent / "look", f'stat -c %a "$1" >{etc.parent}/mode')
    former = os.umask(0)
    try:
        for check in (True, False):
            run({"path": etc / "a", "content": "x", "mode": "0600", "validate": f"{look} %s"}, check=check)
            assert (etc.parent / "mode").read_text(encoding="utf-8") == "600\n"
    finally:
        os.umask(former)


def test_bytes_that_are_no_text_do_not_break_the_difference(run: Run, etc: Path) -> None:
    (etc / "a").write_bytes(b"\xff\n")
    assert changes_of(run({"path": etc / "a", "content": "x"}))[0] == ("?\n", "x\n")


# --- Directories, links, removal -----------------------------------------------------------------------------------


def test_directory_is_made_with_its_parents_and_before_files_that_stand_first(run: Run, etc: Path) -> None:
    answer = run(
        {"path": etc / "d" / "e", "state": "directory", "mode": "0700"},
        {"path": etc / "d" / "e" / "a", "content": "x"},
    )
    assert listing(etc) == {"d": "0755 directory", "d/e": "0700 directory", "d/e/a": "0644 x\n"}
    assert answer["diff"][0] == {
        "before_header": f"{etc}/d/e (absent)",
        "after_header": f"{etc}/d/e",
        "before": "# directory: absent\n",
        "after": "# directory: present\n",
    }


def test_mode_of_a_directory_is_put_right_and_its_files_stay(run: Run, etc: Path) -> None:
    (etc / "d").mkdir(mode=0o755)
    (etc / "d" / "a").touch(mode=0o600)
    answer = run({"path": etc / "d", "state": "directory", "mode": "0711"})
    assert changes_of(answer) == [("# mode: 0755\n", "# mode: 0711\n")]
    assert answer["diff"][0]["before_header"] == str(etc / "d")
    assert listing(etc) == {"d": "0711 directory", "d/a": "0600 "}


def test_link_to_a_directory_is_a_directory(run: Run, etc: Path) -> None:
    (etc / "d").mkdir(mode=0o755)
    (etc / "link").symlink_to("d")
    assert not run({"path": etc / "link", "state": "directory"})["changed"]
    assert (etc / "link").is_symlink()


@pytest.mark.parametrize("former", ["nothing", "link", "file"])
def test_link_takes_the_place_of_what_was_there(run: Run, etc: Path, former: str) -> None:
    (etc / "new").touch(mode=0o644)
    if former == "link":
        (etc / "link").symlink_to("gone")
    elif former == "file":
        (etc / "link").touch()
    answer = run({"path": etc / "link", "state": "link", "target": "new"})
    assert listing(etc) == {"link": "0777 -> new", "new": "0644 "}
    shown = {"nothing": "", "link": "gone", "file": "a file"}[former]
    assert changes_of(answer) == [(f"# target: {shown}\n", "# target: new\n")]
    assert answer["diff"][0]["before_header"] == f"{etc}/link" + (" (absent)" if former == "nothing" else "")
    assert not run({"path": etc / "link", "state": "link", "target": "new"})["changed"]


def test_link_replaces_a_candidate_that_an_interrupted_run_has_left(run: Run, etc: Path) -> None:
    (etc / "link.candidate").symlink_to("somewhere")
    (etc / "new").touch()
    assert run({"path": etc / "link", "state": "link", "target": "new"})["changed"]
    assert sorted(listing(etc)) == ["link", "new"]


@pytest.mark.parametrize("target", ["d/../a", "made"])
def test_link_may_lead_to_what_the_set_makes(run: Run, etc: Path, target: str) -> None:
    run(
        {"path": etc / "link", "state": "link", "target": target},
        {"path": etc / "a", "content": "x"},
        {"path": etc / "made", "state": "directory"},
    )
    assert os.readlink(etc / "link") == target


def test_link_that_would_lead_nowhere_is_refused_before_anything_changes(run: Run, etc: Path) -> None:
    answer = run(
        {"path": etc / "d", "state": "directory"},
        {"path": etc / "link", "state": "link", "target": "../nothing"},
    )
    assert answer["msg"] == (f"{etc}/link: '../nothing', where the link shall point to, does not exist on this host")
    assert listing(etc) == {}


def test_removal_takes_files_links_and_empty_directories(run: Run, etc: Path) -> None:
    (etc / "file").write_text("former\n", encoding="utf-8")
    (etc / "d").mkdir()
    (etc / "kept").mkdir()
    (etc / "kept" / "a").touch()
    (etc / "to a directory").symlink_to("kept")
    (etc / "to nothing").symlink_to("nothing")
    names = ["file", "d", "to a directory", "to nothing"]
    answer = run(*({"path": etc / name, "state": "absent"} for name in names))
    assert "msg" not in answer
    assert sorted(listing(etc)) == ["kept", "kept/a"]
    assert answer["changed_paths"] == [str(etc / name) for name in names]
    assert answer["diff"][0] == {
        "before_header": f"{etc}/file",
        "after_header": f"{etc}/file (absent)",
        "before": "former\n",
        "after": "",
    }
    assert [part["before_header"] for part in answer["diff"]] == [str(etc / name) for name in names]
    assert not run(*({"path": etc / name, "state": "absent"} for name in names))["changed"]


def test_directory_that_is_not_empty_is_not_removed(run: Run, etc: Path) -> None:
    (etc / "d").mkdir()
    (etc / "d" / "a").touch()
    answer = run({"path": etc / "d", "state": "absent"})
    assert answer["msg"] == f"{etc}/d: cannot be removed: Directory not empty"
    assert sorted(listing(etc)) == ["d", "d/a"]


# --- What is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"path": "relative/a", "content": "x"}, "files: 'relative/a' is not an absolute path"),
        ({"path": "{etc}/a"}, "{etc}/a: a file needs 'content'"),
        ({"path": "{etc}/a", "state": "link"}, "{etc}/a: a link needs 'target'"),
        (
            {"path": "{etc}/a", "content": "x", "mode": "u=rw"},
            "{etc}/a: mode 'u=rw' is not an octal number such as '0644'",
        ),
        ({"path": "{etc}/a", "content": "no base64", "base64": True}, "{etc}/a: 'content' is not base64"),
        ({"path": "{etc}/d", "content": "x"}, "{etc}/d: is a directory, a file was asked for"),
        ({"path": "{etc}/f", "state": "directory"}, "{etc}/f: exists and is not a directory"),
        ({"path": "{etc}/d", "state": "link", "target": "f"}, "{etc}/d: is a directory, a link was asked for"),
        ({"path": "{etc}/no/a", "content": "x"}, "{etc}/no/a: cannot write into {etc}/no: No such file or directory"),
        ({"path": "{etc}/f/a", "content": "x"}, "{etc}/f/a: Not a directory"),
        ({"path": "{etc}/f/a", "state": "directory"}, "{etc}/f/a: Not a directory"),
    ],
)
def test_what_cannot_be_done_is_refused_by_path_and_reason(
    run: Run, etc: Path, entry: dict[str, Any], message: str
) -> None:
    (etc / "f").touch(mode=0o644)
    (etc / "d").mkdir(mode=0o755)
    before = listing(etc)
    answer = run({**entry, "path": entry["path"].format(etc=etc)})
    assert answer["failed"]
    assert answer["msg"] == message.format(etc=etc)
    assert listing(etc) == before


def test_disk_that_takes_no_more_leaves_the_old_file_and_nothing_beside_it(run: Run, etc: Path) -> None:
    """A limit of the process stands in for a full disk."""
    (etc / "a").write_text("former\n", encoding="utf-8")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        answer = run({"path": etc / "a", "content": "x" * 50_001})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert answer["msg"] == f"{etc}/a: File too large"
    assert list(listing(etc).values()) == [f"{mode_of(etc / 'a')} former\n"]


def test_empty_content_is_a_file_and_no_missing_content(run: Run, etc: Path) -> None:
    assert run({"path": etc / "a", "content": ""})["changed"]
    assert listing(etc) == {"a": "0644 "}
