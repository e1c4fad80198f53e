"""`make demo`: the hub's main job from end to end, on this machine, in a temporary folder.

A real `aime run` process is fed Python's own help topics over HTTP and this repository's docs through the filesystem
connector; it is asked two questions; and a small receiver verifies the webhooks that it sends. Everything that is
printed happened: whatever does not come to pass in time is an error, and the exit code is then 1.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import aiohttp
from aiohttp import web
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from standardwebhooks import Webhook, WebhookVerificationError

ROOT = Path(__file__).resolve().parents[1]
WAIT_SECONDS = 60.0
POLL_SECONDS = 0.1
SECRET_VARIABLE = "DEMO_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable, which holds the secret

QUESTIONS = (
    ("What does the del statement do?", "python-help"),
    ("How are webhooks signed?", "aime-docs"),
)

console = Console(highlight=False)


class DemoError(Exception):
    """Something that the demo promises did not happen."""


# ---------------------------------------------------------------- the receiver


@dataclass
class Receiver:
    """What an outside system runs: it takes a webhook only when its signature fits, and has none of our code."""

    secret: str
    url: str = ""
    verified: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Bodies by `webhook-id`: a webhook that comes twice counts once."""
    headers: dict[str, str] = field(default_factory=dict)
    """Of the last one."""
    forged: int = 0
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            event = Webhook(self.secret).verify(body, headers)
        except WebhookVerificationError:
            self.forged += 1
            return web.Response(status=401)
        async with self.arrived:
            self.verified[headers["webhook-id"]] = event
            self.headers = headers
            self.arrived.notify_all()
        return web.Response(status=204)

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_post("/hooks/aime", self.receive)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks/aime"
            yield
        finally:
            await runner.cleanup()

    async def wait_for(self, document_ids: set[str]) -> None:
        """Until there was a verified webhook for each of these documents."""
        async with asyncio.timeout(WAIT_SECONDS), self.arrived:
            await self.arrived.wait_for(
                lambda: document_ids <= {event.get("document_id") for event in self.verified.values()}
            )


# ---------------------------------------------------------------- the hub


def configure(folder: Path, receiver: Receiver) -> Path:
    """The repository's own plugins.toml, with the receiver as one more connector."""
    text = (ROOT / "plugins.toml").read_text(encoding="utf-8")
    text += f"""
[connectors.receiver]
kind = "webhook"
notify.url = "{receiver.url}"
notify.secret = "${{{SECRET_VARIABLE}}}"
notify.events = ["document.processed"]
notify.allow_networks = ["127.0.0.0/8"]
"""
    path = folder / "plugins.toml"
    path.write_text(text, encoding="utf-8")
    # The docs connector reads the folder `docs` beside its configuration.
    (folder / "docs").symlink_to(ROOT / "docs", target_is_directory=True)
    return path


@contextlib.asynccontextmanager
async def running_hub(config: Path, secret: str) -> AsyncIterator[str]:
    """A real `aime run`; the URL at which it answers. It has to end by itself with exit code 0 when told to stop."""
    log = (config.parent / "hub.log").open("wb")
    with log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hub.cli", "run", "--json", "--config", config.name),
            *("--store", "sqlite:demo.db", "--listen", "127.0.0.1:0"),
            cwd=config.parent,
            env=os.environ | {SECRET_VARIABLE: secret},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            line = await process.stdout.readline() if process.stdout else b""
        if not line:
            raise DemoError(f"the hub did not start:\n{(config.parent / 'hub.log').read_text()}")
        yield json.loads(line)["url"]
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(WAIT_SECONDS):
            code = await process.wait()
        if code != 0:
            raise DemoError(f"the hub ended with exit code {code}:\n{(config.parent / 'hub.log').read_text()}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def post_topics(http: aiohttp.ClientSession) -> set[str]:
    """Python's help topics, in one `POST /documents/batch`; their ids."""
    lines = [
        json.dumps(
            {
                "document_id": f"python-{name}",
                "content": text,
                "metadata": {"source": "python-help", "title": name.replace("-", " "), "tags": ["python"]},
            }
        )
        for name, text in sorted(topics.items())
    ]
    headers = {"Content-Type": "application/x-ndjson"}
    async with http.post("/documents/batch", data="\n".join(lines).encode(), headers=headers) as response:
        results = [json.loads(line) async for line in response.content]
    refused = [result for result in results if result["status"] != "processed"]
    if len(results) != len(lines) or refused:
        raise DemoError(f"{len(lines)} topics were posted, {len(results)} answered, and these refused: {refused}")
    return {result["document_id"] for result in results}


async def read_docs(http: aiohttp.ClientSession) -> set[str]:
    """Wait until the filesystem connector has read the docs folder; the ids of its documents."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            [docs] = [each for each in (await _get(http, "/admin/connectors"))["connectors"] if each["name"] == "docs"]
            if docs["last_error"]:
                raise DemoError(f"the connector docs says: {docs['last_error']}")
            if docs["last_run"]:
                break
            await asyncio.sleep(POLL_SECONDS)
    found = (await _get(http, "/documents?source=aime-docs&limit=1000"))["documents"]
    if not found:
        raise DemoError("the filesystem connector ran and found no document")
    return {each["document_id"] for each in found}


async def ask(http: aiohttp.ClientSession, question: str, source: str) -> dict[str, Any]:
    """The answer to a question, of which every quotation was looked up in its document."""
    async with http.post("/query", json={"query": question, "filters": {"source": source}}) as response:
        answer: dict[str, Any] = await response.json()
    if answer["abstained"] or not answer["sources"]:
        raise DemoError(f"no answer to {question!r}: {answer['reason']}")
    for cited in answer["sources"]:
        document = await _get(http, f"/documents/{cited['document_id']}")
        if document["content"][cited["start"] : cited["end"]] != cited["quote"]:
            raise DemoError(f"a quotation does not stand in {cited['document_id']}: {cited['quote']!r}")
    return answer


async def _get(http: aiohttp.ClientSession, path: str) -> Any:
    async with http.get(path) as response:
        return await response.json()


# ---------------------------------------------------------------- the show


def show_answer(question: str, answer: dict[str, Any]) -> None:
    score = answer["validation"]["groundedness_score"]
    lines = [f"[bold]{escape(answer['answer'])}[/bold]", "", f"groundedness {score:.2f}"]
    for number, cited in enumerate(answer["sources"], 1):
        place = f"{cited['document_id']}, characters {cited['start']}-{cited['end']}, score {cited['score']:.3f}"
        quote = " ".join(cited["quote"].split())
        lines.append(f"\\[{number}] {escape(place)}\n    [italic]“{escape(quote)}”[/italic]")
    console.print(Panel("\n".join(lines), title=escape(question), title_align="left"))


def show_webhook(receiver: Receiver, count: int) -> None:
    wanted = ("webhook-id", "webhook-timestamp", "webhook-signature")
    headers = "\n".join(f"{name}: {receiver.headers[name]}" for name in wanted)
    body = json.dumps(list(receiver.verified.values())[-1])
    title = f"{count} webhooks arrived and were verified; the last one"
    console.print(Panel(escape(f"{headers}\n\n{body}"), title=title, title_align="left"))


NEXT = """\
Try next, in this folder:
  [bold].venv/bin/aime run[/bold]                     the hub on plugins.toml; then open http://127.0.0.1:8080/docs
  [bold].venv/bin/aime ingest PATH[/bold]             your own Markdown, HTML, text or NDJSON, also while it runs
  [bold].venv/bin/aime query "Your question?"[/bold]  an answer with its quotations
  [bold].venv/bin/aime --help[/bold]                  all that there is
README.md leads on from there."""


async def demo(folder: Path) -> None:
    receiver = Receiver("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())
    async with receiver.serve():
        config = configure(folder, receiver)
        console.print(f"[bold]1.[/bold] A receiver of webhooks listens at {receiver.url}")
        async with (
            running_hub(config, receiver.secret) as url,
            aiohttp.ClientSession(url, raise_for_status=True) as http,
        ):
            console.print(f"[bold]2.[/bold] The hub runs at {url}, its store in {folder}")
            document_ids = await post_topics(http)
            console.print(f"[bold]3.[/bold] Posted {len(document_ids)} help topics of Python to POST /documents/batch")
            docs = await read_docs(http)
            console.print(f"[bold]4.[/bold] The filesystem connector read {len(docs)} documents from docs/")
            console.print("[bold]5.[/bold] Two questions, to POST /query:")
            for question, source in QUESTIONS:
                show_answer(question, await ask(http, question, source))
            await receiver.wait_for(document_ids | docs)
            if receiver.forged:
                raise DemoError(f"{receiver.forged} webhooks arrived whose signature did not fit")
            console.print("[bold]6.[/bold] The outside system was told, with signatures that it verified:")
            show_webhook(receiver, len(receiver.verified))
        console.print("[bold]7.[/bold] SIGTERM: the hub finished what was on its way and ended with exit code 0")
    console.print(NEXT, soft_wrap=True)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="aime-demo-") as folder:
        try:
            asyncio.run(demo(Path(folder)))
        except (DemoError, TimeoutError, aiohttp.ClientError) as error:
            console.print(f"[red]The demo failed:[/red] {escape(str(error) or 'nothing came within the time allowed')}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
