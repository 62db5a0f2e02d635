"""What the paths share."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response

from ..access import Caller
from ..changes import Options
from ..shapes import Outcome

DryRun = Annotated[bool, Query(description="Check everything and say what would change, but keep nothing.")]
Diff = Annotated[bool, Query(description="Show each changed object before and after. A dry run always does.")]
JSON = "application/json"


async def write_options(dry_run: DryRun = False, diff: Diff = False) -> Options:
    return Options(dry_run, diff)


def answer(text: str | bytes, caller: Caller | None = None, *, health: bool = False) -> Response:
    headers = {"ETag": caller.etag(health=health), "Vary": "Authorization"} if caller else None
    return Response(text, media_type=JSON, headers=headers)


def outcome(result: Outcome) -> Response:
    return answer(result.model_dump_json())


def unchanged(request: Request, caller: Caller, *, health: bool = False) -> Response | None:
    """A 304, where the client has what it would get."""
    etag = caller.etag(health=health)
    known = request.headers.get("if-none-match", "")
    if etag in known or known.strip() == "*":
        return Response(status_code=304, headers={"ETag": etag, "Vary": "Authorization"})
    return None
