"""Types and validators of settings: text from the environment, validated and converted.

Each refusal is a sentence that follows the setting's name, and repeats nothing of the value: it could be a secret.
"""

import re
from email.utils import parseaddr
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

SECRET_MIN_BYTES = 32
MAX_PORT = 65535
DEFAULT_PORTS = {"http": "80", "https": "443"}
URL = re.compile(r"(https?)://([a-z0-9-]+(?:\.[a-z0-9-]+)*|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?(/[!-~]*)?")
CALLER = re.compile(rf"([a-z][a-z0-9-]{{0,31}})=([!-~]{{{SECRET_MIN_BYTES},}})")
CURRENCIES = frozenset("AUD BRL CAD CHF DKK EUR GBP INR JPY KRW MXN NOK NZD PLN SEK USD".split())
"""The currencies that the ledger has (ISO 4217). Another one needs a migration, too."""
DSN = re.compile(r"https?://\w+@[\w.:-]+/([\w./-]+/)?\d+", re.ASCII)


class TrustedCaller(NamedTuple):
    """A server that may tell the address of the person it calls for."""

    name: str
    secret: SecretStr


def _strip(value: object) -> object:
    """Remove leading and trailing white space, which copying a value may add."""
    return value.strip() if isinstance(value, str) else value


def _split(value: object) -> object:
    """Split a list at its commas; ignore spaces around them."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _check_url(value: str) -> str:
    """Accept scheme, host and port (RFC 6454, 6.2), as browsers write them into `Origin`, and a path."""
    if "*" in value:
        raise ValueError("must not contain *: wildcards aren't supported, name each origin")
    if "?" in value or "#" in value or not value.isascii() or value != value.lower():
        raise ValueError("must be lower case, with neither a query nor a fragment")
    match = URL.fullmatch(value)
    if not match:
        raise ValueError("must be a URL such as https://app.example.com")
    scheme, _, port, _ = match.groups()
    if port == DEFAULT_PORTS[scheme]:
        raise ValueError(f"must be without :{port}, which browsers leave out")
    if port and not 1 <= int(port) <= MAX_PORT:
        raise ValueError("must have a port from 1 to 65535")
    return value.rstrip("/")


def _check_networks(value: object) -> object:
    try:
        return tuple(ip_network(part) for part in value) if isinstance(value, list) else value
    except ValueError:
        raise ValueError("must be networks such as 172.16.0.0/12, separated by commas") from None


def _check_callers(value: object) -> object:
    if not isinstance(value, list):
        return value
    callers = [CALLER.fullmatch(part) for part in value]
    secrets = {match[2] for match in callers if match}
    if len(secrets) < len(callers):
        raise ValueError(
            f"must be NAME=SECRET, separated by commas: names in lower case, and different secrets of at least "
            f"{SECRET_MIN_BYTES} characters, without spaces; `openssl rand -base64 48` makes a good one"
        )
    return tuple(TrustedCaller(match[1], SecretStr(match[2])) for match in callers if match)


def _check_secret_length(value: SecretStr) -> SecretStr:
    """A key for HS256 must be at least as long as the hash, 256 bits (RFC 7518, 3.2)."""
    if len(value.get_secret_value().encode()) < SECRET_MIN_BYTES:
        raise ValueError(
            f"must have at least {SECRET_MIN_BYTES} characters; `openssl rand -base64 48` makes a good one"
        )
    return value


def _check_header_value(value: SecretStr) -> SecretStr:
    """Accept the characters that a header may contain (RFC 9110, 5.5)."""
    if not re.fullmatch(r"[!-~]*", value.get_secret_value()):
        raise ValueError("contains spaces or other invalid characters")
    return value


def _check_not_empty(value: SecretStr) -> SecretStr:
    if not value.get_secret_value():
        raise ValueError("is empty")
    return value


def _check_dsn(value: SecretStr) -> SecretStr:
    """https://develop.sentry.dev/sdk/foundations/transport/authentication/#parsing-the-dsn"""
    if value.get_secret_value() and not DSN.fullmatch(value.get_secret_value()):
        raise ValueError("must be a DSN as Sentry shows it, https://KEY@HOST/PROJECT")
    return value


def _check_mailbox(value: str) -> str:
    """Accept one mailbox, with or without a name (RFC 5322, 3.4)."""
    _, address = parseaddr(value, strict=True)
    is_printable = value.isascii() and value.isprintable()
    if value and not (is_printable and re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", address)):
        raise ValueError("must be a mailbox such as AudiFi <hello@audifi.example>")
    return value


def _check_currencies(value: tuple[str, ...]) -> tuple[str, ...]:
    """Accept currencies that the ledger has, each once."""
    if not value or len(set(value)) < len(value) or not set(value) <= CURRENCIES:
        raise ValueError(f"must be different codes of {', '.join(sorted(CURRENCIES))}, separated by commas")
    return value


# PostgreSQL's time limits are in milliseconds, and 0 turns them off.
PositiveSeconds = Annotated[float, Field(ge=0.001, le=3600)]
Secret = Annotated[SecretStr, AfterValidator(_check_secret_length)]
ApiKey = Annotated[SecretStr, AfterValidator(_check_header_value), BeforeValidator(_strip)]
AccessKey = Annotated[
    SecretStr, AfterValidator(_check_not_empty), AfterValidator(_check_header_value), BeforeValidator(_strip)
]
Dsn = Annotated[SecretStr, AfterValidator(_check_dsn), BeforeValidator(_strip)]
Url = Annotated[str, AfterValidator(_check_url), BeforeValidator(_strip)]
Urls = Annotated[tuple[Url, ...], NoDecode, BeforeValidator(_split)]
Networks = Annotated[
    tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_check_networks), BeforeValidator(_split)
]
TrustedCallers = Annotated[
    tuple[TrustedCaller, ...], NoDecode, BeforeValidator(_check_callers), BeforeValidator(_split)
]
Currencies = Annotated[tuple[str, ...], NoDecode, AfterValidator(_check_currencies), BeforeValidator(_split)]
Mailbox = Annotated[str, Field(max_length=320), AfterValidator(_check_mailbox), BeforeValidator(_strip)]
