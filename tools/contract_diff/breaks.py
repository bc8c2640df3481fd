"""What would break clients that were built against an earlier OpenAPI document.

oasdiff does this for any document, but is a Go program that neither PyPI nor npm has. This does it for what FastAPI and
pydantic write, and takes what it doesn't know for a break: it may cry wolf, but sees one.

Clients are told (`info.description`) that answers may get new fields, lists of words new words, and any request new
problems: none of these is a break.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

type Schema = Mapping[str, Any]
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
PROBLEM = "application/problem+json"
SAYS_NOTHING = {
    *("title", "summary", "description", "examples", "example", "default", "deprecated", "discriminator"),
    *("tags", "externalDocs"),
}
AT_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
AT_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
SAME = ("pattern", "format", "multipleOf", "uniqueItems", "contentMediaType", "contentEncoding")
OF_SCHEMAS = (
    *(*AT_MOST, *AT_LEAST, *SAME, "type", "enum", "const"),
    *("properties", "required", "additionalProperties", "items"),
)
TYPES = {"null", "boolean", "object", "array", "number", "integer", "string"}
ANYTHING: Schema = {}


def breaks(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """A line for each: where, and what. They are stable, to be allowed by."""
    before, now = Side(old, old), Side(new, new)
    understood = ("openapi", "info", "servers", "paths", "components", "security")
    return sorted(
        {
            *_unknown(before, now, "document", *understood),
            *_servers(old, new),
            *_security_schemes(before, now),
            *_operations(old, new),
        }
    )


@dataclass(frozen=True)
class Side:
    """A part of one of the two documents."""

    document: Mapping[str, Any]
    part: Mapping[str, Any]

    def at(self, part: Mapping[str, Any]) -> "Side":
        """Another part of the same document, behind its reference."""
        while part.keys() - SAYS_NOTHING == {"$ref"}:
            part = self._referred(part["$ref"])
        return Side(self.document, part)

    def together(self) -> list[Schema]:
        """The schemas that a value must all fulfil to fulfil this one; none is a reference or an allOf any more."""
        own = {name: said for name, said in self.part.items() if name not in ("$ref", "allOf", "anyOf", "oneOf")}
        members = [*self.part.get("allOf", [])]
        if "$ref" in self.part:
            members.append(self._referred(self.part["$ref"]))
        found = [each for member in members for each in Side(self.document, member).together()]
        found += [{name: self.part[name]} for name in ("anyOf", "oneOf") if name in self.part]
        return [*found, own] if own.keys() - SAYS_NOTHING or not found else found

    def spelled_out(self, said: Any, above: Sequence[str] = ()) -> Any:
        """What it says, with that in it which it only refers to; but for what holds itself."""
        if isinstance(said, list):
            return [self.spelled_out(each, above) for each in said]
        if not isinstance(said, dict):
            return said
        reference = said.get("$ref")
        if isinstance(reference, str) and reference not in above:
            beside = {name: each for name, each in said.items() if name != "$ref"}
            return self.spelled_out({**self._referred(reference), **beside}, [*above, reference])
        return {name: self.spelled_out(each, above) for name, each in said.items()}

    def _referred(self, reference: str) -> Mapping[str, Any]:
        found: Any = self.document
        for name in reference.removeprefix("#/").split("/"):
            found = found[name.replace("~1", "/").replace("~0", "~")]
        part: Mapping[str, Any] = found
        return part


def _unknown(old: Side, new: Side, place: str, *understood: str) -> Iterator[str]:
    for keyword in (old.part.keys() | new.part.keys()) - SAYS_NOTHING - set(understood):
        if old.spelled_out(old.part.get(keyword)) != new.spelled_out(new.part.get(keyword)):
            yield f"{place}: {keyword} differs, and nobody here knows what that means"


def _servers(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    gone = {server["url"] for server in old.get("servers", [])} - {server["url"] for server in new.get("servers", [])}
    yield from (f"servers: {url} is gone" for url in gone)


def _security_schemes(old: Side, new: Side) -> Iterator[str]:
    """One that is gone is found where it is asked for."""
    before, now = (side.part.get("components", {}).get("securitySchemes", {}) for side in (old, new))
    for name in before.keys() & now.keys():
        yield from _unknown(old.at(before[name]), new.at(now[name]), f"security scheme {name}", "bearerFormat")


def _operations(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for path, item in old["paths"].items():
        item_now = new["paths"].get(path, {})
        if item_now:
            yield from _unknown(Side(old, item), Side(new, item_now), path, *METHODS)
        for method in METHODS:
            if method in item:
                where = f"{method.upper()} {path}"
                if method not in item_now:
                    yield f"{where}: is gone"
                else:
                    yield from _operation(Side(old, item[method]), Side(new, item_now[method]), where)


def _operation(old: Side, new: Side, where: str) -> Iterator[str]:
    yield from _unknown(old, new, where, "operationId", "security", "parameters", "requestBody", "responses")
    if old.part["operationId"] != new.part["operationId"]:
        yield f"{where}: operationId {old.part['operationId']} is gone"
    yield from _security(old, new, where)
    yield from _parameters(old, new, where)
    yield from _request_body(old, new, where)
    yield from _responses(old, new, where)


def _security(old: Side, new: Side, where: str) -> Iterator[str]:
    """Each is a list of ways; what was enough must still be."""
    ways_now = _ways(new)
    for way in _ways(old):
        if not any(now <= way for now in ways_now):
            yield f"{where}: {' and '.join(sorted(way)) or 'no sign-in'} is no longer enough"


def _ways(operation: Side) -> list[set[str]]:
    """What each takes: schemes, and scopes of them."""
    ways = operation.part.get("security", operation.document.get("security")) or [{}]
    return [{*way, *(f"{scheme}:{scope}" for scheme in way for scope in way[scheme])} for way in ways]


def _parameters(old: Side, new: Side, where: str) -> Iterator[str]:
    before, now = (
        {f"{each['in']} parameter {each['name']}": each for each in side.part.get("parameters", [])}
        for side in (old, new)
    )
    for name, parameter in before.items():
        if name not in now:
            yield f"{where}: {name} is gone"
        else:
            was, is_now = Side(old.document, parameter), Side(new.document, now[name])
            yield from _unknown(was, is_now, f"{where}: {name}", "in", "name", "required", "schema")
            yield from _narrowed(was, is_now, f"{where}: {name}", "request")
    for name, parameter in now.items():
        if parameter.get("required") and not before.get(name, {}).get("required"):
            yield f"{where}: {name} is required"


def _request_body(old: Side, new: Side, where: str) -> Iterator[str]:
    before, now = (side.at(side.part.get("requestBody", {})) for side in (old, new))
    if before.part and not now.part:
        yield f"{where}: its body is gone"
    if now.part.get("required") and not before.part.get("required"):
        yield f"{where}: a body is required"
    if before.part and now.part:
        yield from _unknown(before, now, f"{where}: body", "required", "content")
        yield from _content(before, now, f"{where}: body", "request")


def _responses(old: Side, new: Side, where: str) -> Iterator[str]:
    for status, answer in old.part["responses"].items():
        place = f"{where}: {status}"
        before = old.at(answer)
        if status in new.part["responses"]:
            now = new.at(new.part["responses"][status])
            yield from _unknown(before, now, place, "headers", "content")
            yield from _headers(before, now, place)
            yield from _content(before, now, place, "response")
            yield from (f"{place}: problem {code} is gone" for code in _codes(before) - _codes(now))
        elif status.startswith("2") or _codes(before):
            yield f"{place} is gone"
    for status in new.part["responses"].keys() - old.part["responses"].keys():
        if status.startswith("2"):
            yield f"{where}: {status} is new"


def _headers(old: Side, new: Side, place: str) -> Iterator[str]:
    before, now = old.part.get("headers", {}), new.part.get("headers", {})
    for name, header in before.items():
        if name not in now:
            yield f"{place}: header {name} is gone"
        else:
            was, is_now = old.at(header), new.at(now[name])
            yield from _unknown(was, is_now, f"{place}: header {name}", "schema")
            yield from _narrowed(was, is_now, f"{place}: header {name}", "response")


def _codes(answer: Side) -> set[str]:
    """Of problems: what clients decide by. Here a word that has gone matters, too."""
    schema = answer.part.get("content", {}).get(PROBLEM, {}).get("schema", {})
    codes = [part.get("properties", {}).get("code", {}) for part in Side(answer.document, schema).together()]
    return {word for code in codes for word in _words(answer.at(code).part)}


def _content(old: Side, new: Side, place: str, direction: Literal["request", "response"]) -> Iterator[str]:
    before, now = old.part.get("content", {}), new.part.get("content", {})
    for media_type, content in before.items():
        if media_type not in now:
            yield f"{place}: {media_type} is gone"
        else:
            was, is_now = Side(old.document, content), Side(new.document, now[media_type])
            yield from _unknown(was, is_now, place, "schema")
            yield from _narrowed(was, is_now, place, direction)


def _narrowed(old: Side, new: Side, place: str, direction: Literal["request", "response"]) -> Iterator[str]:
    """What a client sent must still be taken; what it gets must be what it could have got."""
    before, now = old.part.get("schema", ANYTHING), new.part.get("schema", ANYTHING)
    if direction == "request":
        yield from Comparison(old.document, new.document, may_grow=False).excess(before, now, place, ())
    else:
        yield from Comparison(new.document, old.document, may_grow=True).excess(now, before, place, ())


@dataclass(frozen=True)
class Comparison:
    """Whether all values of one schema are values of another."""

    inner: Mapping[str, Any]
    """The document of the schema that should be within."""
    outer: Mapping[str, Any]
    may_grow: bool
    """Whether the inner may have properties and words that the outer doesn't name; then it must have all of its."""

    def excess(self, inner: Schema, outer: Schema, place: str, above: Sequence[tuple[Schema, Schema]]) -> Iterator[str]:
        """What the inner one lets through and the outer doesn't.

        Args:
            above: the pairs that are being compared; a schema may hold itself.
        """
        inner, outer = Side(self.inner, inner).at(inner).part, Side(self.outer, outer).at(outer).part
        if any(inner is one and outer is other for one, other in above):
            return
        above = [*above, (inner, outer)]
        inners = Side(self.inner, inner).together()
        for other in Side(self.outer, outer).together():
            # One that is within is enough; where none is, the nearest tells best what is wrong.
            yield from min((list(self._excess_of(one, other, place, above)) for one in inners), key=len)

    def _excess_of(
        self, inner: Schema, outer: Schema, place: str, above: Sequence[tuple[Schema, Schema]]
    ) -> Iterator[str]:
        narrow, wide = _alternatives(inner), _alternatives(outer)
        if narrow or wide:
            for one in narrow or [inner]:
                yield from self._excess_of_all(one, wide or [outer], place, above)
            return
        yield from _unknown(Side(self.inner, inner), Side(self.outer, outer), place, *OF_SCHEMAS)
        yield from self._values(inner, outer, place)
        if "items" in outer:
            yield from self.excess(inner.get("items", ANYTHING), outer["items"], f"{place}[]", above)
        yield from self._properties(inner, outer, place, above)

    def _excess_of_all(
        self, inner: Schema, outers: Sequence[Schema], place: str, above: Sequence[tuple[Schema, Schema]]
    ) -> list[str]:
        """None if it is within one of them; if it isn't, what its namesake says of it, or else the nearest."""
        found = [list(self.excess(inner, outer, place, above)) for outer in outers]
        namesakes = [
            lines for lines, outer in zip(found, outers, strict=True) if outer.get("$ref") == inner.get("$ref")
        ]
        return min(namesakes or found if all(found) else found, key=len)

    def _values(self, inner: Schema, outer: Schema, place: str) -> Iterator[str]:
        if not _types(inner) <= _types(outer):
            yield f"{place}: type {inner.get('type', 'any')} isn't {outer['type']}"
        words, allowed = _words(inner), _words(outer)
        if allowed and not words:
            yield f"{place}: only {', '.join(map(str, allowed))}"
        elif allowed and ("const" in outer or not self.may_grow):
            yield from (f"{place}: {word} isn't among its words" for word in words if word not in allowed)
        for keyword in SAME:
            if keyword in outer and outer[keyword] != inner.get(keyword):
                yield f"{place}: {keyword} {inner.get(keyword, 'none')} isn't {outer[keyword]}"
        for keyword in AT_MOST:
            if keyword in outer and inner.get(keyword, float("inf")) > outer[keyword]:
                yield f"{place}: {keyword} {inner.get(keyword, 'none')} isn't within {outer[keyword]}"
        for keyword in AT_LEAST:
            if keyword in outer and inner.get(keyword, float("-inf")) < outer[keyword]:
                yield f"{place}: {keyword} {inner.get(keyword, 'none')} isn't within {outer[keyword]}"

    def _properties(
        self, inner: Schema, outer: Schema, place: str, above: Sequence[tuple[Schema, Schema]]
    ) -> Iterator[str]:
        within, around = inner.get("properties", {}), outer.get("properties", {})
        others, allowed = (schema.get("additionalProperties", True) for schema in (inner, outer))
        for name in set(outer.get("required", [])) - set(inner.get("required", [])):
            if not self.may_grow:
                yield f"{place}: {name} is required"
            elif name in within or name not in around:
                yield f"{place}: {name} may be missing"
        for name in within.keys() | around.keys():
            one, other = within.get(name, others), around.get(name, allowed)
            if (self.may_grow and name not in within) or (not self.may_grow and other is False):
                yield f"{place}: {name} is gone"
            elif isinstance(one, Mapping) and isinstance(other, Mapping):
                yield from self.excess(one, other, f"{place}.{name}", above)
        if isinstance(allowed, Mapping) and others is not False:
            yield from self.excess(ANYTHING if others is True else others, allowed, f"{place}.*", above)
        elif self.may_grow and isinstance(allowed, Mapping):
            yield f"{place}: other fields are gone"
        elif not self.may_grow and allowed is False and others is not False:
            yield f"{place}: other fields are refused"


def _alternatives(schema: Schema) -> list[Schema]:
    """Of oneOf as of anyOf: pydantic writes it for what a field tells apart."""
    return [*schema.get("anyOf", []), *schema.get("oneOf", [])]


def _types(schema: Schema) -> set[str]:
    said = schema.get("type", TYPES)
    types = {said} if isinstance(said, str) else set(said)
    return types | {"integer"} if "number" in types else types


def _words(schema: Schema) -> list[Any]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum", []))
