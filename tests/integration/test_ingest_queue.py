"""`aime ingest --to`: files into a queue, from where a fleet of hubs takes them."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from hub.sdk import hooks
from tests.faults.rig import AIME, environment
from tests.integration.hub.rig import running, stored, until
from tests.rabbitmq_rig import table as rabbitmq_table
from tests.rabbitmq_rig import wires
from tests.sqs_rig import sqs
from tests.sqs_rig import table as sqs_table

KINDS = [EntryPoint(kind, f"connectors.{kind}.connector", hooks.ENTRY_POINT_GROUP) for kind in ("rabbitmq", "sqs")]


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def ingest(folder: Path, to: str, *options: str) -> Done:
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    process = await asyncio.create_subprocess_exec(
        AIME,
        "ingest",
        *("--to", to),
        *options,
        cwd=folder,
        env={**environment(), **keys},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert b"Traceback" not in err
    return Done(process.returncode or 0, out.decode(), err.decode())


def corpus(folder: Path) -> list[str]:
    lines = [{"document_id": f"d{number}", "content": f"Owls number {number}."} for number in range(200)]
    lines.append({"document_id": "d7", "content": "The newer version."})
    text = [*map(json.dumps, lines), "no json", json.dumps({"content": "no id"})]
    (folder / "corpus.jsonl").write_text("\n".join(text))
    (folder / "notes.md").write_text("# Notes\n\nOf owls.\n")
    return ["corpus.jsonl", "notes.md"]


async def test_documents_go_through_rabbitmq_into_two_hubs_that_share_the_queue(tmp_path: Path) -> None:
    async with wires() as broker:
        queue = await broker.queue()
        done = await ingest(tmp_path, f"amqp://guest:guest@{broker.at}?queue={queue}", "--json", *corpus(tmp_path))
        assert done.code == 1, "two lines are no documents"
        assert {name: done.json[name] for name in ("documents", "published", "rejected")} == {
            "documents": 204,
            "published": 202,
            "rejected": 2,
        }
        assert "corpus.jsonl:202: is not JSON" in done.err
        assert "corpus.jsonl:203: document_id: is required" in done.err
        assert await broker.waiting(queue) == 202
        config = rabbitmq_table("in", broker.at, consume__queue=queue)
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
        async with (
            running(tmp_path / "one", config=config, others=KINDS) as one,
            running(tmp_path / "two", config=config, others=KINDS) as two,
        ):
            counts = [hub.instances["in"].status.documents for hub in (one, two)]
            await until(lambda: sum(each.processed for each in counts) == 202)
            names = {*await stored(one.service), *await stored(two.service)}
        assert names == {*(f"d{number}" for number in range(200)), "notes.md"}
        await broker.delete(queue)


async def test_documents_go_through_sqs_in_order(tmp_path: Path) -> None:
    async with sqs() as service:
        url = await service.queue(fifo=True)
        to = url.replace("http://", "sqs+http://") + "?region=eu-central-1"
        big = json.dumps({"document_id": "big", "content": "owl " * 300_000})
        (tmp_path / "big.jsonl").write_text(big)
        done = await ingest(tmp_path, to, "--json", *corpus(tmp_path), "big.jsonl")
        assert done.code == 1
        assert (done.json["published"], done.json["rejected"]) == (202, 3)
        assert "big.jsonl:1: document big: is 1,200," in done.err
        assert "SQS takes messages of at most 1,048,576" in done.err
        config = sqs_table("in", service.at, consume__queue_url=url)
        async with running(tmp_path, config=config, others=KINDS) as hub:
            await until(lambda: hub.instances["in"].status.documents.processed == 202)
            assert (await hub.service.document("d7")).text == "The newer version."


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_whoever_stops_it_is_told_how_far_it_came(tmp_path: Path, number: signal.Signals, code: int) -> None:
    lines = [json.dumps({"document_id": f"d{number}", "content": "Owls. " * 100}) for number in range(60_000)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    async with wires() as broker:
        queue = await broker.queue()
        process = await asyncio.create_subprocess_exec(
            *(AIME, "ingest", "--to", f"amqp://guest:guest@{broker.at}?queue={queue}", "corpus.jsonl"),
            cwd=tmp_path,
            env=environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            while await broker.waiting(queue) < 200:  # noqa: ASYNC110  the broker tells nobody that it has more
                await asyncio.sleep(0.01)
        process.send_signal(number)
        out, err = await process.communicate()
        assert (process.returncode, out) == (code, b"")
        told = re.search(r"stopped: ([\d,]+) documents are published, and perhaps some of the next 64", err.decode())
        assert told, err
        published = int(told[1].replace(",", ""))
        assert published <= await broker.waiting(queue) <= published + 64
        await broker.delete(queue)


async def test_what_cannot_be_fed_is_told_in_one_sentence(tmp_path: Path) -> None:
    files = corpus(tmp_path)
    async with wires() as broker:
        told = {
            f"amqp://{broker.at}?queue=test-no-such-queue": (1, "no queue takes it"),
            f"amqp://guest:wrong-one@{broker.at}?queue=x": (1, "ACCESS_REFUSED"),
            f"amqp://{broker.at}/no-such-vhost?queue=x": (1, "the broker does not open the vhost"),
            f"amqp://{broker.at}": (2, "must say ?queue=NAME"),
            "amqp://guest:wrong-one@[::1?queue=x": (2, "is no URL of a queue"),
            "kafka://broker/topic": (2, "'kafka' is no scheme of a queue; there are amqp, amqps, sqs"),
            "sqs://nowhere": (2, "must be sqs://sqs.REGION.amazonaws.com/ACCOUNT/QUEUE"),
        }
        for to, (code, words) in told.items():
            done = await ingest(tmp_path, to, *files)
            assert (done.code, done.out) == (code, "")
            assert words in done.err
            assert "wrong-one" not in done.err


async def test_a_success_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("# Notes\n\nOf owls.\n")
    async with wires() as broker:
        queue = await broker.queue()
        done = await ingest(tmp_path, f"amqp://{broker.at}?exchange=&routing_key={queue}", "notes.md")
        assert done.code == 0, done.err
        assert done.out.startswith("1 document in ")
        assert done.out.endswith("1 published, 0 rejected.\n")
        message = json.loads((await broker.take(queue)).body)
        assert (message["document_id"], message["metadata"]["title"]) == ("notes.md", "Notes")
        await broker.delete(queue)
