"""What an admin does over HTTP."""

from hub.web.admin import connectors, export, keys, notifications, records
from hub.web.routes import Route

ROUTES: tuple[Route, ...] = (
    *connectors.ROUTES,
    *notifications.ROUTES,
    *records.ROUTES,
    *export.ROUTES,
    *keys.ROUTES,
)

__all__ = ["ROUTES"]
