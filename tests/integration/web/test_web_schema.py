"""Generated calls: whatever is sent, the answer is one that the OpenAPI document tells of, and never a server error."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from core.service import create_graph_service
from hub.config import Config
from hub.runtime import Hub
from hub.web import ROUTES, openapi, serve

SCHEMA = schemathesis.openapi.from_dict(openapi.document(ROUTES))


@schemathesis.serializer("application/x-ndjson")
def as_lines(_context: object, value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A hub in a thread with a loop of its own, since the generated calls block."""
    store: Path = tmp_path_factory.mktemp("schema") / "test.db"
    started, stop = threading.Event(), threading.Event()
    bound: list[str] = []

    async def run() -> None:
        async with (
            await create_graph_service(f"sqlite:{store}") as service,
            Hub(Config(), service=service) as hub,
            await serve(hub, "127.0.0.1:0") as server,
        ):
            # Generated calls make and revoke keys; the run token stays good.
            bound.extend((server.url, server.run_token.get_secret_value()))
            started.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert started.wait(30)
    TOKEN["Authorization"] = f"Bearer {bound[1]}"
    yield bound[0]
    stop.set()
    thread.join(30)
    assert not thread.is_alive()


TOKEN: dict[str, str] = {}


@SCHEMA.parametrize()
@settings(
    max_examples=12,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_call_answers_as_it_is_described(case: schemathesis.Case, url: str) -> None:
    # What waits for something that never comes waits no better for being generated.
    if isinstance(case.query, dict) and "wait" in case.query:
        case.query["wait"] = 0.01
    if isinstance(case.body, dict):
        case.body.pop("min_version", None)
    response = case.call(base_url=url, headers=TOKEN, timeout=30)
    assert response.status_code not in {500, 501, 502, 504}, response.text
    case.validate_response(
        response,
        checks=(
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ),
    )
