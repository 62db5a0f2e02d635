"""Measure what the inventory plugin ec2 makes a run of Ansible wait for, beside amazon.aws.aws_ec2 on the same server.

usage: tests/bench/bench_ec2_inventory.py [--hosts 10000] [--times 3] [--ours]
The server, on this machine, speaks EC2's and STS's protocol with answers that lie ready; an instance is some 4.5 kB of XML with seven
tags. Both plugins make groups from five tags and one variable, and are read by "ansible -i X all --list-hosts": cold and warm with all
hosts in one region, and with 4 roles in 8 regions of 20 hosts each where every request takes 100 ms. Of the other plugin, a file has
one role, so that it takes four. --ours leaves it out.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".ansible" / "collections"))

from ansible_collections.hpcops.cluster.tests.bench.bench_discovery_inventory import listing  # noqa: E402  # found by the line above

PAGE = 1000
ROLES = [f"arn:aws:iam::{number}00000000000:role/inventory" for number in range(1, 5)]
REGIONS = [f"eu-{place}-{number}" for place in ("central", "west", "north", "south") for number in (1, 2)]
FEW, LATENCY = 20, 0.1
TAGS = ("environment", "rack", "team", "rank", "tier")
_SCOPE = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/")
_NAMESPACE = 'xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"'

# --- The server ----------------------------------------------------------------------------------------------------


def _items(count: int, text: str) -> str:
    return "".join(f"<item>{text.format(number)}</item>" for number in range(count))


_GROUP_SET = "<groupSet><item><groupId>sg-0123456789abcdef0</groupId><groupName>cluster</groupName></item></groupSet>"
_ATTACHED = "<attachTime>2026-01-01T00:00:00.000Z</attachTime><deleteOnTermination>true</deleteOnTermination>"
_DISK = (
    "<deviceName>/dev/xvd{}</deviceName><ebs><volumeId>vol-0123456789abcdef0</volumeId><status>attached</status>"
    f"{_ATTACHED}</ebs>"
)
_COMMON = f"""<imageId>ami-0123456789abcdef0</imageId><instanceState><code>16</code><name>running</name></instanceState>
<dnsName/><reason/><keyName>site</keyName><amiLaunchIndex>0</amiLaunchIndex><productCodes/><instanceType>c7i.4xlarge</instanceType>
<launchTime>2026-01-01T00:00:00.000Z</launchTime><placement><availabilityZone>eu-central-1a</availabilityZone><groupName/>
<tenancy>default</tenancy></placement><monitoring><state>disabled</state></monitoring><subnetId>subnet-0123456789abcdef0</subnetId>
<vpcId>vpc-0123456789abcdef0</vpcId><sourceDestCheck>true</sourceDestCheck>{_GROUP_SET}<architecture>x86_64</architecture>
<rootDeviceType>ebs</rootDeviceType><rootDeviceName>/dev/xvda</rootDeviceName><blockDeviceMapping>{_items(4, _DISK)}
</blockDeviceMapping><virtualizationType>hvm</virtualizationType><clientToken>0123456789abcdef</clientToken><hypervisor>xen</hypervisor>
<ebsOptimized>true</ebsOptimized><enaSupport>true</enaSupport><cpuOptions><coreCount>8</coreCount><threadsPerCore>2</threadsPerCore>
</cpuOptions><capacityReservationSpecification><capacityReservationPreference>open</capacityReservationPreference>
</capacityReservationSpecification><hibernationOptions><configured>false</configured></hibernationOptions><metadataOptions>
<state>applied</state><httpTokens>required</httpTokens><httpPutResponseHopLimit>2</httpPutResponseHopLimit>
<httpEndpoint>enabled</httpEndpoint></metadataOptions><enclaveOptions><enabled>false</enabled></enclaveOptions><maintenanceOptions>
<autoRecovery>default</autoRecovery></maintenanceOptions><privateDnsNameOptions><hostnameType>ip-name</hostnameType>
<enableResourceNameDnsARecord>true</enableResourceNameDnsARecord><enableResourceNameDnsAAAARecord>false</enableResourceNameDnsAAAARecord>
</privateDnsNameOptions><platformDetails>Linux/UNIX</platformDetails><usageOperation>RunInstances</usageOperation>
<usageOperationUpdateTime>2026-01-01T00:00:00.000Z</usageOperationUpdateTime><currentInstanceBootMode>uefi</currentInstanceBootMode>"""


def _instance(number: int, prefix: str) -> str:
    address = f"10.{number // 65536 % 256}.{number // 256 % 256}.{number % 256}"
    tags = {
        "Name": f"{prefix}{number:05}",
        "hpcops:roles": "slurmd",
        "environment": ("production", "test")[number % 2],
        "rack": f"r{number % 16}",
        "team": f"t{number % 8}",
        "rank": f"n{number % 12}",
        "tier": f"x{number % 4}",
    }
    tag_set = "".join(f"<item><key>{key}</key><value>{value}</value></item>" for key, value in tags.items())
    return f"""<item><instanceId>i-{abs(hash((prefix, number))):017x}</instanceId>{_COMMON}<privateDnsName>{prefix}{number}.internal
</privateDnsName><privateIpAddress>{address}</privateIpAddress><tagSet>{tag_set}</tagSet><networkInterfaceSet><item>
<networkInterfaceId>eni-{number:017x}</networkInterfaceId><subnetId>subnet-0123456789abcdef0</subnetId><vpcId>vpc-0123456789abcdef0</vpcId>
<description/><ownerId>123456789012</ownerId><status>in-use</status><macAddress>02:00:00:00:00:01</macAddress>
<privateIpAddress>{address}</privateIpAddress><sourceDestCheck>true</sourceDestCheck>{_GROUP_SET}<attachment>
<attachmentId>eni-attach-{number:017x}</attachmentId><deviceIndex>0</deviceIndex><status>attached</status>{_ATTACHED}</attachment>
<privateIpAddressesSet><item><privateIpAddress>{address}</privateIpAddress><primary>true</primary></item></privateIpAddressesSet></item>
</networkInterfaceSet></item>"""


@functools.cache
def page(prefix: str, first: int, count: int) -> bytes:
    last = min(first + PAGE, count)
    reservations = "".join(
        f"<item><reservationId>r-{number:017x}</reservationId><ownerId>123456789012</ownerId><groupSet/>"
        f"<instancesSet>{_instance(number, prefix)}</instancesSet></item>"
        for number in range(first, last)
    )
    token = f"<nextToken>{last}</nextToken>" if last < count else ""
    return (
        f"<DescribeInstancesResponse {_NAMESPACE}><requestId>r</requestId><reservationSet>{reservations}</reservationSet>"
        f"{token}</DescribeInstancesResponse>"
    ).encode()


def assumed(role: str) -> bytes:
    account = role.split(":")[4]
    return (
        '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>'
        f"<AccessKeyId>ASIA{account}</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
        "<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser><AssumedRoleId>A:x</AssumedRoleId>"
        f"<Arn>{role}</Arn></AssumedRoleUser></AssumeRoleResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>"
        "</AssumeRoleResponse>"
    ).encode()


class Handler(BaseHTTPRequestHandler):
    """Answers each account and region with hosts of its own."""

    protocol_version = "HTTP/1.1"
    count: ClassVar[int]
    latency: ClassVar[float]

    def do_POST(self) -> None:
        form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        scope = _SCOPE.search(self.headers["Authorization"])
        key, region = scope.groups() if scope else ("", "")
        time.sleep(self.latency)
        if form["Action"] == "AssumeRole":
            body = assumed(form["RoleArn"])
        else:
            body = page(f"{key[-12:-9].lower()}-{region}-", int(form.get("NextToken", "0")), self.count)
        self.send_response(200)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        pass


def serve(count: int, latency: float) -> None:
    Handler.count, Handler.latency = count, latency
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


@contextmanager
def server(count: int, latency: float) -> Iterator[str]:
    """Run the server as a process of its own; return its address."""
    command = [sys.executable, str(Path(__file__).resolve()), "--serve", str(count), str(latency)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait()


# --- The plugins ---------------------------------------------------------------------------------------------------


def ours(folder: Path, url: str, warm: bool, roles: list[str], regions: list[str]) -> Path:
    source = folder / "ours"
    source.mkdir()
    config = {
        "plugin": "hpcops.cluster.ec2",
        "endpoint_url": url,
        "regions": regions,
        "accounts": [{"role_arn": role} for role in roles],
        "hostnames": ["tag:Name"],
        "compose": {"site_address": "ec2_private_ip"},
        "keyed_groups": [{"key": f"ec2_tags.{tag}", "prefix": tag} for tag in TAGS],
        "cache_dir": str(folder / "cache"),
        "fresh_for": "1h" if warm else "0",
    }
    (source / "site.ec2.yml").write_text(json.dumps(config))
    return source


def theirs(folder: Path, url: str, warm: bool, roles: list[str], regions: list[str]) -> Path:
    source = folder / "theirs"
    source.mkdir()
    config: dict[str, Any] = {
        "plugin": "amazon.aws.aws_ec2",
        "endpoint_url": url,
        "regions": regions,
        "hostnames": ["tag:Name"],
        "compose": {"ansible_host": "private_ip_address"},
        "keyed_groups": [{"key": f"tags.{tag}", "prefix": tag} for tag in TAGS],
    }
    if warm:
        config.update(cache=True, cache_plugin="ansible.builtin.jsonfile", cache_timeout=3600)
        config.update(cache_connection=str(folder / "cache"))
    for number, role in enumerate(roles) if roles else [(0, "")]:
        assume = {"assume_role_arn": role} if role else {}
        (source / f"{number}.aws_ec2.yml").write_text(json.dumps({**config, **assume}))
    return source


CASES: tuple[tuple[str, float, bool], ...] = (
    ("{hosts} hosts, cold", 0, False),
    ("{hosts} hosts, warm", 0, True),
    ("4 roles x 8 regions, 100 ms", LATENCY, False),
)


def measure(folder: Path, hosts: int, times: int, plugins: dict[str, Any]) -> None:
    walls: dict[tuple[str, str], float] = {}
    for case, latency, warm in CASES:
        title = case.format(hosts=hosts)
        roles, regions = (ROLES, REGIONS) if latency else ([], REGIONS[:1])
        total = len(roles) * len(regions) * FEW if latency else hosts
        with server(FEW if latency else hosts, latency) as url:
            os.environ["AWS_ENDPOINT_URL"] = url
            for name, make in plugins.items():
                place = Path(tempfile.mkdtemp(dir=folder))
                source = make(place, url, warm, roles, regions)
                runs = []
                if warm or make is ours:
                    listing(source, place, total)  # the plugin makes its cache, and the server its answers
                for _time in range(times):
                    if not warm:
                        shutil.rmtree(place / "cache", ignore_errors=True)
                    runs.append(listing(source, place, total))
                wall, cpu, memory = zip(*runs)
                walls[case, name] = statistics.median(wall)
                print(
                    f"{title:<30} {name:<20} {statistics.median(wall):7.2f} s  {statistics.median(cpu):7.2f} s CPU  "
                    f"{max(memory):6.0f} MiB at most",
                    flush=True,
                )
        if len(plugins) > 1:
            mine, other = (walls[case, name] for name in plugins)
            print(f"{title}: amazon.aws.aws_ec2 to ours: ratio {other / mine:.1f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--ours", action="store_true")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(int(options.serve[0]), float(options.serve[1]))
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(AWS_ACCESS_KEY_ID="AKIAHUB000000000", AWS_SECRET_ACCESS_KEY="s", AWS_EC2_METADATA_DISABLED="true")
    os.environ["AWS_DEFAULT_REGION"] = REGIONS[0]  # where the other plugin assumes roles
    plugins = (
        {"hpcops.cluster.ec2": ours} if options.ours else {"hpcops.cluster.ec2": ours, "amazon.aws.aws_ec2": theirs}
    )
    with tempfile.TemporaryDirectory(prefix="bench-ec2-inventory.") as name:
        measure(Path(name), options.hosts, options.times, plugins)
    return 0


if __name__ == "__main__":
    sys.exit(main())
