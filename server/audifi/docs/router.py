"""`GET /`, and `/docs` with the OpenAPI document at hand. None of it is part of the contract."""

from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.staticfiles import StaticFiles

from audifi.core.settings import Settings
from audifi.docs import pages

# Swagger UI sets styles by attributes, and draws its icons from data.
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
        app.mount("/docs/assets", StaticFiles(directory=_swagger_folder()))


def _swagger_folder() -> Path:
    """Swagger UI's files, of a package that has its own way to serve them, which loads more than is wanted here."""
    spec = find_spec("fastapi_offline")
    assert spec  # noqa: S101 - it is in the lock
    assert spec.origin  # noqa: S101
    return Path(spec.origin).parent / "static"


@home.api_route("/", methods=["GET", "HEAD"])
async def where_am_i(request: Request) -> Response:
    """HTML for who asks for it, as browsers do; JSON for anyone else."""
    settings: Settings = request.app.state.settings
    links = {"health": "/api/v1/health"}
    if settings.docs_enabled:
        links = {"documentation": "/docs", "openapi": "/openapi.json", **links}
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"name": "AudiFi API", "version": settings.version, **links}, headers={"Vary": "Accept"})
    titles = {"documentation": "Documentation, to try out", "openapi": "OpenAPI document", "health": "Health"}
    page = pages.home(
        version=settings.version, app_url=settings.app_url, links={titles[name]: path for name, path in links.items()}
    )
    return HTMLResponse(page, headers={"Content-Security-Policy": HOME_POLICY, "Vary": "Accept"})


@home.get("/home.css")
async def home_style() -> Response:
    return Response(pages.HOME_STYLE, media_type="text/css")


@docs.get("")
async def swagger() -> Response:
    return HTMLResponse(pages.SWAGGER, headers={"Content-Security-Policy": SWAGGER_POLICY})


@docs.get("/start.js")
async def start() -> Response:
    return Response(pages.START, media_type="text/javascript")
