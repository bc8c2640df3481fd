"""HTTP as bytes on a socket, for what clients' libraries don't send or don't show."""

import re
import socket


def read_answer(connection: socket.socket, answer: bytes = b"") -> bytes:
    """One answer to its end, in however many parts it comes: as long as its Content-Length says, or to the close.

    `answer` is what was read of it before.
    """
    while not _is_whole(answer) and (received := connection.recv(65536)):
        answer += received
    return answer


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
    return end != b"" and length is not None and len(body) >= int(length[1])
