"""Measured processes: each measurement runs in an interpreter of its own, so that memory and start times are its own.

A measurement is a function of a module here, called with JSON values and returning one. `measured("ingest", "hub", …)`
runs `benchmarks.ingest.hub(…)`.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import uvloop

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"
LONGEST_SECONDS = 600


def environment() -> dict[str, str]:
    """For measured processes: they find their bytecode compiled, as an installed program does."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "PYTHONPYCACHEPREFIX": str(BUILD / "bench-bytecode")}


def measured(module: str, function: str, **arguments: Any) -> Any:
    """What the function returned in a fresh process. Raises RuntimeError with what it wrote on stderr."""
    with NamedTemporaryFile(prefix="measured-", suffix=".json", dir=BUILD) as result:
        command = call(module, function, result=result.name, **arguments)
        done = subprocess.run(
            command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{module}.{function} failed:\n{done.stderr[-4000:]}")
        return json.load(result)


def call(module: str, function: str, *, result: str = os.devnull, **arguments: Any) -> list[str]:
    """The command that calls the function and writes what it returned to the file `result`."""
    return [sys.executable, "-m", "benchmarks.process", result, module, function, json.dumps(arguments, default=str)]


def memory(pid: int | str = "self", *, peak: bool = False) -> float:
    """Resident memory of a process and its children in MB (10^6 bytes), now or at its highest. From /proc: what
    `getrusage` calls the highest begins with the parent's, which a child inherits."""
    field = "VmHWM" if peak else "VmRSS"
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    own = next(int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{field}:"))
    children = [child for tasks in Path(f"/proc/{pid}/task").glob("*/children") for child in tasks.read_text().split()]
    return own * 1024 / 1e6 + sum(memory(child, peak=peak) for child in children)


def _main() -> None:
    path, module, function, arguments = sys.argv[1:]
    result = getattr(importlib.import_module(f"benchmarks.{module}"), function)(**json.loads(arguments))
    if inspect.isawaitable(result):
        # The event loop that `aime run` takes, for the hub and for what it is compared with.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            result = runner.run(_awaited(result))
    Path(path).write_text(json.dumps(result), encoding="utf-8")


async def _awaited(result: Any) -> Any:
    return await result


if __name__ == "__main__":
    _main()
