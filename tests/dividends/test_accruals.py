"""What holders get: examples that were worked out by hand."""

from typing import Any

from audifi.core.db.database import Database
from audifi.dividends.distributions import Parts, split
from tests.dividends.stages import SCALE, Stage, run

POOL = "SELECT per_unit, residue FROM ledger_pools AS p JOIN distributions AS d ON d.pool_id = p.id WHERE d.id = $1"


def test_residue_is_carried_over_three_distributions(dividends_url: str) -> None:
    """100 for 7 shares, three times: 14.285714285 with 5 left, then 14.285714286 with 3, then 1 left."""

    async def act(database: Database) -> Any:
        stage = await Stage(database).open(3, 2, 2)
        pools = []
        for _ in range(3):
            declared = await stage.distribute(200)
            [row] = await database.fetch_sql(POOL, declared.id)
            pools.append(tuple(map(int, row)))
        return pools, [await stage.claim(holder) for holder in stage.holders], await stage.unclaimed()

    pools, paid, unclaimed = run(dividends_url, act)
    assert pools == [(14_285_714_285, 5), (28_571_428_571, 3), (42_857_142_857, 1)]
    # 3 shares: 128.571428571; 2 shares: 85.714285714. The fractions stay, two units together.
    assert paid == [[128], [85], [85]]
    assert unclaimed == 2


def test_fractions_of_claims_add_up(dividends_url: str) -> None:
    """A third of 1 each time: nothing, nothing, and 0.999999999; the fourth time there is a whole unit."""

    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1, 2)
        paid = []
        for _ in range(4):
            await stage.distribute(2)
            paid.append(await stage.claim(stage.holders[0]))
        return paid

    assert run(dividends_url, act) == [[], [], [1], []]


def test_accrued_part_stays_with_the_seller(dividends_url: str) -> None:
    """70 for 7 shares is 10 each; 2 of Ana's 3 are Ben's when the second 70 come."""

    async def act(database: Database) -> Any:
        stage = await Stage(database).open(3, 2, 2)
        ana, ben, zoe = stage.holders
        await stage.distribute(140)
        await stage.transfer(ana, ben, 2)
        await stage.distribute(140)
        return [await stage.claim(holder) for holder in (ana, ben, zoe)], await stage.unclaimed()

    assert run(dividends_url, act) == ([[40], [60], [40]], 0)


def test_holder_who_sold_all_still_claims(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(3, 4)
        ana, ben = stage.holders
        await stage.distribute(140)
        await stage.transfer(ana, ben, 3)
        return [await stage.claim(holder) for holder in (ana, ben, ana)]

    assert run(dividends_url, act) == [[30], [40], []]


def test_smallest_revenue_on_most_shares_is_not_lost(dividends_url: str) -> None:
    """1 for a million shares is 0.000001 each: the holder of all but one of them claims the second time."""

    async def act(database: Database) -> Any:
        stage = await Stage(database).open(999_999, 1)
        most, least = stage.holders
        paid = []
        for _ in range(2):
            await stage.distribute(2)
            paid.append([await stage.claim(most), await stage.claim(least)])
        return paid, await stage.unclaimed()

    assert run(dividends_url, act) == ([[[], []], [[1], []]], 1)


def test_parts_add_up_and_the_artist_gets_the_residue() -> None:
    events = [("streaming", 333), ("sale", 334), ("resale_royalty", 100)]

    parts = split(events, platform_bps=1000, holders_bps=5000)  # type: ignore[arg-type]

    # 667 by 10 % and 50 %, both rounded down; royalties of resales are the holders' alone.
    assert parts == Parts(platform=66, holders=333 + 100, artist=268)


def test_currencies_have_pools_of_their_own(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1, 1)
        ana = stage.holders[0]
        await stage.distribute(40)
        await stage.distribute(80, currency="EUR")
        paid = await stage.claim(ana)
        return sorted(paid), await stage.money(ana), await stage.money(ana, "EUR")

    assert run(dividends_url, act) == ([10, 20], 10, 20)


def test_distribution_pays_platform_artist_and_pool(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        declared = await stage.declare(1001)
        kept = await stage.kept()
        await database.run(stage.posting(declared))
        [row] = await database.fetch_sql(
            "SELECT status, platform, artist, holders, per_unit_before, per_unit_after, residue_after"
            " FROM distributions WHERE id = $1",
            declared.id,
        )
        return kept, tuple(row), await stage.money(stage.artist), await stage.unclaimed(), await stage.kept()

    kept, row, artist, unclaimed, left = run(dividends_url, act)
    assert row == ("posted", 100, 401, 500, 0, 500 * SCALE, 0)
    assert (kept, artist, unclaimed, left) == (1001, 401, 500, 0)
