"""`aime doctor`: looks at everything that a hub needs, and says what to do about what is wrong."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from core.errors import AimeError, ModelAnswerInvalid, StoreError
from core.store.dsn import is_postgres, shown
from core.store.opening import FORMS, store_of
from hub.cli.config import inspect
from hub.cli.options import DEFAULT_STORE, ConfigOption, JsonOption, Place, StoreOption, config_path
from hub.cli.output import count, print_json
from hub.cli.target import Json

if TYPE_CHECKING:
    from core.store.health import StoreHealth

SPARE_BYTES = 1024**3
FSYNCS = 50
SLOW_FSYNCS = 100.0
"""A second. Below this, single posts wait noticeably for the disk; groups and batches still do well."""
CLOCK_SLACK_SECONDS = 60.0
MODEL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found. `advice` says what to do, where something is to be done."""

    subject: str
    state: Literal["ok", "warning", "failed"]
    detail: str
    advice: str = ""


def doctor(config: ConfigOption = None, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Check Python, disk, store, configuration, plugins and connectors. Exit code 1 when something has to be done."""
    findings = list(_examine(config, store))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        colours = {"ok": "green", "warning": "yellow", "failed": "red"}
        for finding in findings:
            state = typer.style(f"{finding.state:<8}", fg=colours[finding.state])
            typer.echo(f"{state} {finding.subject:<14} {finding.detail}")
            if finding.advice:
                typer.echo(f"{'':<23} → {finding.advice}")
    if any(finding.state == "failed" for finding in findings):
        raise typer.Exit(1)


def _examine(config: Path | None, store: str | None) -> Iterator[Finding]:
    yield _python()
    yield _sqlite()
    path = config_path(config)
    yield _configuration(path)
    yield from _plugins()
    try:
        url = _store_url(store, config)
        file = None if is_postgres(url) else _store_file(url)
    except AimeError as error:
        yield Finding("store", "failed", error.message, "name the store with --store, or mend the configuration")
        return
    if file is not None:
        yield from _disk(file.parent)
    found, health = _store(file) if file is not None else _shared_store(url)
    yield from found
    if path is not None:
        yield from _connectors(path)
        yield from _model(path)
    # Whoever opens a store makes it, or brings it up to date: that is not for a command that only looks.
    if health is not None and health.schema == health.newest_schema:
        yield from _endpoints(path, url)
        yield from _projection(path, url)


# ---------------------------------------------------------------- the machine


def _python() -> Finding:
    return Finding("python", "ok", f"Python {sys.version.split()[0]}, aime-hub {version('aime-hub')}")


def _sqlite() -> Finding:
    import apsw

    # The store uses the SQLite that apsw brings; the system's own does not matter.
    return Finding("sqlite", "ok", f"{apsw.sqlite_lib_version()} (the system has {sqlite3.sqlite_version}, not used)")


def _disk(folder: Path) -> Iterator[Finding]:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1e9:,.1f} GB free at {folder}"
    if free < SPARE_BYTES:
        yield Finding("disk", "warning", detail, "free some: a full disk stops the intake until there is room again")
    else:
        yield Finding("disk", "ok", detail)
    try:
        rate = _fsync_rate(folder)
    except OSError as error:
        advice = "give the user that runs the hub the right to write there"
        yield Finding("fsync", "failed", f"{folder} cannot be written: {error.strerror}", advice)
        return
    detail = f"{rate:,.0f} a second"
    if rate < SLOW_FSYNCS:
        yield Finding("fsync", "warning", detail, "put the store on a faster disk, or send documents in batches")
    else:
        yield Finding("fsync", "ok", detail)


def _fsync_rate(folder: Path) -> float:
    with tempfile.TemporaryFile(dir=folder) as file:
        started = time.perf_counter()
        for _ in range(FSYNCS):
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
        return FSYNCS / (time.perf_counter() - started)


# ---------------------------------------------------------------- what was configured


def _configuration(path: Path | None) -> Finding:
    if path is None:
        advice = "without one the hub runs with the defaults and no connector"
        return Finding("configuration", "warning", "there is no plugins.toml here", advice)
    errors, warnings = inspect(path)[1:]
    if errors:
        return Finding("configuration", "failed", "; ".join(error.message for error in errors), "mend these lines")
    if warnings:
        detail = "; ".join(warning.message for warning in warnings)
        return Finding("configuration", "warning", detail, "see that this is meant")
    return Finding("configuration", "ok", str(path))


def _plugins() -> Iterator[Finding]:
    from hub.plugins import Plugins

    plugins = Plugins()
    kinds = ", ".join(spec.kind for spec in plugins.specs())
    yield Finding("plugins", "ok" if kinds else "failed", kinds or "none is installed", "" if kinds else "reinstall")
    for kind, error in plugins.broken.items():
        yield Finding("plugins", "warning", f"{kind}: {error.message}", "update or uninstall it; the others work")


def _connectors(path: Path) -> Iterator[Finding]:
    """On a store in memory: none of this is to be remembered."""
    from hub.cli.fleet import open_fleet

    async def check_all() -> list[tuple[str, bool, str]]:
        async with open_fleet(Place(store="sqlite::memory:", config=path)) as fleet:
            names = [each["name"] for each in await fleet.list()]
            found = [(name, await fleet.check(name)) for name in names]
        return [(name, health["ok"], health["detail"]) for name, health in found]

    try:
        checked = asyncio.run(check_all())
    except AimeError as error:
        yield Finding("connectors", "failed", error.message)
        return
    for name, ok, detail in checked:
        advice = "" if ok else "see that its address and credentials are right, and that it can be reached from here"
        yield Finding("connector", "ok" if ok else "failed", f"{name}: {detail or 'answers'}", advice)


def _endpoints(path: Path | None, store: str) -> Iterator[Finding]:
    from hub.cli.opening import open_target
    from hub.notify import CALLBACK

    async def look() -> list[Json]:
        async with open_target(Place(store=store)) as target:
            return await target.endpoints()

    try:
        found = asyncio.run(look())
    except AimeError as error:
        yield Finding("endpoints", "failed", error.message)
        return
    signs = _signs_callbacks(path)
    for each in found:
        name = each["name"]
        waiting = f"{count(each['pending'], 'delivery', 'deliveries')} pending, {each['dead']:,} dead"
        if name.partition(":")[0] == CALLBACK and not signs:
            if each["pending"]:
                advice = "set it: what was accepted before cannot be sent without"
                yield Finding("endpoint", "warning", f"{name}: {waiting}; hub.callbacks.secret is not set", advice)
        elif each["disabled"]:
            advice = f"mend the receiver, then: aime endpoints enable {name}"
            yield Finding("endpoint", "warning", f"{name} is disabled ({each['disabled']}): {waiting}", advice)
        elif each["dead"]:
            advice = f"see aime deliveries list --endpoint {name} --state dead, and aime deliveries replay ID"
            yield Finding("endpoint", "warning", f"{name}: {waiting}", advice)
        else:
            yield Finding("endpoint", "ok", f"{name}: {waiting}")


def _projection(path: Path | None, store: str) -> Iterator[Finding]:
    """Only where one is configured."""
    from hub.cli.projection import lag_of
    from hub.config import read_config

    settings = read_config(path)[0].projection if path is not None else None
    if settings is None:
        return
    try:
        version, head = asyncio.run(lag_of(Place(store=store), settings))
    except AimeError as error:
        advice = "see that it runs and that its address is right; the hub catches up by itself"
        yield Finding("projection", "warning", f"{settings.url}: {error.message}", advice)
        return
    if version is None:
        yield Finding("projection", "warning", f"{settings.url} holds no projection", "a running hub writes it")
        return
    yield Finding("projection", "ok", f"{settings.url}: {max(0, head - version):,} versions behind the log")


def _model(path: Path) -> Iterator[Finding]:
    """Asks the configured model for a word, which takes a few tokens."""
    from hub.config import read_config
    from hub.model import model_client

    settings = read_config(path)[0].model
    if settings is None:
        return

    async def ask() -> int:
        async with model_client(settings) as client:
            return sum((await client.complete("Say yes.", max_tokens=16, within=MODEL_SECONDS)).usage)

    name = f"{settings.model_id} in {settings.region}"
    try:
        tokens = asyncio.run(ask())
    except ModelAnswerInvalid as error:
        yield Finding("model", "warning", f"{name}: {error.message}", "see that it is a model for text")
    except AimeError as error:
        advice = "see that region, model and credentials are right; until then answers are quotations only"
        yield Finding("model", "failed", f"{name}: {error.message}", advice)
    else:
        yield Finding("model", "ok", f"{name} answers ({tokens} tokens)")


def _signs_callbacks(path: Path | None) -> bool:
    """Whether there is a secret for callbacks. A configuration that cannot be read is told of elsewhere."""
    from hub.config import load_config

    try:
        return path is not None and load_config(path).hub.callbacks.secret is not None
    except AimeError:
        return True


# ---------------------------------------------------------------- the store


def _store_url(store: str | None, config: Path | None) -> str:
    """The store on this machine, whatever AIME_URL says."""
    from hub.config import load_config

    path = config_path(config)
    named = store or os.environ.get("AIME_STORE")
    return named or (load_config(path).hub.store if path is not None else DEFAULT_STORE)


def _store_file(url: str) -> Path:
    from core.store.sqlite.connection import resolve

    if not url.startswith("sqlite:"):
        named = "a URL" if "@" in url else repr(url)  # it may hold a password
        raise StoreError(f"{named} is not a store; write {FORMS}")
    return Path(resolve(url)).absolute()


def _store(file: Path) -> tuple[list[Finding], StoreHealth | None]:
    from core.store.sqlite.health import examine

    if not file.exists():
        return [Finding("store", "ok", f"{file} is not there yet; the hub makes it")], None
    try:
        health = examine(str(file))
    except StoreError as error:
        return [Finding("store", "failed", error.message, "restore it from a backup; see docs/DEPLOYMENT.md")], None
    return [_soundness(file, health), _schema(health), _clock(health), *_holder(file)], health


def _shared_store(url: str) -> tuple[list[Finding], StoreHealth | None]:
    name = shown(url)
    try:
        store_of(url)  # which says when what it needs is not installed
        from core.store.postgres.health import examine

        health, ahead, release = asyncio.run(examine(url))
    except AimeError as error:
        advice = "see that the server runs, and that user, password and database are right"
        return [Finding("store", "failed", error.message, advice)], None
    found = [Finding("postgresql", "ok", release)]
    if health is None:
        found.append(Finding("store", "ok", f"{name} is empty; the hub makes it"))
    else:
        found += [Finding("store", "ok", f"{name}: {_extent(health)}"), _schema(health)]
    if abs(ahead) > CLOCK_SLACK_SECONDS:
        detail = f"the server's clock is {abs(ahead):,.0f} s {'ahead' if ahead > 0 else 'behind'}"
        advice = "set the clocks; the expiry of keys and the runs of connectors go by them"
        found.append(Finding("clock", "failed", detail, advice))
    else:
        found.append(Finding("clock", "ok", f"within {abs(ahead):,.1f} s of the server's"))
    return found, health


def _extent(health: StoreHealth) -> str:
    documents = count(health.documents, "document", "documents")
    return f"{documents}, graph version {health.graph_version:,}, {health.bytes / 1e6:,.1f} MB"


def _soundness(file: Path, health: StoreHealth) -> Finding:
    detail = f"{file}: {_extent(health)}"
    if health.problems:
        advice = "restore it from a backup; see docs/DEPLOYMENT.md"
        return Finding("store", "failed", f"{detail}; damaged: {'; '.join(health.problems)}", advice)
    return Finding("store", "ok", f"{detail}; sound")


def _schema(health: StoreHealth) -> Finding:
    detail = f"{health.schema} (this release knows {health.newest_schema})"
    if health.schema > health.newest_schema:
        return Finding("schema", "failed", detail, "install the newer release that wrote it")
    if health.schema < health.newest_schema:
        return Finding("schema", "ok", f"{detail}; the next hub, or `aime migrate`, brings it up to date")
    return Finding("schema", "ok", detail)


def _clock(health: StoreHealth) -> Finding:
    if health.last_written is not None and health.last_written > time.time() + CLOCK_SLACK_SECONDS:
        ahead = health.last_written - time.time()
        return Finding("clock", "failed", f"the store was written {ahead:,.0f} s in the future", "set the clock")
    return Finding("clock", "ok", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))


def _holder(file: Path) -> Iterator[Finding]:
    from core.store.sqlite.lock import read_holder

    holder = read_holder(file)
    if holder is None:
        yield Finding("lock", "ok", "no process has the store open")
    elif holder.url is None:
        yield Finding("lock", "ok", f"process {holder.pid} has the store open, and serves no HTTP")
    else:
        yield _readiness(holder.pid, holder.url)


def _readiness(pid: int, url: str) -> Finding:
    from hub.cli.remote import connect

    async def ask() -> None:
        async with connect(url, None) as hub:
            await hub.json("GET", "/readyz")

    try:
        asyncio.run(ask())
    except AimeError as error:
        return Finding("hub", "failed", f"process {pid} at {url}: {error.message}", "look into its log")
    return Finding("hub", "ok", f"process {pid} at {url} takes work")
