"""The application: its parts put together."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp

from . import __version__, logs, problems
from .access import Denied, client_of
from .middleware import BodyLimit, Observe
from .routes import clusters, feeds, hosts, services, system
from .settings import Settings, load
from .shapes import ProblemDocument
from .short_way import ShortWay
from .site import Site

DESCRIPTION = "Which hosts exist, what they are for, what hardware they have, and where each service answers."


def process_app() -> ASGIApp:
    """Make the application of the configuration file, for a process that does nothing else."""
    app = create_app(load())
    # A bulk write makes a million objects that live until its end. By its defaults, the collector would look through all of
    # them again and again: more than half of the time that the write takes.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    return app


def create_app(settings: Settings) -> ASGIApp:
    """Make the application."""
    logs.configure(settings.log_level)
    site = Site.of(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with site.running():
            yield

    app = bare_app(lifespan=lifespan)
    app.state.site = site
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=2)
    # Around FastAPI, not in it: what it does for each request costs more than a heartbeat needs.
    return Observe(BodyLimit(ShortWay(app, site.access, site.heartbeats), settings.max_body_bytes))


def bare_app(**options: Any) -> FastAPI:
    """The paths alone, from which the OpenAPI document is made."""
    app = FastAPI(
        title="hpcops service discovery",
        version=__version__,
        description=DESCRIPTION,
        license_info={"name": "GPL-3.0-or-later"},
        responses=problems.RESPONSES,
        docs_url=None,
        redoc_url=None,
        **options,
    )
    for part in (clusters, hosts, services, feeds, system):
        app.include_router(part.router)
    problems.install(app)
    app.add_exception_handler(Denied, _answer_denied)
    _describe_problems(app)
    return app


def _answer_denied(request: Request, error: Exception) -> Response:
    assert isinstance(error, Denied)
    what = f"{request.method} {request.url.path}"
    site: Site = request.app.state.site
    return site.access.denied(client_of(request), what, error).response()


def _describe_problems(app: FastAPI) -> None:
    """FastAPI describes its own shape of errors; ours are problem documents."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        document = original()
        schemas = document["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        problem = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= problem.pop("$defs")
        schemas["ProblemDocument"] = problem
        return document

    app.openapi = openapi  # type: ignore[method-assign]
