"""Settings from environment variables. An invalid one stops the start; the error names it but not its value."""

import os
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, PlainValidator, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from audifi import __version__
from audifi.core.config.database_url import DatabaseURL
from audifi.core.config.public_key import PublicKey
from audifi.core.config.validators import (
    AccessKey,
    ApiKey,
    Currencies,
    Dsn,
    Mailbox,
    Networks,
    PositiveSeconds,
    Secret,
    TrustedCaller,
    TrustedCallers,
    Url,
    Urls,
)

# Fly's proxy connects to a machine from this private IPv4 range. The app listens on IPv4 only, so other machines of the
# organization, which use the private IPv6 network, can't reach it and forge the proxy's headers.
FLY_PROXY_NETWORKS = (IPv4Network("172.16.0.0/12"),)


SECRETS = ("jwt_secret", "jwt_secret_previous", "magic_link_secret", "magic_link_secret_previous")


class SettingsError(Exception):
    """A setting is missing or wrong. The message is for the person who starts the process and contains no secret."""


class DatabaseSettings(BaseSettings):
    """Settings of the connection to PostgreSQL; Alembic needs no others.

    The pools fit PostgreSQL's default of 100 connections, 3 of them reserved for superusers. A machine opens at most
    15 + 1 (the health probe's); two machines 32; a blue-green deploy doubles that to 64 for a moment, and its release
    command adds 2.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: Annotated[DatabaseURL, NoDecode, PlainValidator(DatabaseURL.parse)]

    database_pool_size: int = Field(default=6, ge=1, le=100)
    """For the transactions of requests."""
    database_read_pool_size: int = Field(default=5, ge=1, le=100)
    """For the reads of requests, which hold a connection for one round trip."""
    database_background_pool_size: int = Field(default=3, ge=1, le=100)
    """For rate limits, jobs, polling and retention, which also have one connection for reads."""
    database_pool_timeout_seconds: PositiveSeconds = 5
    database_pool_recycle_seconds: PositiveSeconds = 540
    """Below the 10 minutes after which Fly's proxy drains a connection."""
    database_connect_timeout_seconds: PositiveSeconds = 5
    """Used if the URL has no connect_timeout."""
    database_statement_timeout_seconds: PositiveSeconds = 15
    database_lock_timeout_seconds: PositiveSeconds = 5
    database_idle_in_transaction_timeout_seconds: PositiveSeconds = 30


class MigrationSettings(DatabaseSettings):
    """Time limits of migrations, each below the 10 minutes of fly.toml's release_command_timeout."""

    migration_wake_timeout_seconds: PositiveSeconds = 60
    """For a database that is asleep or starting."""
    migration_queue_timeout_seconds: PositiveSeconds = 240
    """For another migration to end."""
    migration_lock_timeout_seconds: PositiveSeconds = 1
    """For one attempt to get a lock; requests queue behind it."""
    migration_lock_patience_seconds: PositiveSeconds = 30
    """For all attempts together."""
    migration_statement_timeout_seconds: PositiveSeconds = 240


def _default_trusted_proxies() -> tuple[IPv4Network | IPv6Network, ...]:
    return FLY_PROXY_NETWORKS if "FLY_APP_NAME" in os.environ else ()


def _is_staging(fly_app_name: object) -> bool:
    return isinstance(fly_app_name, str) and fly_app_name.endswith("-staging")


class Settings(DatabaseSettings):
    """All settings of the API. Variables are named as the fields, in upper case; units are in the names."""

    environment: Literal["development", "production"] = "production"
    host: str = "0.0.0.0"  # noqa: S104 - Fly's proxy connects over the machine's private IPv4 address
    port: int = Field(default=8080, ge=1, le=65535)
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """The port of /metrics, which Fly's proxy doesn't publish. Unset: no metrics are served."""
    audifi_commit: str = Field(default="", pattern=r"^([0-9a-f]{7,40})?$")
    """The commit that the image was built from; empty outside an image."""

    shutdown_timeout_seconds: PositiveSeconds = 20
    """For requests in flight at SIGTERM. Together with drain and pools below fly.toml's kill_timeout."""
    shutdown_drain_seconds: float = Field(default=1, ge=0, le=60)
    trusted_proxies: Networks = Field(default_factory=_default_trusted_proxies)
    """Networks of proxies whose headers name the client's address and scheme. Unset: Fly's, on Fly."""

    # No secret has a default, not even in development: `make run` generates its own.
    jwt_secret: Secret
    """Signs access tokens; the keys of refresh tokens and of rate limit counters are derived from it."""
    jwt_secret_previous: Secret | None = None
    """The secret before, whose tokens are still accepted. Remove it when they have expired, after 30 days."""
    magic_link_secret: Secret
    """The keys of the HMACs of links, codes and flows are derived from it."""
    magic_link_secret_previous: Secret | None = None
    """The secret before; remove it after 10 minutes."""
    trusted_callers: TrustedCallers = ()
    """Servers that may tell the address of the person they call for, such as a frontend's: NAME=SECRET, separated by
    commas. A name may have several secrets, while one replaces the other."""
    fly_app_name: str = "audifi-api"
    """Set by Fly. Tokens name it as issuer and audience, so that production refuses staging's."""

    app_url: Url
    """The frontend. Links in e-mails lead there, and its origin may call this API."""
    allowed_origins: Urls = ()
    """Other origins whose pages may call this API, separated by commas."""

    fly_machine_id: str = ""
    fly_region: str = ""

    sentry_dsn: Dsn | None = None
    """Where unhandled errors are reported. Unset: nowhere."""

    otel_exporter_otlp_endpoint: Url | None = None
    """Where traces are sent, by OTLP over HTTP; the exporter reads the other OTEL_… itself. Unset: nowhere."""

    client_requests_per_minute: int = Field(default=600, ge=1, le=1_000_000)
    """Per IPv4 address or IPv6 /64. Many people may share one: mobile networks, offices."""
    account_requests_per_minute: int = Field(default=300, ge=1, le=1_000_000)
    account_changes_per_day: int = Field(default=100, ge=1, le=1_000_000)
    """Changes of an account by its owner; each is recorded for a year."""
    rate_limit_factor: int = Field(default=1, ge=1, le=1_000_000)
    """Multiplies every rate limit, so that end-to-end tests don't reach them. For development only."""
    test_code: str | None = Field(default=None, pattern=r"^[0-9]{8}$")
    """The code in each e-mail to an address at example.com, for end-to-end tests. For development only."""
    max_concurrent_requests: int = Field(default=150, ge=1, le=10_000)
    """Requests in flight on a machine; others are answered 503. Above fly.toml's soft limit, at which Fly turns to
    another machine; below its hard limit, so that the answer is this server's."""
    docs_enabled: bool = True
    """Whether /docs and /openapi.json are served."""

    platform_bps: int = Field(default=1000, ge=0, le=5000)
    """The platform's part of the revenue of masters, in hundredths of a percent. An offering keeps what it was at its
    launch; so with the next two."""
    sale_fee_bps: int = Field(default=500, ge=0, le=5000)
    """The platform's part of an offering's proceeds."""
    resale_fee_bps: int = Field(default=0, ge=0, le=500)
    """The platform's part of each resale."""
    proceeds_delay_days: int = Field(default=7, ge=0, le=365)
    """How long the proceeds of an offering are pending before their artist can spend them."""

    declare_notice_hours: int = Field(default=24, ge=0, le=720)
    """The least time from the declaration of a distribution to its record time."""

    sendgrid_api_key: ApiKey | None = Field(default=None, validate_default=True)
    """Required in production. Without it, in development, e-mails are printed and kept in `mail_folder`."""
    sendgrid_api_url: Url = "https://api.sendgrid.com"
    """https://api.eu.sendgrid.com for EU subusers."""
    sendgrid_webhook_public_key: Annotated[PublicKey | None, NoDecode, PlainValidator(PublicKey.parse)] = None
    """Verifies the events of SendGrid's signed Event Webhook. Unset: the delivery of e-mails is unknown."""
    mail_from: Mailbox = ""
    """`AudiFi <hello@audifi.example>`, a sender verified by SendGrid. Default: sign-in@ the host of `app_url`."""
    mail_folder: Path = Path(".data/mail")
    funding: Literal["operator", "development"] = "operator"
    """Who says that money came in or went out: operators, or in development each account for itself."""
    currencies: Currencies = ("USD", "EUR")
    """The currencies that money may be in, separated by commas (ISO 4217). One with balances must stay."""
    payments: Literal["off", "stripe", "stand_in"] = "off"
    """Who charges cards: Stripe, or in development its stand-in. `off`: nobody does."""
    stripe_secret_key: ApiKey | None = Field(default=None, validate_default=True)
    """A restricted key. Production has one of live mode; staging and other machines have one of test mode."""
    stripe_webhook_secret: ApiKey | None = Field(default=None, validate_default=True)
    """Verifies the events of the platform's account."""
    stripe_webhook_secret_previous: ApiKey | None = None
    """The secret before; remove it when Stripe has stopped to sign with it."""
    stripe_connect_webhook_secret: ApiKey | None = None
    """Verifies the events of connected accounts, to which payouts go. Unset: they are refused."""
    stripe_connect_webhook_secret_previous: ApiKey | None = None
    stripe_api_base: Url | None = Field(default=None, validate_default=True)
    """The stand-in's address."""
    stripe_timeout_seconds: PositiveSeconds = 10
    """For one call with its retries."""
    deposit_payout_days: int = Field(default=120, ge=0, le=365)
    """How long money that came by card can't be paid out, only refunded: as long as its owner can dispute it."""
    grace_days: int = Field(default=7, ge=0, le=60)
    """How long the plan of a subscription is in force while its invoice is open."""

    mail_limit_per_hour: int = Field(default=2000, ge=1, le=1_000_000)
    """E-mails to all addresses together: bounds the cost of an attack on sign-in."""

    files_endpoint: Url
    """The S3 API of the object storage: https://fly.storage.tigris.dev."""
    files_bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    files_key_id: AccessKey
    files_secret: AccessKey

    master_review: bool | None = None
    """Whether an admin reviews submitted masters. Unset: in production only."""

    # A field's validator sees the fields above it. A model validator would run only if all fields are valid, and hide
    # its error until the others are fixed.

    @field_validator("metrics_port")
    @classmethod
    def _check_metrics_port(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and value == info.data.get("port"):
            raise ValueError("must not be PORT")
        return value

    @field_validator("magic_link_secret", "magic_link_secret_previous")
    @classmethod
    def _check_secrets_differ(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value and value in {info.data.get("jwt_secret"), info.data.get("jwt_secret_previous")}:
            raise ValueError("must differ from JWT_SECRET and JWT_SECRET_PREVIOUS")
        return value

    @field_validator("trusted_callers")
    @classmethod
    def _check_callers_know_no_other_secret(
        cls, value: tuple[TrustedCaller, ...], info: ValidationInfo
    ) -> tuple[TrustedCaller, ...]:
        others = {info.data.get(name) for name in SECRETS}
        if any(caller.secret in others for caller in value):
            raise ValueError(f"must have other secrets than {', '.join(map(str.upper, SECRETS))}")
        return value

    @field_validator("funding")
    @classmethod
    def _check_real_money_in_production(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("environment") == "production" and value == "development":
            raise ValueError("must not be development in production")
        return value

    @field_validator("payments")
    @classmethod
    def _check_stand_in(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("environment") == "production" and value == "stand_in":
            raise ValueError("must not be stand_in in production")
        return value

    @field_validator("stripe_secret_key")
    @classmethod
    def _check_mode_of_key(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        """Keep live money out of tests, and test money out of production. Staging runs in production's mode, too."""
        if info.data.get("payments") == "off":
            return value
        is_live = info.data.get("environment") == "production" and not _is_staging(info.data.get("fly_app_name"))
        kinds = ("sk_live_", "rk_live_") if is_live else ("sk_test_", "rk_test_")
        if value is None or not value.get_secret_value().startswith(kinds):
            raise ValueError(f"must start with {' or '.join(reversed(kinds))}")
        return value

    @field_validator("stripe_webhook_secret")
    @classmethod
    def _check_webhook_secret(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if info.data.get("payments") != "off" and not (value and value.get_secret_value()):
            raise ValueError("is missing")
        return value

    @field_validator("stripe_api_base")
    @classmethod
    def _check_api_base(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value and info.data.get("environment") == "production":
            raise ValueError("must not be set in production")
        if not value and info.data.get("payments") == "stand_in":
            raise ValueError("is missing")
        return value

    @field_validator("app_url")
    @classmethod
    def _check_https_in_production(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("environment") == "production" and not value.startswith("https:"):
            raise ValueError("must start with https://")
        return value

    @field_validator("rate_limit_factor", "test_code")
    @classmethod
    def _check_development(cls, value: object, info: ValidationInfo) -> object:
        if info.data.get("environment") != "development" and value != cls.model_fields[str(info.field_name)].default:
            raise ValueError("is for development only")
        return value

    @field_validator("sendgrid_api_key")
    @classmethod
    def _check_key_in_production(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if info.data.get("environment") == "production" and not (value and value.get_secret_value()):
            raise ValueError("is missing")
        return value

    @property
    def origins(self) -> tuple[str, ...]:
        """Return the origins whose pages may call this API with cookies."""
        return tuple(
            f"{parts.scheme}://{parts.netloc}" for parts in map(urlsplit, (self.app_url, *self.allowed_origins))
        )

    @property
    def is_live(self) -> bool:
        """Return whether money at Stripe is real."""
        key = self.stripe_secret_key
        return key is not None and "_live_" in key.get_secret_value()

    @property
    def reviews_masters(self) -> bool:
        return self.environment == "production" if self.master_review is None else self.master_review

    @property
    def proceeds_delay(self) -> timedelta:
        return timedelta(days=self.proceeds_delay_days)

    @property
    def declare_notice(self) -> timedelta:
        return timedelta(hours=self.declare_notice_hours)

    @property
    def deployment(self) -> str:
        """Return the environment's name in reports, such as `audifi-api-staging`."""
        return self.fly_app_name if self.environment == "production" else self.environment

    @property
    def mail_sender(self) -> str:
        return self.mail_from or f"AudiFi <sign-in@{urlsplit(self.app_url).hostname}>"

    @property
    def version(self) -> str:
        """Return the package's version with the commit as SemVer build metadata: `0.1.0+1a2b3c4` (semver.org, 10)."""
        return f"{__version__}+{self.audifi_commit[:7]}" if self.audifi_commit else __version__


def load[S: BaseSettings](kind: type[S]) -> S:
    """Read settings from the environment.

    Raises:
        SettingsError: a line for each variable that is missing or wrong.
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
