"""What an admin does over HTTP."""

from hub.web.admin import connectors, keys, notifications, records
from hub.web.routes import Route

ROUTES: tuple[Route, ...] = (*connectors.ROUTES, *notifications.ROUTES, *records.ROUTES, *keys.ROUTES)

__all__ = ["ROUTES"]
