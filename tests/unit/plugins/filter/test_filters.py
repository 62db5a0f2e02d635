# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters as a playbook meets them: through Ansible's templates, its hostvars and its documentation."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

FILTERS = ("hostlist_expand", "hostlist_fold", "slurm_conf", "slurm_node_hosts", "slurm_nodes")
INVENTORY = """
slurmd:
  hosts:
    c1.example.org: {slurm_node_addr: 10.0.0.1}
    c2.example.org: {slurm_node_addr: 10.0.0.2}
    box:
      slurm_node_name: gpu7
      slurm_node_gres: ["gpu:{{ model }}:4"]
      slurm_node_parameters: {Reason: "new {{ model }}"}
    plain: {slurm_node_cpus: 4, slurm_node_real_memory: null}
  vars:
    memory_gib: 8
    model: a100
    slurm_node_cpus: 2
    slurm_node_real_memory: "{{ memory_gib * 1024 }}"
    other: "{{ undefined_and_not_read }}"
wrong:
  hosts:
    lots: {slurm_node_real_memory: lots}
    undefined: {slurm_node_cpus: "{{ nope }}"}
    undefined_in_list: {slurm_node_gres: ["gpu:{{ nope }}"]}
    undefined_in_mapping: {slurm_node_parameters: {Reason: "{{ nope }}"}}
    failing: {slurm_node_cpus: "{{ 1 / 0 }}"}
    twin: {slurm_node_name: gpu7}
"""

Evaluate = Callable[..., Any]


@pytest.fixture(name="evaluate", scope="module")
def evaluate_fixture(tmp_path_factory: pytest.TempPathFactory) -> Evaluate:
    path = tmp_path_factory.mktemp("inventory") / "hosts.yml"
    path.write_text(INVENTORY, encoding="utf-8")
    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=[str(path)])
    hostvars = HostVars(inventory, VariableManager(loader=loader, inventory=inventory), loader)

    def evaluate(expression: str, **variables: Any) -> Any:
        known = {"hostvars": hostvars, "groups": inventory.get_groups_dict(), **variables}
        return Templar(loader=loader, variables=known).template(trust_as_template("{{ " + expression + " }}"))

    return evaluate


def refusal(evaluate: Evaluate, expression: str, **variables: Any) -> str:
    with pytest.raises(AnsibleError) as error:
        evaluate(expression, **variables)
    return str(error.value)


def test_node_lines_come_from_the_variables_of_inventory_hosts(evaluate: Evaluate) -> None:
    assert evaluate("groups.slurmd | hpcops.cluster.slurm_nodes(hostvars, '24.11')") == [
        {"NodeName": "c[1-2]", "NodeAddr": "10.0.0.[1-2]", "CPUs": 2, "RealMemory": 8192},
        {"NodeName": "gpu7", "CPUs": 2, "RealMemory": 8192, "Gres": "gpu:a100:4", "Reason": "new a100"},
        {"NodeName": "plain", "CPUs": 4},
    ]


def test_plain_mappings_and_generators_serve_as_well(evaluate: Evaluate) -> None:
    known = {"c1": {"slurm_node_cpus": 2, "other": 1}, "c2": {"slurm_node_cpus": 2}, "x": {}}
    expression = "known | select('match', 'c') | hpcops.cluster.slurm_nodes(known, release='24.11')"
    assert evaluate(expression, known=known) == [{"NodeName": "c[1-2]", "CPUs": 2}]


def test_a_host_that_is_listed_twice_is_one_node(evaluate: Evaluate) -> None:
    assert evaluate("['plain', 'plain'] | hpcops.cluster.slurm_nodes(hostvars, '24.11')") == [
        {"NodeName": "plain", "CPUs": 4}
    ]


def test_nodes_lead_to_their_hosts(evaluate: Evaluate) -> None:
    expected = {"c1": "c1.example.org", "c2": "c2.example.org", "gpu7": "box", "plain": "plain"}
    assert evaluate("groups.slurmd | hpcops.cluster.slurm_node_hosts(hostvars)") == expected


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("lots", "host lots: slurm_node_real_memory is 'lots'; Slurm reads a whole number"),
        ("undefined", "host undefined: slurm_node_cpus is a template that fails: 'nope' is undefined"),
        ("undefined_in_list", "host undefined_in_list: slurm_node_gres is a template that fails: 'nope' is undefined"),
        ("undefined_in_mapping", "host undefined_in_mapping: slurm_node_parameters is a template that fails: 'nope'"),
        ("failing", "host failing: slurm_node_cpus is a template that fails"),
        ("nobody", "'nobody' is no host of the inventory"),
    ],
)
def test_a_host_with_a_bad_variable_is_named(evaluate: Evaluate, host: str, message: str) -> None:
    assert message in refusal(evaluate, f"['{host}'] | hpcops.cluster.slurm_nodes(hostvars, '24.11')")


def test_two_hosts_that_are_one_node_are_both_named(evaluate: Evaluate) -> None:
    message = refusal(evaluate, "['box', 'twin'] | hpcops.cluster.slurm_nodes(hostvars, '24.11')")
    assert "hosts box and twin are both the Slurm node gpu7" in message
    message = refusal(evaluate, "['box', 'twin'] | hpcops.cluster.slurm_node_hosts(hostvars)")
    assert "hosts box and twin are both the Slurm node gpu7" in message


def test_a_configuration_is_rendered_from_templates_inside_data(evaluate: Evaluate) -> None:
    site = trust_as_template("{{ timeout * 2 }}")
    text = evaluate(
        "{'SlurmctldTimeout': site, 'SlurmctldParameters': {'idle_on_node_suspend': true}}"
        " | hpcops.cluster.slurm_conf('24.11', defaults=computed,"
        " lines=groups.slurmd | hpcops.cluster.slurm_nodes(hostvars, '24.11') + partitions)",
        site=site,
        timeout=30,
        computed={
            "ClusterName": trust_as_template("{{ 'de' ~ 'mo' }}"),
            "SlurmctldParameters": {"enable_configless": None},
        },
        partitions=[{"PartitionName": "all", "Nodes": [trust_as_template("{{ 'c' ~ 1 }}"), "c2"], "Default": True}],
    )
    assert text == (
        "ClusterName=demo\n"
        "SlurmctldParameters=enable_configless,idle_on_node_suspend\n"
        "SlurmctldTimeout=60\n"
        "\n"
        "NodeName=c[1-2] NodeAddr=10.0.0.[1-2] CPUs=2 RealMemory=8192\n"
        'NodeName=gpu7 CPUs=2 RealMemory=8192 Gres=gpu:a100:4 Reason="new a100"\n'
        "NodeName=plain CPUs=4\n"
        "PartitionName=all Nodes=c[1-2] Default=YES\n"
    )


def test_an_undefined_value_of_a_configuration_is_ansibles_own_error(evaluate: Evaluate) -> None:
    message = refusal(
        evaluate, "params | hpcops.cluster.slurm_conf('24.11')", params={"ClusterName": trust_as_template("{{ nope }}")}
    )
    assert "'nope' is undefined" in message


def test_names_fold_and_expand_in_a_template(evaluate: Evaluate) -> None:
    assert evaluate("['c2', 'c1', 'gpu7'] | hpcops.cluster.hostlist_fold") == "c[1-2],gpu7"
    assert evaluate("'c[1-2],gpu7' | hpcops.cluster.hostlist_expand") == ["c1", "c2", "gpu7"]
    assert evaluate("[] | hpcops.cluster.hostlist_fold") == ""


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("'c1' | hpcops.cluster.hostlist_fold", "hostlist_fold: the input must be a list, not"),
        ("[1] | hpcops.cluster.hostlist_fold", "1 is not a host name; quote it if it is one"),
        ("['c 1'] | hpcops.cluster.hostlist_fold", "'c 1' cannot be a host name"),
        ("['c1'] | hpcops.cluster.hostlist_expand", "hostlist_expand: the input must be a text, not"),
        ("'c[1-2' | hpcops.cluster.hostlist_expand", "host list 'c[1-2': a bracket has no partner"),
        ("'c1' | hpcops.cluster.slurm_nodes(hostvars, '24.11')", "slurm_nodes: the input must be a list, not"),
        ("['c1'] | hpcops.cluster.slurm_nodes([], '24.11')", "slurm_nodes: hostvars must be a mapping of hosts, not"),
        ("['plain'] | hpcops.cluster.slurm_nodes(hostvars, 'new')", "'new' is not a Slurm release such as '24.11'"),
        ("[] | hpcops.cluster.slurm_conf('24.11')", "slurm.conf: the input of slurm_conf must be a mapping, not"),
        ("{} | hpcops.cluster.slurm_conf('24.11', file='x')", "'x' is not a file whose parameters are known"),
        ("{1: 2} | hpcops.cluster.slurm_conf('24.11')", "has the key 1; keys are texts"),
        ("{} | hpcops.cluster.slurm_conf('24.11', lines={'a': 1})", "slurm.conf: lines must be a list, not"),
        ("{} | hpcops.cluster.slurm_conf('24.11', lines=['a'])", "slurm.conf: line 1 must be a mapping, not"),
        ("{} | hpcops.cluster.slurm_conf('24.11', defaults=[1])", "slurm.conf: defaults must be a mapping, not"),
        (
            "{'SlurmctldTimout': 60} | hpcops.cluster.slurm_conf('24.11')",
            "slurm.conf: 'SlurmctldTimout' is not a parameter of Slurm 24.11; did you mean SlurmctldTimeout?",
        ),
    ],
)
def test_bad_input_is_refused_with_a_sentence(evaluate: Evaluate, expression: str, message: str) -> None:
    assert message in refusal(evaluate, expression)


@pytest.fixture(name="command", scope="module")
def command_fixture() -> Callable[..., str]:
    cluster = importlib.import_module("ansible_collections.hpcops.cluster")
    collections = Path(next(iter(cluster.__path__))).parents[2]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_NOCOLOR": "1"}

    def command(*arguments: str) -> str:
        program = Path(sys.executable).with_name(arguments[0])
        return subprocess.run(
            [program, *arguments[1:]], check=True, capture_output=True, text=True, env=environment, timeout=120
        ).stdout

    return command


def test_the_documentation_is_complete(command: Callable[..., str]) -> None:
    shown = json.loads(command("ansible-doc", "-t", "filter", "-j", *(f"hpcops.cluster.{name}" for name in FILTERS)))
    for name in FILTERS:
        entry = shown[f"hpcops.cluster.{name}"]
        assert entry["doc"]["version_added"] == "0.1.0"
        assert entry["doc"]["positional"].startswith("_input")
        assert all("type" in option and option["description"] for option in entry["doc"]["options"].values())
        assert entry["return"]["_value"]["type"]
        assert f"hpcops.cluster.{name}" in entry["examples"]


def test_a_play_renders_node_lines(command: Callable[..., str], tmp_path: Path) -> None:
    hosts = tmp_path / "hosts.yml"
    hosts.write_text(INVENTORY, encoding="utf-8")
    expression = "{{ groups.slurmd | hpcops.cluster.slurm_nodes(hostvars, '24.11') | map(attribute='NodeName') }}"
    shown = command("ansible", "-i", str(hosts), "localhost", "-o", "-m", "debug", "-a", f'msg="{expression}"')
    assert "c[1-2]" in shown
    assert "gpu7" in shown
