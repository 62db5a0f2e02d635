"""The example inventories make configurations that Slurm's own rules accept."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PLAYBOOK = ROOT / "tests/unit/render_controller_files.yml"


def controller_files(inventory: str | pathlib.Path, tmp_path: pathlib.Path, *extra_vars: str) -> dict[str, str]:
    """What the role slurmctld would bring to the first controller of the inventory, by file name."""
    target = tmp_path / "rendered"
    target.mkdir()
    command = [f"{sys.prefix}/bin/ansible-playbook", f"--inventory={ROOT / 'inventories' / inventory}", str(PLAYBOOK)]
    command += [f"--extra-vars=slurmctld_render_directory={target}"]
    command += [f"--extra-vars={value}" for value in extra_vars]
    done = subprocess.run(
        command,
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible/collections"),
            "ANSIBLE_HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.name: path.read_text() for path in target.iterdir()}


@pytest.fixture(scope="module")
def onprem(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return controller_files("onprem", tmp_path_factory.mktemp("onprem"), "vault_munge_key=x vault_slurmdbd_password=y")


def test_equal_nodes_fold_into_one_line_each(onprem: dict[str, str]) -> None:
    lines = [line for line in onprem["slurm.conf"].splitlines() if line.startswith("NodeName=")]
    assert [line.split()[0] for line in lines] == [
        "NodeName=fat[01-08]",
        "NodeName=gpu[01-04]",
        "NodeName=thin[001-064]",
    ]


def test_partitions_refer_to_node_sets(onprem: dict[str, str]) -> None:
    assert "NodeSet=fat Nodes=fat[01-08]" in onprem["slurm.conf"]
    assert "PartitionName=batch Nodes=thin,fat" in onprem["slurm.conf"]


def test_both_controllers_are_named_in_order(onprem: dict[str, str]) -> None:
    lines = onprem["slurm.conf"].splitlines()
    assert [line for line in lines if line.startswith("SlurmctldHost=")] == ["SlurmctldHost=ctl1", "SlurmctldHost=ctl2"]


def test_gpus_are_declared_where_slurm_wants_them(onprem: dict[str, str]) -> None:
    assert "GresTypes=gpu" in onprem["slurm.conf"]
    assert "NodeName=gpu[01-04] Name=gpu Type=h100 File=/dev/nvidia[0-7]" in onprem["gres.conf"]


def test_jobs_are_confined(onprem: dict[str, str]) -> None:
    assert "ConstrainRAMSpace=YES" in onprem["cgroup.conf"]
    assert "ProctrackType=proctrack/cgroup" in onprem["slurm.conf"]


def test_topology_is_a_tree(onprem: dict[str, str]) -> None:
    assert "SwitchName=leaf1 Nodes=thin[001-064]" in onprem["topology.conf"]
    assert "TopologyPlugin=topology/tree" in onprem["slurm.conf"]


def test_the_readmes_inventory_makes_a_cluster(tmp_path: pathlib.Path) -> None:
    (example,) = re.findall(
        r"^```yaml\n(# hosts\.yml\n.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(example)
    files = controller_files(inventory, tmp_path, "slurmdbd_storage_password=x")
    assert "NodeName=n[01-16] CPUs=64 RealMemory=250000" in files["slurm.conf"]
    assert "SlurmctldHost=ctl1" in files["slurm.conf"]
    assert "AccountingStorageHost=db1" in files["slurm.conf"]


@pytest.mark.parametrize("release", ["22.05", "24.11", "26.05"])
def test_cloud_nodes_become_lines_of_slurm_conf(tmp_path: pathlib.Path, release: str) -> None:
    files = controller_files("bursting", tmp_path, "vault_munge_key=x", f"slurmctld_release={release}")
    lines = files["slurm.conf"].splitlines()
    assert "NodeName=cpu-[1-200] State=CLOUD Weight=1000 CPUs=32 RealMemory=62000 Features=cloud" in lines
    assert "PartitionName=batch Nodes=cpu,c[1-8] Default=YES" in lines
    times = "SuspendTime=900 ResumeTimeout=600 SuspendTimeout=60"
    assert f"PartitionName=cloud Nodes=cpu {times} MaxTime=1-00:00:00" in lines
    assert f"PartitionName=spot Nodes=spot {times}" in lines
    assert "ResumeProgram=/usr/local/libexec/slurm-elastic-resume" in lines
    assert {"ResumeRate=0", "SuspendRate=0"} <= set(lines)
    assert not any(line.startswith("SuspendTime=") for line in lines)  # nodes of the site's own stay
    old = {"CommunicationParameters=NoAddrCache", "TreeWidth=65533", "PrivateData=cloud"}
    assert old & set(lines) == (old if release == "22.05" else set())
    (options,) = (line.partition("=")[2].split(",") for line in lines if line.startswith("SlurmctldParameters="))
    addresses = ["cloud_reg_addrs"] if release == "22.05" else []
    assert sorted(options) == sorted(["enable_configless", "idle_on_node_suspend", *addresses])
