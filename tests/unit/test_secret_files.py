# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets in files: nothing shows them, nobody else reads them, and the evidence says so."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment, FileSystemLoader

ROOT = Path(__file__).resolve().parents[2]
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
SECRET = "the-secret-of-the-tests"


# --- Results and differences ---------------------------------------------------------------------------------------

PLATFORM = {"repository_directory": "{tmp}", "repository_format": "sources", "pin_directory": ""}
REPOSITORY = {"name": "site", "uris": [f"https://user:{SECRET}@packages.example.org"], "suites": ["./"]}


def shown(tmp_path: Path, role: str, tasks: str, variables: dict[str, Any]) -> str:
    """All that a run of a role's tasks with --diff prints, on this host, whose packages stay as they are."""
    include = {"ansible.builtin.include_role": {"name": f"hpcops.cluster.{role}", "tasks_from": tasks}}
    facts = {"os_family": "Debian", "pkg_mgr": "none", "architecture": "x86_64", "distribution": "Debian"}
    play = [{"hosts": "localhost", "gather_facts": False, "vars": {"ansible_facts": facts}, "tasks": [include]}]
    (tmp_path / "play.yml").write_text(json.dumps(play), encoding="utf-8")
    (tmp_path / "vars.json").write_text(
        json.dumps({**variables, "ansible_python_interpreter": sys.executable}), encoding="utf-8"
    )
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "--inventory=localhost,", "--connection=local"]
    done = subprocess.run(
        [*command, "--diff", "-vvv", f"--extra-vars=@{tmp_path}/vars.json", str(tmp_path / "play.yml")],
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections")},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(("uri", "mode"), [(REPOSITORY["uris"][0], 0o640), ("https://packages.example.org", 0o644)])
@ROOT_ONLY
def test_password_in_a_repository_s_address_is_seen_nowhere(tmp_path: Path, uri: str, mode: int) -> None:
    variables = {
        "__os_base_platform": {**PLATFORM, "repository_directory": str(tmp_path)},
        "os_base_repositories": [{**REPOSITORY, "uris": [uri]}],
    }
    text = shown(tmp_path, "os_base", "repository_files.yml", variables)
    file = tmp_path / "site.sources"
    assert uri in file.read_text(encoding="utf-8"), text
    assert file.stat().st_mode & 0o777 == mode
    assert SECRET not in text
    assert ("+URIs: https://packages.example.org" in text) is (SECRET not in uri)


@pytest.mark.parametrize(
    ("settings", "secret"),
    [
        ({"remote_write": [{"url": "https://x", "basic_auth": {"username": "u", "password": SECRET}}]}, True),
        ({"remote_write": [{"url": "https://x", "authorization": {"credentials": SECRET}}]}, True),
        ({"remote_write": [{"url": "https://x", "sigv4": {"secret_key": SECRET}}]}, True),
        ({"remote_write": [{"url": f"https://u:{SECRET}@x"}]}, True),
        ({"remote_write": [{"url": "https://x"}], "global": {"evaluation_interval": "1s"}}, False),
    ],
)
def test_secret_in_the_settings_of_prometheus_is_recognised(settings: dict[str, Any], secret: bool) -> None:
    variables = yaml.safe_load((ROOT / "roles" / "prometheus" / "vars" / "main.yml").read_text(encoding="utf-8"))
    environment = Environment()
    environment.filters["to_json"] = json.dumps
    environment.tests["search"] = lambda text, pattern: __import__("re").search(pattern, text) is not None
    given = {"prometheus_settings": settings, "prometheus_scrape_configs": [], "prometheus_job_settings": {}}
    assert environment.from_string(variables["__prometheus_secret"]).render(given) == str(secret)


# --- The evidence --------------------------------------------------------------------------------------------------


def found(etc: Path) -> str:
    """What the control on keys reports of a directory in the place of /etc."""
    environment = Environment(loader=FileSystemLoader(ROOT / "roles" / "os_hardening" / "templates"), trim_blocks=True)
    environment.filters["quote"] = str
    source = (ROOT / "roles" / "os_hardening" / "templates" / "controls.yml.j2").read_text(encoding="utf-8")
    start = source.index("- name: the keys of the cluster")
    (control,) = yaml.safe_load(
        environment.from_string(source[start : source.index("- name: no account but")]).render()
    )
    command = control["command"].replace("find /etc", f"find {etc}").replace("^/etc", f"^{etc}")
    command = command.replace("'/etc", f"'{etc}")
    return subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True).stdout.strip()


@ROOT_ONLY
@pytest.mark.parametrize(
    ("file", "mode", "owner", "good"),
    [
        ("munge/munge.key", 0o400, "munge", True),
        ("munge/munge.key", 0o400, "nobody", False),
        ("munge/munge.key", 0o440, "munge", False),
        ("slurm/slurm.jwks", 0o600, "slurm", True),
        ("slurm/slurm.jwks", 0o644, "slurm", False),
        ("slurm/slurmctld-jwt.key", 0o600, "nobody", False),
        ("slurm/slurmdbd.conf", 0o600, "slurm", True),
        ("slurm/slurmdbd.conf", 0o640, "slurm", False),
        ("mysql/tls/tls.key", 0o640, "root", True),
        ("mysql/tls/tls.key", 0o644, "root", False),
        ("mysql/tls/tls.key", 0o600, "nobody", False),
        ("hpcops-prometheus/discovery.token", 0o640, "root", True),
        ("hpcops-heartbeat/token", 0o604, "root", False),
    ],
)
def test_evidence_on_keys_sees_owner_and_mode(tmp_path: Path, file: str, mode: int, owner: str, good: bool) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.touch()
    path.chmod(mode)
    numbers = {"root": 0, "nobody": 65534}
    if owner in numbers:
        os.chown(path, numbers[owner], 0)
        assert found(tmp_path) == ("none" if good else f"{mode:o} {owner} {path}")
    else:
        # The account need not exist here: root in its place is as good, and what the mode says stays the same.
        assert found(tmp_path) == ("none" if good else f"{mode:o} root {path}")


# --- Public checksums ----------------------------------------------------------------------------------------------


def test_checksum_of_a_file_that_not_everybody_may_read_is_not_published(tmp_path: Path) -> None:
    program = ROOT / "roles" / "node_exporter" / "files" / "hpcops-platform-metrics.py"
    spec = importlib.util.spec_from_file_location("platform_metrics", program)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, mode in (("slurm.conf", 0o644), ("slurmdbd.conf", 0o600), ("other.conf", 0o640)):
        (tmp_path / name).write_text("StoragePass=Summer2026!", encoding="utf-8")
        (tmp_path / name).chmod(mode)
    lines = list(module.samples([f"{tmp_path}/*.conf"], [], tmp_path / "never"))
    assert [line.partition(",")[0] for line in lines] == [f'hpcops_config_hash{{path="{tmp_path}/slurm.conf"']
