"""`unshare --net python -m tests.support.slow_link`: SIGTERM while clients connect over a link with 60 ms round trip.

In its own network namespace, a TUN device delays each packet and returns it to this machine with the addresses
exchanged: a client that connects to 10.9.0.2 reaches 10.9.0.1. Prints each client's result as JSON.

If this process was too late to forward a packet, the measurement is repeated.
"""

import fcntl
import json
import os
import queue
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support import api as apis

ONE_WAY_SECONDS = 0.03
LATE_SECONDS = 0.05
TRIES = 5
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
CLIENTS = 40
CLIENTS_A_SECOND = 100


def make_link() -> queue.Queue[float]:
    """Make the link, which lasts as long as this process; return by how much each packet was late."""
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", b"slow", IFF_TUN | IFF_NO_PI))
    for command in (
        "ip link set lo up",
        "ip addr add 10.9.0.1/24 dev slow",
        "ip link set slow up",
        "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.slow.accept_local=1",
    ):
        subprocess.run(command.split(), check=True)
    held: queue.Queue[tuple[float, bytes]] = queue.Queue()
    late: queue.Queue[float] = queue.Queue()

    def take() -> None:
        while True:
            held.put((time.monotonic() + ONE_WAY_SECONDS, os.read(tun, 65536)))

    def give() -> None:
        while True:
            at, packet = held.get()
            time.sleep(max(0, at - time.monotonic()))
            late.put(time.monotonic() - at)
            if packet[0] >> 4 == 4:  # IPv4
                source, target = packet[12:16], packet[16:20]
                os.write(tun, packet[:12] + target + source + packet[20:])

    for work in (take, give):
        threading.Thread(target=work, daemon=True).start()
    return late


def client(port: int, start: float) -> str:
    time.sleep(max(0, start - time.monotonic()))
    with socket.socket() as connection:
        connection.settimeout(10)
        try:
            connection.connect(("10.9.0.2", port))
        except ConnectionRefusedError:
            return "refused"
        try:
            connection.sendall(b"GET /nothing HTTP/1.1\r\nHost: api\r\n\r\n")
            return connection.recv(4096)[:12].decode() or "closed without an answer"
        except OSError as error:
            return type(error).__name__


def stop_while_they_connect() -> list[str]:
    with (
        tempfile.TemporaryDirectory() as folder,
        apis.running(Path(folder), DATABASE_URL="postgres://u@127.0.0.1:1/d", HOST="0.0.0.0") as api,  # noqa: S104
        ThreadPoolExecutor(CLIENTS) as threads,
    ):
        start = time.monotonic() + 0.5
        outcomes = [threads.submit(client, api.port, start + n / CLIENTS_A_SECOND) for n in range(CLIENTS)]
        time.sleep(0.7)
        api.process.send_signal(signal.SIGTERM)
        return [outcome.result() for outcome in outcomes]


def main() -> None:
    late = make_link()
    outcomes = stop_while_they_connect()
    for _ in range(TRIES):
        if max(late.queue) < LATE_SECONDS:
            break
        late.queue.clear()
        outcomes = stop_while_they_connect()
    print(json.dumps(outcomes))  # noqa: T201 - for the test that started it


if __name__ == "__main__":
    main()
