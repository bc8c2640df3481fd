"""The HTTP side of the API: keys, versions, idempotency, failures, and the routes of all modules."""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as HttpRoute

from tools.stripe_stand_in import (
    balance,
    billing,
    catalog,
    changes,
    checkout,
    connect,
    control,
    customers,
    disputes,
    events,
    invoices,
    pages,
    payments,
    portal,
    refunds,
    schedules,
    subscriptions,
)
from tools.stripe_stand_in.api import LISTING, Call, Route, listing, shown
from tools.stripe_stand_in.errors import StripeError, forbidden, rate_limited, unexpected
from tools.stripe_stand_in.faults import Faults
from tools.stripe_stand_in.forms import Params, parse, refuse_unknown
from tools.stripe_stand_in.idempotency import Answer, Answers
from tools.stripe_stand_in.webhooks import Webhooks
from tools.stripe_stand_in.world import API_VERSION, Object, World

MODULES = (
    balance, billing, catalog, changes, checkout, connect, customers, disputes, events, invoices, payments, portal,
    refunds, schedules, subscriptions,
)  # fmt: skip
TICK_SECONDS = 1
ENDPOINTS_PATH = "/v1/webhook_endpoints"


@dataclass(kw_only=True)
class StandIn:
    """The parts of a stand-in."""

    world: World
    webhooks: Webhooks
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        self.answers = Answers(world=self.world)
        self.world.on_event.append(self.webhooks.enqueue)

    def app(self) -> Starlette:
        """Return the ASGI application."""
        # Paths without parameters first: /v1/invoices/create_preview isn't an invoice.
        table = sorted((route for module in MODULES for route in module.ROUTES), key=lambda route: "{" in route.path)
        endpoints = Route("GET", ENDPOINTS_PATH, self._list_endpoints, LISTING)
        routes = [HttpRoute(route.path, self._endpoint(route), methods=[route.method]) for route in [endpoints, *table]]
        unknown = HttpRoute("/v1/{path:path}", _unrecognized, methods=["GET", "POST", "DELETE"])
        commands = control.routes(self.world, self.webhooks, self.faults)
        return Starlette(routes=[*routes, unknown, *commands, *pages.routes(self.world)], lifespan=self._lifespan)

    def _list_endpoints(self, _: World, call: Call) -> Object:
        return listing(call, self.webhooks.shown_endpoints(), ENDPOINTS_PATH)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.webhooks.run())]
        if self.world.start is None:
            tasks.append(asyncio.create_task(self._tick()))
        yield
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _tick(self) -> None:
        """Run what is due while the clock runs by itself."""
        while True:
            self.world.advance(self.world.now)
            await asyncio.sleep(TICK_SECONDS)

    def _endpoint(self, route: Route) -> Callable[[Request], Awaitable[Response]]:
        accepted = frozenset([*route.accepts.split(), "expand"])

        async def endpoint(request: Request) -> Response:
            text = (await request.body()).decode() if request.method == "POST" else request.url.query
            request_id = self.world.new_id("req", 14)
            try:
                if self.faults.take("rate_limit", request.method, request.url.path):
                    raise rate_limited()
                values = parse(text)
                account = self._authorize(request)
                if self.faults.take("forbidden", request.method, request.url.path):
                    raise forbidden()
                refuse_unknown(values, accepted)
                if self.faults.take("timeout_before", request.method, request.url.path):
                    return await _hang(request)
                answer, replayed = self._answer(request, route, values, account, request_id)
            except StripeError as error:
                answer, replayed = Answer(status=error.status, body=error.body, request_id=request_id), False
            if not replayed and self.faults.take("timeout_after", request.method, request.url.path):
                return await _hang(request)
            headers = {"Request-Id": request_id, "Stripe-Version": API_VERSION}
            if replayed:
                headers |= {"Idempotent-Replayed": "true", "Original-Request": answer.request_id}
            return JSONResponse(answer.body, answer.status, headers=headers)

        return endpoint

    def _answer(
        self, request: Request, route: Route, values: dict[str, object], account: str | None, request_id: str
    ) -> tuple[Answer, bool]:
        """Return the answer, and whether it is a saved one."""
        key = request.headers.get("idempotency-key") if request.method == "POST" else None
        question = (request.method, request.url.path, values)
        if key and (saved := self.answers.find(account, key, question)):
            return saved, True
        answer, keeps = self._run(request, route, values, account, request_id, key)
        if key and keeps:
            self.answers.save(account, key, question, answer)
        return answer, False

    def _run(
        self,
        request: Request,
        route: Route,
        values: dict[str, object],
        account: str | None,
        request_id: str,
        key: str | None,
    ) -> tuple[Answer, bool]:
        """Run the endpoint. Returns the answer, and whether Stripe saves it."""
        method, path = request.method, request.url.path
        params = Params(values)
        self.world.request = {"id": request_id, "idempotency_key": key}
        try:
            if self.faults.take("error_before", method, path):
                raise unexpected()
            call = Call(params=params, id=request.path_params.get("id", ""), account=account)
            body = shown(self.world, route.handler(self.world, call), params.texts("expand"))
            if self.faults.take("error_after", method, path):
                raise unexpected()
            return Answer(status=200, body=body, request_id=request_id), True
        except StripeError as error:
            return Answer(status=error.status, body=error.body, request_id=request_id), error.saved
        finally:
            self.world.request = {"id": None, "idempotency_key": None}

    def _authorize(self, request: Request) -> str | None:
        """Check key and version; return the connected account (https://docs.stripe.com/api/connected-accounts)."""
        key = _key_of(request.headers.get("authorization", ""))
        if not key.startswith(("sk_test_", "rk_test_")):
            message = f"Invalid API Key provided: {key[:7]}***" if key else "You did not provide an API key."
            raise StripeError(401, "invalid_request_error", message, saved=False)
        version = request.headers.get("stripe-version", API_VERSION)
        if version != API_VERSION:
            message = f"Invalid Stripe API version: {version}. The stand-in has the objects of {API_VERSION} only."
            raise StripeError(400, "invalid_request_error", message, saved=False)
        account = request.headers.get("stripe-account")
        if account is not None and self.world.objects.get(account, {}).get("object") != "account":
            raise connect.no_access(account)
        return account


async def _hang(request: Request) -> Response:
    """Give no answer until the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return Response(status_code=499)


async def _unrecognized(request: Request) -> Response:
    message = f"Unrecognized request URL ({request.method}: {request.url.path})."
    error = StripeError(404, "invalid_request_error", message)
    return JSONResponse(error.body, error.status)


def _key_of(authorization: str) -> str:
    """Return the key of Bearer, or the user name of Basic (https://docs.stripe.com/api/authentication)."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "basic":
        with suppress(binascii.Error, UnicodeDecodeError):
            return base64.b64decode(value).decode().partition(":")[0]
    return value
