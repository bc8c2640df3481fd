"""`GET /`, and Swagger UI at `/docs`. Neither is part of the contract."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, override

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from audifi.api_docs import pages
from audifi.core.http.dependencies import services_of

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REVALIDATE = "private, no-cache"

root = APIRouter(include_in_schema=False)
docs = APIRouter(prefix="/docs", include_in_schema=False)


def install(app: FastAPI, *, enabled: bool) -> None:
    """Add `GET /` to the app, and `/docs` if documentation is enabled."""
    app.include_router(root)
    if enabled:
        app.include_router(docs)
        app.mount("/docs/assets", Assets(directory=_swagger_folder()))


class Assets(StaticFiles):
    """Whole files, revalidated at each use: the next version has others by the same names."""

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Starlette refuses invalid ranges in plain text; a server may ignore them all (RFC 9110, 14.2).
        headers = [(name, value) for name, value in scope["headers"] if name not in {b"range", b"if-range"}]
        await super().__call__({**scope, "headers": headers}, receive, send)

    @override
    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = REVALIDATE
        response.headers["Accept-Ranges"] = "none"
        return response


def _swagger_folder() -> Path:
    """Return the folder of Swagger UI's files in the package fastapi-offline; its own page loads more."""
    spec = find_spec("fastapi_offline")
    assert spec  # noqa: S101 - it is in the lock
    assert spec.origin  # noqa: S101
    return Path(spec.origin).parent / "static"


@root.api_route("/", methods=["GET", "HEAD"])
async def read_root(request: Request) -> dict[str, Any]:
    settings = services_of(request).settings
    links = {"health": "/api/v1/health"}
    if settings.docs_enabled:
        links |= {"documentation": "/docs", "openapi": "/openapi.json"}
    return {"name": "AudiFi API", "version": settings.version, "links": links}


@docs.api_route("", methods=["GET", "HEAD"])
async def read_swagger_ui() -> Response:
    return HTMLResponse(pages.SWAGGER_UI, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})


@docs.api_route("/style.css", methods=["GET", "HEAD"])
async def read_style() -> Response:
    return Response(pages.STYLE, media_type="text/css")


@docs.api_route("/start.js", methods=["GET", "HEAD"])
async def read_start_script() -> Response:
    return Response(pages.START_SCRIPT, media_type="text/javascript")
