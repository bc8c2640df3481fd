"""What breaks clients, and what doesn't: to miss one breaks them, to see one too many teaches people to allow them."""

import copy
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev.contract import ALLOWED, DOCUMENT, ROOT
from dev.contract.breaks import breaks
from dev.contract.check import refusals
from tests.support.checkouts import Checkout

type Json = dict[str, Any]
SERVER = "https://api.example.com"
PROBLEM = "application/problem+json"
WHERE = "POST /things"
BODY = f"{WHERE}: body"
ANSWER = f"{WHERE}: 200"
PARAMETER = f"{WHERE}: query parameter q"
TEXT: Json = {"type": "string"}
NUMBER: Json = {"type": "integer"}
NULL: Json = {"type": "null"}
THING: Json = {"type": "object", "properties": {"id": TEXT, "note": TEXT}, "required": ["id"]}


def document(*, components: Json | None = None, **operation: Any) -> Json:
    return {
        "openapi": "3.1.0",
        "info": {"title": "Things", "version": "1"},
        "paths": {
            "/things": {
                "post": {"operationId": "makeThing", "responses": {"200": {"description": "Done."}}, **operation}
            }
        },
        "components": components or {},
        "servers": [{"url": SERVER}],
    }


def content(schema: Json, media_type: str = "application/json") -> Json:
    return {"content": {media_type: {"schema": schema}}}


def taking(schema: Json, **schemas: Json) -> Json:
    """A document whose operation has such a body."""
    return document(requestBody=content(schema), components={"schemas": schemas})


def answering(schema: Json, **schemas: Json) -> Json:
    return document(responses={"200": content(schema)}, components={"schemas": schemas})


def asking(schema: Json | None = None, **parameter: Any) -> Json:
    return document(parameters=[{"name": "q", "in": "query", "schema": schema or TEXT, **parameter}])


def failing(*codes: str, status: str = "409", **schemas: Json) -> Json:
    return document(responses={"200": {}, status: problem(*codes)}, components={"schemas": {"Problem": {}, **schemas}})


def problem(*codes: str, reference: str = "#/components/schemas/Problem") -> Json:
    """As server/audifi/core/contract.py writes it."""
    code = {"type": "string", "enum": [*codes]}
    of_them = {"type": "object", "required": ["code"], "properties": {"code": code}}
    return content({"allOf": [{"$ref": reference}, of_them]}, PROBLEM)


def thing(*required: str, additional: Any = True, **properties: Json) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": [*required],
        "additionalProperties": additional,
    }


def either(*schemas: Json) -> Json:
    return {"anyOf": [*schemas]}


def ref(name: str, **beside: Any) -> Json:
    return {"$ref": f"#/components/schemas/{name}", **beside}


# Operations


def test_a_path_that_is_gone_breaks_each_of_its_methods() -> None:
    old, new = document(), document()
    old["paths"]["/things/{id}"] = {"get": old["paths"]["/things"]["post"], "delete": old["paths"]["/things"]["post"]}

    assert breaks(old, new) == ["DELETE /things/{id}: is gone", "GET /things/{id}: is gone"]
    assert breaks(new, old) == []


def test_a_method_that_is_gone_breaks_though_its_path_is_there() -> None:
    old, new = document(), document()
    old["paths"]["/things"]["get"] = old["paths"]["/things"]["post"]

    assert breaks(old, new) == ["GET /things: is gone"]
    assert breaks(new, old) == []


def test_an_operation_that_is_renamed_breaks_generated_clients() -> None:
    assert breaks(document(), document(operationId="createThing")) == [f"{WHERE}: operationId makeThing is gone"]


def test_a_server_that_is_gone_breaks_and_a_new_one_does_not() -> None:
    old, new = document(), document()
    old["servers"] = [*new["servers"], {"url": "https://old.example.com"}]

    assert breaks(old, new) == ["servers: https://old.example.com is gone"]
    assert breaks(new, old) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (document(), document(servers=[{"url": "https://other.example.com"}])),
        (document(), document(callbacks={"made": {}})),
        (document(requestBody=content(TEXT)), document(requestBody=content(TEXT) | {"x-signed": True})),
        (asking(), asking(style="deepObject")),
        (document(), document(responses={"200": {"links": {"next": {}}}})),
        (taking(TEXT), document(requestBody={"content": {"application/json": {"schema": TEXT, "encoding": {"a": {}}}}})),
        (document(), document() | {"webhooks": {"made": {}}}),
        (document(), document() | {"paths": {"/things": {**document()["paths"]["/things"], "parameters": []}}}),
    ],
    ids=["operation's servers", "callbacks", "body", "parameter", "answer", "media type", "document", "path"],
)
def test_what_is_not_understood_and_differs_breaks_wherever_it_is(old: Json, new: Json) -> None:
    (line,) = breaks(old, new)

    assert "differs, and nobody here knows what that means" in line
    assert breaks(new, old) == [line]


# Security


@pytest.mark.parametrize(
    ("before", "now", "gone"),
    [
        ([], [{"Token": []}], "no sign-in"),
        ([{}], [{"Token": []}], "no sign-in"),
        ([{"Token": []}, {}], [{"Token": []}], "no sign-in"),
        ([{"Token": []}, {"Cookie": []}], [{"Token": []}], "Cookie"),
        ([{"Token": []}], [{"Token": [], "Cookie": []}], "Token"),
        ([{"Token": [], "Cookie": []}], [{"Other": []}], "Cookie and Token"),
        ([{"Token": []}], [{"Token": ["write"]}], "Token"),
    ],
)
def test_a_way_to_be_let_in_that_is_no_longer_enough_breaks(before: list[Json], now: list[Json], gone: str) -> None:
    assert breaks(document(security=before), document(security=now)) == [f"{WHERE}: {gone} is no longer enough"]


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ([{"Token": []}], []),
        ([{"Token": []}], [{"Token": []}, {"Cookie": []}]),
        ([{"Token": []}], [{}, {"Token": []}]),
        ([{"Token": []}, {"Cookie": []}], [{"Cookie": []}, {"Token": []}]),
        ([{"Token": [], "Cookie": []}], [{"Token": []}]),
        ([{"Token": ["write"]}], [{"Token": []}]),
    ],
)
def test_another_way_in_or_less_that_is_asked_for_breaks_nothing(before: list[Json], now: list[Json]) -> None:
    assert breaks(document(security=before), document(security=now)) == []


def test_what_the_whole_document_asks_for_counts_where_the_operation_says_nothing() -> None:
    open_to_all, closed = document(), document() | {"security": [{"Token": []}]}

    assert breaks(open_to_all, closed) == [f"{WHERE}: no sign-in is no longer enough"]
    assert breaks(open_to_all, document(security=[]) | {"security": [{"Token": []}]}) == []


def test_a_cookie_by_another_name_breaks_and_another_description_does_not() -> None:
    def scheme(**changes: str) -> Json:
        cookie = {"type": "apiKey", "in": "cookie", "name": "session", **changes}
        return document(security=[{"Cookie": []}], components={"securitySchemes": {"Cookie": cookie}})

    assert breaks(scheme(), scheme(name="sid")) == [
        "security scheme Cookie: name differs, and nobody here knows what that means"
    ]
    assert breaks(scheme(), scheme(description="Set by sign-in.")) == []


# Parameters


def test_a_parameter_that_is_gone_breaks() -> None:
    assert breaks(asking(), document()) == [f"{PARAMETER} is gone"]


def test_a_parameter_that_moves_elsewhere_breaks() -> None:
    assert breaks(asking(), asking(**{"in": "header"})) == [f"{PARAMETER} is gone"]


@pytest.mark.parametrize("old", [document(), asking(), asking(required=False)], ids=["new", "unsaid", "optional"])
def test_a_parameter_that_becomes_required_breaks(old: Json) -> None:
    assert breaks(old, asking(required=True)) == [f"{PARAMETER} is required"]


@pytest.mark.parametrize("new", [asking(), asking(required=False)])
@pytest.mark.parametrize("old", [document(), asking(required=True)], ids=["new", "required"])
def test_a_parameter_that_may_be_left_out_breaks_nothing(old: Json, new: Json) -> None:
    if "parameters" in old["paths"]["/things"]["post"] or not new["paths"]["/things"]["post"]["parameters"][0].get(
        "required"
    ):
        assert breaks(old, new) == []


# Values: each of these pairs is one that lets more through, one that lets less through, and what is said of that.

NARROWER: Mapping[str, tuple[Json, Json, str]] = {
    "a type": ({}, TEXT, ": type any isn't string"),
    "another type": (TEXT, NUMBER, ": type string isn't integer"),
    "whole numbers": ({"type": "number"}, NUMBER, ": type number isn't integer"),
    "one of two types": ({"type": ["string", "null"]}, TEXT, ": type ['string', 'null'] isn't string"),
    "a maximum": (NUMBER, NUMBER | {"maximum": 9}, ": maximum none isn't within 9"),
    "a smaller maximum": (NUMBER | {"maximum": 9}, NUMBER | {"maximum": 8}, ": maximum 9 isn't within 8"),
    "a larger minimum": (NUMBER | {"minimum": 1}, NUMBER | {"minimum": 2}, ": minimum 1 isn't within 2"),
    "an exclusive minimum": (
        NUMBER | {"minimum": 0},
        NUMBER | {"exclusiveMinimum": 0},
        ": exclusiveMinimum none isn't within 0",
    ),
    "a smaller maxLength": (TEXT | {"maxLength": 9}, TEXT | {"maxLength": 8}, ": maxLength 9 isn't within 8"),
    "a larger minLength": (TEXT | {"minLength": 1}, TEXT | {"minLength": 2}, ": minLength 1 isn't within 2"),
    "a pattern": (TEXT, TEXT | {"pattern": "^a"}, ": pattern none isn't ^a"),
    "a pattern beside words": (
        TEXT | {"enum": ["a", "b"]},
        TEXT | {"enum": ["a", "b"], "pattern": "^a"},
        ": pattern none isn't ^a",
    ),
    "a format": (TEXT, TEXT | {"format": "uuid"}, ": format none isn't uuid"),
    "words for free text": (TEXT, TEXT | {"enum": ["a", "b"]}, ": only a, b"),
    "numbers for any": (NUMBER, NUMBER | {"enum": [1, 2]}, ": only 1, 2"),
    "one word for free text": (TEXT, TEXT | {"const": "a"}, ": only a"),
    "one word of two": (TEXT | {"enum": ["a", "b"]}, TEXT | {"const": "a"}, ": b isn't among its words"),
    "no null": (either(TEXT, NULL), TEXT, ": type null isn't string"),
    "no null any more": (either(TEXT, NUMBER, NULL), either(TEXT, NUMBER), ": type null isn't string"),
    "a bound beside null": (
        either(TEXT, NULL),
        either(TEXT | {"maxLength": 8}, NULL),
        ": maxLength none isn't within 8",
    ),
    "a bound beside anyOf": (
        either(TEXT, NULL),
        either(TEXT, NULL) | {"maxLength": 8},
        ": maxLength none isn't within 8",
    ),
    "a bound beside a reference": (ref("Text"), ref("Text", maxLength=8), ": maxLength none isn't within 8"),
    "a smaller bound beside a reference": (
        ref("Text", maxLength=9),
        ref("Text", maxLength=8),
        ": maxLength none isn't within 8",
    ),
    "one kind fewer": (
        {"oneOf": [thing("kind", kind={"const": "a"}), thing("kind", kind={"const": "b"})]},
        {"oneOf": [thing("kind", kind={"const": "a"})]},
        ".kind: b isn't among its words",
    ),
    "one of several kinds narrowed": (
        {"oneOf": [thing("kind", kind={"const": "a"}), thing("kind", "x", kind={"const": "b"}, x=TEXT)]},
        {"oneOf": [thing("kind", kind={"const": "a"}), thing("kind", "x", kind={"const": "b"}, x=NUMBER)]},
        ".x: type string isn't integer",
    ),
    "items": ({"type": "array", "items": {}}, {"type": "array", "items": TEXT}, "[]: type any isn't string"),
    "items of some kind": ({"type": "array"}, {"type": "array", "items": TEXT}, "[]: type any isn't string"),
    "fewer items": ({"type": "array"}, {"type": "array", "maxItems": 3}, ": maxItems none isn't within 3"),
    "a field": (thing(a={}), thing(a=TEXT), ".a: type any isn't string"),
    "a field of a field": (thing(a=thing(b={})), thing(a=thing(b=TEXT)), ".a.b: type any isn't string"),
    "a field that may not be null": (thing(a=either(TEXT, NULL)), thing(a=TEXT), ".a: type null isn't string"),
    "a map's values": (thing(additional={}), thing(additional=TEXT), ".*: type any isn't string"),
    "a map's values behind a reference": (
        thing(additional=ref("Open")),
        thing(additional=ref("Text")),
        ".*: type any isn't string",
    ),
    "any map's values": (thing(), thing(additional=TEXT), ".*: type any isn't string"),
    "a second member of allOf": (
        {"allOf": [ref("Text"), {"maxLength": 9}]},
        {"allOf": [ref("Text"), {"maxLength": 8}]},
        ": maxLength none isn't within 8",
    ),
    "a member more of allOf": (
        {"allOf": [ref("Text")]},
        {"allOf": [ref("Text"), {"maxLength": 8}]},
        ": maxLength none isn't within 8",
    ),
}
narrower = pytest.mark.parametrize(("wide", "narrow", "said"), NARROWER.values(), ids=NARROWER)
SHARED: Mapping[str, Json] = {"Text": TEXT, "Open": {}}


@narrower
def test_a_body_of_which_less_is_taken_breaks(wide: Json, narrow: Json, said: str) -> None:
    assert f"{BODY}{said}" in breaks(taking(wide, **SHARED), taking(narrow, **SHARED))


@narrower
def test_a_parameter_of_which_less_is_taken_breaks(wide: Json, narrow: Json, said: str) -> None:
    shared = {"components": {"schemas": SHARED}}

    assert f"{PARAMETER}{said}" in breaks(asking(wide) | shared, asking(narrow) | shared)


@narrower
def test_an_answer_in_which_more_may_be_breaks(wide: Json, narrow: Json, said: str) -> None:
    assert f"{ANSWER}{said}" in breaks(answering(narrow, **SHARED), answering(wide, **SHARED))


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [pytest.param(*pair[:2], id=name) for name, pair in NARROWER.items() if name != "another type"],
)
def test_a_body_of_which_more_is_taken_and_an_answer_in_which_less_may_be_break_nothing(
    wide: Json, narrow: Json
) -> None:
    assert breaks(taking(narrow, **SHARED), taking(wide, **SHARED)) == []
    assert breaks(asking(narrow), asking(wide)) == [] or "$ref" in str(wide)
    if "kinds" not in str(wide):
        assert breaks(answering(wide, **SHARED), answering(narrow, **SHARED)) == []
