# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances of EC2 as hosts, groups and variables."""

from __future__ import annotations

DOCUMENTATION = r"""
name: ec2
author: hpcops.cluster contributors (@hpcops)
version_added: 0.1.0
short_description: Hosts from EC2, in many accounts and regions at once
description:
  - Reads the instances of one or more AWS accounts, in all of their regions or some, side by side.
  - A host is in the groups C(account_NAME), C(region_NAME), C(zone_NAME) and C(state_NAME), and, by its tags, in the same groups as
    hosts from P(hpcops.cluster.discovery#inventory). Those of its roles (tag C(hpcops:roles)) are called like them; others are
    C(cluster_NAME) (tag C(hpcops:cluster)), C(partition_NAME) (tag C(hpcops:partitions)) and C(label_KEY_VALUE) (O(group_tags)).
    Roles and partitions are separated by blanks or commas.
  - Its variables are C(ansible_host), C(ec2_account), C(ec2_availability_zone), C(ec2_instance_id), C(ec2_instance_type),
    C(ec2_private_ip), C(ec2_public_ip), C(ec2_region), C(ec2_state), and C(slurm_node_*) from O(instance_types) and from tags such as
    C(hpcops:slurm_node_cpus), which win. A cluster's group has C(slurm_cluster_name).
  - A region of an account that cannot be asked, refuses the request, or lost too many hosts, is an error; see O(on_partial),
    O(stale_ok) and O(max_shrink).
extends_documentation_fragment:
  - ansible.builtin.constructed
  - hpcops.cluster.aws_accounts
  - hpcops.cluster.source_inventory
options:
  plugin:
    description: This plugin's name. The file's name must end in C(.ec2.yml) or C(.ec2.yaml).
    type: str
    required: true
    choices: [hpcops.cluster.ec2]
  states:
    description: States that the instances are in. It gives way to C(instance-state-name) in O(filters).
    type: list
    elements: str
    choices: [pending, running, shutting-down, terminated, stopping, stopped]
    default: [pending, running, stopping, stopped]
  filters:
    description:
      - EC2's filters, each with a value or a list of values. An instance must match all. What EC2 does not know, it refuses.
    type: dict
    default: {}
  exclude:
    description:
      - Instances to leave out. Each entry is a dict of filters; an instance that matches all of an entry's is left out.
      - Known are C(tag:KEY), C(tag-key), C(availability-zone), C(instance-id), C(instance-type) and C(private-ip-address), with the
        wildcards C(*) and C(?). Another one is an error.
    type: list
    elements: dict
    default: []
  hostnames:
    description:
      - What hosts are called, best first, out of C(tag:KEY), C(instance-id), C(private-dns-name), C(dns-name), C(private-ip-address) and
        C(ip-address). Another one is an error, and so is an instance that has none of them.
      - A value that cannot be a host's name, such as one with a blank, counts as missing, with a warning.
    type: list
    elements: str
    default: ["tag:hpcops:host", "tag:Name", private-dns-name, instance-id]
  on_equal_names:
    description:
      - What to do where instances have the same name. V(error) names them. V(next) gives each the next of its O(hostnames), with a
        warning; the names then depend on which other instances there are.
    type: str
    choices: [error, next]
    default: error
  addresses:
    description: What C(ansible_host) is, best first. An instance that has none of them gets no C(ansible_host).
    type: list
    elements: str
    choices: [private-ip-address, ip-address, private-dns-name, dns-name]
    default: [private-ip-address, ip-address]
  variables:
    description:
      - V(lean) for the variables above.
      - V(full) adds C(ec2_tags), C(ec2_cluster), C(ec2_roles), C(ec2_partitions), C(ec2_architecture), C(ec2_image_id),
        C(ec2_launch_time), C(ec2_lifecycle), C(ec2_private_dns_name), C(ec2_public_dns_name), C(ec2_security_groups), C(ec2_subnet_id)
        and C(ec2_vpc_id), and all that EC2 says as C(ec2_instance). It takes several times the time and memory.
      - A list adds only the named ones of these. Another name is an error.
      - The first four are there for O(compose), O(groups) and O(keyed_groups) in any case.
    type: raw
    default: lean
  group_by:
    description: What groups are made from. The regions' and the clusters' groups are always there.
    type: list
    elements: str
    choices: [role, cluster, partition, state, account, region, zone, label]
    default: [role, cluster, partition, state, account, region, zone, label]
  group_tags:
    description: Keys of the tags that the groups C(label_KEY_VALUE) are made from.
    type: list
    elements: str
    default: []
  instance_types:
    description:
      - For each instance type the C(slurm_node_*) variables of its hosts, such as P(hpcops.cluster.ec2#lookup) makes them.
      - Another variable is an error.
    type: dict
    default: {}
  page_size:
    description: Instances in one answer, from 5 to 1000.
    type: int
    default: 1000
  on_partial:
    description:
      - What to do where a region of an account fails, whatever the reason.
      - V(error) refuses the whole inventory. V(cached) goes on with the region's last good answer, however old, with a warning that
        says its age; there must be one. V(skip) goes on without its hosts, with a warning.
    type: str
    choices: [error, cached, skip]
    default: error
    env:
      - name: HPCOPS_INVENTORY_ON_PARTIAL
  fresh_for:
    description:
      - For how long an answer is taken as it is, without asking again, as V(30s), V(5m) or a number of seconds. V(0) means that each
        run asks. EC2 cannot say whether anything changed, so a run that asks reads everything.
      - C(--flush-cache) asks in any case.
    type: str
    default: "0"
    env:
      - name: HPCOPS_INVENTORY_FRESH_FOR
"""

EXAMPLES = r"""
# site.ec2.yml: one account, with the default credentials
plugin: hpcops.cluster.ec2
regions: [eu-central-1]
filters:
  tag:hpcops:cluster: alpha

---
# all.ec2.yml: three accounts, each in its own way; what one of them said last may stand in for it
plugin: hpcops.cluster.ec2
accounts:
  - name: production
    role_arn: arn:aws:iam::111111111111:role/hpcops-inventory
    external_id: "{{ lookup('ansible.builtin.env', 'HPCOPS_EXTERNAL_ID') }}"
    session_tags: {team: hpc}
  - name: research
    role_arn: arn:aws:iam::222222222222:role/hpcops-inventory
    profile: hub
    regions: all
  - name: laboratory
    profile: laboratory
regions: [eu-central-1, us-east-1]
exclude_regions: [me-south-1]
on_partial: cached
fresh_for: 5m
exclude:
  - tag:hpcops:state: retired
  - instance-type: t2.*
variables: [ec2_lifecycle]
group_tags: [environment]
strict: true
compose:
  ansible_user: "'admin'"
groups:
  spot: ec2_lifecycle == 'spot'
  in_production: ec2_tags.environment == 'production'
keyed_groups:
  - key: ec2_instance_type
    prefix: type

---
# 1-alpha.ec2.yml, in a folder with 2-alpha.discovery.yml: a host that both know has one name, and appears once, with the variables of
# both; where these have the same name, the second file's win
plugin: hpcops.cluster.ec2
regions: [eu-central-1]
filters: {"tag:hpcops:cluster": alpha}
hostnames: ["tag:hpcops:host", instance-id]
instance_types:
  c7i.48xlarge: {slurm_node_cpus: 192, slurm_node_real_memory: 370000}
"""

import json
from pathlib import Path
from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import InventoryError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._answers import Source
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_accounts import Account, read_accounts, read_settings
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_reach import Connected, Reach
from ansible_collections.hpcops.cluster.plugins.plugin_utils._ec2_hosts import EXTRA, TAGGED, Wanted
from ansible_collections.hpcops.cluster.plugins.plugin_utils._ec2_source import Ec2Source
from ansible_collections.hpcops.cluster.plugins.plugin_utils._source_inventory import SourceInventory, seconds

_VARIABLES = (*TAGGED, *EXTRA, "ec2_instance")


class InventoryModule(SourceInventory):
    """The plugin."""

    NAME = "hpcops.cluster.ec2"
    endings = (".ec2.yml", ".ec2.yaml")

    @staticmethod
    def connect(*arguments: Any) -> Connected:
        """Connect to an account."""
        # Only here: a run that asks nobody does without AWS's library, which takes a third of a second to load.
        from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_sessions import Connection

        return Connection(*arguments)

    def source(self) -> Source:
        """Return the accounts' regions, as the options describe them."""
        return Ec2Source(
            Reach(
                accounts=self._accounts(),
                exclude_regions=self.texts_option("exclude_regions"),
                settings=read_settings(self.get_option),
            ),
            self._wanted(),
            self.connect,
            Path(self.get_option("cache_dir")).expanduser(),
            self.fresh_for() if self.uses_known else 0,
        )

    def on_partial(self) -> str:
        """Return the option."""
        return str(self.get_option("on_partial"))

    def fresh_for(self) -> int:
        """Return the option in seconds."""
        return seconds(self.get_option("fresh_for"), "fresh_for")

    def _accounts(self) -> tuple[Account, ...]:
        return read_accounts(self.templar.template(self.get_option("accounts")), self.texts_option("regions"))

    def _wanted(self) -> Wanted:
        extent, also = self.variables_option(_VARIABLES)
        return Wanted(
            hostnames=self.texts_option("hostnames"),
            addresses=self.texts_option("addresses"),
            states=self.texts_option("states"),
            filters=self._data("filters"),
            exclude=tuple(self._data("exclude")),
            group_by=self.texts_option("group_by"),
            group_tags=self.texts_option("group_tags"),
            extent=extent,
            also=also,
            instance_types=self._data("instance_types"),
            on_equal_names=self.get_option("on_equal_names"),
            page_size=self.get_option("page_size"),
            expressions=any(self.get_option(name) for name in ("compose", "groups", "keyed_groups")),
        )

    def _data(self, option: str) -> Any:
        """An option as plain data: it may become part of hosts' variables, which are the same when they come from the cache."""
        try:
            return json.loads(json.dumps(self.templar.template(self.get_option(option))))
        except (TypeError, ValueError) as error:
            raise InventoryError(f"{option}: {error}") from error
