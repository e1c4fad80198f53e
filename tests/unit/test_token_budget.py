from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.aws.budget import Prices, TokenBudget
from core.completion import Usage
from core.errors import ModelError, ModelOverBudget, ModelUnavailable
from tests.bedrock_rig import FakeClock


async def test_what_fits_is_taken_at_once() -> None:
    clock = FakeClock()
    budget = TokenBudget(600, clock)
    await budget.reserve(600, within=0)
    assert clock.slept == []


async def test_what_does_not_fit_waits_until_the_bucket_has_filled() -> None:
    clock = FakeClock()
    budget = TokenBudget(600, clock)
    await budget.reserve(600, within=0)
    await budget.reserve(100, within=30)
    assert clock.time == pytest.approx(1010)


async def test_a_wait_longer_than_allowed_is_refused_and_takes_nothing() -> None:
    clock = FakeClock()
    budget = TokenBudget(600, clock)
    await budget.reserve(600, within=0)
    with pytest.raises(ModelOverBudget, match="600 tokens a minute is used up") as caught:
        await budget.reserve(200, within=5)
    assert caught.value.retry_after == pytest.approx(20)
    clock.time += 20
    await budget.reserve(200, within=0)


async def test_what_a_request_did_not_use_is_given_back() -> None:
    budget = TokenBudget(600, FakeClock())
    await budget.reserve(600, within=0)
    budget.settle(600, 50)
    await budget.reserve(550, within=0)


async def test_a_request_larger_than_the_budget_is_never_waited_for() -> None:
    clock = FakeClock()
    with pytest.raises(ModelError, match="more than the budget of 600 a minute") as caught:
        await TokenBudget(600, clock).reserve(601, within=10_000)
    assert clock.slept == []
    assert not isinstance(caught.value, ModelUnavailable), "waiting would be in vain"


@given(st.lists(st.tuples(st.integers(1, 600), st.integers(0, 600), st.floats(0, 30)), max_size=40))
def test_no_minute_sees_more_than_the_bucket_and_what_flows_into_it(calls: list[tuple[int, int, float]]) -> None:
    async def run() -> None:
        clock = FakeClock()
        budget = TokenBudget(600, clock)
        began, used = clock.time, 0
        for reserved, wanted, pause in calls:
            clock.time += pause
            await budget.reserve(reserved, within=1e9)
            spent = min(reserved, wanted)
            budget.settle(reserved, spent)
            used += spent
            assert used <= 600 + 10 * (clock.time - began) + 1e-3

    asyncio.run(run())


def test_prices_are_of_a_million_tokens() -> None:
    assert Prices(input=0.25, output=1.25).of(Usage(2_000_000, 400_000)) == pytest.approx(1.0)
