"""`GET /`, and `/docs` with the OpenAPI document at hand. None of it is part of the contract."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, override

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from audifi.api_docs import pages
from audifi.core.http.dependencies import services_of
from audifi.core.http.middleware.conditional import REVALIDATE

SWAGGER_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HOME_POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

home = APIRouter(include_in_schema=False)
docs = APIRouter(prefix="/docs", include_in_schema=False)


def install(app: FastAPI, *, enabled: bool) -> None:
    """Put the pages into the app.

    Args:
        enabled: whether there is documentation.
    """
    app.include_router(home)
    if enabled:
        app.include_router(docs)
        app.mount("/docs/assets", Assets(directory=_swagger_folder()))


class Assets(StaticFiles):
    """Whole files alone; to be asked for anew each time, because the next version has other ones by the same name."""

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Starlette answers ranges that aren't good in plain text; a server may pass over them all (RFC 9110, 14.2).
        headers = [(name, value) for name, value in scope["headers"] if name not in {b"range", b"if-range"}]
        await super().__call__({**scope, "headers": headers}, receive, send)

    @override
    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        answer = super().file_response(*args, **kwargs)
        answer.headers["Cache-Control"] = REVALIDATE
        answer.headers["Accept-Ranges"] = "none"
        return answer


def _swagger_folder() -> Path:
    """Swagger UI's files, of a package that has its own way to serve them, which loads more than is wanted here."""
    spec = find_spec("fastapi_offline")
    assert spec  # noqa: S101 - it is in the lock
    assert spec.origin  # noqa: S101
    return Path(spec.origin).parent / "static"


@home.api_route("/", methods=["GET", "HEAD"])
async def where_am_i(request: Request) -> Response:
    """HTML for who asks for it, as browsers do; JSON for anyone else."""
    settings = services_of(request).settings
    links = {"health": "/api/v1/health"}
    if settings.docs_enabled:
        links = {"documentation": "/docs", "openapi": "/openapi.json", **links}
    if not _prefers_html(request.headers.getlist("accept")):
        return JSONResponse({"name": "AudiFi API", "version": settings.version, **links}, headers={"Vary": "Accept"})
    titles = {"documentation": "Documentation, to try out", "openapi": "OpenAPI document", "health": "Health"}
    page = pages.home(
        version=settings.version, app_url=settings.app_url, links={titles[name]: path for name, path in links.items()}
    )
    return HTMLResponse(page, headers={"Content-Security-Policy": HOME_POLICY, "Vary": "Accept"})


def _prefers_html(accept: list[str]) -> bool:
    """RFC 9110, 12.5.1. Who takes anything gets JSON."""
    qualities: dict[str, float] = {}
    for part in ",".join(accept).lower().split(","):
        media_type, *parameters = (each.strip() for each in part.split(";"))
        quality = next((each.removeprefix("q=") for each in parameters if each.startswith("q=")), "1")
        qualities[media_type] = float(quality) if re.fullmatch(r"[01](\.[0-9]{0,3})?", quality) else 0
    html = qualities.get("text/html", qualities.get("text/*", 0))
    return html > 0 and html >= qualities.get("application/json", 0)


@home.api_route("/home.css", methods=["GET", "HEAD"])
async def home_style() -> Response:
    return Response(pages.HOME_STYLE, media_type="text/css")


@docs.api_route("", methods=["GET", "HEAD"])
async def swagger() -> Response:
    return HTMLResponse(pages.SWAGGER, headers={"Content-Security-Policy": SWAGGER_POLICY})


@docs.api_route("/start.js", methods=["GET", "HEAD"])
async def start() -> Response:
    return Response(pages.START, media_type="text/javascript")
