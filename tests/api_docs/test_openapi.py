"""The committed contract: it matches the code and says what a client needs to know."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from audifi.auth.schemas import MagicLinkVerify
from tests.support import patient
from tests.support.api import ROOT, Api, environment

FILE = ROOT / "server" / "openapi.json"
DOCUMENT: dict[str, Any] = json.loads(FILE.read_text())
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
OPERATIONS = [
    pytest.param(operation, id=operation["operationId"])
    for item in DOCUMENT["paths"].values()
    for operation in item.values()
]
FIELDS = [
    pytest.param(field, id=f"{name}.{field_name}")
    for name, schema in SCHEMAS.items()
    for field_name, field in schema.get("properties", {}).items()
]


def test_committed_contract_matches_the_code() -> None:
    """`make openapi` writes it; the environment makes no difference."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "audifi", "openapi"],
        env=environment(AUDIFI_COMMIT="1234567", DOCS_ENABLED="false", DATABASE_URL="nonsense"),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == FILE.read_text(), "the contract has changed: `make openapi`, and commit what it writes"


def test_server_serves_the_contract(health_api: Api) -> None:
    assert patient.get(f"{health_api.url}/openapi.json").json() == DOCUMENT


def test_schema_names_are_free_of_module_paths() -> None:
    """FastAPI adds the module where two features name a model alike, and clients get that as a type's name."""
    assert [name for name in SCHEMAS if "__" in name] == []


def test_contract_is_openapi_3_1_and_names_servers() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert [server["url"] for server in DOCUMENT["servers"]] == [
        "https://audifi-api.fly.dev",
        "https://audifi-api-staging.fly.dev",
        "http://localhost:8080",
    ]


@pytest.mark.parametrize("field", FIELDS)
def test_field_has_a_description_and_an_example(field: dict[str, Any]) -> None:
    assert field.get("description")
    assert _has_example(field)


def _has_example(schema: dict[str, Any]) -> bool:
    """Whether the schema, one of its alternatives or each of its properties has an example."""
    if schema.get("examples"):
        return True
    if "$ref" in schema:
        named = SCHEMAS[schema["$ref"].rpartition("/")[2]]
        return _has_example(named) or all(map(_has_example, named.get("properties", {"": {}}).values()))
    return any(map(_has_example, [*schema.get("anyOf", []), *filter(None, [schema.get("items")])]))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operation_is_described_and_secured(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", operation["operationId"])
    assert operation["tags"]
    assert "security" in operation
    for parameter in operation.get("parameters", []):
        assert parameter["description"]
        assert parameter["schema"].get("examples") or parameter.get("example"), parameter["name"]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_error_is_a_problem_with_listed_codes(operation: dict[str, Any]) -> None:
    errors = {status: _behind(answer) for status, answer in operation["responses"].items() if status >= "400"}

    assert "500" in errors
    for answer in errors.values():
        for media_type, content in answer["content"].items():
            if media_type == "application/problem+json":
                codes = list(_codes(answer))
                assert sorted(content["examples"]) == sorted(codes)
                for code in codes:
                    example = DOCUMENT["components"]["examples"][code]["value"]
                    assert example["code"] == code
                    assert example["type"] == f"urn:audifi:problem:{code}"
            else:
                assert operation["operationId"] == "getHealth"


def test_signed_in_operation_lists_token_problems() -> None:
    operations = [operation for item in DOCUMENT["paths"].values() for operation in item.values()]
    for operation in operations:
        needs = [name for way in operation["security"] for name in way or {"": None}]
        if needs == ["AccessToken"]:
            codes = set(_codes(_behind(operation["responses"]["401"])))
            assert {"access_token.missing", "access_token.invalid", "access_token.expired"} <= codes


def _behind(answer: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in answer:
        return answer
    response: dict[str, Any] = DOCUMENT["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    return response


def _codes(answer: dict[str, Any]) -> Iterator[str]:
    schema = answer["content"]["application/problem+json"]["schema"]
    for alternative in schema.get("oneOf", [schema]):
        yield from alternative["allOf"][1]["properties"]["code"]["enum"]


def test_sign_in_examples_are_valid_bodies() -> None:
    """The examples of the fields together would be a link and a code at once, which is refused."""
    by_code, by_link = map(
        MagicLinkVerify.model_validate, DOCUMENT["components"]["schemas"]["MagicLinkVerify"]["examples"]
    )

    assert by_code.code
    assert by_link.token
