"""Calls to Stripe: one client per process, made at the first call, and what its errors mean here.

https://docs.stripe.com/api/errors
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from audifi.core.config.settings import Settings
from audifi.payments import problems

if TYPE_CHECKING:
    import stripe

    from audifi.payments.transport import HttpClient

logger = logging.getLogger(__name__)

NOT_FOUND = 404
MISSING = {"resource_missing", "account_invalid"}
"""Codes for an object that doesn't exist; of a connected account, Stripe says that the key has no access to it."""
IN_PROGRESS = 409  # the same idempotency key, at the same time
SERVER_ERROR = 500
PAGE = 100
"""The most that Stripe returns of a list at once."""
CLOCKS_DIFFER = timedelta(hours=1)
"""At most, Stripe's and ours: what was made for a row was made after it, less this."""

type OnCall = Callable[[str, str, float], None]
"""Called after each call with its name, its outcome and its seconds."""
type ReadPage = Callable[..., Awaitable[Any]]
"""Called with the services and `parameters`; returns a page of a list."""


class RefusedError(Exception):
    """Stripe refuses a request, for what it says. The message holds Stripe's codes alone.

    Where nothing handles it, it is a bug, and answered with 500.
    """

    def __init__(self, call: str, *, status: int, code: str | None) -> None:
        super().__init__(f"{call}: {status} {code}")
        self.is_missing = status == NOT_FOUND or code in MISSING
        """Whether an object doesn't exist there."""
        self.code = code


class Stripe:
    """The process's client of Stripe."""

    def __init__(self, settings: Settings, *, on_call: OnCall = lambda _call, _outcome, _seconds: None) -> None:
        self._settings = settings
        self._on_call = on_call
        self._client: stripe.StripeClient | None = None
        self._http: HttpClient | None = None

    @property
    def is_configured(self) -> bool:
        return self._settings.payments != "off"

    async def call[Result](self, name: str, call: "Callable[[stripe.V1Services], Awaitable[Result]]") -> Result:
        """Call the API, with 2 retries, within `stripe_timeout_seconds`.

        Args:
            name: of the call, in metrics and errors: `checkout_create`.
            call: gets the services of the official client, and awaits one of its `…_async` methods.

        Raises:
            Problem: `payments.not_configured`, `payments.provider_unavailable`, `payment.declined`.
            RefusedError: Stripe refuses the request.
        """
        client = self._connect()
        started_at, outcome = perf_counter(), "failed"
        try:
            with _translated(name):
                async with asyncio.timeout(self._settings.stripe_timeout_seconds):
                    result = await call(client.v1)
            outcome = "succeeded"
        except RefusedError:
            outcome = "refused"
            raise
        finally:
            self._on_call(name, outcome, perf_counter() - started_at)
        return result

    async def find[Result](self, name: str, call: "Callable[[stripe.V1Services], Awaitable[Result]]") -> Result | None:
        """Return the object of a call that retrieves one; None if it doesn't exist, or is deleted.

        Raises:
            Problem, RefusedError: as `call`.
        """
        try:
            thing = await self.call(name, call)
        except RefusedError as error:
            if error.is_missing:
                return None
            raise
        return None if getattr(thing, "deleted", False) else thing

    async def pages(
        self, name: str, read: "ReadPage", *, since: datetime, until: datetime | None = None
    ) -> AsyncIterator[list[Any]]:
        """Yield all pages of a list, newest first. Time is the only bound: an object that isn't read would be missed.

        Args:
            name: of the call.
            read: gets the services and the parameters, and awaits a `list_async`.
            since: when the oldest object was made.
            until: when the newest one was.

        Raises:
            Problem, RefusedError: as `call`.
        """
        created = {"gte": int(since.timestamp())} | ({"lte": int(until.timestamp())} if until else {})
        parameters: Any = {"limit": PAGE, "created": created}
        while True:
            page = await self.call(name, partial(read, parameters=parameters))
            yield page.data
            if not page.has_more:
                return
            parameters |= {"starting_after": page.data[-1].id}

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close_async()

    def _connect(self) -> "stripe.StripeClient":
        settings = self._settings
        if settings.payments == "off" or settings.stripe_secret_key is None:
            raise problems.not_configured()
        if self._client is None:
            from audifi.payments import transport  # noqa: PLC0415 - slow to import

            self._client, self._http = transport.make_client(
                key=settings.stripe_secret_key.get_secret_value(),
                api_base=settings.stripe_api_base,
                timeout_seconds=settings.stripe_timeout_seconds,
            )
        return self._client


@contextmanager
def _translated(name: str) -> Iterator[None]:
    import stripe  # noqa: PLC0415 - the client is there, so it has been imported

    try:
        yield
    except stripe.CardError as error:
        raise problems.declined(_decline_code(error)) from None
    except (TimeoutError, stripe.APIConnectionError, stripe.RateLimitError) as error:
        logger.warning("stripe call failed: call=%s error=%s", name, type(error).__name__)
        raise problems.provider_unavailable() from None
    except (stripe.AuthenticationError, stripe.PermissionError) as error:
        if _details(error).get("code") in MISSING:
            raise RefusedError(name, status=NOT_FOUND, code=_details(error)["code"]) from None
        logger.error("stripe refuses the key: call=%s error=%s", name, type(error).__name__)  # noqa: TRY400
        raise problems.provider_unavailable() from None
    except stripe.StripeError as error:
        status = error.http_status or SERVER_ERROR
        logger.warning("stripe call failed: call=%s status=%d code=%s", name, status, error.code)
        if status >= SERVER_ERROR or status == IN_PROGRESS:
            raise problems.provider_unavailable() from None
        raise RefusedError(name, status=status, code=error.code) from None


def _decline_code(error: Any) -> str:
    return str(_details(error).get("decline_code") or error.code or "")


def _details(error: Any) -> dict[str, Any]:
    """Return the error object of the response; the package doesn't read all of it."""
    body = error.json_body
    details: dict[str, Any] = body.get("error", {}) if isinstance(body, dict) else {}
    return details
