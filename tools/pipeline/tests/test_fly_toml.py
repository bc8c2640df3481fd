"""fly.toml matches the specification, and its limits fit the server's, the migrations' and PostgreSQL's."""

import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import pytest

from audifi.core.config.settings import MigrationSettings, Settings, load
from audifi.health.probe import ANSWER_WITHIN_SECONDS
from audifi.serve import ACCEPT_QUEUE_TIMEOUT_SECONDS, EXIT_WITHIN_SECONDS
from audifi.services import POOL_CLOSE_TIMEOUT_SECONDS
from tests.support import patient
from tests.support.api import APP_URL, FILES, ROOT, SECRETS, Api

TEXT = (ROOT / "server" / "fly.toml").read_text()
FLY: dict[str, Any] = tomllib.loads(TEXT)
DOCKERFILE = (ROOT / "server" / "Dockerfile").read_text()
CHECK: dict[str, Any] = FLY["http_service"]["checks"][0]
SETTINGS = Settings.model_construct()
MACHINES = 2  # created by a first deploy

# https://fly.io/docs/reference/configuration/ and flyctl's internal/appconfig. flyctl ignores unknown keys. Sections
# that this app doesn't need are left out.
KNOWN_KEYS = """
    app primary_region kill_signal kill_timeout swap_size_mb console_command host_dedication_id

    build.dockerfile build.ignorefile build.build-target build.image build.builder build.buildpacks build.builtin
    build.settings.* build.args.* build.compression build.compression_level
    deploy.release_command deploy.release_command_timeout deploy.release_command_vm.size
    deploy.release_command_vm.memory deploy.strategy deploy.max_unavailable deploy.wait_timeout deploy.seed_command
    env.* processes.*

    http_service.internal_port http_service.force_https http_service.auto_stop_machines
    http_service.auto_start_machines http_service.min_machines_running http_service.processes
    http_service.concurrency.type http_service.concurrency.soft_limit http_service.concurrency.hard_limit
    http_service.checks.interval http_service.checks.timeout http_service.checks.grace_period
    http_service.checks.method http_service.checks.path http_service.checks.protocol
    http_service.checks.tls_skip_verify http_service.checks.tls_server_name http_service.checks.headers.*
    http_service.machine_checks.command http_service.machine_checks.image http_service.machine_checks.entrypoint
    http_service.machine_checks.kill_signal http_service.machine_checks.kill_timeout
    http_service.http_options.compress http_service.http_options.h2_backend http_service.http_options.idle_timeout
    http_service.http_options.headers_read_timeout http_service.http_options.response.headers.*
    http_service.http_options.response.pristine
    http_service.tls_options.alpn http_service.tls_options.versions http_service.tls_options.default_self_signed

    vm.size vm.memory vm.cpus vm.cpu_kind vm.kernel_args vm.host_dedication_id vm.persist_rootfs vm.processes
    metrics.port metrics.path metrics.https metrics.processes
    restart.policy restart.retries restart.processes
    statics.guest_path statics.url_prefix statics.tigris_bucket statics.index_document
""".split()


def flat(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key, as `a.b.c`, with its value; an array of tables yields the keys of its tables."""
    for key, value in table.items():
        tables = value if isinstance(value, list) and value and isinstance(value[0], dict) else [value]
        for each in tables:
            if isinstance(each, dict):
                yield from flat(each, f"{prefix}{key}.")
            else:
                yield prefix + key, each


def seconds(duration: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", duration).groups()  # type: ignore[union-attr]
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


@pytest.mark.parametrize(
    ("key", "value"),
    {
        "app": "audifi-api",
        "primary_region": "iad",
        "build.dockerfile": "Dockerfile",
        "env.PORT": "8080",
        "env.ENVIRONMENT": "production",  # NODE_ENV in the specification
        "http_service.internal_port": 8080,
        "http_service.force_https": True,
        "http_service.auto_stop_machines": "stop",
        "http_service.auto_start_machines": True,
        "http_service.min_machines_running": 1,
        "http_service.checks.path": "/api/v1/health",
        "http_service.checks.interval": "30s",
        "http_service.checks.timeout": "10s",
        "deploy.release_command": "alembic upgrade head",  # npm run db:migrate in the specification
    }.items(),
)
def test_fly_toml_matches_the_specification(key: str, value: object) -> None:
    assert [actual for name, actual in flat(FLY) if name == key] == [value]


def test_flyctl_knows_every_key() -> None:
    unknown = [key for key, _ in flat(FLY) if not any(fnmatchcase(key, known) for known in KNOWN_KEYS)]

    assert unknown == []


def test_every_duration_has_a_unit() -> None:
    durations = {key: value for key, value in flat(FLY) if re.search(r"(timeout|interval|period)$", key)}

    assert len(durations) >= 6
    for value in durations.values():
        assert isinstance(value, str)
        assert seconds(value) > 0


def test_every_variable_is_a_setting_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in FLY["env"].items():
        assert isinstance(value, str), "environment variables of Fly are strings"
        assert name.lower() in Settings.model_fields
        monkeypatch.setenv(name, value)
    secrets = {
        "DATABASE_URL": "postgres://u:p@db.flycast:5432/u?sslmode=disable",
        "APP_URL": APP_URL,
        "SENDGRID_API_KEY": "SG.key",
        **SECRETS,
        **FILES,
    }
    for name, value in secrets.items():  # as in docs/deploying.md
        monkeypatch.setenv(name, value)

    assert load(Settings).environment == "production"


def test_server_listens_on_the_internal_port() -> None:
    assert int(FLY["env"]["PORT"]) == FLY["http_service"]["internal_port"]
    assert re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE) == [FLY["env"]["PORT"]]
    assert SETTINGS.host == "0.0.0.0"  # noqa: S104 - Fly's proxy connects from outside the machine


def test_metrics_port_is_scraped_and_not_public() -> None:
    assert FLY["metrics"] == {"port": int(FLY["env"]["METRICS_PORT"]), "path": "/metrics"}
    assert FLY["metrics"]["port"] != FLY["http_service"]["internal_port"]
    assert "services" not in FLY


# A deploy


def test_unhealthy_version_takes_no_traffic() -> None:
    assert FLY["deploy"]["strategy"] == "bluegreen"
    assert len(FLY["http_service"]["checks"]) == 1, "bluegreen waits for a check"
    assert "mounts" not in FLY, "bluegreen can't move a volume"


def test_deploy_waits_for_several_health_checks() -> None:
    wait = seconds(FLY["deploy"]["wait_timeout"])

    assert wait >= seconds(CHECK["grace_period"]) + 3 * seconds(CHECK["interval"])


def test_release_command_needs_no_shell() -> None:
    program, *arguments = shlex.split(FLY["deploy"]["release_command"])

    assert shutil.which(program)
    assert not set("|&;<>$`*?~#") & set("".join(arguments))
    # The command replaces CMD, and an ENTRYPOINT would get it as arguments.
    assert not re.search(r"^ENTRYPOINT", DOCKERFILE, re.MULTILINE)


def test_migration_limits_are_below_the_release_timeout() -> None:
    bounds = [
        field.default
        for name, field in MigrationSettings.model_fields.items()
        if re.fullmatch(r"migration_.*_seconds", name)
    ]
    assert len(bounds) == 5
    assert seconds(FLY["deploy"]["release_command_timeout"]) > sum(bounds)


def test_connections_during_a_deploy_fit_postgresql() -> None:
    """PostgreSQL allows 100 connections and reserves 3 of them for superusers."""
    probe, background_reads, release = 1, 1, 2
    pools = SETTINGS.database_pool_size + SETTINGS.database_read_pool_size + SETTINGS.database_background_pool_size
    machine = pools + background_reads + probe

    assert 2 * MACHINES * machine + release <= 97


# Health


def test_health_check_path_returns_200(health_api: Api) -> None:
    answer = patient.request(CHECK["method"], health_api.url + CHECK["path"], follow_redirects=False)

    assert answer.status_code == 200


def test_health_check_timeout_fits_probe_and_interval() -> None:
    assert ANSWER_WITHIN_SECONDS < seconds(CHECK["timeout"]) < seconds(CHECK["interval"])


@pytest.mark.parametrize("key", ["interval", "timeout", "grace_period"])
def test_health_check_times_are_in_flyctls_range(key: str) -> None:
    """flyctl clamps check times to 1 to 60 seconds."""
    assert 1 <= seconds(CHECK[key]) <= 60


# Shutdown


def test_kill_signal_is_the_images_stop_signal() -> None:
    assert FLY["kill_signal"] == "SIGTERM"
    assert re.findall(r"^STOPSIGNAL (\w+)$", DOCKERFILE, re.MULTILINE) == [FLY["kill_signal"]]


def test_requests_in_flight_end_before_the_kill_timeout() -> None:
    needed = (
        ACCEPT_QUEUE_TIMEOUT_SECONDS
        + SETTINGS.shutdown_drain_seconds
        + SETTINGS.shutdown_timeout_seconds
        + POOL_CLOSE_TIMEOUT_SECONDS
    )

    assert needed + 2 < EXIT_WITHIN_SECONDS < seconds(FLY["kill_timeout"]) <= 300  # Fly's maximum


# Load


def test_auto_stop_and_auto_start_are_set_together() -> None:
    service = FLY["http_service"]

    assert (service["auto_stop_machines"] != "off") == service["auto_start_machines"]


def test_concurrency_limits_count_requests() -> None:
    concurrency = FLY["http_service"]["concurrency"]

    assert concurrency["type"] == "requests"
    assert 0 < concurrency["soft_limit"] < concurrency["hard_limit"]


def test_server_rejects_between_flys_soft_and_hard_limits() -> None:
    concurrency = FLY["http_service"]["concurrency"]

    assert concurrency["soft_limit"] < SETTINGS.max_concurrent_requests < concurrency["hard_limit"]


def test_machine_size_is_set() -> None:
    assert [set(machine) for machine in FLY["vm"]] == [{"size", "memory"}]
    assert int(re.fullmatch(r"(\d+)mb", FLY["vm"][0]["memory"])[1]) >= 512  # type: ignore[index]


def test_settings_beyond_the_specification_have_a_comment() -> None:
    """The comment is above the key, or above the table whose first key it is."""
    lines = [line.strip() for line in TEXT.splitlines()]
    for choice in ["kill_signal", "release_command_timeout", "strategy", "wait_timeout", "grace_period", "memory"]:
        at = next(number for number, line in enumerate(lines) if line.startswith(f"{choice} ="))
        assert lines[at - 1].startswith("#"), choice
