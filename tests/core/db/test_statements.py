"""Statements: shapes, parameters, and rows."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid4

import pytest
from sqlalchemy import ARRAY, Text, any_, bindparam, literal_column, select
from sqlalchemy.dialects.postgresql import INET

from audifi.auth.models import Role, User
from audifi.core.db.statements import MAX_SHAPES, Statement

USERS = select(User.id, User.display_name).where(User.email == bindparam("email"), User.role == "fan")


@dataclass(frozen=True, slots=True)
class UserRow:
    id: UUID
    display_name: str | None


@dataclass(frozen=True, slots=True)
class Reordered:
    display_name: str | None
    id: UUID


def test_statement_is_compiled_once() -> None:
    statement = Statement(USERS)

    (first, arguments), (second, _) = statement.bind({"email": "a"}), statement.bind({"email": "b"})

    assert first is second
    assert arguments == ["a", "fan"]


@pytest.mark.parametrize("values", [{}, {"email": "a", "more": 1}, {"mail": "a"}])
def test_parameters_that_do_not_match_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"don't match \['email'\]"):
        Statement(USERS).bind(values)


def test_optional_filter_applies_when_its_value_is_given() -> None:
    optional = {"role": User.role == bindparam("role"), "name": User.display_name == bindparam("name")}
    statement = Statement(select(User.id), optional=optional)

    plain, _ = statement.bind({"role": None})
    filtered, filter_argument = statement.bind({"role": "fan"})
    both, two_arguments = statement.bind({"name": "Ana", "role": "fan"})

    assert (plain.sql.count("$"), filtered.sql.count("$"), both.sql.count("$")) == (0, 1, 2)
    assert (filter_argument, two_arguments) == (["fan"], ["fan", "Ana"])
    assert statement.bind({"name": None, "role": "artist"})[0] is filtered


def test_shapes_are_bounded() -> None:
    names = [f"f{number}" for number in range(MAX_SHAPES + 1)]
    statement = Statement(select(User.id), optional={name: User.email == bindparam(name) for name in names})
    first, _ = statement.bind({names[0]: "x"})
    for name in names[1:]:
        statement.bind({name: "x"})

    assert statement.bind({names[-1]: "x"})[0] is statement.bind({names[-1]: "y"})[0]
    assert statement.bind({names[0]: "x"})[0] is not first


def test_list_of_unknown_length_is_refused() -> None:
    with pytest.raises(TypeError, match="any_"):
        Statement(select(User.id).where(User.role.in_(["fan"]))).bind({})

    statement = Statement(select(User.id).where(User.role == any_(bindparam("roles", type_=ARRAY(Text)))))
    assert statement.bind({"roles": ["fan"]})[1] == [["fan"]]


def test_rows_are_dataclasses_whatever_the_order_of_fields() -> None:
    compiled, _ = Statement(USERS).bind({"email": "a"})
    id_ = uuid4()

    assert compiled.rows(UserRow, [(id_, "Ana")]) == [UserRow(id_, "Ana")]
    assert compiled.rows(Reordered, [(id_, "Ana")]) == [Reordered("Ana", id_)]


@dataclass(frozen=True, slots=True)
class LacksName:
    id: UUID


@dataclass(frozen=True, slots=True)
class NeverNull:
    id: UUID
    display_name: str


@dataclass(frozen=True, slots=True)
class WrongType:
    id: int
    display_name: str | None


@pytest.mark.parametrize(
    ("row_type", "sentence"),
    [
        (LacksName, r"LacksName has the fields \['id'\], the statement has the columns \['display_name', 'id'\]"),
        (NeverNull, "NeverNull.display_name: the column can be NULL"),
        (WrongType, "WrongType.id: the column is of type UUID"),
        (dict, "dict is not a dataclass"),
    ],
)
def test_row_type_that_does_not_fit_is_refused(row_type: type, sentence: str) -> None:
    compiled, _ = Statement(USERS).bind({"email": "a"})

    with pytest.raises(TypeError, match=sentence):
        compiled.rows(row_type, [])


@dataclass(frozen=True, slots=True)
class Hints:
    role: Role
    email: Literal["a"]
    created_at: object
    ip: Any


def test_literals_and_aliases_are_understood() -> None:
    columns = select(User.role, User.email, User.created_at, literal_column("NULL", INET).label("ip"))
    compiled, _ = Statement(columns).bind({})
    at = datetime.now().astimezone()

    assert compiled.rows(Hints, [("fan", "a", at, None)]) == [Hints("fan", "a", at, None)]
