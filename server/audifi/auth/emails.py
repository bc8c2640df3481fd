"""The e-mails of sign-in."""

from datetime import UTC, datetime
from functools import cache
from html import escape
from pathlib import Path
from string import Template

from audifi.core.email.sender import Email

TEMPLATES = Path(__file__).parent / "templates"


def sign_in_mail(*, to: str, link: str, code: str, minutes: int, requested_at: datetime, message_id: str) -> Email:
    """Return the e-mail with a link and a code. The subject contains neither: lock screens and logs show it.

    The time of the request tells e-mails to one person apart: Gmail hides what it has shown in a thread before.
    """
    values = {
        "link": link,
        "code_start": code[:4],
        "code_end": code[4:],
        "minutes": f"{minutes} minute{'s' * (minutes != 1)}",
        "requested": f"{requested_at.astimezone(UTC):%d %B %Y at %H:%M:%S} UTC".lstrip("0"),
    }
    return Email(
        to=to,
        subject="Sign in to AudiFi",
        text=_template("sign_in.txt").substitute(values),
        html=_template("sign_in.html").substitute({name: escape(value) for name, value in values.items()}),
        message_id=message_id,
        purpose="sign_in",
        bypasses_unsubscribe=True,
    )


@cache
def _template(name: str) -> Template:
    return Template((TEMPLATES / name).read_text())
