"""Who may do what, and what becomes of those who may not."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hpcops_discovery.access import AccessError, FailureLimit, new_token, put_token, revoke_token
from hpcops_discovery.cli import expiry
from hpcops_discovery.database import Database
from hpcops_discovery.settings import Settings
from support import ADMIN, ALPHA, NODE, READER, WRITER, Client, cli, host, write_config


@pytest.fixture
def database(settings: Settings, site: Client) -> Database:
    return Database(settings.database_url)


@pytest.mark.parametrize(
    ("method", "path", "body", "allowed"),
    [
        ("GET", "/v1/hosts", None, {READER, WRITER, ADMIN}),
        ("GET", "/v1/inventory", None, {READER, WRITER, ADMIN}),
        ("GET", "/v1/events", None, {READER, WRITER, ADMIN}),
        ("POST", "/v1/hosts", {"hosts": [host("n1")]}, {WRITER, ADMIN}),
        ("PATCH", "/v1/hosts/a1", {"rack": "r1"}, {WRITER, ADMIN}),
        ("PUT", "/v1/clusters/alpha", {}, {ADMIN}),
        ("DELETE", "/v1/clusters/alpha", None, {ADMIN}),
        ("POST", "/v1/heartbeats", {"beats": [{"host": "a1"}]}, {NODE, WRITER, ADMIN}),
    ],
)
def test_scope_decides(site: Client, method: str, path: str, body: Any, allowed: set[str]) -> None:
    for token in (NODE, READER, WRITER, ADMIN):
        status = site.of(token).request(method, path, json=body).status_code
        assert (status != 403) == (token in allowed), (token, status)


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer x", "Basic eDp4", f"Bearer {ADMIN}x", f"Token {ADMIN}"])
def test_request_without_a_valid_token_is_refused(site: Client, header: str | None) -> None:
    answer = site.get("/v1/hosts", headers={"Authorization": header or ""})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"


def test_refusal_is_in_the_event_log_with_its_reason(site: Client) -> None:
    site.of(READER).refused(403, "PATCH", "/v1/hosts/a1", json={"rack": "r9"})
    site.of(ALPHA).refused(403, "PATCH", "/v1/hosts/b1", json={"rack": "r9"})
    site.of(ALPHA).refused(403, "GET", "/v1/hosts/b1")
    events = site.ok("GET", "/v1/events?action=denied")["items"]
    assert [(event["actor"], event["key"], event["cluster"]) for event in events] == [
        ("reader", "PATCH /v1/hosts/a1", None),
        ("alpha", "PATCH /v1/hosts/b1", "beta"),
        ("alpha", "GET /v1/hosts/b1", "beta"),
    ]
    assert "has the scope read; this needs write" in events[0]["detail"]


def test_token_of_one_cluster_reads_there_alone(site: Client) -> None:
    alpha = site.of(ALPHA)
    assert alpha.names("/v1/hosts") == ["a1", "a2", "a3"]
    assert alpha.names("/v1/clusters") == ["alpha"]
    for path in (
        "/v1/hosts?cluster=beta",
        "/v1/hosts/b1",
        "/v1/clusters/beta",
        "/v1/services?cluster=beta",
        "/v1/events?cluster=beta",
    ):
        alpha.refused(403, "GET", path)
    assert {event["cluster"] for event in alpha.ok("GET", "/v1/events")["items"]} == {"alpha"}
    alpha.refused(403, "POST", "/v1/heartbeats", json={"beats": [{"host": "a1"}, {"host": "b1"}]})
    assert alpha.ok("GET", "/v1/heartbeats")["items"] == []


def test_revoked_token_is_refused_at_once(site: Client, database: Database) -> None:
    reader = site.of(READER)
    reader.ok("GET", "/v1/hosts")
    assert revoke_token(database, "reader") is True
    reader.refused(401, "GET", "/v1/hosts")
    assert revoke_token(database, "reader") is False


def test_revoked_token_sends_no_more_heartbeats(site: Client, database: Database) -> None:
    node, body = site.of(NODE), {"beats": [{"host": "a1"}]}
    for _beat in range(2):
        node.ok("POST", "/v1/heartbeats", json=body)
    before = site.ok("GET", "/v1/heartbeats")["items"]
    assert revoke_token(database, "node") is True
    node.refused(401, "POST", "/v1/heartbeats", json=body)
    assert site.ok("GET", "/v1/heartbeats")["items"] == before


def test_token_whose_clusters_change_sends_heartbeats_of_the_new_ones_alone(site: Client, database: Database) -> None:
    node = site.of(NODE)
    for clusters, statuses in ((None, (204, 204)), (["beta"], (403, 204)), (["alpha"], (204, 403))):
        put_token(database, "node", NODE, "heartbeat", clusters, None)
        found = [node.post("/v1/heartbeats", json={"beats": [{"host": name}]}).status_code for name in ("a1", "b1")]
        assert tuple(found) == statuses


def test_token_ends_when_it_was_to_end(site: Client, database: Database) -> None:
    token = new_token()
    put_token(database, "short", token, "read", None, time.time() + 2)
    site.of(token).ok("GET", "/v1/hosts")
    time.sleep(2.1)
    site.of(token).refused(401, "GET", "/v1/hosts")
    site.of(token).refused(401, "POST", "/v1/heartbeats", json={"beats": [{"host": "a1"}]})


def test_token_whose_clusters_change_sees_the_new_ones_at_once(site: Client, database: Database) -> None:
    etag = site.of(ALPHA).get("/v1/inventory").headers["etag"]
    put_token(database, "alpha", ALPHA, "write", ["beta"], None)
    answer = site.of(ALPHA).get("/v1/inventory", headers={"If-None-Match": etag})
    assert list(answer.json()["hosts"]) == ["b1"]


def test_database_holds_no_token(site: Client, database: Database, tmp_path: Path) -> None:
    with database.read() as connection:
        for table in ("tokens", "events"):
            rows = connection.exec_driver_sql(f"SELECT * FROM {table}").all()
            assert not any(token in str(rows) for token in (ADMIN, WRITER, READER, ALPHA, NODE))


@pytest.mark.parametrize("token", ["", "short", "x" * 31, "with blank " + "x" * 32, "x" * 257, "ü" * 40])
def test_token_that_is_easy_to_guess_or_to_mistake_is_refused(database: Database, token: str) -> None:
    with pytest.raises(AccessError, match="32 to 256"):
        put_token(database, "new", token, "read", None, None)


def test_one_token_under_two_names_is_refused(database: Database) -> None:
    with pytest.raises(AccessError, match="is the same as 'reader'"):
        put_token(database, "other", READER, "read", None, None)


def test_too_many_failures_of_an_address_are_not_answered_any_more() -> None:
    present = 0.0
    limit = FailureLimit(3, lambda: present)
    assert [limit.exceeded_by("a") for _attempt in range(5)] == [False, False, False, True, True]
    assert limit.exceeded_by("b") is False
    present = 61.0
    assert limit.exceeded_by("a") is False


def test_failures_are_limited_and_a_valid_token_is_not(settings: Settings, site: Client) -> None:
    for _attempt in range(settings.failures_per_minute):
        if site.get("/v1/hosts", headers={"Authorization": "Bearer x"}).status_code == 429:
            break
    answer = site.get("/v1/hosts", headers={"Authorization": "Bearer x"})
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "60"
    site.ok("GET", "/v1/hosts")


@pytest.mark.parametrize(
    ("value", "seconds"), [("12h", 12 * 3600), ("90d", 90 * 86400), ("1y", 365 * 86400), ("2099-01-31", None)]
)
def test_end_of_a_token_is_a_duration_or_a_date(value: str, seconds: int | None) -> None:
    assert abs(expiry(value) - (time.time() + seconds if seconds else 4073500800)) < 60


# --- The command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(settings: Settings, tmp_path: Path) -> Callable[..., str]:
    config = write_config(tmp_path / "cli.toml", database_url=settings.database_url)

    def run(*arguments: str, stdin: str = "") -> str:
        return cli(config, *arguments, stdin=stdin).stdout.strip()

    return run


def test_command_makes_lists_and_revokes_tokens(site: Client, command: Callable[..., str]) -> None:
    token = command("token", "create", "new", "--scope", "write", "--cluster", "alpha", "--expires", "90d")
    new = site.of(token)
    new.ok("PATCH", "/v1/hosts/a1", json={"rack": "r9"})
    new.refused(403, "PATCH", "/v1/hosts/b1", json={"rack": "r9"})
    listed = command("token", "list")
    assert '"name": "new"' in listed
    assert '"state": "valid"' in listed
    assert token not in listed
    assert command("token", "revoke", "new") == "revoked"
    assert command("token", "revoke", "new") == "unchanged"
    new.refused(401, "GET", "/v1/hosts")


def test_command_sets_a_given_token_and_says_whether_that_changed_anything(
    site: Client, command: Callable[..., str]
) -> None:
    given = "given-token-of-the-tests-0123456789abcdef"
    set_token = ("token", "set", "given", "--scope", "read")
    assert [command(*set_token, stdin=given) for _run in range(2)] == ["changed", "unchanged"]
    site.of(given).ok("GET", "/v1/hosts")
    assert command(*set_token, "--cluster", "alpha", stdin=given) == "changed"
    site.of(given).refused(403, "GET", "/v1/hosts/b1")


def test_command_says_what_is_wrong(settings: Settings, tmp_path: Path) -> None:
    config = write_config(tmp_path / "cli.toml", database_url=settings.database_url)
    done = cli(config, "token", "revoke", "nobody", check=False)
    assert (done.returncode, done.stderr) == (1, "hpcops-discovery: there is no token 'nobody'\n")
    broken = write_config(tmp_path / "broken.toml", databse_url="x")
    assert "databse_url" in cli(broken, "token", "list", check=False).stderr


# --- The status page's way in --------------------------------------------------------------------------------------------


def test_status_page_asks_for_a_token_as_the_password(site: Client) -> None:
    site.headers.pop("Authorization")
    answer = site.get("/")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic")
    credentials = base64.b64encode(f"anybody:{ALPHA}".encode()).decode()
    page = site.get("/", headers={"Authorization": f"Basic {credentials}"})
    assert page.status_code == 200
    assert "alpha" in page.text
    assert "beta" not in page.text
