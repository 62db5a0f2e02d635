"""Packages built from the release source make a cluster that runs jobs, and come from nowhere but the build host."""

from __future__ import annotations

import pytest
from testinfra.host import Host

from ansible_collections.hpcops.cluster.tests.support.hosts import container, eventually, names
from ansible_collections.hpcops.cluster.tests.support.runs import run_playbook

BUILD = container(names("slurm_build")[0])
CONTROLLER = container(names("slurmctld")[0])
NODE = container(names("slurmd")[0])
REPOSITORY = "/var/www/slurm-packages"
MEMBERS = pytest.mark.parametrize("member", [CONTROLLER, NODE], ids=["controller", "compute node"])


def test_job_of_an_ordinary_user_runs_on_the_compute_node() -> None:
    eventually(lambda: CONTROLLER.check_output("sinfo --noheader --format=%t"), lambda state: state == "idle")
    output = CONTROLLER.check_output(
        "cd /tmp && runuser -u alice -- timeout 60 srun sh -c 'hostname; id --user --name'"
    )
    assert output.split() == [names("slurmd")[0], "alice"]


@MEMBERS
def test_installed_release_is_the_one_asked_for(member: Host) -> None:
    assert member.check_output("scontrol --version") == "slurm 24.11.5"


@MEMBERS
def test_no_package_of_the_distribution_is_mixed_in(member: Host) -> None:
    installed = member.check_output("dpkg-query --show --showformat '${Package} ${db:Status-Abbrev}\\n'").splitlines()
    slurm = {line.split()[0] for line in installed if "slurm" in line and line.endswith("ii ")}
    assert slurm
    assert all(name.startswith("slurm-smd") for name in slurm)


@MEMBERS
def test_general_upgrade_would_leave_the_release_alone(member: Host) -> None:
    policy = member.check_output("apt-cache policy slurm-smd")
    assert "*** 24.11.5-1 1001" in policy
    assert f"http://{names('slurm_build')[0]}:8008/debian-" in policy


def test_tokens_can_be_made_since_the_jwt_plugin_is_there() -> None:
    assert CONTROLLER.file("/usr/lib/x86_64-linux-gnu/slurm/auth_jwt.so").exists


def test_compute_node_offers_pmix() -> None:
    assert "pmix_v" in NODE.check_output("srun --mpi=list 2>&1")


def test_nodes_refuse_packages_that_were_tampered_with() -> None:
    index = f"{REPOSITORY}/debian-{NODE.system_info.codename}"
    BUILD.check_output(f"cp -a {index}/InRelease /root/ && sed -i 's/^Label: .*/Label: Other/' {index}/InRelease")
    try:
        only = "-o Dir::Etc::sourcelist=sources.list.d/slurm.sources -o Dir::Etc::sourceparts=-"
        answer = NODE.run(f"apt-get update -o APT::Update::Error-Mode=any {only}")
    finally:
        BUILD.check_output(f"cp -a /root/InRelease {index}/InRelease")
    assert answer.rc != 0
    assert "signature" in answer.stderr, answer.stderr


def test_signing_key_does_not_stay_on_the_build_host() -> None:
    assert (
        BUILD.run(
            "grep --recursive --files-with-matches 'BEGIN PGP PRIVATE' /var/cache/slurm-build /var/www /tmp /etc"
        ).stdout
        == ""
    )


def test_tarball_with_another_checksum_is_refused() -> None:
    run = run_playbook(
        "--limit=slurm_build",
        playbook="hpcops.cluster.build_packages",
        variables={"slurm_source_checksum": 64 * "0"},
    ).failed()
    assert "e1a5547edd212c38b5e3230a284133f777b32746551f094aaa81cc4af375e332, not 0000" in run.failure
    assert "Nothing was built." in run.failure
    assert BUILD.run(f"ls -A {REPOSITORY}/*/24.11.5/.built-*").stdout.count("\n") == 1


def test_build_without_a_checksum_is_refused() -> None:
    run = run_playbook(
        "--limit=slurm_build",
        playbook="hpcops.cluster.build_packages",
        variables={"slurm_source_checksum": ""},
    ).failed()
    assert "What cannot be verified is not built." in run.failure
