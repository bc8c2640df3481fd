"""Form-encoded parameters with brackets: `items[0][price]=…`, `expand[]=…` (https://docs.stripe.com/api)."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

from tools.stripe_stand_in.errors import malformed

MAX_INTEGER = 2**53 - 1


def parse(text: str) -> dict[str, Any]:
    """Return nested dictionaries, lists as dictionaries by index."""
    result: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        *parents, last = re.findall(r"[^\[\]]+|(?<=\[)(?=\])", name) or [name]
        node = result
        for key in parents:
            child = node.setdefault(key or str(len(node)), {})
            if not isinstance(child, dict):
                raise malformed("Invalid object", name)
            node = child
        node[last or str(len(node))] = value
    return result


class Params:
    """Parameters of a request. An empty string means the same as none: Stripe unsets fields with it."""

    def __init__(self, values: Mapping[str, Any], path: str = "") -> None:
        self.values = values
        self._path = path

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def path(self, name: str) -> str:
        """Return the name of a parameter as an error shows it."""
        return f"{self._path}[{name}]" if self._path else name

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        if isinstance(value, dict):
            raise malformed(f"Invalid string: {value}", self.path(name))
        return value or None

    def required(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            raise malformed(f"Missing required param: {self.path(name)}.", self.path(name), "parameter_missing")
        return value

    def integer(self, name: str, *, least: int = -MAX_INTEGER) -> int | None:
        value = self.text(name)
        if value is None:
            return None
        if not re.fullmatch(r"-?[0-9]{1,16}", value) or not least <= int(value) <= MAX_INTEGER:
            raise malformed(f"Invalid integer: {value}", self.path(name), "parameter_invalid_integer")
        return int(value)

    def required_integer(self, name: str, *, least: int = 1) -> int:
        self.required(name)
        value = self.integer(name, least=least)
        assert value is not None
        return value

    def flag(self, name: str) -> bool | None:
        value = self.text(name)
        if value not in {None, "true", "false"}:
            raise malformed(f"Invalid boolean: {value}", self.path(name))
        return None if value is None else value == "true"

    def choice(self, name: str, choices: str, default: str) -> str:
        value = self.text(name) or default
        if value not in choices.split():
            raise malformed(f"Invalid {self.path(name)}: must be one of {', '.join(choices.split())}", self.path(name))
        return value

    def sub(self, name: str) -> "Params":
        value = self.values.get(name) or {}
        if not isinstance(value, dict):
            raise malformed("Invalid object", self.path(name))
        return Params(value, self.path(name))

    def each(self, name: str) -> list["Params"]:
        """Return the parameters of each element of a list of objects."""
        elements = self.sub(name)
        return [elements.sub(index) for index in elements.values]

    def texts(self, name: str) -> list[str]:
        elements = self.sub(name)
        return [elements.required(index) for index in elements.values]

    def metadata(self, current: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the metadata after the request (https://docs.stripe.com/api/metadata)."""
        if self.values.get("metadata") == "":
            return {}
        changed = {**(current or {}), **self.sub("metadata").values}
        return {key: value for key, value in changed.items() if value != ""}


def names(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted name of each value, without the indices of lists, and the name as an error shows it."""
    for key, value in values.items():
        shown = f"{path}[{key}]" if path else key
        if isinstance(value, dict):
            yield from names(value, shown)
        else:
            yield re.sub(r"\[\d+\]", "", shown).replace("[", ".").replace("]", ""), shown


def refuse_unknown(values: Mapping[str, Any], accepted: frozenset[str]) -> None:
    """Refuse a parameter that isn't modelled: ignoring it would hide a difference from Stripe."""
    for name, shown in names(values):
        if name not in accepted and f"{name.rpartition('.')[0]}.*" not in accepted:
            raise malformed(f"Received unknown parameter: {shown}", shown, "parameter_unknown")
