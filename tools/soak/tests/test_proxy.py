import asyncio
from asyncio import StreamReader, StreamWriter

import pytest

from tests.support.waiting import until
from tools.soak import proxy

pytestmark = pytest.mark.skipif(not proxy.is_installed(), reason=proxy.ADVICE)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Server:
    """Holds each request until `may_answer`, and counts."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.held = self.most_held = 0

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        while (await reader.read(65536)).endswith(b"\r\n\r\n"):
            self.held += 1
            self.most_held = max(self.held, self.most_held)
            await self.may_answer.wait()
            self.held -= 1
            writer.write(ANSWER)
        writer.close()


async def ask(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    status = await reader.readline()
    writer.close()
    return status


async def statuses_of(server: Server, requests: int, limit: int) -> set[bytes]:
    """Send the requests at once, let the server answer when it has `limit` of them, and return their status lines."""
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, backlog=requests)
    async with listener:
        with proxy.running(listener.sockets[0].getsockname()[1]) as port:
            asking = [asyncio.create_task(ask(port)) for _ in range(requests)]
            await until(lambda: server.held >= limit)
            server.may_answer.set()
            return set(await asyncio.gather(*asking))


def test_requests_above_the_hard_limit_wait_in_the_proxy() -> None:
    server, limit = Server(), proxy.hard_limit()

    assert asyncio.run(statuses_of(server, 3 * limit, limit)) == {b"HTTP/1.1 200 OK\r\n"}
    assert server.most_held == limit
