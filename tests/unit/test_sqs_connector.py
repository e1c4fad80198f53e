"""The table of the sqs connector, what it makes of documents and notifications, and the URLs that it can feed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.sqs.config import ConsumeConfig, SqsConfig
from connectors.sqs.connector import create, feeder
from connectors.sqs.mapping import changes_of, document_message, notification_message
from core.errors import ConfigError
from core.model import Document, Upsert
from hub.sdk import Batches, Consumes, Notification, Notifies
from tests.connector_rig import context

URL = "https://sqs.eu-central-1.amazonaws.com/123456789012/documents"
CONSUME: dict[str, Any] = {"consume": {"queue_url": URL}}
NOTIFY: dict[str, Any] = {"notify": {"queue_url": URL}}


def config(**table: Any) -> SqsConfig:
    return SqsConfig.model_validate({"region": "eu-central-1", **table})


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "needs a consume table"),
        ({"region": "Frankfurt!", **CONSUME}, "should match pattern"),
        ({"access_key_id": "AKIA", **CONSUME}, "access_key_id and secret_access_key need each other"),
        ({"consume": {"queue_url": "https://sqs.eu-central-1.amazonaws.com/documents"}}, "must be a queue's URL"),
        (
            {"consume": {"queue_url": "https://u:p@sqs.eu-central-1.amazonaws.com/1/d"}},
            "must hold no user and password",
        ),
        ({"consume": {"queue_url": URL, "visibility": "1s"}}, "greater than or equal to"),
        ({"consume": {"queue_url": URL, "receivers": 0}}, "greater than or equal to 1"),
        ({"notify": {"queue_url": URL, "allow_networks": ["10.0.0.0/8"]}}, "allow_networks means nothing here"),
    ],
)
def test_a_table_that_does_not_fit_says_what_to_do(table: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as raised:
        config(**table)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("table", "consumes", "notifies"), [(CONSUME, True, False), (NOTIFY, False, True), (CONSUME | NOTIFY, True, True)]
)
def test_an_instance_shows_what_its_table_says_and_no_more(
    table: dict[str, Any], consumes: bool, notifies: bool
) -> None:
    connector = create(config(**table), context())
    assert isinstance(connector, Consumes) is consumes
    assert isinstance(connector, Notifies) is isinstance(connector, Batches) is notifies


@given(content=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=50))
def test_a_document_comes_out_of_the_queue_as_it_went_in(content: str) -> None:
    document = Document.parse({"document_id": "a/ü 1", "content": content, "metadata": {"source": "s", "tags": ["t"]}})
    message = document_message(document)
    assert not set(message.body) & {"\ufffe", "\uffff"}, "characters that SQS refuses"
    consume = ConsumeConfig.model_validate(CONSUME["consume"])
    assert asyncio.run(changes_of(message.body, consume, context())) == [Upsert(document)]


def test_a_group_is_the_document_and_a_strange_id_has_a_group_of_its_own() -> None:
    def group(**data: Any) -> str:
        now = datetime.now(UTC)
        return notification_message(Notification("msg_1", "query.answered", now, data), "flat").group

    assert group(document_id="cms-1") == "cms-1"
    assert group(connector="crm") == "crm"
    assert group() == "query.answered"
    strange = [group(document_id=name) for name in ("a b", "ü", "x" * 200, "x" * 201)]
    assert len(set(strange)) == 4
    assert all(each.isascii() and len(each) <= 128 and " " not in each for each in strange)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqs://localhost/1/documents", "must be sqs://sqs.REGION.amazonaws.com/ACCOUNT/QUEUE"),
        ("sqs://sqs.eu-central-1.amazonaws.com/documents", "must be a queue's URL"),
        ("sqs+http://127.0.0.1:4566/0/documents", "must be sqs://"),
        ("sqs://sqs.eu-central-1.amazonaws.com/1/documents?color=red", "must be sqs://"),
    ],
)
def test_a_url_that_names_no_queue_is_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        feeder(url, context())
    assert words in raised.value.message
