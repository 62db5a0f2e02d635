"""Jobs are confined by cgroup v2 on a node with a kernel of its own, and the node survives a reboot."""

from __future__ import annotations

import os
import re
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import testinfra
import yaml

from ansible_collections.hpcops.cluster.tests.support.hosts import INVENTORY, container, eventually, names, variables_of
from ansible_collections.hpcops.cluster.tests.support.runs import run_playbook

if TYPE_CHECKING:
    from testinfra.host import Host

(CONTROLLER,) = names("slurmctld")
(NODE,) = names("slurmd")
NODE_ADDRESS = variables_of(NODE)["ansible_host"]
PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
# More than the limit SMALL and less than LARGE. A process of user-mode-linux cannot map much more than 200 MiB.
ALLOCATE = "head -c 120M /dev/zero | tail -c 120M >/dev/null"
SMALL, LARGE = "50M", "400M"


def known_node(controller: Host) -> dict[str, str]:
    """The node as slurmctld knows it."""
    words = controller.check_output(f"scontrol --oneliner show node {NODE}").split()
    return dict(word.split("=", 1) for word in words if "=" in word)


def wait_until_the_node_is_idle(controller: Host) -> None:
    eventually(lambda: known_node(controller)["State"], lambda state: state == "IDLE", seconds=60)


def submit(controller: Host, script: str, memory: str) -> str:
    """Number of a new job of an ordinary user."""
    sbatch = f"sbatch --parsable --chdir=/tmp --output=/dev/null --mem={memory} --wrap={shlex.quote(script)}"
    return str(controller.check_output(f"su - alice -c {shlex.quote(sbatch)}").strip())


def accounted_state(controller: Host, job: str) -> str:
    """What accounting says of the job once it has ended."""
    sacct = f"sacct --noheader --parsable2 --allocations --jobs={job} --format=State"
    return eventually(
        lambda: str(controller.check_output(sacct).strip()),
        lambda state: state not in ("", "PENDING", "RUNNING"),
        seconds=60,
    )


@pytest.fixture(name="node", scope="module")
def node_fixture() -> Host:
    return testinfra.get_host(f"ansible://{NODE}", ansible_inventory=INVENTORY)


@pytest.fixture(name="controller", scope="module")
def controller_fixture() -> Host:
    controller = container(CONTROLLER)
    wait_until_the_node_is_idle(controller)
    return controller


def test_job_over_its_memory_limit_is_killed_by_its_cgroup(controller: Host, node: Host) -> None:
    job = submit(controller, ALLOCATE, memory=SMALL)
    assert accounted_state(controller, job) == "OUT_OF_MEMORY"
    kernel = node.check_output("journalctl --dmesg --no-pager --grep=CONSTRAINT_MEMCG")
    assert f"{NODE}_slurmstepd.scope/job_{job}/" in kernel


def test_the_same_job_completes_within_its_memory_limit(controller: Host) -> None:
    assert accounted_state(controller, submit(controller, ALLOCATE, memory=LARGE)) == "COMPLETED"


def test_stray_process_is_gone_after_its_job_has_ended(controller: Host, node: Host) -> None:
    """A process that left its job's session and parent: nothing but the cgroup still tells whose it is."""
    node.check_output("rm -f /tmp/stray /tmp/end")
    stray = "echo $$ >/tmp/stray.new; mv /tmp/stray.new /tmp/stray; exec sleep 3600"
    script = f"setsid --fork sh -c {shlex.quote(stray)}; until [ -e /tmp/end ]; do sleep 0.2; done"
    job = submit(controller, script, memory=SMALL)
    pid = eventually(lambda: str(node.run("cat /tmp/stray").stdout.strip()))

    assert node.check_output(f"ps --no-headers -o sid= --pid {pid}").strip() == pid
    assert f"/job_{job}/" in node.file(f"/proc/{pid}/cgroup").content_string
    node.check_output("touch /tmp/end")
    assert accounted_state(controller, job) == "COMPLETED"
    eventually(lambda: not node.file(f"/proc/{pid}").exists)
    wait_until_the_node_is_idle(controller)


def told_of(controller: Host, job: str, metric: str) -> float:
    """What the node's exporter tells the controller of a job; nothing of a job that it does not know is 0."""
    password = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "metrics").read_text(encoding="utf-8").strip()
    ask = f"curl --silent --fail --max-time 20 --cacert /tmp/ca.crt --user prometheus:{password}"
    text = controller.check_output(f"{ask} https://{NODE_ADDRESS}:9306/metrics")
    for labels, value in re.findall(rf"^{metric}{{(.*?)}} (\S+)", text, re.MULTILINE):
        found = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if relabelled(found).get("jobid") == job:
            return float(value)
    return 0


def relabelled(labels: dict[str, str]) -> dict[str, str]:
    """A series' labels after what the role prometheus has done to them; none of a series that it drops."""
    variables = yaml.safe_load((PROJECT / "roles" / "prometheus" / "vars" / "main.yml").read_text(encoding="utf-8"))
    rules: list[dict[str, Any]] = variables["__prometheus_cadvisor"]
    for rule in rules:
        found = re.fullmatch(rule["regex"], labels.get(rule["source_labels"][0], ""))
        if found and rule.get("action") == "drop":
            return {}
        if found:
            labels = labels | {rule["target_label"]: rule.get("replacement") or found[1]}
    return labels


def test_processor_time_and_memory_of_a_running_job_are_told_under_its_number(controller: Host, node: Host) -> None:
    """cAdvisor's own series, asked for by another host over TLS, with the password."""
    authority = node.file("/etc/cgroup_exporter/ca.crt").content_string
    controller.check_output(f"echo {shlex.quote(authority)} >/tmp/ca.crt")
    wait_until_the_node_is_idle(controller)
    busy = "python3 -c 'held = b\"x\" * (60 << 20)\nwhile True: pass'"
    job = submit(controller, busy, memory="150M")
    try:
        first = eventually(
            lambda: told_of(controller, job, "container_cpu_usage_seconds_total"), lambda used: used > 0, seconds=120
        )
        eventually(
            lambda: told_of(controller, job, "container_cpu_usage_seconds_total"),
            lambda used: used > first + 1,
            seconds=60,
        )
        held = eventually(
            lambda: told_of(controller, job, "container_memory_working_set_bytes"),
            lambda held: held >= 60 << 20,
            seconds=60,
        )
        assert held < 150 << 20
    finally:
        controller.check_output(f"scancel {job}")
    eventually(
        lambda: told_of(controller, job, "container_cpu_usage_seconds_total"), lambda used: used == 0, seconds=120
    )
    wait_until_the_node_is_idle(controller)


def test_role_slurmd_refuses_cgroup_v2_on_a_host_without_it(controller: Host) -> None:
    controllers = controller.file("/sys/fs/cgroup/cgroup.controllers")
    if controllers.exists and "memory" in controllers.content_string.split():
        pytest.skip("containers have a pure cgroup v2 tree on this machine")
    refused = run_playbook("--check", playbook="slurmd_in_container.yml").failed()
    assert "slurmctld_cgroup is v2, but this host's cgroup tree is " in refused.failure


def test_node_comes_back_by_itself_after_a_reboot(
    controller: Host, node: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(command: str) -> str:
        """The node's answer; nothing while it cannot be reached."""
        try:
            return str(node.run(command).stdout.strip())
        except RuntimeError:  # how testinfra says that ssh failed
            return ""

    boot_id = "cat /proc/sys/kernel/random/boot_id"
    wait_until_the_node_is_idle(controller)
    boot_before, start_before = ask(boot_id), known_node(controller)["SlurmdStartTime"]
    begin = time.monotonic()
    ask("systemctl reboot")
    eventually(lambda: ask(boot_id), lambda boot: boot not in ("", boot_before), seconds=120)
    answered = time.monotonic() - begin
    eventually(lambda: known_node(controller)["SlurmdStartTime"], lambda start: start != start_before, seconds=60)
    wait_until_the_node_is_idle(controller)
    idle = time.monotonic() - begin
    assert accounted_state(controller, submit(controller, "true", memory=SMALL)) == "COMPLETED"
    done = time.monotonic() - begin
    with capsys.disabled():
        print(f"\nseconds after the reboot: SSH answers {answered:.1f}, node idle {idle:.1f}, job done {done:.1f}")


def test_the_playbook_reboots_the_node_through_slurm(controller: Host, node: Host) -> None:
    boot_id = "cat /proc/sys/kernel/random/boot_id"
    wait_until_the_node_is_idle(controller)
    before = node.check_output(boot_id)
    run_playbook(variables={"reboot_timeout": 120}, playbook="hpcops.cluster.reboot").succeeded()
    assert node.check_output(boot_id) != before
    assert known_node(controller)["State"] == "IDLE"
    assert accounted_state(controller, submit(controller, "true", memory=SMALL)) == "COMPLETED"
