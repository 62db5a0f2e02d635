# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of a trial boot: the candidate's, without what reaches beyond the trial."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_conf import render
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_files import read
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_trial import ADDRESS, trial_text


def trial(text: str, **more: str) -> str:
    return trial_text({"slurm.conf": text, **more})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ClusterName=demo # mine\n\n", "ClusterName=demo\n"),
        ("SlurmctldHost=a\nSLURMCTLDHOST=b\nSlurmctldAddr=vip\nBackupController=c", ""),
        ("StateSaveLocation=/x\nSlurmctldPidFile=/y\nSlurmctldLogFile=/z\nSlurmSchedLogFile=/s", ""),
        ("AccountingStorageType=accounting_storage/slurmdbd\naccountingstorageHost=db\nJobCompType=jobcomp/x", ""),
        ("JobCompPass=secret", ""),
        (
            "ResumeProgram=/site/resume\nSuspendProgram=/s\nResumeFailProgram=/f\nSuspendTime=60",
            "ResumeProgram=/bin/true\nSuspendProgram=/bin/true\nResumeFailProgram=/bin/true\nSuspendTime=60\n",
        ),
        ("PowerAction=on Program=/site/on", "PowerAction=on Program=/bin/true\n"),
        ("NodeName=c[1-2] NodeAddr=a[1-2] BcastAddr=b CPUs=2", f"NodeName=c[1-2] CPUs=2 NodeAddr={ADDRESS}\n"),
        ("NodeName=DEFAULT CPUs=2", "NodeName=DEFAULT CPUs=2\n"),
        ("PartitionName=p Nodes=c1 QOS=part AllowQos=a", "PartitionName=p Nodes=c1 AllowQos=a\n"),
        (r'MailDomain="a b\#\\"', 'MailDomain="a b\\#\\\\"\n'),
        ('PartitionName=p Nodes=""', 'PartitionName=p Nodes=""\n'),
        ("KillWait=1 \\\n# and\n", "KillWait=1\n"),
    ],
)
def test_what_reaches_beyond_the_trial_is_left_out(text: str, expected: str) -> None:
    assert trial(text) == expected


def test_included_files_of_the_set_are_in_the_text() -> None:
    assert trial("Include a.conf\nKillWait=1", **{"a.conf": "NodeName=c1\n"}) == (
        f"NodeName=c1 NodeAddr={ADDRESS}\nKillWait=1\n"
    )


def test_there_is_no_trial_with_a_file_that_is_not_known() -> None:
    assert trial("ClusterName=demo\nInclude /site/b.conf\n") == ""


values = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters='"'), min_size=1)


@given(st.dictionaries(st.sampled_from(["MailProg", "SchedulerParameters", "ClusterName"]), values), values)
def test_everything_else_is_read_as_in_the_candidate(params: dict[str, Any], reason: str) -> None:
    lines = [{"NodeName": "c1", "Reason": reason}, {"PartitionName": "p", "Nodes": "ALL"}]
    candidate = render(params, release="24.11", lines=lines)
    before, after = read({"slurm.conf": candidate}), read({"slurm.conf": trial(candidate)})
    assert after.parameters == before.parameters
    assert after.partitions == before.partitions
    assert after.nodes == {"c1": {**before.nodes["c1"], "nodeaddr": ADDRESS}}
