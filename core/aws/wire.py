"""Requests to Bedrock Runtime over aiobotocore, and what its answers and errors mean."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore.eventstream import ParserError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as EndpointError
from botocore.parsers import ResponseParserError

from core.aws.bodies import Asked, Piece, form_of
from core.aws.bounded import MAX_ANSWER_BYTES, BoundedSession
from core.errors import (
    ModelAccessDenied,
    ModelAnswerInvalid,
    ModelError,
    ModelThrottled,
    ModelUnavailable,
)

SERVICE = "bedrock-runtime"
CONNECT_SECONDS = 5.0
MOST_TOKENS = 100_000_000
"""Of one call: what is counted beyond is no count."""
Keys = tuple[str | None, str | None, str | None]
"""Access key id, secret access key, session token."""

# https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html, without `Exception`
_THROTTLED = frozenset({"Throttling", "Throttled", "TooManyRequests", "ServiceQuotaExceeded", "ModelNotReady"})
_PASSING = frozenset({"ServiceUnavailable", "InternalServer", "InternalFailure", "ModelTimeout", "ModelStreamError"})
_DENIED = frozenset(
    {
        "AccessDenied",
        "UnrecognizedClient",
        "InvalidSignature",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "ExpiredToken",
        "InvalidClientTokenId",
        "MissingAuthenticationToken",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "NotAuthorized",
    }
)


class Wire:
    """An open client for one model. Every call may raise ModelError."""

    def __init__(self, client: Any, model_id: str, stack: AsyncExitStack) -> None:
        self._client = client
        self._model_id = model_id
        self._form = form_of(model_id)
        self._stack = stack

    @classmethod
    async def open(
        cls,
        region: str,
        model_id: str,
        *,
        keys: Keys,
        endpoint_url: str | None,
        timeout: float,
        connections: int,
    ) -> Wire:
        """A client that sends each request once: who calls it retries."""
        session = get_session()
        await asyncio.to_thread(_load, session)
        config = AioConfig(
            connect_timeout=min(CONNECT_SECONDS, timeout),
            read_timeout=timeout,
            retries={"total_max_attempts": 1},
            max_pool_connections=connections,
            http_session_cls=BoundedSession,
        )
        key_id, secret, token = keys
        stack = AsyncExitStack()
        async with _errors():
            client = await stack.enter_async_context(
                session.create_client(
                    SERVICE,
                    region_name=region,
                    endpoint_url=endpoint_url,
                    aws_access_key_id=key_id,
                    aws_secret_access_key=secret,
                    aws_session_token=token,
                    config=config,
                )
            )
        return cls(client, model_id, stack)

    async def close(self) -> None:
        await self._stack.aclose()

    # -- whole answers

    async def converse(self, asked: Asked) -> Piece:
        async with _errors():
            answer = await self._client.converse(modelId=self._model_id, **_conversation(asked))
            content = answer.get("output", {}).get("message", {}).get("content", [])
            usage = answer.get("usage", {})
            text = "".join(block.get("text", "") for block in content)
            return _sound(Piece(text, answer.get("stopReason"), usage.get("inputTokens"), usage.get("outputTokens")))

    async def invoke(self, asked: Asked) -> Piece:
        async with _errors():
            answer = await self._client.invoke_model(modelId=self._model_id, **self._invocation(asked))
            said = self._form.read(_parsed(await _body(answer["body"])))
            headers = answer["ResponseMetadata"].get("HTTPHeaders", {})
            counted = Piece("", None, _header_count(headers, "input"), _header_count(headers, "output"))
            return _sound(counted.followed_by(said))

    # -- streams

    async def converse_stream(self, asked: Asked) -> AsyncGenerator[Piece, None]:
        """Pieces as they come. Raises ModelUnavailable for a stream that ends before the message does."""
        async with _errors():
            answer = await self._client.converse_stream(modelId=self._model_id, **_conversation(asked))
            stopped = False
            async for event in _events(answer["stream"]):
                if "contentBlockDelta" in event:
                    yield _sound(Piece(event["contentBlockDelta"].get("delta", {}).get("text", "")))
                elif "messageStop" in event:
                    stopped = True
                    yield _sound(Piece("", event["messageStop"].get("stopReason")))
                elif "metadata" in event:
                    usage = event["metadata"].get("usage", {})
                    yield _sound(Piece("", None, usage.get("inputTokens"), usage.get("outputTokens")))
            if not stopped:
                raise _broken_off()

    async def invoke_stream(self, asked: Asked) -> AsyncGenerator[Piece, None]:
        """As `converse_stream`."""
        async with _errors():
            answer = await self._client.invoke_model_with_response_stream(
                modelId=self._model_id, **self._invocation(asked)
            )
            stopped = False
            async for event in _events(answer["body"]):
                said = self._form.read(_parsed(event.get("chunk", {}).get("bytes", b"")))
                stopped = stopped or said.stop_reason is not None
                yield _sound(said)
            if not stopped:
                raise _broken_off()

    def _invocation(self, asked: Asked) -> dict[str, Any]:
        body = json.dumps(self._form.body(asked)).encode()
        return {"body": body, "contentType": "application/json", "accept": "application/json"}


def _load(session: AioSession) -> None:
    """What creating a client reads and parses: some megabytes of JSON, which is no work for an event loop. The session
    keeps it."""
    loader = session.get_component("data_loader")
    for name in ("endpoints", "partitions", "_retry", "sdk-default-configuration"):
        loader.load_data(name)
    loader.load_service_model(SERVICE, "service-2")
    loader.load_service_model(SERVICE, "endpoint-rule-set-1")


def _conversation(asked: Asked) -> dict[str, Any]:
    system = {"system": [{"text": asked.system}]} if asked.system else {}
    return {
        "messages": [{"role": "user", "content": [{"text": asked.prompt}]}],
        "inferenceConfig": {"maxTokens": asked.max_tokens, "temperature": asked.temperature},
        **system,
    }


async def _body(stream: Any) -> bytes:
    """The body of an InvokeModel answer, which botocore counts among the streams."""
    pieces: list[bytes] = []
    size = 0
    while piece := await stream.read(64 * 1024):
        size += len(piece)
        if size > MAX_ANSWER_BYTES:
            stream.close()
            raise ModelAnswerInvalid(f"the answer is longer than {MAX_ANSWER_BYTES:,} bytes")
        pieces.append(piece)
    return b"".join(pieces)


async def _events(stream: Any) -> AsyncIterator[Mapping[str, Any]]:
    """The events of a stream, of which no more is read than of an answer."""
    size = 0
    try:
        async for event in stream:
            size += len(repr(event))
            if size > MAX_ANSWER_BYTES:
                raise ModelAnswerInvalid(f"the answer is longer than {MAX_ANSWER_BYTES:,} bytes")
            yield event
    finally:
        stream.close()


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, Mapping):
        raise ModelAnswerInvalid("the answer is no JSON object")
    return answer


def _sound(piece: Piece) -> Piece:
    """The piece itself. Raises TypeError, ValueError for one whose fields are not what they are declared to be: nobody
    between the wire and here looks."""
    if not isinstance(piece.text, str) or not isinstance(piece.stop_reason, str | None):
        raise TypeError
    for count in (piece.input_tokens, piece.output_tokens):
        if count is not None and not 0 <= int(count) <= MOST_TOKENS:
            raise ValueError
    return piece


def _header_count(headers: Mapping[str, str], kind: str) -> int | None:
    value = headers.get(f"x-amzn-bedrock-{kind}-token-count", "")
    return int(value) if value.isascii() and value.isdigit() else None


def _broken_off() -> ModelUnavailable:
    return ModelUnavailable("the stream ended before the answer did", retry_after=0.0)


# ---------------------------------------------------------------- errors


@asynccontextmanager
async def _errors() -> AsyncIterator[None]:
    """Every error of the wire as what it means."""
    try:
        yield
    except ClientError as error:
        raise _refused(error) from error
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, TokenRetrievalError) as error:
        raise ModelAccessDenied(_printable(error)) from error
    except (ParserError, ResponseParserError) as error:
        raise ModelAnswerInvalid(f"what it answers is no answer of Bedrock: {_printable(error)}") from error
    except (HTTPClientError, EndpointError, aiohttp.ClientError, OSError) as error:
        raise ModelUnavailable(f"{type(error).__name__}: {_printable(error)}", retry_after=0.0) from error
    except BotoCoreError as error:
        raise ModelError(_printable(error)) from error
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        # botocore looks at no types: garbage trips it anywhere in its parser.
        raise ModelAnswerInvalid(f"what it answers is no answer of Bedrock: {type(error).__name__}") from error


def _refused(error: ClientError) -> ModelError:
    said = error.response.get("Error", {})
    code = _printable(said.get("Code") or "")
    # In a stream the same code begins with a small letter.
    kind = (code[:1].upper() + code[1:]).removesuffix("Exception")
    message = _printable(said.get("Message") or "")
    text = f"{code}: {message}" if message else code
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if kind in _THROTTLED or status == 429:
        return ModelThrottled(text, retry_after=_retry_after(error))
    if kind in _DENIED or status in {401, 403}:
        return ModelAccessDenied(text)
    if kind in _PASSING or status >= 500 or status == 408:
        return ModelUnavailable(text or f"status {status}", retry_after=_retry_after(error))
    return ModelError(text or f"status {status}")


def _retry_after(error: ClientError) -> float:
    """The seconds that the service asks us to wait, or nought."""
    value = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() else 0.0


def _printable(said: object) -> str:
    """What JSON may say, and no record can hold: a lone surrogate."""
    return " ".join(str(said).split())[:300].encode(errors="backslashreplace").decode()
