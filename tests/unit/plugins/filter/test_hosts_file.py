# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter hosts_file: addresses of the inventory as lines of /etc/hosts, or a sentence that names the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError, AnsibleFilterError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

from ansible_collections.hpcops.cluster.plugins.filter.hosts_file import hosts_file

INVENTORY = """
nodes:
  hosts:
    c2.example.org: {ansible_host: 10.0.0.2}
    c1.example.org: {ansible_host: 10.0.0.1}
    behind: {ansible_host: bastion.example.org, os_base_address: "{{ prefix }}7"}
    six: {ansible_host: "2001:DB8:0:0::1"}
  vars:
    prefix: 10.0.1.
    other: "{{ undefined_and_not_read }}"
wrong:
  hosts:
    template: {os_base_address: "{{ nope }}"}
"""


def test_lines_come_in_the_order_of_the_list_from_the_inventory(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text(INVENTORY, encoding="utf-8")
    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=[str(path)])
    hostvars = HostVars(inventory, VariableManager(loader=loader, inventory=inventory), loader)
    templar = Templar(loader=loader, variables={"hostvars": hostvars, "groups": inventory.get_groups_dict()})

    lines = templar.template(trust_as_template("{{ groups.nodes | hpcops.cluster.hosts_file(hostvars) }}"))
    assert lines.splitlines() == [
        "10.0.0.2 c2.example.org c2",
        "10.0.0.1 c1.example.org c1",
        "10.0.1.7 behind",
        "2001:db8::1 six",
    ]
    with pytest.raises(AnsibleError, match="host template: os_base_address is a template that fails"):
        templar.template(trust_as_template("{{ ['template'] | hpcops.cluster.hosts_file(hostvars) }}"))


def test_a_host_that_is_listed_twice_has_one_line() -> None:
    assert hosts_file(["a", "a"], {"a": {"ansible_host": "10.0.0.1"}}) == "10.0.0.1 a"


def test_no_hosts_make_no_lines() -> None:
    assert hosts_file([], {}) == ""


@pytest.mark.parametrize(
    ("host", "variables", "complaint"),
    [
        ("a", {}, "a has no address; set os_base_address"),
        ("a", {"os_base_address": ""}, "a has no address; set os_base_address"),
        (
            "a",
            {"ansible_host": "a.example.org"},
            "ansible_host of a is 'a.example.org', which is no IP address; set os_base_address",
        ),
        ("a", {"os_base_address": "10.0.0"}, "os_base_address of a is '10.0.0', which is no IP address"),
        ("a", {"os_base_address": "10.0.0.1/24"}, "which is no IP address"),
        ("a", {"ansible_host": "127.0.0.1"}, "127.0.0.1, where no other host reaches it; set os_base_address"),
        ("a", {"ansible_host": "127.0.1.1"}, "no other host reaches it"),
        ("a", {"ansible_host": "::1"}, "no other host reaches it"),
        ("a", {"ansible_host": "0.0.0.0"}, "no other host reaches it"),
        ("10.0.0.1", {"ansible_host": "10.0.0.1"}, "10.0.0.1 is an address and no name"),
        ("a b", {"ansible_host": "10.0.0.1"}, "'a b' is no host name"),
        ("missing", None, "'missing' is no host of the inventory"),
    ],
)
def test_a_host_without_a_usable_address_is_named(host: str, variables: Any, complaint: str) -> None:
    with pytest.raises(AnsibleFilterError) as error:
        hosts_file([host], {} if variables is None else {host: variables})
    assert complaint in str(error.value)


def test_two_hosts_with_one_short_name_are_refused() -> None:
    known = {"c1.a": {"ansible_host": "10.0.0.1"}, "c1.b": {"ansible_host": "10.0.0.2"}}
    with pytest.raises(AnsibleFilterError, match=r"c1\.a and c1\.b would both be 'c1'"):
        hosts_file(list(known), known)


@pytest.mark.parametrize(("hosts", "hostvars"), [("a", {}), ({"a": 1}, {}), (["a"], "x")])
def test_wrong_kinds_of_input_are_refused(hosts: Any, hostvars: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="must be a"):
        hosts_file(hosts, hostvars)
