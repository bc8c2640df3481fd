"""HTTP requests that wait as long as a busy machine needs. pytest's time limit ends what hangs."""

from functools import partial

import httpx2

SECONDS = 200

request = partial(httpx2.request, timeout=SECONDS)
get = partial(httpx2.get, timeout=SECONDS)
head = partial(httpx2.head, timeout=SECONDS)
options = partial(httpx2.options, timeout=SECONDS)
post = partial(httpx2.post, timeout=SECONDS)
put = partial(httpx2.put, timeout=SECONDS)
delete = partial(httpx2.delete, timeout=SECONDS)
