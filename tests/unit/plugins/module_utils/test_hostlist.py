# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host lists: the table of what is what, and the properties that hold for all names."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hpcops.cluster.plugins.module_utils import _hostlist
from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HostlistError, HpcopsError
from ansible_collections.hpcops.cluster.plugins.module_utils._hostlist import expand, fold, fold_ordered

# Names as they are and as they should not be: padded and not, of several numbers, of numbers only, with a suffix.
NAMES = st.from_regex(r"[a-c]{0,2}([0-2]{0,4}|[0-9]{17,18})(-?[a-b]?[0-3]{0,3})(-ib|\.x)?", fullmatch=True).filter(
    lambda name: name and name[0] != "-" and not re.search(r"[0-9]{20}$", name)
)


@pytest.mark.parametrize(
    ("names", "hostlist"),
    [
        ([], ""),
        (["c1"], "c1"),
        (["c2", "c1", "c1"], "c[1-2]"),
        (["c1", "c2", "gpu7"], "c[1-2],gpu7"),
        (["c1", "c3", "c2", "c5"], "c[1-3,5]"),
        (["c9", "c10", "c11"], "c[9-11]"),
        (["c08", "c09", "c10"], "c[08-10]"),
        (["c1", "c01", "c10"], "c[1,01,10]"),
        (["c1-ib", "c2-ib"], "c1-ib,c2-ib"),
        (["rack1n1", "rack1n2", "rack2n1"], "rack1n[1-2],rack2n1"),
        (["10.0.0.9", "10.0.0.10"], "10.0.0.[9-10]"),
        (["1", "2"], "[1-2]"),
        (["c", "c1", "c2"], "c,c[1-2]"),
        (["login@a", "x&y", "!z", "c1/2"], "!z,c1/2,login@a,x&y"),
        (["c[1-3]", "c4", "d1,d2"], "c[1-4],d[1-2]"),
        (["c0000000000000000001", "c0000000000000000002"], "c0[000000000000000001-000000000000000002]"),
    ],
)
def test_names_fold_into_what_slurm_reads(names: list[str], hostlist: str) -> None:
    assert fold(names) == hostlist


@pytest.mark.parametrize(
    ("hostlist", "names"),
    [
        ("", []),
        ("c1", ["c1"]),
        ("c[1-2]", ["c1", "c2"]),
        ("c2,c1,c1", ["c2", "c1", "c1"]),
        ("c[3,1-2]", ["c3", "c1", "c2"]),
        ("c[01-03], d", ["c01", "c02", "c03", "d"]),
        ("c[8-010]", ["c8", "c9", "c10"]),
        ("c[098-101]", ["c098", "c099", "c100", "c101"]),
        ("rack[0-1]n[1-2]", ["rack0n1", "rack0n2", "rack1n1", "rack1n2"]),
        ("a[1-2][3-4]", ["a13", "a14", "a23", "a24"]),
        ("login@a,x&y", ["login@a", "x&y"]),
    ],
)
def test_host_lists_expand_in_the_order_they_are_written(hostlist: str, names: list[str]) -> None:
    assert expand(hostlist) == names


@pytest.mark.parametrize(
    ("hostlist", "message"),
    [
        ("c[1-2", "bracket has no partner"),
        ("c1-2]", "bracket has no partner"),
        ("c[[1]]", "bracket has no partner"),
        ("c]1[", "bracket has no partner"),
        ("c[1-2]-ib", "goes on after its last bracket"),
        ("c[]", "'' is no number"),
        ("c[a-b]", "'a-b' is no number"),
        ("c[1-5/2]", "'1-5/2' is no number"),
        ("c[-1]", "'-1' is no number"),
        ("c[3-1]", "must rise"),
        ("c[1-99999]", "must rise, and by less than 65536"),
        ("c1,,c2", "a host name is empty"),
        ("c1,", "a host name is empty"),
        ("c 1", "it has ' '"),
        ('c"1', "it has '\"'"),
        ("a=b", "it has '='"),
        ("c1#", "it has '#'"),
        ("c1,-x", "it begins with '-'"),
        ("c20000000000000000000", "ends in a number that Slurm cannot hold"),
    ],
)
def test_what_is_no_host_list_is_refused_with_the_reason(hostlist: str, message: str) -> None:
    with pytest.raises(HostlistError, match="host") as error:
        expand(hostlist)
    assert message in str(error.value)


def test_a_missing_clustershell_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hostlist, "RangeSet", None)
    with pytest.raises(HpcopsError, match="pip install ClusterShell"):
        fold(["c1", "c2"])


@given(st.lists(NAMES, max_size=30))
def test_a_folded_list_expands_to_the_same_names(names: list[str]) -> None:
    expanded = expand(fold(names))
    assert sorted(expanded) == sorted(set(names))


@given(st.lists(NAMES, max_size=30))
def test_folding_again_changes_nothing(names: list[str]) -> None:
    once = fold(names)
    assert fold(expand(once)) == fold([once] if once else []) == once


@given(st.lists(NAMES, max_size=30).flatmap(lambda names: st.tuples(st.just(names), st.permutations(names))))
def test_the_order_of_the_names_does_not_matter(orders: tuple[list[str], list[str]]) -> None:
    assert fold(orders[0]) == fold(orders[1])


@given(st.lists(NAMES, max_size=30))
def test_an_ordered_fold_keeps_each_name_in_its_place(names: list[str]) -> None:
    assert expand(fold_ordered(names)) == names


@given(st.lists(NAMES, max_size=30))
def test_brackets_stand_only_at_the_end_of_a_name(names: list[str]) -> None:
    folded = fold(names)
    assert all(rest == "" or rest.startswith(",") for rest in folded.split("]")[1:])


@pytest.mark.skipif(shutil.which("scontrol") is None, reason="needs Slurm's own scontrol")
@given(st.lists(NAMES, min_size=1, max_size=60))
def test_scontrol_reads_a_folded_list_as_we_do(names: list[str]) -> None:
    for folded in (fold(names), fold_ordered(names)):
        printed = subprocess.run(["scontrol", "show", "hostnames", folded], check=True, capture_output=True, text=True)
        assert printed.stdout.split() == expand(folded)
