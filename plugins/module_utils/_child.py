# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that may never end, as what looks at a mount whose server is gone."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time


def child(arguments: list[str], timeout: float) -> tuple[int, str] | None:
    """Exit status and output of a program; None when it does not end in time. It may be beyond killing, so nobody waits for it."""
    with tempfile.TemporaryFile(
        "w+", encoding="utf-8", errors="replace"
    ) as output:  # a pipe would hold 64 KiB, and then the program
        process = subprocess.Popen(  # pylint: disable=consider-using-with
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={**os.environ, "LC_ALL": "C"},
        )
        deadline = time.monotonic() + timeout
        while process.poll() is None:
            if time.monotonic() > deadline:
                process.kill()
                return None
            time.sleep(0.02)
        output.seek(0)
        return process.returncode, output.read().strip()
