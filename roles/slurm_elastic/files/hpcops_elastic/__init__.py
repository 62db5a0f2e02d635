# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EC2 instances as nodes of a Slurm cluster, which come and go with its jobs.

Slurm's programs (resume, suspend, resume-fail) only write into the journal. One service reads it and makes EC2 and Slurm as it
says; reconcile compares all three and writes what differs into the journal, too. So whatever is killed at whatever moment, the next
step goes on from the journal, and what the journal has lost is found by the tags on the instances.
"""
