"""E-mails of a few paragraphs."""

import html
from dataclasses import dataclass

from audifi.core.email.sender import Email


@dataclass(frozen=True, kw_only=True)
class Text:
    """What an e-mail says."""

    subject: str
    paragraphs: tuple[str, ...]


def compose(to: str, text: Text, *, message_id: str, purpose: str, bypasses_unsubscribe: bool = False) -> Email:
    """Return the e-mail, as text and as HTML."""
    body = "".join(f"<p>{html.escape(paragraph)}</p>" for paragraph in text.paragraphs)
    return Email(
        to=to,
        subject=text.subject,
        text="\n\n".join(text.paragraphs) + "\n",
        html=f'<!doctype html><html lang="en"><title>{html.escape(text.subject)}</title><body>{body}</body></html>',
        message_id=message_id,
        purpose=purpose,
        bypasses_unsubscribe=bypasses_unsubscribe,
    )
