"""`python -m tools.bench.payments`: what webhooks and plans cost, as ratios of one run, and the time of 10,000 events.

Alone on the machine; needs wrk. Server, PostgreSQL and the stand-in of Stripe share its cores, and webhooks share them
with the jobs that they start.
"""

import argparse
import json
import logging
import random
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2

from tests.ipos.offerings import insert_master
from tests.payments import shops
from tests.payments.shops import SECRET, Shop
from tests.subscriptions.accounts import give_plan
from tests.support import databases, sendgrid
from tests.support.app import check_invariants
from tools.bench import load
from tools.stripe_stand_in.webhooks import sign

WEBHOOK = "/api/v1/payments/webhooks/stripe"
DEPOSITS = 20


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.payments", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each ratio (%(default)s)")
    parser.add_argument("--seconds", type=int, default=4, help="of each part of a round (%(default)s)")
    parser.add_argument("--events", type=int, default=10_000, help="of the drain (%(default)s)")
    options = parser.parse_args()
    logging.disable()  # a line for each object that the stand-in doesn't have
    with databases.own_server() as server, sendgrid.running() as mail, TemporaryDirectory() as folder:
        if failure := databases.make_template(server):
            raise SystemExit(failure)
        url = databases.create_database(server, databases.TEMPLATE)
        with shops.running(url, mail, rate_limit_factor=1_000_000, client_requests_per_minute=1_000_000) as shop:
            compare_webhooks(shop, Path(folder), rounds=options.rounds, seconds=options.seconds)
            compare_gate(shop, rounds=options.rounds * 100)
            drain(shop, count=options.events)
            check_invariants(url)
            print("all invariants hold")


def event(shop: Shop, number: object, kind: str, thing: str) -> dict[str, Any]:
    created = int(shop.app.clock().timestamp())
    return {
        "id": f"evt_bench_{number}",
        "object": "event",
        "type": kind,
        "created": created,
        "livemode": False,
        "data": {"object": {"id": thing, "object": kind.rpartition(".")[0]}},
    }


def signed(shop: Shop, body: dict[str, Any]) -> tuple[dict[str, str], bytes]:
    payload = json.dumps(body)
    return {"Stripe-Signature": sign(payload, SECRET, int(shop.app.clock().timestamp()))}, payload.encode()


def raw(method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    lines = {"Host": "127.0.0.1", "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
    return "\r\n".join([f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in lines.items()), "", ""]).encode() + body


def per_second(shop: Shop, folder: Path, requests: Sequence[bytes], seconds: int) -> float:
    """
    Raises:
        SystemExit: a request failed.
    """
    file = folder / "requests"
    file.write_bytes(b"\0".join(requests))
    command = [
        "wrk",
        "--threads",
        "1",
        "--connections",
        "16",
        "--duration",
        f"{seconds}s",
        "--script",
        str(load.SCRIPT),
    ]
    done = subprocess.run([*command, shop.app.url, "--", str(file), "0"], capture_output=True, text=True, check=False)
    result = load.parse(done.stdout, expects_errors=False)
    if result.failed:
        raise SystemExit(f"{result.failed} of {result.requests} requests failed")
    return result.per_second


def compare_webhooks(shop: Shop, folder: Path, *, rounds: int, seconds: int) -> None:
    """Compare events, each of an object of its own, with the smallest authenticated write."""
    token = shop.fan().tokens["access_token"]
    rename = raw(
        "PATCH", "/api/v1/auth/me", {"Authorization": f"Bearer {token}"}, json.dumps({"display_name": "Ana"}).encode()
    )
    ratios: dict[str, list[float]] = {"ignored": [], "followed": []}
    numbers = iter(range(10**9))
    for _ in range(rounds):
        for status, kind in (("ignored", "charge.updated"), ("followed", "customer.subscription.updated")):
            bodies = [
                event(shop, n, kind, f"sub_bench_{n}") for n, _ in zip(numbers, range(3000 * seconds), strict=False)
            ]
            webhooks = [raw("POST", WEBHOOK, *signed(shop, body)) for body in bodies]
            writes = per_second(shop, folder, [rename], seconds)
            ratios[status].append(per_second(shop, folder, webhooks, seconds) / writes)
            shop.settle()
    for status, values in ratios.items():
        print(f"events that are {status}: {spread(values)} x the smallest authenticated write")


def compare_gate(shop: Shop, *, rounds: int) -> None:
    """Compare a change of a draft that asks for the plan with one that doesn't."""
    artist = shop.fan()
    user_id = artist.tokens["user"]["id"]
    give_plan(shop.app.database_url, user_id)
    path = f"/masters/{insert_master(shop.app.database_url, user_id)}/ipo"
    terms = {
        "currency": "USD",
        "total_shares": 1000,
        "retained_shares": 200,
        "unit_price": 250,
        "max_per_account": 100,
        "opens_at": "2100-01-01T00:00:00Z",
        "ends_at": "2100-01-10T00:00:00Z",
    }
    drafted = artist.as_signed_in("POST", path, terms, headers={"Idempotency-Key": "draft"})
    assert drafted.status_code == 201, drafted.text
    version = 1
    times: dict[int, list[float]] = {0: [], 100: []}
    for number in range(rounds):
        for bps in (0, 100) if number % 2 else (100, 0):
            began = time.perf_counter()
            changed = artist.as_signed_in(
                "PATCH", path, terms | {"royalty_to_holders_bps": bps}, headers={"If-Match": f'"{version}"'}
            )
            times[bps].append(time.perf_counter() - began)
            assert changed.status_code == 200, changed.text
            version += 1
    ratio = statistics.median(times[100]) / statistics.median(times[0])
    print(f"a change of a draft that asks for the plan: {ratio:.2f} x without it")


def drain(shop: Shop, *, count: int) -> None:
    """Send events about deposits in any order, some of them twice, and let the jobs end; then the books must agree."""
    fans = [shop.fan() for _ in range(DEPOSITS)]
    shop.stand_in.do("disturb", lose=1000)  # its own events
    sessions = []
    for fan in fans:
        checkout_id = shop.opened(fan)
        shop.pay(checkout_id)
        sessions.append(shop.session(checkout_id))
    events = [event(shop, f"drain_{n}", "checkout.session.completed", sessions[n % DEPOSITS]) for n in range(count)]
    events += events[::10]
    random.Random(1).shuffle(events)
    began = time.perf_counter()
    with httpx2.Client(base_url=shop.app.url) as http:
        for body in events:
            headers, payload = signed(shop, body)
            assert http.post(WEBHOOK, content=payload, headers=headers).status_code == 204
    received = time.perf_counter() - began
    shop.settle()
    seconds = time.perf_counter() - began
    fetches = shop.value("SELECT coalesce(sum(synced), 0)::bigint FROM provider_syncs WHERE kind = 'checkout'")
    left = shop.value("SELECT count(*) FROM provider_events WHERE status NOT IN ('done', 'ignored')")
    shop.stand_in.do("disturb")
    assert [shop.balance(fan) for fan in fans] == [5000] * DEPOSITS
    print(
        f"{len(events):,} events, a tenth of them twice: received in {received:.0f} s, drained in {seconds:.0f} s"
        f" by {fetches:,} fetches; {left} left"
    )


def spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
