"""The e-mails of sign-in."""

from functools import cache
from html import escape
from pathlib import Path
from string import Template

from audifi.core.email.sender import Email

TEMPLATES = Path(__file__).parent / "templates"


def sign_in_mail(*, to: str, link: str, code: str, minutes: int, message_id: str) -> Email:
    """Return the e-mail with a link and a code. The subject contains neither: lock screens and logs show it."""
    values = {
        "link": link,
        "code_start": code[:4],
        "code_end": code[4:],
        "minutes": f"{minutes} minute{'s' * (minutes != 1)}",
    }
    return Email(
        to=to,
        subject="Sign in to AudiFi",
        text=_template("sign_in.txt").substitute(values),
        html=_template("sign_in.html").substitute({name: escape(value) for name, value in values.items()}),
        message_id=message_id,
    )


@cache
def _template(name: str) -> Template:
    return Template((TEMPLATES / name).read_text())
