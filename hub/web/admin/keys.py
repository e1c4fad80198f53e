"""API keys: make, list, end."""

from __future__ import annotations

from datetime import UTC

from aiohttp import web
from pydantic import BaseModel

from hub.keys import KeyInfo, NewKey, create_key, list_keys, revoke_key
from hub.web.routes import Call, Reply, Route, reply

TAG = "Admin"


class CreatedKey(KeyInfo):
    """A new key with its `secret`: the whole of what callers send, shown this once."""

    secret: str


class KeyList(BaseModel):
    """Every key, oldest first, the revoked ones too."""

    keys: list[KeyInfo]


async def post_key(call: Call) -> web.StreamResponse:
    new = await call.model(NewKey)
    info, secret = await create_key(
        call.service,
        new.name,
        new.scopes,
        new.principals,
        None if new.expires_at is None else new.expires_at.astimezone(UTC),
        actor=call.caller.actor,
    )
    await call.site.gate.keys.reload()
    response = reply(CreatedKey(**info.model_dump(), secret=secret.get_secret_value()), status=201)
    response.headers["Cache-Control"] = "no-store"
    return response


async def get_keys(call: Call) -> web.StreamResponse:
    return reply(KeyList(keys=await list_keys(call.service)))


async def delete_key(call: Call) -> web.StreamResponse:
    info = await revoke_key(call.service, call.path("key_id"), actor=call.caller.actor)
    await call.site.gate.keys.reload()
    return reply(info)


ROUTES = (
    Route(
        "POST",
        "/admin/keys",
        post_key,
        "Make an API key",
        TAG,
        "admin",
        {201: Reply("The key. Its secret is never shown again.", CreatedKey)},
        description="Once a key exists, every call needs one, also on a loopback address.",
        body=NewKey,
        problems=(400, 408, 413, 415, 422, 507),
    ),
    Route("GET", "/admin/keys", get_keys, "List API keys", TAG, "admin", {200: Reply("All of them.", KeyList)}),
    Route(
        "DELETE",
        "/admin/keys/{key_id}",
        delete_key,
        "Revoke an API key",
        TAG,
        "admin",
        {200: Reply("Revoked, from this answer on.", KeyInfo)},
        problems=(404, 507),
    ),
)
