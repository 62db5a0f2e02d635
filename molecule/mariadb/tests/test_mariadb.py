"""The accounting database has slurmdbd's settings, and lets in who may, by the way they may, to what they may."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from testinfra.backend.base import CommandResult
from testinfra.host import Host

from ansible_collections.hpcops.cluster.tests.support.hosts import PREFIX, container, names, variables_of
from ansible_collections.hpcops.cluster.tests.support.runs import Run, run_playbook

CLIENT = names("client")[0]
DATABASE = names("database")[0]
testinfra_hosts = [f"docker://{PREFIX}{DATABASE}"]
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


def test_settings_of_a_former_cluster_are_gone(host: Host) -> None:
    assert not host.file("/etc/mysql/mariadb.conf.d/91-hpcops-galera.cnf").exists
    assert ask(host, "SELECT @@wsrep_cluster_name") != ["former"]


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


def external(*arguments: str, **variables: Any) -> Run:
    return run_playbook(f"--limit={CLIENT}", *arguments, variables=variables)


def test_external_servers_user_can_use_its_database_and_nothing_else() -> None:
    made = remote("CREATE TABLE annex_acct_db.probe (n INT); DROP TABLE annex_acct_db.probe", user="annex")
    assert made.rc == 0, made.stderr
    assert "denied" in remote("SELECT * FROM slurm_acct_db.probe", user="annex").stderr


def test_external_server_with_a_harmful_setting_is_refused_also_without_an_administrator(host: Host) -> None:
    refused = external(mariadb_external_accepted=[]).failed().failure
    assert "db has innodb_buffer_pool_size 134217728" in refused
    host.check_output("mariadb --execute 'SET GLOBAL max_allowed_packet = 1048576'")
    try:
        refused = external(mariadb_external_admin_user="", mariadb_external_admin_password="").failed().failure
        assert "db has max_allowed_packet 1048576" in refused
    finally:
        host.check_output("mariadb --execute 'SET GLOBAL max_allowed_packet = 16777216'")
    again = external("-vvv").succeeded()
    assert not again.changed
    assert PASSWORD not in again.text


def test_external_server_that_refuses_the_administrator_is_named_and_the_password_kept_secret() -> None:
    wrong = "Wr0ngPassw0rdOfTheTest"
    refused = external(mariadb_external_admin_password=wrong).failed()
    assert "Access denied for user 'administrator'" in refused.failure
    assert wrong not in refused.text


# --- What changes, and what is switched off ------------------------------------------------------------------------------


def server(*arguments: str, **variables: Any) -> Run:
    return run_playbook(f"--limit={DATABASE}", *arguments, variables=variables)


def timers(host: Host) -> dict[str, tuple[bool, bool]]:
    """Whether each timer runs, and whether it starts at boot."""
    units = ("hpcops-backup@database.timer", "hpcops-restore-drill.timer")
    return {unit: (host.service(unit).is_running, host.service(unit).is_enabled) for unit in units}


def backups(host: Host) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(host.check_output("hpcops-backup list database --json"))
    return listed


def test_port_is_declared_for_the_firewall(host: Host) -> None:
    assert "Ports=3306" in host.check_output("systemctl cat mariadb").splitlines()


def test_files_belong_to_root_and_backups_to_nobody_else(host: Host) -> None:
    modes = {
        "/etc/mysql/mariadb.conf.d/90-hpcops.cnf": "644",
        "/etc/systemd/system/mariadb.service.d/hpcops-ports.conf": "644",
        "/etc/hpcops/backup": "700",
        "/etc/hpcops/backup/database.json": "600",
        "/var/backups/hpcops/database": "700",
        "/usr/local/sbin/hpcops-backup": "755",
    }
    shown = host.check_output(f"stat --format='%n %U:%G %a' {' '.join(modes)}").splitlines()
    assert shown == [f"{path} root:root {mode}" for path, mode in modes.items()]


def test_timers_make_backups_and_drill_their_restore(host: Host) -> None:
    assert timers(host) == {
        "hpcops-backup@database.timer": (True, True),
        "hpcops-restore-drill.timer": (True, True),
    }
    ask(host, "CREATE TABLE IF NOT EXISTS slurm_acct_db.kept (n INT); INSERT INTO slurm_acct_db.kept VALUES (7)")
    before = len(backups(host))
    host.check_output("systemctl start hpcops-backup@database.service")
    after = backups(host)
    assert len(after) == before + 1
    assert not after[-1]["problem"]
    host.check_output("systemctl start hpcops-restore-drill.service")
    assert ask(host, "SHOW DATABASES LIKE 'slurm\\_acct\\_db\\_%'") == [], "the scratch database is left"


def test_run_puts_right_what_others_left_and_restarts_for_a_changed_setting(host: Host) -> None:
    """Anonymous users and the test database go; backups can be switched off."""
    ask(host, "CREATE USER IF NOT EXISTS ''@'%'; CREATE DATABASE IF NOT EXISTS test; GRANT SELECT ON test.* TO ''@'%'")
    assert remote("SELECT 1", user="nobody", password="").rc == 0
    users = [*variables_of(DATABASE)["mariadb_users"], {"name": "daemon", "privileges": "slurm_acct_db.*:SELECT"}]
    settings = {"max_connections": 78, "character_set_server": None}
    run = server("-vvv", mariadb_settings=settings, mariadb_users=users, mariadb_backup=False).succeeded()
    assert PASSWORD not in run.text
    assert ask(host, "SELECT @@max_connections") == ["78"]
    assert "Access denied" in remote("SELECT 1", user="nobody", password="").stderr
    assert "test" not in ask(host, "SHOW DATABASES")
    # Without a password an account of the host gets in by the socket, and nobody else by its name.
    as_daemon = "mariadb --user=daemon --skip-column-names --batch --execute 'SELECT CURRENT_USER()'"
    assert host.check_output(f"runuser -u daemon -- {as_daemon}") == "daemon@localhost"
    assert host.run(f"runuser -u nobody -- {as_daemon}").rc != 0
    assert set(timers(host).values()) == {(False, False)}
    assert not host.file("/etc/hpcops/backup/database.json").exists


def test_stopped_server_runs_again_and_backups_are_made_as_they_are_set(host: Host) -> None:
    """In a run that changes no setting, so that nothing but the task starts it."""
    host.check_output("systemctl disable --now mariadb && mkdir -p /var/lib/metrics")
    settings = {"max_connections": 78, "character_set_server": None}
    server(mariadb_settings=settings, os_base_backup_metrics_directory="/var/lib/metrics").succeeded()
    assert host.service("mariadb").is_enabled
    assert ask(host, "SELECT @@max_connections") == ["78"]
    assert set(timers(host).values()) == {(True, True)}
    assert (
        host.check_output("systemctl show --property=NeedDaemonReload --value hpcops-backup@database.service") == "no"
    )
    host.check_output("systemctl start hpcops-backup@database.service")
    assert "hpcops_backup_" in host.check_output("cat /var/lib/metrics/hpcops_backup_database.prom")


def test_setting_that_the_server_refuses_is_not_installed(host: Host) -> None:
    before = host.check_output("sha256sum /etc/mysql/mariadb.conf.d/90-hpcops.cnf")
    refused = server(mariadb_settings={"max_conections": 79}).failed()
    assert "max_conections" in refused.failure
    assert host.check_output("sha256sum /etc/mysql/mariadb.conf.d/90-hpcops.cnf") == before
    assert remote("SELECT 1").rc == 0
