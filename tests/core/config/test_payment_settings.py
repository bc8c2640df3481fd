"""Settings of payments: live keys in production alone, test keys elsewhere, and none by accident."""

import pytest

from audifi.core.config.settings import Settings, SettingsError, load
from tests.core.config.test_settings import COMPLETE

LIVE = {"PAYMENTS": "stripe", "STRIPE_SECRET_KEY": "rk_live_s3cr3t", "STRIPE_WEBHOOK_SECRET": "whsec_s3cr3t"}
TEST = LIVE | {"STRIPE_SECRET_KEY": "rk_test_s3cr3t"}
STAGING = {"FLY_APP_NAME": "audifi-api-staging"}
DEVELOPMENT = {"ENVIRONMENT": "development"}
BASE = {"STRIPE_API_BASE": "http://localhost:12111"}


def loaded(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> Settings:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in (COMPLETE | variables).items():
        monkeypatch.setenv(name, value)
    return load(Settings)


@pytest.mark.parametrize(
    ("variables", "is_live"),
    [
        ({}, False),
        (LIVE, True),
        (TEST | STAGING, False),
        (TEST | DEVELOPMENT, False),
        (TEST | DEVELOPMENT | BASE | {"PAYMENTS": "stand_in"}, False),
        ({"STRIPE_SECRET_KEY": "rk_live_s3cr3t"}, True),  # off: set before it is switched on
    ],
)
def test_payments_start_with_the_keys_of_their_mode(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], *, is_live: bool
) -> None:
    assert loaded(monkeypatch, variables).is_live is is_live


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (TEST, "STRIPE_SECRET_KEY: must start with rk_live_ or sk_live_"),
        (LIVE | STAGING, "STRIPE_SECRET_KEY: must start with rk_test_ or sk_test_"),
        (LIVE | DEVELOPMENT, "STRIPE_SECRET_KEY: must start with rk_test_ or sk_test_"),
        (
            {"PAYMENTS": "stripe", "STRIPE_WEBHOOK_SECRET": "whsec_s3cr3t"},
            "STRIPE_SECRET_KEY: must start with rk_live_",
        ),
        ({"PAYMENTS": "stripe", "STRIPE_SECRET_KEY": "rk_live_s3cr3t"}, "STRIPE_WEBHOOK_SECRET: is missing"),
        (TEST | BASE | {"PAYMENTS": "stand_in"}, "PAYMENTS: must not be stand_in in production"),
        (LIVE | BASE, "STRIPE_API_BASE: must not be set in production"),
        (TEST | DEVELOPMENT | {"PAYMENTS": "stand_in"}, "STRIPE_API_BASE: is missing"),
    ],
)
def test_wrong_payment_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], sentence: str
) -> None:
    with pytest.raises(SettingsError) as refusal:
        loaded(monkeypatch, variables)
    assert sentence in str(refusal.value)
    assert "s3cr3t" not in str(refusal.value)
