"""When a pulling instance runs, and how long it rests after failures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from hub.runners.schedule import LONGEST_BACKOFF, Schedule, backoff
from hub.sdk import format_duration, parse_duration

NOON = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


def test_an_interval_is_spread_a_little_and_never_longer() -> None:
    schedule = Schedule(every=timedelta(minutes=10), cron=None, now=lambda: NOON)
    delays = [schedule.delay() for _ in range(500)]
    assert schedule.at_once
    assert 540 <= min(delays) < 550
    assert 590 < max(delays) <= 600


@pytest.mark.parametrize(
    ("cron", "seconds"), [("* * * * *", 30), ("0 13 * * *", 3570), ("0 12 * * *", 86_370), ("0 0 1 1 *", 26_395_170)]
)
def test_a_calendar_is_kept_in_utc_and_has_no_run_at_the_start(cron: str, seconds: float) -> None:
    schedule = Schedule(every=None, cron=cron, now=lambda: NOON)
    assert not schedule.at_once
    assert schedule.delay() == seconds


def test_rests_double_up_to_five_minutes_and_half_of_each_is_jitter() -> None:
    for failures, longest in [(1, 1), (2, 2), (5, 16), (20, LONGEST_BACKOFF), (10_000, LONGEST_BACKOFF)]:
        rests = [backoff(failures) for _ in range(300)]
        assert longest / 2 <= min(rests) < longest * 0.6
        assert longest * 0.9 < max(rests) <= longest


def test_a_rest_is_never_shorter_than_was_asked_for() -> None:
    assert backoff(1, retry_after=900) == 900
    assert backoff(20, retry_after=0.1) > 1


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("15m", 900), ("1h30m", 5400), ("7d", 604_800), ("250ms", 0.25), ("1.5h", 5400)]
)
def test_durations_are_read_and_written_back(text: str, seconds: float) -> None:
    duration = parse_duration(text)
    assert duration == timedelta(seconds=seconds)
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize("wrong", ["", "15", "m", "-1m", "1 h", "1h 30m", "1w", "٣m", 15, None, "9" * 400 + "d"])
def test_what_is_no_duration_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"duration"):
        parse_duration(wrong)
