# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of variables that a source of hosts must not set: they decide what runs, as whom, and with which secrets."""

from __future__ import annotations

# Ansible's own variables, those of the whole site, and the roles' internal ones.
RESERVED_PREFIXES = ("ansible_", "discovered_interpreter_", "hpcops_", "inventory_", "playbook_", "role_", "__")
# Where a host answers.
ADMITTED = frozenset({"ansible_host", "ansible_port", "ansible_user"})
# What Ansible puts beside a host's variables, and the functions of its templates.
MAGIC = frozenset(
    {"environment", "group_names", "groups", "hostvars", "lookup", "now", "omit", "play_hosts", "q", "query", "vars"}
)
# The API makes these from a cluster's document; a host must not claim another cluster or other settings.
OF_CLUSTER = frozenset({"slurm_cluster_name", "slurmctld_parameters"})
_COMMANDS = (
    # Commands, hooks, units and whole files of root's
    """
    dcgm_exporter_epilog dcgm_exporter_prolog enroot_epilog enroot_hooks enroot_prolog
    os_base_exporter_check os_base_exporter_files os_base_exporter_unit os_base_python_command
    reboot_health_check slurm_elastic_boot_commands slurmctld_cloud_programs slurmctld_extra_files
    """
    # Arguments and settings that load plugins, name programs or open a daemon to others
    """
    cgroup_exporter_arguments dcgm_exporter_arguments discovery_settings enroot_plugstack enroot_pyxis_arguments
    enroot_settings grafana_settings mariadb_settings node_exporter_arguments os_base_exporter_arguments
    os_base_exporter_web_arguments os_base_sysctl os_hardening_sshd_settings os_hardening_sudo os_hardening_sysctl
    process_exporter_arguments prometheus_alertmanager_arguments prometheus_alertmanager_settings
    prometheus_arguments prometheus_job_settings prometheus_scrape_configs prometheus_settings
    slurm_elastic_slurmd_options slurm_exporter_arguments slurmctld_cgroup_parameters slurmctld_plugstack
    slurmd_options slurmdbd_parameters slurmrestd_options storage_export_options storage_exports storage_mounts
    storage_overwrite_devices
    """
    # Programs and packages, and where they come from
    """
    cgroup_exporter_checksum cgroup_exporter_program cgroup_exporter_url dcgm_exporter_checksum
    dcgm_exporter_engine_packages dcgm_exporter_package dcgm_exporter_url discovery_wheelhouse
    enroot_artifact_checksum enroot_artifact_url enroot_caps_artifact_checksum enroot_caps_artifact_url
    enroot_pyxis_artifact_checksum enroot_pyxis_artifact_url enroot_pyxis_build_host enroot_pyxis_build_packages
    node_exporter_checksum node_exporter_url os_base_artifact_binaries os_base_artifact_checksum
    os_base_artifact_mirror os_base_artifact_url os_base_backup_packages os_base_exporter_package
    os_base_exporter_package_service os_base_exporter_program os_base_packages os_base_python_library
    os_base_python_requirements os_base_python_wheelhouse os_base_repositories os_hardening_adopt_package
    process_exporter_checksum process_exporter_url prometheus_alertmanager_checksum prometheus_alertmanager_url
    prometheus_checksum prometheus_url slurm_build_host slurm_build_packages slurm_build_public_key
    slurm_build_signing_key slurm_elastic_packages slurm_elastic_wheelhouse slurm_exporter_checksum
    slurm_exporter_url slurm_repository slurm_source_checksum slurm_source_url storage_packages
    """
    # Files of the control machine that are read or written, and directories that root writes into
    """
    cgroup_exporter_paths collect_hardware_directory dcgm_exporter_jobs_directory discovery_backup_directory
    discovery_ca_file discovery_check_ca_file discovery_install_directory enroot_cache_directory
    enroot_data_directory enroot_plugstack_directory enroot_runtime_directory enroot_temp_directory
    grafana_dashboard_directory grafana_dashboards grafana_prometheus_ca_file grafana_provisioning_directory
    mariadb_tls_ca munge_key_file node_exporter_certificates node_exporter_configuration_files
    node_exporter_textfile_directory os_base_artifact_directory os_base_artifact_link_directory
    os_base_artifact_name os_base_backup_directory os_base_backup_metrics_directory os_base_backup_source
    os_base_ca_directory os_base_certificate_directory os_base_python_environment os_hardening_audit_paths
    os_hardening_report_directory prometheus_discovery_ca_file prometheus_scrape_ca_file restore_from
    slurm_auth_key_file slurm_build_directory slurm_build_repository_directory slurm_config_approved_plan_file
    slurm_config_directory slurm_config_plan_file slurm_elastic_aws_config slurm_elastic_config_directory
    slurm_elastic_install_directory slurm_elastic_metrics_directory slurm_jwt_key_file
    slurmctld_approved_plan_file slurmctld_config_directory slurmctld_plan_file slurmctld_render_directory
    slurmctld_slurmd_spool_directory slurmctld_state_directory slurmd_spool_directory
    slurmdbd_archive_directory slurmdbd_config_directory verify_report
    """
    # Secrets, certificates and where secrets are sent
    """
    discovery_database_url discovery_heartbeat_token discovery_revoked_tokens discovery_tls_certificate
    discovery_tls_key discovery_tls_names discovery_tokens discovery_url enroot_credentials
    grafana_admin_password grafana_prometheus_password grafana_prometheus_url grafana_prometheus_user
    grafana_tls_certificate grafana_tls_key grafana_tls_names mariadb_backup_connection
    mariadb_external_admin_password mariadb_external_admin_user mariadb_external_ca mariadb_external_host
    mariadb_external_password mariadb_external_user mariadb_galera_bootstrap mariadb_galera_nodes
    mariadb_tls_certificate mariadb_tls_key mariadb_tls_names munge_key munge_replace_key
    munge_rotation_hubs os_base_backup_s3 os_base_ca_name os_base_certificate_names
    os_base_exporter_tls_certificate os_base_exporter_tls_key os_base_exporter_tls_names
    os_base_exporter_users os_base_secret_file os_base_secret_probe prometheus_alertmanager_receivers
    prometheus_discovery_token prometheus_discovery_url prometheus_scrape_password prometheus_scrape_user
    slurm_auth_key slurm_elastic_accounts slurm_elastic_endpoint_url slurm_elastic_key
    slurm_elastic_metadata_url slurm_jwt_key slurm_replace_keys slurmdbd_storage_backup_host
    slurmdbd_storage_host slurmdbd_storage_password slurmdbd_storage_user slurmrestd_tls_certificate
    slurmrestd_tls_key slurmrestd_tls_names token_file
    """
    # Accounts that daemons run as, and who may enter
    """
    cgroup_exporter_uid dcgm_exporter_uid discovery_heartbeat_uid discovery_uid grafana_group mariadb_uid
    mariadb_users munge_user node_exporter_uid os_base_certificate_group os_base_exporter_uid
    os_base_service_accounts os_hardening_admin_networks os_hardening_cluster_networks
    os_hardening_jobs_exempt_groups os_hardening_ssh_groups process_exporter_uid prometheus_alertmanager_uid
    prometheus_uid slurm_elastic_user slurm_exporter_uid slurm_user slurmctld_user slurmd_spool_owner
    slurmdbd_user slurmrestd_user verify_user
    """
)
COMMANDS = frozenset(_COMMANDS.split())


def is_reserved(name: str) -> bool:
    """Tell whether a host's variable of this name needs somebody whom the whole site trusts."""
    if name in ADMITTED:
        return False
    return name.startswith(RESERVED_PREFIXES) or name in MAGIC or name in OF_CLUSTER or name in COMMANDS
