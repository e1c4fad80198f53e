"""The runner of a receiving instance: one inbound webhook becomes changes, and is answered after their commit."""

from __future__ import annotations

import asyncio

from core.errors import AimeError, Busy, ConnectorError, PermanentDocumentError
from core.model import Failure, ProcessResult
from hub.instance import Instance, InstanceState, describe
from hub.runners.intake import Intake
from hub.sdk import InboundRequest, Receives

RECEIVE_SECONDS = 30.0
PAUSED_RETRY = 60.0


class ReceiveRunner:
    """Takes requests for one instance."""

    def __init__(self, instance: Instance, connector: Receives, intake: Intake) -> None:
        self._instance = instance
        self._connector = connector
        self._intake = intake

    async def receive(self, request: InboundRequest, actor: str) -> list[ProcessResult]:
        """What became of the request's changes; returning means that they are durable.

        Raises:
            Busy: the instance is paused, failed or stopping, or the queue is full; the sender should come back.
            VerificationFailed, InvalidInput: the request does not prove itself, or cannot be read.
            StoreError: nothing was written.
            ConnectorError: the connector could not deal with it.
        """
        instance = self._instance
        if instance.halted or instance.stopping:
            state = InstanceState.WAITING if instance.stopping else instance.status.state
            raise Busy(f"connector {instance.name!r} is {state} and takes nothing", retry_after=PAUSED_RETRY)
        limit = asyncio.timeout(RECEIVE_SECONDS)
        try:
            async with limit:
                changes = await self._connector.receive(request)
        except PermanentDocumentError as error:
            changes = [Failure(describe(error), error.document_id)]
        except AimeError:
            raise
        except Exception as error:
            if limit.expired():
                raise Busy(f"connector {instance.name!r} took longer than {RECEIVE_SECONDS:.0f} s") from None
            instance.log.exception("request not understood")
            instance.stumbled(error)
            raise ConnectorError(f"connector {instance.name!r} failed on this request") from error
        results = await self._intake.submit(changes, actor=actor, wait=False)
        instance.succeeded()
        return results
