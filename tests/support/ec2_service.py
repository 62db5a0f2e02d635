"""EC2 and STS as moto imitates them over HTTP, and a proxy before it that fails as AWS does; for tests."""

from __future__ import annotations

import http.client
import logging
import os
import re
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import botocore.session
from botocore.credentials import Credentials
from moto.server import ThreadedMotoServer

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAHUB", "AWS_SECRET_ACCESS_KEY": "secret-of-the-hub"}
# The one image that is launched here, as moto has it: a fifth of the time of tests went into the hundreds of others, which moto makes
# anew in each region after each test. Moto reads this as it loads EC2, with the first request.
os.environ["MOTO_AMIS_PATH"] = str(Path(__file__).with_name("ec2_images.json"))
_SCOPE = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/")


@dataclass
class Fault:
    """What goes wrong, with which requests, and how often."""

    action: str = "DescribeInstances"
    account: str = ""
    region: str = ""
    later: bool = False
    """Only with the second page and those after it."""
    code: str = ""
    """An error's, or what becomes of a good answer: CUT in half, GARBLED: half of it, as if it were all, or LOST: it was done, and an
    internal error is the answer."""
    status: int = 400
    message: str = "no"
    left: int = 1_000_000

    def body(self) -> bytes:
        error = f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>"
        if not self.action.startswith("AssumeRole"):
            return f"<Response><Errors>{error}</Errors><RequestID>r</RequestID></Response>".encode()
        return f"<ErrorResponse>{error}<RequestId>r</RequestId></ErrorResponse>".encode()


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    action: str
    account: str
    region: str
    form: dict[str, str]


@dataclass
class Bucket:
    """What AWS allows of launches in an account's region: instances or calls at once, and per second."""

    burst: float
    rate: float
    taken: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)

    def take(self, who: tuple[str, str], count: int) -> bool:
        now = time.monotonic()
        level, at = self.taken.get(who, (self.burst, now))
        level = min(self.burst, level + (now - at) * self.rate)
        self.taken[who] = (level - count if count <= level else level, now)
        return count <= level


@dataclass
class Ec2:
    """The running service."""

    port: int
    behind: str
    faults: list[Fault] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    delay: float = 0
    capacity: dict[tuple[str, str], int] = field(default_factory=dict)
    """Instances that there still are, by subnet and type; of others there are enough."""
    bucket: Bucket | None = None
    call_bucket: Bucket | None = None
    answers: list[tuple[float, str, int]] = field(default_factory=list)
    """When, of which action, and with which status."""
    seconds_behind: float = 0
    """What moto took."""
    described: Callable[[dict[str, str]], bytes] | None = None
    """Who describes instances instead of moto, by a request's form: for who measures others than moto."""
    tokens: dict[str, tuple[dict[str, str], int, bytes]] = field(default_factory=dict)
    """Launches by their ClientToken, with their answers, which EC2 gives again."""
    names: dict[str, str] = field(default_factory=dict)
    """What a request calls by one name, and moto by another: its own ids of subnets and images."""
    without_addresses: int = 0
    """So many descriptions that come next tell no address yet."""
    lock: Any = field(default_factory=threading.RLock)
    owners: dict[str, str] = field(default_factory=dict)
    """Accounts by the access keys of their assumed roles."""
    clients: dict[tuple[str, str, str], tuple[Any, Credentials]] = field(default_factory=dict)
    current: set[tuple[str, str, str]] = field(default_factory=set)
    """Clients whose keys moto still knows."""
    session: Any = field(default_factory=botocore.session.Session)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, account: str, region: str, service: str = "ec2") -> Any:
        """A client as this account's administrator."""
        key = (account, region, service)
        if key not in self.clients:
            self.clients[key] = self._new_client(region, service, "", "")
        client, credentials = self.clients[key]
        if key not in self.current:
            keys = self._sts().assume_role(RoleArn=role(account), RoleSessionName="tests")["Credentials"]
            credentials.access_key, credentials.secret_key = keys["AccessKeyId"], keys["SecretAccessKey"]
            credentials.token = keys["SessionToken"]
            self.current.add(key)
        return client

    def _sts(self) -> Any:
        key = ("", "us-east-1", "sts")
        if key not in self.clients:
            self.clients[key] = self._new_client(*key[1:], *KEYS.values())
        return self.clients[key][0]

    def _new_client(self, region: str, service: str, *keys: str) -> tuple[Any, Credentials]:
        """A client, and its credentials: to change these takes much less than to make another client."""
        self.session.set_credentials(*keys)
        client = self.session.create_client(service, region_name=region, endpoint_url=f"http://{self.behind}")
        return client, self.session.get_credentials()

    def reset(self) -> None:
        """Have nothing of what was launched or asked, and nothing that goes wrong."""
        for kept in (self.faults, self.asked, self.capacity, self.tokens, self.current):
            kept.clear()
        self.delay, self.bucket, self.call_bucket, self.without_addresses = 0, None, None, 0
        with urllib.request.urlopen(f"http://{self.behind}/moto-api/reset", data=b""):
            pass

    def furnish(self, subnets: Mapping[str, tuple[str, str]], image: str) -> None:
        """Have what launches name: subnets, each in its account and region, an image, and the instance profile node."""
        for name, (account, region) in subnets.items():
            found = self.client(account, region).describe_subnets()["Subnets"]
            self.names[name] = min(each["SubnetId"] for each in found)
            self.client(account, region, "iam").create_instance_profile(InstanceProfileName="node")
        self.names[image] = "ami-12c6146b"

    def keep(self, name: str, secret: str, regions: Iterable[str]) -> None:
        """Have a secret in Systems Manager's parameter store, for those who have the hub's keys."""
        for region in regions:
            self.session.set_credentials(*KEYS.values())
            ssm = self.session.create_client("ssm", region_name=region, endpoint_url=f"http://{self.behind}")
            ssm.put_parameter(Name=name, Value=secret, Type="SecureString")

    def launch(self, account: str, region: str, count: int = 1, **tags: str) -> list[str]:
        """Start instances with these tags; two underscores stand for a colon."""
        given = [{"Key": key.replace("__", ":"), "Value": value} for key, value in tags.items()]
        specifications = [{"ResourceType": "instance", "Tags": given}] if given else []
        answer = self.client(account, region).run_instances(
            ImageId="ami-12c6146b",
            InstanceType="c5.xlarge",
            MinCount=count,
            MaxCount=count,
            TagSpecifications=specifications,
        )
        return [instance["InstanceId"] for instance in answer["Instances"]]


def role(account: str) -> str:
    return f"arn:aws:iam::{account}:role/inventory"


class _Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: ClassVar[Ec2]

    def do_POST(self) -> None:
        service = self.service
        body = self.rfile.read(int(self.headers["Content-Length"]))
        form = dict(urllib.parse.parse_qsl(body.decode()))
        if "Action" not in form:  # another service than EC2
            self._answer("", *self._forward(body))
            return
        scope = _SCOPE.search(self.headers.get("Authorization") or "")
        key, region = scope.groups() if scope else ("", "")
        asked = Asked(form["Action"], service.owners.get(key, ""), region, form)
        service.asked.append(asked)
        time.sleep(service.delay)
        fault = self._fault(asked)
        if fault and fault.code not in ("CUT", "GARBLED", "LOST"):
            self._answer(asked.action, fault.status, fault.body())
            return
        status, answer = self._launch(asked) if asked.action == "RunInstances" else self._told(asked, body)
        if asked.action.startswith("AssumeRole"):
            found = re.search(rb"<AccessKeyId>([^<]+)<", answer)
            if found:
                service.owners[found[1].decode()] = form["RoleArn"].split(":")[4]
        if fault and fault.code == "GARBLED":
            answer = answer[: len(answer) // 2]
        if fault and fault.code == "LOST":
            status, answer = 500, Fault(asked.action, code="InternalError").body()
        if asked.action == "DescribeInstances" and service.without_addresses > 0:
            service.without_addresses -= 1
            answer = re.sub(rb"<privateIpAddress>[^<]*</privateIpAddress>", b"", answer)
        self._answer(asked.action, status, answer, cut=fault is not None and fault.code == "CUT")

    def _told(self, asked: Asked, body: bytes) -> tuple[int, bytes]:
        if self.service.described and asked.action == "DescribeInstances":
            return 200, self.service.described(asked.form)
        return self._forward(body)

    def _forward(self, body: bytes) -> tuple[int, bytes]:
        if self.service.names and b"Action=" in body:
            pairs = [(key, self.service.names.get(text, text)) for key, text in urllib.parse.parse_qsl(body.decode())]
            body = urllib.parse.urlencode(pairs).encode()
        headers = {name: value for name, value in self.headers.items() if name not in ("Connection", "Content-Length")}
        begun = time.monotonic()
        connection = http.client.HTTPConnection(self.service.behind)
        connection.request("POST", self.path, body, headers)
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        self.service.seconds_behind += time.monotonic() - begun
        return response.status, answer

    def _launch(self, asked: Asked) -> tuple[int, bytes]:
        """What moto leaves out of RunInstances: tokens, limits, capacity, and that it gives as many as there are."""
        service, form = self.service, dict(asked.form)
        with service.lock:
            token = form.get("ClientToken", "")
            if token in service.tokens:
                former, status, answer = service.tokens[token]
                return (
                    (status, answer)
                    if former == asked.form
                    else (400, Fault("", code="IdempotentParameterMismatch").body())
                )
            least, most = int(form["MinCount"]), int(form["MaxCount"])
            who = (asked.account, asked.region)
            if service.call_bucket and not service.call_bucket.take(who, 1):
                return 503, Fault("", code="RequestLimitExceeded", message="Request limit exceeded.").body()
            if service.bucket and not service.bucket.take(who, most):
                return 503, Fault("", code="RequestLimitExceeded", message="Request limit exceeded.").body()
            where = (form.get("SubnetId", ""), form.get("InstanceType", ""))
            there = service.capacity.get(where, most)
            if there < least:
                said = f"We currently do not have sufficient {where[1]} capacity in the zone you requested."
                return 500, Fault("", code="InsufficientInstanceCapacity", message=said).body()
            count = min(most, there)
            if where in service.capacity:
                service.capacity[where] -= count
            status, answer = self._forward(
                urllib.parse.urlencode({**form, "MinCount": count, "MaxCount": count}).encode()
            )
            if token:
                service.tokens[token] = (asked.form, status, answer)
            return status, answer

    def _fault(self, asked: Asked) -> Fault | None:
        for fault in self.service.faults:
            if (
                fault.left > 0
                and fault.action == asked.action
                and fault.account in ("", asked.account)
                and fault.region in ("", asked.region)
                and (not fault.later or "NextToken" in asked.form)
            ):
                fault.left -= 1
                return fault
        return None

    def _answer(self, action: str, status: int, body: bytes, cut: bool = False) -> None:
        self.service.answers.append((time.monotonic(), action, status))
        self.send_response(status)
        self.send_header("Content-Type", "text/xml" if body.startswith(b"<") else "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        if cut:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True

    def log_message(self, *_arguments: Any) -> None:
        pass


@contextmanager
def ec2_service(address: str = "127.0.0.1", port: int = 0) -> Iterator[Ec2]:
    """Run it until the end, at any port unless one is given."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    moto.start()
    behind = "{}:{}".format(*moto.get_host_and_port())

    class Proxy(_Proxy):
        pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that was killed is none
                super().handle_error(request, client_address)

    server = Server((address, port), Proxy)
    Proxy.service = Ec2(server.server_port, behind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Proxy.service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        moto.stop()
