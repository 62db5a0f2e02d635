"""A program that is a fork of a process with Ansible loaded is to Ansible what a new process is."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from ansible_collections.hpcops.cluster.tests.integration.ansible_runs import Starter

SETTINGS = {"ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1", "HPCOPS_TEST": "set"}


def runs_of(
    starter: Starter, folder: Path, program: str, *arguments: str
) -> tuple[subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
    forked = starter.start(folder, program, *arguments, **SETTINGS)
    new = subprocess.run(
        starter.command(program, *arguments),
        cwd=folder,
        env=starter.environment(**SETTINGS),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return forked, new


def test_fork_has_the_settings_of_a_new_process(starter: Starter, tmp_path: Path) -> None:
    forked, new = (
        {setting.get("name", ""): setting for setting in json.loads(done.stdout)}
        for done in runs_of(starter, tmp_path, "ansible-config", "dump", "--format", "json")
    )
    temporary = [str(of.pop("DEFAULT_LOCAL_TMP")["value"]) for of in (forked, new)]
    assert forked == new
    assert len(new) > 100
    assert [str(Path(path).parent) for path in temporary] == [f"{starter.home}/tmp"] * 2
    assert not [path for path in temporary if Path(path).exists()]


@pytest.mark.parametrize("wrong", [False, True])
def test_fork_has_the_output_of_a_new_process(starter: Starter, tmp_path: Path, wrong: bool) -> None:
    shown = "{{ [lookup('env', 'HPCOPS_TEST'), lookup('pipe', 'pwd'), playbook_dir, ansible_version.full] }}"
    tasks = [
        {"name": "show", "ansible.builtin.debug": {"msg": shown}},
        {"name": "copy", "ansible.builtin.copy": {"content": "text", "dest": "copied"}, "connection": "local"},
        {"name": "fail", "ansible.builtin.fail": {"msg": "on purpose"}, "when": wrong},
    ]
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
        "tasks": tasks,
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    forked, new = runs_of(starter, tmp_path, "ansible-playbook", "-i", "host.invalid,", "play.yml", "--check", "-v")
    assert forked.returncode == new.returncode == (2 if wrong else 0)
    assert "set" in forked.stdout

    def comparable(text: str) -> str:
        return re.sub(r"ansible-tmp-[\d.-]+", "ansible-tmp", text)

    assert comparable(forked.stdout) == comparable(new.stdout)
    assert forked.stderr == new.stderr
