"""The figures: one small function each, in the order of the table.

To add one, write a function `(Bench) -> Figure` and put it into FIGURES. It measures in a process of its own
(`benchmarks.process.measured`) and, where there is a peer or a limit, measures that in the same run.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks import postgres, projection, queues, serving
from benchmarks.corpus import Corpus, grow
from benchmarks.plot import draw
from benchmarks.process import measured, memory

CONNECTIONS = 64
IDLE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Figure:
    """`ratio` is `value / limit`, and must be at least `floor`; in one that is a ceiling it must not be above
    it. Without a floor nothing is promised."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    floor: float | None = None
    is_ceiling: bool = False

    @property
    def ratio(self) -> float | None:
        return None if self.limit is None else self.value / self.limit

    @property
    def is_broken(self) -> bool:
        if self.ratio is None or self.floor is None:
            return False
        return self.ratio > self.floor if self.is_ceiling else self.ratio < self.floor

    def as_json(self) -> dict[str, str | float | None]:
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "limit": self.limit,
            "ratio": self.ratio,
            "floor": self.floor,
        }


class Unmeasured(Exception):
    """What a figure is compared with is not there; the reason says how to have it."""


@dataclass(frozen=True)
class Bench:
    """One run. What several figures come from is measured once. `rounds`: how often hub and limit are measured, in
    turns, so that a busy moment of the machine meets both. `sizes` are the passages at which growth is measured, which
    is drawn into `plot`."""

    corpus: Corpus
    folder: Path
    rounds: int
    sizes: Sequence[int]
    plot: Path

    @cached_property
    def ingests(self) -> list[dict[str, float]]:
        """For each round: the hub's seconds, peak memory and longest hold, and the limit's seconds."""
        found = []
        for number in range(self.rounds):
            folder = self._folder(f"ingest-{number}")
            limit = measured("limits", "ingest", documents=self.corpus.documents, folder=folder)
            hub = measured("ingest", "hub", documents=self.corpus.documents, url=f"sqlite:{folder / 'aime.db'}")
            found.append({**hub, "limit": limit})
        return found

    @cached_property
    def store(self) -> Path:
        """The corpus, taken in."""
        assert self.ingests
        return self.folder / "ingest-0" / "aime.db"

    @cached_property
    def posts(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """For each round: what posting the corpus to the hub took, and to the bare server."""
        store = self.store
        return [
            (
                self._post(serving.hub(self._folder(f"hub-{number}") / "aime.db")),
                self._post(serving.bare(self._folder(f"bare-{number}"), store)),
            )
            for number in range(self.rounds)
        ]

    def _post(self, serving_: AbstractContextManager[serving.Server]) -> dict[str, Any]:
        with serving_ as server:
            posted: dict[str, Any] = measured(
                "posting", "post", documents=self.corpus.documents, url=server.url, concurrency=CONNECTIONS
            )
        return posted

    @cached_property
    def answers(self) -> list[float]:
        """Milliseconds of each question."""
        latencies: list[float] = measured("asking", "ask", store=self.store, questions=self.corpus.questions)
        return latencies

    @cached_property
    def starts(self) -> tuple[float, float]:
        """The median seconds of starting a hub on the store, and the MB that one holds when idle."""
        seconds = []
        with serving.hub(self.store) as server:  # the first start compiles, and is not counted
            time.sleep(IDLE_SECONDS)
            idle = memory(server.pid)
        for _ in range(self.rounds):
            with serving.hub(self.store) as server:
                seconds.append(server.seconds)
        return median(seconds), idle

    @cached_property
    def projections(self) -> list[dict[str, float]]:
        """For each round: edges a second of the projection, and of a bare loop. Raises Unmeasured."""
        address = projection.server()
        if address is None:
            raise Unmeasured("there is no Gremlin server: `make services` installs and starts it")
        host, port = address
        return [
            measured(
                "projection",
                "rates",
                documents=self.corpus.documents,
                store=self._folder(f"projection-{number}") / "aime.db",
                host=host,
                port=port,
            )
            for number in range(self.rounds)
        ]

    @cached_property
    def stores(self) -> list[tuple[float, float]]:
        """For each round: the seconds that the hub takes on PostgreSQL, and on SQLite. Raises Unmeasured."""
        found = []
        for number in range(self.rounds):
            embedded = f"sqlite:{self._folder(f'stores-{number}') / 'aime.db'}"
            with postgres.database() as shared:
                if shared is None:
                    raise Unmeasured("there is no PostgreSQL: `make services` installs and starts it")
                seconds = [
                    measured("ingest", "hub", documents=self.corpus.documents, url=url)["seconds"]
                    for url in (shared, embedded)
                ]
            found.append((seconds[0], seconds[1]))
        return found

    @cached_property
    def nodes(self) -> list[dict[int, dict[str, float]]]:
        """For each round, what emptying one queue took one node, and two, of one process each. Raises Unmeasured."""
        return [
            {count: self._consume_together(f"nodes-{number}-{count}", count) for count in (1, 2)}
            for number in range(self.rounds)
        ]

    @cached_property
    def node_of_two_processes(self) -> float:
        """Seconds that the same takes one node with a process that analyses beside it. Raises Unmeasured."""
        taken = [self._consume_together(f"node-{number}", 1, analysis_workers=1) for number in range(self.rounds)]
        return median(each["seconds"] for each in taken)

    def _consume_together(self, name: str, nodes: int, *, analysis_workers: int = 0) -> dict[str, float]:
        broker = queues.server("rabbitmq")
        if broker is None:
            raise Unmeasured("there is no RabbitMQ: `make services` installs and starts it")
        with postgres.database() as shared:
            if shared is None:
                raise Unmeasured("there is no PostgreSQL: `make services` installs and starts it")
            taken: dict[str, float] = measured(
                "nodes",
                "consume",
                documents=self.corpus.documents,
                folder=self._folder(name),
                at=broker,
                database=shared,
                nodes=nodes,
                analysis_workers=analysis_workers,
            )
        return taken

    def consumed(self, kind: str, server: str, remedy: str) -> list[tuple[float, float]]:
        """For each round: the seconds of a hub that consumes the corpus, and of a bare loop. Raises Unmeasured."""
        address = queues.server(server)
        if address is None:
            raise Unmeasured(f"there is no {remedy}: `make services` installs and starts it")
        rounds = [
            measured(
                "queues", kind, documents=self.corpus.documents, folder=self._folder(f"{kind}-{number}"), at=address
            )
            for number in range(self.rounds)
        ]
        return [(each["hub"], each["limit"]) for each in rounds]

    @cached_property
    def growth(self) -> dict[int, dict[str, Any]]:
        """For each size of the corpus: what asking it took."""
        found = {}
        for size in self.sizes:
            folder = self._folder(f"growth-{size}")
            documents, store = folder / "corpus.jsonl", folder / "aime.db"
            grow(self.corpus.documents, size, documents)
            measured("ingest", "hub", documents=documents, url=f"sqlite:{store}")
            found[size] = measured("growth", "ask", store=store, questions=self.corpus.questions)
            shutil.rmtree(folder)
        latencies = [each["latencies_ms"] for each in found.values()]
        draw(
            self.plot,
            self.sizes,
            {
                "query in process, ms": {"p50": [median(each) for each in latencies], "p99": [*map(p99, latencies)]},
                "memory that the index takes, MB": {"resident": [each["memory_mb"] for each in found.values()]},
            },
        )
        return found

    def _folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder


def ingest(bench: Bench) -> Figure:
    rate, limit = _rates(bench, [(each["seconds"], each["limit"]) for each in bench.ingests])
    return Figure("ingest, durable and askable (of SQLite and tantivy alone)", rate, "passages/s", limit, 0.12)


def ingest_memory(bench: Bench) -> Figure:
    peak = max(each["peak_mb"] for each in bench.ingests)
    return Figure("peak memory of the ingest (at most)", peak, "MB", 500, 1.0, is_ceiling=True)


def loop_held(bench: Bench) -> Figure:
    held = median(each["longest_hold_ms"] for each in bench.ingests)
    return Figure("longest hold of the event loop during the ingest (at most)", held, "ms", 50, 1.0, is_ceiling=True)


def post(bench: Bench) -> Figure:
    rate, limit = _rates(bench, [(hub["seconds"], bare["seconds"]) for hub, bare in bench.posts])
    return Figure(
        f"POST /documents, {CONNECTIONS} at once (of a bare handler, same rows)",
        rate,
        "documents/s",
        limit,
        0.4,
    )


def post_p99(bench: Bench) -> Figure:
    hub, bare = ([ms for pair in bench.posts for ms in pair[side]["latencies_ms"]] for side in (0, 1))
    return Figure(f"POST /documents, {CONNECTIONS} at once, p99 (beside the bare handler's)", p99(hub), "ms", p99(bare))


def query_p50(bench: Bench) -> Figure:
    return Figure("query in process, p50 (at most)", median(bench.answers), "ms", 5, 1.0, is_ceiling=True)


def query_p99(bench: Bench) -> Figure:
    return Figure("query in process, p99", p99(bench.answers), "ms")


def query_p50_grown(bench: Bench) -> Figure:
    return _grown_p50(bench, bench.sizes[-2], 10)


def query_p99_grown(bench: Bench) -> Figure:
    size = bench.sizes[-2]
    latency = p99(bench.growth[size]["latencies_ms"])
    return Figure(f"query in process, {size:,} passages, p99 (at most)", latency, "ms", 30, 1.0, is_ceiling=True)


def query_p50_large(bench: Bench) -> Figure:
    return _grown_p50(bench, bench.sizes[-1], 25)


def loop_held_large(bench: Bench) -> Figure:
    size = bench.sizes[-1]
    held = bench.growth[size]["longest_hold_ms"]
    name = f"longest hold of the event loop while answering, {size:,} passages (at most)"
    return Figure(name, held, "ms", 50, 1.0, is_ceiling=True)


def index_memory(bench: Bench) -> Figure:
    size = bench.sizes[-1]
    taken = bench.growth[size]["memory_mb"]
    return Figure(f"memory that the index of {size:,} takes (at most)", taken, "MB", 600, 1.0, is_ceiling=True)


def _grown_p50(bench: Bench, size: int, most: float) -> Figure:
    latency = median(bench.growth[size]["latencies_ms"])
    return Figure(f"query in process, {size:,} passages, p50 (at most)", latency, "ms", most, 1.0, is_ceiling=True)


def start(bench: Bench) -> Figure:
    return Figure("aime run, start to ready (at most)", bench.starts[0], "s", 2, 1.0, is_ceiling=True)


def idle_memory(bench: Bench) -> Figure:
    return Figure(
        f"aime run, memory after {IDLE_SECONDS:g} idle seconds (at most)",
        bench.starts[1],
        "MB",
        250,
        1.0,
        is_ceiling=True,
    )


def projected(bench: Bench) -> Figure:
    """The graph written to a Gremlin server, beside a loop that sends the same upserts from memory."""
    found = sorted(bench.projections, key=lambda each: each["hub"] / each["limit"])[bench.rounds // 2]
    return Figure("projection, edges written", found["hub"], "edges/s", found["limit"], 0.7)


def postgres_ingest(bench: Bench) -> Figure:
    rate, limit = _rates(bench, bench.stores)
    return Figure("ingest on PostgreSQL (of the same on SQLite)", rate, "passages/s", limit, 0.8)


def rabbitmq_consumed(bench: Bench) -> Figure:
    rate, limit = _rates(bench, bench.consumed("rabbitmq", "rabbitmq", "RabbitMQ"))
    return Figure("RabbitMQ, consumed, durable and acked (of a bare loop)", rate, "messages/s", limit, 0.15)


def sqs_consumed(bench: Bench) -> Figure:
    rate, limit = _rates(bench, bench.consumed("sqs", "ministack", "SQS"))
    return Figure("SQS, received, durable and deleted (of a bare loop)", rate, "messages/s", limit, 0.5)


def nodes_consume(bench: Bench) -> Figure:
    rate, limit = _rates(bench, [(each[2]["seconds"], each[1]["seconds"]) for each in bench.nodes])
    return Figure("two nodes of one process that share a queue and a database (of one)", rate, "messages/s", limit, 1.4)


def node_of_two_processes(bench: Bench) -> Figure:
    """What the same machine does with one node that has a process for analysis: the other way to use two processors."""
    two = median(each[2]["seconds"] for each in bench.nodes)
    rate, beside = (bench.corpus.size / seconds for seconds in (bench.node_of_two_processes, two))
    return Figure("one node with a process that analyses (beside those two)", rate, "messages/s", beside)


def nodes_shared(bench: Bench) -> Figure:
    shares = [100 * (1 - each[2]["nodes"] / each[2]["machine"]) for each in bench.nodes]
    return Figure("processor time of these that is not the nodes' own", median(shares), "%")


FIGURES: Sequence[Callable[[Bench], Figure]] = (
    ingest,
    ingest_memory,
    loop_held,
    post,
    post_p99,
    query_p50,
    query_p99,
    query_p50_grown,
    query_p99_grown,
    query_p50_large,
    loop_held_large,
    index_memory,
    start,
    idle_memory,
    projected,
    postgres_ingest,
    rabbitmq_consumed,
    sqs_consumed,
    nodes_consume,
    node_of_two_processes,
    nodes_shared,
)


def _rates(bench: Bench, seconds: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Documents a second of hub and limit, from the round whose ratio is the median one."""
    hub, limit = sorted(seconds, key=lambda pair: pair[1] / pair[0])[len(seconds) // 2]
    return bench.corpus.size / hub, bench.corpus.size / limit


def p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98]
