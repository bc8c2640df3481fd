"""All but the database: the settings, the mail provider, the server itself, the machine."""

import asyncio
import os
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from audifi.core.config.settings import DatabaseSettings, Settings, SettingsError, load
from audifi.doctor.results import Finding, odd, well, wrong

ASK_SECONDS = 6
HEALTH_PATH = "/api/v1/health"
OK = 200
KEY_REFUSED = {401, 403}
FREE_SHARE = 0.1
SEE_LOG = "See its log: `flyctl logs`."
MAILS_WAIT = "Mails wait, and are tried again for 7 minutes. See https://status.sendgrid.com, and SENDGRID_API_URL."
NEW_KEY = "Make another in SendGrid's console, then `flyctl secrets set SENDGRID_API_KEY=…`."


def read_settings() -> tuple[Settings | None, DatabaseSettings | None, list[Finding]]:
    """Those that can be read, and what is wrong with each of the rest."""
    try:
        settings = load(Settings)
    except SettingsError as error:
        found = [
            wrong("settings", f"{line}.", "Set it with `flyctl secrets set`, or in [env] of fly.toml.")
            for line in str(error).splitlines()
        ]
        try:
            return None, load(DatabaseSettings), found
        except SettingsError:
            return None, None, found
    told = f"All are there and can be read ({settings.environment}, {settings.version})."
    return settings, settings, [well("settings", told)]


async def addresses(settings: Settings) -> list[Finding]:
    """Settings that can be read and may still not be meant."""
    check = "addresses"
    hosts = {origin: urlsplit(origin) for origin in settings.origins}
    doubts = [
        (
            any(url.hostname in {"localhost", "127.0.0.1", "::1"} for url in hosts.values()),
            "APP_URL or ALLOWED_ORIGINS leads to this machine itself.",
            "Set them to where the frontend is.",
        ),
        (
            any(url.scheme != "https" for url in hosts.values()),
            "ALLOWED_ORIGINS has one without https, whose pages anybody on the way can change.",
            "Take it out.",
        ),
        (
            not settings.trusted_proxies,
            "TRUSTED_PROXIES is empty: all clients look like one address, and share its limits.",
            "On Fly, unset it; elsewhere, name the proxy's network.",
        ),
        (
            "fly_app_name" not in settings.model_fields_set,
            f"FLY_APP_NAME isn't set: tokens are made, and taken, in the name of {settings.fly_app_name}.",
            "Set it to the app's name, or staging's tokens may be good in production.",
        ),
    ]
    found = [odd(check, says, do) for is_so, says, do in doubts if is_so and settings.environment == "production"]
    told = f"Pages of {', '.join(hosts)} may call; links in mails lead to {settings.app_url}."
    return found or [well(check, told)]


async def mail(settings: Settings) -> list[Finding]:
    """Whether SendGrid takes the key, and lets it send.

    https://www.twilio.com/docs/sendgrid/api-reference/api-key-permissions
    """
    check = "mail"
    if not (settings.sendgrid_api_key and (key := settings.sendgrid_api_key.get_secret_value())):
        return [well(check, f"SENDGRID_API_KEY isn't set: mails are printed, and kept in {settings.mail_folder}.")]
    host = urlsplit(settings.sendgrid_api_url).netloc
    try:
        status, scopes = await ask(f"{settings.sendgrid_api_url}/v3/scopes", "scopes", Authorization=f"Bearer {key}")
    except (httpx2.HTTPError, OSError) as error:
        return [wrong(check, f"{host} can't be asked: {type(error).__name__}.", MAILS_WAIT)]
    return [about_key(check, host, status, scopes)]


def about_key(check: str, host: str, status: int, scopes: object) -> Finding:
    if status in KEY_REFUSED:
        return wrong(check, f"SendGrid refuses the key ({status}).", NEW_KEY)
    if status != OK:
        return wrong(check, f"{host} answers {status}.", MAILS_WAIT)
    if not isinstance(scopes, list):
        return wrong(check, f"What answers at {host} isn't SendGrid.", "Mend SENDGRID_API_URL.")
    if "mail.send" not in scopes:
        return wrong(check, "SendGrid knows the key, but it may not send: it lacks mail.send.", NEW_KEY)
    return well(check, "SendGrid takes the key, and it may send. Whether the sender is verified, it doesn't tell.")


async def server(settings: Settings) -> list[Finding]:
    """Whether this very version answers on HOST and PORT."""
    check = "server"
    host = "127.0.0.1" if settings.host == "0.0.0.0" else settings.host  # noqa: S104
    url = f"http://{host}:{settings.port}{HEALTH_PATH}"
    try:
        status, version = await ask(url, "version")
    except httpx2.ConnectError:
        return [
            wrong(
                check, f"Nothing listens on {host}:{settings.port}.", f"{SEE_LOG} Or set HOST and PORT as it has them."
            )
        ]
    except (httpx2.HTTPError, OSError) as error:
        return [wrong(check, f"{url} doesn't answer: {type(error).__name__}.", SEE_LOG)]
    return [about_server(check, url, status, str(version or ""), settings.version)]


def about_server(check: str, url: str, status: int, version: str, ours: str) -> Finding:
    if not re.fullmatch(r"[0-9A-Za-z.+-]{1,100}", version):
        return wrong(check, f"What answers at {url} isn't this server.", "Stop it, or set PORT to another.")
    if status != OK:
        return wrong(check, f"{version} answers {status}: it can't reach the database.", SEE_LOG)
    if version != ours:
        return odd(check, f"{version} serves at {url}; this is {ours}.", "Is a deploy under way?")
    return well(check, f"{version} is healthy at {url}.")


async def ask(url: str, name: str, **headers: str) -> tuple[int, object]:
    """The status, and what the answer's JSON has by this name; None, if it has nothing.

    Raises:
        httpx2.HTTPError, OSError: nothing answers in time.
    """
    async with (
        asyncio.timeout(ASK_SECONDS),
        httpx2.AsyncClient(timeout=ASK_SECONDS, follow_redirects=False, trust_env=False) as http,
    ):
        answer = await http.get(url, headers=headers)
    try:
        return answer.status_code, answer.json()[name]
    except (ValueError, KeyError, TypeError):
        return answer.status_code, None


def machine() -> Finding:
    """Memory and disk, where the system tells."""
    check = "machine"
    file = Path("/proc/meminfo")
    memory = dict(line.split(":") for line in file.read_text().splitlines()) if file.exists() else {}
    disk = shutil.disk_usage(os.sep)
    said = [f"{disk.free / 1e9:.1f} of {disk.total / 1e9:.1f} GB of disk are free"]
    short = disk.free < disk.total * FREE_SHARE
    if {"MemAvailable", "MemTotal"} <= memory.keys():
        free, total = (int(memory[name].split()[0]) / 1024 for name in ("MemAvailable", "MemTotal"))
        said.append(f"{free:.0f} of {total:.0f} MB of memory")
        short = short or free < total * FREE_SHARE
    says = f"{' and '.join(said)}."
    return odd(check, says, "Raise `memory` in [[vm]] of fly.toml, or free the disk.") if short else well(check, says)
