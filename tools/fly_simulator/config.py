"""The part of fly.toml that this project uses: https://fly.io/docs/reference/configuration/

Unknown keys are refused, so that a misspelt setting is noticed. Fly's own parser ignores them.
"""

import re
import shlex
import signal
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


class ConfigError(Exception):
    """fly.toml is missing or invalid; the message says why."""


def seconds(value: object) -> object:
    """Convert a Go duration with one unit (`30s`) to seconds; return other values unchanged."""
    match = re.fullmatch(r"(\d+)(ms|s|m|h)", value) if isinstance(value, str) else None
    return int(match[1]) * UNITS[match[2]] if match else value


def clamped(value: object) -> object:
    """Convert a check's duration, clamped to 1 to 60 s as flyctl does (internal/appconfig/validation.go)."""
    duration = seconds(value)
    return min(max(duration, 1), 60) if isinstance(duration, int | float) else duration


Seconds = Annotated[float, BeforeValidator(seconds)]
CheckSeconds = Annotated[float, BeforeValidator(clamped)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Build(Strict):
    dockerfile: str = "Dockerfile"


class Concurrency(Strict):
    type: Literal["requests", "connections"] = "connections"
    soft_limit: int = 20
    hard_limit: int = 25


class Check(Strict):
    method: Literal["GET", "HEAD"] = "GET"
    path: str = "/"
    interval: CheckSeconds = 15
    timeout: CheckSeconds = 2
    grace_period: CheckSeconds = 1


class HttpService(Strict):
    internal_port: int = 8080
    force_https: bool = False
    auto_stop_machines: Literal["off", "stop", "suspend"] = "off"
    auto_start_machines: bool = False
    min_machines_running: int = 0
    concurrency: Concurrency = Concurrency()
    checks: list[Check] = []


class Deploy(Strict):
    release_command: str = ""
    release_command_timeout: Seconds = 300
    strategy: Literal["rolling", "bluegreen", "immediate"] = "rolling"
    wait_timeout: Seconds = 300


class Metrics(Strict):
    port: int
    path: str = "/metrics"


class VM(Strict):
    size: str
    memory: str


class FlyToml(Strict):
    app: str
    primary_region: str = "iad"
    kill_signal: Literal["SIGINT", "SIGTERM", "SIGQUIT", "SIGKILL"] = "SIGINT"
    kill_timeout: Annotated[float, BeforeValidator(seconds), Field(le=300)] = 5
    build: Build = Build()
    env: dict[str, str] = {}
    http_service: HttpService = HttpService()
    deploy: Deploy = Deploy()
    metrics: Metrics | None = None
    vm: list[VM] = []


class MachineConfig(Strict):
    """Configuration of a machine: https://fly.io/docs/machines/api/machines-resource/"""

    image: str
    """Name and tag: `registry.fly.io/audifi-api:1a2b3c4`."""
    env: dict[str, str]
    command: list[str] | None = None
    """Replaces the image's CMD."""
    internal_port: int | None = None
    hard_limit: int = 25
    check: Check | None = None
    kill_signal: str = "SIGINT"
    kill_timeout: float = 5
    is_release_command: bool = False

    @property
    def signal(self) -> signal.Signals:
        return signal.Signals[self.kill_signal]


def read(folder: Path) -> FlyToml:
    """Read fly.toml from a folder.

    Raises:
        ConfigError: the file is missing, isn't TOML, or has an unknown key or value.
    """
    file = folder / "fly.toml"
    try:
        return FlyToml.model_validate(tomllib.loads(file.read_text()))
    except FileNotFoundError:
        raise ConfigError(f"there is no fly.toml in {folder.name}/") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"fly.toml: {error}") from None
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise ConfigError("fly.toml: " + "; ".join(wrong)) from None


def serving(config: FlyToml, image: str) -> MachineConfig:
    """Return the configuration of a machine of the service."""
    service = config.http_service
    return MachineConfig(
        image=image,
        env=config.env,
        internal_port=service.internal_port,
        hard_limit=service.concurrency.hard_limit,
        check=service.checks[0] if service.checks else None,
        kill_signal=config.kill_signal,
        kill_timeout=config.kill_timeout,
    )


def releasing(config: FlyToml, image: str) -> MachineConfig:
    """Return the configuration of the release command's machine: no service and no check.

    The command is split without a shell (flyctl `internal/appconfig/machines.go`).
    """
    return MachineConfig(
        image=image,
        env=config.env | {"RELEASE_COMMAND": "1"},
        command=shlex.split(config.deploy.release_command),
        is_release_command=True,
    )
