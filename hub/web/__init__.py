"""The HTTP interface."""

from hub.web.app import ROUTES, create_app
from hub.web.server import Server, serve

__all__ = ["ROUTES", "Server", "create_app", "serve"]
