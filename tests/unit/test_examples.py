# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation shows works when it is copied, as far as that needs no host.

Examples of filters are evaluated. Of modules, in the examples of all plugins and on all pages, the options are compared with those that
there are. The inventories' examples are read in the tests of these plugins.
"""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import fragment_loader
from ansible.template import Templar, trust_as_template
from ansible.utils.plugin_docs import get_docstring

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "hpcops.cluster."
FILTERS = sorted(path.stem for path in (ROOT / "plugins/filter").glob("*.py"))
PAGES = sorted(path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("roles/*/*.md")))
PLUGINS = sorted(ROOT.glob("plugins/*/*.py"))
# What the examples take from the inventory, or have registered before.
HOST = {"slurm_node_cpus": 64, "slurm_node_real_memory": 250000, "ansible_host": "10.0.0.1"}
NODE = {"state": "IDLE", "partitions": ["batch"], "boot_time": 5, "reason": "", "set_by": "", "set_at": ""}
CHECK = {"name": "a", "host": "c1", "passed": True, "detail": "", "seconds": 1.0}
KNOWN: dict[str, Any] = {
    "ansible_play_hosts_all": ["c1"],
    "cluster": {"now": 1795176000, "nodes": {"c1": NODE, "c7": NODE}},
    "controls": [{"name": "a", "command": "true"}],
    "found": {"results": [CHECK]},
    "groups": {"slurmd": ["c1", "c7"], "rack7": ["c1", "c2"], "slurmctld": ["ctl1"]},
    "hostvars": {"c1": {**HOST, "outcome": {"results": [CHECK]}}, "c7": HOST},
    "inventory_hostname": "c1",
    "storage_mounts": [],
    "vault_metrics_password": "0123456789abcdefghij",
}


def examples(path: Path) -> list[Any]:
    """The documents in a plugin's EXAMPLES."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "EXAMPLES":
            return list(yaml.safe_load_all(ast.literal_eval(node.value)))
    return []


def blocks(path: Path) -> list[Any]:
    """The YAML on a page. In one block there may be several files, each below its name; a bootstrap inventory is no YAML."""
    texts = re.findall(r"^```yaml\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    parts = [part for text in texts for part in re.split(r"^(?=# \S+(?:/|\.yml))", text, flags=re.MULTILINE)]
    files = [part for part in parts if not re.match(r"# \S+/bootstrap\b", part)]
    return [document for file in files for document in yaml.safe_load_all(file)]


def trusted(value: Any) -> Any:
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, dict):
        return {key: trusted(each) for key, each in value.items()}
    return [trusted(each) for each in value] if isinstance(value, list) else value


def templar(variables: dict[str, Any], folder: Path) -> Templar:
    loader = DataLoader()
    loader.set_basedir(str(folder))
    return Templar(loader, variables=variables)


def arguments(task: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What Ansible evaluates of a task."""
    for name, value in task.items():
        if "." in name:
            yield name, value
    if "loop" in task:
        yield "loop", task["loop"]


@pytest.mark.parametrize("name", FILTERS)
def test_example_of_a_filter_works(name: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "roles/prometheus/files/rules/alerts_nodes.yml", tmp_path / "nodes.yml")
    tasks = [task for document in examples(ROOT / f"plugins/filter/{name}.py") for task in document]
    assert tasks
    used = False
    for task in tasks:
        variables = trusted(task.get("vars", {}))
        engine = templar({"item": "c1", **KNOWN, **variables}, tmp_path)
        for action, value in arguments(task):
            used = used or PREFIX + name in str(task)
            if action == "ansible.builtin.assert":
                conditions = [value["that"]] if isinstance(value["that"], str) else value["that"]
                assert all(engine.evaluate_conditional(trust_as_template(each)) for each in conditions)
            elif action == "ansible.builtin.import_role":
                assert engine.template(variables)
            elif task["name"] == "A name that the release does not know":
                with pytest.raises(AnsibleError, match=r"did you mean SlurmctldTimeout\?"):
                    engine.template(trusted(value))
            else:
                assert engine.template(trusted(value))
    assert used


def module_tasks(value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every use of a module of the collection in what a document has."""
    if isinstance(value, dict):
        for key, each in value.items():
            if isinstance(key, str) and key.startswith(PREFIX) and isinstance(each, dict):
                yield key[len(PREFIX) :], each
            yield from module_tasks(each)
    elif isinstance(value, list):
        for each in value:
            yield from module_tasks(each)


def wrong_options(given: dict[str, Any], options: dict[str, Any], where: str) -> Iterator[str]:
    for name, value in given.items():
        if name not in options:
            yield f"{where} has no option {name}"
            continue
        inner = options[name].get("suboptions")
        for each in (value if isinstance(value, list) else [value]) if inner else ():
            if isinstance(each, dict):
                yield from wrong_options(each, inner, f"{where}: {name}")
    for name, option in options.items():
        if option.get("required") and name not in given:
            yield f"{where} needs the option {name}"


@pytest.mark.parametrize("path", [*PLUGINS, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_options_of_modules_in_examples_exist(path: Path) -> None:
    wrong: list[str] = []
    for module, given in module_tasks(examples(path) if path.suffix == ".py" else blocks(path)):
        source = ROOT / f"plugins/modules/{module}.py"
        documented = get_docstring(str(source), fragment_loader)[0]["options"]
        defaults = {"url", "token", "token_file"} & documented.keys()  # from module_defaults, or the environment
        wrong += wrong_options({**dict.fromkeys(defaults), **given}, documented, module)
    assert wrong == []


def test_hosts_of_the_page_on_discovery_load_as_it_says(tmp_path: Path) -> None:
    documents = blocks(ROOT / "docs/discovery.md")
    hosts = next(document for document in documents if isinstance(document, dict) and "hosts" in document)
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(hosts))
    given = next(given for module, given in module_tasks(documents) if module == "discovery_host")
    loaded = templar({}, tmp_path).template(trusted(given["hosts"]))
    assert [host["name"] for host in loaded][:3] == ["ctl1", "n001", "n002"]
    assert len(loaded) == 65
    assert all(host["cluster"] == "alpha" for host in loaded)
