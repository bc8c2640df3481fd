"""Headers of every response, unless its route sets them itself (OWASP REST Security Cheat Sheet)."""

type RawHeaders = tuple[tuple[bytes, bytes], ...]

OVER_HTTP: RawHeaders = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    # Blocks <img> and <script>; CORS controls fetch().
    (b"cross-origin-resource-policy", b"same-origin"),
)
# Without includeSubDomains: the API doesn't know which other services share its domain.
OVER_HTTPS: RawHeaders = (*OVER_HTTP, (b"strict-transport-security", b"max-age=31536000"))


def default_headers(scheme: str) -> RawHeaders:
    """Return the default headers of responses for this scheme."""
    return OVER_HTTPS if scheme == "https" else OVER_HTTP
