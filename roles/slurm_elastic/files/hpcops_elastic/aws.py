# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EC2 of many accounts and regions."""

from __future__ import annotations

import dataclasses
import datetime
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import botocore.loaders
import botocore.session
from botocore.config import Config as ClientConfig
from botocore.credentials import AssumeRoleCredentialFetcher, Credentials, DeferredRefreshableCredentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.parsers import ResponseParserError

from hpcops_elastic.config import Account, Config
from hpcops_elastic.errors import ElasticError
from hpcops_elastic.verdicts import Kind, Verdict, classify

CLUSTER = "hpcops:cluster"
LAUNCH = "hpcops:launch"
GROUP = "hpcops:group"
NODES = "hpcops:nodes"
"""Of all the launch, folded; the instance's own one is that with its launch index."""
ALIVE = frozenset({"pending", "running", "stopping", "stopped"})
_LOADER = botocore.loaders.Loader()  # reads EC2's model, which takes a second, once for all accounts
_VALUES = 200  # a filter takes no more
_UNREAD = re.compile(rb"<(networkInterfaceSet|blockDeviceMapping|groupSet|privateDnsNameOptions)>.*?</\1>", re.DOTALL)
_ERRORS = re.compile(rb"\s*(<\?xml[^>]*\?>)?\s*<Response>\s*<Errors>")


class RefusedError(ElasticError):
    """EC2 said no, or nobody knows."""

    def __init__(self, verdict: Verdict, where: str) -> None:
        super().__init__(f"{where}: {verdict}")
        self.verdict = verdict


@dataclasses.dataclass(frozen=True)
class Instance:
    """An instance as DescribeInstances tells of it; it may leave out what is not known yet."""

    id: str
    state: str
    index: int
    type: str
    subnet: str
    address: str
    started: float
    spot: bool
    tags: Mapping[str, str]


class Cloud:
    """EC2 as the configuration's accounts. Several threads may use it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._clients: dict[tuple[str, str], Any] = {}
        self._making = threading.Lock()
        for name, value in (
            ("AWS_CONFIG_FILE", config.aws_config_file),
            ("AWS_SHARED_CREDENTIALS_FILE", config.aws_credentials_file),
        ):
            if value:
                os.environ[name] = value

    def launch(self, account: str, region: str, request: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """RunInstances once; asking again is the caller's.

        Raises RefusedError, whose verdict is UNCLEAR where nobody knows whether it was done.
        """
        answer = self._ask(account, region, "run_instances", **request)
        instances: Sequence[Mapping[str, Any]] = answer.get("Instances") or ()
        if not instances:
            # No error, and nothing launched: no answer of EC2's. The same token will tell.
            verdict = Verdict(Kind.UNCLEAR, "", "an answer without instances")
            raise RefusedError(verdict, f"{account}/{region}: RunInstances")
        return instances

    def instances(self, account: str, region: str, only: Iterable[str] = ()) -> list[Instance]:
        """This cluster's instances, or those of them with these ids, in every state that EC2 still tells of."""
        ours = [{"Name": f"tag:{CLUSTER}", "Values": [self._config.cluster]}]
        return self._described(account, region, ours, list(only))

    def untagged(self, account: str, region: str, only: Sequence[str]) -> list[Instance]:
        """Instances by their ids, whatever their tags are; those that EC2 does not know are not there."""
        return self._described(account, region, [], list(only)) if only else []

    def _described(self, account: str, region: str, filters: list[dict[str, Any]], ids: list[str]) -> list[Instance]:
        found = []
        for start in range(0, max(len(ids), 1), _VALUES):
            some = ids[start : start + _VALUES]
            by_id = [{"Name": "instance-id", "Values": some}] if some else []
            for page in self._pages(account, region, "describe_instances", Filters=filters + by_id, MaxResults=1000):
                found += [_instance(each) for group in page["Reservations"] for each in group["Instances"]]
        return found

    def terminate(self, account: str, region: str, ids: Sequence[str]) -> dict[str, str]:
        """Return the new states by id."""
        answer = self._ask(account, region, "terminate_instances", InstanceIds=list(ids))
        changes = answer.get("TerminatingInstances") or ()
        return {change["InstanceId"]: change["CurrentState"]["Name"] for change in changes}

    def tag(self, account: str, region: str, ids: Sequence[str], tags: Mapping[str, str]) -> None:
        pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
        self._ask(account, region, "create_tags", Resources=list(ids), Tags=pairs)

    # --- Requests ----------------------------------------------------------------------------------------------------

    def _pages(self, account: str, region: str, operation: str, **arguments: Any) -> Iterator[Mapping[str, Any]]:
        while True:
            page = self._ask(account, region, operation, **arguments)
            if "Reservations" not in page:
                verdict = Verdict(Kind.UNCLEAR, "", "an answer that is not EC2's")
                raise RefusedError(verdict, f"{account}/{region}: {operation}")
            yield page
            if not page.get("NextToken"):
                return
            arguments["NextToken"] = page["NextToken"]

    def _ask(self, account: str, region: str, operation: str, **arguments: Any) -> Mapping[str, Any]:
        where = f"{account}/{region}: {operation}"
        try:
            answer: Mapping[str, Any] = getattr(self._client(account, region), operation)(**arguments)
            if "Error" in answer:  # in an answer with status 200
                raise ClientError(answer, operation)
        except ClientError as error:
            said = error.response.get("Error", {})
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            raise RefusedError(
                classify(str(said.get("Code", "")), str(said.get("Message", "")), status), where
            ) from error
        except (ParamValidationError, ValueError) as error:
            raise RefusedError(Verdict(Kind.WRONG, type(error).__name__, _short(error)), where) from error
        except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, ProfileNotFound) as error:
            raise RefusedError(Verdict(Kind.DENIED, type(error).__name__, _short(error)), where) from error
        except (BotoCoreError, ResponseParserError, OSError) as error:
            raise RefusedError(Verdict(Kind.UNCLEAR, type(error).__name__, _short(error)), where) from error
        return answer

    def _client(self, account: str, region: str) -> Any:
        with self._making:
            if (account, region) not in self._clients:
                self._clients[account, region] = self._new_client(self._config.account(account), region)
            return self._clients[account, region]

    def _new_client(self, account: Account, region: str) -> Any:
        source = _session(account.profile)
        session = source
        if account.role_arn:
            session = _session()
            session._credentials = self._assumed(source, account, region)
        client = session.create_client(
            "ec2", region_name=region, endpoint_url=self._config.endpoint_url or None, config=self._client_config()
        )
        client.meta.events.register("before-parse.ec2.*", _find_errors)
        client.meta.events.register("before-parse.ec2.DescribeInstances", _leave_out)
        return client

    def _assumed(self, source: Any, account: Account, region: str) -> Any:
        """Credentials of a role, which are renewed before they end."""
        endpoint, how = self._config.endpoint_url or None, self._client_config()

        def client(_service: str, **given: Any) -> Any:
            return source.create_client(
                "sts",
                region_name=region,
                endpoint_url=endpoint,
                config=how,
                **{k: v for k, v in given.items() if k != "region_name"},
            )

        extra: dict[str, Any] = {"RoleSessionName": f"hpcops-elastic-{self._config.cluster}"[:64]}
        if account.external_id:
            extra["ExternalId"] = account.external_id
        credentials: Credentials | None = source.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        fetcher = AssumeRoleCredentialFetcher(client, credentials, account.role_arn, extra)
        return DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")

    def _client_config(self) -> ClientConfig:
        # Not again by the library: it would spend what AWS allows on the launches that fail.
        return ClientConfig(
            retries={"mode": "standard", "total_max_attempts": 1},
            connect_timeout=5,
            read_timeout=30,
            max_pool_connections=16,
            user_agent_extra="hpcops.cluster",
        )


def _session(profile: str = "") -> Any:
    session = botocore.session.Session(profile=profile or None)
    session.register_component("data_loader", _LOADER)
    # The library's own way to read times takes half of what it takes to read descriptions of 10,000 instances.
    session.get_component("response_parser_factory").set_parser_defaults(
        timestamp_parser=datetime.datetime.fromisoformat
    )
    return session


def _find_errors(response_dict: dict[str, Any], **_others: object) -> None:
    """Have errors that come with status 200 read as such, and not as an answer without content."""
    if response_dict["status_code"] == 200 and _ERRORS.match(response_dict["body"]):
        response_dict["status_code"] = 400


def _instance(each: Mapping[str, Any]) -> Instance:
    launched = each.get("LaunchTime")
    return Instance(
        id=each["InstanceId"],
        state=each.get("State", {}).get("Name", ""),
        index=int(each.get("AmiLaunchIndex", 0)),
        type=each.get("InstanceType", ""),
        subnet=each.get("SubnetId", ""),
        address=each.get("PrivateIpAddress") or "",
        started=launched.timestamp() if launched else 0.0,
        spot=each.get("InstanceLifecycle") == "spot",
        tags={tag["Key"]: tag["Value"] for tag in each.get("Tags", ())},
    )


def _leave_out(response_dict: dict[str, Any], **_others: object) -> None:
    """Take out what nobody reads, which is most of a description, and of what it takes to parse one."""
    response_dict["body"] = _UNREAD.sub(b"", response_dict["body"])


def _short(error: object) -> str:
    return " ".join(str(error).split())[:200]
