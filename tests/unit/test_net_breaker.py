"""The circuit breaker and an account's pauses, on a clock that the test moves."""

import asyncio

import pytest
from structlog.testing import capture_logs

from core.errors import NotSent
from hub.net.account import Account
from hub.net.breaker import Breaker, BreakerState


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("crm", threshold=3, cooldown=10, cooldown_max=35, clock=clock)


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.enter()
        breaker.failed("no answer")


def test_it_opens_after_failures_in_a_row_only(breaker: Breaker) -> None:
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert breaker.state is BreakerState.CLOSED
    fail(breaker)
    assert breaker.state is BreakerState.OPEN
    assert breaker.wait() == 10


def test_after_the_cooldown_one_probe_goes_through(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 10
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.wait() == 0
    breaker.enter()
    assert breaker.wait() > 0, "a second one waits while the probe is out"


def test_a_probe_that_succeeds_closes_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 10
    breaker.enter()
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED
    assert breaker.wait() == 0


def test_each_probe_that_fails_doubles_the_rest_up_to_a_limit(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    rests = []
    for _ in range(4):
        clock.now += breaker.wait()
        fail(breaker)
        rests.append(breaker.wait())
    assert rests == [20, 35, 35, 35]


def test_a_probe_that_was_cancelled_makes_room_for_another(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 10
    breaker.enter()
    breaker.left()
    assert breaker.wait() == 0


def test_failures_that_began_before_it_opened_do_not_prolong_the_rest(breaker: Breaker) -> None:
    fail(breaker, 3)
    breaker.failed("late")
    breaker.failed("later")
    assert breaker.wait() == 10


def test_an_outage_is_logged_once(breaker: Breaker, clock: Clock) -> None:
    with capture_logs() as logs:
        fail(breaker, 5)
        for _ in range(3):
            clock.now += breaker.wait()
            fail(breaker)
        clock.now += breaker.wait()
        breaker.enter()
        breaker.succeeded()
    assert [entry["event"] for entry in logs] == ["breaker.opened", "breaker.closed"]
    assert logs[0]["account"] == "crm"


async def test_an_account_that_asked_for_a_pause_gets_nothing_until_it_ends(clock: Clock) -> None:
    account = Account("crm", clock=clock)
    account.pause(60)
    account.pause(5)  # a shorter one does not end the longer
    with pytest.raises(NotSent) as caught:
        await account.enter(1)
    assert caught.value.retry_after == 60
    clock.now += 60
    await account.enter(1)
    assert account.health().requests == 1


async def test_an_open_breaker_refuses_with_the_time_to_wait_and_the_last_reason(clock: Clock) -> None:
    account = Account("crm", breaker=Breaker("crm", threshold=1, cooldown=30, clock=clock), clock=clock)
    await account.enter(1)
    account.failed("https://crm.example.com answered 500")
    with pytest.raises(NotSent, match="answered 500") as caught:
        await account.enter(1)
    assert caught.value.retry_after == 30
    assert account.health().breaker is BreakerState.OPEN


async def test_the_rate_limit_delays_and_a_wait_beyond_patience_is_refused() -> None:
    account = Account("crm", rate=20)
    start = asyncio.get_running_loop().time()
    for _ in range(22):
        await account.enter(5)
    assert asyncio.get_running_loop().time() - start >= 0.05
    slow = Account("arxiv", rate=0.1)
    await slow.enter(0.01)
    with pytest.raises(NotSent, match="rate limit"):
        await slow.enter(0.01)
