"""An asking action is settled only by an answer that shows everything as wanted; in every doubt the module looks."""

from __future__ import annotations

import subprocess
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.hpcops.cluster.plugins.action import (
    config_files,
    daemon,
    service_accounts,
    slurm_hardware_info,
)
from ansible_collections.hpcops.cluster.plugins.plugin_utils import _asking as asking

RUNNING = "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nNeedDaemonReload=no\nMainPID=42\n"


def action(kind: Any) -> Any:
    """The action without what Ansible gives it, since asking and reading need none of that."""
    return kind.ActionModule.__new__(kind.ActionModule)


def test_running_daemon_is_settled() -> None:
    assert action(daemon).settled({"name": "munge"}, RUNNING) == {"actions": [], "installed": True, "pid": 42}


@pytest.mark.parametrize(
    "change",
    [
        ("loaded", "not-found"),
        ("active", "failed"),
        ("active", "activating"),
        ("enabled", "disabled"),
        ("=no", "=yes"),
    ],
)
def test_daemon_in_any_other_state_is_not_settled(change: tuple[str, str]) -> None:
    assert action(daemon).settled({"name": "munge"}, RUNNING.replace(*change, 1)) is None


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "munge", "state": "restarted"},
        {"name": "munge", "enabled": False},
        {"name": "munge", "enabled": "no"},
        {"name": "munge", "probe": "munge -n"},
        {"name": "munge", "stat": "started"},
        {},
    ],
)
def test_daemon_is_not_asked_for_what_only_the_module_can_do(arguments: dict[str, Any]) -> None:
    assert action(daemon).question(arguments) is None


def test_a_probe_is_part_of_the_question() -> None:
    question = action(daemon).question({"name": "munge", "probe": ["sh", "-c", "exit 1"]})
    assert question is not None
    assert question.endswith("&& sh -c 'exit 1' >/dev/null 2>&1")


ACCOUNTS = {"accounts": [{"name": "munge", "uid": 450}]}


@pytest.mark.parametrize(
    ("answer", "settled"),
    [
        ("munge:x:450:450::/:/\n" * 2 + "munge:x:450:\n" * 2, True),
        ("munge:x:450:450::/:/\nother:x:450:450::/:/\n" + "munge:x:450:\n" * 2, False),
        ("munge:x:450:450::/:/\n" * 2 + "munge:x:451:\n" * 2, False),
        ("munge:x:450:450::/:/\n" * 2, False),
        ("", False),
    ],
)
def test_accounts_are_settled_when_name_and_number_agree(answer: str, settled: bool) -> None:
    assert (action(service_accounts).settled(ACCOUNTS, answer) is not None) == settled


@pytest.mark.parametrize("cgroup", ["auto", "v2"])
def test_a_measured_host_is_settled_though_ansible_appends_to_the_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cgroup: str
) -> None:
    (tmp_path / "slurmd").write_text("#!/bin/sh\necho NodeName=c1 CPUs=2\n")
    (tmp_path / "slurmd").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    question = action(slurm_hardware_info).question({"cgroup": cgroup})
    asked = subprocess.run(["/bin/sh", "-c", f"{question} && sleep 0"], capture_output=True, text=True, check=True)
    tree, measured = asked.stdout.splitlines()
    assert measured == "NodeName=c1 CPUs=2"
    settled = action(slurm_hardware_info).settled({"cgroup": cgroup}, asked.stdout)
    assert (settled is not None) == (cgroup in ("auto", tree))


def entry(path: Path, **values: Any) -> dict[str, Any]:
    status = path.parent.stat()
    return {"path": str(path), "owner": str(status.st_uid), "group": str(status.st_gid), "mode": "0640", **values}


def asked(*entries: dict[str, Any]) -> bool:
    """Whether a real shell's answer settles the entries."""
    arguments = {"files": list(entries)}
    question = action(config_files).question(arguments)
    assert question is not None
    answer = subprocess.run(["/bin/sh", "-c", question], capture_output=True, text=True, check=True).stdout
    return action(config_files).settled(arguments, answer) is not None


@pytest.fixture(name="file")
def file_fixture(tmp_path: Path) -> Path:
    path = tmp_path / "a name with 'quotes' and |"
    path.write_text("key=value\n")
    path.chmod(0o640)
    return path


def test_files_as_wanted_are_settled(file: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o750)
    (tmp_path / "link").symlink_to("folder")
    assert asked(
        entry(file, content="key=value"),
        entry(file, content="a2V5PXZhbHVlCg==", base64=True),
        entry(tmp_path / "folder", state="directory", mode="0750"),
        {"path": str(tmp_path / "link"), "state": "link", "target": "folder"},
        {"path": str(tmp_path / "nothing"), "state": "absent"},
    )


@pytest.mark.parametrize(
    "values",
    [
        {"content": "key=other"},
        {"content": "key=value", "mode": "0600"},
        {"content": "key=value", "owner": "4711"},
        {"content": "key=value", "group": "nobody"},
        {"content": "no base64", "base64": True},
        {"content": "key=value", "unknown": 1},
        {"content": None},
        {"state": "directory"},
        {"state": "link", "target": "key=value"},
        {"state": "absent"},
        {"state": "nonsense"},
    ],
)
def test_a_file_that_differs_is_not_settled(file: Path, values: dict[str, Any]) -> None:
    assert not asked(entry(file, **values))


@pytest.mark.parametrize("values", [{"content": ""}, {"state": "directory"}, {"state": "link", "target": "x"}])
def test_a_missing_path_is_not_settled(tmp_path: Path, values: dict[str, Any]) -> None:
    assert not asked(entry(tmp_path / "nothing", **values))


def test_an_empty_file_is_settled(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch(mode=0o640)
    path.chmod(0o640)
    assert asked(entry(path, content=""))
    assert sha256(b"").hexdigest() == config_files.checksum({"content": ""})


@pytest.mark.parametrize("files", [[], "text", [{"path": "relative"}], [{"content": "x"}], ["text"]])
def test_files_that_cannot_be_read_are_left_to_the_module(files: Any) -> None:
    assert action(config_files).question({"files": files}) is None


def test_a_short_answer_settles_nothing() -> None:
    assert action(config_files).settled({"files": [{"path": "/a", "state": "absent"}]}, "") is None


class Played(asking.AskingAction):
    """An asking action over a host that is played; what it does is kept."""

    module = "a.b.c"

    def __init__(self, question: str | None, rc: int, result: dict[str, Any] | None) -> None:
        self._task = SimpleNamespace(action="a.b.c", args={"name": "x"}, async_val=0, check_mode=False, diff=False)
        self._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp/x"))
        self.asked, self.rc, self.result = question, rc, result
        self.done: list[Any] = []

    def question(self, arguments: Any) -> str | None:
        assert arguments == {"name": "x"}
        return self.asked

    def settled(self, arguments: Any, answer: str) -> dict[str, Any] | None:
        assert (arguments, answer) == ({"name": "x"}, "said")
        return self.result

    def _low_level_execute_command(self, command: str, sudoable: bool = False) -> dict[str, Any]:
        self.done.append((command, sudoable))
        return {"rc": self.rc, "stdout": "said"}

    def _execute_module(self, **arguments: Any) -> dict[str, Any]:
        self.done.append(arguments)
        return {"changed": True}


MODULE_RUN = {"module_name": "a.b.c", "module_args": {"name": "x"}, "task_vars": {"y": 1}}


@pytest.mark.parametrize(
    ("question", "rc", "result", "answer", "done"),
    [
        ("look", 0, {"pid": 1}, {"changed": False, "pid": 1}, [("look", True)]),
        ("look", 0, {}, {"changed": False}, [("look", True)]),
        ("look", 0, None, {"changed": True}, [("look", True), MODULE_RUN]),
        ("look", 1, {"pid": 1}, {"changed": True}, [("look", True), MODULE_RUN]),
        (None, 0, {"pid": 1}, {"changed": True}, [MODULE_RUN]),
    ],
)
def test_module_runs_unless_the_answer_settles_it(
    question: str | None, rc: int, result: dict[str, Any] | None, answer: dict[str, Any], done: list[Any]
) -> None:
    action = Played(question, rc, result)
    assert action.run(None, {"y": 1}) == answer
    assert action.done == done


def test_action_may_run_in_check_mode_and_shows_differences() -> None:
    assert Played._supports_check_mode
    assert Played._supports_diff
    assert not Played.TRANSFERS_FILES


def test_action_refuses_to_run_in_the_background() -> None:
    action = Played("look", 0, {})
    action._task.async_val = 5
    with pytest.raises(AnsibleActionFail, match="does not support async"):
        action.run(None, {})
    assert action.done == []
