"""The client of Bedrock against servers that misbehave on the real wire."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from core.aws.bounded import MAX_ANSWER_BYTES
from core.errors import (
    ModelAccessDenied,
    ModelAnswerInvalid,
    ModelError,
    ModelThrottled,
    ModelUnavailable,
)
from tests.bedrock_rig import (
    FakeClock,
    client,
    converse_body,
    converse_events,
    cut,
    event,
    fails,
    hangs,
    in_turn,
    says,
    scripted,
    streamed,
    streams,
)


async def garbled(_: web.Request) -> web.StreamResponse:
    return web.Response(body=b"\x00\xff<html>garbage", content_type="application/json")


async def other_fields(_: web.Request) -> web.StreamResponse:
    return web.json_response({"answer": "Red.", "usage": {"tokens": 3}})


async def no_object(_: web.Request) -> web.StreamResponse:
    return web.json_response([1, 2, 3])


async def wrong_types(_: web.Request) -> web.StreamResponse:
    return web.json_response({"output": {"message": {"content": "Red."}}, "usage": {"inputTokens": "many"}})


async def only_reasoning(_: web.Request) -> web.StreamResponse:
    content = [{"reasoningContent": {"reasoningText": {"text": "Let me think."}}}]
    return web.json_response({"output": {"message": {"role": "assistant", "content": content}}})


@pytest.mark.parametrize("answer", [garbled, other_fields, no_object, wrong_types, only_reasoning, says("  ")])
async def test_garbage_is_an_error_that_is_not_tried_again(answer: Any) -> None:
    async with scripted(answer) as server, client(server.url, clock=FakeClock()) as bedrock:
        with pytest.raises(ModelAnswerInvalid):
            await bedrock.invoke_model("What is red?")
    assert len(server.requests) == 1


def converses(**fields: Any) -> Any:
    """A whole answer, but for these fields."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({**converse_body("Red."), **fields})

    return answer


async def deep(_: web.Request) -> web.StreamResponse:
    return web.Response(text='{"output":' * 50_000, content_type="application/json")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(converses(output={"message": {"content": [{"text": 7}]}}), id="a text that is none"),
        pytest.param(converses(stopReason={"why": "so"}), id="a reason that is none"),
        pytest.param(converses(usage={"inputTokens": 10**400}), id="more tokens than can be counted"),
        pytest.param(converses(usage={"inputTokens": -1}), id="fewer tokens than none"),
        pytest.param(says("red " * 100_000), id="longer than was asked for"),
        pytest.param(deep, id="nested too deep"),
    ],
)
async def test_a_field_that_is_not_what_it_is_declared_to_be_is_garbage(answer: Any) -> None:
    async with scripted(answer) as server, client(server.url, clock=FakeClock()) as bedrock:
        with pytest.raises(ModelAnswerInvalid):
            await bedrock.invoke_model("What is red?")
        assert bedrock.spending.cost >= 0


@pytest.mark.parametrize("api", ["converse", "invoke"])
async def test_a_stream_without_a_body_is_an_error(api: Any) -> None:
    async def empty(_: web.Request) -> web.StreamResponse:
        return web.Response()

    async with scripted(empty) as server, client(server.url, api=api, clock=FakeClock()) as bedrock:
        with pytest.raises(ModelAnswerInvalid, match="the answer is empty"):
            await anext(bedrock.stream_model("What is red?"))


async def test_what_a_refusal_says_can_be_kept_on_record() -> None:
    answer = fails(400, "ValidationException", "bad \ud800")
    async with scripted(answer) as server, client(server.url) as bedrock:
        with pytest.raises(ModelError, match=r"bad \\ud800$"):
            await bedrock.invoke_model("What is red?")


@pytest.mark.parametrize("answer", [garbled, other_fields, no_object])
async def test_garbage_over_invoke_model_is_an_error_too(answer: Any) -> None:
    async with scripted(answer) as server, client(server.url, api="invoke", clock=FakeClock()) as bedrock:
        with pytest.raises(ModelAnswerInvalid):
            await bedrock.invoke_model("What is red?")


async def fifty_megabytes(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"output": {"message": {"role": "assistant", "content": [{"text": "')
    for _ in range(50):
        await response.write(b"x" * 1024 * 1024)
    await response.write(b'"}]}}}')
    return response


@pytest.mark.parametrize("api", ["converse", "invoke"])
async def test_an_answer_of_50_mb_is_not_read_to_its_end(api: Any) -> None:
    async with scripted(fifty_megabytes) as server, client(server.url, api=api, clock=FakeClock()) as bedrock:
        with pytest.raises(ModelAnswerInvalid, match="longer than"):
            await bedrock.invoke_model("What is red?")
    assert len(server.requests) == 1


async def test_a_stream_of_50_mb_is_not_read_to_its_end() -> None:
    piece = event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "x" * 1024 * 1024}})
    got: list[str] = []
    async with scripted(streams(*[piece] * 50)) as server, client(server.url) as bedrock:
        with pytest.raises(ModelAnswerInvalid, match="longer than"):
            await streamed(bedrock, got)
    assert 0 < sum(map(len, got)) <= MAX_ANSWER_BYTES


async def test_a_service_that_hangs_is_left_after_the_time_that_a_call_has() -> None:
    async with scripted(hangs) as server, client(server.url) as bedrock:
        with pytest.raises(ModelUnavailable, match="in time"):
            await bedrock.complete("What is red?", within=0.3)


async def test_a_service_that_hangs_is_tried_again_after_the_time_that_one_try_has() -> None:
    async with scripted(in_turn(hangs, says("Red."))) as server, client(server.url, timeout=0.3) as bedrock:
        assert await bedrock.invoke_model("What is red?") == "Red."
    assert len(server.requests) == 2


async def test_a_stream_that_stops_in_the_middle_is_an_error() -> None:
    began = streams(*converse_events("Re", "d.")[:2], end=hangs)
    got: list[str] = []
    async with scripted(began) as server, client(server.url, timeout=0.3) as bedrock:
        with pytest.raises(ModelUnavailable):
            await streamed(bedrock, got)
    assert got == ["Re"]
    assert len(server.requests) == 1


@pytest.mark.parametrize("end", [None, cut], ids=["ended", "cut"])
async def test_a_stream_that_ends_before_the_message_does_is_an_error(end: Any) -> None:
    async with scripted(streams(*converse_events("Re", "d.")[:3], end=end)) as server, client(server.url) as bedrock:
        with pytest.raises(ModelUnavailable):
            await streamed(bedrock, [])


async def test_a_stream_is_begun_again_when_nothing_of_it_was_handed_out() -> None:
    good = streams(*converse_events("Re", "d."))
    throttled = fails(429, "ThrottlingException")
    async with (
        scripted(in_turn(throttled, cut, good)) as server,
        client(server.url, clock=FakeClock()) as bedrock,
    ):
        assert [piece async for piece in bedrock.stream_model("What is red?")] == ["Re", "d."]
    assert len(server.requests) == 3
    assert (bedrock.spending.input_tokens, bedrock.spending.output_tokens) == (9, 4)


async def test_throttling_inside_a_stream_is_named() -> None:
    thrown = event("throttlingException", {"message": "slow down"}, message_type="exception")
    began = streams(converse_events("Re")[1], thrown)
    async with scripted(began) as server, client(server.url) as bedrock:
        with pytest.raises(ModelThrottled, match="slow down"):
            await streamed(bedrock, [])


async def test_a_reader_that_leaves_a_stream_closes_it() -> None:
    left = asyncio.Event()

    async def waits(request: web.Request) -> web.StreamResponse:
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        raise AssertionError("unreachable")

    async with scripted(streams(converse_events("Re")[1], end=waits)) as server, client(server.url) as bedrock:
        stream = bedrock.stream_model("What is red?")
        assert await anext(stream) == "Re"
        await stream.aclose()
        await asyncio.wait_for(left.wait(), 30)


async def test_ten_minutes_of_throttling_cost_few_requests_and_end_by_themselves() -> None:
    clock = FakeClock()
    throttled = fails(429, "ThrottlingException", "Too many requests")

    async def answer(request: web.Request) -> web.StreamResponse:
        return await (throttled if clock.time < 1600 else says("Red."))(request)

    pauses: list[float] = []
    answered = None
    async with scripted(answer) as server, client(server.url, clock=clock) as bedrock:
        while answered is None:
            try:
                answered = await bedrock.complete("What is red?", within=20)
            except ModelThrottled as error:
                pauses.append(error.retry_after)
                clock.time += 1.0
    assert clock.time < 1700
    assert len(pauses) > 100
    assert all(0 < pause <= 60 for pause in pauses)
    assert len(server.requests) < 120, "while it rests, nothing is sent"
    assert bedrock.spending.throttles == len(server.requests) - 1


async def test_the_pause_that_the_service_asks_for_is_kept() -> None:
    clock = FakeClock()
    throttled = fails(429, "ThrottlingException", headers={"Retry-After": "7"})
    async with scripted(in_turn(throttled, says("Red."))) as server, client(server.url, clock=clock) as bedrock:
        await bedrock.invoke_model("What is red?")
    assert 7 <= clock.slept[0] <= 7.5


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (403, "AccessDeniedException", ModelAccessDenied),
        (403, "UnrecognizedClientException", ModelAccessDenied),
        (400, "ExpiredTokenException", ModelAccessDenied),
        (400, "ValidationException", ModelError),
        (404, "ResourceNotFoundException", ModelError),
    ],
)
async def test_what_asking_again_does_not_mend_is_asked_once(status: int, code: str, error: type[ModelError]) -> None:
    async with scripted(fails(status, code, "because")) as server, client(server.url, clock=FakeClock()) as bedrock:
        with pytest.raises(error, match=f"{code}: because"):
            await bedrock.invoke_model("What is red?")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "trouble",
    [fails(503, "ServiceUnavailableException"), fails(500, "InternalServerException"), fails(502, "?"), cut],
)
async def test_what_may_pass_is_tried_again(trouble: Any) -> None:
    async with scripted(in_turn(trouble, says("Red."))) as server, client(server.url, clock=FakeClock()) as bedrock:
        assert await bedrock.invoke_model("What is red?") == "Red."


async def test_nobody_there_is_an_error_that_names_the_model() -> None:
    async with client("http://127.0.0.1:1", clock=FakeClock(), max_attempts=2) as bedrock:
        with pytest.raises(ModelUnavailable, match="claude-3-haiku"):
            await bedrock.invoke_model("What is red?")


async def test_a_closed_client_sends_nothing() -> None:
    async with scripted(says("Red.")) as server:
        bedrock = client(server.url)
        await bedrock.invoke_model("What is red?")
        await bedrock.close()
        await bedrock.close()
        with pytest.raises(ModelUnavailable, match="closed"):
            await bedrock.invoke_model("What is red?")
    assert len(server.requests) == 1
