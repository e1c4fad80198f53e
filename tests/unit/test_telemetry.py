from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from hub.telemetry import REDACTED, LoopWatchdog, Metrics, configure_logging, redact, redact_text

KEY = "aime_0123456789ab_Zm9vYmFyYmF6cXV4"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging("info", style="json", stream=stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize(
    "text",
    [
        f"key {KEY} refused",
        "signed with whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "Authorization: Bearer abcdefgh12345678",
        "header Basic dXNlcjpwYXNzd29yZA==",
        "cannot reach https://user:dXNlcjpwYXNzd29yZA@example.com/feed",
    ],
)
def test_a_secret_in_a_text_is_taken_out_by_its_looks(text: str) -> None:
    cleaned = redact_text(text)
    assert REDACTED in cleaned
    for secret in ("Zm9vYmFyYmF6cXV4", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "abcdefgh12345678", "dXNlcjpwYXNzd29yZA"):
        assert secret not in cleaned


def test_a_text_without_secrets_is_left_as_it_is() -> None:
    text = "https://example.com/a@b?c=d mentions bearer bonds and the aime_hub"
    assert redact_text(text) == text


def test_a_secret_is_taken_out_by_the_name_it_goes_under() -> None:
    event = {"headers": {"Authorization": "x", "X-Api-Key": "y", "Accept": "z"}, "password": "p", "tokens": 7}
    assert redact(event) == {
        "headers": {"Authorization": REDACTED, "X-Api-Key": REDACTED, "Accept": "z"},
        "password": REDACTED,
        "tokens": 7,
    }


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_redaction_takes_any_value_and_leaves_something_that_can_be_logged(value: object) -> None:
    json.dumps(redact(value))


def test_a_log_line_is_json_with_time_level_and_logger(lines: io.StringIO) -> None:
    structlog.stdlib.get_logger("hub.test").info("started", port=8080)
    line = json.loads(lines.getvalue())
    assert (line["event"], line["port"], line["level"], line["logger"]) == ("started", 8080, "info", "hub.test")
    assert line["timestamp"].endswith("Z")


def test_a_log_line_holds_no_secret_wherever_it_stands(lines: io.StringIO) -> None:
    log = structlog.stdlib.get_logger("hub.test")
    message = f"got {KEY}"
    log.info(message, header={"authorization": "Bearer hunter2hunter2"}, url="https://u:hunter2@example.com")
    logging.getLogger("other.library").warning("sent %s", KEY)
    log.error("failed", exc_info=ValueError(f"no such key {KEY}"))
    assert "Zm9v" not in lines.getvalue()
    assert "hunter2" not in lines.getvalue()
    assert [json.loads(line)["event"] for line in lines.getvalue().splitlines()] == [
        f"got aime_0123456789ab_{REDACTED}",
        f"sent aime_0123456789ab_{REDACTED}",
        "failed",
    ]


def test_the_watchdog_tells_the_longest_delay_of_the_last_minute() -> None:
    metrics = Metrics()
    watchdog = LoopWatchdog(metrics)
    watchdog.note(0.25)
    watchdog.note(0.01)
    assert watchdog.worst == 0.25
    assert metrics.registry.get_sample_value("aime_event_loop_lag_max_seconds") == 0.25


def test_the_watchdog_forgets_what_is_older_than_its_window() -> None:
    watchdog = LoopWatchdog(Metrics(), window=0.0)
    watchdog.note(0.25)
    assert watchdog.worst in (0.0, 0.25)  # the same second, or the next
    watchdog = LoopWatchdog(Metrics(), window=-1.0)
    watchdog.note(0.25)
    assert watchdog.worst == 0.0


def test_every_metric_says_what_it_measures() -> None:
    for family in Metrics().registry.collect():
        assert family.documentation.strip(), family.name
