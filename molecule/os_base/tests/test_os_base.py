"""A host's operating system is as the inventory says, and a wrong value leaves it alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from testinfra.host import Host

from ansible_collections.hpcops.cluster.tests.support.hosts import INVENTORY, PREFIX, container, names

SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
NAME = names("base")[0]
SERVER = names("server")[0]
testinfra_hosts = [f"docker://{PREFIX}{NAME}"]


class Run:
    """One run of Ansible."""

    def __init__(self, *command: str) -> None:
        done = subprocess.run([command[0], "-i", INVENTORY, *command[1:]], capture_output=True, text=True, check=False)
        self.failed = done.returncode != 0
        self.output = re.sub(r"\s+", " ", done.stdout + done.stderr)
        changed = re.search(r"changed=(\d+)", self.output)
        self.changed = int(changed.group(1)) if changed else -1


def play(playbook: str, *options: str, **variables: object) -> Run:
    """Run one of the scenario's playbooks with other values of variables."""
    return Run("ansible-playbook", str(SCENARIO / playbook), "--extra-vars", json.dumps(variables), *options)


def install(*options: str, **variables: object) -> Run:
    return play("releases.yml", *options, **variables)


def downloads() -> int:
    """How many files the mirror has handed out."""
    journal = container(SERVER).check_output("journalctl --unit=mirror --output=cat --no-pager")
    return len(re.findall(r'"GET /project/[^"]*" 200', journal))


# --- names, time, kernel, limits


def test_hosts_file_gives_the_inventorys_addresses(host: Host) -> None:
    assert host.check_output(f"getent ahosts {NAME}").split()[0] == "192.0.2.1"
    assert host.check_output(f"getent ahosts {SERVER}").split()[0] == "192.0.2.2"


def test_names_that_the_host_gave_itself_lead_to_the_clusters_address_first(host: Host) -> None:
    """By either of the C library's functions: one takes the first line, the other one sorts all addresses."""
    for ask in ("getent hosts", "getent ahosts"):
        assert host.check_output(f"{ask} {NAME}").split()[0] == "192.0.2.1", ask
        assert host.check_output(f"{ask} own.example.org").split()[0] == "192.0.2.1", ask
    assert host.check_output("stat --format='%U:%G %a' /etc/hosts") == "root:root 644"


def test_hosts_own_name_in_the_hosts_file_stays(host: Host) -> None:
    assert host.check_output("getent hosts localhost")
    assert host.run("getent hosts a").rc == 0


def test_chrony_follows_the_configured_server(host: Host) -> None:
    for _attempt in range(60):
        if re.search(r"^\^\*", host.check_output("chronyc -n sources"), re.MULTILINE):
            break
        time.sleep(0.5)
    tracking = host.check_output("chronyc tracking")
    assert re.search(r"Stratum +: 9", tracking), tracking  # the scenario's server has stratum 8
    assert host.service("chrony").is_enabled


def test_clock_steps_at_boot_only_and_its_drift_is_kept(host: Host) -> None:
    configuration = host.check_output("chronyd -p -f /etc/chrony/chrony.conf").splitlines()
    assert {"makestep 1.0 3", "rtcsync", "driftfile /var/lib/chrony/chrony.drift"} <= set(configuration)


def test_time_zone_is_in_force(host: Host) -> None:
    assert host.check_output("date --date='2026-01-01 12:00 UTC' +%H:%M%Z") == "13:00CET"
    assert host.check_output("cat /etc/timezone") == "Europe/Berlin"


def test_locale_is_in_force_in_a_login_session(host: Host) -> None:
    shown = host.run("su - alice -c 'locale; locale charmap'")
    assert "LANG=de_DE.UTF-8" in shown.stdout
    assert "UTF-8" in shown.stdout.split()[-1]
    assert "Cannot set" not in shown.stderr


def test_kernel_settings_are_in_force(host: Host) -> None:
    assert host.check_output("sysctl --values net.core.somaxconn net.ipv4.tcp_max_syn_backlog").split() == [
        "2048",
        "512",
    ]


def test_limits_are_in_force_in_a_login_session(host: Host) -> None:
    # limits.conf counts cores in KiB, dash in blocks of 512 bytes
    assert host.check_output("su - alice -c 'ulimit -Sn; ulimit -Hn; ulimit -c'").split() == ["2048", "10000", "2048"]


def test_kernel_setting_that_the_kernel_refuses_is_not_installed(host: Host) -> None:
    before = host.file("/etc/sysctl.d/90-hpcops.conf").content_string
    run = play("base.yml", os_base_sysctl={"net.core.somaxconn": "many"})
    assert run.failed
    assert "/etc/sysctl.d/90-hpcops.conf: the new content is refused by 'sysctl'" in run.output
    assert "Invalid argument" in run.output
    assert host.file("/etc/sysctl.d/90-hpcops.conf").content_string == before


def test_check_mode_finds_a_kernel_setting_that_does_not_exist() -> None:
    run = play("base.yml", "--check", os_base_sysctl={"net.core.no_such_thing": 1})
    assert run.failed
    assert "no_such_thing" in run.output


def test_files_belong_to_root_and_are_readable(host: Host) -> None:
    paths = (
        "/etc/security/limits.d/90-hpcops.conf /etc/sysctl.d/90-hpcops.conf /etc/chrony/chrony.conf /etc/timezone"
        " /etc/apt/sources.list.d/molecule.sources /etc/apt/preferences.d/molecule"
    )
    assert set(host.check_output(f"stat --format='%U:%G %a' {paths}").splitlines()) == {"root:root 644"}


# --- accounts


def test_service_accounts_have_their_numbers(host: Host) -> None:
    numbers = {name: (host.user(name).uid, host.user(name).gid) for name in ("slurm", "munge", "slurmrestd")}
    assert numbers == {"slurm": (64030, 64030), "munge": (450, 450), "slurmrestd": (451, 451)}
    assert host.check_output("getent passwd slurm").split(":")[4:] == [
        "Slurm workload manager",
        "/var/lib/slurm",
        "/usr/sbin/nologin",
    ]


@pytest.mark.parametrize(
    ("account", "complaint"),
    [
        ({"name": "newcomer", "uid": 450}, "uid 450 of 'newcomer' belongs to 'munge' here"),
        ({"name": "munge", "uid": 460}, "'munge' has uid 450 here instead of 460"),
    ],
)
def test_account_whose_number_is_another_is_refused(host: Host, account: dict[str, object], complaint: str) -> None:
    run = Run("ansible", "base", "-m", "hpcops.cluster.service_accounts", "-a", json.dumps({"accounts": [account]}))
    assert run.failed
    assert complaint in run.output
    assert not host.user("newcomer").exists
    assert host.user("munge").uid == 450


# --- repositories


def test_pin_holds_the_package_at_its_version(host: Host) -> None:
    policy = host.check_output("apt-cache policy molecule-pinned")
    assert "Candidate: 1.0" in policy
    assert re.search(r"^ +2\.0 ", policy, re.MULTILINE), policy  # there for the taking
    assert host.package("molecule-pinned").version == "1.0"
    host.check_output("apt-get --yes dist-upgrade molecule-pinned")
    assert host.package("molecule-pinned").version == "1.0"


# --- a further run


def test_run_starts_the_stopped_time_service_and_takes_away_what_is_not_set_any_more(host: Host) -> None:
    """The time service's configuration stays the same, so that nothing but its task starts it."""
    repository = {"name": "molecule", "uris": ["http://server:8000/apt"], "suites": ["./"]}
    repository["key"] = "/etc/apt/keyrings/molecule.asc"
    host.check_output("systemctl disable --now chrony && rm -f /var/lib/apt/lists/server:8000_*")
    run = play("base.yml", os_base_limits=[], os_base_sysctl={}, os_base_repositories=[repository])
    assert not run.failed, run.output
    assert host.service("chrony").is_running
    assert host.service("chrony").is_enabled
    assert not host.file("/etc/security/limits.d/90-hpcops.conf").exists
    assert not host.file("/etc/sysctl.d/90-hpcops.conf").exists
    assert "Candidate: 2.0" in host.check_output("apt-cache policy molecule-pinned")  # the index is fresh, the pin gone


def test_changed_time_source_is_asked_at_once(host: Host) -> None:
    """And what the run before took away is there again."""
    run = play("base.yml", os_base_time_sources=["server 192.0.2.99"])
    assert not run.failed, run.output
    assert "192.0.2.99" in host.check_output("chronyc -n sources")
    assert host.check_output("su - alice -c 'ulimit -Sn'") == "2048"
    assert "Candidate: 1.0" in host.check_output("apt-cache policy molecule-pinned")


# --- artifacts; each test starts from what converge installed, and returns to it


def test_programs_of_an_archive_and_a_single_binary_run(host: Host) -> None:
    assert host.check_output("su - alice -c tool") == "tool 1.0"
    assert host.check_output("su - alice -c single") == "tool single"
    assert host.file("/opt/hpcops/tool-1.0/bin/tool").user == "root"


def test_package_file_is_installed(host: Host) -> None:
    assert host.package("molecule-deb").version == "1.0"


def test_second_run_changes_and_downloads_nothing(host: Host) -> None:
    before = downloads()
    run = install()
    assert (run.failed, run.changed) == (False, 0), run.output
    assert host.check_output("tool") == "tool 1.0"
    assert downloads() == before


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        (
            {"tool_version": "9.0"},
            "was expected. The file was changed or damaged, or the checksum belongs to another file",
        ),
        ({"tool_version": "2.0", "tool_checksum": "0" * 64}, f"but {'0' * 64} was expected"),
        ({"tool_version": "4.0"}, "sha256sums.txt has no SHA-256 of tool-4.0.tar.gz"),
        (
            {"tool_version": "4.0", "tool_checksum": "0" * 64},
            "cannot fetch http://server:8000/project/releases/tool-4.0.tar.gz",
        ),
    ],
    ids=["other file", "wrong digits", "not in the list", "not on the mirror"],
)
def test_release_that_cannot_be_verified_leaves_the_old_one_in_place(
    host: Host, variables: dict[str, object], complaint: str
) -> None:
    before = host.check_output("ls -A /opt/hpcops")
    run = install(**variables)
    assert run.failed
    assert complaint in run.output
    assert "Nothing was replaced" in run.output
    assert host.check_output("tool") == "tool 1.0"
    assert host.check_output("ls -A /opt/hpcops") == before


def test_upgrade_and_downgrade_follow_the_version(host: Host) -> None:
    announced = install("--check", tool_version="2.0", deb_version="2.0")
    assert (announced.failed, announced.changed) == (False, 2), announced.output
    assert host.check_output("tool") == "tool 1.0"
    assert not host.file("/opt/hpcops/tool-2.0").exists

    assert not install(tool_version="2.0", deb_version="2.0").failed
    assert host.check_output("tool") == "tool 2.0"
    assert host.package("molecule-deb").version == "2.0"

    before = downloads()
    back = install()
    assert not back.failed, back.output
    assert host.check_output("tool") == "tool 1.0"
    assert host.package("molecule-deb").version == "1.0"
    assert downloads() == before


def test_file_that_something_else_installed_is_in_the_way_until_it_is_removed(host: Host) -> None:
    host.check_output("rm /usr/local/bin/tool && echo mine >/usr/local/bin/tool")
    try:
        run = install(tool_version="3.0")
        assert run.failed
        assert "/usr/local/bin/tool exists and is no link" in run.output
        assert host.check_output("cat /usr/local/bin/tool") == "mine"
    finally:
        host.check_output("rm /usr/local/bin/tool")
    assert not install(tool_version="3.0").failed
    assert host.check_output("tool") == "tool 3.0"
