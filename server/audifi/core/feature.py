"""What a feature gives the application; `audifi.app.FEATURES` lists them and everything else is derived from it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from fastapi import APIRouter

from audifi.core.db.database import Transaction
from audifi.core.db.retention import ExpiredRows
from audifi.core.invariants import Invariant
from audifi.core.jobs.queue import JobType, Schedule
from audifi.core.measures import Measure

if TYPE_CHECKING:
    from audifi.payments.syncs import SyncKind
    from audifi.services import Services


type DeletionGuard = Callable[[Transaction, UUID], Awaitable[None]]
"""Runs in the transaction that deletes an account, after its row was locked: deletes the account's rows, or raises the
Problem for which the account can't be deleted."""


def no_jobs(_services: "Services") -> Sequence[JobType]:
    return ()


def no_schedules(_services: "Services") -> Sequence[Schedule]:
    return ()


async def no_clean_up(_services: "Services") -> None: ...


def keep_everything(_now: datetime) -> Sequence[ExpiredRows]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One folder of `audifi`, as the application sees it."""

    name: str
    """The OpenAPI tag, the name of the command, and the folder's."""
    description: str
    """The tag's description in the contract."""
    router: APIRouter
    jobs: Callable[["Services"], Sequence[JobType]] = no_jobs
    """The types of job that the feature's handlers process."""
    schedules: Callable[["Services"], Sequence[Schedule]] = no_schedules
    """What the feature does at certain times, on one machine."""
    retention: Callable[[datetime], Sequence[ExpiredRows]] = keep_everything
    """The rows that are deleted because they are older than the feature keeps them."""
    clean_up: Callable[["Services"], Awaitable[None]] = no_clean_up
    """Deletes what expires outside the database; runs with retention, on one machine at a time."""
    invariants: Sequence[Invariant] = ()
    """The rules that hold for the feature's rows: `python -m audifi <name> check`, and each night."""
    measures: Sequence[Measure] = ()
    """The metrics that the feature's code counts and sets."""
    syncs: Sequence["SyncKind"] = ()
    """The payment provider's objects that the feature synchronizes."""
    deletion_guard: DeletionGuard | None = None
    """Refuses the deletion of an account, or deletes its rows."""
    cli: str = ""
    """The Typer of the operators' commands, `python -m audifi <cli_name> …`, as `module:name`. Only they import it: the
    server starts faster without Typer and Rich."""
    cli_name: str = ""
    """Where it differs from the feature's name."""
