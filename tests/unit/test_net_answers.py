"""What an answer's status and headers mean."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import AuthFailed, NotReady, RateLimited
from hub.net.answers import LONGEST_PAUSE, error_for, retry_after

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after({"Retry-After": "120"}, NOW) == 120
    assert retry_after({"Retry-After": format_datetime(NOW + timedelta(minutes=5), usegmt=True)}, NOW) == 300


def test_a_date_is_measured_against_the_answers_own_clock() -> None:
    theirs = NOW + timedelta(hours=3)
    headers = {
        "Date": format_datetime(theirs, usegmt=True),
        "Retry-After": format_datetime(theirs + timedelta(seconds=90), usegmt=True),
    }
    assert retry_after(headers, NOW) == 90


def test_a_date_in_the_past_asks_for_no_pause() -> None:
    assert retry_after({"Retry-After": format_datetime(NOW - timedelta(days=1), usegmt=True)}, NOW) == 0


def test_an_absurd_pause_is_bounded() -> None:
    assert retry_after({"Retry-After": "9" * 4000}, NOW) == LONGEST_PAUSE
    assert retry_after({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, NOW) == LONGEST_PAUSE


@given(st.text())
def test_no_header_value_makes_it_fail(value: str) -> None:
    pause = retry_after({"Retry-After": value, "Date": value}, NOW)
    assert pause is None or 0 <= pause <= LONGEST_PAUSE


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthFailed),
        (403, AuthFailed),
        (429, RateLimited),
        (503, NotReady),
        (404, NotReady),
        (302, NotReady),
        (799, NotReady),
    ],
)
def test_each_status_has_one_meaning(status: int, kind: type[Exception]) -> None:
    error = error_for(status, 7.0, "https://crm.example.com")
    assert isinstance(error, kind)
    assert "https://crm.example.com" in error.message
    assert str(status) in error.message


@pytest.mark.parametrize("status", [200, 202, 204, 304])
def test_success_and_not_modified_are_no_error(status: int) -> None:
    assert error_for(status, None, "x") is None


def test_the_pause_travels_with_the_error() -> None:
    for status in (429, 503):
        error = error_for(status, 42.0, "x")
        assert isinstance(error, NotReady)
        assert error.retry_after == 42.0
