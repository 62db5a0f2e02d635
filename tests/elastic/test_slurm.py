"""What scontrol says, as each release says it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Cluster
from hpcops_elastic.errors import SlurmError
from hpcops_elastic.hosts import expand
from hpcops_elastic.slurm import NONE_OF, Node, Slurm
from stand_ins import LINE, Programs

AT = " [slurm@2026-11-20T12:00:00]"


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path / "bin", ["cpu-1"])


@pytest.fixture
def slurm(cluster: Cluster, programs: Programs) -> Slurm:
    return Slurm(cluster.config.model_copy(update={"path": programs.path}))


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        ("", ""),
        (f" Reason=elastic: capacity: no{AT}", "elastic: capacity: no"),
        (" Reason=elastic: capacity: no", "elastic: capacity: no"),
        (
            f" Reason=elastic: none of cpu until 12:00:00: no{AT} InstanceId=i-1 InstanceType=c7i.large",
            "elastic: none of cpu until 12:00:00: no",
        ),
        (" Reason=disk InstanceId=i-1 InstanceType=c7i.large ReservationName=maintenance", "disk"),
        (f" Reason=disk{AT} Comment=see ticket [bob@home] Extra=rack=3", "disk"),
        (f" Reason=a=b State=DOWN{AT}", "a=b State=DOWN"),
        (f" Reason=first line{AT}         second line Comment=x", "first line"),
        (" Comment=was: Reason=elastic: none of cpu [slurm@2026-11-20T12:00:00]", ""),
        (' Extra={"why": "x Reason=elastic: none of cpu"}', ""),
        (f" Reason=ResumeTimeout reached{AT}", "ResumeTimeout reached"),
    ],
)
def test_reasons_are_told_apart_from_other_texts(slurm: Slurm, programs: Programs, after: str, reason: str) -> None:
    programs.tell([LINE.format(name="cpu-1", state="IDLE+CLOUD+DRAIN+POWERED_DOWN") + after])
    node = slurm.nodes()["cpu-1"]
    assert node.unheard
    assert node.reason == reason
    assert node.states == {"IDLE", "CLOUD", "DRAIN", "POWERED_DOWN"}
    assert node.kept == reason.startswith(NONE_OF)


@pytest.mark.parametrize(
    ("state", "off", "starting", "joined", "leaving", "finished"),
    [
        ("IDLE+CLOUD+POWERED_DOWN", True, False, False, True, False),
        ("DOWN+CLOUD+POWERED_DOWN", True, False, False, True, True),
        ("DOWN*+CLOUD+DRAIN+POWERED_DOWN", True, False, False, True, False),
        ("ALLOCATED#+CLOUD+NOT_RESPONDING+POWERING_UP", False, True, False, False, False),
        ("IDLE+CLOUD+POWERING_DOWN", True, False, False, True, False),
        ("IDLE%+CLOUD+POWERING_DOWN", True, False, False, True, False),
        ("IDLE!+CLOUD+POWER_DOWN", False, False, True, True, False),
        ("MIXED-+CLOUD+PLANNED", False, False, True, False, False),
        ("DOWN*+CLOUD+NOT_RESPONDING", False, False, False, False, False),
        ("IDLE+CLOUD", False, False, True, False, False),
    ],
)
def test_states_mean_what_they_mean(
    slurm: Slurm, programs: Programs, state: str, off: bool, starting: bool, joined: bool, leaving: bool, finished: bool
) -> None:
    programs.tell([LINE.format(name="cpu-1", state=state) + f" Reason=elastic: boot: late{AT}"])
    node = slurm.nodes()["cpu-1"]
    found = (node.off, node.starting, node.joined, node.leaving, node.finished)
    assert found == (off, starting, joined, leaving, finished)


def test_nodes_that_have_registered_have_an_address(slurm: Slurm, programs: Programs) -> None:
    line = LINE.format(name="cpu-1", state="IDLE+CLOUD")
    programs.tell([line.replace("NodeAddr=cpu-1", "NodeAddr=10.0.0.7")])
    assert not slurm.nodes()["cpu-1"].unheard


def test_what_a_person_has_set_down_is_not_finished() -> None:
    states = frozenset({"DOWN", "CLOUD", "POWERED_DOWN"})
    assert not Node("cpu-1", states, "broken disk, alice").finished
    assert Node("cpu-1", states, "elastic: boot: late").finished


@pytest.mark.parametrize(
    ("lines", "active"),
    [
        (["Slurmctld(primary) at {here} is UP"], True),
        (["Slurmctld(primary) at {here}.example.com is UP", "Slurmctld(backup) at other is UP"], True),
        (["Slurmctld(primary) at other is UP", "Slurmctld(backup) at {here} is UP"], False),
        (["Slurmctld(primary) at other is DOWN", "Slurmctld(backup) at {here} is UP"], True),
    ],
)
def test_the_first_controller_that_answers_is_in_charge(
    cluster: Cluster, programs: Programs, lines: list[str], active: bool
) -> None:
    path = Path(programs.path.split(":")[0]) / "scontrol"
    text = "\n".join(f"echo '{line.format(here='ctl1')}'" for line in lines)
    path.write_text(f"#!/bin/sh\n{text}\nexit 1\n", encoding="utf-8")
    slurm = Slurm(cluster.config.model_copy(update={"path": programs.path, "controller": "ctl1"}))
    assert slurm.active() is active


def test_where_slurm_does_not_answer_it_is_an_error(
    slurm: Slurm, programs: Programs, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs.tell([])
    with pytest.raises(SlurmError, match=r"tells of no node"):
        slurm.nodes()
    programs.broken.touch()
    failing: list[Callable[[], object]] = [slurm.active, slurm.nodes, lambda: slurm.update(["cpu-1"], "DOWN", "x")]
    for ask in failing:
        with pytest.raises(SlurmError):
            ask()
    with pytest.raises(SlurmError, match="scontrol is not in /nonexistent"):
        Slurm(cluster.config.model_copy(update={"path": "/nonexistent"})).nodes()
    path = Path(programs.path.split(":")[0]) / "scontrol"
    path.write_text("#!/bin/sh\nexec sleep 60\n", encoding="utf-8")
    monkeypatch.setattr("hpcops_elastic.slurm._TIMEOUT", 0.3)
    with pytest.raises(SlurmError, match="got no answer"):
        slurm.nodes()


def test_many_nodes_and_jobs_are_told_in_lines_that_a_command_takes(slurm: Slurm, programs: Programs) -> None:
    odd = [f"n{number}x{number % 7}" for number in range(20_000)]
    slurm.update(odd, "DOWN", "elastic: why")
    told = programs.told()
    assert 1 < len(told) < 10
    assert all(len(line) < 128 * 1024 for line in told)
    slurm.forget_names(f"n{number}" for number in range(20_000))
    *_before, addressed, last = programs.told()
    assert addressed.startswith("update nodename=n[0-")
    assert last.endswith(",192.0.2.1" * 9)
    assert len(addressed) < 128 * 1024
    slurm.explain((str(number) for number in range(1, 1001)), "elastic: why")
    line = programs.told()[-1]
    assert line.startswith("update jobid=1,2,3,")
    assert line.endswith(",1000 admincomment=elastic: why")
    slurm.explain([], "elastic: why")
    assert programs.told()[-1] == line


def test_jobs_of_whom_squeue_tells(slurm: Slurm, programs: Programs) -> None:
    programs.jobs.write_text("7|physics|alice\n8_3||bob\n9|chemistry|carol\n", encoding="utf-8")
    assert slurm.jobs(["7", "9", "12", ""]) == {"7": ("physics", "alice"), "9": ("chemistry", "carol")}


@pytest.mark.parametrize(("first", "count", "said"), [(1, 1, "cpu-1"), (0, 12, "cpu-[0-11]")])
def test_all_nodes_of_the_configuration_are_one_list(
    make_cluster: Callable[..., Cluster], first: int, count: int, said: str
) -> None:
    config = make_cluster(group={"first": first, "count": count}).config
    assert config.all_nodes == said
    assert expand(said) == config.groups[0].nodes
