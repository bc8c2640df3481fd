"""Settings, from the environment alone. A wrong one stops the start with a sentence that names it, never its value."""

import os
import re
from email.utils import parseaddr
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from audifi import __version__
from audifi.core.config.database_url import DatabaseURL

PositiveSeconds = Annotated[
    float, Field(ge=0.001, le=3600)
]  # under a millisecond PostgreSQL's would be 0, which is off
Networks = tuple[IPv4Network | IPv6Network, ...]
CommaSeparated = BeforeValidator(
    lambda given: list(filter(None, given.split(","))) if isinstance(given, str) else given
)


def _long_secret(given: SecretStr) -> SecretStr:
    """RFC 7518, 3.2 wants a key for HS256 to be at least as long as the hash, 256 bits."""
    if len(given.get_secret_value().encode()) < SECRET_MIN_BYTES:
        raise ValueError(
            f"must have at least {SECRET_MIN_BYTES} characters; `openssl rand -base64 48` makes a good one"
        )
    return given


def _printable(given: SecretStr) -> SecretStr:
    """What a header can hold (RFC 9110, 5.5)."""
    if not re.fullmatch(r"[!-~]*", given.get_secret_value()):
        raise ValueError("holds blanks or other characters that no key has")
    return given


def _dsn(given: SecretStr) -> SecretStr:
    """https://develop.sentry.dev/sdk/foundations/transport/authentication/#parsing-the-dsn"""
    if given.get_secret_value() and not re.fullmatch(r"https?://\w+@[\w.:-]+/(\S+/)?\d+", given.get_secret_value()):
        raise ValueError("must be a DSN such as Sentry shows, https://KEY@HOST/PROJECT")
    return given


def _origin(given: str) -> str:
    """Scheme, host and port (RFC 6454, 6.2), as browsers write it into `Origin`; a path may follow, and is kept."""
    parts = urlsplit(given)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise ValueError("must be a URL such as https://app.example.com")
    if parts.query or parts.fragment or not given.isascii() or given != given.lower():
        raise ValueError("must be lower case, with neither a query nor a fragment")
    if parts.port == DEFAULT_PORTS[parts.scheme]:
        raise ValueError(f"must be without :{parts.port}, which browsers leave out")
    return given.rstrip("/")


def _networks(given: object) -> object:
    """From the environment they come as one string."""
    try:
        return tuple(map(ip_network, filter(None, given.split(",")))) if isinstance(given, str) else given
    except ValueError:
        raise ValueError("must be networks such as 172.16.0.0/12, by commas") from None


def _sender(given: str) -> str:
    """RFC 5322, 3.4: one mailbox, with or without a name."""
    _, address = parseaddr(given, strict=True)
    if given and (
        not given.isascii() or not given.isprintable() or not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", address)
    ):
        raise ValueError("must be a mailbox such as AudiFi <hello@audifi.example>")
    return given


DEFAULT_PORTS = {"http": 80, "https": 443}
SECRET_MIN_BYTES = 32
LongSecret = Annotated[SecretStr, AfterValidator(_long_secret)]
WebAddress = Annotated[str, AfterValidator(_origin)]

# Fly's proxy reaches a machine over this private IPv4 range. The app listens on IPv4 only, so other machines of the
# organization, which come over the private IPv6 network, can't reach it and forge the proxy's headers.
FLY_PROXY_NETWORKS = (IPv4Network("172.16.0.0/12"),)


class SettingsError(Exception):
    """A setting is missing or wrong. The message is for the person who starts the process and holds no secret."""


class DatabaseSettings(BaseSettings):
    """What it takes to reach PostgreSQL. Alembic needs nothing else.

    The pool is sized for PostgreSQL's default of 100 connections, 3 of them reserved for superusers. A machine takes at
    most 15 + 1 (the health probe's); two machines take 32; a blue-green deploy doubles them to 64 for a moment, and its
    release command adds 2.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: Annotated[DatabaseURL, NoDecode, PlainValidator(DatabaseURL.parse)]
    database_pgbouncer: bool | None = None
    """Whether a PgBouncer in transaction mode is in front. Unset: as the URL tells (`DatabaseURL.pgbouncer`)."""

    database_pool_size: int = Field(default=5, ge=1, le=100)
    database_pool_max_overflow: int = Field(default=5, ge=0, le=100)
    database_read_pool_size: int = Field(default=5, ge=1, le=100)
    """Beside the pool of transactions. A read holds a connection for one round trip."""
    database_pool_timeout_seconds: PositiveSeconds = 5
    database_pool_recycle_seconds: PositiveSeconds = 540  # Fly's proxy drains a connection in 10 minutes
    database_connect_timeout_seconds: PositiveSeconds = 5  # where the URL has no connect_timeout
    database_statement_timeout_seconds: PositiveSeconds = 15
    database_lock_timeout_seconds: PositiveSeconds = 5
    database_idle_in_transaction_timeout_seconds: PositiveSeconds = 30

    @property
    def behind_pgbouncer(self) -> bool:
        return self.database_url.pgbouncer if self.database_pgbouncer is None else self.database_pgbouncer


class MigrationSettings(DatabaseSettings):
    """How long a migration may take, each bound below fly.toml's release_command_timeout of 10 minutes."""

    migration_wake_timeout_seconds: PositiveSeconds = 60  # for a database that is asleep or starting
    migration_queue_timeout_seconds: PositiveSeconds = 240  # for another migration to end
    migration_lock_timeout_seconds: PositiveSeconds = 1  # requests queue behind a lock that it waits for
    migration_lock_patience_seconds: PositiveSeconds = 30  # so long it tries again
    migration_statement_timeout_seconds: PositiveSeconds = 240


def _default_trusted_proxies() -> Networks:
    return FLY_PROXY_NETWORKS if "FLY_APP_NAME" in os.environ else ()


class Settings(DatabaseSettings):
    """All that the API reads. Names are the environment variables', in lower case; units are in the names."""

    environment: Literal["development", "production"] = "production"
    host: str = "0.0.0.0"  # noqa: S104 - Fly's proxy reaches the machine over its private IPv4 address
    port: int = Field(default=8080, ge=1, le=65535)
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """Where Prometheus gets /metrics, beside `port` and not through Fly's proxy. Unset: nowhere."""
    audifi_commit: str = Field(default="", pattern=r"^([0-9a-f]{7,40})?$")
    """The commit that the image was built from; empty outside an image."""

    shutdown_timeout_seconds: PositiveSeconds = 20
    """For requests in flight at SIGTERM. With the drain and the pool's close it stays under fly.toml's kill_timeout."""
    shutdown_drain_seconds: float = Field(default=1, ge=0, le=60)
    trusted_proxies: Annotated[Networks, NoDecode, BeforeValidator(_networks)] = Field(
        default_factory=_default_trusted_proxies
    )

    # No secret has a default, not even in development: `make run` makes its own.
    jwt_secret: LongSecret
    """Signs access tokens; the keys of refresh tokens are derived from it."""
    jwt_secret_previous: LongSecret | None = None
    """The one before: tokens made with it are still good. Remove it when they have expired, after 30 days."""
    magic_link_secret: LongSecret
    """The keys under which links, codes and flows are stored are derived from it."""
    magic_link_secret_previous: LongSecret | None = None
    """The one before; remove it after 10 minutes."""
    fly_app_name: str = "audifi-api"
    """Fly sets it. Tokens name it as their issuer and audience, so that staging's are nothing to production."""

    app_url: WebAddress
    """Where the frontend is. Links in mails lead there, and its origin may call this API."""
    allowed_origins: Annotated[tuple[WebAddress, ...], NoDecode, CommaSeparated] = ()
    """Other origins whose pages may call this API, by commas."""

    fly_machine_id: str = ""
    fly_region: str = ""

    sentry_dsn: Annotated[SecretStr, AfterValidator(_dsn)] | None = None
    """Where errors that nobody handled are reported to. Unset: nowhere."""

    otel_exporter_otlp_endpoint: WebAddress | None = None
    """Where traces are sent to, by OTLP over HTTP; the exporter reads the other OTEL_… itself. Unset: nowhere."""

    client_requests_per_minute: int = Field(default=600, ge=1, le=1_000_000)
    """Of an IPv4 address, or an IPv6 /64. Many people may share one: mobile networks, offices."""
    account_requests_per_minute: int = Field(default=300, ge=1, le=1_000_000)
    account_changes_per_day: int = Field(default=100, ge=1, le=1_000_000)
    """Of what an account says of itself. Each is recorded, and the record is kept for a year."""
    max_concurrent_requests: int = Field(default=150, ge=1, le=10_000)
    """In work on a machine; more are answered 503. Over fly.toml's soft limit, so that Fly asks another machine first;
    under its hard one, so that the answer is ours."""
    docs_enabled: bool = True
    """Whether /docs and /openapi.json are there."""

    sendgrid_api_key: Annotated[SecretStr, AfterValidator(_printable)] | None = Field(
        default=None, validate_default=True
    )
    """Needed in production. Without it, in development, mails are printed and kept in `mail_folder`."""
    sendgrid_api_url: WebAddress = "https://api.sendgrid.com"  # https://api.eu.sendgrid.com for EU subusers
    mail_from: Annotated[str, Field(max_length=320), AfterValidator(_sender)] = ""
    """`AudiFi <hello@audifi.example>`, a sender that SendGrid has verified. Default: sign-in@ the host of `app_url`."""
    mail_folder: Path = Path(".data/mail")
    mail_limit_per_hour: int = Field(default=2000, ge=1, le=1_000_000)
    """For all addresses and machines together: it bounds what an attack on sign-in can cost."""

    # Each looks at fields above its own. A validator of the whole model has its say only when all else is right.

    @field_validator("metrics_port")
    @classmethod
    def _is_another_port(cls, given: int | None, info: ValidationInfo) -> int | None:
        if given is not None and given == info.data.get("port"):
            raise ValueError("must not be PORT")
        return given

    @field_validator("magic_link_secret", "magic_link_secret_previous")
    @classmethod
    def _is_another_secret(cls, given: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if given and given in {info.data.get("jwt_secret"), info.data.get("jwt_secret_previous")}:
            raise ValueError("must not be JWT_SECRET, nor the one before: who gets one of them should not have both")
        return given

    @field_validator("app_url")
    @classmethod
    def _is_safe_in_production(cls, given: str, info: ValidationInfo) -> str:
        if info.data.get("environment") == "production" and not given.startswith("https:"):
            raise ValueError("must start with https://")
        return given

    @field_validator("sendgrid_api_key")
    @classmethod
    def _is_there_in_production(cls, given: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if info.data.get("environment") == "production" and not (given and given.get_secret_value()):
            raise ValueError("is missing")
        return given

    @property
    def origins(self) -> tuple[str, ...]:
        """Those whose pages may call this API, with cookies."""
        return tuple(
            f"{parts.scheme}://{parts.netloc}" for parts in map(urlsplit, (self.app_url, *self.allowed_origins))
        )

    @property
    def deployment(self) -> str:
        """What staging and production are told apart by: `audifi-api-staging`."""
        return self.fly_app_name if self.environment == "production" else self.environment

    @property
    def mail_sender(self) -> str:
        return self.mail_from or f"AudiFi <sign-in@{urlsplit(self.app_url).hostname}>"

    @property
    def version(self) -> str:
        """The package's version, with the build's commit as SemVer build metadata: `0.1.0+1a2b3c4` (semver.org, 10)."""
        return f"{__version__}+{self.audifi_commit[:7]}" if self.audifi_commit else __version__


def load[S: BaseSettings](kind: type[S]) -> S:
    """Read settings from the environment.

    Raises:
        SettingsError: with a line for each variable that is missing or wrong.
    """
    try:
        return kind()
    except ValidationError as error:
        problems = [
            (f"{str(detail['loc'][0]).upper()}: " if detail["loc"] else "")
            + ("is missing" if detail["type"] == "missing" else detail["msg"].removeprefix("Value error, "))
            for detail in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise SettingsError("\n".join(problems)) from None
