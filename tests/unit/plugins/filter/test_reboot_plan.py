"""The filter reboot_plan reads hosts from the inventory, states from slurmctld, and the user's values with suspicion."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.hpcops.cluster.plugins.filter.reboot_plan import FilterModule

HOSTVARS = {"c1.example.org": {}, "box": {"slurm_node_name": "gpu7"}}
CLUSTER: dict[str, Any] = {
    "now": 1795176000,
    "nodes": {
        name: {"state": "IDLE", "partitions": ["all"], "boot_time": 5, "reason": "", "set_by": "", "set_at": ""}
        for name in ("c1", "gpu7")
    },
}
reboot_plan = FilterModule().filters()["reboot_plan"]


def test_hosts_are_taken_by_the_names_of_their_nodes() -> None:
    made = reboot_plan(list(HOSTVARS), HOSTVARS, CLUSTER, share="50", ticket="")
    assert made["batches"] == [["c1"], ["gpu7"]]
    assert made["hosts"] == ["c1.example.org", "box"]
    assert made["nodes"] == {"c1.example.org": "c1", "box": "gpu7"}
    assert made["since"] == "2026-11-20T12:00:00Z"


def test_names_may_be_a_text_as_on_a_command_line() -> None:
    assert reboot_plan(list(HOSTVARS), HOSTVARS, CLUSTER, share=100, nodes="c1,gpu[7,7]")["batches"] == [["c1", "gpu7"]]
    assert reboot_plan(list(HOSTVARS), HOSTVARS, CLUSTER, share=100, partitions="all")["batches"] == [["c1", "gpu7"]]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"share": "some"}, "reboot_share is 'some'"),
        ({"share": None}, "reboot_share is None"),
        ({"share": 10, "partitions": {"all": 1}}, "reboot_partitions must be a list"),
        ({"share": 10, "nodes": 1}, "reboot_nodes must be a list"),
    ],
)
def test_values_of_a_wrong_kind_are_refused_by_the_name_of_their_variable(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(AnsibleFilterError, match=problem):
        reboot_plan(list(HOSTVARS), HOSTVARS, CLUSTER, **values)
