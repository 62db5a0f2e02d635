"""Accounting that knows its clusters, keeps its password to itself, and outlives its database's bad days."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ansible_collections.hpcops.cluster.tests.support.hosts import PREFIX, container, eventually, names
from ansible_collections.hpcops.cluster.tests.support.runs import run_playbook

if TYPE_CHECKING:
    from testinfra.host import Host

DATABASE = names("all")[0]
testinfra_hosts = [f"docker://{PREFIX}{DATABASE}"]
ONLY_SLURMDBD = ("--tags", "slurmdbd")


def sacctmgr(host: Host, arguments: str) -> list[str]:
    """Lines that sacctmgr answers."""
    return str(host.check_output(f"SLURM_CONF=/etc/slurm/sacctmgr.conf sacctmgr {arguments}")).splitlines()


def answers(host: Host) -> bool:
    listed = host.run(
        "SLURM_CONF=/etc/slurm/sacctmgr.conf timeout 5 sacctmgr --noheader --parsable2 list cluster format=Cluster"
    )
    return listed.rc == 0 and "molecule" in listed.stdout.split()


def process(host: Host) -> str:
    return str(host.check_output("systemctl show slurmdbd --property=MainPID --value"))


def sums(host: Host) -> str:
    return str(host.check_output("sha256sum /etc/slurm/slurmdbd.conf /etc/slurm/sacctmgr.conf"))


@pytest.fixture(name="configuration", scope="module")
def configuration_fixture() -> dict[str, str]:
    """What slurmdbd itself says of its configuration."""
    pairs = (line.split("=", 1) for line in sacctmgr(container(DATABASE), "show configuration") if "=" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def test_the_cluster_is_registered(host: Host) -> None:
    assert sacctmgr(host, "--noheader --parsable2 list cluster format=Cluster") == ["molecule"]


def test_accounts_and_users_can_be_recorded(host: Host) -> None:
    sacctmgr(host, "--immediate add account physics cluster=molecule")
    sacctmgr(host, "--immediate add user root account=physics cluster=molecule")
    recorded = sacctmgr(host, "--noheader --parsable2 list association cluster=molecule format=Account,User")
    assert "physics|root" in recorded


def test_only_slurm_can_read_the_configuration(host: Host) -> None:
    file = host.file("/etc/slurm/slurmdbd.conf")
    assert (file.user, file.group, file.mode) == ("slurm", "slurm", 0o600)
    assert host.run("runuser -u nobody -- cat /etc/slurm/slurmdbd.conf").rc != 0
    assert "StoragePass" in host.check_output("runuser -u slurm -- cat /etc/slurm/slurmdbd.conf")


def test_records_are_kept_as_long_as_the_site_wants(configuration: dict[str, str]) -> None:
    assert configuration["PurgeJobAfter"].startswith("7 days")
    assert configuration["PurgeUsageAfter"] == "NONE"


def test_records_are_kept_as_long_as_the_role_says_where_the_site_is_silent(configuration: dict[str, str]) -> None:
    assert configuration["PurgeEventAfter"].startswith("12 months")


def test_what_is_purged_goes_to_the_archive_first(host: Host, configuration: dict[str, str]) -> None:
    assert configuration["ArchiveDir"] == "/var/lib/slurm/archive"
    # The daemon marks it at the period: "7 days*" is archived before it is purged.
    assert configuration["PurgeJobAfter"] == "7 days*"
    host.check_output("runuser -u slurm -- touch /var/lib/slurm/archive/written")
    assert host.run("runuser -u nobody -- ls /var/lib/slurm/archive").rc != 0


def test_parameters_of_the_site_are_in_effect(configuration: dict[str, str]) -> None:
    assert configuration["MaxQueryTimeRange"] == "60-00:00:00"


def test_a_missing_database_is_named_before_anything_is_touched(host: Host) -> None:
    before = process(host), sums(host)
    run = run_playbook(*ONLY_SLURMDBD, variables={"slurmdbd_storage_port": 1, "slurmdbd_storage_timeout": 2}).failed()
    assert "slurmdbd_storage_host: no database answers at localhost:1" in run.failure
    assert (process(host), sums(host)) == before
    assert answers(host)


def test_another_cluster_is_registered_beside_the_first(host: Host) -> None:
    host.check_output("systemctl disable --now slurmdbd")  # nothing but its task starts it
    run = run_playbook(*ONLY_SLURMDBD, variables={"slurmdbd_clusters": ["molecule", "annex"]}).succeeded()
    assert [task for task, _host in run.changed] == [
        "hpcops.cluster.slurmdbd : Run slurmdbd on the primary host",
        "hpcops.cluster.slurmdbd : Register the others",
    ]
    assert host.service("slurmdbd").is_enabled
    assert sacctmgr(host, "--noheader --parsable2 list cluster format=Cluster") == ["annex", "molecule"]


def test_changed_settings_of_the_unit_restart_it(host: Host) -> None:
    before = process(host)
    host.check_output("rm /etc/systemd/system/slurmdbd.service.d/hpcops.conf && chmod 755 /var/lib/slurm/archive")
    run = run_playbook(*ONLY_SLURMDBD).succeeded()
    assert [task for task, _host in run.changed] == [
        "hpcops.cluster.slurmdbd : Write what surrounds it",
        "hpcops.cluster.slurmdbd : The primary slurmdbd has its configuration",
    ]
    assert process(host) != before
    shown = host.check_output(
        "systemctl show slurmdbd --property=NeedDaemonReload,Restart,StartLimitIntervalUSec,RuntimeDirectory,PIDFile"
    )
    assert set(shown.splitlines()) == {
        "NeedDaemonReload=no",
        "Restart=on-failure",
        "StartLimitIntervalUSec=0",
        "RuntimeDirectory=slurmdbd",
        "PIDFile=/run/slurmdbd/slurmdbd.pid",
    }
    assert host.check_output("stat --format='%U:%G %a' /var/lib/slurm/archive") == "slurm:slurm 700"


def test_ports_are_declared_where_others_may_reach_them(host: Host) -> None:
    assert "Ports=6819" in host.check_output("systemctl cat slurmdbd").splitlines()
    assert "Ports=" not in host.check_output("systemctl cat mariadb")  # it answers its own host only


def test_slurmdbd_comes_back_when_the_database_was_restarted(host: Host) -> None:
    host.check_output("systemctl restart mariadb")
    eventually(lambda: answers(host), seconds=60)


def test_slurmdbd_waits_for_a_database_that_starts_later(host: Host) -> None:
    host.check_output("systemctl stop mariadb")
    host.check_output("systemctl restart slurmdbd")
    assert not answers(host)
    host.check_output("systemctl start mariadb")
    eventually(lambda: answers(host), seconds=60)


def test_a_killed_slurmdbd_is_started_again(host: Host) -> None:
    before = process(host)
    host.check_output("systemctl kill --kill-whom=main --signal=KILL slurmdbd")
    eventually(lambda: answers(host), seconds=60)
    assert process(host) != before


def test_a_wrong_password_is_told_from_the_journal_and_kept_secret(host: Host) -> None:
    wrong = "Wr0ngPassw0rdOfTheTest"
    try:
        run = run_playbook(
            *ONLY_SLURMDBD, "-vvv", variables={"slurmdbd_storage_password": wrong, "slurmdbd_storage_timeout": 10}
        ).failed()
        assert "Last lines of journal" in run.failure
        assert "Access denied for user 'slurm'" in run.failure
        assert wrong not in run.text
    finally:
        run_playbook(*ONLY_SLURMDBD).succeeded()
    assert answers(host)
