"""Programs of Slurm that tell what a file holds, and note what they were told; for the program as a process."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Iterable
from pathlib import Path

# As scontrol 24.11 shows a node of a cloud, on one line.
LINE = (
    "NodeName={name} CoresPerSocket=8  CPUAlloc=0 CPUEfctv=16 CPUTot=16 CPULoad=0.00 AvailableFeatures=cloud,c7i "
    "ActiveFeatures=cloud,c7i Gres=(null) NodeAddr={name} NodeHostName={name} Version=24.11.5 RealMemory=31000 AllocMem=0 "
    "FreeMem=N/A Sockets=1 Boards=1 State={state} ThreadsPerCore=2 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A "
    "Partitions=cloud  BootTime=None SlurmdStartTime=None LastBusyTime=2026-11-20T12:00:00 ResumeAfterTime=None "
    "CfgTRES=cpu=16,mem=31000M,billing=16 AllocTRES= CurrentWatts=0 AveWatts=0"
)


class Programs:
    """scontrol and squeue in a folder, for the setting path of the configuration."""

    def __init__(self, folder: Path, nodes: Iterable[str] = (), state: str = "IDLE+CLOUD+POWERED_DOWN") -> None:
        folder.mkdir(exist_ok=True)
        self.path = f"{folder}:/usr/bin:/bin"
        self.nodes, self.jobs, self.log = folder / "nodes", folder / "jobs", folder / "log"
        self.broken = folder / "broken"
        self.tell(LINE.format(name=name, state=state) for name in nodes)
        self.jobs.touch()
        host = socket.gethostname().partition(".")[0]
        self._program(folder / "squeue", f"cat {shlex.quote(str(self.jobs))}")
        self._program(
            folder / "scontrol",
            f"""if [ -e {shlex.quote(str(self.broken))} ]; then
    echo 'Unable to contact slurm controller (connect failure)' >&2
    exit 1
fi
case "$*" in
ping) echo "Slurmctld(primary) at {host} is UP" ;;
*"show nodes"*) cat {shlex.quote(str(self.nodes))} ;;
*) printf '%s\\n' "$*" >> {shlex.quote(str(self.log))} ;;
esac""",
        )

    @staticmethod
    def _program(path: Path, text: str) -> None:
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o755)

    def tell(self, lines: Iterable[str]) -> None:
        """Nodes that scontrol shows from now on."""
        self.nodes.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def told(self) -> list[str]:
        """What scontrol was told."""
        return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
