# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report this host and its services to the service-discovery API, once.

usage: python3 hpcops-heartbeat.py CONFIG.json <TOKEN      {"url": ..., "host": ..., "ca_file": ... or "", "units": {SERVICE: UNIT}}
A unit is passing when systemd calls it active, else critical.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

TIMEOUT = 10


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token goes nowhere else."""

    def redirect_request(self, *_arguments: object) -> None:
        """Take a redirection for an error."""


def status(unit: str) -> str:
    """The health of a service whose unit this is."""
    asked = subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False, timeout=TIMEOUT)
    return "passing" if asked.returncode == 0 else "critical"


def main() -> None:
    """Report."""
    config = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    token = sys.stdin.read().strip()
    beat = {"host": config["host"], "services": {name: status(unit) for name, unit in config["units"].items()}}
    url = f"{config['url']}/v1/heartbeats"
    request = urllib.request.Request(
        url,
        data=json.dumps({"beats": [beat]}).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method="POST",
    )
    context = ssl.create_default_context(cafile=config["ca_file"] or None)
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), NoRedirect)
    try:
        opener.open(request, timeout=TIMEOUT).close()
    except urllib.error.HTTPError as error:
        sys.exit(f"{url} answers {error.code}: {error.read(1000).decode(errors='replace')}")
    except OSError as error:
        sys.exit(f"{url} cannot be reached: {error}")


if __name__ == "__main__":
    main()
