# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control machine's part of slurm_config: it asks by a real shell, and lets the module do what is planned and fine."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.hpcops.cluster.plugins.action.slurm_config import ActionModule
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_set import FileSet, checksum

BASE = """ClusterName=demo
SlurmctldTimeout=60
SlurmUser=slurm
NodeName=c[1-4] CPUs=2
PartitionName=main Nodes=c[1-4]
"""
FILES = {"slurm.conf": BASE, "cgroup.conf": "ConstrainCores=yes\n"}


class Action(ActionModule):
    """The action with a shell of this machine for a connection, and a module that only notes its arguments."""

    def __init__(self, **arguments: Any) -> None:
        self._task = SimpleNamespace(args=arguments, async_val=0, check_mode=False, diff=False)
        self._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/nowhere"))
        self.questions = 0
        self.module: dict[str, Any] | None = None

    def _low_level_execute_command(self, cmd: str, **_more: Any) -> dict[str, Any]:
        self.questions += 1
        done = subprocess.run(["/bin/sh", "-c", cmd], capture_output=True, text=True, check=False)
        return {"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr}

    def _execute_module(self, module_args: dict[str, Any], **_more: Any) -> dict[str, Any]:
        self.module = module_args
        return {"changed": True}


@pytest.fixture(name="directory")
def directory_fixture(tmp_path: Path) -> Path:
    directory = tmp_path / "it's a $directory"
    directory.mkdir()
    FileSet(str(directory)).replace(FILES)
    return directory


def action(directory: Path, **arguments: Any) -> Action:
    return Action(**{"directory": str(directory), "release": "24.11", "files": FILES, **arguments})


def changed(old: str, new: str) -> dict[str, str]:
    assert old in BASE
    return {**FILES, "slurm.conf": BASE.replace(old, new)}


def for_module(directory: Path, **arguments: Any) -> dict[str, Any]:
    """What the module is told."""
    this = action(directory, **arguments)
    assert this.run() == {"changed": True}
    assert this.module is not None
    plan: dict[str, Any] = this.module["plan"]
    return plan


def test_files_as_wanted_need_one_question_and_no_module(directory: Path) -> None:
    this = action(directory, absent=["gres.conf"])
    result = this.run()
    assert (result["changed"], result["changed_files"], result["action"]) == (False, [], "none")
    assert result["plan"]["before"] == result["plan"]["after"] == checksum(FILES)
    assert (this.questions, this.module) == (1, None)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"# caf\xe9\r\nClusterName=demo\r\n", b"x" * 100000, b"no new line at the end"]
)
def test_a_present_file_is_read_byte_by_byte(directory: Path, content: bytes) -> None:
    (directory / "slurm.conf").write_bytes(content)
    told = for_module(directory)
    assert told["data"]["before"] == checksum(FileSet(str(directory)).read(FILES))
    files = {"slurm.conf": content.decode(errors="surrogateescape")}
    assert action(directory, files=files).run()["changed"] is False


def test_a_first_set_is_left_to_the_module(tmp_path: Path) -> None:
    told = for_module(tmp_path / "nothing" / "yet")
    assert told["data"]["action"] == "none"
    assert told["text"] == "cgroup.conf: the file: added [none]\nslurm.conf: the file: added [none]\n"
    assert told["data"]["before"] == checksum({})


def test_a_file_that_must_go_is_a_change(directory: Path) -> None:
    (directory / "gres.conf").write_text("Name=gpu\n")
    told = for_module(directory, absent=["gres.conf"])
    assert told["text"] == "gres.conf: line Name=gpu: removed [reconfigure]\n"


def test_the_module_is_told_what_it_needs_to_know(directory: Path) -> None:
    files = changed("Timeout=60", "Timeout=61\nKillWait=7\nSlurmctldLogFile=/var/log/s.log")
    told = for_module(directory, files=files)
    assert told["values"] == {
        "SlurmctldTimeout": ("60", "61"),
        "KillWait": (None, "7"),
        "SlurmctldLogFile": (None, "/var/log/s.log"),
    }
    assert (told["user"], told["log_file"]) == ("slurm", "/var/log/s.log")
    assert "ClusterName=demo\n" in told["trial"]
    assert f"NodeAddr={told['address']}" in told["trial"]
    assert told["data"]["after"] == checksum(files)


@pytest.mark.parametrize(
    ("old", "new", "leaving"),
    [
        ("Timeout=60", "Timeout=61", []),
        ("c[1-4]", "c[1-3]", ["c4"]),
        ("CPUs=2", "CPUs=2 State=DOWN", ["c1", "c2", "c3", "c4"]),
        ("CPUs=2", "CPUs=4 Weight=2", []),
        ("CPUs=2", "CPUs=2 Port=7", ["c1", "c2", "c3", "c4"]),
        ("Partition", "DownNodes=c[1-2] State=DOWN\nPartition", ["c1", "c2"]),
        ("Nodes=c[1-4]", "Nodes=c[1-2]", ["c3", "c4"]),
        ("Nodes=c[1-4]", "Nodes=s\nNodeSet=s Nodes=c[2-4]", ["c1"]),
        ("SlurmUser", "AuthType=auth/slurm\nSlurmUser", ["c1", "c2", "c3", "c4"]),
    ],
)
def test_nodes_that_need_not_come_back_are_named(directory: Path, old: str, new: str, leaving: list[str]) -> None:
    assert for_module(directory, files=changed(old, new))["leaving"] == leaving


def test_an_interrupted_change_is_planned_from_the_files_before_it(directory: Path) -> None:
    files = FileSet(str(directory))
    wanted = changed("Timeout=60", "Timeout=61")
    files.keep(FILES, "begun")
    files.replace(wanted)
    told = for_module(directory, files=wanted)
    assert "SlurmctldTimeout: 60 -> 61" in told["text"]
    assert told["data"]["before"] == checksum(FILES)
    told = for_module(directory, files=FILES)
    assert told["text"] == "", "all stays as it was, but slurmctld may run with the other set"
    files.settle()
    assert action(directory, files=wanted).run()["changed"] is False


def test_a_file_that_the_interrupted_change_left_alone_is_no_change(directory: Path) -> None:
    files = FileSet(str(directory))
    files.keep({"slurm.conf": BASE}, "begun")
    assert for_module(directory)["text"] == ""


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (changed("Nodes=c[1-4]", "Nodes=c9"), "partition main: Nodes names c9"),
        (changed("SlurmUser", "SlurmUsr"), "'SlurmUsr' is not a parameter of Slurm 24.11; did you mean SlurmUser?"),
        (changed("=demo", "=other"), "ClusterName cannot change from 'demo' to 'other'"),
    ],
)
def test_a_wrong_set_is_refused_with_its_plan_and_without_the_module(
    directory: Path, files: dict[str, str], says: str
) -> None:
    this = action(directory, files=files)
    result = this.run()
    assert result["failed"]
    assert result["msg"].startswith("The new configuration is refused, and nothing was replaced:\n")
    assert says in result["msg"]
    assert result["plan"]["after"] == checksum(files)
    assert this.module is None


def test_only_an_approved_plan_is_carried_out(directory: Path) -> None:
    wanted = changed("Timeout=60", "Timeout=61")
    approved = for_module(directory, files=wanted)["data"]
    assert for_module(directory, files=wanted, approved_plan=approved)["data"] == approved
    other = action(directory, files=changed("Timeout=60", "Timeout=62"), approved_plan=approved).run()
    assert "approved_plan: this change is not approved: these changes are not in it" in other["msg"]
    assert "SlurmctldTimeout: 60 -> 62" in other["msg"]
    FileSet(str(directory)).replace(wanted)
    assert action(directory, files=wanted, approved_plan=approved).run()["changed"] is False


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"files": None}, "slurm.conf one of them"),
        ({"files": {"cgroup.conf": ""}}, "slurm.conf one of them"),
        ({"files": {"slurm.conf": None}}, "slurm.conf one of them"),
        ({"files": {**FILES, "../passwd": ""}}, "'../passwd' is not the name of a file"),
        ({"files": {**FILES, ".before": ""}}, "'.before' is not the name of a file"),
        ({"absent": "gres.conf"}, "absent must be a list"),
        ({"absent": ["a/b"]}, "'a/b' is not the name of a file"),
        ({"absent": ["slurm.conf"]}, "slurm.conf is both in files and in absent"),
        ({"release": "new"}, "release 'new' is not a Slurm release"),
        ({"release": "1.0"}, "is not a Slurm release"),
        ({"files": {"slurm.conf": "no pairs"}}, "slurm.conf: line 1 cannot be read from 'no pairs' on"),
    ],
)
def test_arguments_that_make_no_set_are_refused(directory: Path, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(AnsibleActionFail) as error:
        action(directory, **arguments).run()
    assert says in str(error.value)


def test_a_directory_that_cannot_be_read_is_an_error(directory: Path) -> None:
    (directory / "slurm.conf").unlink()
    (directory / "slurm.conf").symlink_to("nowhere")
    with pytest.raises(AnsibleActionFail, match=r"cannot be read: .*slurm\.conf"):
        action(directory).run()
