# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs on real Slurm make instances of moto's EC2, which are containers, into nodes that come and go. AWS itself is nowhere."""

from __future__ import annotations

import base64
import json
import os
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.hpcops.cluster.tests.support.ec2_service import KEYS, Ec2, ec2_service
from ansible_collections.hpcops.cluster.tests.support.hosts import DISTRO, Report, container, eventually, names, said
from ansible_collections.hpcops.cluster.tests.support.instances import Instances, booting, docker
from ansible_collections.hpcops.cluster.tests.support.runbooks import commands_of

if TYPE_CHECKING:
    from testinfra.host import Host

CTL = names("slurmctld")[0]
NETWORK = f"slurm_elastic-{DISTRO}"
GOLDEN = f"hpcops-golden:{DISTRO}"
RESEARCH, TRADING = ("111111111111", "eu-central-1"), ("222222222222", "us-east-1")


@pytest.fixture(scope="module")
def host() -> Host:
    return container(CTL)


@pytest.fixture(scope="module")
def port(host: Host) -> int:
    """Where the hosts reach EC2; that of the metadata is the next."""
    (found,) = re.findall(
        r"endpoint_url: http://[0-9.]+:(\d+)", host.file("/etc/hpcops-elastic/config.yml").content_string
    )
    return int(found)


@pytest.fixture(scope="module")
def ec2(host: Host, port: int) -> Iterator[Ec2]:
    """moto."""
    # What another moto has said, and which credentials it gave, is worth nothing here.
    host.check_output(
        "scancel --user=slurm; systemctl stop hpcops-elastic && rm -f /var/lib/hpcops-elastic/journal.sqlite*"
    )
    saved = dict(os.environ)
    os.environ.update({**KEYS, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null"})
    with ec2_service("0.0.0.0", port) as service:
        service.furnish({"subnet-a": RESEARCH, "subnet-b": TRADING}, "ami-plain")
        host.check_output("systemctl start hpcops-elastic")
        eventually(lambda: "is at work" in said(host, "slurm-elastic status"), seconds=60)
        yield service
    os.environ.clear()
    os.environ.update(saved)


@pytest.fixture(scope="module")
def cloud(host: Host, ec2: Ec2, port: int) -> Iterator[Instances]:
    """Instances become containers of the plain image, or of what a test has made for their group."""
    labels = ["owner=molecule", f"hpcops.runner={os.environ.get('HPCOPS_RUNNER', '')}"]
    instances = Instances(ec2, (RESEARCH, TRADING), NETWORK, f"hpcops-test:{DISTRO}", labels)
    ec2.keep("munge-key", munge_key(host), (RESEARCH[1], TRADING[1]))
    with booting(instances, "0.0.0.0", port + 1):
        yield instances


def munge_key(host: Host) -> str:
    return str(host.check_output("base64 --wrap=0 /etc/munge/munge.key"))


def submit(host: Host, partition: str, *options: str, run: str = "srun hostname") -> str:
    """Return the job's number."""
    eventually(lambda: host.run("timeout 3 squeue").rc == 0, seconds=60)
    command = f"cd /tmp && sbatch --parsable --partition={partition} {' '.join(options)} --wrap='{run}'"
    return str(host.check_output(f"runuser -u slurm -- sh -c {json.dumps(command)}")).strip()


def job_of(host: Host, job: str, key: str = "JobState") -> str:
    """Nothing while slurmctld does not answer, as when it looks for ten seconds for the address of a node that never booted."""
    found = re.search(rf" {key}=(\S+)", said(host, f"scontrol --oneliner show job {job}"))
    return found[1] if found else ""


def tell(host: Host, command: str) -> None:
    """Again, as long as slurmctld does not answer."""
    eventually(lambda: host.run(command).rc == 0, seconds=60)


def states(host: Host, prefix: str) -> dict[str, str]:
    lines = said(host, "sinfo --noheader --Node --format='%N %T'").splitlines()
    return {name: text for name, text in map(str.split, lines) if name.startswith(prefix)}


def off(host: Host, prefix: str, seconds: float = 90) -> None:
    """All nodes are powered down, and may be resumed."""
    eventually(lambda: set(states(host, prefix).values()), lambda seen: seen == {"idle~"}, seconds=seconds)


def diagnosis(host: Host, cloud: Instances) -> str:
    boots = [f"{each}\n{cloud.printed(each)[-1500:]}" for each in list(cloud.all.values())[-2:]]
    return "\n".join([said(host, "slurm-elastic status; scontrol show nodes cpu-1; squeue"), *boots])


def wait_for(host: Host, cloud: Instances, job: str, wanted: str = "COMPLETED", seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while job_of(host, job) != wanted:
        assert time.monotonic() < deadline, diagnosis(host, cloud)
        time.sleep(0.5)


def at_once(host: Host, job: str) -> None:
    """Slurm lets a job that was queued again wait for two minutes, until what it was given before cannot be used any more."""
    tell(host, f"scontrol update jobid={job} starttime=now")


def restarts(host: Host, job: str) -> int:
    return int(job_of(host, job, "Restarts") or 0)


def group(host: Host, name: str) -> dict[str, Any]:
    status = json.loads(host.check_output("slurm-elastic status --json"))
    return next(dict(each) for each in status["groups"] if each["group"] == name)


def alive(ec2: Ec2, where: tuple[str, str] = RESEARCH) -> list[dict[str, Any]]:
    """What EC2 has of this cluster."""
    filters = [
        {"Name": "tag:hpcops:cluster", "Values": ["elastic"]},
        {"Name": "instance-state-name", "Values": ["pending", "running"]},
    ]
    found = ec2.client(*where).describe_instances(Filters=filters)
    return [each for reservation in found["Reservations"] for each in reservation["Instances"]]


def tags(instance: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in instance["Tags"]}


def launches(ec2: Ec2, since: int = 0) -> list[dict[str, str]]:
    return [each.form for each in ec2.asked[since:] if each.action == "RunInstances"]


# --- What is on the controller ---------------------------------------------------------------------------------------


def test_only_slurm_reads_the_keys_and_the_journal(host: Host) -> None:
    for path in ("/etc/hpcops-elastic/aws-config", "/etc/hpcops-elastic/config.yml"):
        assert (host.file(path).user, host.file(path).group, host.file(path).mode) == ("root", "slurm", 0o640)
    journal = host.file("/var/lib/hpcops-elastic/journal.sqlite")
    assert (journal.user, journal.mode) == ("slurm", 0o600)
    assert host.run("runuser -u nobody -- cat /etc/hpcops-elastic/aws-config").rc != 0


def test_without_ec2_the_comparison_ends_with_a_sentence(host: Host) -> None:
    failed = host.run("slurm-elastic reconcile")
    assert failed.rc == 1
    assert "describe_instances" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_wrong_configuration_is_refused_by_name(host: Host) -> None:
    host.check_output(
        "sed 's/count: 4/count: many/' /etc/hpcops-elastic/config.yml >/tmp/wrong.yml; chmod 644 /tmp/wrong.yml"
    )
    refused = host.run("slurm-elastic --config /tmp/wrong.yml check")
    assert refused.rc == 1
    assert "groups.0.count" in refused.stderr


# --- Jobs ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def attacked() -> list[str]:
    """What the first job printed when it asked for credentials that are not its own."""
    return []


# What a job tries: the service as any program may ask it, then the program that has fetched the key.
ATTACK = """
import subprocess, urllib.request as web
try:
    ask = web.Request("SERVICE/latest/api/token", method="PUT")
    token = {"X-aws-ec2-metadata-token": web.urlopen(ask, timeout=5).read().decode()}
    ask = web.Request("SERVICE/latest/meta-data/iam/security-credentials/node", headers=token)
    print("the metadata service:", web.urlopen(ask, timeout=5).read().decode())
except OSError as error:
    print("the metadata service:", error)
try:
    subprocess.run(["/usr/local/sbin/hpcops-instance", "key"])
except OSError as error:
    print("hpcops-instance:", error)
"""


def test_job_makes_plain_images_into_nodes(
    host: Host, ec2: Ec2, cloud: Instances, report: Report, attacked: list[str], port: int
) -> None:
    begin = time.monotonic()
    gateway = docker("network", "inspect", "bridge", "--format={{(index .IPAM.Config 0).Gateway}}")
    attack = base64.b64encode(ATTACK.replace("SERVICE", f"http://{gateway}:{port + 1}").encode()).decode()
    run = f"srun hostname; echo {attack} | base64 -d | python3 - >/tmp/attack 2>&1"
    job = submit(host, "cloud", "--nodes=2", "--output=/tmp/first", run=run)
    eventually(lambda: len(cloud.of("cpu")), lambda count: count == 2, seconds=30)
    report("from the job to two instances that boot", time.monotonic() - begin)
    wait_for(host, cloud, job, seconds=400)
    report("from the job to its end on plain Debian that became nodes", time.monotonic() - begin)
    ran = [docker("exec", each.container, "sh", "-c", "cat /tmp/first 2>/dev/null || true") for each in cloud.of("cpu")]
    assert sorted(" ".join(ran).split()) == ["cpu-1", "cpu-2"]
    (launch,) = [each for each in launches(ec2) if "cpu-[1-2]" in each.values()]
    assert launch["MaxCount"] == "2"
    assert {tags(each)["hpcops:nodes"] for each in alive(ec2)} == {"cpu-[1-2]"}
    data = base64.b64decode(launch["UserData"]).decode()
    assert munge_key(host) not in data
    assert "secret-of-the-hub" not in data
    first = next(each for each in cloud.of("cpu") if each.index == 0)
    attacked.append(docker("exec", first.container, "cat", "/tmp/attack"))
    assert docker("exec", first.container, "cat", "/var/lib/first-command") == "first"
    assert docker("exec", first.container, "stat", "--format=%U %a", "/etc/munge/munge.key") == "munge 400"
    if DISTRO == "trixie":  # 22.05 knows no instances, and 26.05 does not take from slurmd what they are
        assert f"InstanceId={first.id}" in host.check_output("scontrol show node cpu-1")
    docker("commit", first.container, GOLDEN)
    cloud.images |= dict.fromkeys(("cpu", "spot"), GOLDEN)


def test_a_job_on_a_cloud_node_cannot_read_the_profile_credentials(host: Host, attacked: list[str]) -> None:
    """Nor the cluster's key that they open. Root of the same node got the key by them, or no job would have run."""
    (printed,) = attacked
    assert printed.count("the metadata service: ") == 1
    assert re.search("the metadata service: .*refused", printed), printed
    assert re.search("hpcops-instance: .*[Dd]enied", printed), printed
    for secret in (KEYS["AWS_SECRET_ACCESS_KEY"], munge_key(host)):
        assert secret not in printed


def test_idle_nodes_are_suspended_and_their_instances_end(host: Host, ec2: Ec2, cloud: Instances) -> None:
    eventually(lambda: alive(ec2), lambda left: not left, seconds=90)
    off(host, "cpu-")
    eventually(lambda: cloud.of("cpu"), lambda left: not left)
    eventually(lambda: states(host, "c1"), lambda seen: seen == {"c1": "idle"})


def test_names_are_used_again(host: Host, ec2: Ec2, cloud: Instances, report: Report) -> None:
    former = set(cloud.all)
    begin = time.monotonic()
    job = submit(host, "cloud", "--nodes=2")
    wait_for(host, cloud, job)
    report("from the next job to its end on golden images", time.monotonic() - begin)
    assert {tags(each)["hpcops:nodes"] for each in alive(ec2)} == {"cpu-[1-2]"}
    assert not former & {each["InstanceId"] for each in alive(ec2)}
    eventually(lambda: group(host, "cpu")["joined"], lambda joined: joined == 2)


def test_metrics_reach_node_exporter_and_costs_are_told(host: Host) -> None:
    metrics = host.file("/var/lib/node_exporter/slurm-elastic.prom")
    assert metrics.mode == 0o644
    launched = re.compile(r'slurm_elastic_launched_total\{account="research",region="eu-central-1"\} (\d+)')
    eventually(lambda: launched.findall(metrics.content_string), lambda found: bool(found) and int(found[0]) >= 4)
    (compared,) = re.findall(
        r"^slurm_elastic_reconciled_timestamp_seconds (\S+)$", metrics.content_string, re.MULTILINE
    )
    assert 0 <= float(host.check_output("date +%s.%N")) - float(compared) < 60
    head, *costs = host.check_output("slurm-elastic costs --csv").splitlines()
    assert head.startswith("day,job,")
    assert len(costs) >= 2


def test_commands_of_the_runbook_succeed(host: Host, cloud: Instances) -> None:
    user = {"ctl": "root", "login": "slurm"}  # the only ordinary user here
    for command in commands_of("cloud"):
        text = command.filled({"NODE": "cpu-1", "NODES": "cpu-[1-4]"})
        done = host.run(f"runuser -u {user[command.where]} -- sh -c %s", f"cd /tmp && {text}")
        assert done.rc == 0, f"{command.where}: {text}: {done.stderr} {done.stdout}"
    off(host, "cpu-")


# --- What goes wrong -------------------------------------------------------------------------------------------------


def test_lack_of_capacity_goes_to_the_next_account_and_then_gives_the_job_back(
    host: Host, ec2: Ec2, cloud: Instances, report: Report
) -> None:
    ec2.capacity["subnet-a", "c5.large"] = 0
    job = submit(host, "cloud")
    wait_for(host, cloud, job)
    assert len(alive(ec2, TRADING)) == 1
    off(host, "cpu-")
    ec2.capacity["subnet-b", "c5.large"] = 0
    asked = len(ec2.asked)
    job = submit(host, "cloud")
    eventually(lambda: launches(ec2, asked), seconds=60)
    begin = time.monotonic()
    eventually(lambda: restarts(host, job), seconds=60)
    report("from lack of capacity to the job queued again", time.monotonic() - begin)
    shown = f"squeue --noheader --jobs={job} --Format=admin_comment:200"
    eventually(lambda: said(host, shown), lambda text: "capacity" in text)
    ec2.capacity.clear()
    at_once(host, job)
    wait_for(host, cloud, job)


def test_instances_that_do_not_become_nodes_stop_their_pool_alone(host: Host, ec2: Ec2, cloud: Instances) -> None:
    job = submit(host, "broken", "--nodes=2")
    eventually(lambda: group(host, "broken")["blocked"], lambda why: "boot" in why, seconds=240)
    assert not group(host, "cpu")["blocked"]
    eventually(lambda: job_of(host, job), lambda seen: seen == "PENDING", seconds=30)
    tell(host, f"scancel {job}")
    assert "cleared" in host.check_output("slurm-elastic clear")
    eventually(lambda: [each for each in alive(ec2) if tags(each)["hpcops:group"] == "broken"], lambda left: not left)


def test_advice_of_spot_keeps_the_node_from_further_jobs_and_notice_gives_its_job_back_at_once(
    host: Host, ec2: Ec2, cloud: Instances, report: Report
) -> None:
    job = submit(host, "spot", "--requeue", run="sleep 300")
    wait_for(host, cloud, job, "RUNNING")
    (instance,) = cloud.of("spot")
    assert instance.spot
    node = job_of(host, job, "NodeList")
    instance.notices["events/recommendations/rebalance"] = json.dumps({"noticeTime": "2026-01-01T00:00:00Z"})
    eventually(lambda: "AWS advises" in said(host, f"scontrol show node {node}"), seconds=60)
    another = submit(host, "spot", run="true")  # there would be room for it
    wait_for(host, cloud, another)
    assert job_of(host, another, "NodeList") != node
    assert job_of(host, job) == "RUNNING"
    begin = time.monotonic()
    instance.notices["spot/instance-action"] = json.dumps({"action": "terminate", "time": "2026-01-01T00:02:00Z"})
    eventually(lambda: restarts(host, job), seconds=60)
    report("from the notice to the job queued again", time.monotonic() - begin)
    at_once(host, job)
    wait_for(host, cloud, job, "RUNNING")
    eventually(lambda: instance.id in {each["InstanceId"] for each in alive(ec2)}, lambda there: not there, seconds=60)
    tell(host, f"scancel {job}")


def test_instance_that_aws_takes_is_noticed(host: Host, ec2: Ec2, cloud: Instances, report: Report) -> None:
    job = submit(host, "cloud", "--requeue", run="sleep 300")
    wait_for(host, cloud, job, "RUNNING")
    (instance,) = cloud.of("cpu")
    begin = time.monotonic()
    ec2.client(*RESEARCH).terminate_instances(InstanceIds=[instance.id])
    eventually(lambda: restarts(host, job), seconds=90)
    report("from the instance's end to the job queued again", time.monotonic() - begin)
    at_once(host, job)
    wait_for(host, cloud, job, "RUNNING")


def test_controller_without_the_journal_goes_on_with_the_tags(host: Host, ec2: Ec2, cloud: Instances) -> None:
    """As a backup controller does after a takeover; that of slurmctld itself is in the scenario failover."""
    (instance,) = cloud.of("cpu")
    host.check_output(
        "systemctl stop hpcops-elastic && rm /var/lib/hpcops-elastic/journal.sqlite* && systemctl start hpcops-elastic"
    )
    eventually(lambda: "is at work" in said(host, "slurm-elastic status"), seconds=60)
    eventually(lambda: group(host, "cpu")["joined"], seconds=60)
    host.check_output("sleep 10")  # it acts on what it sees twice, after a grace of five seconds
    assert [each["InstanceId"] for each in alive(ec2)] == [instance.id]
    running = said(host, "squeue --noheader --partition=cloud --states=running --format=%i")
    assert running
    tell(host, f"scancel {running}")
    eventually(lambda: alive(ec2), lambda left: not left, seconds=90)


def test_without_its_service_resume_gives_the_job_back_and_says_why(host: Host, ec2: Ec2, cloud: Instances) -> None:
    off(host, "cpu-", seconds=120)
    quick = "sed -i 's/^timing:/timing:\\n    service_timeout: 1/' /etc/hpcops-elastic/config.yml"
    host.check_output(f"systemctl stop hpcops-elastic && {quick} && sleep 2")
    asked = len(ec2.asked)
    try:
        job = submit(host, "cloud")
        eventually(lambda: restarts(host, job), seconds=60)
        assert not launches(ec2, asked)
        nobody = "scontrol show nodes cpu-[1-4] | grep NodeAddr=192.0.2.1"
        assert said(host, nobody), "slurmctld would look for the address of a node that never was"
    finally:
        host.check_output(
            "sed -i '/service_timeout: 1$/d' /etc/hpcops-elastic/config.yml && systemctl start hpcops-elastic"
        )
    eventually(lambda: "is at work" in said(host, "slurm-elastic status"), seconds=60)
    off(host, "cpu-")
    assert not said(host, nobody)
    at_once(host, job)
    wait_for(host, cloud, job)


def test_orphans_end_and_others_instances_stay(ec2: Ec2) -> None:
    (orphan,) = ec2.launch(*RESEARCH, hpcops__cluster="elastic", hpcops__group="cpu", hpcops__nodes="cpu-4")
    (other,) = ec2.launch(*RESEARCH, hpcops__cluster="another", hpcops__group="cpu", hpcops__nodes="cpu-4")
    eventually(lambda: [each["InstanceId"] for each in alive(ec2)], lambda left: orphan not in left, seconds=60)
    there = ec2.client(*RESEARCH).describe_instances(InstanceIds=[other])["Reservations"][0]["Instances"][0]
    assert there["State"]["Name"] == "running"
