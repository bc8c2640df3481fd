"""Finds the changes of an OpenAPI document that break clients built against an earlier one.

oasdiff does this for any document, but is a Go program that neither PyPI nor npm has. This module does it for
what FastAPI and pydantic write. A change that it doesn't understand counts as a break.

The API announces (`info.description`) that responses may get new fields, enums new values and operations new problems:
none of them is a break.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

type Schema = Mapping[str, Any]
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
PROBLEM = "application/problem+json"
ANNOTATIONS = {
    *("title", "summary", "description", "examples", "example", "default", "deprecated", "discriminator"),
    *("tags", "externalDocs"),
}
UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
EXACT = ("pattern", "format", "multipleOf", "uniqueItems", "contentMediaType", "contentEncoding")
SCHEMA_KEYWORDS = (
    *(*UPPER_BOUNDS, *LOWER_BOUNDS, *EXACT, "type", "enum", "const"),
    *("properties", "required", "additionalProperties", "items"),
)
TYPES = {"null", "boolean", "object", "array", "number", "integer", "string"}
ANYTHING: Schema = {}


def breaks(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return a line for each break: where and what. Lines are stable: openapi.breaks.toml quotes them."""
    before, after = Side(old, old), Side(new, new)
    known = ("openapi", "info", "servers", "paths", "components", "security")
    return sorted(
        {
            *_unknown(before, after, "document", *known),
            *_servers(old, new),
            *_security_schemes(before, after),
            *_operations(old, new),
        }
    )


@dataclass(frozen=True)
class Side:
    """A part of one of the two documents."""

    document: Mapping[str, Any]
    part: Mapping[str, Any]

    def at(self, part: Mapping[str, Any]) -> "Side":
        """Return another part of the same document, with its references followed."""
        while part.keys() - ANNOTATIONS == {"$ref"}:
            part = self._referred(part["$ref"])
        return Side(self.document, part)

    def flatten(self) -> list[Schema]:
        """Return the schemas that a value of this one matches, all of them, without references and allOf."""
        keywords = {name: value for name, value in self.part.items() if name not in ("$ref", "allOf", "anyOf", "oneOf")}
        members = [*self.part.get("allOf", [])]
        if "$ref" in self.part:
            members.append(self._referred(self.part["$ref"]))
        schemas = [schema for member in members for schema in Side(self.document, member).flatten()]
        schemas += [{name: self.part[name]} for name in ("anyOf", "oneOf") if name in self.part]
        return [*schemas, keywords] if keywords.keys() - ANNOTATIONS or not schemas else schemas

    def resolve(self, value: Any, parents: Sequence[str] = ()) -> Any:
        """Return a value with its references replaced, except those to a schema that contains them."""
        if isinstance(value, list):
            return [self.resolve(member, parents) for member in value]
        if not isinstance(value, dict):
            return value
        reference = value.get("$ref")
        if isinstance(reference, str) and reference not in parents:
            siblings = {name: member for name, member in value.items() if name != "$ref"}
            return self.resolve({**self._referred(reference), **siblings}, [*parents, reference])
        return {name: self.resolve(member, parents) for name, member in value.items()}

    def _referred(self, reference: str) -> Mapping[str, Any]:
        part: Any = self.document
        for name in reference.removeprefix("#/").split("/"):
            part = part[name.replace("~1", "/").replace("~0", "~")]
        return cast("Mapping[str, Any]", part)


def _unknown(old: Side, new: Side, place: str, *known: str) -> Iterator[str]:
    for keyword in (old.part.keys() | new.part.keys()) - ANNOTATIONS - set(known):
        if old.resolve(old.part.get(keyword)) != new.resolve(new.part.get(keyword)):
            yield f"{place}: {keyword} changed, which this check doesn't understand"


def _servers(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    urls, urls_after = ({server["url"] for server in document.get("servers", [])} for document in (old, new))
    yield from (f"servers: {url} was removed" for url in urls - urls_after)


def _security_schemes(old: Side, new: Side) -> Iterator[str]:
    """Compare the schemes of both documents. A removed one is reported by the operations that require it."""
    before, after = (side.part.get("components", {}).get("securitySchemes", {}) for side in (old, new))
    for name in before.keys() & after.keys():
        yield from _unknown(old.at(before[name]), new.at(after[name]), f"security scheme {name}", "bearerFormat")


def _operations(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for path, item in old["paths"].items():
        item_after = new["paths"].get(path, {})
        if item_after:
            yield from _unknown(Side(old, item), Side(new, item_after), path, *METHODS)
        for method in METHODS:
            if method in item:
                where = f"{method.upper()} {path}"
                if method not in item_after:
                    yield f"{where}: was removed"
                else:
                    yield from _operation(Side(old, item[method]), Side(new, item_after[method]), where)


def _operation(old: Side, new: Side, where: str) -> Iterator[str]:
    yield from _unknown(old, new, where, "operationId", "security", "parameters", "requestBody", "responses")
    if old.part["operationId"] != new.part["operationId"]:
        yield f"{where}: operationId {old.part['operationId']} was removed"
    yield from _security(old, new, where)
    yield from _parameters(old, new, where)
    yield from _request_body(old, new, where)
    yield from _responses(old, new, where)


def _security(old: Side, new: Side, where: str) -> Iterator[str]:
    """Compare the lists of alternatives: each that was enough must still be."""
    after = _ways(new)
    for way in _ways(old):
        if not any(other <= way for other in after):
            yield f"{where}: {' and '.join(sorted(way)) or 'no sign-in'} is no longer enough"


def _ways(operation: Side) -> list[set[str]]:
    """Return each alternative as a set of schemes and their scopes."""
    ways = operation.part.get("security", operation.document.get("security")) or [{}]
    return [{*way, *(f"{scheme}:{scope}" for scheme in way for scope in way[scheme])} for way in ways]


def _parameters(old: Side, new: Side, where: str) -> Iterator[str]:
    before, after = (
        {f"{parameter['in']} parameter {parameter['name']}": parameter for parameter in side.part.get("parameters", [])}
        for side in (old, new)
    )
    for name, parameter in before.items():
        if name not in after:
            yield f"{where}: {name} was removed"
        else:
            one_before, one_after = Side(old.document, parameter), Side(new.document, after[name])
            yield from _unknown(one_before, one_after, f"{where}: {name}", "in", "name", "required", "schema")
            yield from _narrowed(one_before, one_after, f"{where}: {name}", "request")
    for name, parameter in after.items():
        if parameter.get("required") and not before.get(name, {}).get("required"):
            yield f"{where}: {name} is required"


def _request_body(old: Side, new: Side, where: str) -> Iterator[str]:
    before, after = (side.at(side.part.get("requestBody", {})) for side in (old, new))
    if before.part and not after.part:
        yield f"{where}: the body was removed"
    if after.part.get("required") and not before.part.get("required"):
        yield f"{where}: a body is required"
    if before.part and after.part:
        yield from _unknown(before, after, f"{where}: body", "required", "content")
        yield from _content(before, after, f"{where}: body", "request")


def _responses(old: Side, new: Side, where: str) -> Iterator[str]:
    for status, answer in old.part["responses"].items():
        place = f"{where}: {status}"
        before = old.at(answer)
        if status in new.part["responses"]:
            after = new.at(new.part["responses"][status])
            yield from _unknown(before, after, place, "headers", "content")
            yield from _headers(before, after, place)
            yield from _content(before, after, place, "response")
            yield from (f"{place}: problem {code} was removed" for code in _codes(before) - _codes(after))
        elif status.startswith("2") or _codes(before):
            yield f"{place} was removed"
    for status in new.part["responses"].keys() - old.part["responses"].keys():
        if status.startswith("2"):
            yield f"{where}: {status} was added"


def _headers(old: Side, new: Side, place: str) -> Iterator[str]:
    before, after = old.part.get("headers", {}), new.part.get("headers", {})
    for name, header in before.items():
        if name not in after:
            yield f"{place}: header {name} was removed"
        else:
            one_before, one_after = old.at(header), new.at(after[name])
            yield from _unknown(one_before, one_after, f"{place}: header {name}", "schema")
            yield from _narrowed(one_before, one_after, f"{place}: header {name}", "response")


def _codes(answer: Side) -> set[str]:
    """Return the codes of problems. Clients compare them, so a removed code is a break."""
    schema = answer.part.get("content", {}).get(PROBLEM, {}).get("schema", {})
    parts = Side(answer.document, schema).flatten()
    for alternative in [each for part in parts for each in _alternatives(part)]:
        parts += Side(answer.document, alternative).flatten()
    codes = [part.get("properties", {}).get("code", {}) for part in parts]
    return {value for code in codes for value in _values_of(answer.at(code).part)}


def _content(old: Side, new: Side, place: str, direction: Literal["request", "response"]) -> Iterator[str]:
    before, after = old.part.get("content", {}), new.part.get("content", {})
    for media_type, content in before.items():
        if media_type not in after:
            yield f"{place}: {media_type} was removed"
        else:
            one_before, one_after = Side(old.document, content), Side(new.document, after[media_type])
            yield from _unknown(one_before, one_after, place, "schema")
            yield from _narrowed(one_before, one_after, place, direction)


def _narrowed(old: Side, new: Side, place: str, direction: Literal["request", "response"]) -> Iterator[str]:
    """Find requests that are no longer accepted and responses that were not possible before."""
    before, after = old.part.get("schema", ANYTHING), new.part.get("schema", ANYTHING)
    if direction == "request":
        yield from Comparison(old.document, new.document, may_grow=False).excess(before, after, place, ())
    else:
        yield from Comparison(new.document, old.document, may_grow=True).excess(after, before, place, ())


@dataclass(frozen=True)
class Comparison:
    """Compares two schemas: is each value of the inner one a value of the outer one?"""

    inner: Mapping[str, Any]
    """The document of the inner schema."""
    outer: Mapping[str, Any]
    """The document of the outer schema."""
    may_grow: bool
    """Whether the inner schema may add properties and enum values; then it must have all properties of the outer."""

    def excess(self, inner: Schema, outer: Schema, place: str, above: Sequence[tuple[Schema, Schema]]) -> Iterator[str]:
        """Yield a line for what the inner schema allows and the outer doesn't.

        Args:
            inner: the schema with fewer values.
            outer: the schema with more values.
            place: where they are, for the lines.
            above: the pairs that are being compared already; a schema may contain itself.
        """
        inner, outer = Side(self.inner, inner).at(inner).part, Side(self.outer, outer).at(outer).part
        if any(inner is first and outer is second for first, second in above):
            return
        above = [*above, (inner, outer)]
        inners = Side(self.inner, inner).flatten()
        for other in Side(self.outer, outer).flatten():
            # One inner schema within it is enough. Otherwise the nearest one explains best.
            yield from min((list(self._excess_of(schema, other, place, above)) for schema in inners), key=len)

    def _excess_of(
        self, inner: Schema, outer: Schema, place: str, above: Sequence[tuple[Schema, Schema]]
    ) -> Iterator[str]:
        narrow, wide = _alternatives(inner), _alternatives(outer)
        if narrow or wide:
            for schema in narrow or [inner]:
                yield from self._excess_of_all(schema, wide or [outer], place, above)
            return
        yield from _unknown(Side(self.inner, inner), Side(self.outer, outer), place, *SCHEMA_KEYWORDS)
        yield from self._values(inner, outer, place)
        if "items" in outer:
            yield from self.excess(inner.get("items", ANYTHING), outer["items"], f"{place}[]", above)
        yield from self._properties(inner, outer, place, above)

    def _excess_of_all(
        self, inner: Schema, outers: Sequence[Schema], place: str, above: Sequence[tuple[Schema, Schema]]
    ) -> list[str]:
        """Return nothing if one outer schema has all values, else the lines of its namesake or of the nearest."""
        results = [list(self.excess(inner, outer, place, above)) for outer in outers]
        namesakes = [
            lines for lines, outer in zip(results, outers, strict=True) if outer.get("$ref") == inner.get("$ref")
        ]
        return min(namesakes or results if all(results) else results, key=len)

    def _values(self, inner: Schema, outer: Schema, place: str) -> Iterator[str]:
        if not _types(inner) <= _types(outer):
            yield f"{place}: type {inner.get('type', 'any')} isn't {outer['type']}"
        values, allowed = _values_of(inner), _values_of(outer)
        if allowed and not values:
            yield f"{place}: only allows {', '.join(map(str, allowed))}"
        elif allowed and ("const" in outer or not self.may_grow):
            yield from (f"{place}: {value} isn't allowed" for value in values if value not in allowed)
        for keyword in EXACT:
            if keyword in outer and outer[keyword] != inner.get(keyword):
                yield f"{place}: {keyword} {inner.get(keyword, 'none')} isn't {outer[keyword]}"
        for keyword in UPPER_BOUNDS:
            if keyword in outer and inner.get(keyword, float("inf")) > outer[keyword]:
                yield f"{place}: {keyword} {inner.get(keyword, 'none')} isn't within {outer[keyword]}"
        for keyword in LOWER_BOUNDS:
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
            schema, other = within.get(name, others), around.get(name, allowed)
            if (self.may_grow and name not in within) or (not self.may_grow and other is False):
                yield f"{place}: {name} was removed"
            elif isinstance(schema, Mapping) and isinstance(other, Mapping):
                yield from self.excess(schema, other, f"{place}.{name}", above)
        if isinstance(allowed, Mapping) and others is not False:
            yield from self.excess(ANYTHING if others is True else others, allowed, f"{place}.*", above)
        elif self.may_grow and isinstance(allowed, Mapping):
            yield f"{place}: additional properties were removed"
        elif not self.may_grow and allowed is False and others is not False:
            yield f"{place}: additional properties are refused"


def _alternatives(schema: Schema) -> list[Schema]:
    """Return the schemas of anyOf and oneOf, which pydantic writes for a discriminated union."""
    return [*schema.get("anyOf", []), *schema.get("oneOf", [])]


def _types(schema: Schema) -> set[str]:
    declared = schema.get("type", TYPES)
    types = {declared} if isinstance(declared, str) else set(declared)
    return types | {"integer"} if "number" in types else types


def _values_of(schema: Schema) -> list[Any]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum", []))
