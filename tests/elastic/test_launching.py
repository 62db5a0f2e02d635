"""From what Slurm wants to instances with names."""

from __future__ import annotations

from collections import Counter

import pytest

from ansible_collections.hpcops.cluster.tests.support.ec2_service import Bucket, Ec2, Fault
from conftest import BIG, FRANKFURT, IMAGE, ONE, SMALL, TWO, VIRGINIA, Cluster, subnets
from hpcops_elastic import asking
from hpcops_elastic.asking import jobs_of
from hpcops_elastic.reconciling import node_of


def names(first: int, last: int) -> list[str]:
    return [f"cpu-{number}" for number in range(first, last + 1)]


def test_a_job_of_300_nodes_is_one_request_and_each_instance_is_one_node(cluster: Cluster) -> None:
    cluster.resume(names(1, 300))
    cluster.settle()
    assert len(cluster.calls()) == 1
    assert sorted(node_of(each) for each in cluster.alive()) == sorted(names(1, 300))
    assert {row["state"] for row in cluster.rows("wants")} == {"launched"}
    assert all(row["address"] for row in cluster.rows("instances"))


def test_tags_and_token_are_part_of_the_request(cluster: Cluster) -> None:
    cluster.resume(names(1, 2))
    cluster.settle()
    form = cluster.calls()[0]
    tags = {
        value: form[key.replace(".Key", ".Value")]
        for key, value in form.items()
        if ".Tag." in key and key.endswith(".Key")
    }
    assert tags["hpcops:cluster"] == "alpha"
    assert tags["hpcops:nodes"] == "cpu-[1-2]"
    assert tags["hpcops:launch"] == form["ClientToken"]
    assert form["ImageId"] == IMAGE
    assert form["MetadataOptions.HttpTokens"] == "required"
    assert form["MetadataOptions.HttpPutResponseHopLimit"] == "1"
    assert form["InstanceInitiatedShutdownBehavior"] == "terminate"


def test_jobs_that_take_what_there_is_share_a_request(cluster: Cluster) -> None:
    jobs = [{"job_id": number, "nodes_resume": f"cpu-{number}"} for number in range(1, 101)]
    cluster.resume(names(1, 100), {"jobs": jobs})
    cluster.settle()
    assert len(cluster.calls()) == 1
    assert {row["job"] for row in cluster.rows("instances")} == {str(number) for number in range(1, 101)}


def test_a_node_that_is_asked_for_twice_is_launched_once(cluster: Cluster) -> None:
    cluster.resume(names(1, 3))
    cluster.resume(names(1, 3))
    cluster.settle()
    cluster.resume(names(1, 3))
    cluster.settle()
    assert len(cluster.alive()) == 3


def test_lack_of_capacity_moves_on_to_the_next_zone_then_type_then_account(cluster: Cluster, ec2: Ec2) -> None:
    first, second = subnets(ec2, ONE, FRANKFURT)[:2]
    ec2.capacity = {(first, BIG): 4, (second, BIG): 0, (first, SMALL): 0, (second, SMALL): 3}
    cluster.resume(names(1, 10))
    cluster.settle()
    where = sorted((row["account"], row["subnet"], row["type"]) for row in cluster.rows("instances"))
    third = subnets(ec2, TWO, VIRGINIA)[0]
    assert where == sorted([("one", first, BIG)] * 4 + [("one", second, SMALL)] * 3 + [("two", third, BIG)] * 3)
    assert sorted(node_of(each) for each in cluster.alive()) == sorted(names(1, 10))


def test_a_job_that_takes_all_or_none_is_never_launched_in_part(make_cluster, ec2: Ec2) -> None:
    cluster = make_cluster(group={"all_or_nothing": True})
    first, second = subnets(ec2, ONE, FRANKFURT)[:2]
    ec2.capacity = {(first, BIG): 9, (second, BIG): 10}
    cluster.resume(names(1, 10))
    cluster.settle()
    assert {row["subnet"] for row in cluster.rows("instances")} == {second}


def test_nodes_that_cannot_be_had_go_back_with_the_words_of_the_api(cluster: Cluster, ec2: Ec2) -> None:
    ec2.faults.append(
        Fault("RunInstances", code="InsufficientInstanceCapacity", status=500, message="We do not have enough.")
    )
    cluster.resume(names(1, 5))
    cluster.settle()
    assert cluster.alive() == []
    nodes = cluster.slurm.nodes()
    reason = nodes["cpu-1"].reason
    assert reason.startswith("elastic: ")
    assert "capacity: InsufficientInstanceCapacity: We do not have enough." in reason
    assert "capacity" in cluster.slurm.explained()["7"]
    assert len(cluster.calls()) == 6  # each type in each zone once, and none of them twice


def test_a_group_without_capacity_is_kept_from_jobs_until_it_may_have_some(cluster: Cluster, ec2: Ec2) -> None:
    ec2.faults.append(Fault("RunInstances", code="InsufficientInstanceCapacity", status=500))
    cluster.slurm.update(["cpu-9"], "DRAIN", "broken disk, alice")
    cluster.resume(names(1, 5))
    cluster.settle()
    cluster.pass_time(16)
    cluster.work(lambda: cluster.slurm.usable() == [])
    ec2.faults.clear()
    cluster.pass_time(cluster.config.timing.cooling + 1)
    cluster.work(lambda: len(cluster.slurm.usable()) == 1999)
    assert cluster.slurm.nodes()["cpu-9"].reason == "broken disk, alice"
    cluster.resume(names(1, 5))
    cluster.settle()
    assert len(cluster.alive()) == 5


def test_capacity_that_stays_away_is_asked_for_less_and_less(cluster: Cluster, ec2: Ec2) -> None:
    ec2.faults.append(Fault("RunInstances", code="InsufficientInstanceCapacity", status=500))
    waits = []
    for _attempt in range(4):
        cluster.resume(names(1, 2))
        cluster.settle()
        row = cluster.rows("cooling")[0]
        waits.append(round(row["until"] - row["since"]))
        cluster.pass_time(waits[-1] + 1)
        cluster.work(lambda: len(cluster.slurm.usable()) == 2000)
    assert waits == [60, 120, 240, 480]


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "Throttling", "RequestThrottledException"])
def test_throttling_is_waited_for_and_is_no_lack_of_capacity(cluster: Cluster, ec2: Ec2, code: str) -> None:
    ec2.faults.append(Fault("RunInstances", code=code, status=503, left=2))
    cluster.resume(names(1, 300))
    cluster.work(lambda: len(cluster.calls()) == 1)
    for calls in (2, 3):
        cluster.pass_time(200)  # the bucket fills
        cluster.restart()
        cluster.work(lambda calls=calls: len(cluster.calls()) == calls)
    cluster.settle()
    assert len(cluster.alive()) == 300
    assert {row["subnet"] for row in cluster.rows("instances")} == {subnets(ec2, ONE, FRANKFURT)[0]}
    assert cluster.rows("failures") == []
    assert len(cluster.slurm.usable()) == 1700


def test_a_quota_concerns_the_account_and_the_region(cluster: Cluster, ec2: Ec2) -> None:
    ec2.faults.append(Fault("RunInstances", account=ONE, code="VcpuLimitExceeded", status=400))
    cluster.resume(names(1, 5))
    cluster.settle()
    assert [each.region for each in ec2.asked if each.action == "RunInstances"] == [FRANKFURT, VIRGINIA]
    assert len(cluster.alive()) == 5


@pytest.mark.parametrize(
    ("code", "kind"), [("UnauthorizedOperation", "denied"), ("InvalidAMIID.NotFound", "configuration")]
)
def test_what_can_never_work_stops_until_a_person_has_looked(cluster: Cluster, ec2: Ec2, code: str, kind: str) -> None:
    ec2.faults.append(Fault("RunInstances", code=code, status=403))
    cluster.resume(names(1, 5))
    cluster.settle()
    calls = len(cluster.calls())
    assert calls == 6
    cluster.pass_time(86_400)
    cluster.resume(names(1, 5))
    cluster.settle()
    assert len(cluster.calls()) == calls
    assert f"{kind}: {code}" in cluster.slurm.nodes()["cpu-1"].reason
    ec2.faults.clear()
    cluster.journal.forgive(list(cluster.journal.avoided()))
    cluster.resume(names(1, 5))
    cluster.settle()
    assert len(cluster.alive()) == 5


def test_a_refusal_that_nobody_knows_gives_up_with_its_words(cluster: Cluster, ec2: Ec2) -> None:
    ec2.faults.append(Fault("RunInstances", code="TheMoonIsFull", message="Try again at dawn.", left=1))
    cluster.resume(names(1, 2))
    cluster.settle()
    assert cluster.alive() == []
    assert "unknown: TheMoonIsFull: Try again at dawn." in cluster.slurm.nodes()["cpu-1"].reason


@pytest.mark.parametrize("code", ["LOST", "CUT", "GARBLED", "InternalError", "Unavailable"])
def test_a_launch_whose_answer_is_lost_is_sent_again_and_done_once(cluster: Cluster, ec2: Ec2, code: str) -> None:
    ec2.faults.append(Fault("RunInstances", code=code, status=503, left=1))
    cluster.resume(names(1, 20))
    cluster.settle()
    one, two = cluster.calls()
    assert one == two
    assert len(cluster.alive()) == 20


def test_an_error_inside_a_200_answer_is_no_launch(cluster: Cluster, ec2: Ec2) -> None:
    ec2.faults.append(Fault("RunInstances", code="RequestLimitExceeded", status=200, left=1))
    cluster.resume(names(1, 20))
    cluster.work(lambda: bool(cluster.rows("counters WHERE label LIKE '%|throttled'")))
    cluster.restart()  # its buckets are full again
    cluster.settle()
    assert len(cluster.alive()) == 20
    assert cluster.slurm.nodes()["cpu-1"].reason == ""


def test_a_service_that_died_after_sending_goes_on_with_the_same_token(cluster: Cluster, ec2: Ec2) -> None:
    ec2.delay = 0.3
    cluster.resume(names(1, 20))
    cluster.service.step()
    cluster.restart()
    cluster.settle()
    assert len({form["ClientToken"] for form in cluster.calls()}) == 1
    assert len(cluster.alive()) == 20


def test_a_node_that_is_suspended_while_it_is_launched_leaves_no_instance(cluster: Cluster, ec2: Ec2) -> None:
    ec2.delay = 0.3
    cluster.resume(names(1, 4))
    cluster.service.step()
    cluster.suspend(names(1, 2))
    cluster.settle()
    assert sorted(node_of(each) for each in cluster.alive()) == names(3, 4)


@pytest.mark.parametrize(
    ("limits", "allowed"), [({"instances": 3}, 3), ({"vcpus": 35}, 2), ({"hourly_price": 0.85}, 1)]
)
@pytest.mark.parametrize("where", ["group", "cluster"])
def test_limits_are_not_exceeded(make_cluster, limits: dict[str, float], allowed: int, where: str) -> None:
    cluster = make_cluster(**({"group": {"limits": limits}} if where == "group" else {"limits": limits}))
    cluster.resume(names(1, 5))
    cluster.settle()
    assert len(cluster.alive()) == allowed
    refused = [node for node in cluster.slurm.nodes().values() if "limit: " in node.reason]
    assert refused
    assert ("group cpu may have" if where == "group" else "the cluster may have") in refused[0].reason


def test_what_is_left_of_a_limit_goes_to_a_smaller_type(make_cluster) -> None:
    cluster = make_cluster(group={"limits": {"vcpus": 41}})
    cluster.resume(names(1, 5))
    cluster.settle()
    assert Counter(each.type for each in cluster.alive()) == {BIG: 2, SMALL: 2}
    refused = cluster.slurm.nodes()["cpu-5"].reason
    assert refused == f"elastic: limit: group cpu may have 41 vCPUs, and 32 are in use: no room for another {BIG}"


def test_own_buckets_keep_below_what_aws_allows(make_cluster, ec2: Ec2) -> None:
    accounts = [
        {"name": name, "role_arn": f"arn:aws:iam::{number}:role/elastic", "launch_burst": 200, "launch_rate": 100}
        for name, number in (("one", ONE), ("two", TWO))
    ]
    cluster = make_cluster(accounts=accounts)
    assert cluster.alive() == []  # the first request, which takes longer than the others
    ec2.bucket = Bucket(240, 100)  # requests do not take equally long to arrive: a little more than is made use of
    cluster.resume(names(1, 500))
    cluster.settle()
    assert len(cluster.alive()) == 500
    assert cluster.rows("counters WHERE name = 'refused'") == []
    assert len(cluster.calls()) <= 5


def test_node_names_that_fold_badly_are_named_by_more_tags(cluster: Cluster) -> None:
    odd = [f"cpu-{number}" for number in range(1, 400, 2)]
    cluster.resume(odd)
    cluster.settle()
    assert sorted(node_of(each) for each in cluster.alive()) == sorted(odd)


def test_resume_refuses_at_once_where_the_service_is_not_at_work(cluster: Cluster) -> None:
    cluster.clock.ahead += 3600
    with pytest.raises(asking.ServiceSilentError, match=r"hpcops-elastic\.service shows no sign of life"):
        asking.resume(cluster.config, cluster.journal, "cpu-1", {})
    assert cluster.rows("wants") == []


def test_both_forms_of_the_resume_file_are_read() -> None:
    old = {"jobs": [{"job_id": 1, "nodes": "c[1-2]"}], "all_nodes": "c[1-2]"}
    new = {
        "jobs": [{"job_id": 2, "nodes_alloc": "c[1-4]", "nodes_resume": "c[3-4]", "partition": "p"}],
        "all_nodes_resume": "c[3-4]",
    }
    assert list(jobs_of(old)) == [("1", ["c1", "c2"], 2)]
    assert list(jobs_of(new)) == [("2", ["c3", "c4"], 4)]
