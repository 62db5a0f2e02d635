"""Everything that is refused is answered by a problem document (RFC 9457) that names the field."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from .shapes import FieldError, ProblemDocument

MEDIA_TYPE = "application/problem+json"
TITLES = {
    400: ("malformed", "The request cannot be read"),
    401: ("unauthenticated", "A valid token is needed"),
    403: ("forbidden", "The token does not allow this"),
    404: ("not-found", "There is no such thing"),
    405: ("method", "That cannot be done here"),
    409: ("conflict", "The object is not as expected"),
    413: ("too-large", "The request is too large"),
    415: ("media-type", "The body must be JSON"),
    422: ("invalid", "The request is not valid"),
    429: ("too-many-failures", "Too many failures"),
    500: ("internal", "Something went wrong here"),
    503: ("unavailable", "The database cannot be asked now"),
    507: ("storage", "The database cannot store more"),
}
# Statuses that any request may get; FastAPI puts them into the OpenAPI document.
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": TITLES[status][1],
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
    }
    for status in (400, 401, 403, 404, 409, 413, 422, 429, 503, 507)
}
log = logging.getLogger(__name__)


class Problem(Exception):  # noqa: N818  # not always an error of ours
    """An answer other than success."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        current: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers
        code, title = TITLES.get(status, ("error", "The request failed"))
        self.document = ProblemDocument(
            type=f"urn:hpcops:discovery:{code}",
            title=title,
            status=status,
            detail=detail,
            errors=list(errors),
            current=dict(current) if current is not None else None,
        )

    def response(self) -> Response:
        text = self.document.model_dump_json(exclude_none=True, exclude_defaults=True)
        return Response(text, self.status, self.headers, MEDIA_TYPE)


def pointer(location: Sequence[str | int]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def field_error(error: Mapping[str, Any]) -> FieldError:
    """One of pydantic's errors, without the value that was sent."""
    where, *location = error["loc"]
    in_body = where == "body"
    index = next((part for part in location if isinstance(part, int)), None) if in_body else None
    detail = str(error["msg"]).removeprefix("Value error, ")
    name = pointer(location) if in_body else ".".join(map(str, location)) or str(where)
    return FieldError(pointer=name, detail=detail, index=index, code=error["type"])


def invalid(errors: Sequence[FieldError], status: int = 422) -> Problem:
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Problem(status, f"{first.pointer or 'body'}: {first.detail}{more}", errors=errors[:1000])


def _of_validation(error: RequestValidationError) -> Problem:
    errors = [field_error(item) for item in error.errors()]
    if any(item.code == "json_invalid" for item in errors):
        return invalid(errors, 400)
    return invalid(errors)


def _of_http(error: HTTPException) -> Problem:
    return Problem(error.status_code, str(error.detail), headers=error.headers)


def _of_database(error: Exception) -> Problem:
    text = str(getattr(error, "orig", None) or error)
    if (
        "disk is full" in text
        or "No space left" in text
        or getattr(getattr(error, "orig", None), "sqlstate", "") == "53100"
    ):
        return Problem(507, "Nothing was changed: the disk of the database is full.")
    return Problem(503, "Nothing was changed: the database does not answer. Try again.", headers={"Retry-After": "2"})


def install(app: FastAPI) -> None:
    """Answer with problem documents, whatever goes wrong."""

    def answer_problem(_request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return error.response()

    def answer_validation(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _of_validation(error).response()

    def answer_http(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _of_http(error).response()

    def answer_database(_request: Request, error: Exception) -> Response:
        log.error("database: %s", getattr(error, "orig", None) or error)
        return _of_database(error).response()

    def answer_bug(_request: Request, _error: Exception) -> Response:
        return Problem(500, "The log of the service says more.").response()

    app.add_exception_handler(Exception, answer_bug)
    app.add_exception_handler(Problem, answer_problem)
    app.add_exception_handler(RequestValidationError, answer_validation)
    app.add_exception_handler(HTTPException, answer_http)
    for kind in (OperationalError, InterfaceError, PoolTimeoutError):
        app.add_exception_handler(kind, answer_database)
