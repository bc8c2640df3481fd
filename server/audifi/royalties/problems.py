"""Problems of royalty statements. Their codes are part of the contract."""

from pydantic import Field

from audifi.core.http.problems import FieldError, Problem, ProblemDetails, invalid
from audifi.royalties.models import StatementStatus


class StatementStatusConflict(ProblemDetails):
    """The statement's status doesn't allow the operation."""

    statement_status: StatementStatus = Field(examples=["imported"])
    """The statement's status."""


class SuspectedDuplicates(ProblemDetails):
    """Lines are equal to lines of another statement."""

    suspected_lines: int = Field(examples=[12])
    """How many of the selected lines."""


def duplicate() -> Problem:
    return Problem(
        409,
        "statement.duplicate",
        "Duplicate statement",
        "The same file was imported before. Read the list of statements.",
    )


def nothing_to_match() -> Problem:
    return Problem(
        409,
        "statement.nothing_to_match",
        "No offered master",
        "Statements are for masters whose shares are offered, and the account has none.",
    )


def limit_reached(limit: int) -> Problem:
    return Problem(
        409,
        "statement.limit_reached",
        "Too many lines",
        f"An account can have {limit:,} lines of statements. They are deleted 400 days after the import.",
    )


def not_suspected(status: StatementStatus) -> Problem:
    return Problem(
        409,
        "statement.not_suspected",
        "No suspected duplicate",
        "Only a statement with the status suspected_duplicate waits for a decision.",
        model=StatementStatusConflict,
        statement_status=status,
    )


def not_imported(status: StatementStatus) -> Problem:
    return Problem(
        409,
        "statement.not_imported",
        "Statement not imported",
        "Lines can be matched once the statement is imported.",
        model=StatementStatusConflict,
        statement_status=status,
    )


def lines_suspected(count: int) -> Problem:
    return Problem(
        409,
        "statement.suspected_duplicate",
        "Suspected duplicate",
        "Another statement has equal lines for this master. If they count, too, send `confirm_duplicates: true`.",
        model=SuspectedDuplicates,
        suspected_lines=count,
    )


def master_invalid() -> Problem:
    detail = "Should be an offered master of the statement's artist"
    return invalid([FieldError(code="master_invalid", detail=detail, pointer="/master_id")])
