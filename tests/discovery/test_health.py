"""Health: what checks and heartbeats find, how it turns, and that one process alone does the checking."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hpcops_discovery import health
from hpcops_discovery import heartbeats as gathering
from hpcops_discovery.database import Database
from hpcops_discovery.health import Checker, step
from hpcops_discovery.settings import Settings
from hpcops_discovery.shapes import Health
from hypothesis import given
from hypothesis import strategies as st
from support import NODE, Client, eventually, free_port, in_thread, service

FAST = {"interval": 1, "timeout": 1, "rise": 2, "fall": 2}

# --- Hysteresis ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("results", "statuses"),
    [
        ("+", "p"),
        ("-", "w"),
        ("---", "wwc"),
        ("+-+-+-", "pwwwww"),
        ("+---", "pwwc"),
        ("---+-+", "wwcccc"),
        ("---++", "wwccp"),
        ("--++---", "wwwpwwc"),
    ],
)
def test_status_turns_only_after_as_many_results_as_asked_for(results: str, statuses: str) -> None:
    status: Health = "unknown"
    streak, seen = 0, ""
    for result in results:
        status, streak = step(status, streak, passed=result == "+", rise=2, fall=3)
        seen += status[0]
    assert seen == statuses


@given(st.lists(st.booleans()), st.integers(1, 5), st.integers(1, 5))
def test_status_agrees_with_the_latest_streak(results: list[bool], rise: int, fall: int) -> None:
    status: Health = "unknown"
    streak = 0
    for passed in results:
        before = status
        status, streak = step(status, streak, passed=passed, rise=rise, fall=fall)
        if before == "critical":
            assert status in ("critical", "passing")
    if len(results) >= fall and not any(results[-fall:]):
        assert status == "critical"
    if len(results) >= rise and all(results[-rise:]):
        assert status == "passing"
    assert abs(streak) <= max(rise, fall)


# --- Checks against real sockets ---------------------------------------------------------------------------------------


@pytest.fixture
def checked(settings: Settings) -> Iterator[Client]:
    """A site whose one host is this machine, and whose services are checked."""
    with in_thread(settings.model_copy(update={"health_checks": True})) as client:
        client.ok("PUT", "/v1/clusters/alpha", json={})
        client.ok("PUT", "/v1/hosts/a1", json={"name": "a1", "cluster": "alpha", "addresses": {"main": "127.0.0.1"}})
        yield client


def health_of(client: Client, name: str = "s") -> dict[str, str]:
    found: dict[str, str] = client.ok("GET", f"/v1/services/alpha/{name}/a1")["health"]
    return found


def turns(client: Client, status: str, name: str = "s") -> None:
    eventually(lambda: health_of(client, name)["status"] == status)


def test_tcp_check_follows_a_service_that_stops_and_starts(checked: Client) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    wanted = service("s", "a1", port=port, check={"type": "tcp", **FAST})
    checked.ok("POST", "/v1/services", json={"services": [wanted]})
    turns(checked, "passing")
    revision = checked.ok("GET", "/v1/clusters")["revision"]
    etag = checked.get("/v1/services").headers["etag"]
    listening.close()
    turns(checked, "critical")
    assert checked.ok("GET", "/v1/services?health=critical")["items"][0]["name"] == "s"
    assert checked.ok("GET", "/v1/clusters")["revision"] == revision
    assert checked.get("/v1/services", headers={"If-None-Match": etag}).status_code == 200
    with socket.create_server(("127.0.0.1", port)):
        turns(checked, "passing")


class Answers(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/health" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        pass


def test_http_check_wants_an_answer_below_400(checked: Client) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    check = {"type": "http", "path": "/health", **FAST}
    wanted = service("s", "a1", port=server.server_port, scheme="http", check=check)
    other = service("t", "a1", port=server.server_port, scheme="http", check={**check, "path": "/elsewhere"})
    checked.ok("POST", "/v1/services", json={"services": [wanted, other]})
    turns(checked, "passing")
    turns(checked, "critical", "t")
    assert health_of(checked, "t")["output"] == "HTTP 404"
    Answers.status = 503
    turns(checked, "critical")
    Answers.status = 200
    turns(checked, "passing")
    server.shutdown()
    server.server_close()


def test_service_that_does_not_answer_in_time_is_critical(checked: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        check = {"type": "http", **FAST}
        wanted = service("s", "a1", port=silent.getsockname()[1], scheme="http", check=check)
        checked.ok("POST", "/v1/services", json={"services": [wanted]})
        turns(checked, "critical")
    assert "within 1 s" in health_of(checked)["output"]


def test_service_without_a_check_passes_and_one_with_a_new_check_is_unknown(site: Client) -> None:
    for check, status in ((None, "passing"), ({"type": "tcp"}, "unknown"), (None, "passing")):
        site.ok("POST", "/v1/services", json={"services": [service("s", "a1", check=check)]})
        assert health_of(site)["status"] == status


def test_watcher_who_asks_for_it_is_woken_by_health(checked: Client) -> None:
    wanted = service("s", "a1", port=free_port(), check={"type": "tcp", "interval": 3600, "fall": 1})
    revision = checked.ok("POST", "/v1/services", json={"services": [wanted]})["revision"]
    known = checked.ok("GET", f"/v1/watch?since={revision - 1}")["health_revision"]
    if health_of(checked)["status"] == "unknown":
        assert checked.ok("GET", f"/v1/watch?since={revision}&health_since={known}&wait=60")["health_revision"] > known
    assert health_of(checked)["status"] == "critical"


# --- Heartbeats --------------------------------------------------------------------------------------------------------


def test_heartbeat_keeps_a_service_alive_until_it_stays_away(checked: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "HEARTBEAT_SECONDS", 0.2)
    wanted = service("s", "a1", check={"type": "heartbeat", "ttl": 5, "rise": 1})
    checked.ok("POST", "/v1/services", json={"services": [wanted]})
    node = checked.of(NODE)
    for status in ("passing", "critical", "passing"):
        node.ok("POST", "/v1/heartbeats", json={"beats": [{"host": "a1", "services": {"s": status}}]})
        turns(checked, status)
    turns(checked, "critical")
    assert "no heartbeat for more than 5 s" in health_of(checked)["output"]
    seen = checked.ok("GET", "/v1/heartbeats?host=a1")["items"]
    assert [(beat["service"], beat["status"]) for beat in seen] == [("", "passing"), ("s", "passing")]


def test_heartbeats_are_listed_in_pages(site: Client) -> None:
    site.ok("POST", "/v1/heartbeats", json={"beats": [{"host": name} for name in ("b1", "a1", "a2")]})
    page = site.ok("GET", "/v1/heartbeats?limit=2")
    assert [beat["host"] for beat in page["items"]] == ["a1", "a2"]
    rest = site.ok("GET", "/v1/heartbeats", params={"after": page["next"]})
    assert [beat["host"] for beat in rest["items"]] == ["b1"]


def test_heartbeat_of_an_unknown_host_does_not_spoil_those_of_others(
    site: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "GATHER_SECONDS", 1.0)
    answers: dict[str, int] = {}

    def beat(*names: str) -> None:
        body = {"beats": [{"host": name} for name in names]}
        answers[names[0]] = site.of(NODE).post("/v1/heartbeats", json=body).status_code

    threads = [threading.Thread(target=beat, args=names) for names in (("a1",), ("nobody", "a2"), ("b1",))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {"a1": 204, "nobody": 422, "b1": 204}
    assert [found["host"] for found in site.ok("GET", "/v1/heartbeats")["items"]] == ["a1", "b1"]


@pytest.mark.parametrize("known", [True, False], ids=["token known", "token new"])
@pytest.mark.parametrize(
    ("content", "type_of_it", "status"),
    [
        (b'{"beats": [{"host": "a1"}]}', "application/json", 204),
        (b'{"beats": [{"host": "a1"}]}', "application/json; charset=utf-8", 204),
        (b'{"beats": [{"host": "a1"}]}', "text/plain", 422),
        (b'{"beats": [{"host": "a1", "colour": "blue"}]}', "application/json", 422),
        (b'{"beats": [{"host": "a1", "services": {"s": "ill"}}]}', "application/json", 422),
        (b'{"beats": []}', "application/json", 422),
        (b'{"beats": [', "application/json", 400),
        (b"", "application/json", 422),
    ],
)
def test_heartbeats_are_answered_alike_whether_the_token_is_known_already(
    site: Client, content: bytes, type_of_it: str, status: int, *, known: bool
) -> None:
    node = site.of(NODE)
    if known:
        node.ok("POST", "/v1/heartbeats", json={"beats": [{"host": "a2"}]})
        node.ok("POST", "/v1/heartbeats", json={"beats": [{"host": "a2"}]})
    answer = node.post("/v1/heartbeats", content=content, headers={"Content-Type": type_of_it})
    assert answer.status_code == status, answer.text
    seen = [beat["host"] for beat in site.ok("GET", "/v1/heartbeats")["items"]]
    assert ("a1" in seen) == (status == 204)


def test_heartbeats_are_counted_as_requests_of_their_path(site: Client) -> None:
    line = 'hpcops_discovery_requests_total{method="POST",route="/v1/heartbeats",status="204"} '

    def count() -> float:
        text: str = site.get("/metrics").text
        return float(next((row.removeprefix(line) for row in text.splitlines() if row.startswith(line)), "0"))

    before = count()
    for _beat in range(3):
        site.of(NODE).ok("POST", "/v1/heartbeats", json={"beats": [{"host": "a1"}]})
    assert count() == before + 3


def test_heartbeat_of_a_retired_host_is_refused(site: Client) -> None:
    site.ok("PATCH", "/v1/hosts/a1", json={"state": "retired"})
    problem = site.refused(422, "POST", "/v1/heartbeats", json={"beats": [{"host": "a1"}]})
    assert problem["errors"][0]["pointer"] == "/beats/0/host"


# --- One checks at a time ------------------------------------------------------------------------------------------------


@pytest.fixture
def checker(settings: Settings) -> Callable[[], Checker]:
    return lambda: Checker(Database(settings.database_url), None, lambda: None)


def test_one_process_alone_holds_the_lease(checker: Callable[[], Checker]) -> None:
    one, two = checker(), checker()
    assert [one.hold(), two.hold(), one.hold()] == [True, False, True]
    one.release()
    assert [two.hold(), one.hold()] == [True, False]


def test_lease_of_a_dead_process_passes_on(checker: Callable[[], Checker], monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = checker(), checker()
    monkeypatch.setattr(health, "LEASE_SECONDS", 0.5)
    assert [one.hold(), two.hold()] == [True, False]
    time.sleep(0.6)
    assert two.hold()
