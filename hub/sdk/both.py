"""Two directions in one instance."""

from __future__ import annotations

from hub.sdk.contract import Connector, Health

_DOES = ("pull", "deliveries", "receive", "list_ids", "notify", "batch", "answer", "asks")
"""By these the hub sees what an instance can do."""


class Both:
    """An instance that does what either of two objects does. The hub sees by its methods what a connector can do, so
    each direction has a class of its own, and a configuration that wants both has this."""

    def __init__(self, inbound: Connector, outbound: Connector) -> None:
        self._ways = (inbound, outbound)
        for way in self._ways:
            for name in _DOES:
                if hasattr(way, name):
                    setattr(self, name, getattr(way, name))

    async def check(self) -> Health:
        """Of both: it is well when both are."""
        found = [await way.check() for way in self._ways]
        return Health(ok=all(each.ok for each in found), detail="; ".join(each.detail for each in found if each.detail))

    async def aclose(self) -> None:
        for way in self._ways:
            await way.aclose()
