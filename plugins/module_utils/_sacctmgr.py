# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""slurmdbd, as sacctmgr shows and changes what it keeps; and the jobs of its clusters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import AccountingError
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_accounts import SHOW
from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_accounts_plan import (
    SACCT_FORMAT,
    SQUEUE_FORMAT,
    Job,
    parse_jobs,
)

Run = Callable[[Sequence[str]], "tuple[int, str, str]"]  # AnsibleModule.run_command
_SHOWN_CHARACTERS = 300


class Sacctmgr:
    """Asks slurmdbd, and tells it what to change."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def shown(self) -> dict[str, str]:
        """What each command of SHOW prints."""
        return {
            kind: self._output(["sacctmgr", "--parsable2", "--noheader", "show", *arguments])
            for kind, arguments in SHOW.items()
        }

    def jobs(self, cluster: str) -> list[Job]:
        """The jobs that have not ended. What slurmctld says is newer, and has jobs that are held; slurmdbd knows the others."""
        which = ["--noheader", f"--clusters={cluster}"]
        try:
            text = self._output(["squeue", "--all", *which, f"--format={SQUEUE_FORMAT}"])
        except AccountingError:  # the cluster's controllers are down, or not to be reached from here
            states = "--state=RUNNING,PENDING,SUSPENDED"
            whose = ["--allusers", "--allocations", "--parsable2"]
            text = self._output(["sacct", *whose, *which, states, f"--format={SACCT_FORMAT}"])
        return parse_jobs(cluster, text)

    def change(self, arguments: Sequence[str]) -> None:
        self._output(["sacctmgr", "--immediate", "--quiet", *arguments])

    def _output(self, command: Sequence[str]) -> str:
        code, out, err = self._run(command)
        if code != 0:
            words = "; ".join(line.strip() for line in f"{err}\n{out}".splitlines() if line.strip())
            raise AccountingError(f"{shortened(command)}: {words or f'exit status {code}'}")
        return out


def shortened(command: Sequence[str]) -> str:
    """A command for people; lists of names may be long."""
    text = " ".join(command)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
