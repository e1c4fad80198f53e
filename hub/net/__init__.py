"""Everything that the hub says to the outside over HTTP goes through here."""

from hub.net.guard import Guard, check_url
from hub.net.session import Network

__all__ = ["Guard", "Network", "check_url"]
