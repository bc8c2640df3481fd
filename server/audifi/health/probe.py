"""Whether PostgreSQL answers, asked at most about once a second however many want to know."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from audifi.core.config.settings import DatabaseSettings
from audifi.core.db.connection import connect

logger = logging.getLogger(__name__)

PROBE_TIMEOUT_SECONDS = 1.5
ANSWER_WITHIN_SECONDS = 1.7  # however long a probe takes to give up; a health answer is promised within 2
REUSE_FOR_SECONDS = 1.0


class DatabaseProbe:
    """Connects anew and asks one question. See docs/decisions/0002-health-connects-anew.md.

    A connection of its own tells what a kept one can't: that the name resolves, the password is right and a slot is
    free. It doesn't come from the pool, so a pool that is busy doesn't look like a database that is away.
    """

    def __init__(self, settings: DatabaseSettings, told: Callable[[bool], None] = lambda _: None) -> None:
        """
        Args:
            settings: where the database is.
            told: called after each probe, with whether it was answered.
        """
        self._settings = settings
        self._told = told
        # A thread with an event loop of its own: what PostgreSQL has answered in time must not look late because the
        # server's loop has very much to do.
        self._thread = ThreadPoolExecutor(1, "probe")
        self._probing: Future[bool] | None = None
        self._ended_at = 0.0
        self._was_connected: bool | None = None

    async def database_connected(self) -> bool:
        """Answer within ANSWER_WITHIN_SECONDS. All who ask during a probe share it, and those in the second after."""
        probing = self._probing
        if probing is None or (probing.done() and time.monotonic() - self._ended_at >= REUSE_FOR_SECONDS):
            probing = self._probing = self._thread.submit(self._probe)
        if not probing.done():
            # Not wait_for: a client that goes away must not cancel the probe that others wait for.
            await asyncio.wait({asyncio.wrap_future(probing)}, timeout=ANSWER_WITHIN_SECONDS)
        return probing.done() and not probing.cancelled() and probing.result()

    def _probe(self) -> bool:
        try:
            asyncio.run(self._ask())
        except Exception as error:  # noqa: BLE001 - whatever ails the database, the answer is the same; the log tells
            connected = False
            cause = "no answer in time" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
            logger.warning("database %s is disconnected: %s", self._settings.database_url.location, cause)
        else:
            connected = True
            if self._was_connected is False:
                logger.info("database %s is connected again", self._settings.database_url.location)
        self._was_connected = connected
        self._ended_at = time.monotonic()
        self._told(connected)
        return connected

    async def _ask(self) -> None:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            connection = await connect(self._settings, connect_timeout_seconds=PROBE_TIMEOUT_SECONDS)
            try:
                # Without arguments asyncpg sends one simple query: nothing is prepared, so PgBouncer may be in between.
                await connection.execute("SELECT 1")
                await connection.close()
            finally:
                connection.terminate()  # without a word, if it isn't closed: a server that is silent hears none
