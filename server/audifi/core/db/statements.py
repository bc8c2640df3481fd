"""SQLAlchemy Core statements, compiled once per shape, and their rows as frozen dataclasses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAliasType, Union, get_args, get_origin, get_type_hints

from sqlalchemy import BindParameter, ColumnElement, bindparam
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.sql import ClauseElement

type Record = Sequence[Any]
"""A row as asyncpg returns it."""

MAX_SHAPES = 32
DIALECT = dialect()  # type: ignore[no-untyped-call] # SQLAlchemy's has no types


def parameters(*names: str) -> dict[str, BindParameter[Any]]:
    """Return the values of an insert or update whose parameters have the names of the columns."""
    return {name: bindparam(name) for name in names}


class Statement:
    """A statement whose parameters are named by `bindparam`.

    A column is compared with many values by `any_(bindparam(…, type_=ARRAY(…)))`, never by `in_`: its text would
    change with their number.
    """

    def __init__(self, statement: Any, *, optional: Mapping[str, ColumnElement[bool]] | None = None) -> None:
        """Create a statement; it is compiled when it is first run.

        Args:
            statement: select, insert, update, delete, or `text(…).columns(…)`.
            optional: filters by the name of their parameter. A filter applies when its value isn't None.
                Each set of applied filters is a shape, which is compiled once; the 32 used last are kept.
        """
        self._statement = statement
        self._optional = dict(optional or {})
        self._compiled = lru_cache(MAX_SHAPES)(self._compile)

    def bind(self, values: dict[str, Any]) -> "tuple[CompiledStatement, list[Any]]":
        """Return the compiled statement of this shape, and its arguments in order.

        Raises:
            TypeError: a value is missing, or the statement has no such parameter.
        """
        applied: tuple[str, ...] = ()
        if self._optional:
            applied = tuple(name for name in self._optional if values.get(name) is not None)
            values = {name: value for name, value in values.items() if name in applied or name not in self._optional}
        compiled = self._compiled(applied)
        return compiled, compiled.arguments(values)

    def _compile(self, applied: tuple[str, ...]) -> "CompiledStatement":
        conditions = [self._optional[name] for name in applied]
        return CompiledStatement(self._statement.where(*conditions) if conditions else self._statement)


class CompiledStatement:
    """SQL for asyncpg, and the order of its parameters."""

    def __init__(self, statement: ClauseElement) -> None:
        compiled: Any = statement.compile(dialect=DIALECT)
        self.sql = str(compiled)
        if "POSTCOMPILE" in self.sql:
            raise TypeError(f"use any_() in place of in_(): {self.sql}")
        self._names: list[str] = compiled.positiontup or []
        required = {bind.key for bind in compiled.binds.values() if bind.required}
        self._constants = {name: compiled.params[name] for name in self._names if name not in required}
        self._columns: dict[str, Any] = dict(getattr(statement, "exported_columns", {}))
        self._row_makers: dict[type, Callable[[Record], Any]] = {}

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """Return the values of the parameters in the order of `$1`, `$2`, …"""
        constants = self._constants
        if len(values) + len(constants) == len(self._names):
            try:
                return [constants[name] if name in constants else values[name] for name in self._names]
            except KeyError:
                pass
        wanted = set(self._names) - constants.keys()
        raise TypeError(f"parameters {sorted(values)} don't match {sorted(wanted)} of: {self.sql}")

    def rows[Row](self, row_type: type[Row], records: Sequence[Record]) -> list[Row]:
        """Return the records as dataclasses.

        Raises:
            TypeError: the fields of the dataclass are not the statement's columns.
        """
        make = self._row_makers.get(row_type)
        if make is None:
            make = self._row_makers[row_type] = self._row_maker(row_type)
        return [make(record) for record in records]

    def _row_maker(self, row_type: type[Any]) -> Callable[[Record], Any]:
        name_of_type = row_type.__qualname__
        if not is_dataclass(row_type):
            raise TypeError(f"{name_of_type} is not a dataclass")
        names = [field.name for field in fields(row_type)]
        columns = list(self._columns)
        if set(names) != set(columns):
            raise TypeError(
                f"{name_of_type} has the fields {sorted(names)}, the statement has the columns {sorted(columns)}"
            )
        hints = get_type_hints(row_type, include_extras=True)
        for name, column in self._columns.items():
            if problem := _mismatch(column, _classes(hints[name])):
                raise TypeError(f"{name_of_type}.{name}: {problem}")
        make: Callable[..., Any] = row_type
        if names == columns:
            return lambda record: make(*record)
        places = [columns.index(name) for name in names]
        return lambda record: make(*[record[place] for place in places])


def _mismatch(column: Any, classes: set[type]) -> str | None:
    """Return why the values of a column don't fit a field, if SQLAlchemy knows the types; else None."""
    if getattr(column, "nullable", False) and NoneType not in classes:
        return "the column can be NULL, and the field's type doesn't allow None"
    try:
        python_type = column.type.python_type
    except NotImplementedError:
        return None
    if python_type is object or any(issubclass(python_type, each) for each in classes):
        return None
    return f"the column is of type {python_type.__name__}, and the field is not"


def _classes(hint: Any) -> set[type]:
    """Return the classes that a type hint allows."""
    if isinstance(hint, TypeAliasType):
        return _classes(hint.__value__)
    origin = get_origin(hint)
    if origin is Annotated:
        return _classes(get_args(hint)[0])
    if origin is Literal:
        return {type(value) for value in get_args(hint)}
    if origin in {Union, UnionType}:
        return set().union(*map(_classes, get_args(hint)))
    return {object if hint is Any else origin or hint}
