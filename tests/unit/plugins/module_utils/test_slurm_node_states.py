"""What scontrol prints becomes nodes, and what is done to them depends on their states and on whose drain they have."""

from __future__ import annotations

import pytest

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import SlurmNodeError
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_node_states import (
    Node,
    Request,
    arrived,
    chunks,
    expected,
    jobs_on,
    parse_jobs,
    parse_moment,
    parse_nodes,
    plan,
    select,
    stored_reason,
)

OURS = "hpcops[CHG-7]: new kernel"
AFTER_REBOOT = OURS + " : reboot issued : reboot complete"
RETURNED = "Reason=returned to service by hpcops[CHG-7]"
PRINTED = """\
NodeName=c1 Arch=x86_64 CoresPerSocket=1  CPUAlloc=0 OS=Linux 6.1 #1 SMP @0  State=DOWN+DRAIN+REBOOT_ISSUED NextState=DOWN \
Partitions=all,part  BootTime=2026-11-20T12:36:17 SlurmdStartTime=2026-11-20T12:36:17 AveWatts=0  \
Reason=fan [left], State=IDLE [alice@2026-11-20T12:36:24] Comment=x
NodeName=c2 CoresPerSocket=1 NodeAddr=c2 State=IDLE*+PLANNED ThreadsPerCore=1 Partitions=all  BootTime=None SlurmdStartTime=None \

NodeName=f1 State=FUTURE ThreadsPerCore=1
NodeName=c3 State=IDLE+DRAIN Partitions=all  BootTime=2026-11-20T12:00:00 Reason=two
lines [root@2026-11-20T12:36:24]
"""


def node(state: str, reason: str = "", name: str = "c1", boot_time: int | None = 100) -> Node:
    return Node(name, state, boot_time=boot_time, reason=reason)


def actions(state: str, each: Node, ticket: str | None = "CHG-7", next_state: str = "resume") -> list[str]:
    """What slurmctld is asked to do with one node, as command lines."""
    steps = plan(state, {each.name: each}, ticket, OURS, next_state)
    return [" ".join(command) for request in steps.requests for _names, command in request.commands()]


def test_nodes_are_read_from_what_scontrol_prints() -> None:
    nodes = parse_nodes(PRINTED)
    assert list(nodes) == ["c1", "c2", "f1", "c3"]
    assert nodes["c1"].state == "DOWN+DRAIN+REBOOT_ISSUED"
    assert nodes["c1"].partitions == ("all", "part")
    assert nodes["c1"].boot_time == parse_moment("2026-11-20 12:36:17")
    assert (nodes["c1"].reason, nodes["c1"].reason_user) == ("fan [left], State=IDLE", "alice")
    assert nodes["c1"].reason_time == "2026-11-20T12:36:24"
    assert nodes["c2"].boot_time is None
    assert nodes["c2"].flags == {"NOT_RESPONDING", "PLANNED"}
    assert nodes["f1"].absent
    assert nodes["c3"].reason == "two\nlines"


@pytest.mark.parametrize(
    ("state", "busy", "drained", "usable"),
    [
        ("IDLE", False, False, True),
        ("MIXED+PLANNED", True, False, True),
        ("ALLOCATED+COMPLETING", True, False, True),
        ("IDLE+COMPLETING+DRAIN", True, True, False),
        ("IDLE+DRAIN", False, True, False),
        ("MIXED+DRAIN", True, True, False),
        ("IDLE+CLOUD+POWERED_DOWN", False, False, True),
        ("idle~", False, False, True),
        ("IDLE+NOT_RESPONDING", False, False, False),
        ("IDLE*", False, False, False),
        ("mixed*+drain", True, True, False),
        ("IDLE+INVALID_REG", False, False, False),
        ("IDLE+REBOOT_REQUESTED", False, False, False),
        ("DOWN", False, False, False),
        ("DOWN+DRAIN+NOT_RESPONDING", False, True, False),
        ("FUTURE", False, False, False),
        ("UNKNOWN", False, False, False),
    ],
)
def test_compound_states_are_understood(state: str, busy: bool, drained: bool, usable: bool) -> None:
    assert (node(state).busy, node(state).drained, node(state).usable) == (busy, drained, usable)


@pytest.mark.parametrize(
    ("state", "reason", "ticket", "ours"),
    [
        ("IDLE+DRAIN", OURS, "CHG-7", True),
        ("DOWN", AFTER_REBOOT, "CHG-7", True),
        ("IDLE+DRAIN", OURS, "CHG-70", False),
        ("IDLE+DRAIN", OURS, None, False),
        ("IDLE+DRAIN", "hpcops: new kernel", None, True),
        ("IDLE+DRAIN", "hpcops: new kernel", "CHG-7", False),
        ("IDLE+DRAIN", "fan", "CHG-7", False),
        # slurmctld keeps a reason after the return to service, and adds what happens later.
        ("IDLE", OURS, "CHG-7", False),
        ("DOWN+NOT_RESPONDING", OURS + " : Not responding", "CHG-7", False),
        ("DOWN", OURS, "CHG-7", False),
        ("IDLE+DRAIN", OURS + " : Kill task failed", "CHG-7", False),
        ("IDLE+DRAIN", OURS + " : Not responding", "CHG-7", True),
        ("DOWN+DRAIN", OURS + " : reboot issued : reboot timed out", "CHG-7", True),
    ],
)
def test_a_drain_belongs_to_the_ticket_in_its_reason(state: str, reason: str, ticket: str | None, ours: bool) -> None:
    assert node(state, reason).belongs_to(ticket) is ours


@pytest.mark.parametrize(
    ("state", "before", "reason", "requests"),
    [
        ("drained", "IDLE", "", [f"update NodeName=c1 State=DRAIN Reason={OURS}"]),
        ("drained", "MIXED", "", [f"update NodeName=c1 State=DRAIN Reason={OURS}"]),
        ("drained", "IDLE+CLOUD+POWERED_DOWN", "", [f"update NodeName=c1 State=DRAIN Reason={OURS}"]),
        ("drained", "DOWN", AFTER_REBOOT, [f"update NodeName=c1 State=DRAIN Reason={OURS}"]),
        ("drained", "IDLE+DRAIN", OURS, []),
        ("drained", "MIXED+DRAIN", "fan", []),
        ("drained", "DOWN", "disk", []),
        ("drained", "DOWN+NOT_RESPONDING", "Not responding", []),
        ("undrained", "IDLE", "", []),
        ("undrained", "MIXED+DRAIN", OURS, [f"update NodeName=c1 State=UNDRAIN {RETURNED}"]),
        ("undrained", "DOWN+DRAIN", OURS, ["update NodeName=c1 State=UNDRAIN"]),
        ("undrained", "DOWN", OURS, []),
        ("undrained", "IDLE+DRAIN", "fan", []),
        ("undrained", "IDLE+DRAIN", "hpcops[CHG-8]: firmware", []),
        ("resumed", "DOWN", AFTER_REBOOT, [f"update NodeName=c1 State=RESUME {RETURNED}"]),
        ("resumed", "DOWN+DRAIN", OURS, [f"update NodeName=c1 State=RESUME {RETURNED}"]),
        ("resumed", "IDLE+DRAIN", OURS, [f"update NodeName=c1 State=RESUME {RETURNED}"]),
        ("resumed", "IDLE", OURS, []),
        ("resumed", "IDLE+DRAIN", "Low RealMemory", []),
        ("resumed", "DOWN+NOT_RESPONDING", "Not responding", []),
        ("rebooted", "MIXED", "", [f"reboot ASAP NextState=RESUME Reason={OURS} c1"]),
        ("rebooted", "IDLE+DRAIN", OURS, ["reboot NextState=RESUME c1"]),
        ("rebooted", "IDLE+DRAIN", "fan", ["reboot c1"]),
        ("rebooted", "DOWN", "disk", []),
        ("rebooted", "DOWN+DRAIN", "disk", ["reboot c1"]),
        ("rebooted", "IDLE+DRAIN+REBOOT_REQUESTED", OURS, []),
        ("rebooted", "IDLE+CLOUD+POWERED_DOWN", "", []),
        ("rebooted", "FUTURE", "", []),
    ],
)
def test_slurmctld_is_asked_for_what_is_missing_and_nobody_elses_drain_is_touched(
    state: str, before: str, reason: str, requests: list[str]
) -> None:
    assert actions(state, node(before, reason)) == requests


def test_a_reboot_without_next_state_leaves_it_to_slurm() -> None:
    assert actions("rebooted", node("IDLE+DRAIN", OURS), next_state="none") == ["reboot c1"]
    assert actions("rebooted", node("IDLE"), next_state="none") == [f"reboot ASAP Reason={OURS} c1"]


@pytest.mark.parametrize(
    ("state", "before", "reason", "left_alone", "awaited"),
    [
        ("drained", "IDLE+DRAIN", "fan", True, True),
        ("drained", "IDLE+DRAIN", OURS, False, True),
        ("drained", "DOWN", "disk", True, True),
        ("undrained", "IDLE+DRAIN", "fan", True, False),
        ("undrained", "DOWN+DRAIN", OURS, False, False),
        ("undrained", "DOWN", "disk", False, False),
        ("undrained", "IDLE", "", False, True),
        ("resumed", "DOWN", "Not responding", True, False),
        ("resumed", "DOWN", AFTER_REBOOT, False, True),
        ("resumed", "FUTURE", "", True, False),
        ("resumed", "IDLE", "", False, True),
        ("rebooted", "IDLE+DRAIN", "fan", False, True),
        ("rebooted", "IDLE+REBOOT_ISSUED", "", False, True),
        ("rebooted", "IDLE+POWERED_DOWN", "", True, False),
    ],
)
def test_nodes_that_are_not_touched_are_told_and_not_waited_for(
    state: str, before: str, reason: str, left_alone: bool, awaited: bool
) -> None:
    steps = plan(state, {"c1": node(before, reason)}, "CHG-7", OURS)
    assert (steps.left_alone == ["c1"], steps.awaited == ["c1"]) == (left_alone, awaited)


@pytest.mark.parametrize(
    ("now", "boot_time", "next_state", "foreign", "there"),
    [
        ("IDLE", 1000, "resume", False, True),
        ("IDLE", 999, "resume", False, False),
        ("IDLE", None, "resume", False, False),
        ("IDLE+NOT_RESPONDING", 1000, "resume", False, False),
        ("DOWN+REBOOT_ISSUED", 1000, "down", False, False),
        ("IDLE+DRAIN", 1000, "resume", False, False),
        ("IDLE+DRAIN", 1000, "resume", True, True),
        ("IDLE+DRAIN", 1000, "none", False, True),
        ("DOWN", 1000, "down", False, True),
        ("IDLE", 1000, "down", False, False),
    ],
)
def test_a_node_is_rebooted_when_it_has_registered_since_and_is_in_its_next_state(
    now: str, boot_time: int | None, next_state: str, foreign: bool, there: bool
) -> None:
    assert arrived("rebooted", node(now, boot_time=boot_time), 1000, next_state, leave_drained=foreign) is there


def test_remarks_of_slurmctld_are_not_part_of_a_reason() -> None:
    assert node("IDLE+DRAIN", "fan : reboot issued").own_reason == "fan"
    assert node("IDLE+DRAIN", f"{OURS} : reboot issued : reboot complete").own_reason == OURS
    assert node("IDLE+DRAIN", "rebooted twice").own_reason == "rebooted twice"


@pytest.mark.parametrize(
    ("state", "before", "reason", "after"),
    [
        ("drained", "MIXED", "", "MIXED+DRAIN"),
        ("undrained", "DOWN+DRAIN+NOT_RESPONDING", OURS, "DOWN+NOT_RESPONDING"),
        ("resumed", "DOWN", OURS, "IDLE"),
        ("rebooted", "MIXED", "", "IDLE, rebooted"),
        ("rebooted", "IDLE+DRAIN", "fan", "IDLE+DRAIN, rebooted"),
    ],
)
def test_a_dry_run_tells_the_state_to_come(state: str, before: str, reason: str, after: str) -> None:
    assert expected(state, node(before, reason), "CHG-7", "resume") == after


def test_selection_expands_host_lists_even_when_ansible_has_cut_them() -> None:
    known = {name: node("IDLE", name=name) for name in ("c1", "c2", "c3")}
    assert list(select(["c[1", "3]", "c2", "c1"], known)) == ["c1", "c3", "c2"]


@pytest.mark.parametrize(("wanted", "problem"), [(["c[8-9]", "c1"], "c8, c9"), ([], "empty"), (["c[1"], "no partner")])
def test_a_selection_that_is_wrong_is_refused(wanted: list[str], problem: str) -> None:
    with pytest.raises(Exception, match=problem):
        select(wanted, {"c1": node("IDLE")})


def test_ten_thousand_names_are_cut_into_arguments_that_linux_takes() -> None:
    names = tuple(f"verylongprefix{number:05}" for number in range(10_000))
    commands = list(Request(names, ("update",), ("State=UNDRAIN",), prefix="NodeName=").commands())
    assert sum(len(chunk) for chunk, _command in commands) == 10_000
    assert len(commands) == 2
    assert all(len(argument) < 128 * 1024 for _chunk, command in commands for argument in command)


def test_chunks_keep_every_name_in_order() -> None:
    assert list(chunks(["a", "bb", "ccc", "d"], limit=5)) == [["a", "bb"], ["ccc"], ["d"]]


def test_jobs_that_hold_nodes_are_read() -> None:
    jobs = parse_jobs("3_[1-2]|root|PENDING|\n7|alice|RUNNING|c[1-2],g1\n8_1|bob|COMPLETING|c3\n")
    assert [(job.id, job.user, job.nodes) for job in jobs] == [
        ("7", "alice", ("c1", "c2", "g1")),
        ("8_1", "bob", ("c3",)),
    ]
    assert [str(job) for job in jobs_on(jobs, ["c2"])] == ["job 7 of alice on c2 (running)"]


@pytest.mark.parametrize("ticket", ["a]b", "a b", "", "-x"])
def test_a_ticket_that_would_break_the_reason_is_refused(ticket: str) -> None:
    with pytest.raises(SlurmNodeError, match="ticket"):
        stored_reason("why", ticket)


def test_a_reason_cannot_look_like_a_remark_of_slurmctld() -> None:
    assert stored_reason("fan : low", "CHG-7") == "hpcops[CHG-7]: fan: low"


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines"])
def test_a_reason_is_one_line(reason: str) -> None:
    with pytest.raises(SlurmNodeError, match="reason"):
        stored_reason(reason, None)


@pytest.mark.parametrize("text", ["2026-11-20T12:00:00Z", "2026-11-20 12:00", "2026-11-20T12:00:00"])
def test_moments_are_in_utc(text: str) -> None:
    assert parse_moment(text) == 1795176000


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "12:00", "2026-11-20T12:00:00+01:00"])
def test_a_text_that_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(SlurmNodeError, match="is no time"):
        parse_moment(text)
