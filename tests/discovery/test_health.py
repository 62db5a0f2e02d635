"""Health: what checks and heartbeats find, how it turns, and that one process alone does the checking."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from hpcops_discovery import health
from hpcops_discovery import heartbeats as gathering
from hpcops_discovery.access import AccessError, new_token, put_token
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
    update = {"health_checks": True, "check_networks": [ip_network("127.0.0.0/8")]}
    with in_thread(settings.model_copy(update=update)) as client:
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


# --- Checks that a hostile writer registers ---------------------------------------------------------------------------------


def test_checks_of_one_cluster_do_not_starve_those_of_another(checked: Client) -> None:
    """A thousand services of alpha that never answer: beta's are asked once a second all the same."""
    asked: list[float] = []
    with (
        socket.create_server(("127.0.0.1", 0), backlog=1000) as silent,
        socket.create_server(("127.0.0.1", 0)) as quick,
    ):
        threading.Thread(target=accept, args=(quick, asked), daemon=True).start()
        check = {"type": "http", "interval": 5, "timeout": 10}
        port = silent.getsockname()[1]
        many = [service(f"s{number}", "a1", port=port, scheme="http", check=check) for number in range(1000)]
        checked.ok("POST", "/v1/services", json={"services": many})
        checked.ok("PUT", "/v1/clusters/beta", json={})
        checked.ok("PUT", "/v1/hosts/b1", json={"name": "b1", "cluster": "beta", "addresses": {"main": "127.0.0.1"}})
        wanted = service("q", "b1", "beta", port=quick.getsockname()[1], check={"type": "tcp", **FAST})
        checked.ok("POST", "/v1/services", json={"services": [wanted]})
        eventually(lambda: asked)
        begin = len(asked)
        time.sleep(8)
        assert len(asked) - begin >= 4
        waiting = next(
            line
            for line in checked.get("/metrics").text.splitlines()
            if line.startswith("hpcops_discovery_checks_waiting")
        )
        assert 0 < float(waiting.split()[1]) <= 1000


def accept(listening: socket.socket, times: list[float]) -> None:
    while True:
        try:
            listening.accept()[0].close()
        except OSError:
            return
        times.append(time.monotonic())


def test_service_is_asked_again_only_after_its_answer(checked: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        check = {"type": "http", "interval": 1, "timeout": 2, "fall": 1}
        wanted = service("s", "a1", port=silent.getsockname()[1], scheme="http", check=check)
        checked.ok("POST", "/v1/services", json={"services": [wanted]})
        turns(checked, "critical")
        time.sleep(4)
        silent.settimeout(0.2)
        opened = []
        with contextlib.suppress(TimeoutError):
            while True:
                opened.append(silent.accept()[0])
        for client in opened:
            client.settimeout(0.05)
        assert sum(map(is_waiting, opened)) <= 1
        for client in opened:
            client.close()


def is_waiting(client: socket.socket) -> bool:
    """Whether the other side still waits for an answer."""
    try:
        while client.recv(4096):
            pass
    except TimeoutError:
        return True
    except OSError:
        return False
    return False


def test_timeout_beyond_two_intervals_is_refused(site: Client) -> None:
    for check, status in (({"interval": 1, "timeout": 60}, 422), ({"interval": 1, "timeout": 3}, 422), (FAST, 200)):
        body = {"services": [service("s", "a1", check={"type": "tcp", **check})]}
        assert site.post("/v1/services", json=body).status_code == status


@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_server_does_not_connect_to_itself_for_a_writer(settings: Settings, kind: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as secret,
        in_thread(settings.model_copy(update={"health_checks": True})) as client,
    ):
        client.ok("PUT", "/v1/clusters/alpha", json={})
        for name, address in (
            ("a1", "127.0.0.1"),
            ("a2", "::ffff:127.0.0.1"),
            ("a3", "169.254.169.254"),
            ("a4", "0.0.0.0"),
        ):
            client.ok(
                "PUT", f"/v1/hosts/{name}", json={"name": name, "cluster": "alpha", "addresses": {"main": address}}
            )
            wanted = service("s", name, port=secret.getsockname()[1], scheme="http", check={"type": kind, **FAST})
            client.ok("POST", "/v1/services", json={"services": [wanted]})
        eventually(lambda: len(client.ok("GET", "/v1/services?health=critical")["items"]) == 4)
        for found in client.ok("GET", "/v1/services")["items"]:
            assert "does not connect to" in found["health"]["output"]
        secret.settimeout(1)
        with pytest.raises(TimeoutError):
            secret.accept()


@pytest.mark.parametrize(
    ("address", "refused"),
    [
        ("10.0.0.1", False),
        ("fd00::1", False),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("169.254.169.254", True),
        ("fe80::1%eth0", True),
        ("224.0.0.1", True),
        ("0.0.0.0", True),
        ("::", True),
        ("127.1.0.1", False),
    ],
)
def test_addresses_of_the_machine_and_its_link_are_refused_unless_allowed(address: str, *, refused: bool) -> None:
    assert health.is_refused(address, [ip_network("127.1.0.0/16")]) is refused


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


def test_heartbeat_of_services_that_nobody_registered_leaves_nothing(site: Client) -> None:
    """A node cannot fill the disk: 100 services of any name in each beat, and the host is alive all the same."""
    site.ok("POST", "/v1/services", json={"services": [service("s", "a1"), service("t", "a2")]})
    for number in range(3):
        names = {f"x{number}-{each}": "passing" for each in range(97)} | {"s": "warning", "t": "passing"}
        site.of(NODE).ok("POST", "/v1/heartbeats", json={"beats": [{"host": "a1", "services": names}]})
    seen = site.ok("GET", "/v1/heartbeats")["items"]
    assert [(beat["host"], beat["service"]) for beat in seen] == [("a1", ""), ("a1", "s")]
    site.ok("DELETE", "/v1/services/alpha/s/a1")
    assert [beat["service"] for beat in site.ok("GET", "/v1/heartbeats")["items"]] == [""]


def test_token_of_one_host_does_not_speak_for_others(site: Client, settings: Settings) -> None:
    token = new_token()
    database = Database(settings.database_url)
    put_token(database, "a1", token, "heartbeat", None, None, ["a1"])
    bound = site.of(token)
    for beats, status in (("a1", 204), ("a2", 403), ("a1", 204), ("a2", 403)):
        body = {"beats": [{"host": beats, "services": {"slurmctld": "critical"}}]}
        assert bound.post("/v1/heartbeats", json=body).status_code == status
    bound.refused(403, "POST", "/v1/heartbeats", json={"beats": [{"host": "a1"}, {"host": "a2"}]})
    assert [beat["host"] for beat in site.ok("GET", "/v1/heartbeats")["items"]] == ["a1"]
    with pytest.raises(AccessError, match="heartbeat only"):
        put_token(database, "x", new_token(), "read", None, None, ["a1"])
    put_token(database, "a1", token, "heartbeat", None, None, ["a2"])
    assert bound.post("/v1/heartbeats", json={"beats": [{"host": "a1"}]}).status_code == 403
    database.close()


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
