# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of hosts are read once without templating, and again only where a value may be a template."""

from __future__ import annotations

from collections import UserDict
from typing import Any

import pytest
from ansible.errors import AnsibleError
from jinja2 import StrictUndefined

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import HpcopsError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._hostvars import read_variables


class Failing(UserDict[str, Any]):
    """Variables whose template fails."""

    def __getitem__(self, name: str) -> Any:
        raise AnsibleError("'x' is undefined")


class Hostvars(UserDict[str, Any]):
    """As Ansible's: templates are resolved by an ordinary look-up alone, and each look-up is noted."""

    def __init__(self, raw: dict[str, Any], resolved: dict[str, Any] | None = None) -> None:
        super().__init__(resolved or {})
        self.raw, self.looked_up = raw, list[str]()

    def raw_get(self, host: str) -> Any:
        self.looked_up.append(f"raw {host}")
        return self.raw.get(host)

    def __getitem__(self, host: str) -> Any:
        self.looked_up.append(host)
        return self.data[host]


def read(hosts: list[str], hostvars: Any) -> list[tuple[str, dict[str, Any]]]:
    return list(read_variables(hosts, hostvars, lambda name: name.startswith("slurm"), "the filter"))


def test_each_host_is_read_once_with_what_is_wanted() -> None:
    plain = {"slurm_a": 1, "slurm_b": ["x", ("y", None)], "slurm_c": 1.5, "slurm_d": "text", "other": "{{ z }}"}
    hostvars = Hostvars({"n1": plain, "n2": {}})
    wanted = {name: value for name, value in plain.items() if name != "other"}
    assert read(["n2", "n1", "n2"], hostvars) == [("n2", {}), ("n1", wanted)]
    assert hostvars.looked_up == ["raw n2", "raw n1"]


@pytest.mark.parametrize(
    "template", ["{{ x }}", "{% if x %}", "#jinja2: a", ["a", "{{ x }}"], ("a", ["{{ x }}"]), {"a": "b"}]
)
def test_what_may_be_a_template_is_looked_up_again(template: Any) -> None:
    hostvars = Hostvars({"n1": {"slurm_a": template, "slurm_b": 1}}, {"n1": {"slurm_a": "done", "slurm_b": 2}})
    assert read(["n1"], hostvars) == [("n1", {"slurm_a": "done", "slurm_b": 1})]
    assert hostvars.looked_up == ["raw n1", "n1"]


def test_templates_inside_lists_and_mappings_are_resolved() -> None:
    resolved = {"n1": {"slurm_a": {"b": UserDict({"c": (1, 2)})}}}
    assert read(["n1"], Hostvars({"n1": {"slurm_a": "{{ x }}"}}, resolved)) == [
        ("n1", {"slurm_a": {"b": {"c": [1, 2]}}})
    ]


def test_ordinary_mapping_of_hosts_will_do() -> None:
    assert read(["n1"], {"n1": {"slurm_a": 1}}) == [("n1", {"slurm_a": 1})]


@pytest.mark.parametrize("variables", [{"slurm_a": [StrictUndefined(name="x")]}, Failing()])
def test_template_that_fails_is_named_by_host_and_variable(variables: Any) -> None:
    hostvars = Hostvars({"n1": {"slurm_a": "{{ x }}"}}, {"n1": variables})
    with pytest.raises(HpcopsError, match=r"^host n1: slurm_a is a template that fails: 'x' is undefined"):
        read(["n1"], hostvars)


def test_host_that_there_is_not_is_named() -> None:
    with pytest.raises(HpcopsError, match=r"^the filter: 'n9' is no host of the inventory; correct the list of hosts$"):
        read(["n9"], Hostvars({"n1": {}}))
    with pytest.raises(HpcopsError, match=r"^the filter: hostvars must be a mapping of hosts, not list$"):
        read(["n9"], [])
