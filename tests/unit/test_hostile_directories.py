# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What root does in directories that users and daemons own, with a real account (65534) that prepares them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment, FileSystemLoader

from ansible_collections.hpcops.cluster.plugins.filter.unit_sandbox import unit_sandbox

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
USER = "nobody"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give directories away")


def as_nobody(folder: Path, script: str) -> None:
    """Run a shell script as the account that owns the folder."""
    subprocess.run(["/bin/sh", "-ec", script], cwd=folder, user=NOBODY, group=NOBODY, extra_groups=[], check=True)


def hostile(path: Path) -> Path:
    path.mkdir()
    os.chown(path, NOBODY, NOBODY)
    return path


@pytest.fixture(name="victim")
def victim_fixture(tmp_path: Path) -> Iterator[Path]:
    """A directory of root's with a file, which must stay as they are."""
    folder = tmp_path / "victim"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc" / ".credentials").write_text("root's\n", encoding="utf-8")
    yield folder
    assert (folder / "etc" / ".credentials").read_text(encoding="utf-8") == "root's\n"
    assert (folder / "etc" / ".credentials").stat().st_uid == 0
    assert [path.name for path in folder.iterdir()] == ["etc"]


# --- enroot's credentials ------------------------------------------------------------------------------------------


def give_credentials(tmp_path: Path, users: Path, names: list[str]) -> subprocess.CompletedProcess[str]:
    """Run the role's tasks for credentials on this host, in a directory of the test's."""
    credentials = [{"user": name, "machine": "r.example.org", "login": "l", "password": "p"} for name in names]
    play = [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "tasks": [
                {"ansible.builtin.import_role": {"name": "hpcops.cluster.enroot", "tasks_from": "credentials.yml"}}
            ],
        }
    ]
    (tmp_path / "play.yml").write_text(json.dumps(play), encoding="utf-8")
    variables = {
        "__enroot_users_directory": str(users),
        "ansible_python_interpreter": sys.executable,
        "enroot_credentials": credentials,
    }
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "--inventory=localhost,", "--connection=local"]
    return subprocess.run(
        [*command, "--extra-vars", json.dumps(variables), str(tmp_path / "play.yml")],
        cwd=ROOT,
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible/collections"),
            "ANSIBLE_LOCALHOST_WARNING": "0",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def state(users: Path) -> dict[str, tuple[int, int, str]]:
    """Owner, mode and content of all that is in the directory."""
    return {
        str(path.relative_to(users)): (
            path.lstat().st_uid,
            path.lstat().st_mode & 0o7777,
            path.read_text(encoding="utf-8") if path.is_file() else "",
        )
        for path in users.rglob("*")
    }


def test_user_reads_the_credentials_and_loses_them_and_cannot_change_the_directory(tmp_path: Path) -> None:
    users = tmp_path / "users"
    line = "machine r.example.org login l password p\n"
    given = {USER: (0, 0o755, ""), f"{USER}/.credentials": (NOBODY, 0o600, line)}
    for _run in range(2):
        done = give_credentials(tmp_path, users, [USER])
        assert done.returncode == 0, done.stdout + done.stderr
        assert state(users) == given
    assert "changed=0" in done.stdout
    assert "changed=1" in give_credentials(tmp_path, users, []).stdout
    assert state(users) == {USER: (0, 0o755, "")}
    assert "changed=0" in give_credentials(tmp_path, users, []).stdout


def test_directory_that_former_releases_gave_to_the_user_becomes_roots(tmp_path: Path, victim: Path) -> None:
    users = tmp_path / "users"
    users.mkdir()
    as_nobody(hostile(users / USER), f"ln -s {victim}/etc/.credentials .credentials")
    done = give_credentials(tmp_path, users, [USER])
    assert done.returncode == 0, done.stdout + done.stderr
    assert (users / USER).stat().st_uid == 0
    assert not (users / USER / ".credentials").is_symlink()


@pytest.mark.parametrize("trap", ["mkdir a && ln -s {victim}/etc a/etc", "ln -s {victim} a", "mkfifo .credentials"])
def test_removal_takes_the_user_s_own_file_and_nothing_that_a_link_reaches(
    tmp_path: Path, victim: Path, trap: str
) -> None:
    users = tmp_path / "users"
    users.mkdir()
    (users / "linked").symlink_to(victim / "etc")
    folder = hostile(users / USER)
    as_nobody(folder, trap.format(victim=victim))
    as_nobody(folder, "mkdir -p deeper; touch deeper/.credentials; [ -e .credentials ] || touch .credentials")
    done = give_credentials(tmp_path, users, [])
    assert done.returncode == 0, done.stdout + done.stderr
    assert not os.path.lexists(folder / ".credentials")
    assert (folder / "deeper" / ".credentials").exists(), "it looked deeper than a user's directory"


# --- Hooks of units ------------------------------------------------------------------------------------------------


def metrics_hook(state_directory: Path, collected: Path) -> list[str]:
    """What systemd runs as root after slurm-elastic's comparison."""
    loader = FileSystemLoader(ROOT / "roles" / "slurm_elastic" / "templates")
    environment = Environment(loader=loader, trim_blocks=True)  # as Ansible renders
    environment.filters["hpcops.cluster.unit_sandbox"] = unit_sandbox
    environment.filters["comment"] = str
    names: dict[str, Any] = {
        "slurm_elastic_user": str(NOBODY),
        "slurm_elastic_metrics_directory": str(collected),
        "__slurm_elastic_metrics": str(state_directory / "metrics.prom"),
    }
    unit = environment.get_template("hpcops-elastic-reconcile.service.j2").render(names)
    (hook,) = [line.partition("=")[2] for line in unit.splitlines() if line.startswith("ExecStopPost=")]
    return shlex.split(hook.removeprefix("-+"))


@pytest.fixture(name="reachable")
def reachable_fixture() -> Iterator[Path]:
    """A directory that other accounts reach, which the tests' own is not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(name="collected")
def collected_fixture(reachable: Path) -> Path:
    """The directory of node_exporter's collector."""
    (reachable / "collected").mkdir()
    return reachable / "collected"


def test_metrics_of_the_service_reach_the_collector_whole_and_as_roots(reachable: Path, collected: Path) -> None:
    account = hostile(reachable / "state")
    as_nobody(account, "echo up 1 >metrics.prom; chmod 4755 metrics.prom")
    subprocess.run(metrics_hook(account, collected), check=True)
    (found,) = collected.iterdir()
    assert (found.name, found.read_text(encoding="utf-8")) == ("slurm-elastic.prom", "up 1\n")
    assert (found.stat().st_uid, found.stat().st_mode & 0o7777) == (0, 0o644), "the account's mode and root's owner"


@pytest.mark.parametrize("trap", ["ln -s {victim}/etc/.credentials metrics.prom", "ln -s {victim} metrics.prom"])
def test_metrics_of_the_service_lead_root_nowhere(reachable: Path, collected: Path, victim: Path, trap: str) -> None:
    (victim / "etc" / ".credentials").chmod(0o600)
    account = hostile(reachable / "state")
    as_nobody(account, trap.format(victim=victim))
    subprocess.run(metrics_hook(account, collected), check=False, capture_output=True)
    as_nobody(account, "rm metrics.prom; echo '* * * * * root id' >metrics.prom")
    subprocess.run(metrics_hook(account, collected), check=True)
    assert {path.name: path.is_symlink() for path in collected.iterdir()} == {"slurm-elastic.prom": False}


# --- The image that verify makes -----------------------------------------------------------------------------------

# Slurm's commands for one host, this one, and enroot: the container shows what the image is made of.
STAND_INS = {
    "salloc": """while [ "${1#--}" != "$1" ]; do shift; done; SLURM_JOB_ID=77 exec "$@\"""",
    "srun": """case $1 in --container-image=*) image=${1#*=}; stat --format='%u %a' "$image" "${image%/*}" >"$SEEN"; cat "$image"
[ "$(cat "$image")" != root\\'s ] || echo inside; exit;; esac
exec "$@\"""",
    # Appends to what is there unless it is told not to, as the real one does.
    "mksquashfs": """case $* in *-noappend*) : >"$2";; esac; echo "root's" >>"$2\"""",
}


def test_image_that_verify_runs_as_root_is_in_a_directory_of_roots(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in STAND_INS.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    variables = yaml.safe_load((ROOT / "playbooks" / "vars" / "verify.yml").read_text(encoding="utf-8"))
    command = Environment().from_string(variables["__verify_container_jobs"][0]["command"])
    planted = Path("/tmp/verify-77.sqsh")  # where former releases made it
    as_nobody(Path("/tmp"), f"echo theirs >{planted}")
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command.render(__verify_container_nodes=["n1"])],
            env={"PATH": f"{programs}:{os.environ['PATH']}", "SEEN": str(tmp_path / "seen")},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        planted.unlink(missing_ok=True)
    assert "inside" in done.stdout.splitlines(), done.stdout + done.stderr
    assert (tmp_path / "seen").read_text(encoding="utf-8").splitlines()[1:] == ["0 700"]
    assert not list(Path("/tmp").glob("verify.*")), "it is left behind"
