"""Base class of all models, with the naming convention of constraints."""

from typing import TYPE_CHECKING, ClassVar, TypeAliasType, get_args

from sqlalchemy import MetaData, Table
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    """Base of all tables. Every constraint has a name, which migrations and error handling refer to."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    if TYPE_CHECKING:
        __table__: ClassVar[Table]  # SQLAlchemy's type allows for joins, too


def one_of(column: str, names: TypeAliasType) -> str:
    """Return the SQL condition that a column has a value of a Literal type: `type Status = Literal[…]`."""
    return f"{column} IN ({', '.join(repr(name) for name in get_args(names.__value__))})"
