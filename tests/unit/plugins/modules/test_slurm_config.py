# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs are in the way of a change although the present files cannot be read; the scenario "change" has the rest of the module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.hpcops.cluster.plugins.action.slurm_config import for_module
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_plan import make_plan
from ansible_collections.hpcops.cluster.plugins.modules.slurm_config import Change

NEW = {"slurm.conf": "ClusterName=x\nNodeName=c1 CPUs=2\n"}


class Failed(Exception):  # noqa: N818
    """The module has failed."""


class Module:
    """Knows its parameters, and answers each command with a text or fails."""

    def __init__(self, directory: Path, present: str, squeue: tuple[int, str, str]) -> None:
        (directory / "slurm.conf").write_text(present)
        plan = for_module(make_plan({"slurm.conf": present}, NEW, "24.11"), {"slurm.conf": present}, NEW)
        self.params = {"files": NEW, "absent": [], "directory": str(directory), "plan": plan, "force": False}
        self.params.update(service="slurmctld.service", probe=["true"], timeout=1)
        self.squeue = squeue

    def run_command(self, _command: list[str], **_more: Any) -> tuple[int, str, str]:
        return self.squeue

    def fail_json(self, msg: str, **_more: Any) -> None:
        raise Failed(msg)


@pytest.mark.parametrize("present", ["NodeName=c[1 CPUs=2\n", "no pairs\n"])
@pytest.mark.parametrize(
    ("squeue", "says"),
    [
        ((0, "7|ann|RUNNING|p|c1\n", ""), "Jobs would not survive this change, and nothing was replaced.*job 7"),
        ((1, "", "no answer"), "slurmctld cannot be asked .*no answer.* Nothing was replaced"),
    ],
)
def test_jobs_stop_a_change_of_files_that_cannot_be_read(
    tmp_path: Path, present: str, squeue: tuple[int, str, str], says: str
) -> None:
    module: Any = Module(tmp_path, present, squeue)
    with pytest.raises(Failed, match=rf"(?s)^The present files cannot be read \(slurm\.conf: line 1.*{says}"):
        Change(module).check_jobs()


def test_files_that_cannot_be_read_are_replaced_where_no_job_runs(tmp_path: Path) -> None:
    module: Any = Module(tmp_path, "no pairs\n", (0, "", ""))
    Change(module).check_jobs()
