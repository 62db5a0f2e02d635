# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of everything that asks AWS accounts."""

from __future__ import annotations


class ModuleDocFragment:
    """The fragment. LOOKUPS says in addition where lookups find the options."""

    DOCUMENTATION = r"""
options:
  accounts:
    description:
      - The accounts to ask, and as whom. Empty means one, with the default credentials, which are looked for where all of AWS's tools
        do, from the environment to the instance's own role. May be templates.
      - Each is a role to assume (C(role_arn)), or a plain C(profile), or, with neither, the default credentials.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - What messages and groups call the account. Left out, it is the account's number in C(role_arn), the profile, or V(default).
          - Two accounts with one name are an error.
        type: str
      role_arn:
        description: The role to assume. Something else than a role's ARN is an error.
        type: str
      external_id:
        description: What the role's trust policy may ask for.
        type: str
      session_name:
        description: The session's name, which CloudTrail shows.
        type: str
        default: hpcops-cluster
      session_tags:
        description: Tags of the session. The role's trust policy must allow C(sts:TagSession).
        type: dict
        default: {}
      duration:
        description: Seconds for which the role is assumed, from 900 to 43200. The role may allow less, which AWS then says.
        type: int
        default: 3600
      profile:
        description: A profile of AWS's configuration files. With C(role_arn), it is the profile that assumes the role.
        type: str
      web_identity_token_file:
        description: A file with an OpenID Connect token that assumes the role, instead of a profile.
        type: path
      regions:
        description: Regions of this account, instead of O(regions).
        type: list
        elements: str
  regions:
    description:
      - Regions to ask. V(all) alone means those that the account has enabled. No region at all is an error.
      - A region that was enabled once and is no more is an error until it is in O(exclude_regions), since its hosts would be missing.
    type: list
    elements: str
    default: []
  exclude_regions:
    description: Regions to leave out, such as those that a role may not see.
    type: list
    elements: str
    default: []
  home_region:
    description:
      - Region in which roles are assumed and the enabled regions are asked for.
      - Left out, it is V(us-east-1), V(cn-north-1) in China, and V(us-gov-west-1) in GovCloud.
    type: str
  endpoint_url:
    description:
      - One address for all requests, such as a test server. AWS's own, and those of its configuration files, are used without it.
    type: str
  timeout:
    description: Seconds to wait for an answer; more than 0. A connection has at most 10 seconds to be made.
    type: float
    default: 30
  retries:
    description:
      - How often to ask again when there is no answer, or AWS says that it is asked too much.
      - The pauses grow, and requests become fewer, as AWS's adaptive mode has it.
    type: int
    default: 5
  parallel:
    description: How many requests are made at once.
    type: int
    default: 16
requirements:
  - botocore >= 1.29 (Python library on the control machine; part of boto3)
"""

    LOOKUPS = r"""
options:
  accounts:
    vars:
      - name: hpcops_ec2_accounts
  regions:
    vars:
      - name: hpcops_ec2_regions
  exclude_regions:
    vars:
      - name: hpcops_ec2_exclude_regions
  home_region:
    vars:
      - name: hpcops_ec2_home_region
  endpoint_url:
    vars:
      - name: hpcops_ec2_endpoint_url
notes:
  - Asks AWS once for each evaluation, and keeps nothing. Values from AWS are never templates.
  - The variables C(hpcops_ec2_accounts), C(hpcops_ec2_regions), C(hpcops_ec2_exclude_regions), C(hpcops_ec2_home_region) and
    C(hpcops_ec2_endpoint_url) stand in for the options of these names.
"""
