"""Servers to be measured from outside, each a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import ROOT, call, environment
from core.store.sqlite.lock import read_holder

START_SECONDS = 60.0
POLL_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Server:
    """`seconds`: from the start of the process until it took work."""

    url: str
    pid: int
    seconds: float


@contextmanager
def hub(store: Path) -> Iterator[Server]:
    """`aime run` on this store with no connector configured."""
    config = store.with_name("plugins.toml")
    config.write_text("", encoding="utf-8")
    command = [_aime(), "run", "--config", str(config), "--store", f"sqlite:{store}", "--listen", "127.0.0.1:0"]

    def address(pid: int) -> str | None:
        holder = read_holder(store)
        return holder.url if holder is not None and holder.pid == pid else None

    with _served(command, store.with_suffix(".log"), address, _is_ready) as server:
        yield server


@contextmanager
def node(folder: Path, config: str, database: str, port: int) -> Iterator[Server]:
    """`aime run` on a database that others may share."""
    folder.mkdir()
    path = folder / "plugins.toml"
    path.write_text(config, encoding="utf-8")
    listen = f"127.0.0.1:{port}"
    command = [_aime(), "run", "--config", str(path), "--store", database, "--listen", listen]
    with _served(command, folder / "hub.log", lambda _: f"http://{listen}", _is_ready) as server:
        yield server


@contextmanager
def bare(folder: Path, store: Path) -> Iterator[Server]:
    """`bare.serve`, the server that only commits; `store` holds what it is to commit."""
    command = call("bare", "serve", folder=folder, store=store)
    url = folder / "url"
    with _served(command, folder / "bare.log", lambda _: url.read_text() if url.exists() else None, bool) as server:
        yield server


@contextmanager
def _served(
    command: list[str], log: Path, address: Callable[[int], str | None], ready: Callable[[str], bool]
) -> Iterator[Server]:
    with log.open("wb") as output:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            while not ((url := address(process.pid)) and ready(url)):
                if process.poll() is not None or time.perf_counter() - begun > START_SECONDS:
                    raise RuntimeError(f"{' '.join(command)} did not start:\n{log.read_text()[-4000:]}")
                time.sleep(POLL_SECONDS)
            yield Server(url, process.pid, time.perf_counter() - begun)
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return False
        raise
    except OSError:
        return False


def _aime() -> str:
    """The command as it is installed beside this interpreter."""
    return str(Path(sys.executable).with_name("aime"))
