# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions that write to the service-discovery API from the control machine, where the token and the libraries are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.basic import env_fallback
from ansible.plugins.action import ActionBase

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import (
    DiscoveryError,
    DiscoveryRefusalError,
    HpcopsError,
)
from ansible_collections.hpcops.cluster.plugins.plugin_utils._discovery_client import DiscoveryClient, read_token
from ansible_collections.hpcops.cluster.plugins.plugin_utils._groups import NAME

CONNECTION: Mapping[str, Any] = {
    "url": {"type": "str", "required": True, "fallback": (env_fallback, ["HPCOPS_DISCOVERY_URL"])},
    "token": {"type": "str", "no_log": True, "fallback": (env_fallback, ["HPCOPS_DISCOVERY_TOKEN"])},
    "token_file": {"type": "str", "fallback": (env_fallback, ["HPCOPS_DISCOVERY_TOKEN_FILE"]), "no_log": False},
    "ca_file": {"type": "str", "fallback": (env_fallback, ["HPCOPS_DISCOVERY_CA_FILE"])},
    "timeout": {"type": "float", "default": 30, "fallback": (env_fallback, ["HPCOPS_DISCOVERY_TIMEOUT"])},
    "retries": {"type": "int", "default": 3, "fallback": (env_fallback, ["HPCOPS_DISCOVERY_RETRIES"])},
}
_MOST_FAULTS = 20
# What the API knows an object by.
_IDENTITY = {"clusters": ("name",), "hosts": ("name",), "services": ("cluster", "name", "host")}


@dataclasses.dataclass(frozen=True)
class Objects:
    """What a task names, in the API's shape."""

    option: str
    """The list that they are in, in the task as in the request's body."""
    items: Sequence[Mapping[str, Any]]
    is_list: bool
    """Whether the task has that list; else it names one object by options."""
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Options that are not called like the API's field, by that."""

    def subject(self, index: int) -> str:
        """Name an object for a message."""
        item = self.items[index] if index < len(self.items) else {}
        parts = [str(item[part]) for part in _IDENTITY[self.option] if item.get(part)]
        key = "/".join(parts)
        if not self.is_list:
            return key
        return f"{self.option}[{index}]" + (f" ({key})" if key else "")

    def fault(self, error: Mapping[str, Any]) -> str:
        """Say one of a problem document's errors in the task's words."""
        index, parts = error.get("index"), str(error.get("pointer", "")).split("/")[1:]
        if not isinstance(index, int) or parts[:2] != [self.option, str(index)]:
            whole = [self.subject(0)] if not self.is_list and len(self.items) == 1 else []
            return f"{': '.join([*whole, '.'.join(parts)]) or 'the request'}: {error.get('detail')}"
        field = self._field(parts[2:])
        return ": ".join(filter(None, (self.subject(index), field, str(error.get("detail")))))

    def _field(self, parts: Sequence[str]) -> str:
        text = ""
        for part in parts:
            name = part.replace("~1", "/").replace("~0", "~")
            text += f"[{name}]" if name.isdigit() else f".{name}"
        name, dot, rest = text.lstrip(".").partition(".")
        return (name if self.is_list else self.renamed.get(name, name)) + dot + rest


def checked_name(value: Any, what: str) -> str:
    """Return what is to be a part of a request's path."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise DiscoveryError(f"{what}: {value!r} is no name; letters, digits, '.', '_' and '-' are allowed")
    return value


@dataclasses.dataclass
class Written:
    """What the API changed, or would change."""

    show: bool = False
    """Whether to keep each object's former and new state."""
    changes: list[dict[str, str]] = dataclasses.field(default_factory=list)
    diff: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    revision: int | None = None

    def add(self, kind: str, outcome: Mapping[str, Any]) -> None:
        """Take a transaction's result."""
        self.revision = outcome.get("revision")
        for change in outcome["changes"]:
            self.changes.append({"kind": kind, "key": change["key"], "action": change["action"]})
            if self.show:
                header = f"{kind} {change['key']}"
                self.diff.append(
                    {
                        "before_header": header,
                        "after_header": f"{header} ({change['action']})",
                        "before": change.get("before") or "",
                        "after": change.get("after") or "",
                    }
                )

    def result(self) -> dict[str, Any]:
        """Return it as Ansible's result."""
        result: dict[str, Any] = {"changed": bool(self.changes), "changes": self.changes}
        if self.revision is not None:
            result["revision"] = self.revision
        if self.show:
            result["diff"] = self.diff
        return result


class Writer:
    """Makes a task's requests, or tries them in check mode."""

    def __init__(self, client: DiscoveryClient, check_mode: bool, show: bool) -> None:
        self._client = client
        self._dry_run = check_mode
        self.written = Written(show)

    def items(self, path: str, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the objects that a question finds."""
        return self._client.items(path, query)

    def write(self, kind: str, method: str, path: str, body: Any = None) -> None:
        """Make one transaction."""
        outcome = self._client.write(method, path, body, dry_run=self._dry_run, diff=self.written.show)
        self.written.add(kind, outcome)

    def try_out(self, method: str, path: str, body: Any) -> None:
        """Let the API check a transaction that others are to come before."""
        self._client.write(method, path, body, dry_run=True)

    def remove(self, kind: str, path: str) -> None:
        """Take an object out, if it is there."""
        try:
            self.write(kind, "DELETE", path)
        except DiscoveryRefusalError as error:
            # Not any 404: it may be something else's that answers at this address.
            if error.status != 404 or error.problem.get("type") != "urn:hpcops:discovery:not-found":
                raise

    def remove_service(self, cluster: str, name: str, host: str) -> None:
        """Take a service out, if it is there."""
        self.remove("service", f"/v1/services/{cluster}/{name}/{host}")


class DiscoveryAction(ActionBase):
    """Base of these actions; a subclass has the specification of its options, and says what to write."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_diff = True
    client = DiscoveryClient
    # The option with a list of objects, if there is one, and the options that stand for one object.
    collection = ""
    # What the list has: dict, or raw where a text stands for an object of that name.
    elements = "dict"
    single: Mapping[str, Any] = {}
    spec: Mapping[str, Any] = {}

    def objects(self, options: Mapping[str, Any]) -> Objects:
        """Return what the task names."""
        raise NotImplementedError

    def work(self, writer: Writer, objects: Objects, options: Mapping[str, Any]) -> None:
        """Write it."""
        raise NotImplementedError

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Make the objects so, and say which were not."""
        super().run(tmp, task_vars)
        several = {self.collection: {"type": "list", "elements": self.elements}} if self.collection else {}
        _result, options = self.validate_argument_spec(
            {**CONNECTION, **self.spec, **several, **self.single},
            mutually_exclusive=[(each, option) for each in several for option in self.single],
            required_one_of=[(*several, "name")],
        )
        try:
            objects = self.objects(options)
            writer = Writer(self._client(options), self._task.check_mode, self._task.diff)
        except HpcopsError as error:
            raise AnsibleActionFail(str(error)) from error
        try:
            if objects.items:
                self.work(writer, objects, options)
        except DiscoveryRefusalError as error:
            return {"failed": True, **writer.written.result(), **_refusal(error, objects)}
        except HpcopsError as error:
            # What was done before it is in the result.
            return {"failed": True, **writer.written.result(), "msg": str(error)}
        return writer.written.result()

    def _client(self, options: Mapping[str, Any]) -> DiscoveryClient:
        texts = {name: options[name] or "" for name in ("url", "token", "token_file", "ca_file")}
        token = read_token(texts["token"], texts["token_file"])
        return self.client(texts["url"], token, texts["ca_file"], options["timeout"], options["retries"])

    def listed(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
        """Return the list of objects, if there is one."""
        items: list[Any] | None = options[self.collection]
        if items is None:
            return None
        if self.elements == "raw":
            items = [{"name": item} if isinstance(item, str) else item for item in items]
        for index, item in enumerate(items):
            if not isinstance(item, Mapping):
                raise DiscoveryError(f"{self.collection}[{index}]: is no dict, which an object is")
        return items

    def named(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the options say of the one object that they stand for."""
        return {name: options[name] for name in self.single if options.get(name) is not None}


def _refusal(error: DiscoveryRefusalError, objects: Objects) -> dict[str, Any]:
    """The message of a refusal, in the task's words where it is about the task's objects."""
    faults = [fault for fault in error.problem.get("errors") or () if isinstance(fault, Mapping)]
    if not faults:
        return {"msg": str(error)}
    lines = [objects.fault(fault) for fault in faults[:_MOST_FAULTS]]
    if len(faults) > len(lines):
        lines.append(f"and {len(faults) - len(lines)} more")
    result: dict[str, Any] = {"msg": "; ".join(lines)}
    if error.status == 409:
        result["msg"] += ". Read what is there now, decide, and give its revision"
        result["conflicts"] = [fault["current"] for fault in faults if fault.get("current")]
    return result
