"""What callers may filter by, and how they are told what does not fit."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.answering.filters import Filters, parse_filters
from core.errors import InvalidQuery
from core.model import Metadata


def matches(filters: dict[str, Any], **metadata: Any) -> bool:
    return parse_filters(filters).matches("d", Metadata.model_validate(metadata))


def test_no_filter_matches_everything() -> None:
    assert parse_filters(None) == parse_filters({}) == Filters()
    assert matches({})


def test_a_list_matches_any_of_its_values_and_several_keys_must_all_match() -> None:
    assert matches({"tags": ["a", "b"]}, tags=["b", "c"])
    assert not matches({"tags": ["a"], "source": "x"}, tags=["a"], source="y")


def test_a_key_that_no_document_has_matches_none_and_is_no_error() -> None:
    assert not matches({"colour": "red"})
    assert matches({"colour": "red"}, colour="red")


def test_metadata_cannot_pass_for_the_id_of_its_document() -> None:
    assert matches({"document_ids": ["d"]}, document_ids="other")
    assert not matches({"document_ids": ["other"]}, document_ids="other")


def test_numbers_truth_and_texts_are_told_apart_and_1_equals_1_point_0() -> None:
    assert matches({"n": 1}, n=1.0)
    assert not matches({"n": 1}, n=True)
    assert not matches({"n": "1"}, n=1)


@pytest.mark.parametrize(
    "ends", [{"from": "2026-03-01", "to": "2026-03-02"}, {"start": "2026-03-01", "end": "2026-03-02"}]
)
def test_a_date_range_includes_both_its_days_and_leaves_undated_documents_out(ends: dict[str, str]) -> None:
    inside = {"date_range": ends}
    assert matches(inside, published_at="2026-03-01T00:00:00Z")
    assert matches(inside, updated_at="2026-03-02T23:59:59Z")
    assert not matches(inside, published_at="2026-03-03T00:00:00Z")
    assert not matches(inside, published_at="2020-01-01", updated_at="2026-03-01")
    assert not matches(inside)


def test_an_instant_as_the_end_of_a_range_is_that_instant() -> None:
    until = parse_filters({"date_range": {"to": "2026-03-02T12:00:00+02:00"}}).until
    assert until == datetime(2026, 3, 2, 10, tzinfo=UTC)


@pytest.mark.parametrize("day", ["2026-03-02", " 2026-03-02 ", "20260302", "2026-W10-1", date(2026, 3, 2)])
def test_a_day_as_the_end_of_a_range_is_all_of_it_however_it_is_written(day: object) -> None:
    assert matches({"date_range": {"to": day}}, published_at="2026-03-02T23:59:59Z")
    assert not matches({"date_range": {"to": day}}, published_at="2026-03-03T00:00:00Z")


@pytest.mark.parametrize(
    ("filters", "reason"),
    [
        ({"date_range": {}}, "must have `from`, `to` or both"),
        ({"date_range": []}, 'must be an object such as {"from": "2026-01-01"}, not a list'),
        ({"date_range": {"from": None}}, "must be an ISO 8601 date, not null"),
        ({"published_at": 1_700_000_000}, "must be an ISO 8601 date, not 1700000000"),
    ],
)
def test_a_refusal_says_what_was_given_in_the_words_of_json(filters: object, reason: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        parse_filters(filters)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("filters", "field"),
    [
        ([], "filters"),
        ("source", "filters"),
        ({"source": 5}, "filters.source"),
        ({"source": []}, "filters.source"),
        ({"tags": ["a", 5]}, "filters.tags"),
        ({"document_ids": {"a": 1}}, "filters.document_ids"),
        ({"date_range": "2026"}, "filters.date_range"),
        ({"date_range": {}}, "filters.date_range"),
        ({"date_range": {"since": "2026-01-01"}}, "filters.date_range.since"),
        ({"date_range": {"from": "2026-01-01", "start": "2026-01-01"}}, "filters.date_range.start"),
        ({"date_range": {"from": "yesterday"}}, "filters.date_range.from"),
        ({"date_range": {"from": "2026-01-02", "to": "2026-01-01"}}, "filters.date_range"),
        ({"min_groundedness": 2}, "filters.min_groundedness"),
        ({"min_groundedness": True}, "filters.min_groundedness"),
        ({"min_groundedness": math.nan}, "filters.min_groundedness"),
        ({"access": "me"}, "filters.access"),
        ({"title": 5}, "filters.title"),
        ({"published_at": "soon"}, "filters.published_at"),
        ({"source": "\ud800"}, "filters.source"),
        ({"tags": ["fine", "\udfff"]}, "filters.tags"),
        ({"language": "\ud800"}, "filters.language"),
        ({"colour": "red\0"}, "filters.colour"),
        ({"\ud800": "red"}, "filters"),
        ({"published_at": "\ud800"}, "filters.published_at"),
        ({"date_range": {"\ud800": "2026-01-01"}}, "filters.date_range"),
        ({"colour": ["red"]}, "filters.colour"),
        ({"colour": None}, "filters.colour"),
        ({"colour": math.inf}, "filters.colour"),
    ],
)
def test_a_filter_of_the_wrong_shape_is_refused_and_named(filters: object, field: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        parse_filters(filters)
    assert refused.value.field == field


texts = st.text() | st.text(st.characters())
"""With the lone surrogates that JSON can spell, too."""
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["source", "tags", "date_range", "min_groundedness", "x"]) | texts, json_values))
def test_any_json_is_a_filter_or_a_clear_refusal(raw: dict[str, Any]) -> None:
    assert _outcome(raw).startswith("filters")


def _outcome(raw: dict[str, Any]) -> str:
    try:
        parse_filters(raw)
    except InvalidQuery as refused:
        return refused.field
    return "filters are fine"
