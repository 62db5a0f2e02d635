# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare plugins/module_utils/slurm_parameters.json with the parsers' tables in Slurm's sources.

usage: tests/tools/slurm_parameters.py CLONE

CLONE is a clone of https://github.com/SchedMD/slurm with the branches slurm-22.05 and so on. Each difference is printed, and makes the
exit status 1. Sources that a release does not have are passed over, since files move between releases.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TABLES = ROOT / "plugins/module_utils/slurm_parameters.json"
MAIN = "main"
# For each file the sources of its parsers, and the kind of line that each of their arrays describes.
SOURCES: Mapping[str, tuple[tuple[str, Mapping[str, str]], ...]] = {
    "slurm.conf": (
        (
            "src/common/read_config.c",
            {
                "slurm_conf_options": MAIN,
                "_downnodes_options": "DownNodes",
                "_frontend_options": "FrontendName",
                "_nodename_options": "NodeName",
                "_nodeset_options": "NodeSet",
                "_partition_options": "PartitionName",
                "_power_action_options": "PowerAction",
            },
        ),
    ),
    "slurmdbd.conf": (("src/slurmdbd/read_config.c", {"options": MAIN}),),
    "cgroup.conf": (
        ("src/common/cgroup.c", {"options": MAIN}),
        ("src/interfaces/cgroup.c", {"options": MAIN}),
    ),
    # All of its lines have one table.
    "gres.conf": (
        ("src/common/gres.c", {"_gres_options": MAIN, "_gres_conf_options": MAIN}),
        ("src/interfaces/gres.c", {"_gres_options": MAIN, "_gres_conf_options": MAIN}),
    ),
    "topology.conf": (
        *(
            (f"src/plugins/topology/tree/{name}.c", {"switch_options": MAIN, "_switch_options": "SwitchName"})
            for name in ("topology_tree", "switch_record")
        ),
        *(
            (f"src/plugins/topology/block/{name}.c", {"block_options": MAIN, "_block_options": "BlockName"})
            for name in ("topology_block", "block_record")
        ),
        ("src/plugins/topology/ring/ring_record.c", {"ring_options": MAIN, "_ring_options": "RingName"}),
    ),
}
_ARRAY = re.compile(r"s_p_options_t (\w+)\[\] = \{(.*?)\{\s*NULL\s*\}", re.DOTALL)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_ENTRY = re.compile(r'\{\s*"(\w+)"\s*,\s*S_P_(\w+)\s*(,\s*_defunct_option)?')

Table = dict[str, dict[str, Any]]


def arrays(source: str) -> Iterator[tuple[str, Table]]:
    """Yield the name and the parameters of each array of options."""
    for name, body in _ARRAY.findall(_COMMENT.sub("", source)):
        yield (
            name,
            {
                parameter: {"type": kind.lower(), **({"defunct": True} if defunct else {})}
                for parameter, kind, defunct in _ENTRY.findall(body)
            },
        )


def parsed(sources: Mapping[str, str], file: str) -> dict[str, Table]:
    """Return what the sources, given by their paths, parse in a file: a table for each kind of line."""
    found: dict[str, Table] = {}
    for path, kinds in SOURCES[file]:
        for name, table in arrays(sources.get(path, "")):
            if name in kinds:
                # An array that comes first describes the lines, the next one what opens them.
                found[kinds[name]] = {**table, **found.get(kinds[name], {})}
    if file == "topology.conf":  # what opens a line of it is noted as the line's kind only
        found[MAIN] = {name: entry for name, entry in found.get(MAIN, {}).items() if entry["type"] != "array"}
    return found


def differences(known: Mapping[str, Table], found: Mapping[str, Table]) -> Iterator[str]:
    """Yield what two sets of tables do not have in common."""
    for kind in sorted({*known, *found}):
        one, other = known.get(kind, {}), found.get(kind, {})
        for name in sorted({*one, *other}):
            if one.get(name) != other.get(name):
                yield f"{kind}: {name}: {one.get(name)} in the table, {other.get(name)} in the sources"


def source(clone: Path, release: str, path: str) -> str:
    """Return a file of a release, or an empty text where the release has none of this name."""
    done = subprocess.run(
        ["git", "-C", str(clone), "show", f"slurm-{release}:{path}"], capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clone", type=Path, metavar="CLONE")
    clone = parser.parse_args().clone
    status = 0
    for file, releases in json.loads(TABLES.read_text(encoding="utf-8"))["files"].items():
        for release, known in releases.items():
            found = parsed({path: source(clone, release, path) for path, _kinds in SOURCES[file]}, file)
            if not any(found.values()):
                sys.exit(f"slurm_parameters: {clone}: the branch slurm-{release} has no parser of {file}")
            for difference in differences(known, found):
                print(f"{file} {release}: {difference}")
                status = 1
    sys.exit(status)


if __name__ == "__main__":
    main()
