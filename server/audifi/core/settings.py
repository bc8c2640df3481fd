"""Settings, from the environment alone. A wrong one stops the start with a sentence that names it, never its value."""

import os
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainValidator, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from audifi import __version__
from audifi.core.database_url import DatabaseURL

PositiveSeconds = Annotated[
    float, Field(ge=0.001, le=3600)
]  # under a millisecond PostgreSQL's would be 0, which is off
Networks = tuple[IPv4Network | IPv6Network, ...]
CommaSeparated = BeforeValidator(
    lambda given: list(filter(None, given.split(","))) if isinstance(given, str) else given
)

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

    database_pool_size: int = Field(default=10, ge=1, le=100)
    database_pool_max_overflow: int = Field(default=5, ge=0, le=100)
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
    migration_lock_timeout_seconds: PositiveSeconds = 5  # then it gives up, before traffic queues behind it
    migration_statement_timeout_seconds: PositiveSeconds = 240


def _default_trusted_proxies() -> Networks:
    return FLY_PROXY_NETWORKS if "FLY_APP_NAME" in os.environ else ()


class Settings(DatabaseSettings):
    """All that the API reads. Names are the environment variables', in lower case; units are in the names."""

    environment: Literal["development", "production"] = "production"
    host: str = "0.0.0.0"  # noqa: S104 - Fly's proxy reaches the machine over its private IPv4 address
    port: int = Field(default=8080, ge=1, le=65535)
    audifi_commit: str = Field(default="", pattern=r"^([0-9a-f]{7,40})?$")
    """The commit that the image was built from; empty outside an image."""

    shutdown_timeout_seconds: PositiveSeconds = 20
    """For requests in flight at SIGTERM. With the drain and the pool's close it stays under fly.toml's kill_timeout."""
    shutdown_drain_seconds: float = Field(default=1, ge=0, le=60)
    trusted_proxies: Annotated[Networks, NoDecode, CommaSeparated] = Field(default_factory=_default_trusted_proxies)

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
            f"{str(detail['loc'][0]).upper()}: "
            + ("is missing" if detail["type"] == "missing" else detail["msg"].removeprefix("Value error, "))
            for detail in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise SettingsError("\n".join(problems)) from None
