# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to one AWS account, as a role, a profile or the default credentials."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

try:
    import botocore.session
    from botocore import UNSIGNED, xform_name
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
    from botocore.parsers import ResponseParserError

    IMPORT_ERROR: ImportError | None = None
except ImportError as error:
    IMPORT_ERROR = error

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import AwsError
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_accounts import Account, Settings
from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_errors import Call, explained

_CONNECT_TIMEOUT = 10
# Making a client is work of the processor alone, on models that all sessions share.
_MAKING = threading.Lock()


class Connection:
    """Asks one account. It may be used by several threads."""

    def __init__(self, account: Account, settings: Settings, members: frozenset[str] | None = None) -> None:
        """Assume the account's role, where it has one; members are those of instances that will be looked at, None for all."""
        if IMPORT_ERROR is not None:
            raise AwsError(
                f"the Python library botocore is needed on the control machine: {IMPORT_ERROR}"
            ) from IMPORT_ERROR
        self._account = account
        self._settings = settings
        self._members = members
        self._clients: dict[str, Any] = {}
        self._home = account.home(settings)
        how = "WithWebIdentity" if account.web_identity_token_file else ""
        call = Call(account, self._home, f"sts:AssumeRole{how}")
        with self._explaining(call):
            try:
                self._session = self._sign_in()
            except KeyError as error:  # what botocore says of an answer that is not STS's
                raise _foreign(call) from error

    def regions(self) -> list[str]:
        """Return the regions that the account has enabled."""
        call = Call(self._account, self._home, "ec2:DescribeRegions")
        with self._explaining(call):
            answer = _said(self._client(self._home).describe_regions(), call)
        if not answer["Regions"]:
            raise AwsError(f"{call.what} answers without any region")
        return sorted(region["RegionName"] for region in answer["Regions"])

    def pages(self, region: str, operation: str, **arguments: Any) -> Iterator[Mapping[str, Any]]:
        """Ask for all pages of an answer."""
        method, page, tokens = None, 0, set[str]()
        while True:
            page += 1
            call = Call(self._account, region, f"ec2:{operation}", page)
            with self._explaining(call):
                method = method or getattr(self._client(region), xform_name(operation))
                answer = _said(self._page(method, arguments), call)
            yield answer
            token = answer.get("NextToken")
            if not token:
                return
            if token in tokens:
                raise AwsError(f"account {self._account.name}, region {region}: ec2:{operation} repeats a page")
            tokens.add(token)
            arguments["NextToken"] = token

    def _page(self, method: Callable[..., Any], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask again for an answer that breaks off, too; botocore does not notice that before it reads it."""
        for _attempt in range(self._settings.retries):
            with suppress(ResponseParserError):
                answer: Mapping[str, Any] = method(**arguments)
                return answer
        last: Mapping[str, Any] = method(**arguments)
        return last

    @contextmanager
    def _explaining(self, call: Call) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError, ResponseParserError) as error:
            raise explained(error, call) from error

    def _sign_in(self) -> Any:
        account = self._account
        source = _new_session(self._members, account.profile)
        if not account.role_arn:
            _require_credentials(source)
            return source
        request: dict[str, Any] = {
            "RoleArn": account.role_arn,
            "RoleSessionName": account.session_name,
            "DurationSeconds": account.duration,
        }
        if account.web_identity_token_file:
            request["WebIdentityToken"] = _read_token(account)
            sts = self._make(source, "sts", self._home, Config(signature_version=UNSIGNED))
            answer = sts.assume_role_with_web_identity(**request)
        else:
            _require_credentials(source)
            if account.external_id:
                request["ExternalId"] = account.external_id
            if account.session_tags:
                request["Tags"] = [{"Key": key, "Value": value} for key, value in account.session_tags]
            answer = self._make(source, "sts", self._home).assume_role(**request)
        keys = answer["Credentials"]
        session = _new_session(self._members)
        session.set_credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])
        return session

    def _client(self, region: str) -> Any:
        if region not in self._clients:
            self._clients[region] = self._make(self._session, "ec2", region)
        return self._clients[region]

    def _make(self, session: Any, service: str, region: str, more: Any = None) -> Any:
        settings = self._settings
        config = Config(
            retries={"mode": "adaptive", "total_max_attempts": settings.retries + 1},
            connect_timeout=min(settings.timeout, _CONNECT_TIMEOUT),
            read_timeout=settings.timeout,
            user_agent_extra="hpcops.cluster",
        )
        try:
            with _MAKING:
                return session.create_client(
                    service,
                    region_name=region,
                    endpoint_url=settings.endpoint_url or None,
                    config=config.merge(more) if more else config,
                )
        except ValueError as error:
            raise AwsError(f"endpoint_url: {error}; it is one like https://ec2.eu-central-1.amazonaws.com") from error


def _said(answer: Mapping[str, Any], call: Call) -> Mapping[str, Any]:
    """Refuse what is no answer of AWS's, such as a proxy's page: botocore finds nothing in it, and does not say so."""
    if not answer.keys() - {"ResponseMetadata", "NextToken"}:
        raise _foreign(call)
    return answer


def _foreign(call: Call) -> AwsError:
    return AwsError(f"{call.what} has an answer that is not AWS's, so none of it is used; is a proxy in between?")


def _new_session(members: frozenset[str] | None, profile: str = "") -> Any:
    session = botocore.session.Session(profile=profile or None)
    session.set_config_variable("sts_regional_endpoints", "regional")
    try:
        from ansible_collections.hpcops.cluster.plugins.plugin_utils._aws_model import loader

        session.register_component("data_loader", loader(members))
    except (ImportError, AttributeError, TypeError):  # botocore is made otherwise: its own loader does, taking longer
        pass
    return session


def _require_credentials(session: Any) -> None:
    # Outside the lock, since this may ask a server.
    if session.get_credentials() is None:
        raise NoCredentialsError


def _read_token(account: Account) -> str:
    try:
        return Path(account.web_identity_token_file).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AwsError(
            f"account {account.name}: web_identity_token_file: {account.web_identity_token_file} cannot be read: {error}"
        ) from error
