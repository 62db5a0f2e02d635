# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the writing actions make of options and answers; what they do to an API is in tests/integration."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.plugins.loader import fragment_loader
from ansible.utils.plugin_docs import get_docstring

from ansible_collections.hpcops.cluster.plugins.action import discovery_cluster, discovery_host, discovery_service
from ansible_collections.hpcops.cluster.plugins.module_utils._errors import DiscoveryError, DiscoveryRefusalError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._discovery_action import (
    CONNECTION,
    DiscoveryAction,
    Objects,
    Writer,
    Written,
    checked_name,
)

ROOT = Path(__file__).resolve().parents[4]
ACTIONS: dict[str, Any] = {
    "discovery_cluster": discovery_cluster.ActionModule,
    "discovery_host": discovery_host.ActionModule,
    "discovery_service": discovery_service.ActionModule,
}
HOSTS = Objects("hosts", [{"name": "n0"}, {"name": "n1"}, {}], is_list=True)
HOST = Objects("hosts", [{"name": "n1"}], is_list=False, renamed={"state": "lifecycle"})
SERVICES = Objects("services", [{"cluster": "c", "name": "x", "host": "n1"}], is_list=True)


@pytest.mark.parametrize("name", ACTIONS)
def test_options_are_documented_as_they_are(name: str) -> None:
    action = ACTIONS[name]
    path = ROOT / "plugins" / "modules" / f"{name}.py"
    documented = get_docstring(str(path), fragment_loader, is_module=True)[0]["options"]
    several = {action.collection: {"type": "list", "elements": action.elements}} if action.collection else {}
    spec = {**CONNECTION, **action.spec, **action.single, **several}
    for about in ("type", "elements", "choices", "default", "required"):
        assert {option: documented[option].get(about) for option in documented} == {
            option: spec[option].get(about) for option in spec
        }, about


def test_action_group_has_the_modules_that_write_to_the_api() -> None:
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())
    assert runtime["action_groups"] == {"discovery": sorted(ACTIONS)}


@pytest.mark.parametrize(
    ("objects", "index", "pointer", "message"),
    [
        (HOSTS, 1, "/hosts/1/addresses/main", "hosts[1] (n1): addresses.main: is wrong"),
        (HOSTS, 1, "/hosts/1/roles/0", "hosts[1] (n1): roles[0]: is wrong"),
        (HOSTS, 1, "/hosts/1/labels/a~1b~0c", "hosts[1] (n1): labels.a/b~c: is wrong"),
        (HOSTS, 1, "/hosts/1/state", "hosts[1] (n1): state: is wrong"),
        (HOSTS, 2, "/hosts/2/name", "hosts[2]: name: is wrong"),
        (HOSTS, 1, "/hosts/1", "hosts[1] (n1): is wrong"),
        (HOSTS, 7, "/hosts/7/name", "hosts[7]: name: is wrong"),
        (HOSTS, None, "/hosts", "hosts: is wrong"),
        (HOSTS, None, "", "the request: is wrong"),
        (HOST, 0, "/hosts/0/state", "n1: lifecycle: is wrong"),
        (HOST, 0, "/hosts/0/slurm_node/state", "n1: slurm_node.state: is wrong"),
        (SERVICES, 0, "/services/0/check/tcp/interval", "services[0] (c/x/n1): check.tcp.interval: is wrong"),
    ],
)
def test_fault_is_told_in_the_tasks_words(objects: Objects, index: int | None, pointer: str, message: str) -> None:
    assert objects.fault({"pointer": pointer, "index": index, "detail": "is wrong"}) == message


@pytest.mark.parametrize("show", [True, False])
def test_before_and_after_are_kept_only_for_a_diff(show: bool) -> None:
    written = Written(show)
    changes = [
        {"index": 0, "key": "n1", "action": "updated", "before": {"rack": "r1"}, "after": {"rack": "r2"}},
        {"index": 1, "key": "n2", "action": "created", "before": None, "after": {"rack": "r2"}},
    ]
    written.add("host", {"revision": 7, "changes": changes})
    result = written.result()
    assert (result["changed"], result["revision"]) == (True, 7)
    assert result["changes"] == [
        {"kind": "host", "key": "n1", "action": "updated"},
        {"kind": "host", "key": "n2", "action": "created"},
    ]
    assert [(diff["before"], diff["after"]) for diff in result.get("diff", [])] == (
        [({"rack": "r1"}, {"rack": "r2"}), ("", {"rack": "r2"})] if show else []
    )


class Refusing:
    """A client whose API has not what is to be deleted."""

    def __init__(self, problem: dict[str, Any]) -> None:
        self.problem = problem

    def write(self, *_request: Any, **_options: Any) -> Any:
        raise DiscoveryRefusalError("answers 404", 404, self.problem)


def test_only_the_apis_own_word_is_taken_for_absence() -> None:
    client: Any = Refusing({"type": "urn:hpcops:discovery:not-found"})
    writer = Writer(client, check_mode=False, show=False)
    writer.remove_service("c", "x", "n1")
    assert writer.written.result() == {"changed": False, "changes": []}
    client = Refusing({})
    with pytest.raises(DiscoveryRefusalError):
        Writer(client, check_mode=False, show=False).remove_service("c", "x", "n1")


@pytest.mark.parametrize("value", ["", "..", "a/b", "a?b", "-a", None, 3, "a" * 254])
def test_what_is_no_name_comes_into_no_address(value: Any) -> None:
    with pytest.raises(DiscoveryError, match=r"host: .* is no name"):
        checked_name(value, "host")


class Played(DiscoveryAction):
    """An action whose client and work are played."""

    collection = "hosts"
    elements = "raw"
    single = {"name": {"type": "str"}, "size": {"type": "int"}}  # noqa: RUF012  # as the class that it extends

    def __init__(self, arguments: dict[str, Any], outcome: Any = None, check: bool = False) -> None:
        self._task = SimpleNamespace(args=arguments, async_val=0, check_mode=check, diff=True)
        self._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp/x"))
        self.outcome, self.worked, self.asked = outcome, 0, list[Any]()

    def client(self, *arguments: Any) -> Any:  # type: ignore[override]
        self.asked.append(arguments)
        return self

    def write(self, method: str, path: str, body: Any, **options: Any) -> dict[str, Any]:
        self.asked.append((method, path, body, options))
        return {"revision": 7, "changes": [{"index": 0, "key": "n1", "action": "updated"}]}

    def objects(self, options: Any) -> Objects:
        listed = self.listed(options)
        return Objects("hosts", [self.named(options)] if listed is None else listed, is_list=listed is not None)

    def work(self, writer: Writer, objects: Objects, options: Any) -> None:
        self.worked += 1
        writer.write("host", "POST", "/v1/hosts", list(objects.items))
        if self.outcome:
            raise self.outcome


PLACE = {"url": "https://x", "token": "word"}


@pytest.mark.parametrize("check", [False, True])
def test_task_writes_what_it_names_and_shows_what_changed(check: bool) -> None:
    action = Played({**PLACE, "hosts": ["a", {"name": "b", "size": 2}], "timeout": 3, "retries": 1}, check=check)
    result = action.run(None, {})
    assert action.asked == [
        ("https://x", "word", "", 3, 1),
        ("POST", "/v1/hosts", [{"name": "a"}, {"name": "b", "size": 2}], {"dry_run": check, "diff": True}),
    ]
    assert (result["changed"], result["revision"], len(result["diff"])) == (True, 7, 1)


def test_task_may_name_one_object_by_options() -> None:
    action = Played({**PLACE, "name": "a"})
    action.run(None, {})
    assert action.asked[1][2] == [{"name": "a"}]


def test_task_that_names_nothing_asks_nothing() -> None:
    action = Played({**PLACE, "hosts": []})
    assert action.run(None, {})["changed"] is False
    assert action.worked == 0


def test_object_that_is_no_dict_is_refused_by_its_place() -> None:
    with pytest.raises(AnsibleActionFail, match=r"^hosts\[1\]: is no dict, which an object is$"):
        Played({**PLACE, "hosts": ["a", 7]}).run(None, {})


def test_fault_comes_with_what_was_done_before_it() -> None:
    result = Played({**PLACE, "name": "a"}, DiscoveryError("the API is down")).run(None, {})
    assert (result["failed"], result["changed"], result["msg"]) == (True, True, "the API is down")


@pytest.mark.parametrize(
    ("count", "end"), [(20, "hosts[0]: is wrong"), (21, "hosts[0]: is wrong; and 1 more"), (45, "; and 25 more")]
)
def test_no_more_than_twenty_faults_are_told(count: int, end: str) -> None:
    faults = [{"pointer": "/hosts/0", "index": 0, "detail": "is wrong"}] * count
    refusal = DiscoveryRefusalError("refused", 422, {"errors": faults})
    result = Played({**PLACE, "hosts": [{}]}, refusal).run(None, {})
    assert result["msg"].count("is wrong") == min(count, 20)
    assert result["msg"].endswith(end)
    assert result["failed"]
    assert result["changed"]
