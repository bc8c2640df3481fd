"""Settings from the environment: what is wrong is named, and its value isn't shown."""

import pytest

from audifi import __version__
from audifi.core.settings import FLY_PROXY_NETWORKS, DatabaseSettings, Settings, SettingsError, load

URL = "postgres://u:s3cr3t@db.example/d"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*Settings.model_fields, "fly_app_name"]:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("DATABASE_URL", URL)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("DATABASE_URL", "mysql://u:s3cr3t@h/d", "DATABASE_URL: must start with postgres://"),
        ("DATABASE_URL", "", "DATABASE_URL: is empty"),
        ("PORT", "s3cr3t", "PORT: Input should be a valid integer"),
        ("PORT", "0", "PORT: Input should be greater than or equal to 1"),
        ("ENVIRONMENT", "s3cr3t", "ENVIRONMENT: Input should be 'development' or 'production'"),
        ("AUDIFI_COMMIT", "s3cr3t", "AUDIFI_COMMIT: String should match"),
        ("DATABASE_POOL_SIZE", "0", "DATABASE_POOL_SIZE: Input should be greater than or equal to 1"),
        ("DATABASE_STATEMENT_TIMEOUT_SECONDS", "0", "DATABASE_STATEMENT_TIMEOUT_SECONDS: Input should be greater"),
        ("SHUTDOWN_TIMEOUT_SECONDS", "inf", "SHUTDOWN_TIMEOUT_SECONDS: Input should be"),
        ("TRUSTED_PROXIES", "s3cr3t", "TRUSTED_PROXIES: "),
    ],
)
def test_a_wrong_setting_is_named_without_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as refusal:
        load(Settings)

    assert str(refusal.value).startswith(sentence)
    assert "s3cr3t" not in str(refusal.value)


def test_a_missing_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")

    with pytest.raises(SettingsError, match=r"^DATABASE_URL: is missing$"):
        load(DatabaseSettings)


def test_nothing_that_prints_settings_shows_the_password() -> None:
    settings = load(Settings)

    assert "s3cr3t" not in repr(settings)
    assert "s3cr3t" not in str(settings)


@pytest.mark.parametrize(
    ("commit", "version"),
    [("", __version__), ("1a2b3c4", f"{__version__}+1a2b3c4"), ("1a2b3c4d" * 5, f"{__version__}+1a2b3c4")],
)
def test_the_version_names_the_commit(monkeypatch: pytest.MonkeyPatch, commit: str, version: str) -> None:
    monkeypatch.setenv("AUDIFI_COMMIT", commit)

    assert load(Settings).version == version


def test_proxies_are_trusted_on_fly_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(Settings).trusted_proxies == ()
    monkeypatch.setenv("FLY_APP_NAME", "audifi-api")
    assert load(Settings).trusted_proxies == FLY_PROXY_NETWORKS


@pytest.mark.parametrize(
    ("url", "setting", "behind"),
    [
        (URL, None, False),
        (f"{URL}?pgbouncer=true", None, True),
        (URL, "true", True),
        (f"{URL}?pgbouncer=true", "false", False),
    ],
)
def test_the_setting_for_pgbouncer_overrides_what_the_url_tells(
    monkeypatch: pytest.MonkeyPatch, url: str, setting: str | None, *, behind: bool
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    if setting is not None:
        monkeypatch.setenv("DATABASE_PGBOUNCER", setting)

    assert load(Settings).behind_pgbouncer is behind
