"""Single requests, one after the other on one connection."""

import http.client
import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from tools.bench.contenders import Running
from tools.bench.load import LoadError
from tools.bench.workloads import Workload

NUMBERS = itertools.count()


@contextmanager
def connected(server: Running) -> Iterator[http.client.HTTPConnection]:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        yield client
    finally:
        client.close()


def request(client: http.client.HTTPConnection, workload: Workload, token: str) -> None:
    """
    Raises:
        LoadError: the answer is not the workload's.
    """
    number = f"{next(NUMBERS):012}"
    client.request(workload.method, workload.path, workload.body_bytes(number), workload.all_headers(token, number))
    with client.getresponse() as response:
        answer = response.read()
    if response.status != workload.status:
        raise LoadError(f"{workload.title} was answered {response.status}: {answer[:300]!r}")
