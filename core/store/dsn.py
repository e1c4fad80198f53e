"""The URL of a shared store, and what of it may be shown."""

from __future__ import annotations

from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from core.errors import StoreError

SCHEMES = ("postgresql", "postgres")
SECRETS = ("password", "passfile", "sslpassword")


def is_postgres(url: str) -> bool:
    """Whether it names a store that several processes, on several machines, have open at a time."""
    return url.partition(":")[0] in SCHEMES


def shown(url: str) -> str:
    """A store's URL without its secrets, for messages and logs. One that cannot be taken apart is not shown at all."""
    if not is_postgres(url):
        return url
    try:
        parts = _split(url)
        user, at, hosts = parts.netloc.rpartition("@")
        query = [(key, value) for key, value in parse_qsl(parts.query) if key.lower() not in SECRETS]
        netloc = f"{user.partition(':')[0]}{at}{hosts}"
    except ValueError:
        return "postgresql://…"
    return urlunsplit((parts.scheme, netloc, parts.path, urlencode(query), ""))


def check(url: str) -> str:
    """The URL as it is. Raises StoreError when it names no host or database."""
    try:
        parts = _split(url)
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in SCHEMES or not url.startswith(f"{parts.scheme}://"):
        raise StoreError(
            "the store's URL cannot be read; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE,"
            " and in user and password %40 for @, %2F for /, %3F for ? and %23 for #"
        )
    if not parts.path.strip("/"):
        raise StoreError(f"{shown(url)} names no database; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    for host in parts.netloc.rpartition("@")[2].split(","):
        port = host.rpartition("]")[2].partition(":")[2]
        if port and not (port.isdecimal() and 0 < int(port) < 65536):
            raise StoreError(f"{shown(url)}: {port[:20]!r} is no port")
    return url


def _split(url: str) -> SplitResult:
    """Raises ValueError, also where a password ends the host's part early: what is left of it would pass for a path."""
    parts = urlsplit(url)
    if parts.fragment or "@" in parts.path + parts.query:
        raise ValueError("holds a character that has to be escaped")
    return parts
