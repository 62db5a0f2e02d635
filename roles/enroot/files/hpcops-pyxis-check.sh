#!/bin/sh
# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Whether this host's Slurm loads the plugins that a file names as plugstack.conf would: hpcops-pyxis-check FILE. Slurm itself says it, by
# a srun that has a configuration of its own and starts nothing.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
printf 'ClusterName=check\nSlurmctldHost=localhost\n' >"$folder/slurm.conf"
echo "include $1" >"$folder/plugstack.conf"
SLURM_CONF=$folder/slurm.conf srun --help >/dev/null 2>"$folder/error" && exit 0
cat >&2 <<MESSAGE
$(sinfo --version) does not load what $1 names, and with it every srun and every job step on this host
would fail. $(grep --max-count=1 -i -e incompatible "$folder/error" || head -n 1 "$folder/error"). The plugin must be built for this
release of Slurm: give enroot_pyxis_artifact_url the source archive, which is built against the installed headers, or a spank_pyxis.so
that was built for this release, and run the role enroot again. An empty enroot_pyxis_artifact_url takes the plugin out.
MESSAGE
exit 1
