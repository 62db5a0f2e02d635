"""The API runs as its own user behind its socket, answers over TLS to who has a token, and keeps what it was told."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from ansible_collections.hpcops.cluster.tests.support.hosts import PREFIX, container, names

API = names("alone")[0]
PAIR = names("pair")
CLIENT = names("client")[0]
testinfra_hosts = [f"docker://{PREFIX}{API}"]
SECRET = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "token").read_text(encoding="utf-8").split()[0]
URL = "https://api:8420"


@pytest.fixture(name="client", scope="module")
def client_fixture() -> Host:
    """Another host, which trusts the APIs' certificates."""
    client = container(CLIENT)
    authority = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "ca", "ca.crt").read_text(encoding="utf-8")
    client.run_expect([0], f"echo '{authority}' >/tmp/api.crt")
    return client


def status(client: Host, method: str, path: str, body: object = None, token: str = "admin", url: str = URL) -> int:
    return int(_curl(client, method, f"{url}{path}", body, token, "--output /dev/null --write-out '%{http_code}'"))


def answer(client: Host, method: str, path: str, body: object = None, token: str = "admin", url: str = URL) -> Any:
    return json.loads(_curl(client, method, f"{url}{path}", body, token, "--fail-with-body"))


def _curl(client: Host, method: str, url: str, body: object, token: str, options: str) -> str:
    data = f"--json '{json.dumps(body)}'" if body is not None else ""
    header = f"--header 'Authorization: Bearer {token}-{SECRET}'"
    return str(
        client.check_output(f"curl --silent --cacert /tmp/api.crt {options} -X {method} {header} {data} '{url}'")
    )


@pytest.fixture(name="cluster", scope="module")
def cluster_fixture(client: Host) -> str:
    answer(client, "PUT", "/v1/clusters/alpha", {})
    host = {"name": "api", "cluster": "alpha", "addresses": {"main": "127.0.0.1"}, "slurm_node": {"cpus": 2}}
    answer(client, "PUT", "/v1/hosts/api", host)
    return "alpha"


def test_client_on_another_host_reads_what_was_written_over_verified_tls(client: Host, cluster: str) -> None:
    found = answer(client, "GET", "/v1/inventory", token="read")
    assert found["hosts"]["api"]["vars"] == {"ansible_host": "127.0.0.1", "slurm_node_cpus": 2}
    assert list(found["clusters"]) == [cluster]


@pytest.mark.parametrize(
    ("token", "method", "path", "expected"),
    [
        ("wrong", "GET", "/v1/hosts", 401),
        ("read", "GET", "/v1/hosts", 200),
        ("read", "PATCH", "/v1/hosts/api", 403),
        ("node", "GET", "/v1/hosts", 403),
    ],
)
def test_token_decides_what_is_allowed(
    client: Host, cluster: str, token: str, method: str, path: str, expected: int
) -> None:
    body = {"rack": "r1"} if method == "PATCH" else None
    assert cluster
    assert status(client, method, path, body, token) == expected


def test_server_checks_services(client: Host, cluster: str) -> None:
    service = {"cluster": cluster, "name": "discovery", "host": "api", "port": 8420, "scheme": "https"}
    check = {"type": "http", "path": "/healthz", "verify": False, "interval": 1, "rise": 1}
    answer(client, "POST", "/v1/services", {"services": [{**service, "check": check}]})
    for _second in range(60):
        passing = answer(client, "GET", "/v1/services?health=passing")["items"]
        if passing:
            break
        time.sleep(1)
    assert [item["name"] for item in passing] == ["discovery"]


def test_restart_refuses_no_connection_and_keeps_the_data(host: Host, client: Host, cluster: str) -> None:
    assert cluster
    host.run_expect([0], "systemctl restart --no-block hpcops-discovery")
    for _request in range(20):
        assert status(client, "GET", "/v1/hosts/api", token="read") == 200


def test_reload_drops_no_request(host: Host, client: Host, cluster: str) -> None:
    assert cluster
    before = host.check_output("systemctl show --property=MainPID --value hpcops-discovery")
    host.run_expect([0], "systemctl reload hpcops-discovery")
    for _request in range(20):
        assert status(client, "GET", "/v1/hosts/api", token="read") == 200
    assert host.check_output("systemctl show --property=MainPID --value hpcops-discovery") == before


def test_service_runs_as_its_own_user_and_can_gain_nothing(host: Host) -> None:
    pid = host.check_output("systemctl show --property=MainPID --value hpcops-discovery")
    text = host.file(f"/proc/{pid}/status").content_string
    fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    assert fields["Uid"].split()[0] == str(host.user("hpcops-discovery").uid)
    assert (fields["NoNewPrivs"], fields["Seccomp"], int(fields["CapBnd"], 16)) == ("1", "2", 0)


def test_administrator_makes_and_revokes_tokens_on_the_server(host: Host, client: Host, cluster: str) -> None:
    token = host.check_output("hpcops-discovery token create visitor --expires 1h")
    ask = f"curl --silent --cacert /tmp/api.crt --oauth2-bearer {token} --write-out '%{{http_code}}' -o /dev/null {URL}/v1/hosts"
    assert (cluster, client.check_output(ask)) == ("alpha", "200")
    host.run_expect([0], "hpcops-discovery token revoke visitor")
    assert client.check_output(ask) == "401"


def test_backup_of_the_day_restores_into_an_empty_database(host: Host, client: Host, cluster: str) -> None:
    host.run_expect([0], "systemctl start hpcops-discovery-backup.service")
    backup = host.check_output("ls /var/lib/hpcops-discovery/backups/daily-*.json.gz | tail -n 1")
    settings = 'database_url = "sqlite:////tmp/restored.db"\n'
    python = host.check_output("sed -n 's/^exec \\(.*python\\) .*/\\1/p' /usr/local/sbin/hpcops-discovery")
    host.run_expect([0], f"printf '{settings}' >/tmp/restored.toml")
    host.run_expect([0], f"{python} -m hpcops_discovery --config /tmp/restored.toml restore {backup}")
    revision = answer(client, "GET", "/v1/clusters")["revision"]
    query = "import sqlite3; print(sqlite3.connect('/tmp/restored.db').execute('select revision from site_state').fetchone()[0])"
    assert (cluster, host.check_output(f'{python} -c "{query}"')) == ("alpha", str(revision))


def test_backup_of_the_day_brings_a_running_service_back(host: Host, client: Host, cluster: str) -> None:
    backup = host.check_output("ls /var/lib/hpcops-discovery/backups/daily-*.json.gz | tail -n 1")
    before = answer(client, "GET", "/v1/hosts/api")
    answer(client, "PATCH", "/v1/hosts/api", {"rack": "r-today"})
    assert "--force" in host.run_expect([1], f"hpcops-discovery restore {backup}").stderr
    assert answer(client, "GET", "/v1/hosts/api")["rack"] == "r-today"
    host.run_expect([0], f"hpcops-discovery restore --force {backup}")
    assert (cluster, answer(client, "GET", "/v1/hosts/api")) == ("alpha", before)


def test_tokens_are_in_no_file_and_no_journal_of_the_host(host: Host) -> None:
    search = f"grep --recursive --files-with-matches --no-messages --fixed-strings {SECRET}"
    assert host.run(f"{search} /etc /var /opt /home /root /run /srv /usr/local").stdout == ""
    assert SECRET not in host.check_output("journalctl --no-pager --output=cat")


def test_environment_that_serves_no_more_is_removed(host: Host) -> None:
    environments = host.check_output("ls -d /opt/hpcops-discovery/venv-*").splitlines()
    assert len(environments) == 1
    assert host.run(f"{environments[0]}/bin/python -c 'import hpcops_discovery'").rc == 0


def test_two_servers_over_one_database_are_one_site(client: Host) -> None:
    one, two = "https://one:8420", "https://two:8420"
    answer(client, "PUT", "/v1/clusters/beta", {}, url=one)
    answer(client, "PUT", "/v1/hosts/n1", {"name": "n1", "cluster": "beta"}, url=two)
    seen = answer(client, "GET", "/v1/hosts/n1", url=one)
    answer(client, "PATCH", "/v1/hosts/n1", {"rack": "r1", "revision": seen["revision"]}, url=one)
    assert status(client, "PATCH", "/v1/hosts/n1", {"rack": "r2", "revision": seen["revision"]}, url=two) == 409
    assert answer(client, "GET", "/v1/hosts/n1", url=two)["rack"] == "r1"


def test_one_of_two_servers_goes_on_without_the_other(client: Host) -> None:
    first = container(PAIR[0])
    first.run_expect([0], "systemctl stop hpcops-discovery.socket hpcops-discovery.service")
    try:
        answer(client, "PUT", "/v1/clusters/gamma", {}, url="https://two:8420")
    finally:
        first.run_expect([0], "systemctl start hpcops-discovery.socket hpcops-discovery.service")
    assert status(client, "GET", "/v1/clusters/gamma", url="https://one:8420") == 200


def test_token_revoked_on_one_server_is_refused_by_the_other(client: Host) -> None:
    first = container(PAIR[0])
    token = first.check_output("hpcops-discovery token create visitor --expires 1h")
    ask = f"curl --silent --cacert /tmp/api.crt --oauth2-bearer {token} --write-out '%{{http_code}}' -o /dev/null https://two:8420/v1/hosts"
    assert client.check_output(ask) == "200"
    first.run_expect([0], "hpcops-discovery token revoke visitor")
    assert client.check_output(ask) == "401"


@pytest.mark.parametrize("name", PAIR)
def test_server_without_wheels_of_its_own_has_what_the_requirements_pin(name: str) -> None:
    server = container(name)
    assert not server.file("/opt/hpcops-discovery/wheels").exists
    frozen = server.check_output("/opt/hpcops-discovery/venv-*/bin/pip freeze").splitlines()
    text = server.file("/opt/hpcops-discovery/requirements.txt").content_string
    pinned = {line.split()[0] for line in text.splitlines() if "==" in line}
    assert frozen
    assert {line.lower().replace("_", "-") for line in frozen} <= pinned


def test_others_can_read_neither_database_nor_settings_nor_backups(host: Host) -> None:
    for path in (
        "/var/lib/hpcops-discovery/discovery.db",
        "/etc/hpcops-discovery/config.toml",
        "/etc/hpcops-discovery/tls.key",
    ):
        assert host.run(f"runuser -u nobody -- cat {path}").rc != 0
    assert host.run("runuser -u nobody -- ls /var/lib/hpcops-discovery/backups").rc != 0


def test_service_starts_at_boot(host: Host) -> None:
    for unit in ("hpcops-discovery.socket", "hpcops-discovery.service", "hpcops-discovery-backup.timer"):
        assert host.run(f"systemctl is-enabled {unit}").stdout.strip() == "enabled"
