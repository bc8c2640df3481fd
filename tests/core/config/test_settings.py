"""Settings from the environment: a wrong one is named, and its value isn't shown."""

from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from audifi import __version__
from audifi.core.config.settings import FLY_PROXY_NETWORKS, DatabaseSettings, Settings, SettingsError, load
from tests.support import sendgrid

URL = "postgres://u:s3cr3t@db.example/d"
LONG = "s3cr3t" * 6
COMPLETE = {
    "DATABASE_URL": URL,
    "JWT_SECRET": LONG,
    "MAGIC_LINK_SECRET": LONG[::-1],
    "SENDGRID_API_KEY": "SG.s3cr3t",
    "APP_URL": "https://app.audifi.test",
    "FILES_ENDPOINT": "https://files.example",
    "FILES_BUCKET": "audifi",
    "FILES_KEY_ID": "tid_s3cr3t",
    "FILES_SECRET": "s3cr3t",
}


VERIFICATION_KEY = "must be the Verification Key that SendGrid shows"
OF_ANOTHER_CURVE = sendgrid.public_key_of(ec.generate_private_key(ec.SECP384R1()))
PRIVATE_KEY = b64encode(sendgrid.EVENTS_KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).decode()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)


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
        (
            "TRUSTED_PROXIES",
            "10.0.0.0/8,s3cr3t",
            "TRUSTED_PROXIES: must be networks such as 172.16.0.0/12, separated by commas",
        ),
        ("TRUSTED_CALLERS", "web=s3cr3t", "TRUSTED_CALLERS: must be NAME=SECRET, separated by commas"),
        ("TRUSTED_CALLERS", "s3cr3t" * 6, "TRUSTED_CALLERS: must be NAME=SECRET"),
        ("TRUSTED_CALLERS", "Web=" + "s3cr3t" * 6, "TRUSTED_CALLERS: must be NAME=SECRET"),
        ("TRUSTED_CALLERS", "web=s3cr3t " + "s3cr3t" * 6, "TRUSTED_CALLERS: must be NAME=SECRET"),
        ("TRUSTED_CALLERS", ",".join(["web=s3cr3t" + "x" * 26] * 2), "TRUSTED_CALLERS: must be NAME=SECRET"),
        ("TRUSTED_CALLERS", f"web={LONG}", "TRUSTED_CALLERS: must have other secrets than JWT_SECRET, JWT_SECRET_PREV"),
        ("CURRENCIES", "USD,usd", "CURRENCIES: must be different codes of AUD, BRL, CAD"),
        ("CURRENCIES", "USD,USD", "CURRENCIES: must be different codes of"),
        ("CURRENCIES", "", "CURRENCIES: must be different codes of"),
        ("METRICS_PORT", "8080", "METRICS_PORT: must not be PORT"),
        ("JWT_SECRET", "s3cr3t" * 5, "JWT_SECRET: must have at least 32 characters; `openssl rand"),
        ("JWT_SECRET_PREVIOUS", "s3cr3t", "JWT_SECRET_PREVIOUS: must have at least 32 characters"),
        ("MAGIC_LINK_SECRET", "", "MAGIC_LINK_SECRET: must have at least 32 characters"),
        ("MAGIC_LINK_SECRET_PREVIOUS", "s3cr3t", "MAGIC_LINK_SECRET_PREVIOUS: must have at least 32 characters"),
        ("SENDGRID_API_KEY", "", "SENDGRID_API_KEY: is missing"),
        ("FILES_ENDPOINT", "s3cr3t", "FILES_ENDPOINT: must be a URL"),
        ("FILES_BUCKET", "S3cr3t", "FILES_BUCKET: String should match pattern"),
        ("FILES_KEY_ID", "s3cr3t\n1", "FILES_KEY_ID: contains spaces"),
        ("FILES_SECRET", "", "FILES_SECRET: is empty"),
        ("APP_URL", "s3cr3t", "APP_URL: must be a URL such as https://app.example.com"),
        ("APP_URL", "https://s3cr3t@app.example.com", "APP_URL: must be a URL such as"),
        ("APP_URL", "https://App.Example.com", "APP_URL: must be lower case"),
        ("APP_URL", "https://app.example.com/#s3cr3t", "APP_URL: must be lower case, with neither"),
        ("APP_URL", "http://app.example.com", "APP_URL: must start with https://"),
        ("APP_URL", "https://app.example.com:443", "APP_URL: must be without :443, which browsers leave out"),
        ("ALLOWED_ORIGINS", "http://a.example:80", "ALLOWED_ORIGINS: must be without :80"),
        ("APP_URL", "https://app.example.com:99999", "APP_URL: must have a port from 1 to 65535"),
        ("APP_URL", "https://app.example.com:s3cr3t", "APP_URL: must be a URL"),
        ("APP_URL", "https://app.example.com/s3cr3t\nx", "APP_URL: must be a URL"),
        ("APP_URL", "https://app.exam\tple.com", "APP_URL: must be a URL"),
        ("APP_URL", "https://app.example.com/a b", "APP_URL: must be a URL"),
        ("APP_URL", " ", "APP_URL: must be a URL"),
        ("ALLOWED_ORIGINS", "https://a.example,s3cr3t", "ALLOWED_ORIGINS: must be a URL"),
        ("ALLOWED_ORIGINS", "*", "ALLOWED_ORIGINS: must not contain *: wildcards aren't supported"),
        ("ALLOWED_ORIGINS", "https://a.example,https://*.vercel.app", "ALLOWED_ORIGINS: must not contain *"),
        ("ALLOWED_ORIGINS", "https://a.example https://b.example", "ALLOWED_ORIGINS: must be a URL"),
        ("SENDGRID_WEBHOOK_PUBLIC_KEY", "s3cr3t", f"SENDGRID_WEBHOOK_PUBLIC_KEY: {VERIFICATION_KEY}"),
        ("SENDGRID_WEBHOOK_PUBLIC_KEY", "c2VjcmV0", f"SENDGRID_WEBHOOK_PUBLIC_KEY: {VERIFICATION_KEY}"),
        ("SENDGRID_WEBHOOK_PUBLIC_KEY", OF_ANOTHER_CURVE, f"SENDGRID_WEBHOOK_PUBLIC_KEY: {VERIFICATION_KEY}"),
        ("SENDGRID_WEBHOOK_PUBLIC_KEY", PRIVATE_KEY, f"SENDGRID_WEBHOOK_PUBLIC_KEY: {VERIFICATION_KEY}"),
        ("SENDGRID_API_URL", "api.sendgrid.com", "SENDGRID_API_URL: must be a URL"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "https://otel.example?key=s3cr3t",
            "OTEL_EXPORTER_OTLP_ENDPOINT: must be lower",
        ),
        ("SENTRY_DSN", "https://s3cr3t.example/1", "SENTRY_DSN: must be a DSN"),
        ("MAIL_FROM", "AudiFi\n<s3cr3t@a.example>", "MAIL_FROM: must be a mailbox such as"),
        ("MAIL_FROM", "s3cr3t", "MAIL_FROM: must be a mailbox such as"),
        ("MAIL_FROM", "Audi, Fi <s3cr3t@a.example>", "MAIL_FROM: must be a mailbox such as"),
        ("FUNDING", "development", "FUNDING: must not be development in production"),
        ("FUNDING", "s3cr3t", "FUNDING: Input should be 'operator' or 'development'"),
        ("SENDGRID_API_KEY", "SG.s3cr3t\nx", "SENDGRID_API_KEY: contains spaces"),
        ("SENDGRID_API_KEY", "SG.s3cr3t\xe9", "SENDGRID_API_KEY: contains spaces"),
        ("RATE_LIMIT_FACTOR", "2", "RATE_LIMIT_FACTOR: is for development only"),
        ("TEST_CODE", "12345678", "TEST_CODE: is for development only"),
        ("TEST_CODE", "s3cr3t", "TEST_CODE: String should match"),
    ],
)
def test_wrong_setting_is_named_without_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as refusal:
        load(Settings)

    assert str(refusal.value).startswith(sentence)
    assert "s3cr3t" not in str(refusal.value)


@pytest.mark.parametrize("key", ["", " ", f" {sendgrid.PUBLIC_KEY}\n"])
def test_key_of_sendgrids_events_may_be_empty_or_spaced(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    assert load(Settings).sendgrid_webhook_public_key is None
    monkeypatch.setenv("SENDGRID_WEBHOOK_PUBLIC_KEY", key)
    assert (load(Settings).sendgrid_webhook_public_key is not None) is bool(key.strip())


def test_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")

    with pytest.raises(SettingsError, match=r"^DATABASE_URL: is missing$"):
        load(DatabaseSettings)


@pytest.mark.parametrize("name", sorted(COMPLETE))
def test_production_requires_each_secret(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name)

    with pytest.raises(SettingsError, match=rf"^{name}: is missing$"):
        load(Settings)


def test_all_wrong_settings_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in COMPLETE:
        monkeypatch.delenv(name)
    monkeypatch.setenv("APP_URL", "http://app.example.com")
    monkeypatch.setenv("METRICS_PORT", "8080")

    with pytest.raises(SettingsError) as refusal:
        load(Settings)
    missing = {f"{name}: is missing" for name in COMPLETE if name != "APP_URL"}
    assert set(str(refusal.value).splitlines()) == missing | {
        "APP_URL: must start with https://",
        "METRICS_PORT: must not be PORT",
    }


@pytest.mark.parametrize("link_secret", ["MAGIC_LINK_SECRET", "MAGIC_LINK_SECRET_PREVIOUS"])
@pytest.mark.parametrize("token_secret", ["JWT_SECRET", "JWT_SECRET_PREVIOUS"])
def test_one_secret_for_two_uses_is_refused(
    monkeypatch: pytest.MonkeyPatch, link_secret: str, token_secret: str
) -> None:
    for name in (link_secret, token_secret):
        monkeypatch.setenv(name, "the same " * 4)

    with pytest.raises(SettingsError, match=rf"^{link_secret}: must differ from JWT_SECRET"):
        load(Settings)


def test_callers_have_names_and_several_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = ["+/=" + letter * 29 for letter in "abc"]
    monkeypatch.setenv("TRUSTED_CALLERS", "web={}, web={},\n admin-2={}".format(*secrets))
    settings = load(Settings)

    assert [caller.name for caller in settings.trusted_callers] == ["web", "web", "admin-2"]
    assert [caller.secret.get_secret_value() for caller in settings.trusted_callers] == secrets
    assert not any(secret in repr(settings) for secret in secrets)


def test_development_needs_no_sendgrid_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "development")
    monkeypatch.setenv("APP_URL", "http://localhost:3000")
    monkeypatch.delenv("SENDGRID_API_KEY")

    assert load(Settings).sendgrid_api_key is None


def test_frontend_and_named_origins_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_URL", "https://app.audifi.test/studio/")
    monkeypatch.setenv("ALLOWED_ORIGINS", "https://admin.audifi.test,http://localhost:5173/")
    settings = load(Settings)

    assert settings.app_url == "https://app.audifi.test/studio"
    assert settings.origins == ("https://app.audifi.test", "https://admin.audifi.test", "http://localhost:5173")


@pytest.mark.parametrize("blank", [" ", "\n", "\t", "\r\n"])
def test_blanks_around_values_are_removed(monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    for name, value in {
        "APP_URL": "https://app.audifi.test",
        "SENDGRID_API_URL": "https://sendgrid.audifi.test",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://otel.audifi.test",
        "SENTRY_DSN": "https://key@sentry.audifi.test/1",
        "SENDGRID_API_KEY": "SG.key",
    }.items():
        monkeypatch.setenv(name, f"{blank}{value}{blank}")
    monkeypatch.setenv("ALLOWED_ORIGINS", f"https://a.example{blank},{blank}https://b.example,{blank}")
    monkeypatch.setenv("TRUSTED_PROXIES", f"10.0.0.0/8{blank},{blank}fd00::/8")
    settings = load(Settings)

    assert settings.origins == ("https://app.audifi.test", "https://a.example", "https://b.example")
    assert settings.app_url == "https://app.audifi.test"
    assert settings.sendgrid_api_url == "https://sendgrid.audifi.test"
    assert settings.otel_exporter_otlp_endpoint == "https://otel.audifi.test"
    assert settings.sentry_dsn
    assert settings.sentry_dsn.get_secret_value() == "https://key@sentry.audifi.test/1"
    assert settings.sendgrid_api_key
    assert settings.sendgrid_api_key.get_secret_value() == "SG.key"
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "fd00::/8"]


def test_default_sender_is_at_the_frontends_host(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(Settings).mail_sender == "AudiFi <sign-in@app.audifi.test>"
    monkeypatch.setenv("MAIL_FROM", "hello@audifi.test")
    assert load(Settings).mail_sender == "hello@audifi.test"


def test_settings_show_no_secret_when_printed() -> None:
    settings = load(Settings)

    assert "s3cr3t" not in repr(settings)
    assert "s3cr3t" not in str(settings)


@pytest.mark.parametrize(
    ("commit", "version"),
    [("", __version__), ("1a2b3c4", f"{__version__}+1a2b3c4"), ("1a2b3c4d" * 5, f"{__version__}+1a2b3c4")],
)
def test_version_names_the_commit(monkeypatch: pytest.MonkeyPatch, commit: str, version: str) -> None:
    monkeypatch.setenv("AUDIFI_COMMIT", commit)

    assert load(Settings).version == version


def test_proxies_are_trusted_on_fly_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(Settings).trusted_proxies == ()
    monkeypatch.setenv("FLY_APP_NAME", "audifi-api")
    assert load(Settings).trusted_proxies == FLY_PROXY_NETWORKS
