"""Reads that may be kept get an ETag, and who has them already isn't sent them again (RFC 9110, 13; RFC 9111, 4.3)."""

import hashlib
from base64 import urlsafe_b64encode
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Of what isn't sent. All else stays, because caches take what a 304 says for what they have (RFC 9111, 4.3.4): a page's
# Content-Security-Policy, too.
OF_THE_BODY = {b"content-type", b"content-length", b"content-encoding", b"content-range", b"last-modified"}
REVALIDATE = "private, no-cache"  # keep it, but ask each time


class ConditionalMiddleware:
    """For what answers 200 to GET in one piece and doesn't forbid to keep it: `Cache-Control: no-store` does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
            return
        held: Message | None = None  # the start of an answer, until its body is there

        async def send_conditionally(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and _may_be_kept(message):
                held = message
                return
            if held is not None:
                start, held = held, None
                if not message.get("more_body"):
                    start, message = _revalidated(scope, start, message)
                await send(start)
            await send(message)

        await self._app(scope, receive, send_conditionally)


def _may_be_kept(start: Message) -> bool:
    headers = dict(start["headers"])
    return (
        start["status"] == HTTPStatus.OK
        and b"etag" not in headers
        and b"no-store" not in headers.get(b"cache-control", b"")
    )


def _revalidated(scope: Scope, start: Message, body: Message) -> tuple[Message, Message]:
    headers = MutableHeaders(raw=[*start["headers"]])
    digest = hashlib.blake2b(body.get("body", b""), digest_size=16).digest()
    etag = f'"{urlsafe_b64encode(digest).decode().rstrip("=")}"'
    headers["ETag"] = etag
    headers.setdefault("Cache-Control", REVALIDATE)
    if not _is_held(Headers(scope=scope).getlist("if-none-match"), etag):
        return {**start, "headers": headers.raw}, body
    kept = [(name, value) for name, value in headers.raw if name not in OF_THE_BODY]
    return {**start, "status": 304, "headers": kept}, {"type": "http.response.body", "body": b""}


def _is_held(conditions: list[str], etag: str) -> bool:
    """RFC 9110, 13.1.2, by the weak comparison (8.8.3.2): a proxy that compresses an answer makes its tag weak."""
    tags = [tag.strip().removeprefix("W/") for condition in conditions for tag in condition.split(",")]
    return etag in tags or "*" in tags
