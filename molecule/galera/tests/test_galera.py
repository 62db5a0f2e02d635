# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers of the accounting database die, restart and start together again while jobs run; no record is lost."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.hpcops.cluster.tests.support.hosts import PREFIX, Report, container, eventually, names, said
from ansible_collections.hpcops.cluster.tests.support.runs import Run, run_playbook

if TYPE_CHECKING:
    from testinfra.host import Host

DATABASES = sorted(names("mariadb"))
WRITER, SECOND, THIRD = DATABASES
# Where users are: what answers there is what counts.
NODE = names("slurmd")[0]
testinfra_hosts = [f"docker://{PREFIX}{NODE}"]
ANOTHER = {"max_connections": 77}
JOBS = "SELECT COUNT(*) FROM slurm_acct_db.galera_job_table"


@pytest.fixture(autouse=True)
def whole_fixture() -> Iterator[None]:
    """All servers are in the cluster before a test, and after it."""
    whole()
    yield
    whole()


def whole(seconds: float = 120) -> None:
    eventually(
        lambda: [(member(name), synced(name)) for name in DATABASES],
        lambda states: states == [("3", "Synced")] * 3,
        seconds,
    )


def query(name: str, statement: str) -> str:
    return str(container(name).run(f'mariadb --skip-column-names --batch --execute "{statement}"').stdout).strip()


def status(name: str, key: str) -> str:
    return query(name, f"SHOW STATUS LIKE 'wsrep_{key}'").rpartition("\t")[2]


def member(name: str) -> str:
    return status(name, "cluster_size")


def synced(name: str) -> str:
    return status(name, "local_state_comment")


def invocation(name: str) -> str:
    """Which start of the server runs."""
    return str(container(name).check_output("systemctl show mariadb --property=InvocationID"))


def away_since_last_start(name: str) -> tuple[int, int]:
    """When the server last stopped to answer, and when it began again, in microseconds of the machine's one clock."""
    properties = "--property=ActiveExitTimestampMonotonic --property=ActiveEnterTimestampMonotonic"
    shown = container(name).check_output(f"systemctl show mariadb {properties}")
    times = dict(line.split("=") for line in shown.splitlines())
    return int(times["ActiveExitTimestampMonotonic"]), int(times["ActiveEnterTimestampMonotonic"])


def writer() -> str:
    """The server that slurmdbd is connected to."""
    count = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'slurm'"
    return ", ".join(name for name in DATABASES if query(name, count) not in ("", "0"))


def submit(host: Host, script: str) -> str:
    return str(
        host.check_output(f"sbatch --parsable --mem=50 --chdir=/tmp --output=/dev/null --wrap='{script}'")
    ).strip()


def completed(host: Host, *numbers: str) -> None:
    """Accounting has each job, once, as completed."""
    look = f"sacct --noheader --allocations --parsable2 --jobs={','.join(numbers)} --format=State"
    eventually(lambda: said(host, look), lambda seen: seen.split() == ["COMPLETED"] * len(numbers), 120)


def database(*arguments: str, **variables: Any) -> Run:
    """Run the role mariadb, with a setting that it did not have when the cluster was made."""
    return run_playbook("--tags=mariadb", *arguments, variables={"mariadb_settings": ANOTHER, **variables})


def test_servers_have_the_same_and_speak_encrypted(host: Host) -> None:
    completed(host, submit(host, "true"))
    eventually(lambda: {query(name, JOBS) for name in DATABASES}, lambda seen: len(seen) == 1 and seen != {"0"})
    options = query(WRITER, "SELECT @@wsrep_provider_options")
    assert "socket.ssl_cert = /etc/mysql/tls/tls.crt" in options
    key = container(WRITER).file("/etc/mysql/tls/tls.key")
    assert (key.user, key.group, key.mode) == ("root", "mysql", 0o640)


def test_tables_of_slurmdbd_have_the_keys_that_galera_needs(host: Host) -> None:
    without = (
        "SELECT t.TABLE_NAME FROM information_schema.TABLES t LEFT JOIN information_schema.TABLE_CONSTRAINTS c"
        " ON c.TABLE_SCHEMA = t.TABLE_SCHEMA AND c.TABLE_NAME = t.TABLE_NAME AND c.CONSTRAINT_TYPE = 'PRIMARY KEY'"
        " WHERE t.TABLE_SCHEMA = 'slurm_acct_db' AND t.ENGINE IS NOT NULL AND c.CONSTRAINT_NAME IS NULL"
    )
    assert query(WRITER, without) == ""
    assert (
        query(WRITER, "SELECT DISTINCT ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA='slurm_acct_db'")
        == "InnoDB"
    )


def test_changed_setting_restarts_one_server_after_the_other(host: Host, report: Report) -> None:
    before = [invocation(name) for name in DATABASES]
    number = submit(host, "sleep 2")
    start = time.monotonic()
    database().succeeded()
    report("a setting has changed on three databases, one by one, with all of the playbook", time.monotonic() - start)
    whole()
    assert all(now != then for now, then in zip([invocation(name) for name in DATABASES], before))
    away = sorted(away_since_last_start(name) for name in DATABASES)
    assert all(earlier[1] < later[0] for earlier, later in zip(away, away[1:])), f"two were away at a time: {away}"
    assert query(SECOND, "SELECT @@max_connections") == "77"
    completed(host, number)
    assert not database().succeeded().changed


def test_killed_writer_costs_no_record(host: Host, report: Report) -> None:
    completed(host, submit(host, "true"))
    used = writer()
    assert used in (WRITER, SECOND), "slurmdbd writes through another server than it was told"
    number = submit(host, "sleep 5")
    container(used).check_output("systemctl kill --signal=KILL mariadb && systemctl stop mariadb")
    start = time.monotonic()
    try:
        eventually(lambda: host.run("timeout 5 sacctmgr --noheader list cluster").stdout.strip() != "", seconds=120)
        report("accounting answers after kill -9 of the database that it writes through", time.monotonic() - start)
        completed(host, number, submit(host, "true"))
        assert {used, writer()} == {WRITER, SECOND}
    finally:
        start = time.monotonic()
        database(f"--limit={used}").succeeded()
    whole()
    report("the killed database is in the cluster again, with all of the playbook", time.monotonic() - start)


def test_setting_that_does_not_exist_is_refused_and_nothing_is_touched() -> None:
    before = [invocation(name) for name in DATABASES]
    failed = database(mariadb_settings={**ANOTHER, "no_such_setting": 1}).failed()
    assert "unknown variable 'no_such_setting=1'" in failed.failure
    assert not failed.changed
    assert [invocation(name) for name in DATABASES] == before


def test_setting_that_no_server_starts_with_stops_at_the_first(host: Host) -> None:
    """The tables' file has another size, which a server finds out when it starts."""
    before = [invocation(name) for name in DATABASES]
    failed = database(mariadb_settings={**ANOTHER, "innodb_data_file_path": "ibdata1:500M"}).failed()
    assert "mariadb.service: it is left as it is" in failed.failure
    same = [now == then for now, then in zip([invocation(name) for name in DATABASES], before)]
    assert same.count(True) == 2, "more than one server was restarted"
    assert host.run("timeout 20 sacctmgr --noheader list cluster").stdout.strip() != ""
    database().succeeded()


def test_servers_that_all_stopped_begin_from_the_last_transaction(host: Host, report: Report) -> None:
    """As after a power cut: none has marked itself as the last, and the first lacks what came after it was gone."""
    container(WRITER).check_output("systemctl kill --signal=KILL mariadb && systemctl stop mariadb")
    number = submit(host, "true")
    completed(host, number)  # until it has something to write, slurmdbd need not have noticed
    assert writer() == SECOND
    for name in (THIRD, SECOND):
        container(name).check_output("systemctl kill --signal=KILL mariadb && systemctl stop mariadb")
    later = submit(host, "true")

    refused = database(f"--limit={WRITER}").failed().failure
    assert "db2, db3 took no part in this run (--limit, or not reachable), do not answer" in refused
    assert container(WRITER).run("systemctl is-active mariadb").stdout.strip() != "active"

    start = time.monotonic()
    database().succeeded()
    report(
        "three databases that were off together are a cluster again, with all of the playbook", time.monotonic() - start
    )
    whole()
    completed(host, number, later)


def folder_of_data() -> str:
    return query(THIRD, "SELECT @@datadir").rstrip("/")


def test_server_with_data_of_its_own_is_not_overwritten(host: Host) -> None:
    data = folder_of_data()
    container(THIRD).check_output(
        f"systemctl stop mariadb && mv {data} {data}.away && mkdir -p {data}/slurm_acct_db && chown -R mysql: {data}"
    )
    try:
        refused = database().failed().failure
        assert "db3 has databases of its own, which joining the cluster would overwrite" in refused
    finally:
        container(THIRD).check_output(f"rm -rf {data} && mv {data}.away {data}")
        database().succeeded()


def test_new_server_gets_a_copy_of_everything(host: Host) -> None:
    """As a host that was installed anew: nothing of the former data is there."""
    data = folder_of_data()
    container(THIRD).check_output(f"systemctl stop mariadb && rm -rf {data} && install -d -o mysql -g mysql {data}")
    container(THIRD).check_output("mariadb-install-db --user=mysql --skip-test-db >/dev/null")
    database(f"--limit={THIRD}").succeeded()
    whole()
    assert query(THIRD, JOBS) == query(WRITER, JOBS) != "0"


def drill(name: str) -> str:
    """Have the timer's service drill, and return what it has said."""
    server, unit = container(name), "hpcops-restore-drill"
    server.check_output(f"systemctl reset-failed {unit}; systemctl start {unit}")
    run = server.check_output(f"systemctl show {unit} --property=InvocationID --value").strip()
    return str(server.check_output(f"journalctl --no-pager --output=cat _SYSTEMD_INVOCATION_ID={run}"))


def test_last_server_makes_the_dump_and_drills_its_restore(host: Host) -> None:
    completed(host, submit(host, "true"))
    rows = [query(name, JOBS) for name in DATABASES]
    made = run_playbook(playbook="hpcops.cluster.backup", variables={"backup_what": "database"}).succeeded()
    assert made.changed == [("Make a backup", THIRD)]
    assert re.search(r"restored \S+: \d+ tables, [1-9]\d* rows; last job [1-9]\d* of galera", drill(THIRD))
    for name in (WRITER, SECOND):
        assert "it is the turn of db3" in drill(name)
    scratch = "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE 'hpcops_drill_%'"
    assert [query(name, scratch) for name in DATABASES] == ["0"] * 3
    whole()
    assert [query(name, JOBS) for name in DATABASES] == rows, "the drill has touched the accounting database"


def test_drill_fails_where_the_dump_lacks_a_record() -> None:
    """The manifest tells more than the dump has."""
    server = container(THIRD)
    server.check_output("hpcops-backup backup database")
    there = json.loads(server.check_output("hpcops-backup list database --json"))
    newest = [each["name"] for each in there if not each["before_restore_of"]][-1]
    manifest = f"/var/backups/hpcops/database/{newest}/manifest.json"
    server.check_output(f"cp -a {manifest} /root/manifest.json")
    more = "for side in m['content']['before'], m['content']['after']: side['rows']['galera_job_table'] += 1"
    try:
        server.check_output(
            "python3 -c %s",
            f"import json, pathlib\np = pathlib.Path({manifest!r})\nm = json.loads(p.read_text())\n{more}\n"
            "p.write_text(json.dumps(m))",
        )
        refused = server.run("hpcops-backup drill database")
        assert refused.rc != 0
        assert re.search(r"table galera_job_table has \d+ rows, and had \d+", refused.stderr)
    finally:
        server.check_output(f"mv /root/manifest.json {manifest}")


def test_lost_records_come_back_on_all_servers(host: Host, report: Report) -> None:
    number = submit(host, "true")
    completed(host, number)
    container(THIRD).check_output("hpcops-backup backup database")
    rows = query(THIRD, JOBS)
    query(WRITER, "DELETE FROM slurm_acct_db.galera_job_table")
    eventually(lambda: query(THIRD, JOBS), lambda seen: seen == "0")
    start = time.monotonic()
    run_playbook(
        playbook="hpcops.cluster.restore", variables={"restore_what": "database", "restore_confirm": "galera"}
    ).succeeded()
    report("the database of three servers is restored, with all of the playbook", time.monotonic() - start)
    whole()
    assert [query(name, JOBS) for name in DATABASES] == [rows] * 3
    completed(host, number, submit(host, "true"))


def test_next_server_makes_the_dump_while_the_last_is_away() -> None:
    container(THIRD).check_output("systemctl stop mariadb")
    try:
        assert "made /var/backups/" in container(SECOND).check_output("hpcops-backup backup database")
        assert "it is the turn of db2" in container(WRITER).check_output("hpcops-backup backup database")
    finally:
        container(THIRD).check_output("systemctl start mariadb")


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"mariadb_galera_nodes": ["db1", "db2"]}, "mariadb_galera_nodes: db1, db2 are too few"),
        ({"mariadb_galera_node": "db7"}, 'mariadb_galera_node: "db7" is none of'),
        ({"mariadb_bind_address": "127.0.0.1"}, "mariadb_bind_address is 127.0.0.1"),
        ({"mariadb_galera_bootstrap": "db7"}, 'mariadb_galera_bootstrap: "db7" is none of'),
    ],
)
def test_wrong_value_is_named_and_nothing_changes(variables: dict[str, Any], says: str) -> None:
    refused = database(**variables).failed()
    assert says in refused.failure
    assert not refused.changed
