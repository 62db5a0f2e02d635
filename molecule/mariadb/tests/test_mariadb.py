"""The accounting database has slurmdbd's settings, and lets in who may, by the way they may, to what they may."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from testinfra.backend.base import CommandResult
from testinfra.host import Host

from ansible_collections.hpcops.cluster.tests.scenarios import PREFIX, Run, container, names, run_playbook

CLIENT = names("client")[0]
testinfra_hosts = [f"docker://{PREFIX}{names('database')[0]}"]
PASSWORD = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "mariadb").read_text(encoding="utf-8").split()[0]
TLS = "--ssl-ca=/etc/ca.crt --ssl-verify-server-cert"


def ask(host: Host, statement: str) -> list[str]:
    """Answer to a statement of the host's root."""
    return str(host.check_output(f'mariadb --skip-column-names --batch --execute "{statement}"')).split()


def remote(statement: str, user: str = "slurm", options: str = TLS, password: str = PASSWORD) -> CommandResult:
    """Run a statement from the other host."""
    client = container(CLIENT)
    command = f'mariadb --host=db --user={user} {options} --skip-column-names --batch --execute "{statement}"'
    return client.run(f"MYSQL_PWD={password} {command}")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("innodb_lock_wait_timeout", "900"),
        ("max_allowed_packet", str(16 << 20)),
        ("innodb_buffer_pool_size", str(128 << 20)),
        ("innodb_log_file_size", str(64 << 20)),
        ("character_set_server", "utf8mb4"),
        ("max_connections", "77"),
    ],
)
def test_setting_is_in_force(host: Host, variable: str, value: str) -> None:
    assert ask(host, f"SELECT @@{variable}") == [value]


def test_transactions_do_not_fail_on_changed_snapshots(host: Host) -> None:
    # MariaDB before 10.6.18 has no such variable
    assert ask(host, "SHOW VARIABLES LIKE 'innodb_snapshot_isolation'") in ([], ["innodb_snapshot_isolation", "OFF"])


def test_user_gets_in_from_another_host_over_verified_tls() -> None:
    answer = remote("SHOW STATUS LIKE 'Ssl_cipher'")
    assert answer.rc == 0, answer.stderr
    assert len(answer.stdout.split()) == 2, "no cipher: the connection is not encrypted"


def test_user_who_needs_tls_is_refused_without(host: Host) -> None:
    assert "Access denied" in remote("SELECT 1", options="--skip-ssl").stderr
    assert remote("SELECT 1", user="reader", options="--skip-ssl").rc == 0  # it is not the option that fails


def test_wrong_password_is_refused() -> None:
    assert "Access denied" in remote("SELECT 1", password="wrong").stderr


def test_slurm_can_make_and_fill_tables_of_its_database() -> None:
    statement = "CREATE TABLE probe (n INT); INSERT INTO probe VALUES (7); SELECT n FROM probe; DROP TABLE probe"
    answer = remote(f"USE slurm_acct_db; {statement}")
    assert answer.stdout.split() == ["7"], answer.stderr


@pytest.mark.parametrize(
    ("user", "statement"),
    [
        ("slurm", "SELECT User FROM mysql.user"),
        ("slurm", "CREATE DATABASE other"),
        ("slurm", "SET GLOBAL max_connections = 1"),
        ("slurm", "CREATE USER someone"),
        ("reader", "CREATE TABLE slurm_acct_db.probe (n INT)"),
    ],
)
def test_user_can_do_nothing_else(user: str, statement: str) -> None:
    answer = remote(statement, user=user)
    assert answer.rc != 0
    assert "denied" in answer.stderr


def test_nobody_gets_in_without_a_name(host: Host) -> None:
    assert ask(host, "SELECT COUNT(*) FROM mysql.global_priv WHERE User = ''") == ["0"]
    assert "Access denied" in remote("SELECT 1", user="nobody").stderr


def test_no_test_database_is_left(host: Host) -> None:
    assert "test" not in ask(host, "SHOW DATABASES")


def test_password_is_in_no_file_that_others_can_read(host: Host) -> None:
    search = f"grep --recursive --files-with-matches --no-messages --fixed-strings {PASSWORD}"
    assert host.run(f"runuser -u nobody -- {search} /etc /var /opt /home /root /tmp /run /srv /usr/local").stdout == ""
    assert PASSWORD not in host.check_output("journalctl --no-pager --output=cat")


def test_server_starts_at_boot(host: Host) -> None:
    assert host.service("mariadb").is_enabled


# --- A server that somebody else runs ------------------------------------------------------------------------------------


def external(**variables: Any) -> Run:
    return run_playbook(f"--limit={CLIENT}", variables=variables)


def test_external_servers_user_can_use_its_database_and_nothing_else() -> None:
    made = remote("CREATE TABLE annex_acct_db.probe (n INT); DROP TABLE annex_acct_db.probe", user="annex")
    assert made.rc == 0, made.stderr
    assert "denied" in remote("SELECT * FROM slurm_acct_db.probe", user="annex").stderr


def test_external_server_is_checked_without_an_administrator() -> None:
    assert not external(mariadb_external_admin_user="", mariadb_external_admin_password="").succeeded().changed


def test_external_server_with_a_harmful_setting_is_refused(host: Host) -> None:
    refused = external(mariadb_external_accepted=[]).failed().failure
    assert "db has innodb_buffer_pool_size 134217728" in refused
    host.check_output("mariadb --execute 'SET GLOBAL max_allowed_packet = 1048576'")
    try:
        assert "db has max_allowed_packet 1048576" in external().failed().failure
    finally:
        host.check_output("mariadb --execute 'SET GLOBAL max_allowed_packet = 16777216'")
    assert not external().succeeded().changed


def test_external_server_that_refuses_the_administrator_is_named_and_the_password_kept_secret() -> None:
    wrong = "Wr0ngPassw0rdOfTheTest"
    refused = external(mariadb_external_admin_password=wrong).failed()
    assert "Access denied for user 'administrator'" in refused.failure
    assert wrong not in refused.text
