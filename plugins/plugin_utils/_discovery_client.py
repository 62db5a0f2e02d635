# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of the service-discovery API, for plugins on the control machine."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

try:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util.retry import Retry

    IMPORT_ERROR: ImportError | None = None
except ImportError as error:
    IMPORT_ERROR = error

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import InventoryError, SourceUnreachableError

_LOCAL = ("127.0.0.1", "localhost", "::1")
_TRY_AGAIN = (429, 500, 502, 503, 504)
_LONGEST_PAUSE = 30


def read_token(token: str, token_file: str) -> str:
    """Return the token, from wherever it is given. What it is stays out of all messages."""
    if not token and token_file:
        try:
            token = Path(token_file).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InventoryError(f"token_file: {token_file} cannot be read: {error}") from error
    token = token.strip()
    if not token:
        raise InventoryError(
            "token: there is none; give token_file, token, or HPCOPS_DISCOVERY_TOKEN in the environment"
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InventoryError(
            "token: what is given cannot be a token: it has a blank or another unusual character in it"
        )
    return token


class DiscoveryClient:
    """Asks one API as one principal."""

    def __init__(self, url: str, token: str, ca_file: str = "", timeout: float = 30, retries: int = 3) -> None:
        if IMPORT_ERROR is not None:
            raise InventoryError(
                f"the Python library requests is needed on the control machine: {IMPORT_ERROR}"
            ) from IMPORT_ERROR
        parts = urlsplit(url)
        if parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc or parts.query:
            raise InventoryError(
                f"url: '{parts.scheme}://{parts.hostname}' is no address such as https://discovery:8420"
            )
        if parts.scheme == "http" and parts.hostname not in _LOCAL:
            raise InventoryError(f"url: the token would cross the network in the clear to {parts.hostname}; use https")
        if ca_file and not os.path.isfile(os.path.expanduser(ca_file)):
            raise InventoryError(f"ca_file: {ca_file} is no file")
        if timeout <= 0 or retries < 0:
            raise InventoryError("timeout must be more than 0 seconds, and retries cannot be negative")
        self.url = url.rstrip("/")
        self.principal = hashlib.sha256(token.encode()).hexdigest()
        self._token = token
        self._verify: Any = os.path.expanduser(ca_file) if ca_file else True
        self._timeout = timeout
        self._retry = Retry(
            total=retries,
            redirect=0,
            status_forcelist=_TRY_AGAIN,
            allowed_methods={"GET"},
            backoff_factor=0.5,
            backoff_max=_LONGEST_PAUSE,
            backoff_jitter=0.5,
            # A server may name any time; the backoff is bounded.
            respect_retry_after_header=False,
            raise_on_status=False,
        )

    def get(
        self, path: str, query: Mapping[str, str | Sequence[str]], etag: str | None = None
    ) -> tuple[dict[str, Any], str] | None:
        """Return the document and its validator; None where the given one still holds."""
        where = f"{self.url}{path}"
        headers = {"Accept": "application/json"}
        if etag:
            headers["If-None-Match"] = etag
        try:
            with requests.Session() as session:
                session.mount(self.url, HTTPAdapter(max_retries=self._retry))
                answer = session.get(
                    where,
                    params=dict(query),
                    headers=headers,
                    auth=self._authorise,  # so that no .netrc takes its place
                    timeout=self._timeout,
                    verify=self._verify,
                    allow_redirects=False,
                )
        except requests.RequestException as error:
            raise SourceUnreachableError(f"{where} cannot be asked: {_cause(error)}") from error
        if answer.status_code == 304 and etag:
            return None
        if answer.status_code in _TRY_AGAIN:
            raise SourceUnreachableError(f"{where} answers {answer.status_code} ({_detail(answer)})")
        if answer.status_code != 200:
            raise InventoryError(f"{where} answers {answer.status_code} ({_detail(answer)})")
        try:
            document = json.loads(answer.content)
        except ValueError as error:
            raise InventoryError(f"{where} answers with no JSON: {error}") from error
        if not isinstance(document, dict):
            raise InventoryError(f"{where} answers with no JSON object")
        return document, answer.headers.get("ETag", "")

    def _authorise(self, request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _cause(error: BaseException) -> str:
    """The innermost reason: what wraps it repeats the address several times."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    text = str(reason or error)
    return text.rpartition(">: ")[2] or type(error).__name__


def _detail(answer: Any) -> str:
    try:
        return str(answer.json()["detail"])[:300]
    except (ValueError, KeyError, TypeError):
        return str(answer.reason)
