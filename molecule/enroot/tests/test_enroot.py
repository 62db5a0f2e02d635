# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers in jobs. enroot and pyxis are stand-ins unless ENROOT_ARTIFACT_URL and PYXIS_ARTIFACT_URL name upstream's; Slurm, squashfs,
namespaces, packages, and the plugin's build, check and loading are real."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ansible_collections.hpcops.cluster.tests.support.hosts import (
    PREFIX,
    container,
    eventually,
    matrix_alone,
    names,
    said,
    seen_before,
)
from ansible_collections.hpcops.cluster.tests.support.runs import run_playbook

if TYPE_CHECKING:
    from testinfra.host import Host

(CTL,), (C1,) = names("slurmctld"), names("slurmd")
testinfra_hosts = [f"docker://{PREFIX}{CTL}"]
PYXIS = "/etc/slurm/plugstack.conf.d/pyxis.conf"
FOREIGN = {"enroot_pyxis_artifact_url": "http://ctl:8000/other/spank_pyxis.so"}
DIRECTORIES = ("/run/enroot", "/var/cache/enroot", "/var/lib/enroot/data", "/var/lib/enroot/tmp")
STAND_INS = not {"ENROOT_ARTIFACT_URL", "PYXIS_ARTIFACT_URL"} & set(os.environ)
only_stand_ins = pytest.mark.skipif(not STAND_INS, reason="asks the stand-in")


@pytest.fixture(name="node", scope="module")
def node_fixture() -> Host:
    return container(C1)


@pytest.fixture(name="image", scope="module")
def image_fixture(node: Host) -> Iterator[str]:
    """A squashfs that all can read, of a shell and what it needs."""
    node.check_output(
        "root=$(mktemp -d) && cd $root && mkdir -p bin dev etc proc root run sys tmp && cp /bin/sh bin/ &&"
        " cp /bin/cat bin/ && cp --parents $(ldd /bin/sh /bin/cat | grep -o '/[^ ]*' | grep -v :) . &&"
        " echo root:x:0:0::/root:/bin/sh >etc/passwd && chmod 755 . && mksquashfs . /tmp/image.sqsh -quiet -no-progress"
    )
    yield "/tmp/image.sqsh"
    node.check_output("rm /tmp/image.sqsh")


def run_as(host: Host, user: str, command: str) -> str:
    return str(host.check_output(f"cd /tmp && runuser --user={user} -- {command}"))


def task(name: str) -> str:
    return f"hpcops.cluster.enroot : {name}"


def kinds(node: Host, uid: int) -> dict[str, str]:
    """The directories of a user: owner and mode."""
    paths = " ".join(f"{directory}/user-{uid}" for directory in DIRECTORIES)
    lines = said(node, f"stat --format='%n %U %a' {paths} 2>/dev/null").splitlines()
    return {os.path.dirname(path): meta for path, _blank, meta in (line.partition(" ") for line in lines)}


def test_acceptance_check_runs_a_container_as_an_ordinary_user() -> None:
    run = run_playbook(playbook="container_job.yml").succeeded()
    found = [check for _task, _host, result in run.results for check in result.get("results", [])]
    assert [(check["name"], check["passed"]) for check in found] == [
        ("Slurm loads pyxis", True),
        ("Slurm loads pyxis", True),
        ("a job runs in a container on c1", True),
    ], found


def test_hooks_have_run_and_the_job_sees_nothing_of_its_host(host: Host, image: str) -> None:
    script = "cat /etc/pmi /etc/site; [ -e /etc/slurm ] || echo apart"
    lines = run_as(host, "alice", f"srun --container-image={image} /bin/sh -c '{script}'").splitlines()
    assert lines[1:] == ["This site's", "apart"]
    if STAND_INS:
        assert re.fullmatch(r"PMI of \d+", lines[0])


def test_job_without_a_container_runs_on_the_host(host: Host) -> None:
    assert run_as(host, "bob", "srun hostname") == "c1"


def test_pyxis_was_built_on_one_host_for_its_slurm_and_brought_to_the_other(host: Host, node: Host) -> None:
    release = re.search(r"\d+\.\d+", host.check_output("srun --version"))
    assert release
    plugin = f"/opt/hpcops/pyxis-0.24.0-slurm{release.group()}/spank_pyxis.so"
    assert node.file(PYXIS).content_string.splitlines()[-1] == f"required {plugin}"
    assert node.file(plugin).sha256sum == host.file(plugin).sha256sum
    assert host.package("gcc").is_installed
    assert not node.package("gcc").is_installed


def test_user_has_private_directories_until_the_last_job_ends_and_the_cache_stays(host: Host, node: Host) -> None:
    submit = (
        "sbatch --parsable --output=/dev/null --mem=10 --wrap='until [ -e /tmp/end$SLURM_JOB_ID ]; do sleep 0.1; done'"
    )
    first, second = run_as(host, "alice", submit), run_as(host, "alice", submit)
    running = "squeue --noheader --states=running --user=alice | wc -l"
    ended = "squeue --noheader --user=alice | wc -l"
    eventually(lambda: said(host, running), lambda seen: seen == "2")
    assert kinds(node, 2000) == dict.fromkeys(DIRECTORIES, "alice 700")
    run_as(node, "alice", "touch /var/lib/enroot/data/user-2000/mine /var/cache/enroot/user-2000/layer")
    assert node.run("runuser --user=bob -- ls /var/lib/enroot/data/user-2000").rc != 0
    node.check_output(f"touch /tmp/end{first}")
    eventually(lambda: said(host, ended), lambda seen: seen == "1")
    assert node.file("/var/lib/enroot/data/user-2000/mine").exists, "the other job has lost its container"
    node.check_output(f"touch /tmp/end{second}")
    eventually(lambda: kinds(node, 2000), lambda seen: list(seen) == ["/var/cache/enroot"])
    assert node.file("/var/cache/enroot/user-2000/layer").exists
    assert said(node, "ls -A /run/enroot /var/lib/enroot/data /var/lib/enroot/tmp | grep -v :") == ""


def test_password_of_a_registry_is_read_by_its_user_alone(node: Host) -> None:
    password = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "token").read_text(encoding="utf-8").strip()
    file = "/etc/enroot/users/alice/.credentials"
    assert node.check_output(f"stat --format='%U %a' {file}") == "alice 600"
    line = f"machine registry.example.org login alice password {password}"
    assert run_as(node, "alice", f"cat {file}") == line
    assert node.run(f"runuser --user=bob -- cat {file}").rc != 0
    if STAND_INS:
        assert run_as(container(CTL), "alice", "srun env HOME=/tmp enroot credentials") == line
    changed = run_playbook("-vvv", "--check", "--diff", "--limit", C1, variables={"enroot_credentials": []}).succeeded()
    assert (task("Remove them"), C1) in changed.changed
    assert password not in changed.text


def test_timer_s_service_brings_the_cache_below_its_limit_oldest_first(node: Host) -> None:
    cache = "/var/cache/enroot/user-2001"
    node.check_output(f"install --directory --owner=bob --mode=0700 {cache}")
    for name, age in (("oldest", "3 days"), ("older", "2 days"), ("new", "1 minute")):
        size = "fallocate --length=6M"
        run_as(node, "bob", f"sh -c '{size} {cache}/{name} && touch --date=\"{age} ago\" {cache}/{name}'")
    assert node.service("hpcops-enroot-cache.timer").is_enabled
    node.check_output("systemctl start hpcops-enroot-cache.service")
    assert node.check_output(f"ls {cache}") == "new"


@only_stand_ins
def test_plugin_for_another_release_is_refused_and_slurm_loads_the_former_one(host: Host, node: Host) -> None:
    before = node.file(PYXIS).content_string
    pid = "systemctl show slurmd --property=MainPID --value"
    slurmd = node.check_output(pid)
    refused = run_playbook(variables=FOREIGN).failed()
    for words in ("Incompatible", "version (23.11.0)", "give enroot_pyxis_artifact_url", "was not installed"):
        assert words in refused.failure
    assert not [
        change for change in refused.changed if change[0] in (task("Have Slurm load pyxis"), task("Restart slurmd"))
    ]
    assert (node.file(PYXIS).content_string, node.check_output(pid)) == (before, slurmd)
    assert run_as(host, "bob", "srun hostname") == "c1"


@seen_before
@only_stand_ins
def test_plugin_that_no_longer_fits_is_found_by_the_acceptance_check(node: Host) -> None:
    before = node.file(PYXIS).content_string
    node.check_output(f"sed -i 's:^required .*:required /opt/hpcops/gone/spank_pyxis.so:' {PYXIS}")
    try:
        run = run_playbook(playbook="container_job.yml").succeeded()
        failed = [check for _t, _h, result in run.results for check in result.get("results", []) if not check["passed"]]
        assert "release of Slurm" in next(check["detail"] for check in failed if check["name"] == "Slurm loads pyxis")
        # The role finds it as well, and puts the right one there.
        assert (task("Have Slurm load pyxis"), C1) in run_playbook("--limit", C1).succeeded().changed
    finally:
        node.check_output(f"cat >{PYXIS} <<'END'\n{before}END")


@matrix_alone
@only_stand_ins
def test_pyxis_is_taken_out_where_none_is_wanted_and_a_limited_run_brings_it_back(host: Host, node: Host) -> None:
    run_playbook(variables={"enroot_pyxis_artifact_url": ""}).succeeded()
    assert not node.file(PYXIS).exists
    assert "unrecognized option" in host.run("srun --container-image=/x true").stderr
    assert run_as(host, "bob", "srun hostname") == "c1"
    run_playbook("--limit", C1).succeeded()
    assert node.file(PYXIS).exists
    run_playbook("--limit", CTL).succeeded()
