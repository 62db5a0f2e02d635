# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every rule in the roles' validation refuses a wrong value, with a message that names the variable.

All cases are hosts of one run of Ansible, which executes nothing but the validation, with made-up facts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = (
    "os_base",
    "discovery",
    "munge",
    "mariadb",
    "slurm",
    "slurmdbd",
    "slurmctld",
    "slurmd",
    "slurmrestd",
    "node_exporter",
    "process_exporter",
    "prometheus",
    "grafana",
    "cgroup_exporter",
    "slurm_exporter",
    "dcgm_exporter",
    "enroot",
    "storage",
    "os_hardening",
    "slurm_elastic",
)
FACTS = {
    "os_family": "Debian",
    "distribution": "Debian",
    "distribution_release": "trixie",
    "distribution_major_version": "13",
    "hostname": "ctl1",
    "architecture": "x86_64",
}
# An action plugin, since facts can only come from the result of a task.
MADE_UP_FACTS = """
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        return {"ansible_facts": {f"ansible_{name}": value for name, value in self._task.args["facts"].items()}}
"""
COMPLAINTS = (
    "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, 'complaint'))) | to_json }}"
)


def playbook(complaints: Path) -> list[dict[str, Any]]:
    """Run each host's entry point of a role, and write down why it was refused."""
    # One task for all hosts: one for each entry point, with a condition, would be a fork for each and each host. By the loop's variable
    # Ansible tells hosts apart that include the same role, but other tasks of it.
    include = {
        "ansible.builtin.include_role": {"name": "hpcops.cluster.{{ case_role }}", "tasks_from": "{{ case_tasks }}"},
        "loop": ["{{ case_entry }}"],
        "loop_control": {"loop_var": "case_tasks"},
    }
    complaint = {"complaint": "{{ ansible_failed_result }}"}
    tasks = [
        {"made_up_facts": {"facts": "{{ case_facts }}"}},
        {"block": [include], "rescue": [{"ansible.builtin.set_fact": complaint}]},
        {"ansible.builtin.copy": {"content": COMPLAINTS, "dest": str(complaints)}, "run_once": True},
    ]
    return [{"hosts": "all", "connection": "local", "gather_facts": False, "tasks": tasks}]


class Case(NamedTuple):
    """A wrong value, and what the message that refuses it names and says."""

    variables: dict[str, Any]
    names: str
    says: str = ""
    entry: str = "validate"
    facts: dict[str, str] = {}  # noqa: RUF012  # never changed

    @property
    def role(self) -> str:
        return next(role for role in sorted(ROLES, key=len, reverse=True) if self.names.startswith(f"{role}_"))


REPOSITORY = {"name": "x", "uris": ["http://example.org"], "suites": ["./"]}
ARTIFACT = dict.fromkeys(("name", "version", "url", "checksum"), "x")
ARTIFACT_VARIABLES = {f"os_base_artifact_{name}": value for name, value in ARTIFACT.items()}
SIGNED = {"slurm_build_signing_key": "x", "slurm_build_public_key": "y"}
BUILD: dict[str, Any] = {"slurm_version": "25.05.5", "slurm_source_checksum": "0" * 64, **SIGNED}
BACKUP: dict[str, Any] = {"os_base_backup_job": "state"}
TLS = {"mariadb_tls_certificate": "/c", "mariadb_tls_key": "/k", "mariadb_tls_ca": "/a"}
GALERA: dict[str, Any] = {"mariadb_galera_nodes": ["ctl1", "db2", "db3"], "mariadb_bind_address": "0.0.0.0"}
SECRET: dict[str, Any] = {
    "os_base_secret_variable": "os_base_secret",
    "os_base_secret_given": True,
    "os_base_secret_file": "/no/file",
    "os_base_secret_probe": "echo abc",
    "os_base_secret_replace": False,
    "os_base_secret_switch": "site_replace",
    "os_base_secret_rotation": "rotate_site",
    "__os_base_secret_wanted": "def",
}
CERTIFICATE: dict[str, Any] = {"os_base_ca_directory": "/ca", "os_base_certificate_directory": "/etc/c"}
ENROOT: dict[str, Any] = {
    "enroot_artifact_checksum": "a" * 64,
    "enroot_pyxis_artifact_checksum": "b" * 64,
    "enroot_plugstack": ["include /etc/slurm/plugstack.conf.d/*.conf"],
}
NFS: dict[str, Any] = {"path": "/a", "source": "nfs1:/a", "type": "nfs4"}
REST: dict[str, Any] = {"slurm_jwt": True, "slurm_controllers": ["ctl1"]}
CONTROLLER: dict[str, Any] = {
    "slurm_cluster_name": "c",
    "slurm_controllers": ["ctl1"],
    "slurmctld_nodes": [{"NodeName": "n"}],
}

PLACE: dict[str, Any] = {"account": "a", "region": "eu-west-1", "subnets": ["subnet-1"], "image": "ami-1"}
GROUP: dict[str, Any] = {
    "name": "cpu",
    "prefix": "cpu-",
    "count": 2,
    "partitions": ["cloud"],
    "node": {"CPUs": 2, "RealMemory": 1000},
    "places": [PLACE],
    "instance_types": ["c5.large"],
}
ELASTIC: dict[str, Any] = {
    "slurm_controllers": ["ctl1"],
    "slurm_elastic_accounts": [{"name": "a"}],
    "slurm_elastic_groups": [GROUP],
    "slurm_elastic_instance_types": {"c5.large": {"vcpus": 2}},
}

CASES = {
    "distribution of another family": Case(
        {}, "this host runs SLES", "Debian, RedHat", facts={"os_family": "Suse", "distribution": "SLES"}
    ),
    "repository whose name apt ignores": Case(
        {"os_base_repositories": [REPOSITORY | {"name": "a.b"}]},
        "os_base_repositories",
        "'a.b' needs a name",
    ),
    "repository without an address": Case(
        {"os_base_repositories": [REPOSITORY | {"uris": []}]}, "os_base_repositories"
    ),
    "repository without a suite": Case(
        {"os_base_repositories": [REPOSITORY | {"suites": []}]},
        "os_base_repositories",
        "'x' needs at least one of suites",
    ),
    "repository that says nothing of suites": Case(
        {"os_base_repositories": [{"name": "y", "uris": ["http://example.org"]}, REPOSITORY]},
        "os_base_repositories",
        "'y' needs at least one of suites",
        entry="validate_repositories",
    ),
    "repository that is trusted without a signature and without TLS": Case(
        {
            "os_base_repositories": [
                REPOSITORY | {"uris": ["https://a", "http://b"], "trusted": True},
                {**REPOSITORY, "name": "ok"},
            ]
        },
        "os_base_repositories",
        "'x' has trusted and an address without TLS",
    ),
    "another secret than the host has": Case(SECRET, "os_base_secret", "has the key abc", "validate_secret"),
    "secret that the control machine lacks": Case(
        SECRET | {"os_base_secret_given": False},
        "os_base_secret_file",
        "already has the cluster's key abc",
        "validate_secret",
    ),
    "no time source": Case({"os_base_time_sources": []}, "os_base_time_sources"),
    "time source that is only a host": Case(
        {"os_base_time_sources": ["ntp.example.org"]}, "os_base_time_sources", '"server HOST"'
    ),
    "hosts file without hosts": Case({"os_base_hosts_file": True}, "os_base_hosts", "is empty"),
    "time zone that does not exist": Case(
        {"os_base_timezone": "Europe/Atlantis"},
        "os_base_timezone",
        '"Europe/Atlantis" is no name',
    ),
    "time zone that leads elsewhere": Case({"os_base_timezone": "../../etc/passwd"}, "os_base_timezone"),
    "locale with a blank": Case({"os_base_locale": "de DE"}, "os_base_locale"),
    "kernel setting without a dot": Case({"os_base_sysctl": {"swappiness": 1}}, "os_base_sysctl"),
    "kernel setting that is a list": Case({"os_base_sysctl": {"vm.swappiness": [1]}}, "os_base_sysctl"),
    "artifact without a checksum": Case(
        ARTIFACT_VARIABLES | {"os_base_artifact_checksum": ""},
        "os_base_artifact_checksum",
        "are all needed",
        "validate_artifact",
    ),
    "mirror that is a host": Case(
        ARTIFACT_VARIABLES | {"os_base_artifact_mirror": "mirror.example.org"},
        "os_base_artifact_mirror",
        "is no http or https address",
        "validate_artifact",
    ),
    "backup of a job without a name": Case(
        BACKUP | {"os_base_backup_job": ""}, "os_base_backup_job", entry="validate_backup"
    ),
    "backup into a relative directory": Case(
        BACKUP | {"os_base_backup_directory": "backups"}, "os_base_backup_directory", entry="validate_backup"
    ),
    "backups of which none is kept": Case(
        BACKUP | {"os_base_backup_keep": 0}, "os_base_backup_keep", "Keep 1 at least", "validate_backup"
    ),
    "backups that are kept for less than a day": Case(
        BACKUP | {"os_base_backup_keep_days": -1}, "os_base_backup_keep_days", "0 days is no limit", "validate_backup"
    ),
    "copies into no bucket": Case(
        BACKUP | {"os_base_backup_s3": {"prefix": "x"}}, "os_base_backup_s3", "name of a bucket", "validate_backup"
    ),
    "access key without its secret": Case(
        BACKUP | {"os_base_backup_s3": {"bucket": "b", "access_key_id": "x"}},
        "os_base_backup_s3",
        "go together",
        "validate_backup",
    ),
    "REST API without tokens": Case(REST | {"slurm_jwt": False}, "slurm_jwt", "the key that signs tokens"),
    "version of the REST API that is none": Case(
        REST | {"slurmrestd_api_version": "latest"}, "slurmrestd_api_version", '"latest" is no version'
    ),
    "proxy's certificate without its key": Case(
        REST | {"slurmrestd_tls_certificate": "/c"}, "slurmrestd_tls_key", "go together"
    ),
    "REST API in the clear": Case(
        REST | {"slurmrestd_listen_address": "0.0.0.0"}, "slurmrestd_listen_address", "in the clear"
    ),
    "REST API as root": Case(REST | {"slurmrestd_user": "root"}, "slurmrestd_user", "refuses to run as root"),
    "REST API of an old release on a host that is no controller": Case(
        REST | {"slurm_controllers": ["ctl2"]},
        "slurmrestd of Slurm 22.05",
        "Put it on one of ctl2",
        facts={"distribution_release": "bookworm", "distribution_major_version": "12"},
    ),
    "exporter's certificate without its key": Case(
        {"os_base_exporter_tls_certificate": "/c"}, "os_base_exporter_tls_key", "go together", "validate_exporter"
    ),
    "exporter that everybody may ask": Case(
        {"os_base_exporter_name": "node_exporter", "os_base_exporter_listen_address": "::"},
        "os_base_exporter_listen_address",
        "node_exporter would tell everybody who reaches ::",
        "validate_exporter",
    ),
    "exporter's password that is easy to guess": Case(
        {"os_base_exporter_users": {"prometheus": "x" * 20, "alice": "secret"}},
        "os_base_exporter_users",
        "Not so that of alice.",
        "validate_exporter",
    ),
    "collector that runs and does not run": Case(
        {"node_exporter_collectors": ["zfs"]}, "node_exporter_collectors", "zfs is in"
    ),
    "textfile directory that is none": Case(
        {"node_exporter_textfile_directory": "metrics"}, "node_exporter_textfile_directory", "no absolute path"
    ),
    "group of processes that nothing matches": Case(
        {"process_exporter_groups": [{"name": "x"}]}, "process_exporter_groups", "Not so: x."
    ),
    "name of a process that the kernel cuts": Case(
        {"process_exporter_groups": [{"name": "x", "comm": ["slurm-job-exporter"]}]},
        "process_exporter_groups",
        "slurm-job-exporter never matches",
    ),
    "grafana's certificate without its key": Case(
        {"grafana_admin_password": "x" * 12, "grafana_tls_certificate": "/c"}, "grafana_tls_key", "go together"
    ),
    "grafana in the clear": Case(
        {"grafana_admin_password": "x" * 12, "grafana_listen_address": "::"}, "grafana_listen_address", "in the clear"
    ),
    "grafana's administrator with the password that everybody knows": Case(
        {}, "grafana_admin_password", "from a vault"
    ),
    "dashboard with another one's uid": Case(
        {"grafana_admin_password": "x" * 12, "grafana_dashboards": [{"uid": "hpcops-node"}]},
        "grafana_dashboards",
        "hpcops-node",
    ),
    "metrics of control groups that jobs do not have": Case(
        {"slurmctld_cgroup": "disabled"}, "cgroup_exporter_cgroup", "slurmctld_cgroup is disabled"
    ),
    "control group that is no path": Case({"cgroup_exporter_paths": ["slurm"]}, "cgroup_exporter_paths", 'Got "slurm"'),
    "program whose releases bring no checksums": Case(
        {"cgroup_exporter_program": "cadvisor"},
        "cgroup_exporter_checksum",
        "SHA-256 of cadvisor-v0.60.6-linux-amd64",
    ),
    "port that nginx needs": Case(
        {"cgroup_exporter_inner_port": 9306}, "cgroup_exporter_inner_port", "9306 is cgroup_exporter_port as well"
    ),
    "metrics that slurmctld does not tell yet": Case(
        {"slurm_exporter_native": True}, "slurm_exporter_native", "slurmctld of Slurm 24.11 tells no metrics"
    ),
    "collector of Slurm's that runs and does not run": Case(
        {"slurm_exporter_collectors": ["gpus"], "slurm_exporter_disabled_collectors": ["gpus"]},
        "slurm_exporter_collectors",
        "gpus is in",
    ),
    "no time for Slurm's commands": Case(
        {"slurm_exporter_command_timeout": 0}, "slurm_exporter_command_timeout", "0 seconds"
    ),
    "metrics of GPUs that are not there": Case(
        {"dcgm_exporter_needs_gpu": True}, "dcgm_exporter_needs_gpu", "no GPU that NVIDIA's driver drives"
    ),
    "counter of no kind": Case(
        {"dcgm_exporter_needs_gpu": False, "dcgm_exporter_counters": ["DCGM_FI_DEV_GPU_TEMP, temperature"]},
        "dcgm_exporter_counters",
        "Not so: DCGM_FI_DEV_GPU_TEMP, temperature.",
    ),
    "directory of jobs that is none": Case(
        {"dcgm_exporter_needs_gpu": False, "dcgm_exporter_jobs_directory": "jobs"},
        "dcgm_exporter_jobs_directory",
        "no absolute path",
    ),
    "enroot's package without a checksum": Case(
        ENROOT | {"enroot_artifact_checksum": ""}, "enroot_artifact_checksum", "upstream publishes no list"
    ),
    "enroot+caps without a checksum": Case(
        ENROOT | {"enroot_caps": True}, "enroot_caps_artifact_checksum", "set enroot_caps to false"
    ),
    "pyxis without a checksum": Case(
        ENROOT | {"enroot_pyxis_artifact_checksum": ""}, "enroot_pyxis_artifact_checksum", "enroot without pyxis"
    ),
    "pyxis that plugstack.conf does not include": Case(
        ENROOT | {"enroot_plugstack": []}, "enroot_plugstack", "include"
    ),
    "two of enroot's directories in one": Case(
        ENROOT | {"enroot_data_directory": "/run/enroot"}, "enroot_runtime_directory", "four different absolute paths"
    ),
    "setting that enroot does not have": Case(
        ENROOT | {"enroot_settings": {"ROOTFS": "yes"}}, "enroot_settings", "enroot takes no setting ROOTFS"
    ),
    "hook without a number": Case(
        ENROOT | {"enroot_hooks": [{"name": "site.sh"}]}, "enroot_hooks", "a hook is called like 50-slurm-pmi.sh"
    ),
    "password with a blank": Case(
        ENROOT | {"enroot_credentials": [{"user": "a", "machine": "m", "login": "l", "password": "p w"}]},
        "enroot_credentials",
        "may have a blank",
    ),
    "state directory that is mounted on use": Case(
        {"storage_mounts": [NFS | {"purpose": "state", "automount": True}]},
        "storage_mounts",
        "/a: a state directory is mounted at boot",
    ),
    "mount point twice": Case({"storage_mounts": [NFS, NFS]}, "storage_mounts", "/a is given twice"),
    "device that is none": Case(
        {"storage_overwrite_devices": ["sdb"]}, "storage_overwrite_devices", "the name of a device"
    ),
    "export with a blank": Case(
        {"storage_exports": [{"path": "/a b", "clients": [{"hosts": "*"}]}]}, "storage_exports", "without blanks"
    ),
    "two hosts in one client": Case(
        {"storage_exports": [{"path": "/a", "clients": [{"hosts": "n1 n2"}]}]}, "storage_exports", "one in each entry"
    ),
    "two options in one": Case(
        {"storage_exports": [{"path": "/a", "clients": [{"hosts": "n1", "options": ["ro,sync"]}]}]},
        "storage_exports",
        "an option is a word",
    ),
    "firewall that knows no cluster": Case({}, "os_hardening_cluster_networks", "would not reach each other"),
    "network that is none": Case(
        {"os_hardening_cluster_networks": ["10.1.0.0/16"], "os_hardening_admin_networks": {"vpn": ["10.9/16"]}},
        "os_hardening_admin_networks",
        "Not so: 10.9/16.",
    ),
    "port that is none": Case(
        {"os_hardening_cluster_networks": ["10.1.0.0/16"], "os_hardening_job_ports": "60000:61000"},
        "os_hardening_job_ports",
        "Not so: 60000:61000.",
    ),
    "sudo's file with a dot": Case(
        {"os_hardening_cluster_networks": ["::1"], "os_hardening_sudo": [{"name": "a.b", "rules": []}]},
        "os_hardening_sudo",
        "small letters",
    ),
    "discovery certificate without its key": Case(
        {"discovery_tls_certificate": "/c"}, "discovery_tls_key", "go together"
    ),
    "discovery in the clear": Case(
        {"discovery_listen_address": "0.0.0.0"}, "discovery_tls_certificate", "in the clear"
    ),
    "database of another kind": Case({"discovery_database_url": "mysql://x"}, "discovery_database_url", "sqlite:////"),
    "age of events that is none": Case({"discovery_events_keep": "1 year"}, "discovery_events_keep", "400d or 1y"),
    "events removed without a backup": Case(
        {"discovery_events_keep": "1y", "discovery_backup_keep": 0}, "discovery_events_keep", "discovery_backup_keep"
    ),
    "token that is easy to guess": Case(
        {"discovery_tokens": [{"name": "weak", "token": "secret"}]}, "discovery_tokens", "weak"
    ),
    "two tokens of one name": Case(
        {"discovery_tokens": [{"name": "a", "token": "x" * 32}, {"name": "a", "token": "y" * 32}]},
        "discovery_tokens",
        "a name is given twice",
    ),
    "short munge key": Case({"munge_key": "c2hvcnQ="}, "munge_key", "32 to 1024 bytes"),
    "certificate without an authority": Case(
        CERTIFICATE | {"os_base_ca_directory": ""}, "os_base_ca_directory", "is not set", "validate_certificate"
    ),
    "certificate without a name": Case(
        CERTIFICATE | {"os_base_certificate_names": []}, "os_base_certificate_names", "one name", "validate_certificate"
    ),
    "certificate that is always too old": Case(
        CERTIFICATE | {"os_base_certificate_renewal_days": 400},
        "os_base_certificate_renewal_days",
        "less than",
        "validate_certificate",
    ),
    "munge key that is no base64": Case({"munge_key": "(" * 64}, "munge_key", "is no base64"),
    "munge key that is being changed": Case(
        {"munge_key_file": "begun.key"}, "munge_key_file", "begun.key.new is there"
    ),
    "TLS certificate without its key": Case(
        TLS | {"mariadb_tls_key": ""},
        "mariadb_tls_key",
        "go together",
    ),
    "cluster of two databases": Case(
        GALERA | {"mariadb_galera_nodes": ["ctl1", "db2"]}, "mariadb_galera_nodes", "are too few"
    ),
    "database that is not in its cluster": Case(GALERA | {"mariadb_galera_node": "db7"}, "mariadb_galera_node", "db7"),
    "database of a cluster that answers on its own host alone": Case(
        GALERA | {"mariadb_bind_address": "127.0.0.1"}, "mariadb_bind_address", "127.0.0.1"
    ),
    "database server of nobody": Case({}, "mariadb_external_host", "is not set", "validate_external"),
    "administrator without a password": Case(
        {"mariadb_external_host": "db", "mariadb_external_admin_user": "root"},
        "mariadb_external_admin_password",
        "go together",
        "validate_external",
    ),
    "database user without a password": Case(
        {"mariadb_users": [{"name": "open", "host": "%", "privileges": "*.*:ALL"}]},
        "mariadb_users",
        "open",
    ),
    "database user without a name": Case(
        {"mariadb_users": [{"password": "x", "privileges": "*.*:ALL"}]},
        "mariadb_users",
    ),
    "backup of a database that no drill could name": Case(
        {"mariadb_backup_database": "slurm-acct"}, "mariadb_backup_database", '"slurm-acct"', "validate_backup"
    ),
    "backup of a database elsewhere without a user": Case(
        {"mariadb_backup_connection": {"host": "db"}},
        "mariadb_backup_connection",
        "host, user and password",
        "validate_backup",
    ),
    "distribution without Slurm": Case(
        {"slurm_controllers": ["ctl1"]},
        "slurm_install_method",
        "bookworm, trixie, forky",
        facts={"distribution_release": "sid"},
    ),
    "repository without a release": Case(
        {
            "slurm_controllers": ["ctl1"],
            "slurm_install_method": "repository",
            "slurm_version": "25.05",
            "slurm_repository": REPOSITORY,
        },
        "slurm_version",
        "needs the whole release",
        "validate_install",
    ),
    "release without a repository": Case(
        {"slurm_controllers": ["ctl1"], "slurm_install_method": "repository", "slurm_version": "25.05.5"},
        "slurm_repository",
        "takes the packages from there",
    ),
    "authentication that the release does not have": Case(
        {"slurm_controllers": ["ctl1"], "slurm_auth": "slurm"},
        "slurm_auth",
        "Slurm 22.05 on this host",
        "validate_install",
        facts={"distribution_release": "bookworm"},
    ),
    "short key of Slurm's authentication": Case(
        {"slurm_auth": "slurm", "slurm_auth_key": "c2hvcnQ="}, "slurm_auth_key", "32 bytes at least", "auth"
    ),
    "key of Slurm's authentication that is no base64": Case(
        {"slurm_auth": "slurm", "slurm_auth_key": "(" * 64}, "slurm_auth_key", "must be base64", "auth"
    ),
    "key for tokens that is no base64": Case(
        {"slurm_jwt_key": "(" * 64, "slurm_jwt_daemon": "slurmctld"}, "slurm_jwt_key", "must be base64", "jwt"
    ),
    "short key for tokens": Case(
        {"slurm_jwt_key": "c2hvcnQ=", "slurm_jwt_daemon": "slurmctld"}, "slurm_jwt_key", "32 bytes", "jwt"
    ),
    "login node without controllers": Case({"slurm_controllers": []}, "slurm_controllers", "is empty"),
    "build of half a release": Case(
        BUILD | {"slurm_version": "25.05"}, "slurm_version", "can be built", "validate_build"
    ),
    "build of an unverified tarball": Case(
        BUILD | {"slurm_source_checksum": ""},
        "slurm_source_checksum",
        "64 hexadecimal digits",
        "validate_build",
    ),
    "signing key on EL": Case(
        BUILD,
        "slurm_build_signing_key",
        "Debian and Ubuntu only",
        "validate_build",
        {"os_family": "RedHat"},
    ),
    "packages that nobody signs": Case(
        BUILD | {"slurm_build_signing_key": "", "slurm_build_public_key": ""},
        "slurm_build_signing_key",
        "no unsigned packages",
        "validate_build",
    ),
    "nodes of a build host without a key": Case(
        {
            "slurm_controllers": ["ctl1"],
            "slurm_install_method": "build",
            "slurm_version": "25.05.5",
            "slurm_build_host": "b1",
        },
        "slurm_build_public_key",
        "no unsigned packages",
        "validate_install",
    ),
    "signing key without its public half": Case(
        BUILD | {"slurm_build_public_key": ""},
        "slurm_build_public_key",
        "go together",
        "validate_build",
    ),
    "slurmdbd without a password": Case({"slurmdbd_storage_password": ""}, "slurmdbd_storage_password", "is empty"),
    "password that slurmdbd would cut off": Case(
        {"slurmdbd_storage_password": "a#b"},
        "slurmdbd_storage_password",
        'contains a "#"',
    ),
    "three hosts of slurmdbd": Case(
        {"slurmdbd_storage_password": "x", "slurmdbd_hosts": ["a", "b", "c"]},
        "slurmdbd_hosts",
        "at most one backup; found 3",
    ),
    "cluster without a name": Case(
        CONTROLLER | {"slurm_cluster_name": "My Cluster"},
        "slurm_cluster_name",
        '"My Cluster"',
    ),
    "host that is no controller": Case(
        CONTROLLER | {"slurm_controllers": ["ctl2(10.0.0.2)"]},
        "slurm_controllers",
        'this host calls itself "ctl1"',
    ),
    "slurmdbd hosts in another order": Case(
        CONTROLLER | {"slurmctld_accounting_hosts": ["a", "b"], "slurmdbd_hosts": ["b.example.org", "a"]},
        "slurmctld_accounting_hosts",
        "same order",
    ),
    "no group of cloud nodes": Case(ELASTIC | {"slurm_elastic_groups": []}, "slurm_elastic_groups", "one group"),
    "cloud nodes in an account that nobody knows": Case(
        ELASTIC | {"slurm_elastic_groups": [GROUP | {"places": [PLACE | {"account": "b"}]}]},
        "slurm_elastic_accounts",
        "name the accounts b",
    ),
    "instance type that nobody knows": Case(
        ELASTIC | {"slurm_elastic_groups": [GROUP | {"instance_types": ["c5.large", "m9.huge"]}]},
        "slurm_elastic_instance_types",
        "m9.huge",
    ),
    "groups of cloud nodes with one prefix": Case(
        ELASTIC | {"slurm_elastic_groups": [GROUP, GROUP | {"name": "other"}]}, "slurm_elastic_groups", "cpu-*, cpu-*"
    ),
    "key of cloud nodes from nowhere": Case(
        ELASTIC | {"slurm_elastic_key": "vault:x"}, "slurm_elastic_key", "secretsmanager:NAME"
    ),
    "address of EC2 that is none": Case(
        ELASTIC | {"slurm_elastic_endpoint_url": "ec2.example.org"}, "slurm_elastic_endpoint_url", "ec2.example.org"
    ),
    "cluster without nodes": Case(CONTROLLER | {"slurmctld_nodes": []}, "slurmctld_nodes", "is empty"),
    "targets of an API that tells nobody without a token": Case(
        {"prometheus_discovery_url": "https://api:8420"}, "prometheus_discovery_token", "scope read"
    ),
    "targets of a job that the role does not have": Case(
        {"prometheus_targets": [{"job": "sshd", "targets": ["a:22"]}]}, "prometheus_targets", "sshd is no job"
    ),
    "target that is an address with a scheme": Case(
        {"prometheus_targets": [{"job": "node_exporter", "targets": ["http://a:9100"]}]},
        "prometheus_targets",
        "Not so http://a:9100",
    ),
    "settings of a job that the role does not have": Case(
        {"prometheus_job_settings": {"sshd": {}}}, "prometheus_job_settings", "sshd is no job"
    ),
    "change of an alert that there is none of": Case(
        {"prometheus_alert_changes": {"NodeDown": {"for": "1h"}}}, "prometheus_alert_changes", "no alert NodeDown"
    ),
    "change of an alert that nobody understands": Case(
        {"prometheus_alert_changes": {"SlurmNodeDown": {"fore": "1h"}}}, "prometheus_alert_changes", "fore cannot"
    ),
    "runbooks in a folder": Case({"prometheus_runbooks_url": "/srv/runbooks"}, "prometheus_runbooks_url", "http"),
    "samples that are kept for a while": Case({"prometheus_retention_time": "90 days"}, "prometheus_retention_time"),
    "alerts to nobody that there is": Case(
        {"prometheus_alertmanager_route": {"receiver": "pager"}}, "prometheus_alertmanager_route", '"pager" is none'
    ),
    "compute node without controllers": Case({"slurm_controllers": []}, "slurm_controllers", "slurmd fetches"),
}
# Where what the message names does not begin with the name of the role whose rule it is.
OTHER_ROLE = {
    "distribution of another family": "os_base",
    "cluster without a name": "slurmctld",
    "host that is no controller": "slurmctld",
    "compute node without controllers": "slurmd",
    "REST API without tokens": "slurmrestd",
    "REST API of an old release on a host that is no controller": "slurmrestd",
}
# What a role needs at least; no rule may refuse it.
SOUND: dict[str, dict[str, Any]] = {
    "os_base": {
        "os_base_repositories": [REPOSITORY],
        "os_base_locale": "ca_ES.UTF-8@valencia",
        "os_base_timezone": "Etc/GMT+1",
    },
    "discovery": {
        "discovery_listen_address": "::",
        "discovery_tls_internal": True,
        "discovery_database_url": "postgresql+psycopg://a:b@c/d",
        "discovery_tokens": [{"name": "a", "token": "x" * 32, "clusters": ["c"], "expires": "90d"}],
    },
    "munge": {"munge_key": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="},
    "mariadb": TLS
    | {"mariadb_users": [{"name": "a", "privileges": "*.*:ALL"}, {"name": "b", "host": "%", "password": "x"}]},
    "slurm": {"slurm_controllers": ["ctl1"]},
    "slurmdbd": {"slurmdbd_storage_password": "x", "slurmdbd_hosts": ["a", "b"]},
    "slurmctld": CONTROLLER,
    "slurmd": {"slurm_controllers": ["ctl1"]},
    "slurm_elastic": ELASTIC | {"slurm_elastic_key": "ssm:/a/munge.key", "slurm_elastic_endpoint_url": "http://a:1"},
    "prometheus": {
        "prometheus_targets": [{"job": "node_exporter", "targets": ["a:9100", "[fd00::1]:9100"]}],
        "prometheus_alert_changes": {"SlurmNodeDown": {"for": "1h", "labels": {"a": "b"}}},
    },
    "slurmrestd": REST,
    "node_exporter": {},
    "grafana": {"grafana_admin_password": "x" * 12},
    "dcgm_exporter": {
        "dcgm_exporter_needs_gpu": False,
        "dcgm_exporter_counters": ["DCGM_FI_DEV_UUID, label, its name"],
    },
    "slurm_exporter": {"slurm_exporter_collectors": ["sacct_efficiency"]},
    "enroot": ENROOT,
    "storage": {
        "storage_mounts": [NFS | {"purpose": "home"}],
        "storage_exports": [{"path": "/a", "clients": [{"hosts": "10.1.0.0/16", "options": ["ro"]}]}],
    },
    "os_hardening": {
        "os_hardening_cluster_networks": ["10.1.0.0/16", "fd00::/64", "10.2.0.1"],
        "os_hardening_more_ports": [{"ports": ["8080", "60000-61000"], "from": ["10.3.0.0/16"]}],
    },
    "cgroup_exporter": {"slurmctld_cgroup": "v1", "slurm_install_method": "build"},
    "process_exporter": {"process_exporter_more_groups": [{"name": "x", "cmdline": ["x"]}]},
}


def role_of(name: str) -> str:
    return OTHER_ROLE.get(name) or CASES[name].role


def conditions(role: str) -> set[str]:
    """All that the rules of a role ask for; its validation is made of nothing else."""
    files = (ROOT / "roles" / role / "tasks").glob("validate*.yml")
    tasks = [task for path in files for task in yaml.safe_load(path.read_text(encoding="utf-8"))]
    rules = [
        rule for task in tasks if "hpcops.cluster.validate" in task for rule in task["hpcops.cluster.validate"]["rules"]
    ]
    return {that for rule in rules for that in ([rule["that"]] if isinstance(rule["that"], str) else rule["that"])}


@pytest.fixture(name="complaints", scope="module")
def complaints_fixture(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each case's host and each sound host was refused for."""
    work = tmp_path_factory.mktemp("validation")
    (work / "action_plugins").mkdir()
    (work / "action_plugins" / "made_up_facts.py").write_text(MADE_UP_FACTS, encoding="utf-8")
    plays = playbook(work / "complaints")
    (work / "playbook.yml").write_text(json.dumps(plays), encoding="utf-8")
    (work / "begun.key.new").touch()
    common = {"ansible_python_interpreter": "{{ ansible_playbook_python }}", "complaint": {}}

    def host(role: str, entry: str, facts: dict[str, str], variables: dict[str, Any]) -> dict[str, Any]:
        return {"case_role": role, "case_entry": entry, "case_facts": FACTS | facts, **variables}

    hosts = {name: host(role_of(name), case.entry, case.facts, case.variables) for name, case in CASES.items()}
    hosts |= {f"sound {role}": host(role, "validate", {}, variables) for role, variables in SOUND.items()}
    names = {f"case{number}": name for number, name in enumerate(hosts)}
    inventory = {"all": {"hosts": {alias: hosts[name] for alias, name in names.items()}, "vars": common}}
    (work / "inventory.yml").write_text(json.dumps(inventory), encoding="utf-8")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
        "ANSIBLE_HOME": str(work / "home"),
        "ANSIBLE_FORKS": "8",
        "ANSIBLE_INJECT_FACT_VARS": "0",
    }
    ansible_playbook = str(Path(sys.executable).with_name("ansible-playbook"))  # of the release that is tested
    run = subprocess.run(
        [ansible_playbook, "-i", str(work / "inventory.yml"), str(work / "playbook.yml")],
        env=environment,
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    found = json.loads((work / "complaints").read_text(encoding="utf-8"))
    return {names[alias]: complaint for alias, complaint in found.items()}


@pytest.mark.parametrize("name", CASES)
def test_wrong_value_is_refused_in_a_sentence_that_names_the_variable(complaints: dict[str, Any], name: str) -> None:
    case, complaint = CASES[name], complaints[name]
    assert complaint, "nothing refused it"
    assert len(complaint["violated"]) == 1, complaint
    assert case.names in complaint["msg"]
    assert case.says in complaint["msg"]


@pytest.mark.parametrize("role", ROLES)
def test_sound_values_are_not_refused(complaints: dict[str, Any], role: str) -> None:
    assert complaints[f"sound {role}"] == {}


@pytest.mark.parametrize("role", ROLES)
def test_every_rule_has_a_case(complaints: dict[str, Any], role: str) -> None:
    tried = {that for name in CASES if role_of(name) == role for that in complaints[name]["violated"]}
    assert conditions(role) == tried
