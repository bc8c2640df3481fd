"""Bodies of responses."""

from pydantic import Field

from audifi.core.http.schemas import Id, Instant, Page, ResponseModel
from audifi.notices.models import NoticeKind


class Notice(ResponseModel):
    """Something that happened to the account's masters, shares or money."""

    id: Id
    """The notice."""
    kind: NoticeKind = Field(examples=["shares_bought"])
    """What happened. More kinds may come: show an unknown one by its title, or leave it out."""
    master_id: Id | None
    """The master that it is about; null if it is about none."""
    title: str | None = Field(examples=["Night drive"])
    """The master's title at that time."""
    quantity: int | None = Field(examples=[10])
    """Shares; null if it isn't about some."""
    amount: int | None = Field(examples=[25000])
    """What was paid for the shares, or the payout, in base units."""
    currency: str | None = Field(examples=["USD"])
    """Of the amount, ISO 4217."""
    reason: str | None = Field(examples=[None])
    """Why a master was rejected."""
    created_at: Instant
    """When the notice was written, some seconds after it happened."""


class NoticePage(Page[Notice]):
    """A part of the account's notices."""
