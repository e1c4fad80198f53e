"""aiobotocore's HTTP session, but no answer is read past a bound.

aiobotocore reads a whole answer into memory before it is parsed, however large the other side makes it.
"""

from __future__ import annotations

from typing import Any

import aiohttp
from aiobotocore.httpsession import AIOHTTPSession
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from core.errors import ModelAnswerInvalid

MAX_ANSWER_BYTES = 8 * 1024 * 1024
"""A model's answer of 100,000 tokens is about half a megabyte."""


class BoundedSession(AIOHTTPSession):  # type: ignore[misc]  # aiobotocore is not typed
    """Raises ModelAnswerInvalid for an answer longer than `MAX_ANSWER_BYTES`. Who reads a stream bounds it, but
    for one without a body, in which aiobotocore looks for events for ever, holding up the loop."""

    async def send(self, request: Any) -> Any:
        streams, request.stream_output = request.stream_output, True
        response = await super().send(request)
        if not streams or response.status_code >= 300:
            # Where botocore keeps an answer that was read already.
            response._content = await _read(response.raw, request)
        elif response.raw.content.at_eof():
            response.raw.close()
            raise ModelAnswerInvalid("the answer is empty")
        return response


async def _read(raw: aiohttp.ClientResponse, request: Any) -> bytes:
    pieces: list[bytes] = []
    size = 0
    try:
        async for piece in raw.content.iter_any():
            size += len(piece)
            if size > MAX_ANSWER_BYTES:
                raise ModelAnswerInvalid(f"the answer is longer than {MAX_ANSWER_BYTES:,} bytes")
            pieces.append(piece)
    except TimeoutError as error:
        raise ReadTimeoutError(endpoint_url=request.url, error=error) from error
    except aiohttp.ClientError as error:
        raise ConnectionClosedError(endpoint_url=request.url, error=error) from error
    finally:
        raw.close()  # which a connection that was read to its end survives
    return b"".join(pieces)
