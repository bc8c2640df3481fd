"""Checks of everything but the database: settings, e-mail provider, server and machine."""

import asyncio
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from audifi.core.config.settings import DatabaseSettings, Settings, SettingsError, load
from audifi.core.files.store import FileStoreError, MissingFileError
from audifi.core.http.problems import Problem
from audifi.core.http_client import open_client
from audifi.doctor.results import Result
from audifi.payments.client import RefusedError, Stripe
from audifi.services import create_file_store

REQUEST_SECONDS = 6
WEBHOOK_PATH = "/payments/webhooks/stripe"
HEALTH_PATH = "/api/v1/health"
OK = 200
KEY_REFUSED = {401, 403}
MIN_FREE_SHARE = 0.1
SEE_LOG = "See the log: {log}."
EMAILS_WAIT = "E-mails wait and are retried for 7 minutes. See https://status.sendgrid.com and SENDGRID_API_URL."
NEW_KEY = "Create another key in SendGrid's console, then {set_key}."


def check_settings() -> tuple[Settings | None, DatabaseSettings | None, list[Result]]:
    """Return the settings if all are valid, those of the database if they are, and a result for each that isn't."""
    try:
        settings = load(Settings)
    except SettingsError as error:
        results = [Result.error("settings", f"{line}.", "{set_it}") for line in str(error).splitlines()]
        try:
            return None, load(DatabaseSettings), results
        except SettingsError:
            return None, None, results
    message = f"All settings are valid ({settings.environment}, {settings.version})."
    return settings, settings, [Result.ok("settings", message)]


async def check_addresses(settings: Settings) -> list[Result]:
    """Look for settings that are valid and probably not intended."""
    check = "addresses"
    hosts = {origin: urlsplit(origin) for origin in settings.origins}
    doubts = [
        (
            any(url.hostname in {"localhost", "127.0.0.1", "::1"} for url in hosts.values()),
            "APP_URL or ALLOWED_ORIGINS points to this machine.",
            "Set them to the frontend's address.",
        ),
        (
            any(url.scheme != "https" for url in hosts.values()),
            "ALLOWED_ORIGINS has an origin without https, whose pages an attacker on the network can change.",
            "Remove it.",
        ),
        (
            not settings.trusted_proxies,
            "TRUSTED_PROXIES is empty: all clients appear as one address and share its rate limits.",
            "On Fly, unset it; elsewhere, set it to the proxy's network.",
        ),
        (
            "fly_app_name" not in settings.model_fields_set,
            f"FLY_APP_NAME isn't set: tokens are issued and accepted for {settings.fly_app_name}.",
            "Set it to the app's name, or production may accept staging's tokens.",
        ),
    ]
    is_production = settings.environment == "production"
    warnings = [
        Result.warning(check, message, action) for applies, message, action in doubts if applies and is_production
    ]
    message = f"Pages of {', '.join(hosts)} may call the API; links in e-mails lead to {settings.app_url}."
    return warnings or [Result.ok(check, message)]


async def check_email(settings: Settings, *, request_seconds: float = REQUEST_SECONDS) -> list[Result]:
    """Check whether SendGrid accepts the key, and whether the key may send.

    https://www.twilio.com/docs/sendgrid/api-reference/api-key-permissions
    """
    check = "mail"
    if not (settings.sendgrid_api_key and (key := settings.sendgrid_api_key.get_secret_value())):
        return [
            Result.ok(check, f"SENDGRID_API_KEY isn't set: e-mails are printed and kept in {settings.mail_folder}.")
        ]
    host = urlsplit(settings.sendgrid_api_url).netloc
    try:
        status, answer = await get_json(
            f"{settings.sendgrid_api_url}/v3/scopes", request_seconds, Authorization=f"Bearer {key}"
        )
    except (httpx2.HTTPError, OSError) as error:
        return [Result.error(check, f"{host} can't be reached: {type(error).__name__}.", EMAILS_WAIT)]
    return [judge_key(check, host, status, answer.get("scopes"))]


def judge_key(check: str, host: str, status: int, scopes: object) -> Result:
    if status in KEY_REFUSED:
        return Result.error(check, f"SendGrid refuses the key ({status}).", NEW_KEY)
    if status != OK:
        return Result.error(check, f"{host} answers {status}.", EMAILS_WAIT)
    if not isinstance(scopes, list):
        return Result.error(check, f"The server at {host} isn't SendGrid.", "Correct SENDGRID_API_URL.")
    if "mail.send" not in scopes:
        return Result.error(check, "SendGrid accepts the key, but it lacks the permission mail.send.", NEW_KEY)
    return Result.ok(
        check, "SendGrid accepts the key, and it may send. Whether the sender is verified can't be checked."
    )


async def check_delivery(settings: Settings) -> list[Result]:
    """Check whether SendGrid's reports about e-mails can be received."""
    check = "delivery"
    if not (settings.sendgrid_api_key and settings.sendgrid_api_key.get_secret_value()):
        return [Result.ok(check, "E-mails don't leave this machine.")]
    if settings.sendgrid_webhook_public_key is None:
        return [
            Result.warning(
                check,
                "The delivery of e-mails is unknown: SENDGRID_WEBHOOK_PUBLIC_KEY isn't set.",
                "Switch SendGrid's Event Webhook on: docs/deploying.md.",
            )
        ]
    return [Result.ok(check, "SendGrid's events are accepted; `python -m audifi emails show ADDRESS` shows them.")]


async def check_files(settings: Settings) -> list[Result]:
    """Check whether the object storage accepts the key and has the bucket. Nothing is written."""
    check = "files"
    host, bucket = urlsplit(settings.files_endpoint).netloc, settings.files_bucket
    store = create_file_store(settings)
    try:
        await store.check()
    except MissingFileError:
        return [Result.error(check, f"{host} has no bucket {bucket}.", "Correct FILES_BUCKET, or create the bucket.")]
    except FileStoreError as error:
        action = "Uploads fail, and files can't be read. Check FILES_ENDPOINT, FILES_KEY_ID and FILES_SECRET."
        return [Result.error(check, f"{host}: {error}.", action)]
    finally:
        await store.close()
    return [Result.ok(check, f"{host} accepts the key, and has the bucket {bucket}.")]


async def check_payments(settings: Settings) -> list[Result]:
    """Check whether Stripe accepts the key, and sends its events in the version that this server reads. Reads only."""
    check = "payments"
    if settings.payments == "off":
        return [Result.ok(check, "PAYMENTS is off: nothing can be bought or paid out.")]
    stripe = Stripe(settings)
    try:
        await stripe.call("balance", lambda v1: v1.balance.retrieve_async())
        doubts = await _doubt_webhooks(stripe)
    except (Problem, RefusedError) as error:
        reason = error.code if isinstance(error, Problem) else str(error)
        return [Result.error(check, f"Stripe can't be asked: {reason}.", "Check STRIPE_SECRET_KEY and its rights.")]
    finally:
        await stripe.close()
    if settings.stripe_connect_webhook_secret is None:
        doubts.append("STRIPE_CONNECT_WEBHOOK_SECRET isn't set: payouts end late.")
    mode = "live" if settings.is_live else "test"
    return [Result.warning(check, doubt, "See docs/payments.md.") for doubt in doubts] or [
        Result.ok(check, f"Stripe accepts the key of {mode} mode, and sends events here.")
    ]


async def _doubt_webhooks(stripe: Stripe) -> list[str]:
    """Return what is odd about this server's webhook endpoints at Stripe."""
    from audifi.payments.transport import API_VERSION  # noqa: PLC0415 - slow to import

    parameters: Any = {"limit": 100}
    try:
        listed = await stripe.call("webhook_endpoints", lambda v1: v1.webhook_endpoints.list_async(parameters))
    except Problem:
        return ["The webhook endpoints can't be read: does STRIPE_SECRET_KEY have the right to?"]
    versions = [each.api_version for each in listed.data if WEBHOOK_PATH in each.url]
    if not versions:
        return ["No webhook endpoint of this server is set up at Stripe: events are found every 15 minutes alone."]
    return [
        f"Webhooks have the API version {version or 'of the account'}, this server {API_VERSION}: harmless by itself."
        for version in dict.fromkeys(versions)
        if version != API_VERSION
    ]


async def check_server(settings: Settings, *, request_seconds: float = REQUEST_SECONDS) -> list[Result]:
    """Check whether this version answers on HOST and PORT."""
    check = "server"
    host = "127.0.0.1" if settings.host == "0.0.0.0" else settings.host  # noqa: S104
    url = f"http://{host}:{settings.port}{HEALTH_PATH}"
    try:
        status, answer = await get_json(url, request_seconds)
    except httpx2.ConnectError:
        return [
            Result.error(
                check, f"Nothing listens on {host}:{settings.port}.", f"{SEE_LOG} Or set HOST and PORT to the server's."
            )
        ]
    except (httpx2.HTTPError, OSError) as error:
        return [Result.error(check, f"{url} doesn't answer: {type(error).__name__}.", SEE_LOG)]
    return [judge_server(check, url, status, answer, settings.version)]


def judge_server(check: str, url: str, status: int, answer: Mapping[str, Any], ours: str) -> Result:
    version = str(answer.get("version"))
    if not re.fullmatch(r"[0-9][0-9A-Za-z.+-]{0,99}", version):
        return Result.error(check, f"Another program answers at {url}.", "Stop it, or set another PORT.")
    if status != OK:
        return Result.error(check, f"{version} answers {status}: it can't reach the database.", SEE_LOG)
    if answer.get("status") != "ok":
        action = "See docs/runbook.md: DatabaseReadOnly, DatabaseSaturated."
        return Result.error(
            check, f"{version} is degraded: the database is read-only, or has no free connection.", action
        )
    if version != ours:
        return Result.warning(check, f"{version} answers at {url}; this is {ours}.", "Is a deploy in progress?")
    return Result.ok(check, f"{version} is healthy at {url}.")


async def get_json(url: str, request_seconds: float, **headers: str) -> tuple[int, dict[str, Any]]:
    """Return the status and the JSON object in the body, or an empty one.

    Raises:
        httpx2.HTTPError, OSError: no response in time.
    """
    async with (
        asyncio.timeout(request_seconds),
        open_client(request_seconds) as http,
    ):
        response = await http.get(url, headers=headers)
    try:
        body = response.json()
    except ValueError:
        body = None
    return response.status_code, body if isinstance(body, dict) else {}


def check_machine() -> Result:
    """Check free memory, where the system shows it, and disk space."""
    check = "machine"
    file = Path("/proc/meminfo")
    memory = dict(line.split(":") for line in file.read_text().splitlines()) if file.exists() else {}
    disk = shutil.disk_usage(os.sep)
    messages = [f"{disk.free / 1e9:.1f} of {disk.total / 1e9:.1f} GB of disk are free"]
    short = disk.free < disk.total * MIN_FREE_SHARE
    if {"MemAvailable", "MemTotal"} <= memory.keys():
        free, total = (int(memory[name].split()[0]) / 1024 for name in ("MemAvailable", "MemTotal"))
        messages.append(f"{free:.0f} of {total:.0f} MB of memory")
        short = short or free < total * MIN_FREE_SHARE
    message = f"{' and '.join(messages)}."
    if short:
        return Result.warning(check, message, "{more_memory}, or free disk space.")
    return Result.ok(check, message)
