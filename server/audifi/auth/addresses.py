"""E-mail addresses: validation, normalization, masking, and the key of a person's mailbox."""

from dataclasses import dataclass

from email_validator import EmailNotValidError, validate_email

from audifi.auth.pasted_text import strip_invisible

GMAIL_DOMAINS = {"gmail.com", "googlemail.com"}
TAG_SEPARATOR = "+"


class InvalidAddressError(ValueError):
    """The address is invalid or undeliverable. The message doesn't repeat it."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """A mailbox's address (RFC 5321, 4.1.2), its domain perhaps internationalized (RFC 5890)."""

    email: str
    """As written, without surrounding white space, and with the domain in lower case and ASCII."""
    key: str
    """Identifies the account: all in lower case, the domain in ASCII."""


def mailbox_key(email_key: str) -> str:
    """Return the same key for the spellings of one mailbox: for rate limits, and rules that hold once per person.

    A `+tag` is left out at every provider (RFC 5233, sub-addresses), and the dots at Gmail, where `googlemail.com` is
    `gmail.com` (https://support.google.com/mail/answer/7436150). Never use it to find an account or to send mail: other
    providers may deliver these spellings to different people.

    Args:
        email_key: `Address.key`, `users.email_key`.
    """
    local, _, domain = email_key.rpartition("@")
    local = local.partition(TAG_SEPARATOR)[0] or local
    if domain in GMAIL_DOMAINS:
        local, domain = local.replace(".", ""), "gmail.com"
    return f"{local}@{domain}"


def parse(text: str) -> Address:
    """Validate and normalize an address.

    Raises:
        InvalidAddressError: it is invalid or undeliverable.
    """
    try:
        valid = validate_email(strip_invisible(text), strict=True, allow_smtputf8=False, check_deliverability=False)
    except EmailNotValidError:
        raise InvalidAddressError("must be an e-mail address") from None
    # E-mail goes to the ASCII form, which every server supports; it exists because SMTPUTF8 is off.
    email = valid.ascii_email
    assert email is not None  # noqa: S101
    return Address(email=email, key=email.lower())


def mask(email: str) -> str:
    """Return enough for the owner to recognize: `a•••@example.com`."""
    local, _, domain = email.rpartition("@")
    return f"{local[:1]}•••@{domain}"
