"""The table of the rabbitmq connector, and the URLs that it can feed."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from connectors.rabbitmq.client import Broker
from connectors.rabbitmq.config import RabbitmqConfig
from connectors.rabbitmq.connector import create, feeder
from core.errors import ConfigError
from hub.sdk import Batches, Consumes, Notifies
from tests.connector_rig import context

CONSUME: dict[str, Any] = {"consume": {"queue": "documents"}}
NOTIFY: dict[str, Any] = {"notify": {"exchange": "events"}}


def config(**table: Any) -> RabbitmqConfig:
    return RabbitmqConfig.model_validate({"url": "amqp://broker:5672/hub", **table})


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "needs a consume table"),
        ({"url": "amqp://user:secret@broker", **CONSUME}, "put them into username and password"),
        ({"url": "http://broker", **CONSUME}, "scheme should be 'amqp' or 'amqps'"),
        ({"url": "amqp:///hub", **CONSUME}, "names no host"),
        ({"consume": {"queue": ""}}, "at least 1 character"),
        ({"consume": {"queue": "q", "prefetch": 0}}, "greater than or equal to 1"),
        ({"consume": {"queue": "q", "poison": "drop"}}, "'quarantine' or 'dead_letter'"),
        ({"notify": {}}, "needs an exchange, or the name of a queue as its routing_key"),
        ({"notify": {"exchange": "e", "allow_networks": ["10.0.0.0/8"]}}, "allow_networks means nothing here"),
        ({"notify": {"exchange": "e", "timeout": "2m"}}, "less than or equal to"),
    ],
)
def test_a_table_that_does_not_fit_says_what_to_do(table: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as raised:
        config(**table)
    assert words in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("table", "consumes", "notifies"), [(CONSUME, True, False), (NOTIFY, False, True), (CONSUME | NOTIFY, True, True)]
)
def test_an_instance_shows_what_its_table_says_and_no_more(
    table: dict[str, Any], consumes: bool, notifies: bool
) -> None:
    connector = create(config(**table), context())
    assert isinstance(connector, Consumes) is consumes
    assert isinstance(connector, Notifies) is isinstance(connector, Batches) is notifies


def test_the_address_in_errors_holds_no_password() -> None:
    broker = Broker(config(username="hub", password="secret", **CONSUME), "it")
    assert broker.address == "amqp://broker:5672/hub"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("amqp://broker/hub", "must say ?queue=NAME, or ?exchange=NAME&routing_key=KEY"),
        ("amqp://broker/hub?queue=a&exchange=b", "must say ?queue=NAME, or"),
        ("amqp://broker/hub?exchange=b", "must say ?queue=NAME, or"),
        ("amqp:///hub?queue=a", "names no host"),
    ],
)
def test_a_url_that_names_no_queue_is_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match="^[^:]*") as raised:
        feeder(url, context())
    assert words in raised.value.message
