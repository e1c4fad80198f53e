"""The broker as the connector talks to it.

Connections are plain ones: the hub comes back by itself after an outage, in its own rhythm and visibly, so nothing
here reconnects behind its back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from connectors.rabbitmq.config import ConsumeConfig, RabbitmqConfig
from hub.sdk import AuthFailed, Health, NotReady, Outcome

if TYPE_CHECKING:
    from aio_pika import Message
    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue
    from aiormq.abc import AbstractChannel as WireChannel

# Whatever it finds it raises too, and the hub tells that; by itself it would write a traceback for each.
logging.getLogger("aiormq").setLevel(logging.CRITICAL)

ANSWER_SECONDS = 10.0
"""For the broker to answer one call."""
CLOSE_SECONDS = 3.0
HEARTBEAT_SECONDS = 15
"""After three that are missed, a silent connection counts as lost."""
WATCH_SECONDS = 15.0
"""A consumer that gets nothing for so long asks whether the broker still has it."""
RETRY_SECONDS = 2.0
"""Until another message is tried on a broker that could not be reached."""
NO_ROUTE, NOT_FOUND = 312, 404
"""Reply codes of a message that no queue takes, and of an exchange that is not there (AMQP 0-9-1, constants)."""


class Broker:
    """The broker at `url`."""

    def __init__(self, config: RabbitmqConfig, name: str) -> None:
        parts = urlsplit(str(config.url))
        self.address = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        secret = config.password.get_secret_value() if config.password else "guest"
        user, password = quote(config.username, safe=""), quote(secret, safe="")
        options = "&".join(filter(None, [parts.query, f"heartbeat={HEARTBEAT_SECONDS}", f"name=aime-{quote(name)}"]))
        self._url = f"{parts.scheme}://{user}:{password}@{parts.netloc}{parts.path}?{options}"

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[AbstractConnection]:
        """A connection to receive on, for as long as the block takes. Raises NotReady, AuthFailed."""
        connection = await self.connect(bodies_only=True)
        try:
            yield connection
        finally:
            await close(connection)

    async def check(self, look: Callable[[AbstractChannel], Awaitable[str]]) -> Health:
        """What `look` finds on a channel of its own."""
        try:
            async with self.connected() as connection:
                with self.told():
                    async with asyncio.timeout(ANSWER_SECONDS):
                        return Health(ok=True, detail=await look(await connection.channel()))
        except (NotReady, AuthFailed) as error:
            return Health(ok=False, detail=error.message)

    async def connect(self, *, bodies_only: bool = False) -> AbstractConnection:
        """With `bodies_only`, messages come without their properties. Raises NotReady, AuthFailed."""
        await asyncio.to_thread(import_module, "aio_pika")  # takes the time of a few commits, once
        from aio_pika import Connection
        from yarl import URL

        from connectors.rabbitmq.transport import BodiesOnly

        connection = Connection(URL(self._url, encoded=True))
        if bodies_only:
            connection.kwargs["transport_factory"] = BodiesOnly()
        try:
            with self.told():
                async with asyncio.timeout(ANSWER_SECONDS):
                    await connection.connect()
        except BaseException:
            await close(connection)
            raise
        return connection

    @contextmanager
    def told(self) -> Iterator[None]:
        """What goes wrong between us and the broker, as NotReady and AuthFailed with the broker's own words."""
        from aio_pika.exceptions import CONNECTION_EXCEPTIONS, AuthenticationError, ProbableAuthenticationError
        from aiormq.exceptions import ChannelAccessRefused

        try:
            yield
        except (AuthenticationError, ProbableAuthenticationError, ChannelAccessRefused) as error:
            raise AuthFailed(f"{self.address}: {error}") from None
        except TimeoutError:
            raise NotReady(f"{self.address} does not answer within {ANSWER_SECONDS:g} s") from None
        except RuntimeError:  # so it is told on a channel or a connection that has been closed meanwhile
            raise NotReady(f"{self.address}: the connection was lost") from None
        except CONNECTION_EXCEPTIONS as error:
            raise NotReady(f"{self.address}: {_words(error)}") from None


class Consumer:
    """Takes the messages of one queue."""

    def __init__(self, broker: Broker, config: ConsumeConfig) -> None:
        self._broker = broker
        self._config = config

    async def messages(self) -> AsyncGenerator[AbstractIncomingMessage, None]:
        """Until closed. Those that are neither acknowledged nor rejected by then, the broker delivers again.

        Raises NotReady when the connection or the consumer is lost, AuthFailed.
        """
        async with self._broker.connected() as connection:
            with self._broker.told():
                async with asyncio.timeout(ANSWER_SECONDS):
                    channel = await connection.channel(publisher_confirms=False)
                    await channel.set_qos(prefetch_count=self._config.prefetch)
                    queue = await channel.get_queue(self._config.queue)
            arrived = await self._arrivals(channel)
            with self._broker.told():
                tag = await queue.consume(arrived.put, timeout=ANSWER_SECONDS)
            try:
                while True:
                    found = await self._next(arrived, queue)
                    if isinstance(found, NotReady):
                        raise found
                    yield found
            finally:
                # Before the channel closes: the broker would otherwise go on handing over what comes back from it.
                with suppress(Exception):
                    await queue.cancel(tag, timeout=CLOSE_SECONDS)

    async def _arrivals(self, channel: AbstractChannel) -> asyncio.Queue[AbstractIncomingMessage | NotReady]:
        """Where messages arrive, and behind them the news that no more will."""
        arrived: asyncio.Queue[AbstractIncomingMessage | NotReady] = asyncio.Queue()
        address, name = self._broker.address, self._config.queue

        def closed(_: object, error: BaseException | None) -> None:
            arrived.put_nowait(NotReady(f"{address}: the connection was lost: {error or 'closed by the broker'}"))

        def cancelled(_: object) -> None:
            arrived.put_nowait(NotReady(f"{address}: the broker cancelled the consumer of queue {name!r}"))

        channel.close_callbacks.add(closed)
        wire = await channel.get_underlay_channel()
        wire.on_consumer_cancel_callbacks.add(cancelled)
        return arrived

    async def _next(
        self, arrived: asyncio.Queue[AbstractIncomingMessage | NotReady], queue: AbstractQueue
    ) -> AbstractIncomingMessage | NotReady:
        while arrived.empty():
            try:
                async with asyncio.timeout(WATCH_SECONDS):
                    return await arrived.get()
            except TimeoutError:
                await self._watch(queue)
        return arrived.get_nowait()

    async def _watch(self, queue: AbstractQueue) -> None:
        """Raises NotReady when the broker has lost the consumer without a word, or the queue is gone."""
        with self._broker.told():
            found = await queue.declare(timeout=ANSWER_SECONDS)  # passive, as it was first asked for
        if not found.consumer_count:
            raise NotReady(f"{self._broker.address}: queue {queue.name!r} has lost its consumers")


class Publisher:
    """Puts messages into exchanges, on one connection that is opened when it is first needed, and after a loss."""

    def __init__(self, broker: Broker, *, timeout: float) -> None:
        self._broker = broker
        self._timeout = timeout
        self._connection: AbstractConnection | None = None
        self._channel: WireChannel | None = None
        self._opening = asyncio.Lock()

    async def publish(self, message: Message, exchange: str, routing_key: str) -> Outcome:
        """One message, and what came of it: delivered means that the broker has put it into a queue, durably."""
        from aio_pika.exceptions import ChannelNotFoundEntity, DeliveryError, PublishError

        try:
            with self._broker.told():
                channel = await self._opened()
                try:
                    async with asyncio.timeout(self._timeout):
                        await channel.basic_publish(
                            message.body,
                            exchange=exchange,
                            routing_key=routing_key,
                            properties=message.properties,
                            mandatory=True,
                        )
                except PublishError:
                    error = f"no queue takes it: exchange {exchange!r}, routing key {routing_key!r}"
                    return Outcome(error=error, status=NO_ROUTE)
                except ChannelNotFoundEntity as error:
                    return Outcome(error=f"{self._broker.address}: {error}", status=NOT_FOUND)
                except DeliveryError as error:
                    return Outcome(error=f"the broker refused it: {error}")
                except TimeoutError:
                    # In a memory or disk alarm the broker takes nothing, and says nothing.
                    return Outcome(error=f"not confirmed within {self._timeout:g} s: look for an alarm of the broker")
        except NotReady as error:
            # An outage of the broker says nothing against the message. One that the broker has, and could not confirm
            # any more, it gets once more, under the same id.
            return Outcome(error=error.message, retry_after=RETRY_SECONDS, unsent=True)
        except AuthFailed as error:
            return Outcome(error=error.message)
        return Outcome()

    async def _opened(self) -> WireChannel:
        """Raises NotReady, AuthFailed."""
        async with self._opening:
            if self._channel is not None and not self._channel.is_closed:
                return self._channel
            await self.aclose()
            self._connection = await self._broker.connect()
            async with asyncio.timeout(ANSWER_SECONDS):
                # Without `on_return_raises` a message that no queue takes would look confirmed.
                channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
                self._channel = await channel.get_underlay_channel()
            return self._channel

    async def aclose(self) -> None:
        if self._connection is not None:
            await close(self._connection)


def _words(error: BaseException) -> str:
    # aiormq drops what the broker says when it closes a connection in place of opening its vhost.
    if "Connection.OpenOk" in str(error):
        return "the broker does not open the vhost: see that it is there, and that the user may enter it"
    return str(error) or type(error).__name__


async def close(connection: AbstractConnection) -> None:
    """Whatever state it is in. A broker that no longer answers must not hold us."""
    with suppress(Exception):
        await asyncio.wait_for(connection.close(), CLOSE_SECONDS)
