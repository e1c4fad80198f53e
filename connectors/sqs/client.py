"""SQS as the connector talks to it: one queue, in batches, with what became of each entry."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from connectors.sqs.config import SqsConfig
from connectors.sqs.mapping import Outgoing
from hub.sdk import AuthFailed, ConnectorError, Context, Health, NotReady, Outcome, RateLimited

BATCH = 10
"""Messages in one call: SQS's limit."""
MAX_BYTES = 1024 * 1024
"""Of one message, and of all in one call: SQS's limit."""
POLL_SECONDS = 20
"""How long SQS waits for a message to come: its limit."""
CALL_SECONDS = 10.0
"""For any other call."""
RETRY_SECONDS = 2.0
"""Until another message is tried on a service that could not be reached."""
CONNECTIONS = 64

_REFUSED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_THROTTLED = frozenset({"RequestThrottled", "Throttling", "ThrottlingException", "TooManyRequestsException"})
_COUNTS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")


@dataclass(frozen=True, slots=True)
class Message:
    """One that was handed over. `receipt` deletes it; `received`: how often it was handed over so far."""

    body: str
    receipt: str
    received: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one entry of a batch was not done."""

    reason: str
    ours: bool
    """It will be refused again."""


Refusals = Mapping[int, Refusal]
"""By the position of the entry; those that are not in it were done."""


class Queue:
    """The queue at `url`. Its client is made when it is first needed. Every call raises NotReady, RateLimited,
    AuthFailed."""

    def __init__(self, config: SqsConfig, url: str, context: Context) -> None:
        self.url = url
        self.is_fifo = urlsplit(url).path.endswith(".fifo")
        self._config = config
        self._context = context
        self._stack = AsyncExitStack()
        self._client: Any = None
        self._opening = asyncio.Lock()

    async def receive(self, visibility: int) -> list[Message]:
        """Up to ten, as soon as there is one; none after twenty seconds."""
        answer = await self._call(
            "receive_message",
            MaxNumberOfMessages=BATCH,
            WaitTimeSeconds=POLL_SECONDS,
            VisibilityTimeout=visibility,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        with self._told():
            return [
                Message(each["Body"], each["ReceiptHandle"], int(each["Attributes"]["ApproximateReceiveCount"]))
                for each in answer.get("Messages", ())
            ]

    async def delete(self, messages: Sequence[Message]) -> Refusals:
        """At most ten."""
        entries = [{"Id": str(at), "ReceiptHandle": each.receipt} for at, each in enumerate(messages)]
        return await self._batch("delete_message_batch", entries)

    async def hide(self, messages: Sequence[Message], seconds: int) -> Refusals:
        """From others, so long from now on; at most ten."""
        entries = [
            {"Id": str(at), "ReceiptHandle": each.receipt, "VisibilityTimeout": seconds}
            for at, each in enumerate(messages)
        ]
        return await self._batch("change_message_visibility_batch", entries)

    async def send(self, messages: Sequence[Outgoing]) -> Sequence[Outcome]:
        """As many as there are, in calls that fit SQS's limits; what became of each. Never raises for what SQS does."""
        outcomes: dict[int, Outcome] = {}
        for batch in _batches(messages, outcomes):
            try:
                refused = await self._send([messages[at] for at in batch])
            except AuthFailed as error:
                outcomes.update((at, Outcome(error=error.message)) for at in batch)
            except NotReady as error:
                wait = error.retry_after or RETRY_SECONDS
                outcomes.update((at, Outcome(error=error.message, retry_after=wait, unsent=True)) for at in batch)
            else:
                for position, at in enumerate(batch):
                    refusal = refused.get(position)
                    outcomes[at] = (
                        Outcome() if refusal is None else Outcome(refusal.reason, 400 if refusal.ours else 500)
                    )
        return [outcomes[at] for at in range(len(messages))]

    async def check(self) -> Health:
        try:
            answer = await self._call("get_queue_attributes", AttributeNames=list(_COUNTS))
        except ConnectorError as error:
            return Health(ok=False, detail=error.message)
        waiting, taken = (int(answer["Attributes"].get(name, 0)) for name in _COUNTS)
        name = urlsplit(self.url).path.rpartition("/")[2]
        return Health(ok=True, detail=f"queue {name!r} holds {waiting:,} waiting messages and {taken:,} at work")

    async def aclose(self) -> None:
        self._client = None
        await self._stack.aclose()

    # -- within

    async def _send(self, messages: Sequence[Outgoing]) -> Refusals:
        entries: list[dict[str, Any]] = []
        for at, message in enumerate(messages):
            entry: dict[str, Any] = {
                "Id": str(at),
                "MessageBody": message.body,
                "MessageAttributes": {"type": {"DataType": "String", "StringValue": message.type}},
            }
            if self.is_fifo:
                entry |= {"MessageGroupId": message.group, "MessageDeduplicationId": message.id}
            entries.append(entry)
        return await self._batch("send_message_batch", entries)

    async def _batch(self, name: str, entries: Sequence[Mapping[str, Any]]) -> Refusals:
        """Only what the answer says was done counts as done. The entries' ids are their positions."""
        answer = await self._call(name, Entries=entries)
        with self._told():
            done = {each["Id"] for each in answer.get("Successful", ())}
            failed = {
                each["Id"]: Refusal(f"{each.get('Code')}: {each.get('Message', '')}", bool(each.get("SenderFault")))
                for each in answer.get("Failed", ())
            }
        untold = Refusal("the answer does not name it", ours=False)
        return {at: failed.get(str(at), untold) for at in range(len(entries)) if str(at) not in done}

    async def _call(self, name: str, **arguments: Any) -> Mapping[str, Any]:
        client = await self._opened()
        with self._told():
            async with asyncio.timeout(CALL_SECONDS + (POLL_SECONDS if name == "receive_message" else 0)):
                answer: Mapping[str, Any] = await getattr(client, name)(QueueUrl=self.url, **arguments)
            kind = answer["ResponseMetadata"]["HTTPHeaders"].get("content-type", "")
            if "json" not in kind:  # such as the page of a proxy: botocore reads nothing from it, without a word
                raise ValueError(kind)
        return answer

    async def _opened(self) -> Any:
        if self._client is not None:
            return self._client
        async with self._opening:
            if self._client is None:
                session = await self._context.run_blocking(_session)
                from aiobotocore.config import AioConfig

                config = self._config
                secret, token = config.secret_access_key, config.session_token
                with self._told():
                    self._client = await self._stack.enter_async_context(
                        session.create_client(
                            "sqs",
                            region_name=config.region,
                            endpoint_url=str(config.endpoint_url) if config.endpoint_url else None,
                            aws_access_key_id=config.access_key_id,
                            aws_secret_access_key=secret.get_secret_value() if secret else None,
                            aws_session_token=token.get_secret_value() if token else None,
                            # The hub tries again by itself, and visibly.
                            config=AioConfig(
                                connect_timeout=CALL_SECONDS,
                                read_timeout=CALL_SECONDS + POLL_SECONDS,
                                max_pool_connections=CONNECTIONS,
                                retries={"total_max_attempts": 1},
                            ),
                        )
                    )
        return self._client

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What goes wrong between us and SQS, as NotReady, RateLimited and AuthFailed, with its own words."""
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            NoCredentialsError,
            PartialCredentialsError,
        )
        from botocore.parsers import ResponseParserError

        try:
            yield
        except ClientError as error:
            told = error.response.get("Error", {})
            code, message = str(told.get("Code", "")).rpartition("#")[2], str(told.get("Message", ""))
            reason = f"{self.url}: {code}: {message}"
            if code in _REFUSED:
                raise AuthFailed(reason) from None
            if code in _THROTTLED:
                raise RateLimited(reason, retry_after=RETRY_SECONDS) from None
            raise NotReady(reason) from None
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise AuthFailed(f"{self.url}: {error}") from None
        except TimeoutError:
            raise NotReady(f"{self.url} does not answer within {CALL_SECONDS:g} s") from None
        except (BotoCoreError, OSError) as error:
            raise NotReady(f"{self.url}: {error}") from None
        except (ResponseParserError, AttributeError, LookupError, TypeError, ValueError):
            # botocore looks at no types: garbage trips it anywhere in its parser, or us behind it.
            raise NotReady(f"{self.url}: what it answers is no answer of SQS") from None


def _session() -> Any:
    """Blocking: imports botocore, and reads what a client is made from: JSON of some megabytes, which it keeps."""
    from aiobotocore.session import get_session

    session = get_session()
    loader = session.get_component("data_loader")
    for name in ("endpoints", "partitions", "sdk-default-configuration"):
        loader.load_data(name)
    for part in ("service-2", "endpoint-rule-set-1"):
        loader.load_service_model("sqs", part)
    return session


def _batches(messages: Sequence[Outgoing], outcomes: dict[int, Outcome]) -> Iterator[list[int]]:
    """The positions of messages that go together; one that no call can hold has its outcome already."""
    batch: list[int] = []
    held = 0
    for at, message in enumerate(messages):
        size = message.size
        if size > MAX_BYTES:
            reason = f"is {size:,} bytes; SQS takes messages of at most {MAX_BYTES:,}"
            outcomes[at] = Outcome(error=reason, permanent=True)
            continue
        if len(batch) == BATCH or held + size > MAX_BYTES:
            yield batch
            batch, held = [], 0
        batch.append(at)
        held += size
    if batch:
        yield batch
