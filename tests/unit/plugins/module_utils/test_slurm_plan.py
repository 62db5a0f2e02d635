# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans: what differs between two sets of files, and what it takes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import SlurmParameterError
from ansible_collections.hpcops.cluster.plugins.module_utils._hostlist import expand
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_plan import (
    FORMAT,
    Change,
    Plan,
    make_plan,
    not_approved,
)

Files = dict[str, Optional[str]]
BASE = """
ClusterName=demo
SlurmctldTimeout=60
GresTypes=gpu
NodeName=c[1-4] CPUs=2 RealMemory=1000
PartitionName=main Nodes=c[1-4]
"""
OLD, NEW = "22.05", "24.11"


def conf(text: str) -> Files:
    return {"slurm.conf": text}


def changed(old: str, new: str) -> Files:
    """The base with one text replaced by another."""
    assert old in BASE
    return conf(BASE.replace(old, new))


def plan_to(after: Files, release: str = NEW, before: Files | None = None) -> Plan:
    return make_plan(conf(BASE) if before is None else before, after, release)


def only(plan: Plan) -> Change:
    assert len(plan.changes) == 1, plan.text
    return plan.changes[0]


# --- What differs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "kind", "name", "values"),
    [
        (changed("Timeout=60", "Timeout=61"), "parameter", "SlurmctldTimeout", ("60", "61")),
        (changed("SlurmctldTimeout=60", ""), "parameter", "SlurmctldTimeout", ("60", None)),
        (changed("SlurmctldTimeout", "KillWait=9\nslurmctldTimeout"), "parameter", "KillWait", (None, "9")),
        (changed("Timeout=60", "Timeout=60\nSlurmctldTimeout=61"), "parameter", "SlurmctldTimeout", ("60", "61")),
        (changed("CPUs=2", "CPUs=4"), "node", "c[1-4]", ("CPUs=2", "CPUs=4")),
        (changed("CPUs=2 ", ""), "node", "c[1-4]", ("CPUs=2", "")),
        (changed("CPUs=2", "CPUs=2 Feature=ib"), "node", "c[1-4]", ("", "Features=ib")),
        (changed("NodeName=", "NodeName=DEFAULT Weight=5\nNodeName="), "node", "c[1-4]", ("", "Weight=5")),
        (
            changed("RealMemory=1000", "RealMemory=1000\nNodeName=d[7-9] CPUs=8"),
            "node",
            "d[7-9]",
            (None, "CPUs=8"),
        ),
        (changed("Partition", "PartitionName=p Nodes=c1\nPartition"), "partition", "p", (None, "Nodes=c1")),
        (changed("n Nodes=c[1-4]", "n Nodes=c[1-4] maxtime=5"), "partition", "main", ("", "MaxTime=5")),
        (changed("Partition", "NodeSet=s Feature=ib\nPartition"), "nodeset", "s", (None, "Feature=ib")),
        (changed("Partition", "downnodes=c1 State=DOWN\nPartition"), "line", "downnodes=c1 State=DOWN", (None, "")),
    ],
)
def test_a_difference_is_one_change(after: Files, kind: str, name: str, values: tuple[str | None, str | None]) -> None:
    change = only(plan_to(after))
    assert (change.file, change.kind, change.name) == ("slurm.conf", kind, name)
    assert (change.before, change.after) == values


@pytest.mark.parametrize(
    "after",
    [
        conf(f"# managed\n{BASE}\n"),
        conf(BASE.lower().replace("clustername=demo", "CLUSTERNAME=demo")),
        changed("NodeName=c[1-4] CPUs=2 RealMemory=1000", "NodeName=c[3-4],c2,c1 RealMemory=1000 Procs=2"),
        changed(
            "NodeName=c[1-4] CPUs=2 RealMemory=1000",
            "NodeName=DEFAULT CPUs=2\nNodeName=c[3-4] RealMemory=1000\nNodeName=c[1-2] RealMemory=1000",
        ),
        changed("Timeout=60", "Timeout=59\nSlurmctldTimeout=60"),
        {"slurm.conf": BASE.replace("NodeName", "Include nodes.conf\n#"), "nodes.conf": BASE.split("\n")[4]},
    ],
)
def test_what_says_the_same_in_other_words_changes_nothing_but_the_files(after: Files) -> None:
    plan = plan_to(after)
    assert {change.kind for change in plan.changes} == {"file"}
    assert (plan.action, plan.slurmd) == ("reconfigure", "")


@pytest.mark.parametrize(
    ("name", "old", "new", "change"),
    [
        ("cgroup.conf", "ConstrainCores=yes", "ConstrainCores=no", "ConstrainCores: yes -> no"),
        ("cgroup.conf", None, "ConstrainCores=no", "ConstrainCores: added: no"),
        ("topology.conf", "SwitchName=a Nodes=c1", None, "line SwitchName=a Nodes=c1: removed"),
        ("gres.conf", "", "Name=gpu File=/dev/g0", "line Name=gpu File=/dev/g0: added"),
        ("plugstack.conf", None, "required a.so", "the file: added"),
        ("plugstack.conf", "required a.so", "required b.so", "the file: changed"),
        ("plugstack.conf", "required a.so", None, "the file: removed"),
    ],
)
def test_other_files_change_too(name: str, old: str | None, new: str | None, change: str) -> None:
    plan = plan_to({**conf(BASE), name: new}, before={**conf(BASE), name: old})
    assert plan.text == f"{name}: {change} [reconfigure]\n"


def test_parameters_that_may_stand_several_times_are_compared_as_a_whole() -> None:
    plan = plan_to(conf("SlurmctldHost=a\nSlurmctldHost=c"), before=conf("SlurmctldHost=a\nSlurmctldHost=b"))
    assert plan.text == "slurm.conf: SlurmctldHost: a, b -> a, c [reconfigure]\n"


def test_each_line_of_a_kind_that_has_no_names_counts() -> None:
    before = "PowerAction=a Program=/a\nPowerAction=b Program=/b\n"
    plan = plan_to(conf(before.replace("=/a", "=/c")), "26.05", conf(before))
    assert [(change.name, change.before, change.after) for change in plan.changes] == [
        ("PowerAction=a Program=/a", "", None),
        ("PowerAction=a Program=/c", None, ""),
    ]


def test_nodes_that_change_alike_are_one_change() -> None:
    def cluster(cpus: int, memory: int) -> Files:
        return conf(f"NodeName=n[1-5000] CPUs={cpus}\nNodeName=n[5001-10000] CPUs={cpus} RealMemory={memory}")

    assert only(plan_to(cluster(4, 9), before=cluster(2, 9))).name == "n[1-10000]"
    plan = plan_to(cluster(4, 8), before=cluster(2, 9))
    assert [(change.name, change.after) for change in plan.changes] == [
        ("n[1-5000]", "CPUs=4"),
        ("n[5001-10000]", "CPUs=4 RealMemory=8"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "values"),
    [
        ("", "NodeName=d[1-3] NodeAddr=10.0.0.[1-3] CPUs=2", (None, "NodeAddr=10.0.0.[1-3] CPUs=2")),
        ("", "NodeName=d[1-3] NodeAddr=10.0.0.[3,1-2]", (None, "NodeAddr=10.0.0.3,10.0.0.[1-2]")),
        ("NodeName=d[1-3] NodeAddr=a[1-3]", "", ("NodeAddr=a[1-3]", None)),
        ("NodeName=d[1-3] NodeAddr=a[1-3]", "NodeName=d[1-3] NodeAddr=a[2-4]", ("NodeAddr=a[1-3]", "NodeAddr=a[2-4]")),
        ("NodeName=d[1-3] Port=[1-3]", "NodeName=d[1-3]", ("Port=[1-3]", "")),
        ("", "NodeName=d3,d1,d2 NodeAddr=a,b,c", (None, "NodeAddr=b,c,a")),
        ("", "NodeName=d[1-3] NodeAddr=x", (None, "NodeAddr=x")),
    ],
)
def test_nodes_whose_addresses_alone_differ_are_one_change(
    old: str, new: str, values: tuple[str | None, str | None]
) -> None:
    change = only(plan_to(conf(f"{BASE}{new}"), before=conf(f"{BASE}{old}")))
    assert (change.name, change.before, change.after) == ("d[1-3]", *values)


# Lines of which any choice is a configuration.
NODES = [f"NodeName=c[{first}-{first + 2}] {more}" for first in (1, 4, 7) for more in ("CPUs=2", "CPUs=4 NodeAddr=a")]
OTHERS = [
    "SlurmctldTimeout=5",
    "SlurmctldTimeout=6",
    "PartitionName=p Nodes=c1",
    "PartitionName=q Nodes=c[1-9] MaxTime=3",
    "NodeSet=s Nodes=c1",
    "DownNodes=c1 State=DOWN",
    "AuthType=auth/munge",
]
sets = st.builds(
    lambda nodes, others, gres, other: {
        "slurm.conf": "\n".join([*{line[:13]: line for line in nodes}.values(), *others]),
        "gres.conf": gres,
        "plugstack.conf": other,
    },
    st.lists(st.sampled_from(NODES), unique=True),
    st.lists(st.sampled_from(OTHERS), unique=True),
    st.sampled_from([None, "", "Name=gpu Count=1", "NodeName=c1 Name=gpu"]),
    st.sampled_from([None, "", "include x"]),
)
releases = st.sampled_from([OLD, NEW, "26.05"])


@given(sets, releases)
def test_a_set_and_itself_have_no_changes_between_them(files: Files, release: str) -> None:
    plan = make_plan(files, dict(files), release)
    assert list(plan.changes) == []
    assert plan.before == plan.after


@given(sets, sets, releases)
def test_the_way_back_has_the_same_changes_the_other_way_round(one: Files, other: Files, release: str) -> None:
    def differences(plan: Plan, back: bool = False) -> set[tuple[Any, ...]]:
        return {
            (change.file, change.kind, change.name, *((change.before, change.after)[:: -1 if back else 1]))
            for change in plan.changes
            if "in partition" not in (change.before or "")  # of the nodes that a partition gets nothing is said
        }

    assert differences(make_plan(one, other, release)) == differences(make_plan(other, one, release), back=True)


@given(sets, sets)
def test_the_same_sets_have_the_same_plan_whatever_else(one: Files, other: Files) -> None:
    plan = make_plan(one, other, NEW)
    assert json.loads(json.dumps(plan.as_data())) == make_plan(dict(one), dict(other), NEW).as_data()


def test_the_changes_have_the_order_of_the_files() -> None:
    names = ["main", *(f"p{number}" for number in range(9))]
    before = "\n".join([BASE, *(f"PartitionName={name} Nodes=c[1-4]" for name in names[1:])])
    plan = plan_to(conf(before.replace("Nodes=c[1-4]", "Nodes=c1")), before=conf(before))
    assert [change.name for change in plan.changes if change.kind == "partition"] == names


# --- What it takes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "old", "new"),
    [
        (changed("Timeout=60", "Timeout=61"), ("reconfigure", "", ""), ("reconfigure", "", "")),
        (changed("GresTypes=gpu", ""), ("restart_slurmd", "ALL", ""), ("reconfigure", "", "")),
        (
            changed("GresTypes", "SlurmctldPort=1\nGresTypes"),
            ("restart_slurmctld", "", ""),
            ("restart_slurmctld", "", ""),
        ),
        (
            changed("GresTypes", "AuthType=auth/slurm\nGresTypes"),
            ("restart_slurmd", "ALL", "any"),
            ("restart_slurmd", "ALL", "any"),
        ),
        (
            changed("GresTypes", "STATESAVELOCATION=/x\nGresTypes"),
            ("restart_slurmctld", "", "any"),
            ("restart_slurmctld", "", "any"),
        ),
        (changed("CPUs=2", "CPUs=4"), ("restart_slurmd", "ALL", "nodes"), ("reconfigure", "", "nodes")),
        (changed("RealMemory=1000", "RealMemory=900"), ("restart_slurmd", "ALL", ""), ("reconfigure", "", "")),
        (changed("CPUs=2", "CPUs=2 Weight=4"), ("reconfigure", "", ""), ("reconfigure", "", "")),
        (
            changed("NodeName", "NodeName=DEFAULT Features=x\nNodeName"),
            ("reconfigure", "", ""),
            ("reconfigure", "", ""),
        ),
        (
            changed("NodeName", "NodeName=DEFAULT Sockets=2\nNodeName"),
            ("restart_slurmd", "ALL", "nodes"),
            ("reconfigure", "", "nodes"),
        ),
        (
            changed("CPUs=2", "CPUs=2 Port=[7001-7004]"),
            ("restart_slurmd", "ALL", ""),
            ("restart_slurmd", "c[1-4]", ""),
        ),
        (conf(f"{BASE}NodeName=d1 Port=7"), ("restart_slurmd", "ALL", ""), ("reconfigure", "", "")),
        (conf(f"{BASE}PartitionName=p"), ("reconfigure", "", ""), ("reconfigure", "", "")),
    ],
)
def test_a_change_takes_what_its_release_needs(
    after: Files, old: tuple[str, str, str], new: tuple[str, str, str]
) -> None:
    for release, takes in ((OLD, old), (NEW, new)):
        change = only(plan_to(after, release))
        assert (change.action, change.slurmd, change.jobs) == takes, release


def test_a_node_that_goes_must_have_no_jobs() -> None:
    plan = plan_to(changed("c[1-4]", "c[1-3]"))
    assert [(change.kind, change.name, change.jobs) for change in plan.changes] == [
        ("node", "c4", "nodes"),
        ("partition", "main", ""),
    ]


def test_a_renamed_partition_is_one_that_goes_and_one_that_comes() -> None:
    plan = plan_to(changed("=main", "=other"))
    assert [(change.name, change.before is None, change.jobs) for change in plan.changes] == [
        ("main", False, "partition"),
        ("other", True, ""),
    ]


@pytest.mark.parametrize(
    ("line", "slurmd"), [("NodeName=c[1-2] Name=gpu", "c[1-2]"), ("nodename=c1 Name=gpu", "c1"), ("Name=gpu", "ALL")]
)
def test_a_gres_line_restarts_the_slurmd_that_read_it_in_old_releases(line: str, slurmd: str) -> None:
    after = {**conf(BASE), "gres.conf": line}
    assert plan_to(after, OLD).slurmd == slurmd
    assert plan_to(after, NEW).slurmd == ""


def test_the_plan_takes_what_the_most_disruptive_of_its_changes_takes() -> None:
    after = conf(BASE.replace("=60", "=61").replace("GresTypes", "SlurmctldPort=1\nGresTypes"))
    assert plan_to(after).action == "restart_slurmctld"
    text = BASE.replace("NodeName=c[1-4]", "NodeName=c[1-2] Port=7\nNodeName=c[3-4]")
    text = text.replace("CPUs=2", "CPUs=2 Port=8 Weight=3")
    plan = plan_to(conf(text))
    assert (plan.action, plan.slurmd) == ("restart_slurmd", "c[1-4]")


@pytest.mark.parametrize("before", [{}, {"slurm.conf": None}, {"slurm.conf": None, "cgroup.conf": "old"}])
def test_a_first_set_needs_nothing_to_become_active(before: Files) -> None:
    plan = plan_to({"cgroup.conf": "", "slurm.conf": BASE, "gres.conf": None}, before=before)
    assert {change.name for change in plan.changes} == {"cgroup.conf", "slurm.conf"}
    assert all(change.kind == "file" for change in plan.changes)
    assert (plan.action, plan.slurmd) == ("none", "")


@pytest.mark.parametrize("before", ["no pairs", "NodeName=c[1", "Include slurm.conf"])
def test_what_replaces_an_unreadable_file_restarts_slurmctld(before: str) -> None:
    plan = plan_to({"slurm.conf": BASE, "a.conf": "x"}, before={"slurm.conf": before, "a.conf": "x"})
    assert plan.text == "slurm.conf: the file: changed [restart slurmctld]\n"


def test_an_unreadable_new_file_is_an_error() -> None:
    with pytest.raises(SlurmParameterError, match=r"slurm\.conf: line 1"):
        plan_to(conf("no pairs"))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            Change("slurm.conf", "parameter", "A", "1", "2", "reconfigure", "", ""),
            "slurm.conf: A: 1 -> 2 [reconfigure]",
        ),
        (Change("slurm.conf", "parameter", "A", "1", None, "none", "", ""), "slurm.conf: A: removed (was 1) [none]"),
        (
            Change("slurm.conf", "node", "c1", "Weight=1", "", "restart_slurmd", "c1", "nodes"),
            "slurm.conf: node c1: Weight=1 -> (nothing) [restart slurmd on c1; refused while there are jobs on c1]",
        ),
        (
            Change("slurm.conf", "partition", "p", "Nodes=c1", None, "reconfigure", "", "partition"),
            "slurm.conf: partition p: removed [reconfigure; refused while there are jobs in p]",
        ),
        (
            Change("slurm.conf", "parameter", "A", None, "x", "restart_slurmctld", "", "any"),
            "slurm.conf: A: added: x [restart slurmctld; refused while there are jobs]",
        ),
    ],
)
def test_a_change_reads_as_a_line(change: Change, text: str) -> None:
    assert change.text == text


# --- Approved plans --------------------------------------------------------------------------------------------------


def test_a_plan_is_approved_by_itself_and_by_a_larger_one() -> None:
    plan = plan_to(conf(BASE.replace("=60", "=61").replace("CPUs=2", "CPUs=4")))
    approved = json.loads(json.dumps(plan.as_data()))
    assert not_approved(plan, approved) == ""
    assert not_approved(replace(plan, changes=plan.changes[:1]), approved) == ""
    assert not_approved(replace(plan, changes=()), {**approved, "before": "other"}) == "", "nothing is left to do"


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"format": FORMAT + 1}, f"it is not a plan of format {FORMAT}"),
        ({"changes": None}, f"it is not a plan of format {FORMAT}"),
        ({"changes": []}, "these changes are not in it:\nslurm.conf: SlurmctldTimeout: 60 -> 61 [reconfigure]"),
        ({"before": "other"}, "the controller's files have changed since it was made"),
    ],
)
def test_a_plan_that_was_not_approved_is_refused_with_the_reason(other: dict[str, Any], says: str) -> None:
    plan = plan_to(changed("=60", "=61"))
    assert not_approved(plan, {**plan.as_data(), **other}).startswith(says)


@pytest.mark.parametrize("before", [{"slurm.conf": BASE, "a.lua": "old"}, {"slurm.conf": None, "a.lua": None}])
def test_another_text_of_a_file_is_another_change(before: Files) -> None:
    approved = plan_to({"slurm.conf": BASE, "a.lua": "good"}, before=before)
    plan = plan_to({"slurm.conf": BASE, "a.lua": "bad"}, before=before)
    assert "a.lua" in not_approved(plan, approved.as_data())


def test_as_data_names_nodes_that_can_be_expanded() -> None:
    change = plan_to(changed("CPUs=2", "CPUs=4")).as_data()["changes"][0]
    assert expand(change["name"]) == ["c1", "c2", "c3", "c4"]
