"""Cross-origin resource sharing: https://fetch.spec.whatwg.org/#http-cors-protocol"""

import re
from collections.abc import Mapping, Sequence

from starlette.responses import Response

from audifi.core.http.middleware import request_id
from audifi.core.http.problems import Problem

type RawHeaders = tuple[tuple[bytes, bytes], ...]

ALLOWED_METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")
ALLOWED_HEADERS = (
    *("Accept", "Accept-Language", "Content-Language", "Content-Type"),
    *("Authorization", "Idempotency-Key", "If-Match", "If-None-Match", request_id.HEADER),
    *("traceparent", "tracestate", "baggage", "sentry-trace"),
)
EXPOSED_HEADERS = (
    *("ETag", "Retry-After", "RateLimit", "RateLimit-Policy", "WWW-Authenticate"),
    *("Content-Disposition", request_id.HEADER),
)
MAX_AGE_SECONDS = 7200  # Chromium's limit
HEADER_NAME = re.compile(r"[a-z0-9-]{1,32}")  # too short for a token
VARY: RawHeaders = ((b"vary", b"Origin"),)
PREFLIGHT_VARY = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"


class CorsPolicy:
    """Lets pages of the allowed origins call this API with cookies and read its responses."""

    def __init__(self, allowed_origins: Sequence[str]) -> None:
        """
        Args:
            allowed_origins: scheme, host and port, exactly as browsers write them.
        """
        self._response_headers: dict[bytes, RawHeaders] = {
            origin.encode(): (
                (b"access-control-allow-origin", origin.encode()),
                (b"access-control-allow-credentials", b"true"),
                (b"access-control-expose-headers", ", ".join(EXPOSED_HEADERS).encode()),
                *VARY,
            )
            for origin in allowed_origins
        }
        self._allowed_headers = frozenset(map(str.lower, ALLOWED_HEADERS))

    def response_headers(self, origin: bytes | None) -> RawHeaders:
        """Return the CORS headers of a response. `Vary` keeps caches from mixing up the responses of origins."""
        return VARY if origin is None else self._response_headers.get(origin, VARY)

    def preflight_response(self, headers: Mapping[bytes, bytes]) -> Response:
        """Return the answer to a preflight; the response headers are added to it as to any other.

        Raises:
            Problem: 400, with what isn't allowed.
        """
        if headers[b"origin"] not in self._response_headers:
            raise _refused("The origin isn't allowed. APP_URL and ALLOWED_ORIGINS list the allowed ones.")
        if headers[b"access-control-request-method"].decode("latin-1") not in ALLOWED_METHODS:
            raise _refused(f"The method isn't allowed. Use one of {', '.join(ALLOWED_METHODS)}.")
        requested = headers.get(b"access-control-request-headers", b"").decode("latin-1").lower()
        for name in filter(None, map(str.strip, requested.split(","))):
            if name not in self._allowed_headers:
                header = f"The header {name}" if HEADER_NAME.fullmatch(name) else "A header"
                raise _refused(f"{header} isn't allowed. Send only {', '.join(ALLOWED_HEADERS)}.")
        return Response(
            headers={
                "Access-Control-Allow-Methods": ", ".join(ALLOWED_METHODS),
                "Access-Control-Allow-Headers": ", ".join(ALLOWED_HEADERS),
                "Access-Control-Max-Age": str(MAX_AGE_SECONDS),
                "Vary": PREFLIGHT_VARY,
            }
        )


def is_preflight(method: str, headers: Mapping[bytes, bytes]) -> bool:
    return method == "OPTIONS" and b"origin" in headers and b"access-control-request-method" in headers


def _refused(detail: str) -> Problem:
    return Problem(400, "cors.refused", "CORS preflight refused", detail, headers=[("Vary", PREFLIGHT_VARY)])
