"""What a feature's `tests/<feature>/fixtures.py` gives to the tests of all features."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from audifi.app import FEATURES
from tests.support.clients import Client


@dataclass(frozen=True, kw_only=True)
class FeatureFixtures:
    """Rows, requests and ids of a feature."""

    rows: str
    """SQL that fills its tables, so that query plans are those of many rows; `users` has rows by then."""
    use: Callable[[Client], None]
    """Calls each operation, as a signed-in admin, so that each statement is sent at least once."""
    ids: Callable[[Client], Mapping[str, Any]]
    """Creates what a client can ask for; returns path parameters by their names in the contract, for fuzzing."""
    background: Sequence[str] = ()
    """Parts of the statements that jobs and retention send."""


def feature_fixtures() -> list[FeatureFixtures]:
    """Return the fixtures of each feature that has some."""
    names = [f"tests.{feature.name}.fixtures" for feature in FEATURES]
    return [import_module(name).FIXTURES for name in names if find_spec(name)]
