"""The problems that are added to an app's OpenAPI document."""

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from pydantic import BaseModel

from audifi.core.http import openapi as contract
from audifi.core.http.openapi import raises
from audifi.core.http.problems import Problem, ProblemDetails
from audifi.core.http.routing import StrictRoute
from audifi.core.idempotency.dependencies import IdempotentRequest, idempotent_request

LATE = Problem(409, "thing.late", "Too late")
GONE = Problem(410, "thing.gone", "It is gone")
TAKEN = Problem(409, "thing.taken", "It is taken")


class SoldOut(ProblemDetails):
    """A problem with an extension member."""

    left: int
    """The remaining number."""


class Body(BaseModel):
    name: str


@raises(LATE)
async def on_time() -> None: ...


@raises(GONE)
async def existing(_: Annotated[None, Depends(on_time)]) -> None: ...


def document(router: APIRouter) -> dict[str, Any]:
    app = FastAPI(generate_unique_id_function=contract.operation_id)
    contract.install(app, limited=lambda path: not path.startswith("/free"))
    app.include_router(router)
    return app.openapi()


def codes(answer: dict[str, Any]) -> list[str]:
    (content,) = answer["content"].values()
    codes: list[str] = content["schema"]["allOf"][1]["properties"]["code"]["enum"]
    return codes


def test_route_documents_problems_of_its_dependencies() -> None:
    router = APIRouter()

    @router.get("/things", dependencies=[Depends(existing)])
    @raises(TAKEN)
    async def list_things() -> None: ...

    answers = document(router)["paths"]["/things"]["get"]["responses"]

    assert answers.keys() == {"200", "403", "409", "410", "429", "500", "503"}
    assert codes(answers["409"]) == ["thing.taken", "thing.late"]
    assert codes(answers["410"]) == ["thing.gone"]
    assert answers["409"]["content"].keys() == {"application/problem+json"}


def test_header_that_is_refused_if_absent_is_required() -> None:
    router = APIRouter()

    @router.post("/things")
    async def create_thing(_: Annotated[IdempotentRequest, Depends(idempotent_request)]) -> None: ...

    [parameter] = document(router)["paths"]["/things"]["post"]["parameters"]

    assert parameter["required"]
    assert parameter["schema"]["type"] == "string"


def test_problem_raised_twice_is_documented_once() -> None:
    router = APIRouter()

    @router.get("/things", dependencies=[Depends(existing), Depends(on_time)])
    @raises(LATE)
    async def list_things() -> None: ...

    assert codes(document(router)["paths"]["/things"]["get"]["responses"]["409"]) == ["thing.late"]


def test_route_with_body_documents_body_problems() -> None:
    router = APIRouter()

    @router.post("/things")
    async def make_thing(body: Body) -> None: ...

    whole = document(router)
    answers = whole["paths"]["/things"]["post"]["responses"]

    assert answers.keys() == {"200", "400", "403", "408", "413", "415", "422", "429", "500", "503"}
    assert codes(answers["422"]) == ["request.invalid"]
    assert codes(answers["413"]) == ["request.too_large"]
    assert "HTTPValidationError" not in whole["components"]["schemas"]


def test_most_common_answer_of_a_status_is_shared() -> None:
    router = APIRouter()

    @router.get("/late", dependencies=[Depends(on_time)])
    async def list_late() -> None: ...

    @router.get("/later", dependencies=[Depends(on_time)])
    async def list_later() -> None: ...

    @router.get("/taken")
    @raises(TAKEN)
    async def list_taken() -> None: ...

    whole = document(router)
    conflicts = {path: item["get"]["responses"]["409"] for path, item in whole["paths"].items()}

    assert conflicts["/late"] == conflicts["/later"] == {"$ref": "#/components/responses/Conflict"}
    assert codes(whole["components"]["responses"]["Conflict"]) == ["thing.late"]
    assert codes(conflicts["/taken"]) == ["thing.taken"]


def test_route_with_parameter_documents_422() -> None:
    router = APIRouter()

    @router.get("/things")
    async def list_things(limit: int = 1) -> None: ...

    assert "422" in document(router)["paths"]["/things"]["get"]["responses"]


def test_strict_route_documents_422() -> None:
    router = APIRouter(route_class=StrictRoute)

    @router.get("/things")
    async def list_things() -> None: ...

    assert "422" in document(router)["paths"]["/things"]["get"]["responses"]


def test_unlimited_path_documents_no_429() -> None:
    router = APIRouter()

    @router.get("/free/things")
    async def list_things() -> None: ...

    answers = document(router)["paths"]["/free/things"]["get"]["responses"]

    assert "429" not in answers
    assert answers["200"]["headers"].keys() == {"X-Request-ID"}


def test_problem_with_extensions_has_its_own_schema() -> None:
    router = APIRouter()

    @router.get("/things")
    @raises(Problem(402, "thing.sold_out", "None is left", model=SoldOut, left=0))
    async def list_things() -> None: ...

    whole = document(router)
    schema = whole["paths"]["/things"]["get"]["responses"]["402"]["content"]["application/problem+json"]["schema"]

    assert schema["allOf"][0] == {"$ref": "#/components/schemas/SoldOut"}
    assert "left" in whole["components"]["schemas"]["SoldOut"]["properties"]
    assert whole["components"]["examples"]["thing.sold_out"]["value"]["left"] == 0


def test_code_of_a_problem_tells_its_members() -> None:
    router = APIRouter()

    @router.get("/things")
    @raises(
        Problem(402, "thing.sold_out", "None is left", model=SoldOut, left=0),
        Problem(402, "thing.unpaid", "It isn't paid"),
    )
    async def list_things() -> None: ...

    answer = document(router)["paths"]["/things"]["get"]["responses"]["402"]
    schemas = answer["content"]["application/problem+json"]["schema"]["oneOf"]

    assert [
        (model["$ref"].rpartition("/")[2], codes["properties"]["code"]["enum"])
        for model, codes in (schema["allOf"] for schema in schemas)
    ] == [
        ("SoldOut", ["thing.sold_out"]),
        ("ProblemDetails", ["thing.unpaid"]),
    ]


def test_headers_of_a_problem_are_documented() -> None:
    router = APIRouter()

    @router.get("/things")
    @raises(Problem(401, "token.missing", "Sign in", headers=[("WWW-Authenticate", "Bearer"), ("Set-Cookie", "a=")]))
    async def list_things() -> None: ...

    answers = document(router)["paths"]["/things"]["get"]["responses"]

    assert "WWW-Authenticate" in answers["401"]["headers"]
    assert "Retry-After" in answers["429"]["headers"]
    assert "Retry-After" not in answers["401"]["headers"]


@pytest.mark.parametrize(("name", "expected"), [("refresh", "refresh"), ("list_my_things", "listMyThings")])
def test_operation_ids_are_camel_case(name: str, expected: str) -> None:
    router = APIRouter()

    async def route() -> None: ...

    router.add_api_route("/things", route, name=name)

    assert document(router)["paths"]["/things"]["get"]["operationId"] == expected


def test_document_is_generated_once() -> None:
    router = APIRouter()

    @router.get("/things")
    async def list_things() -> None: ...

    app = FastAPI()
    contract.install(app, limited=lambda _: True)
    app.include_router(router)

    assert app.openapi() is app.openapi()
