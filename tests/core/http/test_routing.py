"""Query parameters that a route doesn't declare."""

import asyncio
from typing import Annotated

import httpx2
import pytest
from fastapi import APIRouter, FastAPI, Query
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel

from audifi.app import FEATURES
from audifi.core.http.routing import StrictRoute
from tests.support import patient
from tests.support.api import Api
from tests.support.app import App
from tests.support.clients import Client
from tests.support.sendgrid import SendGrid

UNKNOWN = {"code": "extra_forbidden", "detail": "Unknown query parameter"}


@pytest.fixture
def user(app: App, sendgrid: SendGrid) -> Client:
    return Client(app.http, sendgrid).sign_in()


def errors(answer: httpx2.Response) -> list[dict[str, str]]:
    assert (answer.status_code, answer.json()["code"]) == (422, "request.invalid")
    fields: list[dict[str, str]] = answer.json()["errors"]
    return fields


@pytest.mark.parametrize("query", ["limt=5", "limit=5&limt=5", "limt", "lim%74=5&limt=6", "limit=x&limt=5"])
def test_unknown_query_parameter_is_refused(user: Client, query: str) -> None:
    answer = user.as_signed_in("GET", f"/auth/sessions?{query}")

    assert errors(answer) == [UNKNOWN | {"parameter": "limt"}]


def test_request_with_unknown_query_has_no_effect(user: Client) -> None:
    for method, path, body in (
        ("PATCH", "/auth/me", {"display_name": "Ana"}),
        ("POST", "/auth/logout", {}),
        ("DELETE", "/auth/me", None),
    ):
        answer = user.as_signed_in(method, f"{path}?dry_run=true", body)

        assert errors(answer) == [UNKNOWN | {"parameter": "dry_run"}]
    assert user.as_signed_in("GET", "/auth/me?").json()["display_name"] is None


def test_refused_query_is_not_repeated_at_length(user: Client) -> None:
    secret = "a" * 33
    query = "&".join([f"{secret}={secret}", *(f"p{number}={secret}" for number in range(500))])
    answer = user.as_signed_in("GET", f"/auth/me?{query}")

    assert len(errors(answer)) == 20
    assert secret not in answer.text


def test_health_ignores_its_query(health_api: Api) -> None:
    """A probe's way around caches."""
    assert patient.get(f"{health_api.url}/api/v1/health?time=1").status_code == 200


def test_routes_of_all_features_are_strict() -> None:
    routes = [
        context.original_route
        for feature in FEATURES
        if feature.name != "health"
        for context in iter_route_contexts(feature.router.routes)
    ]

    assert routes
    assert [route for route in routes if isinstance(route, APIRoute) and not isinstance(route, StrictRoute)] == []


class Filter(BaseModel):
    title: str = ""


def test_fields_of_a_query_model_are_known() -> None:
    app = FastAPI()
    router = APIRouter(route_class=StrictRoute)

    @router.get("/songs")
    async def list_songs(query: Annotated[Filter, Query()]) -> str:
        return query.title

    app.include_router(router)

    async def ask(query: str) -> int:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://songs.test") as http:
            return (await http.get(f"/songs?{query}")).status_code

    assert [asyncio.run(ask(query)) for query in ("title=Fado", "titel=Fado")] == [200, 422]
