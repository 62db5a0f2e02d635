"""Whatever EC2 refuses: no orphan, no node lost for good, and each job runs or is queued again with its reason."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from ansible_collections.hpcops.cluster.tests.support.ec2_service import Ec2, Fault
from conftest import BIG, FRANKFURT, IMAGE, ONE, SMALL, Cluster, subnets
from hpcops_elastic import asking
from hpcops_elastic.errors import SlurmError
from hpcops_elastic.hosts import expand
from hpcops_elastic.reconciling import node_of
from model_of_slurm import OFF, RISING, SINKING, UP

MakeCluster = Callable[..., Cluster]
NODES = [f"cpu-{number}" for number in range(1, 9)]
CODES = {
    "throttled": ("RequestLimitExceeded", 503),
    "capacity": ("InsufficientInstanceCapacity", 500),
    "quota": ("VcpuLimitExceeded", 400),
    "denied": ("UnauthorizedOperation", 403),
    "configuration": ("InvalidAMIID.NotFound", 400),
    "unknown": ("TheMoonIsFull", 400),
}


def all_is_well(cluster: Cluster) -> None:
    """Each node that is wanted has one instance, there is none besides, and Slurm may use all others, now or after a while."""
    assert sorted(node_of(each) for each in cluster.alive()) == sorted(
        cluster.slurm.power(RISING) + cluster.slurm.power(UP)
    )
    assert cluster.slurm.power(SINKING) == []
    cluster.ec2.faults.clear()
    cluster.ec2.capacity.clear()
    cluster.journal.forgive(list(cluster.journal.avoided()))
    everything = len(cluster.config.groups[0].nodes)
    cluster.work(lambda: len(cluster.slurm.usable()) == everything - len(cluster.alive()))


def run_again(cluster: Cluster) -> None:
    """What failed before runs."""
    nodes = [name for name in NODES if name in cluster.slurm.usable()]
    if nodes:
        cluster.resume(nodes)
    cluster.restart()  # its buckets are full again
    cluster.settle()
    cluster.boot()
    assert sorted(node_of(each) for each in cluster.alive()) == cluster.slurm.power(UP) == sorted(NODES)


@pytest.mark.parametrize("inside", [False, True], ids=["as an error", "inside status 200"])
@pytest.mark.parametrize("kind", CODES)
def test_a_refusal_of_each_class_once(cluster: Cluster, ec2: Ec2, kind: str, inside: bool) -> None:
    code, status = CODES[kind]
    ec2.faults.append(Fault("RunInstances", code=code, status=200 if inside else status, message="Alas.", left=1))
    cluster.resume(NODES)
    cluster.work(lambda: bool(cluster.rows(f"counters WHERE name = 'refused' AND label LIKE '%|{kind}'")))
    cluster.restart()
    cluster.settle()
    if kind == "unknown":
        assert cluster.alive() == []
        assert cluster.slurm.explained() == {"7": f"elastic: unknown: {code}: Alas."}
    else:
        assert len(cluster.alive()) == len(NODES)
        assert cluster.slurm.explained() == {}
    where = [row["subnet"] for row in cluster.rows("launches ORDER BY sent")]
    first = where[0]
    again = {"throttled": [first], "unknown": []}.get(kind)
    if again is None:
        assert len(where) == 2
        assert where[1] != first
        assert (where[1] in subnets(ec2, ONE, FRANKFURT)) == (kind != "quota")
    else:
        assert where[1:] == again
    assert {row["kind"] for row in cluster.rows("cooling")} == {kind}
    all_is_well(cluster)
    run_again(cluster)


@pytest.mark.parametrize("inside", [False, True], ids=["as an error", "inside status 200"])
@pytest.mark.parametrize("kind", [kind for kind in CODES if kind != "throttled"])
def test_a_refusal_of_each_class_for_good(cluster: Cluster, ec2: Ec2, kind: str, inside: bool) -> None:
    code, status = CODES[kind]
    ec2.faults.append(Fault("RunInstances", code=code, status=200 if inside else status, message="Alas."))
    cluster.resume(NODES)
    cluster.settle()
    assert cluster.alive() == []
    assert cluster.slurm.explained() == {"7": f"elastic: {kind}: {code}: Alas."}
    assert all(cluster.slurm.nodes()[name].reason == f"elastic: {kind}: {code}: Alas." for name in NODES)
    assert cluster.slurm.forgotten() == sorted(NODES)
    assert len(cluster.calls()) == {"quota": 2, "unknown": 1}.get(kind, 6)
    all_is_well(cluster)
    run_again(cluster)


@pytest.mark.parametrize("inside", [False, True], ids=["as an error", "inside status 200"])
def test_throttling_for_good_asks_less_and_less_and_puts_no_node_out(cluster: Cluster, ec2: Ec2, inside: bool) -> None:
    ec2.faults.append(Fault("RunInstances", code="RequestLimitExceeded", status=200 if inside else 503))
    cluster.resume(NODES)
    waits = []
    for calls in range(1, 5):
        cluster.work(lambda calls=calls: len(cluster.calls()) == calls and not cluster.service._launcher.busy)
        cluster.service.step()
        row = cluster.rows("cooling")[0]
        waits.append(round(row["until"] - row["since"]))
        cluster.pass_time(waits[-1])
        cluster.restart()
    assert waits == [2, 4, 8, 16]
    assert sorted(cluster.slurm.power(RISING)) == sorted(NODES)
    assert cluster.rows("failures") == []
    ec2.faults.clear()
    cluster.pass_time(100)
    cluster.settle()
    assert len(cluster.alive()) == len(NODES)


def test_a_part_is_launched_where_there_is_a_part_and_the_rest_goes_back(cluster: Cluster, ec2: Ec2) -> None:
    first, second = subnets(ec2, ONE, FRANKFURT)[:2]
    ec2.capacity = {(first, BIG): 3, (second, BIG): 1, (first, SMALL): 0, (second, SMALL): 0}
    ec2.faults.append(Fault("RunInstances", region="us-east-1", code="InsufficientInstanceCapacity", status=500))
    cluster.resume(NODES)
    cluster.settle()
    assert sorted(node_of(each) for each in cluster.alive()) == sorted(NODES[:4])
    assert cluster.slurm.explained()["7"].startswith("elastic: capacity: ")
    assert cluster.slurm.power(RISING) == NODES[:4]
    all_is_well(cluster)
    run_again(cluster)


def test_a_job_that_takes_all_or_none_gives_everything_back(make_cluster: MakeCluster, ec2: Ec2) -> None:
    """Also where a first request has had its part: by another failure than lack of capacity, too."""
    cluster = make_cluster(group={"all_or_nothing": True})
    odd = [f"cpu-{number}" for number in range(1, 400, 2)]  # more names than a tag holds: several requests
    ec2.faults.append(Fault("RunInstances", code="TheMoonIsFull", left=1))
    cluster.resume(odd)
    cluster.settle()
    assert len(cluster.calls()) > 1
    assert cluster.alive() == []
    assert cluster.slurm.explained() == {"7": "elastic: unknown: TheMoonIsFull: no"}
    assert sorted(cluster.slurm.power(RISING)) == []
    all_is_well(cluster)


def test_two_instances_of_one_node_are_one_too_many(cluster: Cluster, ec2: Ec2) -> None:
    cluster.resume(NODES[:2])
    cluster.settle()
    cluster.boot()
    mine = next(each for each in cluster.alive() if node_of(each) == "cpu-1")
    answer = ec2.client(ONE, FRANKFURT).run_instances(
        ImageId=IMAGE,
        InstanceType=BIG,
        MinCount=1,
        MaxCount=1,
        SubnetId=mine.subnet,
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in mine.tags.items()]}
        ],
    )
    twin = answer["Instances"][0]["InstanceId"]
    assert twin != mine.id
    assert [finding.subject for finding in cluster.reconcile_twice()] == [twin]
    cluster.settle()
    assert sorted(each.id for each in cluster.alive()) == sorted(
        row["id"] for row in cluster.rows("instances WHERE state = 'running'")
    )
    assert mine.id in {each.id for each in cluster.alive()}
    assert twin not in {each.id for each in cluster.alive()}
    assert cluster.slurm.power(UP) == NODES[:2]


def test_a_stray_that_is_newer_than_the_nodes_instance_ends_and_the_other_stays(cluster: Cluster, ec2: Ec2) -> None:
    cluster.resume(NODES[:2])
    cluster.settle()
    cluster.boot()
    mine = {each.id for each in cluster.alive()}
    tags = {"hpcops:cluster": "alpha", "hpcops:group": "cpu", "hpcops:launch": "another", "hpcops:nodes": "cpu-1"}
    specification = {"ResourceType": "instance", "Tags": [{"Key": key, "Value": tags[key]} for key in tags]}
    ec2.client(ONE, FRANKFURT).run_instances(
        ImageId=IMAGE, InstanceType=BIG, MinCount=1, MaxCount=1, TagSpecifications=[specification]
    )
    cluster.reconcile_twice()
    cluster.settle()
    assert {each.id for each in cluster.alive()} == mine
    assert cluster.slurm.power(UP) == NODES[:2]


def test_addresses_that_are_missing_for_several_reads_keep_no_name(cluster: Cluster, ec2: Ec2) -> None:
    ec2.without_addresses = 3
    cluster.resume(NODES)
    cluster.settle()
    cluster.boot()
    for _read in range(4):
        cluster.pass_time(cluster.config.timing.grace + 1)
        assert cluster.reconcile() == []
    assert cluster.slurm.power(UP) == sorted(NODES)


def test_a_spot_instance_that_ec2_has_ended_gives_its_node_back_at_once(make_cluster: MakeCluster, ec2: Ec2) -> None:
    cluster = make_cluster(group={"market": "spot", "instance_types": [SMALL]})
    cluster.resume(NODES)
    cluster.settle()
    cluster.boot()
    assert cluster.reconcile() == []
    assert all("MarketType" in str(form) for form in cluster.calls())
    assert {row["price"] for row in cluster.rows("instances")} == {0.06}
    victim = next(each for each in cluster.alive() if node_of(each) == "cpu-3")
    ec2.client(ONE, FRANKFURT).terminate_instances(InstanceIds=[victim.id])
    assert [(finding.what, finding.ripe) for finding in cluster.reconcile()] == [("gone", True)]
    cluster.settle()
    assert cluster.slurm.nodes()["cpu-3"].reason == f"elastic: lost: {victim.id} of cpu-3 is terminated"
    assert cluster.slurm.explained() == {"7": f"elastic: lost: {victim.id} of cpu-3 is terminated"}
    assert cluster.journal.avoided() == {}
    cluster.resume(["cpu-3"])
    cluster.settle()
    assert sorted(node_of(each) for each in cluster.alive()) == sorted(NODES)


def test_an_instance_that_ended_right_after_its_node_came_up_is_no_failed_boot(cluster: Cluster, ec2: Ec2) -> None:
    for _time in range(3):
        cluster.resume(["cpu-1"])
        cluster.settle()
        cluster.boot()  # and nothing is compared before it ends
        ec2.client(ONE, FRANKFURT).terminate_instances(InstanceIds=[each.id for each in cluster.alive()])
        cluster.reconcile()
        cluster.settle()
        assert "lost: " in cluster.slurm.nodes()["cpu-1"].reason
        assert cluster.slurm.forgotten() == []
    assert cluster.journal.avoided() == {}


def test_one_instance_that_is_protected_keeps_no_other(cluster: Cluster, ec2: Ec2) -> None:
    cluster.resume(NODES)
    cluster.settle()
    cluster.boot()
    protected = next(each for each in cluster.alive() if node_of(each) == "cpu-5")
    client = ec2.client(ONE, FRANKFURT)
    client.modify_instance_attribute(InstanceId=protected.id, DisableApiTermination={"Value": True})
    cluster.suspend(NODES)
    cluster.work(lambda: [node_of(each) for each in cluster.alive()] == ["cpu-5"])
    client.modify_instance_attribute(InstanceId=protected.id, DisableApiTermination={"Value": False})
    cluster.pass_time(60)
    cluster.settle()
    assert cluster.alive() == []


def test_a_region_that_does_not_answer_keeps_no_launch_waiting(cluster: Cluster, ec2: Ec2) -> None:
    cluster.resume(NODES[:2])
    cluster.settle()
    terminate, held = cluster.cloud.terminate, []
    gate = threading.Event()

    def hanging(account: str, region: str, ids: list[str]) -> dict[str, str]:
        held.append(region)
        gate.wait(60)
        return terminate(account, region, ids)

    cluster.cloud.terminate = hanging  # type: ignore[method-assign, assignment]
    try:
        cluster.suspend(NODES[:2])
        cluster.work(lambda: bool(held))
        cluster.resume(NODES[2:])
        cluster.work(lambda: len(cluster.alive()) == len(NODES))
    finally:
        gate.set()
    cluster.settle()
    assert sorted(node_of(each) for each in cluster.alive()) == sorted(NODES[2:])


def test_who_wants_many_at_once_is_not_overtaken_for_ever(make_cluster: MakeCluster) -> None:
    accounts = [
        {"name": name, "role_arn": f"arn:aws:iam::{number}:role/elastic", "launch_burst": 10, "launch_rate": 0.0001}
        for name, number in (("one", ONE), ("two", "222222222222"))
    ]
    cluster = make_cluster(accounts=accounts, group={"all_or_nothing": True})
    for job, nodes in ((1, "cpu-[1-8]"), (2, "cpu-[9-13]"), (3, "cpu-14")):
        cluster.resume(expand(nodes), {"jobs": [{"job_id": job, "nodes_resume": nodes}]})
        cluster.pass_time(1)
    cluster.work(lambda: len(cluster.alive()) == 8)
    for _look in range(5):
        cluster.service.step()
        cluster.pass_time(3)
    assert len(cluster.calls()) == 1
    cluster.restart()  # its buckets are full again
    cluster.settle()
    assert len(cluster.alive()) == 14


def test_nodes_that_slurm_gave_up_are_used_again(cluster: Cluster) -> None:
    """As slurmctld leaves them after ResumeTimeout: down, and powered down already."""
    cluster.ec2.faults.append(Fault("RunInstances", code="RequestLimitExceeded", status=503))
    cluster.resume(NODES)
    cluster.slurm.time_out(NODES[:4])
    cluster.slurm.update(["cpu-9"], "DOWN", "broken disk, alice")
    asking.resume_failed(cluster.config, cluster.journal, "cpu-[1-4]")
    cluster.reconcile()
    cluster.work(lambda: cluster.rows("failures") == [])
    assert sorted(set(NODES[:4]) - set(cluster.slurm.usable())) == []
    node = cluster.slurm.nodes()["cpu-9"]
    assert "DOWN" in node.states
    assert node.reason == "broken disk, alice"
    assert "cpu-9" not in cluster.slurm.usable()


def test_one_refusal_of_slurm_keeps_no_other_node(cluster: Cluster, ec2: Ec2) -> None:
    update = cluster.slurm.update

    def refusing(nodes: list[str], state: str, reason: str = "") -> None:
        if "cpu-1" in nodes:
            raise SlurmError("scontrol update failed: Invalid node state specified")
        update(nodes, state, reason)

    cluster.slurm.update = refusing  # type: ignore[method-assign, assignment]
    cluster.slurm.move(NODES[:2], RISING)
    cluster.journal.give_up(["cpu-1"], "elastic: a: reason")
    cluster.journal.give_up(["cpu-2"], "elastic: z: reason")
    cluster.work(lambda: "DOWN" in cluster.slurm.nodes()["cpu-2"].states or "cpu-2" in cluster.slurm.power(OFF))
    assert cluster.slurm.power(RISING) == ["cpu-1"]
    cluster.slurm.update = update  # type: ignore[method-assign]
    cluster.pass_time(11)
    cluster.settle()
    assert cluster.slurm.power(RISING) == []


def test_tags_that_someone_changed_are_mended_and_mislead_nobody(cluster: Cluster, ec2: Ec2) -> None:
    cluster.resume(NODES[:3])
    cluster.settle()
    cluster.boot()
    victim = next(each for each in cluster.alive() if node_of(each) == "cpu-2")
    client = ec2.client(ONE, FRANKFURT)
    changed = {"hpcops:nodes": "cpu-[100-102]", "hpcops:launch": "another", "hpcops:group": "gpu"}
    client.create_tags(Resources=[victim.id], Tags=[{"Key": key, "Value": value} for key, value in changed.items()])
    cluster.reconcile_twice()
    cluster.settle()
    assert sorted(node_of(each) for each in cluster.alive()) == NODES[:3]
    assert cluster.slurm.power(UP) == NODES[:3]
    assert [row["value"] for row in cluster.rows("counters WHERE name = 'findings'")] == [1]


def test_600_nodes_of_600_jobs_take_no_more_than_a_launch_for_each_100(cluster: Cluster) -> None:
    wanted = [f"cpu-{number}" for number in range(1, 601)]
    jobs = [{"job_id": number, "nodes_resume": name} for number, name in enumerate(wanted, start=1)]
    cluster.resume(wanted, {"jobs": jobs})
    cluster.settle()
    assert len({form["ClientToken"] for form in cluster.calls()}) <= 6
    assert len(cluster.calls("DescribeInstances")) == 0
    by_tag = {each.id: node_of(each) for each in cluster.alive()}
    assert by_tag == {row["id"]: row["node"] for row in cluster.rows("instances")}
    assert sorted(by_tag.values()) == sorted(wanted)


def test_a_drain_of_a_person_outlives_whatever_the_program_does(cluster: Cluster, ec2: Ec2) -> None:
    cluster.resume(["cpu-1"])
    cluster.settle()
    cluster.boot()
    for name in ("cpu-1", "cpu-9"):
        cluster.slurm.update([name], "DRAIN", "noisy fan, bob")
    ec2.faults.append(Fault("RunInstances", code="InsufficientInstanceCapacity", status=500))
    cluster.resume(["cpu-2"])
    cluster.settle()
    cluster.pass_time(16)
    cluster.work(lambda: cluster.slurm.usable() == [])
    cluster.reconcile_twice()
    ec2.faults.clear()
    cluster.pass_time(cluster.config.timing.cooling_most)
    cluster.work(lambda: len(cluster.slurm.usable()) == 1998)
    cluster.reconcile_twice()
    for name in ("cpu-1", "cpu-9"):
        node = cluster.slurm.nodes()[name]
        assert node.drained
        assert node.reason == "noisy fan, bob"
    assert [node_of(each) for each in cluster.alive()] == ["cpu-1"]
