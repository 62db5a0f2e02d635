# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sent again, and what the client says of answers, by a server that answers as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import pytest
from ansible.parsing.dataloader import DataLoader

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import (
    DiscoveryError,
    DiscoveryRefusalError,
    HpcopsError,
    SourceUnreachableError,
)
from ansible_collections.hpcops.cluster.plugins.plugin_utils import _discovery_client
from ansible_collections.hpcops.cluster.plugins.plugin_utils._discovery_client import DiscoveryClient, batches

TOKEN = "secret-of-the-tests-0123456789abcdef"
LOST = 0
OUTCOME = {"revision": 1, "changes": []}
REPEAT = "run it again, what is there already stays as it is"


class Answers(BaseHTTPRequestHandler):
    """Answers with the next status and document; a status of 0 ends the connection without an answer."""

    said: ClassVar[list[tuple[int, Any]]]
    asked: ClassVar[list[str]]
    validators: ClassVar[list[str | None]] = []

    def answer(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.asked.append(f"{self.command} {self.path}")
        self.validators.append(self.headers["If-None-Match"])
        status, document = self.said.pop(0)
        if status == LOST:
            return
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815  # as the server calls them

    def log_message(self, *_arguments: Any) -> None:
        pass


class Api:
    """The server, and a client of it."""

    def __init__(self, port: int) -> None:
        self.client = DiscoveryClient(f"http://127.0.0.1:{port}", TOKEN, retries=2, timeout=5)

    def say(self, *said: tuple[int, Any]) -> None:
        Answers.said, Answers.asked = list(said), []

    @property
    def asked(self) -> list[str]:
        return Answers.asked


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    # What comes between two attempts is not what is tested.
    monkeypatch.setattr("urllib3.util.retry.Retry.get_backoff_time", lambda _self: 0)
    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Api(server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_pages_follow_each_other_to_the_last(api: Api) -> None:
    pages = [{"items": [{"name": "n1"}], "next": "n1"}, {"items": [{"name": "n2"}], "next": None}]
    api.say(*((200, page) for page in pages))
    assert [host["name"] for host in api.client.items("/v1/hosts", {"role": ["a", "b"], "rack": []})] == ["n1", "n2"]
    assert api.asked == [
        "GET /v1/hosts?role=a&role=b&limit=1000",
        "GET /v1/hosts?role=a&role=b&limit=1000&after=n1",
    ]


@pytest.mark.parametrize("document", [{}, {"items": {}}, {"items": ["n1"]}, [], b"<html>"])
def test_answer_of_another_shape_is_refused(api: Api, document: Any) -> None:
    api.say((200, document))
    with pytest.raises(DiscoveryError, match="/v1/hosts answers with no"):
        list(api.client.items("/v1/hosts", {}))


@pytest.mark.parametrize("document", [{}, {"changes": {}}, [], b"<html>"])
def test_answer_to_a_write_that_says_nothing_is_refused(api: Api, document: Any) -> None:
    api.say((200, document))
    with pytest.raises(DiscoveryError, match="answer"):
        api.client.write("POST", "/v1/hosts", {})


def test_dry_run_and_diff_are_asked_for(api: Api) -> None:
    api.say((200, OUTCOME), (200, OUTCOME))
    assert api.client.write("PATCH", "/v1/hosts", {"hosts": []}, dry_run=True, diff=True) == OUTCOME
    api.client.write("DELETE", "/v1/services/a/b/c")
    assert api.asked == ["PATCH /v1/hosts?dry_run=true&diff=true", "DELETE /v1/services/a/b/c"]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, LOST])
def test_question_is_asked_again(api: Api, status: int) -> None:
    api.say((status, {}), (status, {}), (200, {"x": 1}))
    assert api.client.get("/v1/inventory", {}) == ({"x": 1}, "")
    assert len(api.asked) == 3


@pytest.mark.parametrize("status", [429, 503])
def test_write_of_which_nothing_was_done_is_sent_again(api: Api, status: int) -> None:
    api.say((status, {}), (status, {}), (200, OUTCOME))
    assert api.client.write("POST", "/v1/hosts", {}) == OUTCOME
    api.say(*[(status, {"detail": "later"})] * 3)
    with pytest.raises(SourceUnreachableError, match=rf"answers {status} \(later\)") as error:
        api.client.write("POST", "/v1/hosts", {})
    assert len(api.asked) == 3
    assert REPEAT not in str(error.value)


@pytest.mark.parametrize("status", [500, 502, 504, LOST])
def test_write_that_may_have_been_done_is_not_sent_again(api: Api, status: int) -> None:
    api.say((status, {}), (200, OUTCOME))
    with pytest.raises(HpcopsError, match=REPEAT):
        api.client.write("POST", "/v1/hosts", {})
    assert len(api.asked) == 1


@pytest.mark.parametrize(
    ("status", "problem", "message"),
    [
        (400, {"detail": "no JSON"}, "answers 400 (no JSON)"),
        (401, {"detail": "who?"}, "answers 401 (who?). The token is not one of the API's, has ended, or was revoked"),
        (403, {}, "answers 403 (Forbidden). hpcops-discovery token list"),
        (404, b"<html>", "answers 404 (Not Found)"),
        (413, {}, "Write fewer objects at once"),
        (422, {"detail": "x" * 5000}, "answers 422 (xxx"),
        (507, {"detail": "full"}, "answers 507 (full). Make room"),
        (301, {}, "answers 301"),
    ],
)
def test_refusal_says_what_to_do(api: Api, status: int, problem: Any, message: str) -> None:
    api.say((status, problem), (200, OUTCOME))
    with pytest.raises(DiscoveryRefusalError) as error:
        api.client.write("POST", "/v1/hosts", {})
    assert message in str(error.value)
    assert len(str(error.value)) < 500
    assert (error.value.status, error.value.problem) == (status, {} if isinstance(problem, bytes) else problem)
    assert len(api.asked) == 1
    assert TOKEN not in str(error.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "is no finite number"),
        ({1, 2}, "is a set, which JSON has not; quote it"),
        (DataLoader().load("2026-01-02"), "is a date, which JSON has not; quote it"),
    ],
)
def test_value_that_json_has_not_is_refused_before_anything_is_sent(api: Api, value: Any, message: str) -> None:
    api.say()
    body = {"hosts": [{"name": "n0", "labels": {}}, {"name": "n1", "variables": {"x": [1, None, value]}}]}
    with pytest.raises(DiscoveryError) as error:
        api.client.write("POST", "/v1/hosts", body)
    assert str(error.value) == f"hosts[1].variables.x[2]: {message}"
    assert api.asked == []


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_discovery_client, "IMPORT_ERROR", ImportError("No module named 'requests'"))
    with pytest.raises(DiscoveryError, match="the Python library requests is needed on the control machine"):
        DiscoveryClient("https://discovery", TOKEN)


@pytest.mark.parametrize(("count", "sizes"), [(0, [0]), (1, [1]), (200, [200]), (401, [200, 200, 1])])
def test_names_fit_into_an_address(count: int, sizes: list[int]) -> None:
    assert [len(part) for part in batches([f"n{number}" for number in range(count)])] == sizes


def test_validator_is_sent_where_there_is_one_and_an_unchanged_answer_is_none(api: Api) -> None:
    Answers.validators.clear()
    api.say((200, {"a": 1}), (304, b""))
    assert api.client.get("/v1/x", {}) == ({"a": 1}, "")
    assert api.client.get("/v1/x", {}, '"tag"') is None
    assert Answers.validators == [None, '"tag"']


@pytest.mark.parametrize(("timeout", "retries", "good"), [(1, 0, True), (1, -1, False), (0, 1, False), (0.1, 1, True)])
def test_timeout_and_retries_must_make_sense(timeout: float, retries: int, good: bool) -> None:
    if good:
        DiscoveryClient("https://x", TOKEN, timeout=timeout, retries=retries)
    else:
        with pytest.raises(DiscoveryError, match="timeout must be more than 0 seconds, and retries cannot be negative"):
            DiscoveryClient("https://x", TOKEN, timeout=timeout, retries=retries)
