"""The HTTP client for other services."""

import ssl
from functools import cache
from typing import Any

import httpx2

CONNECT_TIMEOUT_SECONDS = 3


@cache
def tls_context() -> ssl.SSLContext:
    """Return the context that all clients share: reading the system's authorities takes 20 ms."""
    return httpx2.create_ssl_context(trust_env=False)


def open_client(timeout_seconds: float, **options: Any) -> httpx2.AsyncClient:
    """Return a client that follows no redirect, and takes no proxy from the environment. The caller closes it.

    Other options are those of `httpx2.AsyncClient`.
    """
    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(timeout_seconds, connect=min(CONNECT_TIMEOUT_SECONDS, timeout_seconds)),
        verify=tls_context(),
        follow_redirects=False,
        trust_env=False,
        **options,
    )
