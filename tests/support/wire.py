"""HTTP as bytes on a socket, for what client libraries don't send or don't show."""

import re
import socket


def read_answer(connection: socket.socket, answer: bytes = b"") -> bytes:
    """Read one response to its end: as long as its Content-Length says, or until the connection closes.

    `answer` is the part that was read before.
    """
    while not _is_whole(answer) and (received := connection.recv(65536)):
        answer += received
    return answer


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
    return end != b"" and length is not None and len(body) >= int(length[1])
