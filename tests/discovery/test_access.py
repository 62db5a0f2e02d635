"""Who may do what, and what becomes of those who may not."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hpcops_discovery.access import AccessError, End, FailureLimit, new_token, put_token, revoke_token
from hpcops_discovery.cli import expiry
from hpcops_discovery.database import Database
from hpcops_discovery.settings import Settings
from support import ADMIN, ALPHA, NODE, READER, WRITER, Client, cli, host, in_thread, service, write_config


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
    site.of(ALPHA).refused(404, "PATCH", "/v1/hosts/b1", json={"rack": "r9"})
    site.of(ALPHA).refused(404, "GET", "/v1/hosts/b1")
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
        "/v1/clusters/beta",
        "/v1/services?cluster=beta",
        "/v1/events?cluster=beta",
    ):
        alpha.refused(403, "GET", path)
    assert {event["cluster"] for event in alpha.ok("GET", "/v1/events")["items"]} == {"alpha"}
    alpha.refused(422, "POST", "/v1/heartbeats", json={"beats": [{"host": "a1"}, {"host": "b1"}]})
    assert alpha.ok("GET", "/v1/heartbeats")["items"] == []


def test_token_of_one_cluster_does_not_learn_what_others_have(site: Client, settings: Settings) -> None:
    """A host of another cluster is answered as one that does not exist, however often somebody asks."""
    site.ok("PATCH", "/v1/hosts/b1", json={"instance_id": "i-1", "provider": "aws"})
    alpha = site.of(ALPHA)

    def answer(name: str, method: str, path: str, body: Any) -> tuple[int, str]:
        text = json.dumps(body).replace("NAME", name) if body is not None else None
        found = alpha.request(
            method, path.replace("NAME", name), content=text, headers={"Content-Type": "application/json"}
        )
        return found.status_code, found.text.replace(name, "NAME")

    for method, path, body in (
        ("GET", "/v1/hosts/NAME", None),
        ("PATCH", "/v1/hosts/NAME", {"rack": "r1"}),
        ("PATCH", "/v1/hosts/NAME", {"state": "retired", "revision": 1}),
        ("POST", "/v1/heartbeats", {"beats": [{"host": "a1"}, {"host": "NAME"}]}),
        ("POST", "/v1/services", {"services": [service("s", "NAME")]}),
        ("GET", "/v1/services/alpha/s/NAME", None),
    ):
        assert answer("b1", method, path, body) == answer("nobody", method, path, body)
    for method, path, body in (
        ("PUT", "/v1/hosts/NAME", host("NAME")),
        ("POST", "/v1/hosts", {"hosts": [host("NAME")]}),
        ("PATCH", "/v1/hosts", {"hosts": [host("NAME")]}),
        ("PATCH", "/v1/hosts/a1", {"instance_id": "i-1", "provider": "aws"}),
    ):
        status, text = answer("b1", method, path, body)
        assert status in (403, 422)
        assert "beta" not in text
        assert "b1" not in text.replace("NAME", "")
    with in_thread(settings.model_copy(update={"failures_per_minute": 2})) as client:
        assert [client.of(ALPHA).get("/v1/hosts/b1").status_code for _attempt in range(4)] == [404] * 4


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
    for clusters, statuses in ((None, (204, 204)), (["beta"], (422, 204)), (["alpha"], (204, 422))):
        put_token(database, "node", NODE, "heartbeat", clusters, None)
        found = [node.post("/v1/heartbeats", json={"beats": [{"host": name}]}).status_code for name in ("a1", "b1")]
        assert tuple(found) == statuses


def test_token_ends_when_it_was_to_end(site: Client, database: Database) -> None:
    token = new_token()
    put_token(database, "short", token, "read", None, End(time.time() + 2))
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
    assert abs(expiry(value).at - (time.time() + seconds if seconds else 4073500800)) < 60


# --- Variables that decide what runs -----------------------------------------------------------------------------------

RESERVED = {
    "ansible_ssh_common_args": "-o ProxyCommand='sh -c \"id > /root/PWNED\"'",
    "hpcops_discovery_url": "https://attacker.example.org",
    "slurmctld_extra_files": {"prolog.sh": "id"},
    "enroot_hooks": [{"name": "99-evil", "content": "id"}],
    "slurm_elastic_boot_commands": ["id"],
    "slurm_cluster_name": "beta",
    "slurmctld_parameters": {"Prolog": "/tmp/evil"},
    "inventory_dir": "/tmp",
}


@pytest.mark.parametrize("name", RESERVED)
def test_writer_does_not_set_what_ansible_runs(site: Client, name: str) -> None:
    """By none of the ways that write a host; and neither change nor remove what an administrator has set."""
    variables: dict[str, Any] = {"variables": {name: RESERVED[name]}}

    def refused(pointer: str, method: str, path: str, body: Any) -> None:
        problem = site.of(ALPHA).refused(422, method, path, json=body)
        assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [(pointer, "reserved")]
        assert name in problem["detail"]

    def attack() -> None:
        refused(f"/variables/{name}", "PATCH", "/v1/hosts/a1", variables)
        refused(f"/variables/{name}", "PUT", "/v1/hosts/a1", host("a1", **variables))
        refused(f"/hosts/0/variables/{name}", "POST", "/v1/hosts", {"hosts": [host("n9", **variables)]})
        refused(f"/hosts/0/variables/{name}", "PATCH", "/v1/hosts", {"hosts": [{"name": "a1", **variables}]})

    attack()
    site.of(WRITER).refused(422, "PATCH", "/v1/hosts/a1", json=variables)
    site.ok("PATCH", "/v1/hosts/a1", json={"variables": {name: "the operator's", "other": 1}})
    attack()
    refused(f"/variables/{name}", "PATCH", "/v1/hosts/a1", {"variables": {name: None}})
    refused(f"/variables/{name}", "PUT", "/v1/hosts/a1", host("a1"))
    site.of(ALPHA).ok("PATCH", "/v1/hosts/a1", json={"rack": "r9", "variables": {"other": 2}})
    assert site.ok("GET", "/v1/hosts/a1")["variables"] == {name: "the operator's", "other": 2}


def test_administrator_of_one_cluster_does_not_set_what_ansible_runs(site: Client, database: Database) -> None:
    token = new_token()
    put_token(database, "alphas", token, "admin", ["alpha"], None)
    body = {"variables": {"ansible_ssh_common_args": "-o ProxyCommand=id"}}
    for path in ("/v1/clusters/alpha", "/v1/hosts/a1"):
        method = "PUT" if "clusters" in path else "PATCH"
        problem = site.of(token).refused(422, method, path, json=body)
        assert problem["errors"][0]["pointer"] == "/variables/ansible_ssh_common_args"
        site.ok(method, path, json=body)
    site.of(token).ok("PUT", "/v1/clusters/alpha", json={**body, "slurm": {"SlurmctldTimeout": 60}})


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("ansible_host", "10.0.0.9", "-oProxyCommand=id"),
        ("ansible_port", 2222, "22 -oProxyCommand=id"),
        ("ansible_user", "deploy", "{{ lookup('pipe', 'id') }}"),
    ],
)
def test_writer_says_how_a_host_is_reached_and_no_more(site: Client, name: str, good: Any, bad: Any) -> None:
    alpha = site.of(ALPHA)
    alpha.ok("PATCH", "/v1/hosts/a1", json={"variables": {name: good}})
    assert site.ok("GET", "/v1/inventory")["hosts"]["a1"]["vars"][name] == good
    problem = alpha.refused(422, "PATCH", "/v1/hosts/a1", json={"variables": {name: bad}})
    assert name in problem["detail"]


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
    new.refused(404, "PATCH", "/v1/hosts/b1", json={"rack": "r9"})
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
    site.of(given).refused(404, "GET", "/v1/hosts/b1")


def test_command_binds_a_token_to_hosts(site: Client, command: Callable[..., str]) -> None:
    token = command("token", "create", "n", "--scope", "heartbeat", "--host", "a1", "--host", "a3")
    statuses = [
        site.of(token).post("/v1/heartbeats", json={"beats": [{"host": name}]}).status_code
        for name in ("a1", "a2", "a3")
    ]
    assert statuses == [204, 403, 204]
    assert '"hosts": ["a1", "a3"]' in command("token", "list")


def test_end_of_a_token_is_brought_forward_and_never_back_by_a_duration(
    site: Client, database: Database, command: Callable[..., str]
) -> None:
    given = "given-token-of-the-tests-0123456789abcdef"

    def put(*end: str) -> tuple[str, float | None]:
        done = command("token", "set", "given", "--scope", "read", *end, stdin=given)
        with database.read() as connection:
            return done, connection.exec_driver_sql("SELECT expires FROM tokens WHERE name = 'given'").scalar()

    def ends(done: tuple[str, float | None], word: str, seconds: float) -> None:
        assert done[0] == word
        assert abs((done[1] or 0) - time.time() - seconds) < 300

    ends(put("--expires", "1y"), "changed", 365 * 86400)
    ends(put("--expires", "1y"), "unchanged", 365 * 86400)
    ends(put("--expires", "1h"), "changed", 3600)
    ends(put("--expires", "1y"), "unchanged", 3600)
    assert put("--expires", "2099-01-31") == ("changed", 4073500800.0)
    assert put("--expires", "2099-01-31") == ("unchanged", 4073500800.0)
    site.of(given).ok("GET", "/v1/clusters")
    assert put("--expires", "2020-01-01")[0] == "changed"
    site.of(given).refused(401, "GET", "/v1/clusters")
    assert put()[0] == "changed"
    site.of(given).ok("GET", "/v1/clusters")
    ends(put("--expires", "90d"), "changed", 90 * 86400)


def test_token_that_returns_or_is_another_begins_its_duration_anew(
    site: Client, database: Database, command: Callable[..., str]
) -> None:
    first, second = "first-token-of-the-tests-0123456789abcdef", "second-token-of-the-tests-0123456789abcdef"
    put_token(database, "given", first, "read", None, End(time.time() + 60))
    command("token", "set", "given", "--expires", "90d", stdin=second)
    site.of(second).ok("GET", "/v1/clusters")
    revoke_token(database, "given")
    put_token(database, "given", second, "read", None, End(time.time() - 60))
    revoke_token(database, "given")
    command("token", "set", "given", "--expires", "90d", stdin=second)
    site.of(second).ok("GET", "/v1/clusters")


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
