"""E-mail addresses: which are taken, when two are one, and how much of one is shown."""

from dataclasses import dataclass

from email_validator import EmailNotValidError, validate_email


class InvalidAddressError(ValueError):
    """It isn't one, or none to which we would send. The message holds nothing of it."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """A mailbox's address (RFC 5321, 4.1.2), its domain perhaps internationalized (RFC 5890)."""

    email: str
    """As written, but for blanks around it, and for its domain: in lower case and ASCII."""
    key: str
    """The same for all spellings that we take for one mailbox: lower case, the domain in ASCII."""

    @property
    def untagged(self) -> str:
        """The key without a `+tag`, which many providers ignore: for limits alone."""
        local, _, domain = self.key.rpartition("@")
        return f"{local.partition('+')[0] or local}@{domain}"


def parse(given: str) -> Address:
    """
    Raises:
        InvalidAddressError: see there.
    """
    try:
        valid = validate_email(given.strip(" "), strict=True, allow_smtputf8=False, check_deliverability=False)
    except EmailNotValidError:
        raise InvalidAddressError("isn't an e-mail address") from None
    # Mail goes to the ASCII form, which any server can carry; without SMTPUTF8 there always is one.
    email = valid.ascii_email
    assert email is not None  # noqa: S101
    return Address(email=email, key=email.lower())


def mask(email: str) -> str:
    """Enough for its owner to recognize: `a•••@example.com`."""
    local, _, domain = email.rpartition("@")
    return f"{local[:1]}•••@{domain}"
