# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module config_files and its action agree on."""

from __future__ import annotations

import base64

DEFAULT_MODES = {"file": "0644", "directory": "0755"}


class ConfigFileError(ValueError):
    """A file's content cannot be written as it was given."""


def written_text(content: str, encoded: bool) -> str:
    """The text that is written for the given content; bytes that are no UTF-8 stand in it as surrogates.

    A text gets a newline at its end; base64 is decoded and left as it is.

    :raises ConfigFileError: content that shall be base64 and is not
    """
    if encoded:
        try:
            return base64.b64decode(content, validate=True).decode("utf-8", "surrogateescape")
        except ValueError as error:
            raise ConfigFileError("'content' is not base64") from error
    return content if not content or content.endswith("\n") else f"{content}\n"
