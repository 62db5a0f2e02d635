# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of variables and groups in the inventory that look like this collection's and mean nothing to it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: unknown_names
author: hpcops.cluster contributors (@hpcops)
version_added: 0.1.0
short_description: Variables and groups of the inventory that are misspelled
description:
  - Reads the names of the variables of all hosts and groups, of C(group_vars), C(host_vars) and C(--extra-vars). Returns each that begins
    with a role's name and is none of its options, with the place that sets it and the nearest option.
  - Returns each group whose name is one letter away from a group that the playbooks read and that no host is in.
  - The playbooks reject an inventory for which it returns something. Ansible itself ignores such names.
  - C(hpcops_site_names), a list in the inventory, has patterns of the shell for names that are the site's own, such as V(slurm_site_*).
options: {}
"""

EXAMPLES = r"""
- name: Name what is misspelled
  ansible.builtin.debug:
    msg: "{{ query('hpcops.cluster.unknown_names') }}"
"""

RETURN = r"""
_raw:
  description: What nothing reads.
  type: list
  elements: str
  sample: ["slurmctld_partitons in group all (did you mean slurmctld_partitions?)"]
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.plugins.lookup import LookupBase
from ansible.vars.plugins import get_vars_from_inventory_sources, get_vars_from_path

from ansible_collections.hpcops.cluster.plugins.plugin_utils._known_names import (
    named_once,
    unknown_groups,
    unknown_variables,
)

_ROLES = Path(__file__).resolve().parents[2] / "roles"


class LookupModule(LookupBase):
    """The lookup."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """Return the names."""
        self.set_options(var_options=variables, direct=kwargs)
        hostvars = (variables or {})["hostvars"]
        inventory, manager = hostvars._inventory, hostvars._variable_manager
        hosts = {name: len(group.get_hosts()) for name, group in inventory.groups.items()}
        places = list(self._places(inventory, manager, (variables or {}).get("playbook_dir")))
        allowed = [str(pattern) for _place, found in places for pattern in found.get("hpcops_site_names") or ()]
        return [*unknown_groups(hosts), *unknown_variables(named_once(places), role_options(), allowed)]

    def _places(
        self, inventory: Any, manager: Any, playbook_dir: str | None
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Where variables are set, and which."""
        yield "--extra-vars", manager.extra_vars
        sources = [str(source) for source in inventory._sources]
        folders = [Path(source) if Path(source).is_dir() else Path(source).parent for source in sources]
        for group in inventory.groups.values():
            yield f"group {group.name}", group.get_vars()
            yield f"group {group.name}", self._files(sources, playbook_dir, group)
        with_files = {path.stem for folder in folders for path in folder.glob("host_vars/*")}
        with_files |= {path.name for folder in folders for path in folder.glob("host_vars/*")}
        for name, host in inventory.hosts.items():
            yield f"host {name}", host.vars
            if name in with_files:
                yield f"host {name}", self._files(sources, playbook_dir, host)

    def _files(self, sources: list[str], playbook_dir: str | None, entity: Any) -> dict[str, Any]:
        found = {**get_vars_from_inventory_sources(self._loader, sources, [entity], "all")}
        if playbook_dir:
            found.update(get_vars_from_path(self._loader, playbook_dir, [entity], "all"))
        return found


def role_options() -> dict[str, set[str]]:
    """Options of each role, of all of its entry points."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = {}
    for path in sorted(_ROLES.glob("*/meta/argument_specs.yml")):
        specs = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)["argument_specs"]  # a safe one
        found[path.parent.parent.name] = {name for spec in specs.values() for name in spec.get("options") or {}}
    return found
