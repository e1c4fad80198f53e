"""Notifications: what happened in the hub, told to the endpoints that asked for it, at least once and in order."""

from hub.notify.callbacks import CALLBACK, Callbacks, callback_delivery
from hub.notify.dispatcher import Dispatcher
from hub.notify.endpoint import Endpoint, EndpointHealth
from hub.notify.schedule import RetrySchedule

__all__ = [
    "CALLBACK",
    "Callbacks",
    "Dispatcher",
    "Endpoint",
    "EndpointHealth",
    "RetrySchedule",
    "callback_delivery",
]
