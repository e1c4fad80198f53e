"""When a delivery is tried again, by which clock, and what is remembered of an endpoint."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.store.base import AuditRecord, StoredAuditRecord
from hub.net.breaker import Breaker
from hub.notify.endpoint import Endpoint, Lane
from hub.notify.events import delivery_for
from hub.notify.schedule import PAYLOAD_REFUSED, Clock, RetrySchedule
from hub.sdk.contract import Outcome

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


# ---------------------------------------------------------------- the schedule


def test_the_default_schedule_gives_a_receiver_about_three_days() -> None:
    mean = RetrySchedule(jitter=lambda low, high: (low + high) / 2)
    waits = [mean.wait(attempts) for attempts in range(1, 13)]
    assert None not in waits
    assert mean.wait(13) is None
    assert timedelta(days=2.5) < timedelta(seconds=sum(wait or 0 for wait in waits)) < timedelta(days=3.5)


@given(st.integers(1, 12))
def test_waits_are_drawn_from_nought_to_twice_the_figure(attempts: int) -> None:
    drawn: list[tuple[float, float]] = []

    def jitter(low: float, high: float) -> float:
        drawn.append((low, high))
        return low

    RetrySchedule(jitter=jitter).wait(attempts)
    assert drawn == [(0.0, 2 * RetrySchedule.WAITS[attempts - 1])]
    assert timedelta(seconds=drawn[0][1]) <= RetrySchedule().longest


@pytest.mark.parametrize("status", sorted(PAYLOAD_REFUSED))
def test_a_refused_payload_gets_six_attempts(status: int) -> None:
    schedule = RetrySchedule()
    assert schedule.wait(5, status=status) is not None
    assert schedule.wait(6, status=status) is None
    assert schedule.wait(6, status=404) is not None


def test_without_waits_there_is_one_attempt() -> None:
    assert RetrySchedule([]).wait(1) is None


# ---------------------------------------------------------------- the clock


class Hands:
    """The two clocks of a machine."""

    def __init__(self) -> None:
        self.wall = NOW
        self.elapsed = 0.0

    def clock(self) -> Clock:
        return Clock(lambda: self.wall, lambda: self.elapsed)

    def advance(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.elapsed += seconds


def test_time_passes_as_usual_when_the_wall_clock_is_set_back() -> None:
    hands = Hands()
    clock = hands.clock()
    hands.wall -= timedelta(days=30)
    hands.advance(60)
    assert clock.now() == NOW + timedelta(seconds=60)


def test_the_wall_clock_is_followed_when_it_is_set_ahead_or_the_machine_slept() -> None:
    hands = Hands()
    clock = hands.clock()
    hands.wall += timedelta(hours=8)
    assert clock.now() == NOW + timedelta(hours=8)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e6, 1e6))))
def test_it_never_goes_back_whatever_the_wall_clock_does(steps: list[tuple[float, float]]) -> None:
    hands = Hands()
    clock = hands.clock()
    before = clock.now()
    for seconds, jump in steps:
        hands.advance(seconds)
        hands.wall += timedelta(seconds=jump)
        now = clock.now()
        assert now - before >= timedelta(seconds=seconds) - timedelta(milliseconds=1)
        assert now >= hands.wall
        before = now


# ---------------------------------------------------------------- ids and payloads


def record(sequence: int, at: datetime = NOW) -> StoredAuditRecord:
    detail = {"status": "processed", "graph_version": 3, "source": None}
    return StoredAuditRecord(sequence, at, AuditRecord("api", "document.processed", "cms-1", detail))


def test_an_id_depends_on_record_and_endpoint_alone() -> None:
    ids = {delivery_for(record(n), name).id for n in (1, 2) for name in ("crm", "ops") for _ in range(2)}
    assert len(ids) == 4


def test_a_store_that_was_begun_anew_makes_other_ids() -> None:
    assert delivery_for(record(1), "crm").id != delivery_for(record(1, NOW + timedelta(seconds=1)), "crm").id


def test_the_payload_is_flat_and_leaves_out_what_is_not_known() -> None:
    assert delivery_for(record(1), "crm").payload == (
        '{"type":"document.processed","timestamp":"2026-03-01T12:00:00.000Z","document_id":"cms-1",'
        '"status":"processed","graph_version":3}'
    )


# ---------------------------------------------------------------- an endpoint's state


class Nobody:
    async def notify(self, batch: object) -> list[Outcome]:
        raise AssertionError("nothing is sent")


def lane(hands: Hands, stored: str | None = None) -> Lane:
    breaker = Breaker("crm", threshold=2, cooldown=30, clock=lambda: hands.elapsed)
    endpoint = Endpoint("crm", ("document.processed",), Nobody())
    return Lane("crm", endpoint, stored=stored, breaker=breaker, clock=hands.clock(), concurrency=2)


def fail(lane: Lane, status: int | None = 500, retry_after: float | None = None, at: datetime = NOW) -> None:
    lane.enter()
    outcome = Outcome(error="no", status=status, retry_after=retry_after)
    lane.heard([outcome])
    lane.failed_with(outcome, at)
    lane.left()


def test_an_endpoint_has_so_many_attempts_under_way_and_no_more() -> None:
    crm = lane(Hands())
    crm.enter()
    assert crm.wait() == 0
    crm.enter()
    assert crm.wait() is None
    crm.left()
    assert crm.wait() == 0


def test_an_endpoint_that_does_not_answer_rests() -> None:
    hands = Hands()
    crm = lane(hands)
    fail(crm, None)
    fail(crm)
    assert crm.wait() == 30
    assert crm.health().state == "resting"
    hands.advance(30)
    assert crm.wait() == 0


def test_refusals_say_nothing_against_the_line() -> None:
    crm = lane(Hands())
    for _ in range(10):
        fail(crm, 422)
    assert crm.wait() == 0
    assert crm.health().state == "failing"


def test_a_batch_that_gets_through_in_part_says_nothing_against_the_line_and_one_that_fails_counts_once() -> None:
    crm = lane(Hands())
    for _ in range(10):
        crm.heard([Outcome(error="no"), Outcome()])
    assert crm.wait() == 0
    crm.heard([Outcome(error="no")] * 10)
    assert crm.wait() == 0
    crm.heard([Outcome(error="no")] * 10)
    assert crm.wait() == 30


def test_what_was_not_sent_puts_the_rest_off_and_says_why_and_counts_as_no_failure() -> None:
    crm = lane(Hands())
    for _ in range(10):
        crm.heard([Outcome(error="the broker is away", unsent=True)])
    crm.unsent(Outcome(error="the broker is away", unsent=True), 2.0)
    health = crm.health()
    assert (crm.wait(), health.state, health.reason, health.failed) == (2.0, "paused", "the broker is away", 0)


def test_what_a_restart_must_know_is_in_the_record() -> None:
    hands = Hands()
    crm = lane(hands)
    fail(crm, 429, retry_after=100)
    stored = crm.record()
    assert stored is not None
    again = lane(hands, stored)
    assert again.state == crm.state
    assert again.wait() == 100
    crm.succeeded()
    assert crm.record() is None


def test_a_pause_from_a_clock_that_was_a_year_ahead_is_not_believed() -> None:
    hands = Hands()
    crm = lane(hands)
    fail(crm, 429, retry_after=100, at=NOW + timedelta(days=365))
    assert lane(hands, crm.record()).wait() == 0


@pytest.mark.parametrize("stored", ["", "{", "[]", '{"failures": "many"}'])
def test_a_record_that_cannot_be_read_is_a_fresh_start(stored: str) -> None:
    assert lane(Hands(), stored).wait() == 0


def test_the_state_is_written_when_it_has_changed_and_again_when_that_failed() -> None:
    crm = lane(Hands())
    assert crm.change() == {}
    fail(crm)
    assert list(crm.change()) == [("endpoint", "crm")]
    assert crm.change() == {}
    crm.unsaved()
    assert list(crm.change()) == [("endpoint", "crm")]
    crm.succeeded()
    assert crm.change() == {("endpoint", "crm"): None}


def test_enabling_forgets_the_pause_the_breaker_and_the_reason() -> None:
    crm = lane(Hands())
    fail(crm, 503, retry_after=1000)
    fail(crm)
    crm.disable("by an admin")
    assert crm.wait() is None
    assert (crm.health().state, crm.health().reason) == ("disabled", "by an admin")
    crm.enable()
    assert crm.wait() == 0
    assert crm.health().state == "ok"
