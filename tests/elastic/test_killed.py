"""kill -9 of everything, at random moments: nothing is leaked, and no node is lost."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections import Counter
from collections.abc import Callable

from ansible_collections.hpcops.cluster.tests.support.ec2_service import Ec2, Fault
from conftest import Cluster
from hpcops_elastic.hosts import fold
from hpcops_elastic.reconciling import node_of
from killed import act
from model_of_slurm import OFF, RISING, SINKING, UP

KILLS = 200
NODES = 40


def converge(cluster: Cluster) -> None:
    """What a whole run does to what was left behind: some looks, a minute apart."""
    cluster.restart()
    for _look in range(5):
        cluster.reconcile()
        cluster.settle()
        cluster.boot()
        cluster.pass_time(cluster.config.timing.grace + 1)


def test_200_kills_leave_one_instance_for_each_node_and_none_besides(
    make_cluster: Callable[..., Cluster], ec2: Ec2, record_property: Callable[[str, object], None]
) -> None:
    seed = int(os.environ.get("SEED", time.time_ns() % 1_000_000))
    record_property("seed", seed)
    print(f"SEED={seed}")
    chance = random.Random(seed)
    cluster = make_cluster(group={"count": NODES})
    given = cluster.config.model_dump(mode="json")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killed", "botocore.session"])
    done = Counter[str]()
    for _round in range(KILLS):
        what = chance.choice(["resume", "suspend", "reconcile", "serve", "serve"])
        nodes: list[str] = []
        if what == "resume":
            usable = cluster.slurm.usable()
            nodes = chance.sample(usable, min(len(usable), chance.randint(1, 15)))
            cluster.slurm.move(nodes, RISING)
        elif what == "suspend":
            up = cluster.slurm.power(UP)
            nodes = chance.sample(up, min(len(up), chance.randint(1, 15)))
            nodes += cluster.slurm.power(SINKING)
            cluster.slurm.move(nodes, OFF)
        if what in ("resume", "suspend") and not nodes:
            what = "serve"
        if chance.random() < 0.2:
            code = chance.choice(["LOST", "CUT", "RequestLimitExceeded", "InsufficientInstanceCapacity"])
            ec2.faults.append(Fault("RunInstances", code=code, status=500, left=1))
        ec2.delay = chance.choice([0, 0, 0.02])
        process = context.Process(target=act, args=(what, given, cluster.slurm.path, cluster.clock.ahead, nodes))
        process.start()
        process.join(chance.uniform(0.0, 0.04 if what in ("resume", "suspend") else 0.7))
        done[f"{what} {'killed' if process.is_alive() else 'ended before'}"] += 1
        process.kill()
        process.join()
        if chance.random() < 0.6:
            cluster.boot()
        cluster.clock.ahead += chance.uniform(0, 40)
    print(dict(done))
    assert sum(number for what, number in done.items() if what.endswith("killed")) > KILLS / 2
    ec2.faults.clear()
    ec2.delay = 0

    converge(cluster)
    assert sorted(node_of(each) for each in cluster.alive()) == sorted(cluster.slurm.power(UP))
    assert cluster.slurm.power(RISING) == cluster.slurm.power(SINKING) == []
    assert {row["state"] for row in cluster.rows("wants")} <= {"launched"}

    up = cluster.slurm.power(UP)
    if up:
        cluster.suspend(up)
    converge(cluster)
    assert cluster.alive() == [], fold(node_of(each) for each in cluster.alive())
    assert sorted(cluster.slurm.usable()) == sorted(cluster.config.groups[0].nodes)
