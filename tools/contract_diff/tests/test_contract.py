"""What breaks clients, and what doesn't: to miss one breaks them, to see one too many teaches people to allow them."""

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.api import ROOT
from tools.contract_diff import ALLOWED, DOCUMENT
from tools.contract_diff.breaks import breaks
from tools.contract_diff.check import refusals
from tools.migrations.checkouts import Checkout

pytestmark = pytest.mark.slow

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
SHARED: Json = {"Text": TEXT, "Anything": {}, "Problem": {"type": "object", "properties": {"code": TEXT}}}


def document(*, schemas: Json | None = None, components: Json | None = None, **operation: Any) -> Json:
    """With one operation."""
    post = {"operationId": "makeThing", "responses": {"200": {"description": "Done."}}, **operation}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Things", "version": "1"},
        "paths": {"/things": {"post": post}},
        "components": {"schemas": {**SHARED, **(schemas or {})}, **(components or {})},
        "servers": [{"url": SERVER}],
    }


def content(schema: Json, media_type: str = "application/json") -> Json:
    return {"content": {media_type: {"schema": schema}}}


def taking(schema: Json, **schemas: Json) -> Json:
    return document(schemas=schemas, requestBody=content(schema))


def asking(schema: Json = TEXT, **parameter: Any) -> Json:
    return document(parameters=[{"name": "q", "in": "query", "schema": schema, **parameter}])


def answering(schema: Json, **schemas: Json) -> Json:
    return document(schemas=schemas, responses={"200": content(schema)})


def failing(*codes: str) -> Json:
    """As server/audifi/core/http/openapi.py writes it."""
    code = {"type": "string", "enum": [*codes]}
    of_these = {"type": "object", "required": ["code"], "properties": {"code": code}}
    return document(responses={"200": {}, "409": content({"allOf": [ref("Problem"), of_these]}, PROBLEM)})


def thing(*required: str, additional: bool | Json = True, **properties: Json) -> Json:
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
        (
            taking(TEXT),
            document(requestBody={"content": {"application/json": {"schema": TEXT, "encoding": {"a": {}}}}}),
        ),
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
    assert breaks(asking(), document(parameters=[{"name": "q", "in": "header", "schema": TEXT}])) == [
        f"{PARAMETER} is gone"
    ]


@pytest.mark.parametrize("old", [document(), asking(), asking(required=False)], ids=["new", "unsaid", "optional"])
def test_a_parameter_that_becomes_required_breaks(old: Json) -> None:
    assert breaks(old, asking(required=True)) == [f"{PARAMETER} is required"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (document(), asking()),
        (document(), asking(required=False)),
        (asking(required=True), asking()),
        (asking(required=True), asking(required=False)),
        (asking(required=True), asking(required=True)),
    ],
)
def test_a_parameter_that_may_be_left_out_or_had_to_be_there_breaks_nothing(old: Json, new: Json) -> None:
    assert breaks(old, new) == []


# Values: each of these pairs is one that lets more through, one that lets less through, and what is said of that.

NARROWER: Mapping[str, tuple[Json, Json, str]] = {
    "a type": ({}, TEXT, ": type any isn't string"),
    "whole numbers": ({"type": "number"}, NUMBER, ": type number isn't integer"),
    "one of two types": ({"type": ["string", "null"]}, TEXT, ": type ['string', 'null'] isn't string"),
    "a maximum": (NUMBER, NUMBER | {"maximum": 9}, ": maximum none isn't within 9"),
    "a smaller maximum": (NUMBER | {"maximum": 9}, NUMBER | {"maximum": 8}, ": maximum 9 isn't within 8"),
    "a larger minimum": (NUMBER | {"minimum": 1}, NUMBER | {"minimum": 2}, ": minimum 1 isn't within 2"),
    "an exclusive minimum": (
        NUMBER | {"minimum": 0},
        NUMBER | {"minimum": 0, "exclusiveMinimum": 0},
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
        {"oneOf": [ref("Text"), thing(x={})]},
        {"oneOf": [ref("Text"), thing(x=TEXT)]},
        ".x: type any isn't string",
    ),
    "items": ({"type": "array", "items": {}}, {"type": "array", "items": TEXT}, "[]: type any isn't string"),
    "items of some kind": ({"type": "array"}, {"type": "array", "items": TEXT}, "[]: type any isn't string"),
    "fewer items": ({"type": "array"}, {"type": "array", "maxItems": 3}, ": maxItems none isn't within 3"),
    "a field": (thing(a={}), thing(a=TEXT), ".a: type any isn't string"),
    "a field of a field": (thing(a=thing(b={})), thing(a=thing(b=TEXT)), ".a.b: type any isn't string"),
    "a field that may not be null": (thing(a=either(TEXT, NULL)), thing(a=TEXT), ".a: type null isn't string"),
    "a map's values": (thing(additional={}), thing(additional=TEXT), ".*: type any isn't string"),
    "a map's values behind a reference": (
        thing(additional=ref("Anything")),
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


@narrower
def test_a_body_of_which_less_is_taken_breaks_and_of_which_more_is_does_not(
    wide: Json, narrow: Json, said: str
) -> None:
    assert breaks(taking(wide), taking(narrow)) == [f"{BODY}{said}"]
    assert breaks(taking(narrow), taking(wide)) == []


@narrower
def test_a_parameter_of_which_less_is_taken_breaks_and_of_which_more_is_does_not(
    wide: Json, narrow: Json, said: str
) -> None:
    assert breaks(asking(wide), asking(narrow)) == [f"{PARAMETER}{said}"]
    assert breaks(asking(narrow), asking(wide)) == []


@narrower
def test_an_answer_in_which_more_may_be_breaks_and_in_which_less_may_be_does_not(
    wide: Json, narrow: Json, said: str
) -> None:
    assert breaks(answering(narrow), answering(wide)) == [f"{ANSWER}{said}"]
    assert breaks(answering(wide), answering(narrow)) == []


def test_another_type_breaks_both_ways() -> None:
    assert breaks(taking(TEXT), taking(NUMBER)) == [f"{BODY}: type string isn't integer"]
    assert breaks(answering(TEXT), answering(NUMBER)) == [f"{ANSWER}: type integer isn't string"]


@pytest.mark.parametrize(
    "keyword", [{"not": {"const": ""}}, {"prefixItems": [TEXT]}, {"propertyNames": {"pattern": "^a"}}, {"x-mine": 1}]
)
@pytest.mark.parametrize("documented", [taking, answering, asking])
def test_a_keyword_that_is_not_understood_breaks_where_it_comes_and_goes(documented: Any, keyword: Json) -> None:
    with_it, without = documented({"type": "array"} | keyword), documented({"type": "array"})

    for found in (breaks(with_it, without), breaks(without, with_it)):
        (line,) = found
        assert line.endswith(f": {next(iter(keyword))} differs, and nobody here knows what that means")


def test_a_keyword_that_is_not_understood_breaks_where_what_it_refers_to_changes() -> None:
    """Its own text is the same."""
    of_two = {"type": "array", "prefixItems": [ref("Pair"), TEXT]}
    old, new = answering(of_two, Pair=thing("a", a=TEXT)), answering(of_two, Pair=thing("b", b=TEXT))

    assert breaks(old, new) == [f"{ANSWER}: prefixItems differs, and nobody here knows what that means"]
    assert breaks(old, answering({"type": "array", "prefixItems": [thing("a", a=TEXT), TEXT]})) == []


# What is sent


def test_a_body_that_is_gone_breaks() -> None:
    assert breaks(taking(TEXT), document()) == [f"{WHERE}: its body is gone"]


@pytest.mark.parametrize("old", [document(), taking(TEXT)], ids=["new", "optional"])
def test_a_body_that_becomes_required_breaks(old: Json) -> None:
    required = document(requestBody=content(TEXT) | {"required": True})

    assert breaks(old, required) == [f"{WHERE}: a body is required"]
    assert breaks(required, taking(TEXT)) == []


def test_a_new_body_that_may_be_left_out_breaks_nothing() -> None:
    assert breaks(document(), taking(TEXT)) == []


def test_a_media_type_that_is_no_longer_taken_breaks() -> None:
    both = document(requestBody={"content": content(TEXT)["content"] | content(TEXT, "text/plain")["content"]})

    assert breaks(both, taking(TEXT)) == [f"{BODY}: text/plain is gone"]
    assert breaks(taking(TEXT), both) == []


@pytest.mark.parametrize("additional", [True, False])
@pytest.mark.parametrize("old", [{}, {"b": TEXT}], ids=["new", "optional"])
def test_a_field_that_becomes_required_breaks_requests(old: Json, *, additional: bool) -> None:
    before = thing("a", additional=additional, a=TEXT, **old)
    now = thing("a", "b", additional=additional, a=TEXT, b=TEXT)

    assert breaks(taking(before), taking(now)) == [f"{BODY}: b is required"]


def test_a_field_that_is_gone_breaks_requests_where_no_others_are_taken() -> None:
    def body(*, additional: bool, **fields: Json) -> Json:
        return taking(thing(additional=additional, a=TEXT, **fields))

    assert breaks(body(additional=False, b=TEXT), body(additional=False)) == [f"{BODY}: b is gone"]
    assert breaks(body(additional=True, b=TEXT), body(additional=True)) == []


@pytest.mark.parametrize("fields", [{}, {"a": TEXT}], ids=["without fields", "with one"])
def test_other_fields_that_are_no_longer_taken_break_requests(fields: Json) -> None:
    old, new = taking(thing(**fields)), taking(thing(additional=False, **fields))

    assert breaks(old, new) == [f"{BODY}: other fields are refused"]
    assert breaks(new, old) == []


def test_a_field_that_a_map_could_hold_otherwise_breaks_requests() -> None:
    old, new = taking(thing(additional=NUMBER)), taking(thing(additional=NUMBER, a=TEXT))

    assert breaks(old, new) == [f"{BODY}.a: type integer isn't string"]


@pytest.mark.parametrize("additional", [True, False])
def test_a_new_field_that_may_be_left_out_breaks_no_request(*, additional: bool) -> None:
    old, new = thing("a", additional=additional, a=TEXT), thing("a", additional=additional, a=TEXT, b=TEXT)

    assert breaks(taking(old), taking(new)) == []


def test_a_word_that_is_no_longer_taken_breaks_and_a_new_one_does_not() -> None:
    two, three = TEXT | {"enum": ["a", "b"]}, TEXT | {"enum": ["b", "c", "a"]}

    for documented, place in ((taking, BODY), (asking, PARAMETER)):
        assert breaks(documented(three), documented(two)) == [f"{place}: c isn't among its words"]
        assert breaks(documented(two), documented(three)) == []


# What is answered


def test_a_success_by_another_status_breaks() -> None:
    assert breaks(document(responses={"200": {}}), document(responses={"202": {}})) == [
        f"{WHERE}: 200 is gone",
        f"{WHERE}: 202 is new",
    ]


def test_another_success_breaks() -> None:
    assert breaks(document(responses={"200": {}}), document(responses={"200": {}, "202": {}})) == [
        f"{WHERE}: 202 is new"
    ]


def test_an_error_that_is_new_breaks_nothing() -> None:
    assert breaks(document(responses={"200": {}}), failing("late")) == []


def test_a_media_type_that_is_no_longer_answered_breaks_and_another_does_not() -> None:
    both = document(responses={"200": {"content": content(TEXT)["content"] | content(TEXT, "text/csv")["content"]}})

    assert breaks(both, answering(TEXT)) == [f"{ANSWER}: text/csv is gone"]
    assert breaks(answering(TEXT), both) == []
    assert breaks(answering(TEXT), document()) == [f"{ANSWER}: application/json is gone"]


@pytest.mark.parametrize("required", [[], ["b"]], ids=["optional", "required"])
@pytest.mark.parametrize("additional", [True, False, TEXT])
def test_a_field_that_is_gone_breaks_answers(required: list[str], *, additional: bool | Json) -> None:
    old, new = answering(thing(*required, a=TEXT, b=TEXT)), answering(thing(additional=additional, a=TEXT))

    assert breaks(old, new) == [f"{ANSWER}: b is gone"]


def test_a_field_that_may_be_missing_now_breaks_answers() -> None:
    old, new = answering(thing("a", a=TEXT)), answering(thing(a=TEXT))

    assert breaks(old, new) == [f"{ANSWER}: a may be missing"]
    assert breaks(new, old) == []


def test_a_field_of_which_only_its_being_there_was_said_breaks_answers_too() -> None:
    assert breaks(answering({"required": ["a"]}), answering({})) == [f"{ANSWER}: a may be missing"]


def test_a_field_that_may_be_null_now_breaks_answers() -> None:
    old, new = answering(thing("a", a=TEXT)), answering(thing("a", a=either(TEXT, NULL)))

    assert breaks(old, new) == [f"{ANSWER}.a: type null isn't string"]
    assert breaks(new, old) == []


def test_what_is_said_of_one_of_several_is_said_of_its_namesake() -> None:
    """Though another one is nearer."""
    kinds = either(ref("User"), ref("Nobody"))
    old = answering(kinds, User=thing("id", "name", id=TEXT, name=TEXT), Nobody=thing("reason", reason=TEXT))
    new = answering(kinds, User=thing(), Nobody=thing("reason", reason=TEXT))

    assert breaks(old, new) == [f"{ANSWER}: id is gone", f"{ANSWER}: name is gone"]


@pytest.mark.parametrize("additional", [True, False])
def test_a_new_field_breaks_no_answer_though_no_others_were_announced(*, additional: bool) -> None:
    old = answering(thing(additional=False, a=TEXT))

    assert breaks(old, answering(thing("b", additional=additional, a=TEXT, b=TEXT))) == []


def test_a_map_that_holds_no_others_any_more_breaks_answers() -> None:
    assert breaks(answering(thing(additional=TEXT)), answering(thing(additional=False))) == [
        f"{ANSWER}: other fields are gone"
    ]


def test_a_new_field_that_is_not_what_a_map_was_said_to_hold_breaks_answers() -> None:
    old, new = answering(thing(additional=TEXT)), answering(thing(additional=TEXT, a=NUMBER))

    assert breaks(old, new) == [f"{ANSWER}.a: type integer isn't string"]


def test_a_word_that_is_new_in_an_answer_breaks_nothing_and_neither_does_one_that_is_gone() -> None:
    two, three = answering(TEXT | {"enum": ["a", "b"]}), answering(TEXT | {"enum": ["a", "b", "c"]})

    assert breaks(two, three) == []
    assert breaks(three, two) == []


@pytest.mark.parametrize("now", [{"const": "DPoP"}, {"enum": ["Bearer", "DPoP"]}])
def test_the_only_word_that_there_was_is_no_list_that_may_grow(now: Json) -> None:
    old, new = answering(TEXT | {"const": "Bearer"}), answering(TEXT | now)

    assert breaks(old, new) == [f"{ANSWER}: DPoP isn't among its words"]


def answering_with(**headers: Json) -> Json:
    return document(
        responses={"200": {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers}}},
        components={"headers": headers},
    )


def test_a_header_that_is_gone_breaks() -> None:
    one, two = answering_with(ETag={"schema": TEXT}), answering_with(ETag={"schema": TEXT}, Age={"schema": NUMBER})

    assert breaks(two, one) == [f"{ANSWER}: header Age is gone"]
    assert breaks(one, two) == []


def test_a_header_in_which_more_may_be_breaks() -> None:
    seconds, any_text = answering_with(Age={"schema": NUMBER}), answering_with(Age={"schema": TEXT})

    assert breaks(seconds, any_text) == [f"{ANSWER}: header Age: type string isn't integer"]


# Problems


def test_a_problem_that_is_gone_breaks_and_a_new_one_does_not() -> None:
    assert breaks(failing("late", "taken"), failing("late")) == [f"{WHERE}: 409: problem taken is gone"]
    assert breaks(failing("late"), failing("late", "taken")) == []


def test_a_status_of_which_all_problems_are_gone_breaks() -> None:
    assert breaks(failing("late"), document()) == [f"{WHERE}: 409 is gone"]


def failing_by_reference(*codes: str) -> Json:
    """The same behind references: of the response, of its schema, of the list of codes."""
    schemas = {
        "Conflict": {"allOf": [ref("Problem"), ref("OfThese")]},
        "OfThese": {"type": "object", "required": ["code"], "properties": {"code": ref("Code")}},
        "Code": {"type": "string", "enum": [*codes]},
    }
    return document(
        components={
            "responses": {"Conflict": content(ref("Conflict"), PROBLEM)},
            "schemas": SHARED | schemas,
        },
        responses={"200": {}, "409": {"$ref": "#/components/responses/Conflict"}},
    )


@pytest.mark.parametrize("new", [failing, failing_by_reference])
@pytest.mark.parametrize("old", [failing, failing_by_reference])
def test_a_problem_is_found_behind_references(old: Any, new: Any) -> None:
    assert breaks(old("late", "taken"), new("late")) == [f"{WHERE}: 409: problem taken is gone"]
    assert breaks(old("late"), new("late", "taken")) == []


def test_a_problem_with_a_model_of_its_own_is_found() -> None:
    def own(*codes: str) -> Json:
        return document(
            responses={"200": {}, "409": content(thing("code", code=TEXT | {"enum": [*codes]}), PROBLEM)},
        )

    assert breaks(own("late", "taken"), own("late")) == [f"{WHERE}: 409: problem taken is gone"]
    assert breaks(own("late"), own("late", "taken")) == []


def test_a_field_that_all_problems_had_breaks_where_it_is_gone() -> None:
    old, new = failing("late"), failing("late")
    old["components"]["schemas"]["Problem"] = thing("code", "title", code=TEXT, title=TEXT)
    new["components"]["schemas"]["Problem"] = thing("code", code=TEXT)

    assert breaks(old, new) == [f"{WHERE}: 409: title is gone"]


def test_a_field_called_code_is_no_problem_elsewhere() -> None:
    two, one = (thing("code", code=TEXT | {"enum": [*words]}) for words in ("ab", "a"))

    assert breaks(answering(two), answering(one)) == []


# Another way to write the same


@pytest.mark.parametrize("documented", [taking, answering])
def test_words_for_people_break_nothing(documented: Any) -> None:
    old = documented(thing("a", a=TEXT))
    told = {"title": "A", "description": "An a.", "examples": ["a"], "deprecated": True, "default": "a"}
    new = documented(thing("a", a=TEXT | told) | told)
    new["paths"]["/things"]["post"] |= {"summary": "Make one", "description": "One.", "tags": ["things"]}
    new["info"]["description"] = "Things."

    assert breaks(old, new) == []
    assert breaks(new, old) == []


@pytest.mark.parametrize("documented", [taking, answering])
@pytest.mark.parametrize(
    "another",
    [
        ref("Thing"),
        ref("Thing", description="A thing.", examples=["a"]),
        ref("Renamed"),
        {"allOf": [ref("Thing")], "description": "As pydantic wrote it once."},
        thing("id", id=ref("Text")),
    ],
    ids=["referred to", "described", "renamed", "allOf", "parts"],
)
def test_a_schema_that_is_written_elsewhere_is_the_same(documented: Any, another: Json) -> None:
    in_place, schemas = thing("id", id=TEXT), {"Thing": thing("id", id=TEXT), "Renamed": ref("Thing")}

    assert breaks(documented(in_place), documented(another, **schemas)) == []
    assert breaks(documented(another, **schemas), documented(in_place)) == []


@pytest.mark.parametrize("documented", [taking, answering])
def test_one_of_several_that_is_written_elsewhere_is_the_same(documented: Any) -> None:
    in_place, referred = documented(either(TEXT, NULL)), documented(either(NULL, ref("Text")))

    assert breaks(in_place, referred) == []
    assert breaks(referred, in_place) == []


def node(text: Json) -> Json:
    return thing("text", text=text, next=either(ref("Node"), NULL), others={"type": "array", "items": ref("Node")})


def test_a_schema_that_holds_itself_comes_to_an_end() -> None:
    old, new = node(TEXT), node(NUMBER)

    assert breaks(taking(ref("Node"), Node=old), taking(ref("Node"), Node=new)) == [
        f"{BODY}.text: type string isn't integer"
    ]
    assert breaks(answering(ref("Node"), Node=old), answering(ref("Node"), Node=new)) == [
        f"{ANSWER}.text: type integer isn't string"
    ]


def test_schemas_that_hold_themselves_at_other_depths_come_to_an_end() -> None:
    """Where one is a reference, the other never is."""
    twice = thing(next=thing(next=ref("Twice")))

    assert breaks(taking(ref("Twice"), Twice=twice), taking(thing(next=ref("Twice")), Twice=twice)) == []


@pytest.mark.parametrize("parts", ["items", "additionalProperties"])
def test_a_schema_of_nothing_but_itself_comes_to_an_end_beside_anything(parts: str) -> None:
    endless = {parts: ref("Endless")}

    assert breaks(taking({}), taking(endless, Endless=endless)) == []
    assert breaks(taking(endless, Endless=endless), taking({})) == []


def test_what_is_not_understood_comes_to_an_end_where_it_holds_itself() -> None:
    endless = {"type": "array", "prefixItems": [ref("Pair"), ref("Pair")]}

    assert breaks(taking(ref("Pair"), Pair=endless), taking(ref("Pair"), Pair=endless)) == []


# Any schema

VALUES: list[Any] = [None, 0, 1, 2, 1.5, "", "a", "b", "ab", [], {}]
VALUES += [
    *([one] for one in VALUES),
    *(["a", one] for one in VALUES),
    *({"a": one} for one in VALUES),
    *({"c": one} for one in VALUES),
    *({"a": one, "b": other} for one in VALUES for other in VALUES),
]


def some(**keywords: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({}, optional=keywords)


BOUND = st.integers(0, 2)
WORDS = st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, unique=True)
SIMPLE = (
    st.sampled_from([{}, TEXT, NUMBER, NULL, {"type": "number"}, {"type": ["string", "null"]}])
    | some(maxLength=BOUND, minLength=BOUND, pattern=st.sampled_from(["^a", "b$"]), enum=WORDS).map(TEXT.__or__)
    | some(maximum=BOUND, exclusiveMinimum=BOUND, multipleOf=st.just(2)).map(NUMBER.__or__)
    | st.sampled_from([{"const": 1}, {"const": "a"}, {"enum": [1, "a"]}])
)


def composed(parts: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    several = st.lists(parts, min_size=1, max_size=3)
    fields = st.dictionaries(st.sampled_from(["a", "b"]), parts)
    required = st.sets(st.sampled_from(["a", "b"]))
    # Never True: it is no break that a field is known now that could have been sent before, as any other.
    additional = st.sampled_from([False]) | parts
    return (
        st.builds(lambda a, b, c: thing(*sorted(a), additional=b, **c), required, additional, fields)
        | some(items=parts, maxItems=BOUND, minItems=BOUND).map(lambda array: {"type": "array"} | array)
        | several.map(lambda members: {"anyOf": members})
        | st.builds(lambda members, beside: {"allOf": members} | beside, several, parts)
    )


SCHEMAS = st.recursive(SIMPLE, composed, max_leaves=6)


@given(SCHEMAS, SCHEMAS)
def test_what_could_be_sent_still_can_where_nothing_is_said_to_break(old: Json, new: Json) -> None:
    """As another implementation of JSON Schema sees it."""
    if not breaks(taking(old), taking(new)):
        before, now = jsonschema_rs.Draft202012Validator(old), jsonschema_rs.Draft202012Validator(new)
        for value in VALUES:
            assert now.is_valid(value) or not before.is_valid(value), value


@given(SCHEMAS)
def test_no_schema_is_a_break_of_itself(schema: Json) -> None:
    for documented in (taking, answering):
        in_place, referred = documented(schema), documented(ref("It"), It=schema)
        assert breaks(in_place, copy.deepcopy(in_place)) == []
        assert breaks(in_place, referred) == []
        assert breaks(referred, in_place) == []


# The document of the API

CURRENT: Json = json.loads((ROOT / DOCUMENT).read_text())
SCHEMAS_OF_CURRENT: Json = CURRENT["components"]["schemas"]


def test_the_document_is_no_break_of_itself() -> None:
    assert breaks(CURRENT, copy.deepcopy(CURRENT)) == []


def answered() -> Iterator[str]:
    """The schemas of what is answered to a success, and those that they refer to."""
    found: set[str] = set()
    waiting = [
        answer
        for item in CURRENT["paths"].values()
        for operation in item.values()
        for status, answer in operation["responses"].items()
        if status.startswith("2")
    ]
    while waiting:
        part = waiting.pop()
        for name in SCHEMAS_OF_CURRENT:
            if f'"#/components/schemas/{name}"' in json.dumps(part) and name not in found:
                found.add(name)
                waiting.append(SCHEMAS_OF_CURRENT[name])
    yield from sorted(found)


FIELDS = [(name, field) for name in answered() for field in SCHEMAS_OF_CURRENT[name].get("properties", {})]


def test_fields_of_answers_are_found() -> None:
    assert {("User", "email"), ("Dependencies", "database"), ("SessionPage", "data")} <= {*FIELDS}
    assert ("MagicLinkRequest", "email") not in FIELDS


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_any_field_of_an_answer_breaks_where_it_is_gone(name: str, field: str) -> None:
    new = copy.deepcopy(CURRENT)
    schema = new["components"]["schemas"][name]
    del schema["properties"][field]
    schema["required"] = [each for each in schema.get("required", []) if each != field]

    assert any(line.endswith(f": {field} is gone") for line in breaks(CURRENT, new))


@pytest.mark.parametrize(
    ("name", "field"),
    [(name, field) for name, field in FIELDS if field in SCHEMAS_OF_CURRENT[name].get("required", [])],
)
def test_any_field_of_an_answer_breaks_where_it_may_be_missing(name: str, field: str) -> None:
    new = copy.deepcopy(CURRENT)
    new["components"]["schemas"][name]["required"].remove(field)

    assert any(line.endswith(f": {field} may be missing") for line in breaks(CURRENT, new))


def test_any_operation_breaks_where_it_is_gone() -> None:
    gone = [f"{method.upper()} {path}: is gone" for path, item in CURRENT["paths"].items() for method in item]

    assert breaks(CURRENT, CURRENT | {"paths": {}}) == sorted(gone)


def without(part: Any, keyword: str, word: str | None = None) -> Any:
    """What a part of the document would be without a keyword anywhere, or without a word in each list of it."""
    if isinstance(part, list):
        return [without(each, keyword, word) for each in part]
    if not isinstance(part, dict):
        return part
    if word is None:
        return {name: without(each, keyword) for name, each in part.items() if name != keyword}
    return {
        name: [each for each in value if each != word] if name == keyword else without(value, keyword, word)
        for name, value in part.items()
    }


def test_any_header_of_an_answer_breaks_where_it_is_gone() -> None:
    shared = CURRENT["components"]["responses"]
    gone = [
        f"{method.upper()} {path}: {status}: header {header} is gone"
        for path, item in CURRENT["paths"].items()
        for method, operation in item.items()
        for status, answer in operation["responses"].items()
        for header in shared.get(answer.get("$ref", "").rpartition("/")[2], answer)["headers"]
    ]

    assert breaks(CURRENT, without(CURRENT, "headers")) == sorted(gone)


@pytest.mark.parametrize("code", CURRENT["components"]["examples"])
def test_any_problem_breaks_where_it_is_gone(code: str) -> None:
    new = without(CURRENT, "enum", code)

    assert f"{code} is gone" in {line.partition(": problem ")[2] for line in breaks(CURRENT, new)}
    assert breaks(new, CURRENT) == []


# What is allowed

GONE = "GET /things: is gone"
WHY = 'why = "Nobody has called it since March."'


def test_a_break_that_is_not_allowed_is_refused() -> None:
    (said,) = refusals([GONE], "")

    assert said.startswith(f"breaks clients: {GONE}\n")
    assert ALLOWED in said


def test_a_break_that_is_allowed_is_not_refused() -> None:
    assert refusals([GONE], f'[[allowed]]\nbreak = "{GONE}"\n{WHY}') == []


def test_one_is_allowed_by_itself() -> None:
    (said,) = refusals([GONE, "POST /things: is gone"], f'[[allowed]]\nbreak = "{GONE}"\n{WHY}')

    assert said.startswith("breaks clients: POST /things: is gone\n")


def test_an_entry_that_allows_no_break_is_refused() -> None:
    assert refusals([], f'[[allowed]]\nbreak = "{GONE}"\n{WHY}') == [
        f"{ALLOWED} allows what is no break (any more); take it out: {GONE}"
    ]


@pytest.mark.parametrize("why", ["", 'why = ""', 'why = " "', f'{WHY}\nwho = "Ana"'])
def test_an_entry_without_a_reason_or_with_more_is_refused(why: str) -> None:
    (said,) = refusals([GONE], f'[[allowed]]\nbreak = "{GONE}"\n{why}')

    assert "must have `break` and `why`, and nothing else" in said


def test_an_entry_that_does_not_say_what_it_allows_is_refused() -> None:
    (said,) = refusals([], f"[[allowed]]\n{WHY}")

    assert "must have `break` and `why`, and nothing else" in said


@pytest.mark.parametrize("text", ["[allowed]\nbreak = 'x'\nwhy = 'y'", "[[allow]]\nbreak = 'x'\nwhy = 'y'"])
def test_a_file_that_is_not_a_list_of_entries_is_refused(text: str) -> None:
    (said,) = refusals([], text)

    assert said == f"{ALLOWED} must hold [[allowed]] entries, and nothing else"


def test_a_break_is_refused_until_it_is_allowed_and_its_entry_once_it_is_released(tmp_path: Path) -> None:
    checkout = Checkout.make(tmp_path)
    (checkout.root / ALLOWED).write_text("")
    untouched = checkout.run("tools.contract_diff.check")
    document = json.loads((checkout.root / DOCUMENT).read_text())
    del document["paths"]["/api/v1/auth/me"]["get"]
    (checkout.root / DOCUMENT).write_text(json.dumps(document))
    broken = checkout.run("tools.contract_diff.check")
    (checkout.root / ALLOWED).write_text(f'[[allowed]]\nbreak = "GET /api/v1/auth/me: is gone"\n{WHY}\n')
    allowed = checkout.run("tools.contract_diff.check")
    checkout.release()
    released = checkout.run("tools.contract_diff.check")

    assert "nothing that clients rely on has gone" in untouched.stdout
    assert broken.returncode == 1
    assert broken.stderr.startswith("contract: breaks clients: GET /api/v1/auth/me: is gone\n")
    assert "1 breaks, all of them allowed" in allowed.stdout
    assert released.returncode == 1
    assert "no break (any more); take it out: GET /api/v1/auth/me: is gone" in released.stderr
