# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images, subnets, instance types and others of EC2."""

from __future__ import annotations

DOCUMENTATION = r"""
name: ec2
author: hpcops.cluster contributors (@hpcops)
version_added: 0.1.0
short_description: Images, subnets, security groups, instance types and instances of EC2
description:
  - Asks one or more AWS accounts, in one or more regions, side by side.
  - Each thing found is a dict of all that EC2 says of it, its names written like variables (C(ImageId) is C(image_id)), with C(tags) as a
    dict, and C(account) and C(region).
  - Asking for them takes the IAM permissions C(ec2:DescribeImages), C(ec2:DescribeSubnets), C(ec2:DescribeSecurityGroups),
    C(ec2:DescribeInstanceTypes) and C(ec2:DescribeInstances). What fails anywhere is an error that names the missing one.
  - Nothing found is an empty list. Use C(query), or C(lookup) with C(wantlist=true), to have a list in any case.
extends_documentation_fragment:
  - hpcops.cluster.aws_accounts
  - hpcops.cluster.aws_accounts.lookups
options:
  _terms:
    description: What to look up. Several give one list of all.
    type: list
    elements: str
    choices: [images, instances, instance_types, security_groups, subnets]
    required: true
  filters:
    description: EC2's filters for it, each with a value or a list of values. What EC2 does not know, it refuses.
    type: dict
    default: {}
  owners:
    description:
      - Whose images are looked up, as account numbers, V(self) or V(amazon). Required for images, since anybody may publish one of
        any name.
    type: list
    elements: str
    default: []
  newest:
    description: How many of the newest images of each account and region. V(0) means all.
    type: int
    default: 1
  memory_percent:
    description:
      - Part of an instance type's memory that a node promises to Slurm. A node that has less than its line promises is refused by
        slurmctld, and the operating system and the hypervisor keep some.
    type: int
    default: 95
  prices:
    description: Prices of instance types, where you have them. AWS is not asked for any.
    type: dict
    default: {}
notes:
  - Instance types have C(slurm_node), which has C(slurm_node_cpus), C(slurm_node_threads_per_core), C(slurm_node_real_memory) and, with
    GPUs, C(slurm_node_gres) for a node of the type, so that its line can be written before any has booted; and C(price), where
    O(prices) has one.
seealso:
  - plugin: hpcops.cluster.ec2
    plugin_type: inventory
"""

EXAMPLES = r"""
- name: Find the newest Debian 13 image
  ansible.builtin.set_fact:
    site_image: >-
      {{ (query('hpcops.cluster.ec2', 'images', regions=['eu-central-1'], owners=['136693071363'],
      filters={'name': 'debian-13-amd64-*', 'state': 'available'}) | first).image_id }}

- name: Find the subnets of the cluster in two accounts
  ansible.builtin.set_fact:
    site_subnets: >-
      {{ query('hpcops.cluster.ec2', 'subnets', regions=['eu-central-1'], filters={'tag:hpcops:cluster': 'alpha'},
      accounts=[{'role_arn': 'arn:aws:iam::111111111111:role/hpcops-inventory'}, {'profile': 'laboratory'}])
      | map(attribute='subnet_id') }}

# Node variables by instance type, as the option instance_types of the inventory plugin takes them.
- name: Learn the hardware of instance types without booting one
  ansible.builtin.set_fact:
    site_instance_types: >-
      {{ query('hpcops.cluster.ec2', 'instance_types', regions=['eu-central-1'], filters={'instance-type': ['c7i.*', 'p5.48xlarge']})
      | items2dict(key_name='instance_type', value_name='slurm_node') }}
"""

RETURN = r"""
_raw:
  description: What was found, images from the newest on, everything else in the order of names or identifiers.
  type: list
  elements: dict
  sample:
    - account: default
      region: eu-central-1
      instance_type: c7i.large
      slurm_node: {slurm_node_cpus: 2, slurm_node_threads_per_core: 2, slurm_node_real_memory: 3891}
"""

import json
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import AwsError, HpcopsError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_accounts import read_accounts, read_settings
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_reach import Connections, Reach
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_sessions import Connection
from ansible_collections.hpcops.cluster.plugins.plugin_utils._ec2_lookups import Question


class LookupModule(LookupBase):
    """The plugin."""

    connect = Connection

    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[dict[str, Any]]:
        """Ask for each term in all accounts and regions."""
        try:
            unknown = sorted(kwargs.keys() - self.option_definitions.keys())
            if unknown:
                raise AwsError(f"there is no option {', '.join(unknown)}")
            self.set_options(var_options=variables, direct=kwargs)
            questions = [self._question(str(term)) for term in self._flatten(terms)]
            connections = Connections(self._reach(), self.connect)
            return [item for question in questions for found in connections.everywhere(question.ask) for item in found]
        except HpcopsError as error:
            raise AnsibleLookupError(str(error)) from error

    def _question(self, kind: str) -> Question:
        return Question(
            kind=kind,
            filters=self._data("filters"),
            owners=self._texts("owners"),
            newest=self.get_option("newest"),
            memory_percent=self.get_option("memory_percent"),
            prices=self._data("prices"),
        )

    def _reach(self) -> Reach:
        return Reach(
            accounts=read_accounts(self._data("accounts"), self._texts("regions")),
            exclude_regions=self._texts("exclude_regions"),
            settings=read_settings(self._data),
        )

    def _texts(self, option: str) -> tuple[str, ...]:
        return tuple(map(str, self._data(option)))

    def _data(self, option: str) -> Any:
        """An option as plain data; where it is that of a variable, it may be a template."""
        try:
            return json.loads(json.dumps(self._templar.template(self.get_option(option))))
        except (TypeError, ValueError) as error:
            raise AwsError(f"{option}: {error}") from error
