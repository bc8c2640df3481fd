"""Cases of `breaks`: an unseen break hurts clients, a false one teaches people to allow breaks."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.api import ROOT
from tools.contract_diff import DOCUMENT
from tools.contract_diff.breaks import breaks

type Json = dict[str, Any]
PROBLEM = "application/problem+json"
WHERE = "POST /things"
BODY = f"{WHERE}: body"
RESPONSE = f"{WHERE}: 200"
PARAMETER = f"{WHERE}: query parameter q"
TEXT: Json = {"type": "string"}
NUMBER: Json = {"type": "integer"}
NULL: Json = {"type": "null"}
SHARED: Json = {"Text": TEXT, "Anything": {}, "Problem": {"type": "object", "properties": {"code": TEXT}}}


def document(*, schemas: Json | None = None, components: Json | None = None, **operation: Any) -> Json:
    """Return a document with one operation."""
    post = {"operationId": "makeThing", "responses": {"200": {"description": "Done."}}, **operation}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Things", "version": "1"},
        "paths": {"/things": {"post": post}},
        "components": {"schemas": {**SHARED, **(schemas or {})}, **(components or {})},
        "servers": [{"url": "https://api.example.com"}],
    }


def with_path(path: str, *methods: str) -> Json:
    """Return a document whose operation also has other methods, on any path."""
    more = document()
    more["paths"].setdefault(path, {}).update(dict.fromkeys(methods, more["paths"]["/things"]["post"]))
    return more


def content(schema: Json, media_type: str = "application/json") -> Json:
    return {"content": {media_type: {"schema": schema}}}


def two_contents(media_type: str) -> Json:
    return {"content": content(TEXT)["content"] | content(TEXT, media_type)["content"]}


def body(schema: Json, **schemas: Json) -> Json:
    return document(schemas=schemas, requestBody=content(schema))


def parameter(schema: Json = TEXT, **keywords: Any) -> Json:
    return document(parameters=[{"name": "q", "in": "query", "schema": schema, **keywords}])


def response(schema: Json, **schemas: Json) -> Json:
    return document(schemas=schemas, responses={"200": content(schema)})


def statuses(*codes: str) -> Json:
    return document(responses={code: {} for code in codes})


def headers(**schemas: Json) -> Json:
    return document(
        responses={"200": {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in schemas}}},
        components={"headers": {name: {"schema": schema} for name, schema in schemas.items()}},
    )


def security(*ways: Json) -> Json:
    return document(security=[*ways])


def cookie(**keywords: str) -> Json:
    scheme = {"type": "apiKey", "in": "cookie", "name": "session", **keywords}
    return document(security=[{"Cookie": []}], components={"securitySchemes": {"Cookie": scheme}})


def problems(*codes: str) -> Json:
    """Return a document with a 409, as server/audifi/core/http/openapi.py writes it."""
    conflict = thing("code", code=TEXT | {"enum": [*codes]})
    return document(responses={"200": {}, "409": content({"allOf": [ref("Problem"), conflict]}, PROBLEM)})


def problems_by_reference(*codes: str) -> Json:
    """Return the same with the response, its schema and the list of codes behind references."""
    schemas = {
        "Conflict": {"allOf": [ref("Problem"), ref("Codes")]},
        "Codes": thing("code", code=ref("Code")),
        "Code": TEXT | {"enum": [*codes]},
    }
    return document(
        components={"responses": {"Conflict": content(ref("Conflict"), PROBLEM)}, "schemas": SHARED | schemas},
        responses={"200": {}, "409": {"$ref": "#/components/responses/Conflict"}},
    )


def problems_by_model(*codes: str) -> Json:
    return document(responses={"200": {}, "409": content(thing("code", code=TEXT | {"enum": [*codes]}), PROBLEM)})


def problems_by_code(*codes: str) -> Json:
    """Return a 409 whose problems have different models, as server/audifi/core/http/openapi.py writes it."""
    conflicts = [{"allOf": [ref("Problem"), thing("code", code=TEXT | {"enum": [code]})]} for code in codes]
    return document(responses={"200": {}, "409": content({"oneOf": conflicts}, PROBLEM)})


def problem_fields(*names: str) -> Json:
    conflict = problems("late")
    conflict["components"]["schemas"]["Problem"] = thing(*names, **dict.fromkeys(names, TEXT))
    return conflict


def thing(*required: str, additional: bool | Json = True, **properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": [*required], "additionalProperties": additional}


def enum(*values: str) -> Json:
    return TEXT | {"enum": [*values]}


def either(*schemas: Json) -> Json:
    return {"anyOf": [*schemas]}


def array(**keywords: Any) -> Json:
    return {"type": "array", **keywords}


def ref(name: str, **siblings: Any) -> Json:
    return {"$ref": f"#/components/schemas/{name}", **siblings}


class Case(NamedTuple):
    """Two documents, the breaks from the first to the second, and those of the way back."""

    before: Json
    after: Json
    expected: list[str]
    reverse: list[str] | None = None
    """None where the way back doesn't matter."""


def unknown(place: str, keyword: str) -> list[str]:
    return [f"{place}: {keyword} changed, which this check doesn't understand"]


def unknown_case(before: Json, after: Json, place: str, keyword: str) -> Case:
    return Case(before, after, unknown(place, keyword), unknown(place, keyword))


def described(make: Callable[[Json], Json]) -> Json:
    words = {"title": "A", "description": "An a.", "examples": ["a"], "deprecated": True, "default": "a"}
    described = make(thing("a", a=TEXT | words) | words)
    described["paths"]["/things"]["post"] |= {"summary": "Make one", "description": "One.", "tags": ["things"]}
    described["info"]["description"] = "Things."
    return described


# (wide, narrow, what is reported where a request gets the narrow one or a response the wide one)
NARROWER: dict[str, tuple[Json, Json, str]] = {
    "type": ({}, TEXT, ": type any isn't string"),
    "integer": ({"type": "number"}, NUMBER, ": type number isn't integer"),
    "type of two": ({"type": ["string", "null"]}, TEXT, ": type ['string', 'null'] isn't string"),
    "new maximum": (NUMBER, NUMBER | {"maximum": 9}, ": maximum none isn't within 9"),
    "maximum": (NUMBER | {"maximum": 9}, NUMBER | {"maximum": 8}, ": maximum 9 isn't within 8"),
    "minimum": (NUMBER | {"minimum": 1}, NUMBER | {"minimum": 2}, ": minimum 1 isn't within 2"),
    "exclusiveMinimum": (
        NUMBER | {"minimum": 0},
        NUMBER | {"minimum": 0, "exclusiveMinimum": 0},
        ": exclusiveMinimum none isn't within 0",
    ),
    "maxLength": (TEXT | {"maxLength": 9}, TEXT | {"maxLength": 8}, ": maxLength 9 isn't within 8"),
    "minLength": (TEXT | {"minLength": 1}, TEXT | {"minLength": 2}, ": minLength 1 isn't within 2"),
    "pattern": (TEXT, TEXT | {"pattern": "^a"}, ": pattern none isn't ^a"),
    "pattern beside enum": (enum("a", "b"), enum("a", "b") | {"pattern": "^a"}, ": pattern none isn't ^a"),
    "format": (TEXT, TEXT | {"format": "uuid"}, ": format none isn't uuid"),
    "enum": (TEXT, enum("a", "b"), ": only allows a, b"),
    "enum of numbers": (NUMBER, NUMBER | {"enum": [1, 2]}, ": only allows 1, 2"),
    "const": (TEXT, TEXT | {"const": "a"}, ": only allows a"),
    "const of enum": (enum("a", "b"), TEXT | {"const": "a"}, ": b isn't allowed"),
    "not null": (either(TEXT, NULL), TEXT, ": type null isn't string"),
    "not null of three": (either(TEXT, NUMBER, NULL), either(TEXT, NUMBER), ": type null isn't string"),
    "in anyOf": (either(TEXT, NULL), either(TEXT | {"maxLength": 8}, NULL), ": maxLength none isn't within 8"),
    "beside anyOf": (either(TEXT, NULL), either(TEXT, NULL) | {"maxLength": 8}, ": maxLength none isn't within 8"),
    "beside $ref": (ref("Text"), ref("Text", maxLength=8), ": maxLength none isn't within 8"),
    "both beside $ref": (ref("Text", maxLength=9), ref("Text", maxLength=8), ": maxLength none isn't within 8"),
    "one kind fewer": (
        {"oneOf": [thing("kind", kind={"const": "a"}), thing("kind", kind={"const": "b"})]},
        {"oneOf": [thing("kind", kind={"const": "a"})]},
        ".kind: b isn't allowed",
    ),
    "one kind narrower": (
        {"oneOf": [ref("Text"), thing(x={})]},
        {"oneOf": [ref("Text"), thing(x=TEXT)]},
        ".x: type any isn't string",
    ),
    "items": (array(items={}), array(items=TEXT), "[]: type any isn't string"),
    "new items": (array(), array(items=TEXT), "[]: type any isn't string"),
    "maxItems": (array(), array(maxItems=3), ": maxItems none isn't within 3"),
    "field": (thing(a={}), thing(a=TEXT), ".a: type any isn't string"),
    "nested field": (thing(a=thing(b={})), thing(a=thing(b=TEXT)), ".a.b: type any isn't string"),
    "field not null": (thing(a=either(TEXT, NULL)), thing(a=TEXT), ".a: type null isn't string"),
    "map": (thing(additional={}), thing(additional=TEXT), ".*: type any isn't string"),
    "map of $ref": (thing(additional=ref("Anything")), thing(additional=ref("Text")), ".*: type any isn't string"),
    "new map": (thing(), thing(additional=TEXT), ".*: type any isn't string"),
    "in allOf": (
        {"allOf": [ref("Text"), {"maxLength": 9}]},
        {"allOf": [ref("Text"), {"maxLength": 8}]},
        ": maxLength none isn't within 8",
    ),
    "new in allOf": (
        {"allOf": [ref("Text")]},
        {"allOf": [ref("Text"), {"maxLength": 8}]},
        ": maxLength none isn't within 8",
    ),
}
TOKEN: Json = {"Token": []}
COOKIE: Json = {"Cookie": []}
NO_SIGN_IN = [f"{WHERE}: no sign-in is no longer enough"]
ALL_CLOSED = {"security": [TOKEN]}

OPERATIONS: dict[str, Case] = {
    "path": Case(
        with_path("/things/{id}", "get", "delete"),
        document(),
        ["DELETE /things/{id}: was removed", "GET /things/{id}: was removed"],
        [],
    ),
    "method": Case(with_path("/things", "get"), document(), ["GET /things: was removed"], []),
    "operationId": Case(
        document(), document(operationId="createThing"), [f"{WHERE}: operationId makeThing was removed"]
    ),
    "server": Case(
        document() | {"servers": [*document()["servers"], {"url": "https://old.example.com"}]},
        document(),
        ["servers: https://old.example.com was removed"],
        [],
    ),
    "document, unknown": unknown_case(document(), document() | {"webhooks": {"made": {}}}, "document", "webhooks"),
    "path, unknown": unknown_case(
        document(),
        document() | {"paths": {"/things": {**document()["paths"]["/things"], "parameters": []}}},
        "/things",
        "parameters",
    ),
    "servers, unknown": unknown_case(document(), document(servers=[{"url": "/"}]), WHERE, "servers"),
    "callbacks, unknown": unknown_case(document(), document(callbacks={"made": {}}), WHERE, "callbacks"),
    "body, unknown": unknown_case(
        body(TEXT), document(requestBody=content(TEXT) | {"x-signed": True}), BODY, "x-signed"
    ),
    "media type, unknown": unknown_case(
        body(TEXT),
        document(requestBody={"content": {"application/json": {"schema": TEXT, "encoding": {"a": {}}}}}),
        BODY,
        "encoding",
    ),
    "parameter, unknown": unknown_case(parameter(), parameter(style="deepObject"), PARAMETER, "style"),
    "response, unknown": unknown_case(
        document(), document(responses={"200": {"links": {"next": {}}}}), RESPONSE, "links"
    ),
    "sign-in": Case(security(), security(TOKEN), NO_SIGN_IN, []),
    "sign-in, explicit": Case(security({}), security(TOKEN), NO_SIGN_IN),
    "sign-in, optional": Case(security(TOKEN, {}), security(TOKEN), NO_SIGN_IN, []),
    "sign-in, by default": Case(document(), document() | ALL_CLOSED, NO_SIGN_IN),
    "sign-in, by default but not here": Case(document() | ALL_CLOSED, security() | ALL_CLOSED, []),
    "open beside a default": Case(document(), security() | ALL_CLOSED, []),
    "one scheme fewer": Case(security(TOKEN, COOKIE), security(TOKEN), [f"{WHERE}: Cookie is no longer enough"], []),
    "two schemes": Case(security(TOKEN), security(TOKEN | COOKIE), [f"{WHERE}: Token is no longer enough"], []),
    "another scheme": Case(
        security(TOKEN | COOKIE), security({"Other": []}), [f"{WHERE}: Cookie and Token is no longer enough"]
    ),
    "scope": Case(security(TOKEN), security({"Token": ["write"]}), [f"{WHERE}: Token is no longer enough"], []),
    "order of schemes": Case(security(TOKEN, COOKIE), security(COOKIE, TOKEN), []),
    "cookie's name": Case(cookie(), cookie(name="sid"), unknown("security scheme Cookie", "name")),
    "cookie's description": Case(cookie(), cookie(description="Set by sign-in."), []),
}
REQUESTS: dict[str, Case] = {
    "parameter": Case(parameter(), document(), [f"{PARAMETER} was removed"], []),
    "parameter moved": Case(
        parameter(), document(parameters=[{"name": "q", "in": "header", "schema": TEXT}]), [f"{PARAMETER} was removed"]
    ),
    "new required parameter": Case(document(), parameter(required=True), [f"{PARAMETER} is required"]),
    "required parameter": Case(parameter(), parameter(required=True), [f"{PARAMETER} is required"], []),
    "required parameter, explicit": Case(
        parameter(required=False), parameter(required=True), [f"{PARAMETER} is required"], []
    ),
    "still required parameter": Case(parameter(required=True), parameter(required=True), []),
    "new optional parameter": Case(document(), parameter(required=False), []),
    "body": Case(body(TEXT), document(), [f"{WHERE}: the body was removed"], []),
    "new required body": Case(
        document(), document(requestBody=content(TEXT) | {"required": True}), [f"{WHERE}: a body is required"]
    ),
    "required body": Case(
        body(TEXT), document(requestBody=content(TEXT) | {"required": True}), [f"{WHERE}: a body is required"], []
    ),
    "media type": Case(
        document(requestBody=two_contents("text/plain")), body(TEXT), [f"{BODY}: text/plain was removed"], []
    ),
    "field of a closed body": Case(
        body(thing(additional=False, a=TEXT, b=TEXT)), body(thing(additional=False, a=TEXT)), [f"{BODY}: b was removed"]
    ),
    "field of an open body": Case(body(thing(a=TEXT, b=TEXT)), body(thing(a=TEXT)), []),
    "closed body": Case(
        body(thing(a=TEXT)), body(thing(additional=False, a=TEXT)), [f"{BODY}: additional properties are refused"], []
    ),
    "closed empty body": Case(
        body(thing()), body(thing(additional=False)), [f"{BODY}: additional properties are refused"], []
    ),
    "field of a map": Case(
        body(thing(additional=NUMBER)), body(thing(additional=NUMBER, a=TEXT)), [f"{BODY}.a: type integer isn't string"]
    ),
    "other type": Case(body(TEXT), body(NUMBER), [f"{BODY}: type string isn't integer"]),
    "value of a body": Case(body(enum("b", "c", "a")), body(enum("a", "b")), [f"{BODY}: c isn't allowed"], []),
    "value of a parameter": Case(
        parameter(enum("b", "c", "a")), parameter(enum("a", "b")), [f"{PARAMETER}: c isn't allowed"], []
    ),
}
for additional in (True, False):
    REQUESTS |= {
        f"new required field, {additional=}": Case(
            body(thing("a", additional=additional, a=TEXT)),
            body(thing("a", "b", additional=additional, a=TEXT, b=TEXT)),
            [f"{BODY}: b is required"],
        ),
        f"required field, {additional=}": Case(
            body(thing("a", additional=additional, a=TEXT, b=TEXT)),
            body(thing("a", "b", additional=additional, a=TEXT, b=TEXT)),
            [f"{BODY}: b is required"],
        ),
        f"new optional field, {additional=}": Case(
            body(thing("a", additional=additional, a=TEXT)), body(thing("a", additional=additional, a=TEXT, b=TEXT)), []
        ),
    }

RESPONSES: dict[str, Case] = {
    "other success": Case(statuses("200"), statuses("202"), [f"{WHERE}: 200 was removed", f"{WHERE}: 202 was added"]),
    "new success": Case(statuses("200"), statuses("200", "202"), [f"{WHERE}: 202 was added"]),
    "new error": Case(statuses("200"), problems("late"), []),
    "media type": Case(
        document(responses={"200": two_contents("text/csv")}), response(TEXT), [f"{RESPONSE}: text/csv was removed"], []
    ),
    "only media type": Case(response(TEXT), document(), [f"{RESPONSE}: application/json was removed"]),
    "optional field": Case(
        response(thing("a", a=TEXT)), response(thing(a=TEXT)), [f"{RESPONSE}: a may be missing"], []
    ),
    "undescribed field": Case(response({"required": ["a"]}), response({}), [f"{RESPONSE}: a may be missing"]),
    "null": Case(
        response(thing("a", a=TEXT)),
        response(thing("a", a=either(TEXT, NULL))),
        [f"{RESPONSE}.a: type null isn't string"],
        [],
    ),
    "other type": Case(response(TEXT), response(NUMBER), [f"{RESPONSE}: type integer isn't string"]),
    "schema of the same name": Case(
        response(
            either(ref("User"), ref("Nobody")),
            User=thing("id", "name", id=TEXT, name=TEXT),
            Nobody=thing("reason", reason=TEXT),
        ),
        response(either(ref("User"), ref("Nobody")), User=thing(), Nobody=thing("reason", reason=TEXT)),
        [f"{RESPONSE}: id was removed", f"{RESPONSE}: name was removed"],
    ),
    "map": Case(
        response(thing(additional=TEXT)),
        response(thing(additional=False)),
        [f"{RESPONSE}: additional properties were removed"],
    ),
    "field of a map": Case(
        response(thing(additional=TEXT)),
        response(thing(additional=TEXT, a=NUMBER)),
        [f"{RESPONSE}.a: type integer isn't string"],
    ),
    "enum": Case(response(enum("a", "b")), response(enum("a", "b", "c")), [], []),
    "const": Case(
        response(TEXT | {"const": "Bearer"}), response(TEXT | {"const": "DPoP"}), [f"{RESPONSE}: DPoP isn't allowed"]
    ),
    "const to enum": Case(
        response(TEXT | {"const": "Bearer"}), response(enum("Bearer", "DPoP")), [f"{RESPONSE}: DPoP isn't allowed"]
    ),
    "header": Case(headers(ETag=TEXT, Age=NUMBER), headers(ETag=TEXT), [f"{RESPONSE}: header Age was removed"], []),
    "header's type": Case(
        headers(Age=NUMBER), headers(Age=TEXT), [f"{RESPONSE}: header Age: type string isn't integer"]
    ),
    "one of several models": Case(
        problems_by_code("late", "taken"), problems_by_code("late"), [f"{WHERE}: 409: problem taken was removed"]
    ),
    "all problems": Case(problems("late"), document(), [f"{WHERE}: 409 was removed"]),
    "problem's field": Case(
        problem_fields("code", "title"), problem_fields("code"), [f"{WHERE}: 409: title was removed"]
    ),
    "code of no problem": Case(
        response(thing("code", code=enum("a", "b"))), response(thing("code", code=enum("a"))), []
    ),
    "unknown keyword's reference": Case(
        response(array(prefixItems=[ref("Pair"), TEXT]), Pair=thing("a", a=TEXT)),
        response(array(prefixItems=[ref("Pair"), TEXT]), Pair=thing("b", b=TEXT)),
        unknown(RESPONSE, "prefixItems"),
    ),
    "unknown keyword's reference, resolved": Case(
        response(array(prefixItems=[ref("Pair"), TEXT]), Pair=thing("a", a=TEXT)),
        response(array(prefixItems=[thing("a", a=TEXT), TEXT])),
        [],
    ),
}
for fields in ([], ["b"]):
    for additional_schema in (True, False, TEXT):
        RESPONSES[f"field, required={fields}, additional={additional_schema}"] = Case(
            response(thing(*fields, a=TEXT, b=TEXT)),
            response(thing(additional=additional_schema, a=TEXT)),
            [f"{RESPONSE}: b was removed"],
        )
for additional in (True, False):
    RESPONSES[f"new field, {additional=}"] = Case(
        response(thing(additional=False, a=TEXT)), response(thing("b", additional=additional, a=TEXT, b=TEXT)), []
    )
for old_problems in (problems, problems_by_reference, problems_by_model):
    for new_problems in (problems, problems_by_reference, problems_by_model):
        if (old_problems is problems_by_model) == (new_problems is problems_by_model):
            RESPONSES[f"problem, {old_problems.__name__} to {new_problems.__name__}"] = Case(
                old_problems("late", "taken"), new_problems("late"), [f"{WHERE}: 409: problem taken was removed"], []
            )

SCHEMAS: dict[str, Case] = {
    "endless at other depths": Case(
        body(ref("Twice"), Twice=thing(next=thing(next=ref("Twice")))),
        body(thing(next=ref("Twice")), Twice=thing(next=thing(next=ref("Twice")))),
        [],
    ),
    "endless and unknown": Case(
        body(ref("Pair"), Pair=array(prefixItems=[ref("Pair"), ref("Pair")])),
        body(ref("Pair"), Pair=array(prefixItems=[ref("Pair"), ref("Pair")])),
        [],
    ),
}
for name, (wide, narrow, line) in NARROWER.items():
    SCHEMAS |= {
        f"{name}, body": Case(body(wide), body(narrow), [f"{BODY}{line}"], []),
        f"{name}, parameter": Case(parameter(wide), parameter(narrow), [f"{PARAMETER}{line}"], []),
        f"{name}, response": Case(response(narrow), response(wide), [f"{RESPONSE}{line}"], []),
    }
for keyword, value in {
    "not": {"const": ""},
    "prefixItems": [TEXT],
    "propertyNames": {"pattern": "^a"},
    "x-a": 1,
}.items():
    for make, place in ((body, BODY), (response, RESPONSE), (parameter, PARAMETER)):
        SCHEMAS[f"{keyword}, {make.__name__}"] = unknown_case(
            make(array()), make(array(**{keyword: value})), place, keyword
        )
for keyword in ("items", "additionalProperties"):
    SCHEMAS[f"endless {keyword}"] = Case(body({}), body(endless := {keyword: ref("Endless")}, Endless=endless), [], [])
for make, line in (
    (body, f"{BODY}.text: type string isn't integer"),
    (response, f"{RESPONSE}.text: type integer isn't string"),
):
    nodes = [
        thing("text", text=text, next=either(ref("Node"), NULL), all=array(items=ref("Node")))
        for text in (TEXT, NUMBER)
    ]
    SCHEMAS |= {
        f"endless, {make.__name__}": Case(make(ref("Node"), Node=nodes[0]), make(ref("Node"), Node=nodes[1]), [line]),
        f"described, {make.__name__}": Case(make(thing("a", a=TEXT)), described(make), [], []),
        f"order of anyOf, {make.__name__}": Case(make(either(TEXT, NULL)), make(either(NULL, ref("Text"))), [], []),
    }
    for form, same in {
        "$ref": ref("Thing"),
        "described $ref": ref("Thing", description="A thing.", examples=["a"]),
        "renamed $ref": ref("Renamed"),
        "allOf of one": {"allOf": [ref("Thing")], "description": "As an earlier pydantic wrote it."},
        "$ref in a field": thing("id", id=ref("Text")),
    }.items():
        SCHEMAS[f"{form}, {make.__name__}"] = Case(
            make(thing("id", id=TEXT)), make(same, Thing=thing("id", id=TEXT), Renamed=ref("Thing")), [], []
        )


CASES = {
    f"{group}: {name}": case
    for group, cases in {"operation": OPERATIONS, "request": REQUESTS, "response": RESPONSES, "schema": SCHEMAS}.items()
    for name, case in cases.items()
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_breaks_of_a_change(case: Case) -> None:
    assert breaks(case.before, case.after) == case.expected
    if case.reverse is not None:
        assert breaks(case.after, case.before) == case.reverse


# Any schema, compared with another implementation of JSON Schema

VALUES: list[Any] = [None, 0, 1, 2, 1.5, "", "a", "b", "ab", [], {}]
VALUES += [
    *([value] for value in VALUES),
    *(["a", value] for value in VALUES),
    *({"a": value} for value in VALUES),
    *({"c": value} for value in VALUES),
    *({"a": value, "b": other} for value in VALUES for other in VALUES),
]


def optional(**keywords: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({}, optional=keywords)


BOUND = st.integers(0, 2)
ENUM = st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, unique=True)
SIMPLE = (
    st.sampled_from([{}, TEXT, NUMBER, NULL, {"type": "number"}, {"type": ["string", "null"]}])
    | optional(maxLength=BOUND, minLength=BOUND, pattern=st.sampled_from(["^a", "b$"]), enum=ENUM).map(TEXT.__or__)
    | optional(maximum=BOUND, exclusiveMinimum=BOUND, multipleOf=st.just(2)).map(NUMBER.__or__)
    | st.sampled_from([{"const": 1}, {"const": "a"}, {"enum": [1, "a"]}])
)


def composed(parts: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    several = st.lists(parts, min_size=1, max_size=3)
    properties = st.dictionaries(st.sampled_from(["a", "b"]), parts)
    required = st.sets(st.sampled_from(["a", "b"]))
    # Never True: describing a property that could already be sent is no break.
    additional = st.sampled_from([False]) | parts
    return (
        st.builds(lambda a, b, c: thing(*sorted(a), additional=b, **c), required, additional, properties)
        | optional(items=parts, maxItems=BOUND, minItems=BOUND).map(lambda keywords: array(**keywords))
        | several.map(lambda members: {"anyOf": members})
        | st.builds(lambda members, siblings: {"allOf": members} | siblings, several, parts)
    )


ANY_SCHEMA = st.recursive(SIMPLE, composed, max_leaves=6)


@given(ANY_SCHEMA, ANY_SCHEMA)
def test_values_stay_valid_where_no_break_is_reported(old: Json, new: Json) -> None:
    if not breaks(body(old), body(new)):
        before, after = jsonschema_rs.Draft202012Validator(old), jsonschema_rs.Draft202012Validator(new)
        for value in VALUES:
            assert after.is_valid(value) or not before.is_valid(value), value


@given(ANY_SCHEMA)
def test_schema_does_not_break_itself(schema: Json) -> None:
    for make in (body, response):
        inline, referred = make(schema), make(ref("It"), It=schema)
        assert breaks(inline, copy.deepcopy(inline)) == []
        assert breaks(inline, referred) == []
        assert breaks(referred, inline) == []


# The API's document

CURRENT: Json = json.loads((ROOT / DOCUMENT).read_text())
CURRENT_SCHEMAS: Json = CURRENT["components"]["schemas"]


def test_current_document_does_not_break_itself() -> None:
    assert breaks(CURRENT, copy.deepcopy(CURRENT)) == []


def success_schemas() -> list[str]:
    """Return the schemas of successful responses, and the schemas that these refer to."""
    names: set[str] = set()
    parts = [
        answer
        for item in CURRENT["paths"].values()
        for operation in item.values()
        for status, answer in operation["responses"].items()
        if status.startswith("2")
    ]
    while parts:
        text = json.dumps(parts.pop())
        new = {name for name in CURRENT_SCHEMAS if f'"#/components/schemas/{name}"' in text} - names
        names |= new
        parts += [CURRENT_SCHEMAS[name] for name in new]
    return sorted(names)


def test_response_schemas_are_collected() -> None:
    assert {"User", "Dependencies", "SessionPage"} <= {*success_schemas()}
    assert "MagicLinkRequest" not in success_schemas()


def test_making_any_response_field_optional_breaks() -> None:
    new = copy.deepcopy(CURRENT)
    fields: set[str] = set()
    for name in success_schemas():
        fields |= set(new["components"]["schemas"][name].pop("required", []))

    breaking = {line.rpartition(": ")[2] for line in breaks(CURRENT, new)}
    assert breaking == {f"{field} may be missing" for field in fields}


def test_removing_any_response_field_breaks() -> None:
    """Fields of fields stay: if the outer one is gone, the check can't see the inner ones."""
    new = copy.deepcopy(CURRENT)
    fields: set[str] = set()
    for name in success_schemas():
        schema = new["components"]["schemas"][name]
        plain = {field for field, value in schema.get("properties", {}).items() if "$ref" not in json.dumps(value)}
        schema["required"] = [field for field in schema.get("required", []) if field not in plain]
        fields |= {field for field in plain if schema["properties"].pop(field)}

    breaking = {line.rpartition(": ")[2] for line in breaks(CURRENT, new)}
    assert breaking >= {f"{field} was removed" for field in fields}


def test_removing_any_operation_breaks() -> None:
    expected = [f"{method.upper()} {path}: was removed" for path, item in CURRENT["paths"].items() for method in item]

    assert breaks(CURRENT, CURRENT | {"paths": {}}) == sorted(expected)


def without(part: Any, keyword: str) -> Any:
    """Return a part of the document without a keyword anywhere."""
    if isinstance(part, list):
        return [without(member, keyword) for member in part]
    if not isinstance(part, dict):
        return part
    kept = {name: member for name, member in part.items() if name != keyword}
    names = kept.pop("properties", {})  # fields of a body, which may have any name
    fields = {"properties": {name: without(field, keyword) for name, field in names.items()}} if names else {}
    return {name: without(member, keyword) for name, member in kept.items()} | fields


def without_codes(part: Any, codes: set[str]) -> Any:
    """Return a part of the document without these values in its enums."""
    if isinstance(part, list):
        return [without_codes(member, codes) for member in part]
    if not isinstance(part, dict):
        return part
    return {
        name: [value for value in member if value not in codes] if name == "enum" else without_codes(member, codes)
        for name, member in part.items()
    }


def documented_headers() -> Iterator[str]:
    shared = CURRENT["components"]["responses"]
    for path, item in CURRENT["paths"].items():
        for method, operation in item.items():
            for status, answer in operation["responses"].items():
                for header in shared.get(answer.get("$ref", "").rpartition("/")[2], answer)["headers"]:
                    yield f"{method.upper()} {path}: {status}: header {header} was removed"


def test_removing_any_response_header_breaks() -> None:
    assert breaks(CURRENT, without(CURRENT, "headers")) == sorted(documented_headers())


def test_removing_any_problem_breaks() -> None:
    codes = {*CURRENT["components"]["examples"]}
    new = without_codes(CURRENT, codes)

    assert {line.partition(": problem ")[2] for line in breaks(CURRENT, new)} >= {
        f"{code} was removed" for code in codes
    }
    assert breaks(new, CURRENT) == []
