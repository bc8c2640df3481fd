"""Holders and artists who try to be paid twice, on two server processes and one database."""

from functools import partial
from typing import Any, cast
from uuid import uuid4

import httpx2
import pytest

from tests.ipos.offerings import code, post
from tests.masters.requests import make_admin
from tests.royalties.statements import Label, distrokid, new_isrc, sale, unique
from tests.support import databases
from tests.support.clients import Client, at_once
from tests.support.waiting import wait_until
from tests.test_story import (
    Platform,
    Story,
    buy_on_both_servers,
    end_the_offering,
    made,
    money,
    offer_shares,
    pay_in,
    platform,
    register_a_master,
)

__all__ = ["platform"]

NOTHING = "409 dividend.nothing_to_claim"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def sell_shares(story: Story) -> str:
    """Sell 3 of 10 shares to Ana and 3 to Ben; return the ISRC of the master."""
    register_a_master(story)
    isrc, url = new_isrc(), story.platform.database_url
    databases.execute(url, f"UPDATE master_tracks SET isrc = '{isrc}' WHERE master_id = '{story.master}'")
    for step in (offer_shares, pay_in, buy_on_both_servers, end_the_offering):
        step(story)
    return isrc


def claim(client: Client, key: str | None = None, **body: Any) -> httpx2.Response:
    return post(client, "/dividends/claim", body, key=key)


def paid(answer: httpx2.Response) -> int:
    return sum(each["amount"] for each in made(answer)["data"])


def distribute(story: Story, event_id: str) -> int:
    """Ask both servers at once to share revenue out; return what the artist paid, less the artist's part."""
    before = money(story.artist)
    path = f"/dividends/revenue/{event_id}/process"
    assert story.on_both(story.artist, lambda client: post(client, path, {})) == [201, 409]
    assert code(post(story.artist, f"/dividends/revenue/{event_id}/void")).startswith("409 revenue.")
    summary = f"/dividends/revenue/{story.master}/summary"
    wait_until(lambda: made(story.artist.as_signed_in("GET", summary))["data"][0]["funded"] == 0)
    return before - money(story.artist)


def upload_twice(story: Story, label: Label, isrc: str) -> list[str]:
    """Send a statement of 19.00 and an unmatched line of 5.00 several times; return the events that were recorded."""
    artist = label.client
    march = distrokid(sale(isrc, "20"), sale(isrc, "-1", Store="Deezer"), sale("n/a", "5"))
    first = label.send(march)
    path = f"/dividends/statements/{first}"
    assert story.on_both(artist, lambda client: client.as_signed_in("POST", f"{path}/complete")) == [202, 202]
    label.wait(first)
    assert code(label.begin(march)) == "409 statement.duplicate"

    under_another_name = label.upload(unique(march))
    assert (under_another_name["status"], label.revenue(story.master)) == ("suspected_duplicate", [1900])
    decide, body = f"/dividends/statements/{under_another_name['id']}/confirm", {"decision": "discard"}
    assert story.on_both(artist, lambda client: client.as_signed_in("POST", decide, body)) == [200, 409]

    match = {"master_id": story.master, "numbers": [4]}
    assert story.on_both(artist, lambda client: client.as_signed_in("POST", f"{path}/match", match)) == [200, 200]
    assert label.revenue(story.master) == [1900, 500]
    return [each["event_id"] for each in label.totals({"id": first})]


def claim_twice(story: Story) -> None:
    """Claim 0.95 for each share: at once on both servers, and with old and new keys."""
    before = money(story.ana)
    answers = at_once([partial(claim, each) for each in (story.ana, story.there(story.ana)) for _ in range(4)])
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 7]
    assert money(story.ana) == before + 285

    key = str(uuid4())
    assert [paid(claim(client, key)) for client in (story.ben, story.there(story.ben))] == [285, 285]
    assert code(claim(story.ben)) == NOTHING
    assert code(claim(story.eve, key)) == NOTHING  # a key is its account's own
    assert code(claim(story.ben, key, master_id=story.master)) == "422 idempotency_key.reused"


def resell_meanwhile(story: Story, event_id: str) -> None:
    """Resell two of Ana's shares after a distribution of 0.25 for each share, while she claims it."""
    listing = made(story.sell(story.ana, 1, 2))["id"]
    assert distribute(story, event_id) == 500 - 200
    buying = partial(post, story.eve, f"/listings/{listing}/buy", {"expected_total": 2000})
    sold, claimed = at_once([buying, partial(claim, story.there(story.ana))])
    assert (sold.status_code, paid(claimed)) == (201, 75)
    assert code(claim(story.eve)) == code(claim(story.ana)) == NOTHING


def test_nobody_is_paid_twice(platform: Platform) -> None:
    artist, ana, ben, eve = (platform.account() for _ in range(4))
    admin = make_admin(platform.database_url, platform.account())
    story = Story(platform=platform, artist=artist, ana=ana, ben=ben, eve=eve, admin=admin)
    isrc, label = sell_shares(story), Label(cast("Any", platform), artist, platform.sendgrid)

    events = upload_twice(story, label, isrc)
    assert distribute(story, events[0]) == 1900 - 760
    claim_twice(story)
    resell_meanwhile(story, events[1])

    # A month of returns takes nothing back from holders: it is carried, and the next statement pays less.
    april = {"Sale Month": "2026-02", "Reporting Date": "2026-03-25"}
    label.upload(distrokid(sale(isrc, "-3", **april)))
    last = label.upload(distrokid(sale(isrc, "7", Store="Tidal", **april)))
    assert label.revenue(story.master) == [1900, 500, 400]
    distribute(story, label.totals(last)[0]["event_id"])

    # 0.20 for each share: Eve has two of Ana's three, the artist the four that nobody bought.
    assert code(eve.as_signed_in("DELETE", "/auth/me")) == "409 account.not_empty"
    bodies: list[dict[str, Any]] = [{}, {"master_id": story.master}]
    answers = at_once([partial(claim, client, **body) for client in (eve, story.there(eve)) for body in bodies])
    assert [paid(answer) for answer in answers if answer.status_code == 201] == [40]
    assert [paid(claim(client)) for client in (ana, ben, artist)] == [20, 75 + 60, 4 * (95 + 25 + 20)]
    held = "SELECT sum(posted)::bigint FROM ledger_accounts WHERE owner_kind = 'pool'"
    assert databases.fetch_value(platform.database_url, held) == 0
    platform.check()
