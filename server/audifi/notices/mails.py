"""E-mails of notices. Their subjects name no title: it may have characters that no header may have."""

from audifi.core.email.paragraphs import Text, compose
from audifi.core.email.sender import Email
from audifi.ledger.csv import decimal
from audifi.notices.models import NoticeKind
from audifi.notices.queries import AddressedRow

TEXTS: dict[NoticeKind, Text] = {
    "master_approved": Text(
        subject="Your master was approved",
        paragraphs=("“{title}” was approved. You can offer its shares now.",),
    ),
    "master_rejected": Text(
        subject="Your master needs a change",
        paragraphs=("“{title}” was not approved. The reason:", "{reason}", "Change it, and submit it again."),
    ),
    "shares_bought": Text(
        subject="You bought shares on AudiFi",
        paragraphs=("You bought {shares} of “{title}” for {amount}.",),
    ),
    "shares_sold": Text(
        subject="Your shares were sold",
        paragraphs=(
            "Your listing of {shares} of “{title}” was bought for {amount}.",
            "The price, less the fee and the royalty, is in your balance.",
        ),
    ),
    "shares_refunded": Text(
        subject="You got your money back",
        paragraphs=("Your purchase of {shares} of “{title}” was undone. {amount} is in your balance again.",),
    ),
    "offering_completed": Text(
        subject="Your offering is completed",
        paragraphs=("The offering of “{title}” is completed. Sold: {shares}.",),
    ),
    "offering_canceled": Text(
        subject="Your offering was canceled",
        paragraphs=("The offering of “{title}” was canceled, and all buyers have their money back.",),
    ),
    "payout_paid": Text(
        subject="Your payout was sent",
        paragraphs=("Your payout of {amount} was sent to your bank account.",),
    ),
    "payout_failed": Text(
        subject="Your payout failed",
        paragraphs=("Your payout of {amount} failed. The money is in your balance again.",),
    ),
}


def mail(notice: AddressedRow) -> Email:
    """Return the e-mail of a notice."""
    text = TEXTS[notice.kind]
    values = {
        "title": notice.title,
        "reason": notice.reason,
        "shares": "1 share" if notice.quantity == 1 else f"{notice.quantity} shares",
        "amount": f"{decimal(notice.amount or 0, notice.scale or 0)} {notice.currency}",
    }
    paragraphs = tuple(paragraph.format_map(values) for paragraph in text.paragraphs)
    return compose(
        notice.email,
        Text(subject=text.subject, paragraphs=paragraphs),
        message_id=str(notice.id),
        purpose=notice.kind,
    )
