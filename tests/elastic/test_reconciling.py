"""EC2, Slurm and the journal made one again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import pytest

from ansible_collections.hpcops.cluster.tests.support.ec2_service import Ec2, Fault
from conftest import BIG, FRANKFURT, IMAGE, ONE, Cluster, subnets
from hpcops_elastic import asking
from hpcops_elastic.aws import Instance, RefusedError
from hpcops_elastic.errors import SlurmError
from hpcops_elastic.reconciling import node_of
from hpcops_elastic.reports import costs
from model_of_slurm import OFF, RISING, UP

MakeCluster = Callable[..., Cluster]


def names(first: int, last: int) -> list[str]:
    return [f"cpu-{number}" for number in range(first, last + 1)]


def running(cluster: Cluster, count: int) -> list[str]:
    """Have nodes up, each on its instance."""
    wanted = names(1, count)
    cluster.resume(wanted)
    cluster.settle()
    cluster.boot()
    assert cluster.reconcile() == []
    return wanted


def launch_by_hand(cluster: Cluster, **tags: str) -> str:
    """An instance that another program has started."""
    given = [{"Key": key.replace("__", ":"), "Value": value} for key, value in tags.items()]
    answer = cluster.ec2.client(ONE, FRANKFURT).run_instances(
        ImageId=IMAGE,
        InstanceType=BIG,
        MinCount=1,
        MaxCount=1,
        SubnetId=subnets(cluster.ec2, ONE, FRANKFURT)[0],
        TagSpecifications=[{"ResourceType": "instance", "Tags": given}],
    )
    return str(answer["Instances"][0]["InstanceId"])


def state_of(cluster: Cluster, instance: str) -> str:
    answer = cluster.ec2.client(ONE, FRANKFURT).describe_instances(InstanceIds=[instance])
    return str(answer["Reservations"][0]["Instances"][0]["State"]["Name"])


def test_suspended_nodes_lose_their_instances_in_few_requests(cluster: Cluster) -> None:
    running(cluster, 250)
    cluster.suspend(names(1, 240))
    cluster.settle()
    assert sorted(node_of(each) for each in cluster.alive()) == sorted(names(241, 250))
    assert len(cluster.calls("TerminateInstances")) == 1


def test_a_node_is_used_again_with_another_instance(cluster: Cluster) -> None:
    for _time in range(3):
        running(cluster, 2)
        cluster.suspend(names(1, 2))
        cluster.settle()
    assert len({row["id"] for row in cluster.rows("instances WHERE node = 'cpu-1'")}) == 3
    assert cluster.alive() == []


def test_when_all_is_well_nothing_is_found_and_nothing_is_changed(cluster: Cluster) -> None:
    running(cluster, 20)
    before = cluster.rows("instances")
    assert cluster.reconcile_twice() == []
    assert cluster.rows("instances") == before
    assert all(row["joined"] for row in before)


def test_an_orphan_is_ended_after_it_was_seen_twice(cluster: Cluster) -> None:
    running(cluster, 1)
    orphan = launch_by_hand(cluster, hpcops__cluster="alpha", hpcops__nodes="cpu-5", hpcops__group="cpu")
    assert [finding.ripe for finding in cluster.reconcile()] == [False]
    cluster.settle()
    assert state_of(cluster, orphan) in ("pending", "running")
    cluster.pass_time(cluster.config.timing.grace + 1)
    assert [finding.what for finding in cluster.reconcile()] == ["orphan"]
    cluster.settle()
    assert state_of(cluster, orphan) in ("shutting-down", "terminated")
    assert [node_of(each) for each in cluster.alive()] == ["cpu-1"]


def test_two_clusters_with_the_same_names_in_one_account_leave_each_other_alone(make_cluster: MakeCluster) -> None:
    alpha, beta = make_cluster("alpha"), make_cluster("beta")
    running(alpha, 10)
    running(beta, 10)
    alpha.suspend(names(1, 10))
    alpha.settle()
    alpha.reconcile_twice()
    beta.reconcile_twice()
    alpha.settle()
    beta.settle()
    assert alpha.alive() == []
    assert sorted(node_of(each) for each in beta.alive()) == sorted(names(1, 10))


def test_an_instance_without_this_clusters_tag_is_never_ended_whatever_the_journal_says(cluster: Cluster) -> None:
    running(cluster, 1)
    stranger = launch_by_hand(cluster, Name="someone else's")
    cluster.journal.change("UPDATE instances SET id = ? WHERE node = 'cpu-1'", stranger)
    cluster.suspend(["cpu-1"])
    cluster.work(lambda: len(cluster.calls("DescribeInstances")) > 3, 30)
    assert state_of(cluster, stranger) in ("pending", "running")


def test_a_node_whose_instance_was_terminated_goes_back_at_once(cluster: Cluster, ec2: Ec2) -> None:
    running(cluster, 3)
    victim = next(each for each in cluster.alive() if node_of(each) == "cpu-2")
    ec2.client(ONE, FRANKFURT).terminate_instances(InstanceIds=[victim.id])
    assert [finding.what for finding in cluster.reconcile()] == ["gone"]
    cluster.settle()
    assert f"lost: {victim.id} of cpu-2 is " in cluster.slurm.nodes()["cpu-2"].reason
    assert sorted(cluster.slurm.power(UP)) == ["cpu-1", "cpu-3"]


def test_an_answer_that_leaves_an_instance_out_once_loses_no_node(cluster: Cluster) -> None:
    running(cluster, 3)
    everything = cluster.cloud.instances
    cluster.cloud.instances = lambda account, region, only=(): everything(account, region, only)[1:]  # type: ignore[method-assign]
    untagged = cluster.cloud.untagged
    cluster.cloud.untagged = lambda *_: []  # type: ignore[method-assign]
    assert [finding.ripe for finding in cluster.reconcile()] == [False]
    cluster.cloud.instances, cluster.cloud.untagged = everything, untagged  # type: ignore[method-assign]
    cluster.pass_time(cluster.config.timing.grace + 1)
    assert cluster.reconcile() == []
    assert len(cluster.alive()) == 3
    assert cluster.slurm.power(UP) == names(1, 3)


def test_addresses_that_are_missing_for_several_reads_mean_nothing(cluster: Cluster, ec2: Ec2) -> None:
    cluster.resume(names(1, 5))
    cluster.settle()
    ec2.without_addresses = 10
    cluster.boot()
    assert cluster.reconcile() == []
    assert cluster.reconcile_twice() == []
    assert ec2.without_addresses < 10
    assert cluster.slurm.power(UP) == names(1, 5)


def test_nothing_is_ended_or_given_up_where_a_region_does_not_answer(cluster: Cluster, ec2: Ec2) -> None:
    running(cluster, 2)
    launch_by_hand(cluster, hpcops__cluster="alpha", hpcops__nodes="cpu-5", hpcops__group="cpu")
    cluster.reconcile()
    cluster.pass_time(cluster.config.timing.grace + 1)
    ec2.faults.append(Fault(region="us-east-1", code="UnauthorizedOperation", status=403))
    with pytest.raises(RefusedError, match="two/us-east-1: describe_instances: denied: UnauthorizedOperation"):
        cluster.reconcile()
    assert cluster.rows("instances WHERE state = 'ending'") == []
    ec2.faults.clear()
    assert len(cluster.alive()) == 3


def test_nothing_is_ended_or_given_up_where_slurm_does_not_answer(cluster: Cluster) -> None:
    running(cluster, 2)
    cluster.slurm.answers = False
    cluster.pass_time(3600)
    with pytest.raises(SlurmError):
        cluster.reconcile()
    assert cluster.rows("instances WHERE state = 'ending'") == []
    assert cluster.rows("failures") == []


def test_a_controller_that_is_not_in_charge_does_nothing(cluster: Cluster) -> None:
    running(cluster, 2)
    cluster.slurm.move(names(1, 2), OFF)
    cluster.slurm.is_active = False
    assert cluster.reconcile_twice() == []
    assert len(cluster.alive()) == 2


def test_a_dry_run_tells_and_writes_nothing(cluster: Cluster) -> None:
    running(cluster, 1)
    launch_by_hand(cluster, hpcops__cluster="alpha", hpcops__nodes="cpu-5", hpcops__group="cpu")
    tables = ("wants", "instances", "doubts", "failures", "settings WHERE name != 'alive'")
    before = [cluster.rows(table) for table in tables]
    assert [finding.what for finding in cluster.reconcile(dry_run=True)] == ["orphan"]
    assert [cluster.rows(table) for table in tables] == before


def test_a_backup_controller_goes_on_with_the_tags_alone(cluster: Cluster, make_cluster: MakeCluster, ec2: Ec2) -> None:
    wanted = running(cluster, 12)
    backup = Cluster(
        ec2, cluster.config.model_copy(update={"journal": cluster.config.journal.with_name("other")}), cluster.slurm
    )
    assert backup.reconcile_twice() == []
    assert sorted(row["node"] for row in backup.rows("wants WHERE state = 'launched'")) == sorted(wanted)
    backup.suspend(wanted[:6])
    backup.settle()
    assert sorted(node_of(each) for each in backup.alive()) == sorted(wanted[6:])


def test_a_node_suspended_by_a_backup_that_does_not_know_its_instance_ends_it(cluster: Cluster, ec2: Ec2) -> None:
    wanted = running(cluster, 2)
    backup = Cluster(
        ec2, cluster.config.model_copy(update={"journal": cluster.config.journal.with_name("other")}), cluster.slurm
    )
    backup.pass_time(2)  # moto's times are whole seconds
    backup.suspend(wanted)
    backup.work(lambda: backup.alive() == [])
    assert backup.rows("endings") == []


def test_an_intent_that_died_with_another_controller_is_taken_over(cluster: Cluster) -> None:
    cluster.slurm.move(names(1, 3), RISING)
    cluster.reconcile()
    assert cluster.rows("wants") == []  # Slurm may be about to tell, with the job
    cluster.reconcile_twice()
    cluster.settle()
    assert sorted(node_of(each) for each in cluster.alive()) == names(1, 3)


def test_job_of_a_node_that_was_taken_over_is_learned(cluster: Cluster) -> None:
    cluster.slurm.move(["cpu-1"], RISING)
    cluster.reconcile_twice()
    cluster.resume(["cpu-1"])
    assert [(row["node"], row["job"]) for row in cluster.rows("wants")] == [("cpu-1", "7")]


def test_an_intent_that_slurm_has_forgotten_is_dropped(cluster: Cluster) -> None:
    cluster.ec2.faults.append(Fault("RunInstances", code="RequestLimitExceeded", status=503))
    cluster.resume(names(1, 3))
    cluster.work(lambda: len(cluster.calls()) == 1)
    cluster.slurm.move(names(1, 3), OFF)
    cluster.reconcile_twice()
    assert cluster.rows("wants") == []


def test_an_instance_that_hangs_in_pending_is_ended_and_its_node_given_back(cluster: Cluster) -> None:
    running(cluster, 2)
    everything = cluster.cloud.instances

    def pending(account: str, region: str, only: Iterable[str] = ()) -> list[Instance]:
        found = everything(account, region, only)
        return [dataclasses.replace(each, state="pending") if node_of(each) == "cpu-2" else each for each in found]

    cluster.cloud.instances = pending  # type: ignore[method-assign]
    cluster.pass_time(cluster.config.timing.pending + 1)
    assert [finding.what for finding in cluster.reconcile_twice()] == ["stuck"]
    cluster.cloud.instances = everything  # type: ignore[method-assign]
    cluster.settle()
    assert [node_of(each) for each in cluster.alive()] == ["cpu-1"]
    assert "boot: " in cluster.slurm.nodes()["cpu-2"].reason


def test_boots_that_fail_stop_their_pool_only(cluster: Cluster, ec2: Ec2) -> None:
    first, second = subnets(ec2, ONE, FRANKFURT)[:2]
    cluster.resume(names(1, 3))
    cluster.settle()
    asking.resume_failed(cluster.config, cluster.journal, "cpu-[1-3]")
    cluster.settle()
    assert "did not become a node in time" in cluster.slurm.nodes()["cpu-1"].reason
    assert cluster.alive() == []
    assert list(cluster.journal.avoided()) == [f"pool|cpu|one|{FRANKFURT}|{first}|{BIG}"]
    cluster.resume(names(1, 3))
    cluster.settle()
    assert {each.subnet for each in cluster.alive()} == {second}


def test_nodes_that_slurm_gave_up_are_usable_again(cluster: Cluster) -> None:
    """Slurm leaves them down, and would never resume them."""
    wanted = names(1, 3)
    cluster.resume(wanted)
    cluster.settle()
    cluster.slurm.time_out(wanted)
    asking.resume_failed(cluster.config, cluster.journal, "cpu-[1-3]")
    cluster.settle()
    assert "did not become a node in time" in cluster.slurm.explained()["7"]
    cluster.reconcile()
    assert set(wanted) <= set(cluster.slurm.usable())
    assert cluster.alive() == []


def test_node_that_a_person_set_down_stays_so(cluster: Cluster) -> None:
    cluster.slurm.update(["cpu-1"], "DOWN", "bad memory")
    cluster.reconcile_twice()
    cluster.settle()
    assert cluster.slurm.nodes()["cpu-1"].reason == "bad memory"
    assert "cpu-1" not in cluster.slurm.usable()


def test_a_boot_that_succeeds_forgives_the_failures_before(cluster: Cluster) -> None:
    for _time in range(3):
        cluster.resume(names(1, 2))
        cluster.settle()
        asking.resume_failed(cluster.config, cluster.journal, "cpu-[1-2]")
        cluster.settle()
        running(cluster, 1)
        cluster.suspend(["cpu-1"])
        cluster.settle()
    assert cluster.journal.avoided() == {}


def test_tags_that_someone_took_away_are_given_back_and_the_instance_lives(cluster: Cluster, ec2: Ec2) -> None:
    running(cluster, 3)
    victim = next(each for each in cluster.alive() if node_of(each) == "cpu-2")
    ec2.client(ONE, FRANKFURT).delete_tags(Resources=[victim.id], Tags=[{"Key": "hpcops:cluster"}])
    cluster.reconcile_twice()
    cluster.settle()
    assert sorted(node_of(each) for each in cluster.alive()) == names(1, 3)
    assert cluster.slurm.power(UP) == names(1, 3)


def test_costs_are_told_by_day_job_and_account(cluster: Cluster) -> None:
    running(cluster, 2)
    begun = cluster.rows("instances")[0]["started"]
    cluster.pass_time(3600)
    rows = costs(cluster.config, cluster.journal, 0, cluster.clock())
    assert {row[1:6] for row in rows} == {("7", "research", "alice", "one", "cpu")}
    assert sum(row[6] for row in rows) == pytest.approx(2 * (cluster.clock() - begun) / 3600, abs=0.02)
    assert sum(row[7] for row in rows) == pytest.approx(1.6 * (cluster.clock() - begun) / 3600, abs=0.02)
