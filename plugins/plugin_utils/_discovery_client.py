# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of the service-discovery API, for plugins on the control machine."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

try:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, SSLError
    from urllib3.util.retry import Retry

    IMPORT_ERROR: ImportError | None = None
except ImportError as error:
    IMPORT_ERROR = error

from ansible_collections.hpcops.cluster.plugins.module_utils._errors import (
    DiscoveryError,
    DiscoveryRefusalError,
    SourceUnreachableError,
)

_LOCAL = ("127.0.0.1", "localhost", "::1")
_LONGEST_PAUSE = 30
_PAGE = 1000
# A server reads no addresses beyond 64 KiB, and a name has up to 253 characters.
_NAMES_AT_ONCE = 200
_TRY_AGAIN = (429, 500, 502, 503, 504)
# Of these it is known that nothing was written.
_WRITE_AGAIN = (429, 503)
_UNKNOWN = "It may have been done all the same; run it again, what is there already stays as it is"
_HINTS = {
    401: "The token is not one of the API's, has ended, or was revoked",
    403: "hpcops-discovery token list, on the API's server, shows what the token may do",
    413: "Write fewer objects at once",
    429: "Wait for a minute",
    507: "Make room for the API's database",
}


def read_token(token: str, token_file: str) -> str:
    """Return the token, from wherever it is given. What it is stays out of all messages."""
    if not token and token_file:
        try:
            token = Path(token_file).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DiscoveryError(f"token_file: {token_file} cannot be read: {error}") from error
    token = token.strip()
    if not token:
        raise DiscoveryError(
            "token: there is none; give token_file, token, or HPCOPS_DISCOVERY_TOKEN in the environment"
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise DiscoveryError(
            "token: what is given cannot be a token: it has a blank or another unusual character in it"
        )
    return token


def batches(names: Sequence[str]) -> list[list[str]]:
    """Return the names in parts that fit into a request's address; one empty part where there are none."""
    return [list(names[at : at + _NAMES_AT_ONCE]) for at in range(0, len(names), _NAMES_AT_ONCE)] or [[]]


class DiscoveryClient:
    """Asks one API as one principal."""

    def __init__(self, url: str, token: str, ca_file: str = "", timeout: float = 30, retries: int = 3) -> None:
        if IMPORT_ERROR is not None:
            raise DiscoveryError(
                f"the Python library requests is needed on the control machine: {IMPORT_ERROR}"
            ) from IMPORT_ERROR
        parts = urlsplit(url)
        if parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc or parts.query:
            raise DiscoveryError(
                f"url: '{parts.scheme}://{parts.hostname}' is no address such as https://discovery:8420"
            )
        if parts.scheme == "http" and parts.hostname not in _LOCAL:
            raise DiscoveryError(f"url: the token would cross the network in the clear to {parts.hostname}; use https")
        if ca_file and not os.path.isfile(os.path.expanduser(ca_file)):
            raise DiscoveryError(f"ca_file: {ca_file} is no file")
        if timeout <= 0 or retries < 0:
            raise DiscoveryError("timeout must be more than 0 seconds, and retries cannot be negative")
        self.url = url.rstrip("/")
        self.principal = hashlib.sha256(token.encode()).hexdigest()
        self._token = token
        self._verify: Any = os.path.expanduser(ca_file) if ca_file else True
        self._timeout = timeout
        self._reading = self._session(status_forcelist=_TRY_AGAIN, total=retries)
        # A write whose answer is lost is not sent again: it would then look as if nothing had changed.
        self._writing = self._session(status_forcelist=_WRITE_AGAIN, total=retries, read=0, other=0)

    def get(
        self, path: str, query: Mapping[str, str | Sequence[str]], etag: str | None = None
    ) -> tuple[dict[str, Any], str] | None:
        """Return the document and its validator; None where the given one still holds."""
        answer = self._ask("GET", path, query, headers={"If-None-Match": etag} if etag else {})
        if answer.status_code == 304 and etag:
            return None
        return self._document(path, answer), answer.headers.get("ETag", "")

    def items(self, path: str, query: Mapping[str, str | Sequence[str]]) -> Iterator[dict[str, Any]]:
        """Yield the objects of all pages."""
        after: dict[str, str] = {}
        while True:
            page = self._document(path, self._ask("GET", path, {**query, "limit": str(_PAGE), **after}))
            items = page.get("items")
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise DiscoveryError(f"{self.url}{path} answers with no list of objects: is url the API's?")
            yield from items
            if not page.get("next"):
                return
            after = {"after": str(page["next"])}

    def write(
        self, method: str, path: str, body: Any = None, *, dry_run: bool = False, diff: bool = False
    ) -> dict[str, Any]:
        """Make one transaction, and return what it changed."""
        wanted = {"dry_run": dry_run, "diff": diff}
        query = {name: "true" for name, is_wanted in wanted.items() if is_wanted}
        try:
            data = None if body is None else json.dumps(body, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise DiscoveryError(_unwritable(body) or f"what is to be written is no JSON: {error}") from error
        outcome = self._document(path, self._ask(method, path, query, {"Content-Type": "application/json"}, data))
        if not isinstance(outcome.get("changes"), list):
            raise DiscoveryError(f"{self.url}{path} does not answer with what was changed: is url the API's?")
        return outcome

    # --- One request -----------------------------------------------------------------------------------------------

    def _session(self, **retrying: Any) -> Any:
        retry = Retry(
            redirect=0,
            allowed_methods=None,
            backoff_factor=0.5,
            backoff_max=_LONGEST_PAUSE,
            backoff_jitter=0.5,
            # A server may name any time; the backoff is bounded.
            respect_retry_after_header=False,
            raise_on_status=False,
            **retrying,
        )
        session = requests.Session()
        session.mount(self.url, HTTPAdapter(max_retries=retry))
        return session

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | Sequence[str]],
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> Any:
        where = f"{self.url}{path}"
        is_write = method != "GET"
        try:
            answer = (self._writing if is_write else self._reading).request(
                method,
                where,
                params=dict(query),
                headers={"Accept": "application/json", **(headers or {})},
                data=data,
                auth=self._authorise,  # so that no .netrc takes its place
                timeout=self._timeout,
                verify=self._verify,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            what = f"{where} cannot be asked: {_cause(error)}"
            raise SourceUnreachableError(f"{what}. {_UNKNOWN}" if is_write and _was_sent(error) else what) from error
        if answer.status_code in (200, 304):
            return answer
        problem = _problem(answer)
        notes = [f"{where} answers {answer.status_code} ({str(problem.get('detail') or answer.reason)[:300]})"]
        if answer.status_code in _HINTS:
            notes.append(_HINTS[answer.status_code])
        if is_write and answer.status_code >= 500 and answer.status_code not in (*_WRITE_AGAIN, 507):
            notes.append(_UNKNOWN)
        if answer.status_code in _TRY_AGAIN:
            raise SourceUnreachableError(". ".join(notes))
        raise DiscoveryRefusalError(". ".join(notes), answer.status_code, problem)

    def _document(self, path: str, answer: Any) -> dict[str, Any]:
        try:
            document = json.loads(answer.content)
        except ValueError as error:
            raise DiscoveryError(f"{self.url}{path} answers with no JSON: {error}") from error
        if not isinstance(document, dict):
            raise DiscoveryError(f"{self.url}{path} answers with no JSON object")
        return document

    def _authorise(self, request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _unwritable(value: Any, place: str = "") -> str:
    """Say where something is that JSON has not, such as a date that YAML makes of a text without quotes."""
    if isinstance(value, Mapping):
        inner = ((each, f"{place}.{key}" if place else str(key)) for key, each in value.items())
    elif isinstance(value, (list, tuple)):
        inner = ((each, f"{place}[{index}]") for index, each in enumerate(value))
    elif isinstance(value, float) and not math.isfinite(value):
        return f"{place}: is no finite number"
    elif value is None or isinstance(value, (str, int, float)):
        return ""
    else:
        kind = next(kind.__name__ for kind in type(value).__mro__ if not kind.__name__.startswith("_"))
        return f"{place}: is a {kind}, which JSON has not; quote it"
    return next(filter(None, (_unwritable(*each) for each in inner)), "")


def _reason(error: BaseException) -> BaseException:
    """The innermost reason: what wraps it repeats the address several times."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return reason if isinstance(reason, BaseException) else error


def _cause(error: BaseException) -> str:
    return str(_reason(error)).rpartition(">: ")[2] or type(error).__name__


def _was_sent(error: BaseException) -> bool:
    """Whether the request may have reached the API."""
    return not isinstance(_reason(error), (NewConnectionError, ConnectTimeoutError, SSLError))


def _problem(answer: Any) -> dict[str, Any]:
    try:
        problem = answer.json()
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}
