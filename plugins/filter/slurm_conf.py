# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data to the text of a Slurm configuration file."""

from __future__ import annotations

from typing import Any

from ansible_collections.hpcops.cluster.plugins.module_utils._slurm_conf import render
from ansible_collections.hpcops.cluster.plugins.plugin_utils._filters import (
    as_list,
    as_mapping,
    raises_filter_errors,
)

DOCUMENTATION = r"""
name: slurm_conf
author: hpcops.cluster contributors (@hpcops)
version_added: 0.1.0
short_description: Render a Slurm configuration file from data
description:
  - Lays the parameters over O(defaults), checks every name and value against what the release's own parser accepts,
    and returns the text of the file. An unknown name ends a Slurm daemon when it starts; here it ends the play first.
  - The tables of names and types were read from Slurm's sources, for 22.05, 23.11, 24.05, 24.11, 25.05, 25.11 and
    26.05. Another release has the table of the nearest older one.
  - What a parameter's text means to Slurm is not checked, nor whether nodes and partitions belong together.
positional: _input, release
options:
  _input:
    description:
      - The parameters by Slurm's own names, in any case. They come out as Slurm spells them, in the order of
        O(defaults), then of the input.
      - V(null) removes the parameter, and takes back a default.
      - A boolean becomes V(YES) or V(NO). It is refused where Slurm reads a number, as for JobRequeue, which takes 0
        or 1.
      - A list is joined with commas. For a parameter that may be repeated (SlurmctldHost; Prolog, Epilog and their
        kin from 24.05) each element is a line of its own. An empty list says nothing, so there is no line.
      - "A mapping holds options: V({bf_continue: null, bf_window: 1440}) is V(bf_continue,bf_window=1440). An option
        that is V(null) or V(true) is its bare name, V(false) leaves it out. A mapping or a list
        over a default that is a mapping adds to it; any other value replaces the default."
      - A text with blanks is quoted; V(#) and backslashes are escaped.
      - A number may be written in all the ways Slurm reads, such as V(UNLIMITED), V(0x10) or V(64K).
      - YAML reads V(12:00:00) without quotation marks as the number 43200, which Slurm takes for minutes.
    type: dict
    required: true
  release:
    description:
      - The Slurm release that is to read the file, V(24.11) or V(24.11.5). Anything else is an error.
    type: str
    required: true
  file:
    description:
      - The file. Its name says which parameters there are.
      - C(gres.conf) has only O(lines), beside AutoDetect for all nodes.
    type: str
    choices: [slurm.conf, slurmdbd.conf, cgroup.conf, gres.conf, topology.conf]
    default: slurm.conf
  defaults:
    description:
      - The parameters as they are where the input does not say otherwise.
    type: dict
    default: {}
  lines:
    description:
      - The lines after the parameters, each a mapping in the order in which they are to stand. Values are as in the
        input; V(null) leaves the key out.
      - What a line is, its one key of NodeName, NodeSet, PartitionName, DownNodes, FrontendName (until 24.11) and
        PowerAction (from 26.05) in C(slurm.conf), of NodeName, Name and AutoDetect in C(gres.conf), of SwitchName and
        BlockName in C(topology.conf) says; that key comes first.
      - Lists of hosts (NodeName, Nodes, DownNodes, Switches) are folded. The names of node sets that are lines too, and
        V(ALL), stay as they are, because Slurm finds them only so. V(Nodes=[]) is a partition without nodes.
      - NodeAddr, NodeHostname, BcastAddr and Port as lists belong to the line's names one by one, and keep their order.
        Their number must be one or that of the names.
    type: list
    elements: dict
    default: []
requirements:
  - ClusterShell >= 1.9 (Python library on the control node), where hosts are folded
notes:
  - The value of a password is in no message.
seealso:
  - plugin: hpcops.cluster.slurm_nodes
    plugin_type: filter
  - name: slurm.conf
    description: The parameters and what they mean.
    link: https://slurm.schedmd.com/slurm.conf.html
"""

EXAMPLES = r"""
- name: Write slurm.conf
  ansible.builtin.copy:
    content: |
      {{ ansible_managed | comment }}
      {{ site | hpcops.cluster.slurm_conf('24.11', defaults=computed, lines=nodes + partitions) }}
    dest: /etc/slurm/slurm.conf
    owner: slurm
    group: slurm
    mode: "0644"
  vars:
    computed:
      ClusterName: demo
      SlurmctldHost: [ctl1, ctl2]
      SlurmctldParameters: {enable_configless: true}
    site:
      SlurmctldTimeout: 60
      SlurmctldParameters: {idle_on_node_suspend: true}
    nodes: "{{ groups['slurmd'] | hpcops.cluster.slurm_nodes(hostvars, '24.11') }}"
    partitions:
      - {PartitionName: batch, Nodes: [c1, c2], Default: true, MaxTime: 1-00:00:00}

# ClusterName=demo
# SlurmctldHost=ctl1
# SlurmctldHost=ctl2
# SlurmctldParameters=enable_configless,idle_on_node_suspend
# SlurmctldTimeout=60
#
# NodeName=c[1-2] CPUs=2 RealMemory=7000
# PartitionName=batch Nodes=c[1-2] Default=YES MaxTime=1-00:00:00

- name: A name that the release does not know
  ansible.builtin.debug:
    msg: "{{ {'SlurmctldTimout': 60} | hpcops.cluster.slurm_conf('24.11') }}"

# slurm.conf: 'SlurmctldTimout' is not a parameter of Slurm 24.11; did you mean SlurmctldTimeout?
"""

RETURN = r"""
_value:
  description: The text of the file, a line break at its end; empty where there is nothing to say.
  type: str
  sample: "ClusterName=demo\nSlurmctldHost=ctl1\n"
"""


@raises_filter_errors
def slurm_conf(
    params: Any,
    release: Any,
    file: str = "slurm.conf",
    defaults: Any = None,
    lines: Any = None,
) -> str:
    """Return the text of the file."""
    return render(
        as_mapping(params, f"{file}: the input of slurm_conf"),
        release=release,
        file=file,
        defaults=as_mapping(defaults or {}, f"{file}: defaults"),
        lines=[
            as_mapping(line, f"{file}: line {number}")
            for number, line in enumerate(as_list(lines or [], f"{file}: lines"), start=1)
        ],
    )


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"slurm_conf": slurm_conf}
