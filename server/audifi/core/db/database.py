"""Access to PostgreSQL: reads without a transaction, single statements that write, and transactions.

SQLAlchemy Core builds the statements, asyncpg runs them. See docs/decisions/0024-database-access.md.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from contextvars import ContextVar
from functools import partial
from typing import Any, Self

import asyncpg

from audifi.core.config.settings import DatabaseSettings
from audifi.core.db.connection import connect_with_limits
from audifi.core.db.errors import RETRYABLE, TransactionAbortedError, is_retryable, leaves_clean, sqlstate
from audifi.core.db.pool import Pool, PooledConnection, is_stale
from audifi.core.db.semaphore import PoolTimeoutError
from audifi.core.db.statements import Record, Statement
from audifi.core.measures import Measure

CONFLICTS = Measure(
    kind="counter",
    name="database_conflicts",
    documentation="Transactions that PostgreSQL ended, by reason. Each is a bug.",
    labels=("reason",),
    known=tuple((reason,) for reason in RETRYABLE.values()),
)
MAX_TRIES = 3
RETRY_SECONDS = 0.02
"""Gives the winning transaction time to take its locks."""

NOT_TRACED = nullcontext()

_in_transaction: ContextVar[tuple["Database", ...]] = ContextVar("_in_transaction", default=())


def untraced(_sql: str) -> AbstractContextManager[None]:
    """Return the context of an untraced statement."""
    return NOT_TRACED


class Database:
    """Two pools of one database: read-only connections for reads, and connections for writes.

    All methods may raise asyncpg.PostgresError, asyncpg.InterfaceError, OSError and PoolTimeoutError;
    `db.errors` classifies them.
    """

    def __init__(  # noqa: PLR0913 - what is observed
        self,
        settings: DatabaseSettings,
        *,
        pool_size: int,
        read_pool_size: int,
        name: str = "transactions",
        server_settings: Mapping[str, str] | None = None,
        on_wait: Callable[[str, float], None] = lambda _pool, _seconds: None,
        on_event: Callable[[Measure, str], None] = lambda _measure, _label: None,
        on_duration: Callable[[Measure, float], None] = lambda _measure, _seconds: None,
        trace: Callable[[str], AbstractContextManager[None]] = untraced,
    ) -> None:
        """Create the pools; connections are opened at first use.

        Args:
            settings: where the database is, and the time limits.
            pool_size: connections for transactions.
            read_pool_size: connections for reads.
            name: of the pools, in metrics.
            server_settings: parameters of PostgreSQL beside the time limits, which they override.
            on_wait: called with the name of a pool and the seconds that a task waited for a connection.
            on_event: called with a counter and its label at an event.
            on_duration: called with a histogram and the seconds of a duration.
            trace: returns the context that a statement runs in.
        """
        writing = dict(server_settings or {})
        reading = writing | {"default_transaction_read_only": "on"}
        self.trace = trace
        self.on_event = on_event
        self.on_duration = on_duration
        self._transactions = Pool(
            settings,
            partial(connect_with_limits, settings, server_settings=writing),
            name=name,
            size=pool_size,
            on_wait=on_wait,
        )
        self._reads = Pool(
            settings,
            partial(connect_with_limits, settings, server_settings=reading),
            name="reads" if name == "transactions" else f"{name}-reads",
            size=read_pool_size,
            on_wait=on_wait,
        )

    @property
    def pools(self) -> tuple[Pool, Pool]:
        return self._transactions, self._reads

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        for pool in self.pools:
            await pool.close()
        await asyncio.sleep(0)  # lets the transports of terminated connections close

    async def is_reachable(self) -> bool:
        """Return whether a connection of a pool answers, or all are in use."""
        for fetch in (self.fetch_sql, partial(self._read, arguments=[])):
            try:
                await fetch("SELECT")
            except PoolTimeoutError:
                return True  # by requests, whose connections work
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                continue
            return True
        return False

    # Reads: one round trip on a read-only connection

    async def fetch_one[Row](self, statement: Statement, row_type: type[Row], /, **values: Any) -> Row | None:
        """Return the first row, or None."""
        rows = await self.fetch_all(statement, row_type, **values)
        return rows[0] if rows else None

    async def fetch_row[Row](self, statement: Statement, row_type: type[Row], /, **values: Any) -> Row:
        """As `fetch_one`, of a row that is always there: an aggregate, a row that was written before."""
        return _present(await self.fetch_one(statement, row_type, **values))

    async def fetch_all[Row](self, statement: Statement, row_type: type[Row], /, **values: Any) -> list[Row]:
        """Return all rows; the statement has a limit."""
        compiled, arguments = statement.bind(values)
        return compiled.rows(row_type, await self._read(compiled.sql, arguments))

    async def fetch_value(self, statement: Statement, /, **values: Any) -> Any:
        """Return the first column of the first row, or None."""
        compiled, arguments = statement.bind(values)
        return _first_value(await self._read(compiled.sql, arguments))

    # A single statement that writes: one round trip, atomic by itself

    async def write_one[Row](self, statement: Statement, row_type: type[Row], /, **values: Any) -> Row | None:
        """Run a statement as a transaction of its own; return its first row, or None."""
        rows = await self.write_all(statement, row_type, **values)
        return rows[0] if rows else None

    async def write_row[Row](self, statement: Statement, row_type: type[Row], /, **values: Any) -> Row:
        """As `write_one`, of a statement that always has a row."""
        return _present(await self.write_one(statement, row_type, **values))

    async def write_all[Row](self, statement: Statement, row_type: type[Row], /, **values: Any) -> list[Row]:
        """Run a statement as a transaction of its own; return its rows. After a conflict it runs again, as in `run`."""
        compiled, arguments = statement.bind(values)

        async def write() -> list[Record]:
            async with self.connection() as connection:
                with self.trace(compiled.sql):
                    records: list[Record] = await connection.fetch(compiled.sql, *arguments)
                    return records

        return compiled.rows(row_type, await self._repeat(write, lambda: True))

    async def execute(self, statement: Statement, /, **values: Any) -> int:
        """Run a statement as a transaction of its own; return how many rows it wrote."""
        compiled, arguments = statement.bind(values)
        async with self.connection() as connection:
            with self.trace(compiled.sql):
                return _row_count(await connection.execute(compiled.sql, *arguments))

    # Several statements

    def transaction(self, *, may_commit: bool = True) -> "Transaction":
        """Return a transaction, for `async with`: it is committed at the end, and rolled back on any error.

        Args:
            may_commit: whether the block may call `commit` before its end.
        """
        return Transaction(self, may_commit=may_commit)

    async def run[Result](
        self, work: Callable[["Transaction"], Awaitable[Result]], *, may_commit: bool = True
    ) -> Result:
        """Run `work` in a transaction; again after a serialization failure or a deadlock, at most 3 times in all.

        Work that has called `commit` isn't run again: what it committed would be there twice.

        Args:
            work: what runs; each time, it starts from the beginning.
            may_commit: as in `transaction`.
        """
        transactions: list[Transaction] = []

        async def attempt() -> Result:
            transactions.append(self.transaction(may_commit=may_commit))
            async with transactions[-1] as transaction:
                return await work(transaction)

        return await self._repeat(attempt, lambda: not transactions[-1].has_committed)

    async def _repeat[Result](self, attempt: Callable[[], Awaitable[Result]], may_repeat: Callable[[], bool]) -> Result:
        for tries_left in reversed(range(MAX_TRIES)):
            try:
                return await attempt()
            except asyncpg.PostgresError as error:
                if not is_retryable(error):
                    raise
                self.on_event(CONFLICTS, RETRYABLE[sqlstate(error)])
                if not tries_left or not may_repeat():
                    raise
                await asyncio.sleep(RETRY_SECONDS)
        raise AssertionError  # the last try has returned or raised

    def count(self, measure: Measure, label: str) -> None:
        """Count an event of a statement that was a transaction of its own."""
        self.on_event(measure, label)

    def record(self, measure: Measure, seconds: float) -> None:
        """Record a duration of a statement that was a transaction of its own."""
        self.on_duration(measure, seconds)

    async def fetch_sql(self, sql: str, *arguments: object) -> list[Record]:
        """Run SQL of a library that writes its own, as a transaction of its own; `$1` and so on are the arguments."""
        async with self.connection() as connection:
            with self.trace(sql):
                records: list[Record] = await connection.fetch(sql, *arguments)
                return records

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection, outside a transaction, to a library that writes its own SQL."""
        self.refuse_nested()
        async with self._transactions.semaphore:
            connection = await self._transactions.take()
            try:
                yield connection.driver
            except BaseException as error:
                self._transactions.put_back(connection, is_clean=leaves_clean(error))
                raise
            self._transactions.put_back(connection)

    async def _read(self, sql: str, arguments: list[Any]) -> list[Record]:
        self.refuse_nested()
        async with self._reads.semaphore:
            with self.trace(sql):
                while True:
                    connection = await self._reads.take()
                    try:
                        records: list[Record] = await connection.driver.fetch(sql, *arguments)
                    except asyncpg.ReadOnlySQLTransactionError:
                        self._reads.put_back(connection)
                        raise RuntimeError("this read writes: use write_one, or a transaction") from None
                    except BaseException as error:
                        self._reads.put_back(connection, is_clean=leaves_clean(error))
                        if not is_stale(connection, error):
                            raise
                    else:
                        self._reads.put_back(connection)
                        return records

    def refuse_nested(self) -> None:
        """Raise RuntimeError inside of a transaction of this database."""
        if self in _in_transaction.get():
            raise RuntimeError("a transaction is open here: use it, and don't wait for a second connection")


class Transaction:
    """An open transaction. Get one by `async with database.transaction()`; one task uses it at a time."""

    def __init__(self, database: Database, *, may_commit: bool) -> None:
        self.has_committed = False
        self._database = database
        self._may_commit = may_commit
        self._pool = database.pools[0]
        self._is_open = False
        self._is_cut = False
        """Whether a statement may still be under way: it was cancelled, or the connection is lost."""
        self._callbacks: list[Callable[[], None]] = []

    async def __aenter__(self) -> Self:
        self._database.refuse_nested()
        await self._pool.semaphore.acquire()
        try:
            self._connection = await self._begin()
        except BaseException:
            self._pool.semaphore.release()
            raise
        self._is_open = True
        self._token = _in_transaction.set((*_in_transaction.get(), self._database))
        return self

    async def __aexit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        _in_transaction.reset(self._token)
        try:
            if error is None:
                await self._commit()
            elif isinstance(error, Exception):
                await self._roll_back()
            else:
                self._is_cut = True
        except BaseException as failure:
            self._is_cut = self._is_cut or not leaves_clean(failure)
            raise
        finally:
            self._pool.put_back(self._connection, is_clean=not self._is_cut)
            self._pool.semaphore.release()
        if error is None:
            self._run_callbacks()

    async def fetch_one[Row](self, statement: Statement, row_type: type[Row], /, **values: Any) -> Row | None:
        """Return the first row, or None."""
        rows = await self.fetch_all(statement, row_type, **values)
        return rows[0] if rows else None

    async def fetch_row[Row](self, statement: Statement, row_type: type[Row], /, **values: Any) -> Row:
        """As `fetch_one`, of a row that is always there: a function's result, a row that is locked."""
        return _present(await self.fetch_one(statement, row_type, **values))

    async def fetch_all[Row](self, statement: Statement, row_type: type[Row], /, **values: Any) -> list[Row]:
        """Return all rows."""
        compiled, arguments = statement.bind(values)
        return compiled.rows(row_type, await self._run(self._connection.driver.fetch, compiled.sql, *arguments))

    async def fetch_value(self, statement: Statement, /, **values: Any) -> Any:
        """Return the first column of the first row, or None."""
        compiled, arguments = statement.bind(values)
        return _first_value(await self._run(self._connection.driver.fetch, compiled.sql, *arguments))

    async def execute(self, statement: Statement, /, **values: Any) -> int:
        """Return how many rows were written."""
        compiled, arguments = statement.bind(values)
        return _row_count(await self._run(self._connection.driver.execute, compiled.sql, *arguments))

    async def execute_many(self, statement: Statement, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run a statement once for each row of values, in one round trip."""
        if rows:
            compiled, _ = statement.bind(dict(rows[0]))
            await self._run(
                self._connection.driver.executemany, compiled.sql, [compiled.arguments(row) for row in rows]
            )

    async def copy(self, table: str, columns: Sequence[str], content: AsyncIterable[bytes]) -> None:
        """Add rows by COPY.

        Args:
            table: where to.
            columns: of the content, in order.
            content: CSV in UTF-8 without a header; empty cells are NULL. What it raises ends the transaction.
        """

        driver = self._connection.driver

        async def run(_sql: str) -> None:
            copying = driver.copy_to_table(table, source=content, columns=columns, format="csv")
            await _until_lost(driver, asyncio.ensure_future(copying))

        await self._run(run, f"COPY {table} FROM STDIN")

    async def fetch_sql(self, sql: str, *arguments: object) -> list[Record]:
        """Run SQL of a library that writes its own; `$1` and so on are the arguments."""
        records: list[Record] = await self._run(self._connection.driver.fetch, sql, *arguments)
        return records

    def on_event(self, measure: Measure, label: str) -> None:
        """Count an event at once, even if the transaction is rolled back."""
        self._database.on_event(measure, label)

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call the callback after the commit, and never after a rollback."""
        self._callbacks.append(callback)

    def count(self, measure: Measure, label: str) -> None:
        """Count an event after the commit."""
        self.after_commit(partial(self._database.on_event, measure, label))

    def record(self, measure: Measure, seconds: float) -> None:
        """Record a duration after the commit."""
        self.after_commit(partial(self._database.on_duration, measure, seconds))

    async def commit(self) -> None:
        """Commit what must survive a later error; the next statement begins a new transaction.

        Raises:
            RuntimeError: the transaction was opened with `may_commit=False`.
        """
        if not self._may_commit:
            raise RuntimeError("this transaction is committed at its end, and not before")
        await self._commit()
        self._run_callbacks()

    async def _begin(self) -> PooledConnection:
        """Begin on a connection; on another one if PostgreSQL ended the first while it was idle."""
        while True:
            connection = await self._pool.take()
            try:
                await connection.driver.execute("BEGIN")
            except BaseException as error:
                connection.driver.terminate()
                if not is_stale(connection, error):
                    raise
            else:
                return connection

    async def _run(self, method: Callable[..., Awaitable[Any]], sql: str, *arguments: object) -> Any:
        try:
            if not self._is_open:
                await self._connection.driver.execute("BEGIN")
                self._is_open = True
            with self._database.trace(sql):
                return await method(sql, *arguments)
        except BaseException as error:
            self._is_cut = not leaves_clean(error)
            raise

    async def _commit(self) -> None:
        if not self._is_open:
            return
        callbacks, self._callbacks = self._callbacks, []  # a COMMIT that fails is a rollback
        try:
            tag = await self._run(self._connection.driver.execute, "COMMIT")
        finally:
            self._is_open = False
        if tag != "COMMIT":
            raise TransactionAbortedError("an error of a statement was caught, and the transaction goes on")
        self._callbacks, self.has_committed = callbacks, True

    async def _roll_back(self) -> None:
        """Roll back. If that fails, the connection is terminated, and PostgreSQL rolls back."""
        if self._is_open and not self._is_cut:
            try:
                await self._connection.driver.execute("ROLLBACK")
            except Exception:  # noqa: BLE001 - the original error is raised
                self._is_cut = True

    def _run_callbacks(self) -> None:
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


async def _until_lost(driver: asyncpg.Connection, copying: asyncio.Future[str]) -> None:
    """Wait for a COPY, or until its connection is lost: asyncpg 0.32 may never end a write.

    Raises:
        asyncpg.ConnectionDoesNotExistError: the connection was lost.
    """
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def on_termination(_: object) -> None:
        if not lost.done():
            lost.set_result("")

    driver.add_termination_listener(on_termination)
    try:
        await asyncio.wait({copying, lost}, return_when=asyncio.FIRST_COMPLETED)
        if not copying.done():
            raise asyncpg.ConnectionDoesNotExistError("the connection was lost during COPY")
        copying.result()
    finally:
        driver.remove_termination_listener(on_termination)
        lost.cancel()
        if not copying.done():
            copying.cancel()
            await asyncio.wait({copying})
            if not copying.cancelled():
                copying.exception()  # read, so that asyncio doesn't log it


def _present[Row](row: Row | None) -> Row:
    """
    Raises:
        LookupError: there is no row, which is a bug.
    """
    if row is None:
        raise LookupError("a statement that always has a row returned none")
    return row


def _first_value(records: list[Record]) -> Any:
    return records[0][0] if records else None


def _row_count(tag: str) -> int:
    """Read a command tag such as `UPDATE 3` or `INSERT 0 1`."""
    count = tag.rpartition(" ")[2]
    return int(count) if count.isdigit() else 0
