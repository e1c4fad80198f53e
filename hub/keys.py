"""API keys: `aime_<id>_<secret>`, kept as a hash, with scopes, principals and an expiry.

The secret is 256 random bits, so one round of SHA-256 is the right hash: there is no dictionary to slow down, and a
slow hash would only let a stranger burn the hub's time. A revoked key stays on record, so that the audit trail keeps
naming it and a hub that once had keys does not fall open when the last one goes.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal, Protocol, get_args

import structlog
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, SecretStr, ValidationError

from core.errors import InvalidInput, NotFound, StoreError
from core.model import OPERATOR, Text, Viewer, check_text
from core.store.base import AuditRecord, ChangeSet, Store
from core.wording import first_mistake

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

PREFIX = "aime"
MAX_PRINCIPALS = 256
FOLLOW_SECONDS = 1.0
"""How long a key that was revoked elsewhere may still be let in."""

log = structlog.stdlib.get_logger(__name__)


def _check_name(value: object) -> object:
    if isinstance(value, str) and not (value.strip() and check_text(value).isprintable()):
        raise ValueError("must be a name of printable characters")
    return value


KeyName = Annotated[str, BeforeValidator(_check_name), Field(max_length=200)]
Principal = Annotated[Text, Field(min_length=1, max_length=512)]


class NewKey(BaseModel):
    """What an admin says of a key to be made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: KeyName
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)] = ("read",)
    principals: Annotated[tuple[Principal, ...], Field(max_length=MAX_PRINCIPALS)] = ()
    """Whose documents it may see, beside the public ones. A key with the scope `admin` sees everything."""
    expires_at: AwareDatetime | None = None


class KeyInfo(NewKey):
    """An API key as it may be shown: everything but the secret."""

    id: str
    created_at: datetime
    revoked_at: datetime | None = None

    def usable(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def allows(self, scope: Scope) -> bool:
        """`admin` carries every scope."""
        return scope in self.scopes or "admin" in self.scopes

    def viewer(self) -> Viewer:
        return OPERATOR if "admin" in self.scopes else Viewer(frozenset(self.principals))


class StoredKey(BaseModel):
    """The durable record of a key. `hash` is the SHA-256 of its secret, in hex."""

    model_config = ConfigDict(frozen=True)

    info: KeyInfo
    hash: str


class KeyStore(Protocol):
    """The part of the graph service that keys need."""

    @property
    def store(self) -> Store: ...

    async def write(self, change_set: ChangeSet) -> None: ...


async def create_key(
    service: KeyStore,
    name: str,
    scopes: Collection[str] = ("read",),
    principals: Collection[str] = (),
    expires: datetime | None = None,
    *,
    actor: str = "cli",
) -> tuple[KeyInfo, SecretStr]:
    """Make a key and write it down. The second value is the whole key, `aime_…`: it is shown once and kept nowhere.

    Raises InvalidInput with the field that does not fit.
    """
    try:
        new = NewKey.model_validate(
            {"name": name, "scopes": tuple(scopes), "principals": tuple(principals), "expires_at": expires}
        )
    except ValidationError as error:
        mistake = first_mistake(error)
        raise InvalidInput(mistake.reason, field=mistake.field) from None
    now = datetime.now(UTC)
    if new.expires_at is not None and new.expires_at <= now:
        raise InvalidInput("lies in the past", field="expires_at")
    secret = secrets.token_urlsafe(32)
    info = KeyInfo(**new.model_dump(), id=secrets.token_hex(6), created_at=now)
    detail: dict[str, JsonValue] = {"name": info.name, "scopes": list(info.scopes)}
    await _write(service, StoredKey(info=info, hash=_hash(secret)), AuditRecord(actor, "key.created", info.id, detail))
    return info, SecretStr(f"{PREFIX}_{info.id}_{secret}")


async def list_keys(service: KeyStore) -> list[KeyInfo]:
    """Every key, oldest first, the revoked ones too."""
    keys = await _stored(service)
    return sorted((key.info for key in keys.values()), key=lambda info: (info.created_at, info.id))


async def revoke_key(service: KeyStore, key_id: str, *, actor: str = "cli") -> KeyInfo:
    """End a key now; ending it again changes nothing. Raises NotFound."""
    stored = (await _stored(service)).get(key_id)
    if stored is None:
        raise NotFound(f"there is no API key {key_id[:64]!r}")
    if stored.info.revoked_at is not None:
        return stored.info
    info = stored.info.model_copy(update={"revoked_at": datetime.now(UTC)})
    await _write(service, StoredKey(info=info, hash=stored.hash), AuditRecord(actor, "key.revoked", key_id))
    return info


class KeyRing:
    """The keys in memory, so that a request costs one hash. `reload` follows every change of a key."""

    def __init__(self, service: KeyStore) -> None:
        self._service = service
        self._keys: Mapping[str, StoredKey] = {}

    async def reload(self) -> None:
        self._keys = await _stored(self._service)

    async def follow(self) -> None:
        """Keep up with the keys that other processes on a shared store make and revoke. Runs until it is cancelled.
        While the store cannot be read, the keys that were known hold."""
        while True:
            try:
                await self.reload()
            except StoreError as error:
                log.warning("API keys are not followed at the moment", reason=error.message)
            await asyncio.sleep(FOLLOW_SECONDS)

    @property
    def guarded(self) -> bool:
        """Whether keys are required: as soon as one was ever made."""
        return bool(self._keys)

    def usable(self) -> bool:
        """Whether any key would be let in at the moment."""
        now = datetime.now(UTC)
        return any(key.info.usable(now) for key in self._keys.values())

    def authenticate(self, key: str) -> KeyInfo | None:
        """Whose key this is; None for one that is malformed, unknown, expired or revoked."""
        prefix, _, rest = key.partition("_")
        key_id, _, secret = rest.partition("_")
        stored = self._keys.get(key_id)
        # An unknown id costs the same comparison, so the time taken does not tell which ids exist.
        known = stored.hash if stored is not None else _hash("")
        if not hmac.compare_digest(_hash(secret), known) or stored is None or prefix != PREFIX:
            return None
        return stored.info if stored.info.usable(datetime.now(UTC)) else None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


async def _stored(service: KeyStore) -> dict[str, StoredKey]:
    records = await service.store.records("key")
    return {key_id: StoredKey.model_validate_json(text) for key_id, text in records.items()}


async def _write(service: KeyStore, key: StoredKey, audit: AuditRecord) -> None:
    await service.write(ChangeSet(records={("key", key.info.id): key.model_dump_json()}, audit=(audit,)))
