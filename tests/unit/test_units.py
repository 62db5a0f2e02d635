# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each systemd unit that the collection writes or runs is confined, and docs/units.md shows how far.

The units are rendered from the roles' defaults and judged by `systemd-analyze security`. After an intended change:
UNITS_UPDATE=1 pytest tests/unit/test_units.py, and read the difference of docs/units.md.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.hpcops.cluster.plugins.filter.unit_sandbox import STRICTEST

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "units.md"
LIMIT = 5.0
# Why a unit may be above the limit.
REASONS = {
    "slurmd": "It starts users' jobs, which inherit a sandbox: they would lose devices, set-user-ID programs and namespaces."
}
# What the distributions' units say beside the collection's drop-ins.
PACKAGED = {
    "mariadb": "User=mysql",
    "munge": "User=munge",
    "nginx": "",
    "sackd": "User=slurm",
    "slurmctld": "",
    "slurmd": "",
    "slurmdbd": "",
    "slurmrestd": "",
}
SITE: dict[str, Any] = {
    "ansible_managed": "Ansible managed",
    "ansible_check_mode": False,
    "ansible_facts": {
        "architecture": "x86_64",
        "hostname": "h1",
        "os_family": "Debian",
        "distribution": "Debian",
        "distribution_release": "trixie",
        "distribution_major_version": "13",
        "pkg_mgr": "apt",
        "python": {"version": {"major": 3, "minor": 13}},
    },
    "inventory_hostname": "h1",
    "inventory_hostname_short": "h1",
    "inventory_dir": "/inventory",
    "playbook_dir": "/playbooks",
    "groups": {"all": ["h1"]},
    "hostvars": {"h1": {}},
    "slurm_cluster_name": "alpha",
    "slurm_controllers": ["h1"],
    "os_base_backup_job": "state",
    "__slurmrestd_plugins": ["openapi/slurmctld"],
}


def variables() -> dict[str, Any]:
    """Return the defaults and variables of all roles."""
    loader = DataLoader()
    merged: dict[str, Any] = {}
    for kind in ("defaults", "vars"):  # the order of their precedence
        for path in sorted((ROOT / "roles").glob(f"*/{kind}/**/*.yml")):
            merged |= loader.load_from_file(str(path), trusted_as_template=True) or {}
    return merged | SITE


VARIABLES = variables()


def render(role: Path, text: str, **extra: Any) -> str:
    """Render a text that a role trusts."""
    loader = DataLoader()
    loader.set_basedir(str(role / "templates"))
    known = VARIABLES | {"role_path": str(role), "ansible_search_path": [str(role)]} | extra
    return str(Templar(loader=loader, variables=known).template(trust_as_template(text)))


def exporters() -> dict[str, dict[str, Any]]:
    """Return what each role hands to the entry point "exporter", by the unit's name."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((ROOT / "roles").glob("*/tasks/*.yml")):
        for task in DataLoader().load_from_file(str(path), trusted_as_template=True) or []:
            if (task.get("ansible.builtin.include_role") or {}).get("tasks_from") == "exporter":
                found[render(path.parents[1], task["vars"]["os_base_exporter_name"])] = task["vars"]
    return found


def rendered() -> dict[str, str]:
    """Return the text of each unit by its name."""
    texts: dict[str, str] = {}
    for template in sorted((ROOT / "roles").glob("*/templates/*.service.j2")):
        role, name, text = template.parents[1], template.name.removesuffix(".service.j2"), template.read_text()
        if name == "exporter":
            texts |= {unit: render(role, text, **given) for unit, given in exporters().items()}
        else:
            texts[name] = render(role, text)
    return texts


UNITS = rendered()


def exposure_of(name: str, folder: Path) -> float:
    """Return what systemd-analyze says of a unit: 0 is confined, 10 is not."""
    unit = folder / f"{name}.service"
    if name in PACKAGED:
        unit.write_text(f"[Service]\nExecStart=/bin/true\n{PACKAGED[name]}\n")
        (folder / f"{name}.service.d").mkdir()
        (folder / f"{name}.service.d" / "hpcops.conf").write_text(UNITS[name])
    else:
        unit.write_text(UNITS[name])
    ran = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )
    assert not re.search("Unknown|Failed to parse|ignoring", ran.stderr.replace("Unknown section 'X-", "")), ran.stderr
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", ran.stdout)
    assert found, ran.stderr
    return float(found[1])


def loosened(text: str) -> list[str]:
    """Return the settings of the sandbox that differ from the strictest ones."""
    section = text.partition("[Service]")[2].partition("\n[")[0]
    values = dict(line.split("=", 1) for line in section.splitlines() if re.match(r"\w+=", line))
    return [name for name, value in STRICTEST.items() if values.get(name) != value]


@pytest.mark.parametrize("name", UNITS)
def test_unit_is_confined_or_its_reason_is_given(name: str, tmp_path: Path) -> None:
    exposure = exposure_of(name, tmp_path)
    assert (exposure > LIMIT) == (name in REASONS), f"{name}.service has an exposure of {exposure}"


def test_documented_table_is_what_the_units_have(tmp_path: Path) -> None:
    rows = ["| unit | exposure | differs from the strictest sandbox in |", "|---|---|---|"]
    for name, text in sorted(UNITS.items()):
        (tmp_path / name).mkdir()
        differs = REASONS.get(name) or ", ".join(f"`{setting}`" for setting in loosened(text)) or "nothing"
        rows.append(f"| `{name}` | {exposure_of(name, tmp_path / name)} | {differs} |")
    table = "\n".join(rows) + "\n"
    page = PAGE.read_text()
    before, _, rest = page.partition("<!-- table of tests/unit/test_units.py -->\n")
    after = rest.partition("<!-- end of the table -->\n")[2]
    wanted = f"{before}<!-- table of tests/unit/test_units.py -->\n{table}<!-- end of the table -->\n{after}"
    if os.environ.get("UNITS_UPDATE"):
        PAGE.write_text(wanted)
        page = wanted
    assert page == wanted


@pytest.mark.parametrize("name", PACKAGED)
def test_drop_in_of_a_packaged_unit_is_written_by_a_role(name: str) -> None:
    tasks = "\n".join(path.read_text() for path in (ROOT / "roles").glob("*/tasks/*.yml"))
    assert f"/etc/systemd/system/{name}.service.d/hpcops.conf" in tasks
