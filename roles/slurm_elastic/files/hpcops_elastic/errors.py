# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this package raises."""

from __future__ import annotations


class ElasticError(Exception):
    """What went wrong, as a sentence without its full stop: the object, the cause, and what to do."""


class ConfigError(ElasticError):
    """The configuration cannot be used."""


class SlurmError(ElasticError):
    """Slurm cannot be asked, or refuses."""


class JournalError(ElasticError):
    """The journal cannot be used."""
