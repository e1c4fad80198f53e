"""The client of Bedrock against MiniStack, through Microburst, and on the real wire."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from core.aws.bedrock import BedrockClient
from core.aws.budget import Prices
from core.completion import Usage
from core.errors import (
    InvalidInput,
    ModelAccessDenied,
    ModelAnswerInvalid,
    ModelError,
    ModelOverBudget,
    ModelUnavailable,
)
from tests.bedrock_rig import (
    KEYS,
    MODEL,
    REGION,
    FakeClock,
    Recorded,
    chunk,
    client,
    converse_body,
    fails,
    faults,
    in_turn,
    says,
    scripted,
    service_url,
    streamed,
    streams,
)

# ---------------------------------------------------------------- MiniStack

FAMILIES = [
    "amazon.nova-lite-v1:0",
    MODEL,
    "amazon.titan-text-express-v1",
    "meta.llama3-8b-instruct-v1:0",
    "mistral.mistral-7b-instruct-v0:2",
    "cohere.command-text-v14",
    "ai21.jamba-1-5-mini-v1:0",
]


@pytest.mark.parametrize("api", ["converse", "invoke"])
@pytest.mark.parametrize("model", FAMILIES)
async def test_every_family_answers_over_converse_and_over_invoke_model(model: str, api: Any) -> None:
    async with client(service_url("ministack"), model, api=api) as bedrock:
        text = await bedrock.invoke_model("What is red?", "Be short.", 200, 0.5)
    assert model in text
    assert bedrock.spending.requests == 1
    assert bedrock.spending.output_tokens > 0


@pytest.mark.parametrize("api", ["converse", "invoke"])
async def test_a_stream_gives_in_pieces_what_an_answer_gives_whole(api: Any) -> None:
    async with client(service_url("ministack"), api=api) as bedrock:
        whole = await bedrock.invoke_model("What is red?")
        pieces = [piece async for piece in bedrock.stream_model("What is red?")]
    assert len(pieces) > 1
    assert "".join(pieces) == whole
    assert bedrock.spending.requests == 2


# ---------------------------------------------------------------- Microburst

# It does not tell Bedrock's operations apart, so rules go by the body.
CONVERSING = "messages"


async def test_throttling_is_waited_out_with_jitter() -> None:
    clock = FakeClock()
    throttling = {"body": CONVERSING, "times": 3, "error": {"code": "ThrottlingException", "status": 429}}
    async with faults(throttling) as url, client(url, clock=clock) as bedrock:
        assert await bedrock.invoke_model("What is red?")
    assert bedrock.spending.throttles == 3
    assert len(clock.slept) == 3
    assert all(0 <= wait <= 0.5 * 2**number for number, wait in enumerate(clock.slept))


async def test_a_connection_that_is_cut_is_made_again() -> None:
    async with (
        faults({"body": CONVERSING, "times": 2, "reset": True}) as url,
        client(url, clock=FakeClock()) as bedrock,
    ):
        assert await bedrock.invoke_model("What is red?")
    assert (bedrock.spending.throttles, bedrock.spending.failures) == (0, 0)


async def test_an_answer_that_is_cut_short_is_asked_for_again() -> None:
    half = {"body": CONVERSING, "times": 1, "response": {"abort_frac": 0.5}}
    async with faults(half) as url, client(url, clock=FakeClock()) as bedrock:
        assert "reply for" in await bedrock.invoke_model("What is red?")


@pytest.mark.parametrize(
    ("surgery", "error"),
    [
        ({"at": 3, "bad_crc": True}, ModelAnswerInvalid),
        ({"at": 3, "cut": 0.5}, ModelUnavailable),
        ({"at": 3, "error": {"code": "modelStreamErrorException", "message": "lost it"}}, ModelUnavailable),
    ],
)
async def test_a_stream_that_breaks_says_so_after_what_was_good(
    surgery: Mapping[str, Any], error: type[ModelError]
) -> None:
    rule = {"body": CONVERSING, "response": {"event_frames": [surgery]}}
    got: list[str] = []
    async with faults(rule) as url, client(url, clock=FakeClock()) as bedrock:
        with pytest.raises(error):
            await streamed(bedrock, got)
    assert got
    assert bedrock.spending.failures == 1


# ---------------------------------------------------------------- the signature


def signed_again(request: Recorded, url: str) -> str:
    """What botocore's own signer makes of the request that arrived."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    signed = headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    assert {"host", "x-amz-date"} <= set(signed)
    again = AWSRequest(
        method=request.method,
        url=url + request.path,
        data=request.body,
        headers={name: headers[name] for name in signed if name != "host"},
    )
    again.context["timestamp"] = headers["x-amz-date"]
    signer = SigV4Auth(Credentials(KEYS["aws_access_key_id"], KEYS["aws_secret_access_key"]), "bedrock", REGION)
    # What `add_auth` does, with the time of the request in place of the time of day.
    canonical = signer.canonical_request(again)
    return signer.signature(signer.string_to_sign(again, canonical), again)


async def in_both_forms(_: web.Request) -> web.StreamResponse:
    return web.json_response({**converse_body("Red."), "content": [{"type": "text", "text": "Red."}]})


@pytest.mark.parametrize("api", ["converse", "invoke"])
@pytest.mark.parametrize("model", [MODEL, f"arn:aws:bedrock:{REGION}:123456789012:inference-profile/{MODEL}"])
async def test_the_signature_is_the_one_that_botocore_computes(model: str, api: Any) -> None:
    async with scripted(in_both_forms) as server, client(server.url, model, api=api) as bedrock:
        assert await bedrock.invoke_model("What is red, größer als „rot“?", "Be short.") == "Red."
    [request] = server.requests
    authorization = request.headers["Authorization"]
    today = datetime.now(UTC).strftime("%Y%m%d")
    assert f"Credential=AKIDEXAMPLE/{today}/{REGION}/bedrock/aws4_request" in authorization
    assert authorization.endswith(f"Signature={signed_again(request, server.url)}")


async def test_credentials_come_from_the_usual_chain_when_none_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDFROMENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    async with (
        scripted(says("Red.")) as server,
        client(server.url, aws_access_key_id=None, aws_secret_access_key=None) as bedrock,
    ):
        await bedrock.invoke_model("What is red?")
    [request] = server.requests
    assert "Credential=AKIDFROMENVIRONMENT/" in request.headers["Authorization"]
    assert request.headers["X-Amz-Security-Token"] == "token"


async def test_no_credentials_are_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    async with (
        scripted(says("Red.")) as server,
        client(server.url, aws_access_key_id=None, aws_secret_access_key=None) as bedrock,
    ):
        with pytest.raises(ModelAccessDenied, match="credentials"):
            await bedrock.invoke_model("What is red?")
    assert server.requests == []


# ---------------------------------------------------------------- what is sent


async def test_a_request_says_what_was_asked_for() -> None:
    async with scripted(says("Red.")) as server, client(server.url) as bedrock:
        await bedrock.invoke_model("What is red?", "Be short.", 77, 0.25)
    [request] = server.requests
    assert request.path == f"/model/{MODEL.replace(':', '%3A')}/converse"
    assert request.json == {
        "messages": [{"role": "user", "content": [{"text": "What is red?"}]}],
        "system": [{"text": "Be short."}],
        "inferenceConfig": {"maxTokens": 77, "temperature": 0.25},
    }


@pytest.mark.parametrize("api", ["converse", "invoke"])
async def test_one_connection_serves_calls_one_after_the_other(api: Any) -> None:
    async with scripted(in_both_forms) as server, client(server.url, api=api) as bedrock:
        for _ in range(3):
            await bedrock.invoke_model("What is red?")
    assert len({request.peer for request in server.requests}) == 1


async def test_a_model_without_converse_is_asked_by_invoke_model_from_then_on() -> None:
    refused = fails(
        400, "ValidationException", "This action doesn't support the model that you provided. Try again with another."
    )

    async def generation(_: web.Request) -> web.StreamResponse:
        return web.json_response({"generation": "Red.", "stop_reason": "stop"})

    async with (
        scripted(in_turn(refused, generation)) as server,
        client(server.url, "meta.llama3-8b-instruct-v1:0") as bedrock,
    ):
        assert await bedrock.invoke_model("What is red?") == "Red."
        assert await bedrock.invoke_model("What is blue?") == "Red."
    assert [request.path.rsplit("/", 1)[1] for request in server.requests] == ["converse", "invoke", "invoke"]


async def test_a_model_that_knows_no_system_prompt_gets_it_in_front_of_the_question() -> None:
    refused = fails(400, "ValidationException", "This model doesn't support system messages.")
    async with scripted(in_turn(refused, says("Red."))) as server, client(server.url) as bedrock:
        await bedrock.invoke_model("What is red?", "Be short.")
    assert "system" not in server.requests[1].json
    assert server.requests[1].prompt == "Be short.\n\nWhat is red?"


async def test_the_stream_of_nova_over_invoke_model_is_read() -> None:
    messages = [
        chunk({"messageStart": {"role": "assistant"}}),
        chunk({"contentBlockDelta": {"delta": {"text": "Re"}, "contentBlockIndex": 0}}),
        chunk({"contentBlockDelta": {"delta": {"text": "d."}, "contentBlockIndex": 0}}),
        chunk({"messageStop": {"stopReason": "end_turn"}}),
        chunk({"metadata": {"usage": {"inputTokens": 7, "outputTokens": 2}}}),
    ]
    async with (
        scripted(streams(*messages)) as server,
        client(server.url, "amazon.nova-lite-v1:0", api="invoke") as bedrock,
    ):
        assert [piece async for piece in bedrock.stream_model("What is red?")] == ["Re", "d."]
    assert (bedrock.spending.input_tokens, bedrock.spending.output_tokens) == (7, 2)


# ---------------------------------------------------------------- counting


async def test_tokens_and_money_are_counted() -> None:
    prices = Prices(input=3.0, output=15.0)
    async with scripted(says("Red.", tokens=(1000, 200))) as server, client(server.url, prices=prices) as bedrock:
        completion = await bedrock.complete("What is red?")
        await bedrock.complete("What is blue?")
    assert completion.usage == Usage(1000, 200)
    assert (bedrock.spending.input_tokens, bedrock.spending.output_tokens) == (2000, 400)
    assert bedrock.spending.cost == pytest.approx(2 * (1000 * 3 + 200 * 15) / 1e6)


async def test_the_budget_bounds_what_is_sent_in_a_minute() -> None:
    clock = FakeClock()
    async with (
        scripted(says("Red.", tokens=(100, 900))) as server,
        client(server.url, tokens_per_minute=2000, clock=clock) as bedrock,
    ):
        await bedrock.complete("What is red?", max_tokens=950)
        await bedrock.complete("What is red?", max_tokens=950)
        with pytest.raises(ModelOverBudget) as caught:
            await bedrock.complete("What is red?", max_tokens=950, within=5)
        assert len(server.requests) == 2
        clock.time += caught.value.retry_after
        await bedrock.complete("What is red?", max_tokens=950, within=5)
    assert len(server.requests) == 3


async def test_a_request_that_failed_uses_nothing_of_the_budget() -> None:
    broken = fails(400, "ValidationException", "no such thing")
    async with (
        scripted(in_turn(broken, says("Red."))) as server,
        client(server.url, tokens_per_minute=1000, clock=FakeClock()) as bedrock,
    ):
        with pytest.raises(ModelError):
            await bedrock.complete("What is red?", max_tokens=900)
        await bedrock.complete("What is red?", max_tokens=900, within=0.5)


async def test_no_more_calls_are_sent_at_a_time_than_allowed() -> None:
    under_way, most = 0, 0
    full = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if under_way == 2:
            full.set()
        await full.wait()
        under_way -= 1
        return await says("Red.")(request)

    async with scripted(answer) as server, client(server.url, max_concurrent=2) as bedrock:
        await asyncio.gather(*(bedrock.invoke_model("What is red?") for _ in range(10)))
    assert most == 2
    assert len(server.requests) == 10


# ---------------------------------------------------------------- what is handed in


@pytest.mark.parametrize(
    ("call", "field"),
    [
        ({"prompt": " "}, "prompt"),
        ({"prompt": "x", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "x", "temperature": 1.5}, "temperature"),
    ],
)
async def test_a_call_that_cannot_be_right_names_its_field(call: dict[str, Any], field: str) -> None:
    async with client("http://127.0.0.1:1") as bedrock:
        with pytest.raises(InvalidInput) as caught:
            await bedrock.invoke_model(**call)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"region_name": "", "model_id": MODEL}, "region_name"),
        ({"region_name": REGION, "model_id": ""}, "model_id"),
        ({"region_name": REGION, "model_id": MODEL, "aws_access_key_id": "x"}, "aws_secret_access_key"),
        ({"region_name": REGION, "model_id": MODEL, "tokens_per_minute": 0}, "tokens_per_minute"),
    ],
)
def test_a_client_that_cannot_be_right_names_its_option(options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        BedrockClient(**options)
    assert caught.value.field == field


def test_no_key_shows_in_a_representation() -> None:
    assert KEYS["aws_secret_access_key"] not in repr(client("http://127.0.0.1:1"))
