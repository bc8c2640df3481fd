"""Probes PostgreSQL, at most about once a second however many health checks arrive."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from audifi.core.config.settings import DatabaseSettings
from audifi.core.db.connection import connect

logger = logging.getLogger(__name__)

PROBE_TIMEOUT_SECONDS = 1.5
ANSWER_WITHIN_SECONDS = 1.7  # however long a probe takes to fail; health answers within 2 seconds
REUSE_FOR_SECONDS = 1.0


class DatabaseProbe:
    """Makes a new connection and runs one query. See docs/decisions/0002-health-connects-anew.md.

    Unlike a pooled connection, a new one shows that the name resolves, the password is right and a slot is free; and a
    busy pool doesn't look like an unavailable database.
    """

    def __init__(self, settings: DatabaseSettings, on_result: Callable[[bool], None] = lambda _: None) -> None:
        """Create the probe.

        Args:
            settings: of the database.
            on_result: called after each probe, with whether it succeeded.
        """
        self._settings = settings
        self._on_result = on_result
        # A thread with its own event loop: a busy loop of the server must not make the database look slow.
        self._thread = ThreadPoolExecutor(1, "probe")
        self._probing: Future[bool] | None = None
        self._ended_at = 0.0
        self._was_connected: bool | None = None

    async def database_connected(self) -> bool:
        """Return within ANSWER_WITHIN_SECONDS. Calls during a probe, and in the second after, share its result."""
        probing = self._probing
        if probing is None or (probing.done() and time.monotonic() - self._ended_at >= REUSE_FOR_SECONDS):
            probing = self._probing = self._thread.submit(self._probe)
        if not probing.done():
            # Not wait_for: a cancelled caller must not cancel the probe that others wait for.
            await asyncio.wait({asyncio.wrap_future(probing)}, timeout=ANSWER_WITHIN_SECONDS)
        return probing.done() and not probing.cancelled() and probing.result()

    def _probe(self) -> bool:
        try:
            asyncio.run(self._ask())
        except Exception as error:  # noqa: BLE001 - any error means unavailable; the log has the cause
            connected = False
            cause = "no answer in time" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
            logger.warning("database %s is disconnected: %s", self._settings.database_url.location, cause)
        else:
            connected = True
            if self._was_connected is False:
                logger.info("database %s is connected again", self._settings.database_url.location)
        self._was_connected = connected
        self._ended_at = time.monotonic()
        self._on_result(connected)
        return connected

    async def _ask(self) -> None:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            connection = await connect(self._settings, connect_timeout_seconds=PROBE_TIMEOUT_SECONDS)
            try:
                # Without arguments asyncpg sends a simple query and prepares nothing, which PgBouncer needs.
                await connection.execute("SELECT 1")
                await connection.close()
            finally:
                connection.terminate()  # if a server that stopped answering has prevented close()
