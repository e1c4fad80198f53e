"""A disk that is full, and one that cannot be written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.rig import HubProcess, config, until

DISK_BYTES = 24 * 1024 * 1024
RECOVERS_WITHIN = 30.0
REFUSED_WITHIN = 30.0


def wrapper(options: str, mount: Path) -> list[str]:
    """Runs a command where `mount` is a disk of its own, in memory; it is gone with the last process that sees it."""
    script = f'mount -t tmpfs -o {options} tmpfs "$0" && exec "$@"'
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(mount)]


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    """A folder over which a disk can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        tried = subprocess.run([*wrapper("size=4k", folder), "true"], capture_output=True, timeout=30, check=False)
    except FileNotFoundError:
        pytest.skip("there is no unshare here, so no disk can be mounted for a test")
    if tried.returncode != 0:
        pytest.skip(f"no disk can be mounted for a test here: {tried.stderr.decode(errors='replace').strip()}")
    return folder


async def test_a_full_disk_refuses_with_507_acknowledges_nothing_and_recovers_by_itself(
    mount: Path, make_hub: Callable[..., HubProcess]
) -> None:
    hub = make_hub(config(), store=mount / "aime.db", wrapper=wrapper(f"size={DISK_BYTES}", mount))
    await hub.start()
    acknowledged = await post_until_refused(hub, 200)

    ballast = hub.seen(mount / "ballast")
    fill(ballast)
    acknowledged += await post_until_refused(hub, 100_000)
    status, problem = await post(hub, "refused")
    assert (status, problem["code"]) == (507, "store_full"), problem
    assert "Traceback" not in hub.last_words

    ballast.unlink()

    async def takes_work() -> bool:
        status, _ = await post(hub, "after")
        return status == 200

    await until(takes_work, within=RECOVERS_WITHIN, what="documents are taken again once there is space")
    status, answer = await hub.call("POST", "/query", json={"query": "Who rebuilt the Hollin Bridge?"})
    assert status == 200, answer
    assert answer["answer"]
    assert await names(hub) == {*acknowledged, "after"}

    assert await hub.terminate() == 0, hub.last_words


async def post(hub: HubProcess, name: str) -> tuple[int, Any]:
    content = f"Dario Molnar rebuilt the Hollin Bridge, part {name}. " * 40
    return await hub.call("POST", "/documents", json={"document_id": name, "content": content})


async def post_until_refused(hub: HubProcess, most: int) -> list[str]:
    """The names of the documents that were acknowledged."""
    taken: list[str] = []
    for number in range(most):
        name = f"{most}-{number}"
        status, problem = await post(hub, name)
        if status != 200:
            assert status == 507, problem
            break
        taken.append(name)
    return taken


def fill(ballast: Path) -> None:
    """Take all the space that is left."""
    with ballast.open("wb", buffering=0) as file:
        for size in (64 * 1024, 4096):
            try:
                while file.write(os.urandom(size)) == size:
                    pass
            except OSError:
                continue


async def names(hub: HubProcess) -> set[str]:
    found: set[str] = set()
    cursor = ""
    while cursor is not None:
        _, page = await hub.call("GET", "/documents", params={"cursor": cursor, "limit": "1000"})
        found |= {document["document_id"] for document in page["documents"]}
        cursor = page["next"]
    return found


async def test_a_store_on_a_disk_that_cannot_be_written_is_refused_at_the_start(
    mount: Path, make_hub: Callable[..., HubProcess]
) -> None:
    hub = make_hub(config(), store=mount / "aime.db", wrapper=wrapper("ro", mount))
    await hub.launch()
    assert await hub.ended(within=REFUSED_WITHIN) == 1
    assert str(mount / "aime.db") in hub.last_words
    assert "Read-only file system" in hub.last_words
    assert "Traceback" not in hub.last_words
