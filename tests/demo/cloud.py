"""The demo's EC2: moto's, whose instances are containers in the demo's network. It goes on until it is ended.

usage: tests/demo/cloud.py ADDRESS PORT NETWORK IMAGE KEY
EC2 answers at PORT, and the metadata of instances at the next one. KEY is the file of the cluster's munge key, which becomes the
parameter /hpcops/munge.key of Systems Manager once the file is there.
"""

from __future__ import annotations

import base64
import logging
import os
import signal
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / ".ansible" / "collections"))

from ansible_collections.hpcops.cluster.tests.support.ec2_service import KEYS, ec2_service  # found by the line above
from ansible_collections.hpcops.cluster.tests.support.instances import Instances, booting

SUBNETS = {"subnet-frankfurt": ("111111111111", "eu-central-1"), "subnet-virginia": ("222222222222", "us-east-1")}


def main(address: str, port: int, network: str, image: str, key: Path) -> None:
    """Answer until SIGTERM or SIGINT."""
    os.environ.update({**KEYS, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null"})
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_arguments: end.set())
    with ec2_service(address, port) as ec2:
        ec2.furnish(SUBNETS, "ami-debian")
        instances = Instances(ec2, list(SUBNETS.values()), network, image, ["hpcops=demo"], pause=1)
        instances.remove()  # what a former one has left
        with booting(instances, address, port + 1):
            while not key.exists() and not end.wait(1):
                pass
            if not end.is_set():
                secret = key.read_bytes().rstrip(b"\n")  # hosts have it without
                regions = [region for _account, region in SUBNETS.values()]
                ec2.keep("/hpcops/munge.key", base64.b64encode(secret).decode(), regions)
                end.wait()


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(message)s")
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], Path(sys.argv[5]))
