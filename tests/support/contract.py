"""Checks responses against server/openapi.json: status, headers, media type and body."""

import json
import re
from functools import cache
from typing import Any

import httpx2
import jsonschema_rs

from tests.support.api import ROOT

DOCUMENT: dict[str, Any] = json.loads((ROOT / "server" / "openapi.json").read_text())
PATHS = {re.compile(re.sub(r"\{\w+\}", "[^/]+", path)): path for path in DOCUMENT["paths"]}

CONFLICT = 409


class ContractError(AssertionError):
    """A response that the contract doesn't describe."""


def check(answer: httpx2.Response) -> None:
    """Check a response of any operation of the contract.
    Raises:
        ContractError: the operation doesn't describe this response.
    """
    path = next((path for pattern, path in PATHS.items() if pattern.fullmatch(answer.request.url.path)), None)
    operation = DOCUMENT["paths"].get(path, {}).get(answer.request.method.lower())
    if not operation:
        return
    response = f"{answer.request.method} {path}: {answer.status_code}"
    if str(answer.status_code) not in operation["responses"]:
        raise ContractError(f"{response} isn't in the contract: {answer.read().decode()}")
    expected = _behind(operation["responses"][str(answer.status_code)])
    missing = {name for name in expected.get("headers", {}) if name not in answer.headers}
    if answer.status_code == CONFLICT:
        missing.discard("Retry-After")  # idempotency_key.in_progress has it; a feature's own conflicts don't
    if missing:
        raise ContractError(f"{response} has no {sorted(missing)}")
    if "content" not in expected:
        if answer.read():
            raise ContractError(f"{response} has a body: {answer.text}")
        return
    media_type = answer.headers.get("content-type", "").partition(";")[0]
    if media_type not in expected["content"]:
        raise ContractError(f"{response} is {media_type}, not {list(expected['content'])}")
    answer.read()
    if not media_type.endswith("json"):
        return
    validator = _validator(json.dumps(expected["content"][media_type]["schema"]))
    if errors := [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(answer.json())]:
        raise ContractError(f"{response}: {errors} in {answer.text}")


def _behind(answer: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in answer:
        return answer
    response: dict[str, Any] = DOCUMENT["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    return response


@cache
def _validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    components = {"schemas": DOCUMENT["components"]["schemas"]}
    return jsonschema_rs.Draft202012Validator(json.loads(schema) | {"components": components}, validate_formats=True)
