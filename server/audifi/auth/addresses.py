"""E-mail addresses: validation, normalization and masking."""

from dataclasses import dataclass

from email_validator import EmailNotValidError, validate_email


class InvalidAddressError(ValueError):
    """The address is invalid or undeliverable. The message doesn't repeat it."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """A mailbox's address (RFC 5321, 4.1.2), its domain perhaps internationalized (RFC 5890)."""

    email: str
    """As written, without surrounding spaces, and with the domain in lower case and ASCII."""
    key: str
    """Identifies the mailbox: all in lower case, the domain in ASCII."""

    @property
    def untagged(self) -> str:
        """The key without a `+tag`, which many providers ignore. Only for rate limits."""
        local, _, domain = self.key.rpartition("@")
        return f"{local.partition('+')[0] or local}@{domain}"


def parse(text: str) -> Address:
    """Validate and normalize an address.

    Raises:
        InvalidAddressError: it is invalid or undeliverable.
    """
    try:
        valid = validate_email(text.strip(" "), strict=True, allow_smtputf8=False, check_deliverability=False)
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
