"""The projection when the hub is killed, the graph server loses all that it holds, or is no graph server at all."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from tests.faults.rig import AIME, HubProcess, environment, until
from tests.gremlin_rig import OwnServer, babble, hang, hostile, refuse

NAMES = ("Ulm", "Bath", "Cork", "Ada Lovelace", "Grace Hopper", "River Danube")


def config(port: int, timeout: float = 30) -> str:
    return f'[hub]\n[projection]\nurl = "ws://127.0.0.1:{port}/gremlin"\ntimeout_seconds = {timeout}\n'


async def post(hub: HubProcess, number: int, chosen: random.Random) -> None:
    content = " ".join(f"{chosen.choice(NAMES)} wrote to {chosen.choice(NAMES)}." for _ in range(20))
    status, _ = await hub.call("POST", "/documents", json={"document_id": f"doc-{number}", "content": content})
    assert status == 200


async def aime(hub: HubProcess, *arguments: str) -> tuple[int, str]:
    """Exit code and output of a command on the hub's store."""
    process = await asyncio.create_subprocess_exec(
        AIME, *arguments, "--config", str(hub.config),
        env={**environment(), "AIME_STORE": f"sqlite:{hub.store}"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def metric(session: aiohttp.ClientSession, hub: HubProcess, name: str) -> float:
    async with session.get(f"{hub.url}/metrics") as response:
        lines = (await response.text()).splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))


@pytest.mark.timeout(300)
async def test_kills_of_the_hub_and_a_restart_of_the_server_leave_both_sides_equal(
    make_hub: Callable[..., HubProcess], tmp_path: Path
) -> None:
    server = OwnServer(tmp_path)
    chosen = random.Random(7)
    async with aiohttp.ClientSession() as session:
        try:
            await server.start()
            hub = make_hub(config(server.port))
            for kill in range(4):
                await hub.start()
                for number in range(15):
                    await post(hub, chosen.randrange(40), chosen)
                    if number == 7 and kill == 2:
                        await server.kill()
                        await server.start()
                await hub.kill()
            await hub.start()
            await post(hub, 1, chosen)

            async def caught_up() -> bool:
                return await metric(session, hub, "aime_projection_lag_versions") == 0

            await until(caught_up, within=120, what="the projection catches up")
            assert await hub.terminate() == 0
            code, output = await aime(hub, "projection", "verify", "--json")
            assert code == 0, output
            report = json.loads(output)
            assert report["equal"]
            assert report["counts"]["document"]["server"] > 20
            assert report["graph_version"] >= report["counts"]["document"]["store"]
        finally:
            await server.kill()


@pytest.mark.parametrize("answer", [hang, refuse, babble])
async def test_a_server_that_hangs_or_babbles_grows_the_lag_and_stops_nothing(
    make_hub: Callable[..., HubProcess], answer: Callable[[asyncio.StreamWriter], Awaitable[None]]
) -> None:
    chosen = random.Random(8)
    async with aiohttp.ClientSession() as session, hostile(answer) as port:
        hub = make_hub(config(port, timeout=0.3))
        await hub.start()
        for number in range(20):
            await post(hub, number, chosen)

        async def failing() -> bool:
            return await metric(session, hub, "aime_projection_failing") == 1

        await until(failing, within=30, what="the failing projection shows")
        assert await metric(session, hub, "aime_projection_lag_versions") == 20
        status, answered = await hub.call("POST", "/query", json={"query": "Who wrote to Ulm?"})
        assert status == 200
        assert answered["graph_version"] == 20
        code, output = await aime(hub, "projection", "status")
        assert code == 1
        assert f"127.0.0.1:{port}" in output
        assert "Traceback" not in output
        _, looked = await aime(hub, "doctor")
        assert f"ws://127.0.0.1:{port}/gremlin" in looked
        assert await hub.terminate() == 0


async def test_a_rebuild_that_an_admin_asks_for_is_done_by_the_running_hub(
    make_hub: Callable[..., HubProcess], tmp_path: Path
) -> None:
    server = OwnServer(tmp_path)
    try:
        await server.start()
        hub = make_hub(config(server.port))
        await hub.start()
        await post(hub, 1, random.Random(9))

        async def level() -> bool:
            code, output = await aime(hub, "projection", "status", "--json")
            return code == 0 and json.loads(output) == {"graph_version": 1, "head": 1, "lag": 0}

        await until(level, within=60, what="the projection is there")
        code, output = await aime(hub, "projection", "rebuild")
        assert code == 0, output
        await until(level, within=60, what="the projection is there again")
    finally:
        await server.kill()
