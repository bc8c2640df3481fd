"""`python -m audifi demo`: creates the missing parts of the demo, and prints its content and how to sign in."""

import asyncio
import time

import asyncpg
import typer

from audifi.core.clock import utc_now
from audifi.core.config.settings import Settings, SettingsError, load
from audifi.core.console import fail
from audifi.core.files.store import FileStoreError
from audifi.core.http.problems import Problem
from audifi.demo import accounts, cards, dividends, funding, ipos, masters, plans, resale
from audifi.demo.summary import print_summary
from audifi.demo.world import START_ANEW, CollectedJobs, DemoError, Part, World
from audifi.services import Services, build_services

PARTS: tuple[Part, ...] = (
    accounts.PART,
    plans.PART,
    masters.PART,
    funding.DEPOSITS_PART,
    ipos.PART,
    funding.PAYOUTS_PART,
    dividends.PART,
    resale.PART,
)
"""In order; a feature adds its own."""


def demo() -> None:
    """Fill a development database with artists, masters, offerings and fans; a second run changes nothing."""
    try:
        asyncio.run(make_demo(load(Settings)))
    except (SettingsError, DemoError) as error:
        fail(str(error))


async def make_demo(settings: Settings) -> None:
    """Create the missing parts, and print the content.

    Raises:
        DemoError: in production, where the database or the storage can't be reached, or where a part was interrupted.
    """
    if settings.environment == "production":
        raise DemoError("The demo is for development: it would mix invented accounts and money with real ones.")
    services = build_services(settings)
    try:
        jobs = CollectedJobs(services.background_database)
        world = World(services=services, jobs=jobs, today=utc_now())
        begin = time.monotonic()
        parts = [*PARTS, cards.PART] if settings.payments == "stand_in" else PARTS
        made = [await _make_part(world, part) for part in parts]
        typer.echo(
            f"Made in {time.monotonic() - begin:.1f} s." if any(made) else "Everything was there; nothing is changed."
        )
        await print_summary(world)
    except Problem as problem:
        raise DemoError(f"A part of the demo was made only in part: {problem.title}. {START_ANEW}") from problem
    except FileStoreError as error:
        raise DemoError(f"The object storage: {error}. {START_ANEW}") from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        location = settings.database_url.location
        raise DemoError(f"{location}: {type(error).__name__}. `python -m audifi doctor` says what is wrong.") from error
    finally:
        await _close(services)


async def _make_part(world: World, part: Part) -> bool:
    if await part.is_there(world):
        typer.echo(f"{part.name}: there")
        return False
    typer.echo(f"{part.name} …")
    await part.make(world)
    return True


async def _close(services: Services) -> None:
    await services.email_sender.close()
    await services.files.close()
    await services.stripe.close()
    await services.database.close()
    await services.background_database.close()
