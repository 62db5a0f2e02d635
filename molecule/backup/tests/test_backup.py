# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was lost comes back, and a backup that could not bring it back is found before it is needed."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from ansible_collections.hpcops.cluster.tests.support.hosts import PREFIX, container, eventually, names, said
from ansible_collections.hpcops.cluster.tests.support.runs import Run, run_playbook

if TYPE_CHECKING:
    from testinfra.backend.base import CommandResult
    from testinfra.host import Host

DATABASE = names("mariadb")[0]
PRIMARY, BACKUP = sorted(names("slurmctld"))
NODE = names("slurmd")[0]
testinfra_hosts = [f"docker://{PREFIX}{DATABASE}"]
FOLDER = "/var/backups/hpcops/database"
STATE = "/var/lib/slurm/slurmctld"


@pytest.fixture(name="node")
def node_fixture() -> Host:
    return container(NODE)


@pytest.fixture(autouse=True)
def whole_fixture(node: Host) -> Iterator[None]:
    """Everything runs before a test, and after it."""
    everything_runs(node)
    yield
    everything_runs(node)


def everything_runs(node: Host) -> None:
    eventually(lambda: said(node, "scontrol ping"), lambda seen: seen.count("is UP") == 2, 120)
    eventually(lambda: said(node, "sinfo --noheader --format=%T"), lambda seen: seen in ("idle", "mixed"), 60)
    clusters = "sacctmgr --noheader --parsable2 list cluster format=cluster"
    eventually(lambda: said(node, clusters), lambda seen: seen == "molecule", 60)


def submit(node: Host, script: str = "true", options: str = "") -> str:
    command = f"sbatch --parsable --mem=50 --chdir=/tmp --output=/dev/null {options} --wrap='{script}'"
    return str(node.check_output(command)).strip()


def recorded(node: Host, job: str) -> str:
    """The job's state as accounting has it."""
    return said(node, f"sacct --noheader --allocations --parsable2 --jobs={job} --format=State")


def completed(node: Host, job: str) -> str:
    eventually(lambda: recorded(node, job), lambda seen: seen == "COMPLETED", 60)
    return job


def sql(host: Host, statement: str) -> str:
    return str(host.check_output(f'mariadb --skip-column-names --batch slurm_acct_db --execute "{statement}"')).strip()


def backup(host: Host, job: str = "database") -> str:
    """Have the timer's service make one, and return its name."""
    begin(host, f"hpcops-backup@{job}.service")
    return newest(host, job)


def begin(host: Host, unit: str, options: str = "") -> None:
    """Start a unit, though it may have been started often in the last seconds."""
    host.check_output(f"systemctl reset-failed {unit}; systemctl start {options} {unit}")


def there(host: Host, job: str = "database") -> list[str]:
    """Names of the good backups, without those that were made before a restore."""
    listed = json.loads(host.check_output(f"hpcops-backup list {job} --json"))
    return [str(entry["name"]) for entry in listed if not entry["problem"] and not entry["before_restore_of"]]


def newest(host: Host, job: str = "database") -> str:
    return there(host, job)[-1]


def drill(host: Host) -> CommandResult:
    return host.run("systemctl reset-failed hpcops-restore-drill; systemctl start hpcops-restore-drill.service")


def told(host: Host, unit: str) -> str:
    """What the unit's last run has said."""
    run = host.check_output(f"systemctl show {unit} --property=InvocationID --value").strip()
    return str(host.check_output(f"journalctl --no-pager --output=cat _SYSTEMD_INVOCATION_ID={run}"))


def metric(host: Host, name: str) -> float:
    lines = host.file("/var/lib/metrics/hpcops_backup_database.prom").content_string.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f'{name}{{backup="database"}} '))


def restore(what: str, **variables: Any) -> Run:
    return run_playbook(variables={"restore_what": what, **variables}, playbook="hpcops.cluster.restore")


def confirmed(what: str, **variables: Any) -> Run:
    return restore(what, restore_confirm="molecule", **variables)


def timed(what: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """A restore that goes through; tells how long it took."""
    start = time.monotonic()
    run = confirmed(what).succeeded()
    with capsys.disabled():
        print(f"\n    the {what} is restored, with all of the playbook: {time.monotonic() - start:.0f} s")
    return run


@contextmanager
def changed_dump(host: Host, change: str) -> Iterator[None]:
    """The newest backup with another dump than it was, and a manifest that agrees with that; as it was afterwards."""
    path = f"{FOLDER}/{newest(host)}"
    script = f"""
import hashlib, json, os, pathlib, subprocess
folder = pathlib.Path({path!r})
dump = subprocess.run(["zstd", "-dcq", folder / "dump.sql.zst"], check=True, capture_output=True, text=True).stdout
dump = {change}
data = subprocess.run(["zstd", "-cq"], input=dump.encode(), check=True, capture_output=True).stdout
(folder / "dump.sql.zst").write_bytes(data)
manifest = json.loads((folder / "manifest.json").read_text())
manifest["files"]["dump.sql.zst"] = {{"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}}
(folder / "manifest.json").write_text(json.dumps(manifest))
"""
    host.check_output("cp -a %s /root/kept", path)
    try:
        host.check_output("python3 -c %s", script)
        yield
    finally:
        host.check_output(f"rm -rf {path} && mv /root/kept {path}")


# --- Backups ---------------------------------------------------------------------------------------------------------


def test_timers_wait_for_their_hour(host: Host) -> None:
    for unit, each in (
        ("hpcops-backup@database", host),
        ("hpcops-restore-drill", host),
        ("hpcops-backup@state", container(BACKUP)),
    ):
        assert each.service(f"{unit}.timer").is_enabled
        assert each.check_output(f"systemctl show {unit}.timer --property=NextElapseUSecRealtime --value")


def test_timer_makes_a_backup_when_its_hour_has_come(host: Host) -> None:
    before = there(host)
    dropin = "/run/systemd/system/hpcops-backup@database.timer.d"
    host.check_output(
        f"mkdir -p {dropin} && printf '[Timer]\\nOnCalendar=*:*:0/5\\nAccuracySec=1s\\n' >{dropin}/soon.conf"
    )
    host.check_output("systemctl daemon-reload && systemctl restart hpcops-backup@database.timer")
    try:
        eventually(lambda: set(there(host)) - set(before))
    finally:
        host.check_output(
            f"rm -r {dropin} && systemctl daemon-reload && systemctl restart hpcops-backup@database.timer"
        )


def test_playbook_makes_backups_where_they_belong_and_shows_them(host: Host, node: Host) -> None:
    completed(node, submit(node))
    run = run_playbook(playbook="hpcops.cluster.backup").succeeded()
    assert sorted(run.changed) == sorted([("Make a backup", PRIMARY), ("Make a backup", DATABASE)])
    shown = {name: result["msg"] for task, name, result in run.results if task == "Show it"}
    assert shown[DATABASE]["database"][-1].startswith(newest(host))
    assert shown[PRIMARY]["state"][-1].startswith(newest(container(PRIMARY), "state"))
    only = run_playbook(playbook="hpcops.cluster.backup", variables={"backup_what": "state"}).succeeded()
    assert only.changed == [("Make a backup", PRIMARY)]
    refused = run_playbook(playbook="hpcops.cluster.backup", variables={"backup_what": "all"}).failed()
    assert "backup_what: no host of this run has a job all" in refused.failure


def test_as_many_are_kept_as_the_site_wants(host: Host) -> None:
    made = [backup(host) for _each in range(4)]
    assert there(host) == made[1:]


def test_backups_are_secret(host: Host) -> None:
    backup(host)
    backup(container(PRIMARY), "state")
    for each in (host, container(PRIMARY)):
        assert each.run("runuser -u nobody -- ls /var/backups/hpcops/*").rc != 0
        assert each.run("runuser -u nobody -- cat /etc/hpcops/backup/*.json").stdout == ""
        assert each.check_output("find /var/backups/hpcops/* /etc/hpcops/backup -perm /077") == ""


def test_controller_in_control_makes_the_backup_also_after_failover() -> None:
    run_playbook(playbook="hpcops.cluster.failover").succeeded()
    try:
        made = backup(container(BACKUP), "state")
        run = run_playbook(playbook="hpcops.cluster.backup", variables={"backup_what": "state"}).succeeded()
        assert run.changed == [("Make a backup", BACKUP)]
        plan = restore("state").succeeded()
        shown = next(result["msg"] for task, _host, result in plan.results if task == "Show the plan")
        assert shown["backup"] == f"{newest(container(BACKUP), 'state')} on {BACKUP}"
        assert newest(container(BACKUP), "state") > made
    finally:
        run_playbook(playbook="hpcops.cluster.failover", variables={"failover_to": "ctl1"}).succeeded()


def test_killed_backup_leaves_none_that_counts(host: Host) -> None:
    before = backup(host)
    # A compression that never ends holds it in its middle.
    host.check_output("printf '#!/bin/sh\\nexec sleep 1000\\n' >/usr/local/bin/zstd && chmod +x /usr/local/bin/zstd")
    try:
        begin(host, "hpcops-backup@database.service", "--no-block")
        eventually(lambda: host.run(f"ls {FOLDER}/.*.partial/dump.sql.zst").rc == 0)
        host.check_output("systemctl kill --signal=KILL hpcops-backup@database.service")
        eventually(
            lambda: said(host, "systemctl is-active hpcops-backup@database.service"), lambda seen: seen == "failed"
        )
    finally:
        host.check_output("rm /usr/local/bin/zstd")
    assert host.check_output(f"ls -d {FOLDER}/.*.partial")
    assert newest(host) == before
    assert backup(host) > before
    assert host.run(f"ls -d {FOLDER}/.*.partial").rc != 0


def test_full_disk_is_told_and_costs_no_earlier_backup(host: Host) -> None:
    host.check_output(
        "mkdir -p /mnt/small /root/jobs && mount -t tmpfs -o size=8m tmpfs /mnt/small"
        " && sed 's,/var/backups/hpcops/database,/mnt/small,' /etc/hpcops/backup/database.json >/root/jobs/database.json"
    )
    command = "hpcops-backup --jobs /root/jobs backup database"
    try:
        host.check_output(command)
        kept = host.check_output("ls /mnt/small")
        # Random bytes, which cannot be compressed: more than there is room for, and than last time lets expect.
        sql(host, "CREATE TABLE noise (n INT, b LONGBLOB)")
        for number in range(12):
            noise = f"head -c 1000000 /dev/urandom | base64 -w0 | sed 's/.*/INSERT INTO noise VALUES ({number}, FROM_BASE64(\"&\"))/'"
            host.check_output(f"{noise} | mariadb --max-allowed-packet=16M slurm_acct_db")
        full = host.run(command)
        assert full.rc != 0
        assert "No space left on device" in full.stderr
        assert host.check_output("ls /mnt/small") == kept
        assert host.run("ls -d /mnt/small/.*.partial").rc != 0
        host.run("dd if=/dev/zero of=/mnt/small/other bs=1M count=7")
        refused = host.run(command)
        assert refused.rc != 0
        assert re.search(r"/mnt/small has \d+ KiB free, and the backup needs about 1 MiB", refused.stderr)
    finally:
        host.run("umount /mnt/small")
        sql(host, "DROP TABLE IF EXISTS noise")
    backup(host)


def test_database_elsewhere_is_backed_up_over_the_network(host: Host) -> None:
    """With the privileges that the documentation names."""
    password = "a#b;c=d"
    sql(host, f"CREATE OR REPLACE USER backup@localhost IDENTIFIED BY '{password}'")
    everything = ("slurm_acct_db.*", r"\`hpcops\_drill\_%\`.*")
    privileges = [f"ALL ON {each}" for each in everything] + ["SELECT ON mysql.proc", "SET USER, PROCESS ON *.*"]
    for each in privileges:
        sql(host, f"GRANT {each} TO backup@localhost")
    settings = json.loads(host.check_output("cat /etc/hpcops/backup/database.json"))
    settings["connection"] = {"host": "127.0.0.1", "port": 3306, "user": "backup", "password": password}
    settings.update(directory="/root/elsewhere", status_file="/root/elsewhere.json", metrics_directory="")
    host.check_output("mkdir -p /root/remote && echo %s >/root/remote/elsewhere.json", json.dumps(settings))
    try:
        for command in ("backup", "drill", "verify"):
            host.check_output(f"hpcops-backup --jobs /root/remote {command} elsewhere")
        assert "is in use by slurm@localhost" in host.run("hpcops-backup --jobs /root/remote restore elsewhere").stderr
    finally:
        sql(host, "DROP USER backup@localhost")


# --- The drill -------------------------------------------------------------------------------------------------------


def test_drill_restores_the_newest_backup_and_leaves_nothing(host: Host, node: Host) -> None:
    job = completed(node, submit(node))
    name = backup(host)
    assert drill(host).rc == 0
    said_of_it = told(host, "hpcops-restore-drill.service")
    assert f"restored {name}: " in said_of_it
    assert f"last job {job} of molecule" in said_of_it
    assert metric(host, "hpcops_restore_drill_last_result") == 1
    assert "hpcops_drill" not in sql(host, "SHOW DATABASES")


def refused_by_the_drill(host: Host) -> str:
    """Why it fails; it must, and its success must not be told."""
    success = metric(host, "hpcops_restore_drill_last_success_timestamp_seconds")
    assert drill(host).rc != 0
    assert metric(host, "hpcops_restore_drill_last_result") == 0
    assert metric(host, "hpcops_restore_drill_last_success_timestamp_seconds") == success
    return told(host, "hpcops-restore-drill.service")


def test_drill_fails_on_a_changed_dump(host: Host) -> None:
    dump = f"{FOLDER}/{backup(host)}/dump.sql.zst"
    host.check_output(f"cp -a {dump} /root/kept && printf x | dd of={dump} bs=1 seek=200 conv=notrunc")
    assert f"{dump} is not what was saved: its checksum is another one" in refused_by_the_drill(host)
    host.check_output(f"mv /root/kept {dump}")
    assert drill(host).rc == 0


def test_drill_fails_on_a_dump_that_lacks_rows(host: Host, node: Host) -> None:
    completed(node, submit(node))
    backup(host)
    with changed_dump(host, r"__import__('re').sub(r'(?ms)^INSERT INTO `molecule_job_table`.*?;$', '', dump)"):
        why = refused_by_the_drill(host)
    assert re.search(
        r"table molecule_job_table has 0 rows, and had \d+; .*the last job of molecule is 0, and was \d+", why
    )
    assert "hpcops_drill" not in sql(host, "SHOW DATABASES")


def test_drill_fails_though_an_older_backup_is_good(host: Host) -> None:
    backup(host)
    path = f"{FOLDER}/{backup(host)}/dump.sql.zst"
    host.check_output(f"cp -a {path} /root/kept && truncate --size=100 {path}")
    assert (
        "which is newer, does not count: dump.sql.zst has not the size that its manifest says"
        in refused_by_the_drill(host)
    )
    host.check_output(f"mv /root/kept {path}")


def test_drill_fails_on_a_dump_that_the_server_does_not_take(host: Host) -> None:
    backup(host)
    with changed_dump(host, "dump.replace('CREATE TABLE', 'CREATE TABEL', 3)"):
        assert "You have an error in your SQL syntax" in refused_by_the_drill(host)
    assert "hpcops_drill" not in sql(host, "SHOW DATABASES")


def test_drill_fails_when_the_newest_backup_is_old(host: Host) -> None:
    backup(host)
    settings = "/etc/hpcops/backup/database.json"
    host.check_output(
        f'cp -a {settings} /root/settings && sed -i \'s/"max_age_hours": .*,/"max_age_hours": 0,/\' {settings}'
    )
    try:
        assert "hours old, and 0 are allowed" in refused_by_the_drill(host)
    finally:
        host.check_output(f"mv /root/settings {settings}")


def test_drill_leaves_a_database_of_somebody_else_alone(host: Host) -> None:
    backup(host)
    name = "hpcops_drill_slurm_acct_db"
    sql(host, f"CREATE DATABASE {name}; CREATE TABLE {name}.theirs (n INT); INSERT INTO {name}.theirs VALUES (7)")
    try:
        assert f"no drill has made the database {name}. It was not touched" in refused_by_the_drill(host)
        assert sql(host, f"SELECT n FROM {name}.theirs") == "7"
    finally:
        sql(host, f"DROP DATABASE {name}")
    sql(
        host, f"CREATE DATABASE {name} COMMENT 'made by hpcops-backup for a restore drill'"
    )  # as a killed drill leaves it
    assert drill(host).rc == 0


# --- Restore of the database -----------------------------------------------------------------------------------------


def test_restore_shows_its_plan_first_and_wants_the_name_of_the_cluster(host: Host) -> None:
    name = backup(host)
    plan = restore("database").succeeded()
    assert not plan.changed
    shown = next(result["msg"] for task, _host, result in plan.results if task == "Show the plan")
    assert shown["backup"] == f"{name} on {DATABASE}"
    assert shown["to do it"] == "-e restore_confirm=molecule"
    assert (
        'restore_confirm: "yes" is not the name of this cluster'
        in restore("database", restore_confirm="yes").failed().failure
    )
    assert 'restore_what: "db" must be database' in restore("db").failed().failure
    assert (
        'there is no good backup "20200101T000000Z"'
        in restore("database", restore_from="20200101T000000Z").failed().failure
    )


def test_lost_records_come_back(host: Host, node: Host, capsys: pytest.CaptureFixture[str]) -> None:
    old, running = completed(node, submit(node)), submit(node, "sleep 25")
    eventually(lambda: recorded(node, running), lambda seen: seen == "RUNNING")
    backup(host)
    later = completed(node, submit(node))
    record = int(sql(host, "SELECT MAX(job_db_inx) FROM molecule_job_table"))
    sql(host, "DROP TABLE molecule_step_table; DELETE FROM molecule_job_table")
    assert recorded(node, old) == ""
    run = timed("database", capsys)
    assert recorded(node, old) == "COMPLETED"
    assert recorded(node, later) == ""  # it is younger than the backup
    completed(node, running)
    new = completed(node, submit(node))
    # A record that slurmctld may still know of is not given away again.
    assert int(sql(host, f"SELECT job_db_inx FROM molecule_job_table WHERE id_job = {new}")) > record
    done = next(result for task, _host, result in run.results if task == "Restore" and result.get("stdout"))
    safety = json.loads(done["stdout"])["safety"]
    assert f"{safety} " in host.check_output("hpcops-backup list database")


def test_restore_refuses_a_database_that_is_in_use(host: Host) -> None:
    backup(host)
    refused = host.run("hpcops-backup restore database")
    assert refused.rc != 0
    assert "slurm_acct_db is in use by slurm@localhost: stop slurmdbd on all of its hosts first.\n" in refused.stderr


def test_accounting_is_as_before_when_a_restore_fails(host: Host, node: Host) -> None:
    backup(host)
    kept = completed(node, submit(node))
    with changed_dump(host, "dump.replace('CREATE TABLE', 'CREATE TABEL', 5)"):
        run = confirmed("database").failed()
    assert "You have an error in your SQL syntax" in run.text
    assert "The database was not restored" in run.failure
    assert recorded(node, kept) == "COMPLETED"
    completed(node, submit(node))


@pytest.fixture(name="bucket")
def bucket_fixture(host: Host) -> Iterator[dict[str, str]]:
    """A bucket of S3, as moto imitates it on this machine, and how the host gets at it."""
    gateway = host.check_output("ip -4 route show default").split()[2]
    server = ThreadedMotoServer("0.0.0.0", port=0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    keys = {"access_key_id": "AKIABACKUP", "secret_access_key": "secret-of-the-backup"}
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id=keys["access_key_id"],
        aws_secret_access_key=keys["secret_access_key"],
    )
    client.create_bucket(Bucket="backups")
    try:
        yield {
            "bucket": "backups",
            "prefix": "molecule",
            "region": "us-east-1",
            "endpoint_url": f"http://{gateway}:{port}",
            **keys,
        }
    finally:
        server.stop()
        run_playbook("--tags=mariadb").succeeded()


def test_lost_host_gets_its_backups_from_s3(host: Host, node: Host, bucket: dict[str, str]) -> None:
    old = completed(node, submit(node))
    run_playbook("--tags=mariadb", variables={"os_base_backup_s3": bucket}).succeeded()
    name = backup(host)
    host.check_output(f"rm -rf {FOLDER}/2*")
    assert host.check_output("hpcops-backup list database").splitlines()[-1].split() == [name, "0", "B", "s3"]
    sql(host, "DELETE FROM molecule_job_table")
    confirmed("database").succeeded()
    assert recorded(node, old) == "COMPLETED"


# --- Restore of the state --------------------------------------------------------------------------------------------


def held(node: Host) -> str:
    """A job that waits, and that slurmctld has written down: it does that some seconds after it has accepted one."""
    name = f"waits-{uuid.uuid4()}"
    number = submit(node, options=f"--hold --job-name={name}")
    eventually(lambda: container(PRIMARY).run(f"grep --quiet {name} {STATE}/job_state").rc == 0)
    return number


def queue(node: Host) -> list[str]:
    return said(node, "squeue --noheader --format=%i").split()


def test_lost_queue_comes_back(node: Host, capsys: pytest.CaptureFixture[str]) -> None:
    number = held(node)
    backup(container(PRIMARY), "state")
    node.check_output(f"scancel {number}")
    eventually(lambda: number not in queue(node))
    timed("state", capsys)
    assert number in queue(node)
    node.check_output(f"scontrol release {number}")
    completed(node, number)


def test_queue_comes_back_into_an_empty_directory(node: Host) -> None:
    number = held(node)
    controller = container(PRIMARY)
    backup(controller, "state")
    for each in (container(BACKUP), controller):
        each.check_output("systemctl stop slurmctld")
    controller.check_output(f"find {STATE} -mindepth 1 -delete")
    assert (
        controller.run("timeout 20 systemctl start slurmctld").rc != 0
    )  # a directory without its mark is not the cluster's
    controller.check_output("systemctl stop slurmctld; systemctl reset-failed slurmctld")
    confirmed("state").succeeded()
    assert number in queue(node)
    mark = controller.check_output(f"cat {STATE}/.hpcops-state")
    assert mark == controller.check_output("cat /etc/slurm/.hpcops-state")
    node.check_output(f"scancel {number}")


def test_state_is_as_before_when_slurmctld_does_not_start_with_what_was_restored(node: Host) -> None:
    controller = container(PRIMARY)
    controller.check_output(f"sed -i.kept s/molecule/another/ {STATE}/clustername")
    backup(controller, "state")
    controller.check_output(f"mv {STATE}/clustername.kept {STATE}/clustername")
    number = held(node)
    run = confirmed("state").failed()
    assert "The state was not restored" in run.failure
    assert number in queue(node)
    node.check_output(f"scancel {number}")
    backup(controller, "state")


def test_jobs_go_the_way_that_the_documentation_says_when_the_state_goes_back(node: Host) -> None:
    goes_on, ends = submit(node, "sleep 60"), submit(node, "sleep 10")
    eventually(
        lambda: said(node, "squeue --noheader --states=running --format=%i").split(), lambda seen: len(seen) == 2
    )
    waits = held(node)
    backup(container(PRIMARY), "state")
    completed(node, ends)
    node.check_output(f"scontrol release {waits}")
    completed(node, waits)
    unknown = submit(node, "sleep 600")
    eventually(lambda: recorded(node, unknown), lambda seen: seen == "RUNNING")
    confirmed("state").succeeded()
    assert set(queue(node)) == {goes_on, ends, waits}
    eventually(lambda: node.run("pgrep -f '[s]leep 600'").rc != 0)
    completed(node, goes_on)
    node.check_output("systemctl restart slurmd")
    eventually(lambda: said(node, f"squeue --noheader --jobs={ends} --format=%T"), lambda seen: seen == "PENDING", 60)
    node.check_output(f"scancel {ends} {waits}")


def test_state_of_a_running_controller_is_not_replaced(host: Host, node: Host) -> None:
    controller = container(PRIMARY)
    backup(controller, "state")
    refused = controller.run("hpcops-backup restore state")
    assert refused.rc != 0
    assert f"slurmctld runs: stop it on all hosts that share {STATE} first" in refused.stderr
    run = run_playbook(
        f"--limit=!{BACKUP}",
        variables={"restore_what": "state", "restore_confirm": "molecule"},
        playbook="hpcops.cluster.restore",
    ).failed()
    assert "ctl2 is UP" in run.text
    assert "The state was not restored" in run.failure
