"""HTTP requests that wait as long as a busy machine needs. pytest's time limit ends what hangs."""

from functools import partial

import httpx2

from audifi.core.http_client import tls_context

SECONDS = 200

request = partial(httpx2.request, timeout=SECONDS, verify=tls_context())
get = partial(httpx2.get, timeout=SECONDS, verify=tls_context())
head = partial(httpx2.head, timeout=SECONDS, verify=tls_context())
options = partial(httpx2.options, timeout=SECONDS, verify=tls_context())
post = partial(httpx2.post, timeout=SECONDS, verify=tls_context())
put = partial(httpx2.put, timeout=SECONDS, verify=tls_context())
delete = partial(httpx2.delete, timeout=SECONDS, verify=tls_context())
