"""Probes PostgreSQL, at most about once a second however many health checks arrive."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import asyncpg

from audifi.core.config.settings import DatabaseSettings
from audifi.core.db.connection import connect_with_limits
from audifi.health.schemas import DatabaseState

logger = logging.getLogger(__name__)

PROBE_TIMEOUT_SECONDS = 1.5
POOL_TIMEOUT_SECONDS = 0.5
ANSWER_WITHIN_SECONDS = 1.7  # however long a probe takes to fail; health answers within 2 seconds
REUSE_FOR_SECONDS = 1.0
IS_READ_ONLY = "SELECT current_setting('transaction_read_only')::bool"


class DatabaseProbe:
    """Makes a new connection and runs one query. See docs/decisions/0002-health-connects-anew.md.

    Unlike a pooled connection, a new one shows that the name resolves, the password is right and a slot is free; and a
    busy pool doesn't look like an unavailable database. It is opened exactly as the pools open theirs.
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        *,
        is_pool_reachable: Callable[[], Awaitable[bool]],
        on_result: Callable[[DatabaseState], None] = lambda _: None,
    ) -> None:
        """Create the probe.

        Args:
            settings: of the database.
            is_pool_reachable: returns whether a pooled connection works, for when PostgreSQL has no other one left.
            on_result: called after each probe.
        """
        self._settings = settings
        self._is_pool_reachable = is_pool_reachable
        self._on_result = on_result
        # A thread with its own event loop: a busy loop of the server must not make the database look slow.
        self._thread = ThreadPoolExecutor(1, "probe")
        self._probing: asyncio.Task[DatabaseState] | None = None
        self._ended_at = 0.0
        self._last_state: DatabaseState = "connected"

    async def database_state(self) -> DatabaseState:
        """Return within ANSWER_WITHIN_SECONDS. Calls during a probe, and in the second after, share its result."""
        probing = self._probing
        if probing is None or (probing.done() and time.monotonic() - self._ended_at >= REUSE_FOR_SECONDS):
            probing = self._probing = asyncio.create_task(self._probe())
        if not probing.done():
            # Not wait_for: a cancelled caller must not cancel the probe that others wait for.
            await asyncio.wait({probing}, timeout=ANSWER_WITHIN_SECONDS)
        return probing.result() if probing.done() else "disconnected"

    async def _probe(self) -> DatabaseState:
        state, cause = await asyncio.get_running_loop().run_in_executor(self._thread, self._ask)
        if state == "saturated" and not await self._is_pool_working():
            state = "disconnected"
        if state != self._last_state:
            self._log(state, cause)
        self._last_state = state
        self._ended_at = time.monotonic()
        self._on_result(state)
        return state

    def _ask(self) -> tuple[DatabaseState, str]:
        """Return the state and, if it isn't connected, the cause."""
        try:
            is_read_only = asyncio.run(self._connect_and_query())
        except asyncpg.TooManyConnectionsError as error:
            return "saturated", f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001 - any error means unavailable; the log has the cause
            is_timeout = isinstance(error, TimeoutError)
            return "disconnected", "no answer in time" if is_timeout else f"{type(error).__name__}: {error}"
        return ("read_only", "writes get 503, reads work") if is_read_only else ("connected", "")

    async def _connect_and_query(self) -> bool:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            connection = await connect_with_limits(self._settings)
            try:
                # With fetchval, as requests do: execute() would prepare nothing.
                is_read_only: bool = await connection.fetchval(IS_READ_ONLY)
                await connection.close()
            finally:
                connection.terminate()  # if a server that stopped answering has prevented close()
        return is_read_only

    async def _is_pool_working(self) -> bool:
        """Return whether a pooled connection answers, or requests use all of them."""
        asking = asyncio.ensure_future(self._is_pool_reachable())
        # Not cancelled after the timeout: that would close a connection, which can't be replaced now.
        await asyncio.wait({asking}, timeout=POOL_TIMEOUT_SECONDS)
        return not asking.done() or asking.result()

    def _log(self, state: DatabaseState, cause: str) -> None:
        location = self._settings.database_url.location
        if state == "connected":
            logger.info("database %s is connected again", location)
        else:
            logger.warning("database %s is %s: %s", location, state, cause)
