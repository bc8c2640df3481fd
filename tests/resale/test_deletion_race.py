"""A sale, and the deletion of a first minter's account."""

import pytest

from tests.ipos.offerings import code, fund, user_id
from tests.resale.markets import Market
from tests.support import databases


@pytest.mark.parametrize(
    ("sale_is_first", "gains", "deletion"), [(True, [8600, 100], "409 account.not_empty"), (False, [8700, 0], "204")]
)
def test_no_part_goes_to_a_deleted_account(
    market: Market, gains: list[int], deletion: str, *, sale_is_first: bool
) -> None:
    third, buyer, url = market.minters[2], market.offering.buyer(), market.offering.app.database_url
    market.buy(market.seller, market.open(15, 16, seller=third), 2000)
    fund(market.offering.app, third, -market.balances(third)[0])
    listing = market.open(1, 1, unit_price=10_000)
    before = market.balances(market.seller)[0]
    third_id = user_id(third)
    balance = f"SELECT posted FROM ledger_accounts WHERE owner_id = '{third_id}' AND purpose = 'available'"
    calls = [lambda: market.buy(buyer, listing, 10_000), lambda: third.as_signed_in("DELETE", "/auth/me")]
    lock = f"SELECT FROM users WHERE id = '{third_id}' FOR UPDATE"

    answers = databases.in_order(url, lock, *(calls if sale_is_first else calls[::-1]))

    sale, deleted = answers if sale_is_first else answers[::-1]
    assert (sale.status_code, code(deleted) if deleted.status_code != 204 else "204") == (201, deletion)
    assert [market.balances(market.seller)[0] - before, databases.fetch_value(url, balance)] == gains
