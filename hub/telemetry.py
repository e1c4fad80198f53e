"""What the hub says of itself: structured logs that hold no secret, and metrics in a registry of their own."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TextIO

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from hub.model import ModelFigures

REDACTED = "[redacted]"
LOOP_TICK = 0.1
"""Seconds between two looks at the event loop."""
LOOP_WINDOW = 60.0
"""Seconds that the longest delay is remembered."""

_SECRET_NAMES = re.compile(r"(?i)authorization|api[-_]?key|passw|secret|token$|cookie|credential|webhook-signature")
_SECRET_TEXT = (
    (re.compile(r"\b(aime_[0-9a-f]{12}_)[\w-]+"), rf"\1{REDACTED}"),
    (re.compile(r"\b(whsec_|whsk_)[\w+/=-]+"), rf"\1{REDACTED}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.+/=~-]{8,}"), rf"\1 {REDACTED}"),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/?#@]+@"), rf"\1{REDACTED}@"),
)


# ---------------------------------------------------------------- logs


def redact_text(text: str) -> str:
    """The text without API keys, webhook secrets, authorization values and the userinfo of URLs."""
    for pattern, replacement in _SECRET_TEXT:
        text = pattern.sub(replacement, text)
    return text


def redact(value: object, depth: int = 0) -> object:
    """The value with every secret taken out: by the name it goes under, or by its own looks."""
    if depth > 8:
        return "…"
    match value:
        case str():
            return redact_text(value)
        case bytes():
            return redact_text(value.decode(errors="replace"))
        case dict():
            return {
                key: REDACTED
                if isinstance(key, str) and _SECRET_NAMES.search(key) and item
                else redact(item, depth + 1)
                for key, item in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [redact(item, depth + 1) for item in value]
        case None | bool() | int() | float():
            return value
        case _:
            return redact_text(str(value))


def _is_secret(name: object, value: object) -> bool:
    return isinstance(name, str) and bool(value) and _SECRET_NAMES.search(name) is not None


def redact_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The structlog processor: the last before rendering, so that tracebacks are covered too."""
    for key, value in event.items():
        # structlog's own bookkeeping; it is taken out before rendering.
        if key not in {"_record", "_from_structlog"}:
            event[key] = REDACTED if _is_secret(key, value) else redact(value)
    return event


def configure_logging(
    level: str = "info", *, style: Literal["json", "console"] | None = None, stream: TextIO | None = None
) -> None:
    """Send every log line, structlog's and the standard library's, through one redacting handler to `stream` (stderr):
    JSON, or readable text on a terminal."""
    stream = stream if stream is not None else sys.stderr
    style = style or ("console" if stream.isatty() else "json")
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if style == "json" else structlog.dev.ConsoleRenderer()
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact_event, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


# ---------------------------------------------------------------- metrics


class Metrics:
    """The hub's metrics. Counters and histograms are moved as things happen, gauges when they are read."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "aime_http_requests", "HTTP requests answered.", ["method", "route", "status"], registry=registry
        )
        self.latency = Histogram(
            "aime_http_request_seconds",
            "Seconds from a request's head to its answer; streams and long polls count whole.",
            ["route"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=registry,
        )
        self.in_flight = Gauge("aime_http_requests_in_flight", "HTTP requests being answered.", registry=registry)
        self.refused = Counter(
            "aime_http_refused",
            "Requests refused for want of a key, a scope or a trusted origin.",
            ["reason"],
            registry=registry,
        )
        self.body_bytes = Gauge(
            "aime_http_body_bytes", "Bytes of request bodies held in memory, decompressed.", registry=registry
        )
        self.graph_version = Gauge(
            "aime_graph_version", "The graph version: the log's last position.", registry=registry
        )
        self.index_lag = Gauge(
            "aime_index_lag_versions", "Versions that the search index is behind the log.", registry=registry
        )
        self.projection_lag = Gauge(
            "aime_projection_lag_versions",
            "Versions that the projection on the graph server is behind the log.",
            registry=registry,
        )
        self.projection_failing = Gauge(
            "aime_projection_failing", "1 while the graph server of the projection refuses or fails.", registry=registry
        )
        self.extraction_lag = Gauge(
            "aime_extraction_lag_versions",
            "Versions whose texts the language model has not read yet.",
            registry=registry,
        )
        self.extraction_failing = Gauge(
            "aime_extraction_failing", "1 while extraction waits for the language model.", registry=registry
        )
        self.queue = Gauge(
            "aime_queue_documents", "Documents waiting for the writer to commit them.", registry=registry
        )
        self.deliveries = Gauge(
            "aime_deliveries",
            "Deliveries of notifications by endpoint and state.",
            ["endpoint", "state"],
            registry=registry,
        )
        self.connectors = Gauge(
            "aime_connector_state",
            "1 for the state that a connector instance is in.",
            ["connector", "state"],
            registry=registry,
        )
        self.loop_lag = Gauge(
            "aime_event_loop_lag_max_seconds",
            "The longest that the event loop was held up within the last minute.",
            registry=registry,
        )
        self.attempts = Attempts()
        registry.register(self.attempts)
        self.model = ModelCounters()
        registry.register(self.model)
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)


class Attempts(Collector):
    """Attempts of deliveries, counted by whoever sends them and asked for here. `counts` gives (endpoint, outcome,
    number); whoever has the numbers sets it."""

    def __init__(self) -> None:
        self.counts: Callable[[], Iterable[tuple[str, str, int]]] = tuple

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "aime_delivery_attempts",
            "Attempts to deliver a notification, by endpoint and outcome.",
            labels=["endpoint", "outcome"],
        )
        for endpoint, outcome, number in self.counts():
            family.add_metric([endpoint, outcome], number)
        yield family


class ModelCounters(Collector):
    """What the language model did. `figures` gives the numbers, or None where there is no model; whoever has them sets
    it."""

    PLAIN: ClassVar[dict[str, str]] = {
        "requests": "Requests that the language model answered.",
        "cost": "What the language model cost, at the configured prices.",
        "throttles": "Answers of the language model's service that asked for a pause.",
        "failures": "Requests to the language model that were given up.",
    }

    def __init__(self) -> None:
        self.figures: Callable[[], ModelFigures | None] = lambda: None

    def collect(self) -> Iterable[Metric]:
        figures = self.figures()
        for name, meaning in self.PLAIN.items():
            value = None if figures is None else getattr(figures, name)
            yield CounterMetricFamily(f"aime_model_{name}", meaning, value=value)
        tokens = CounterMetricFamily("aime_model_tokens", "Tokens of the language model.", labels=["direction"])
        answers = CounterMetricFamily(
            "aime_model_answers", "Questions to the language model by outcome.", labels=["outcome"]
        )
        texts = CounterMetricFamily("aime_model_texts", "Texts that the model read, by outcome.", labels=["outcome"])
        if figures is not None:
            tokens.add_metric(["in"], figures.input_tokens)
            tokens.add_metric(["out"], figures.output_tokens)
            for family, outcomes in ((answers, figures.answers), (texts, figures.texts)):
                for outcome, number in outcomes.items():
                    family.add_metric([outcome], number)
        yield tokens
        yield answers
        yield texts


class LoopWatchdog:
    """Measures how late the event loop wakes a sleeper; `worst` is the longest delay within the window, in seconds."""

    def __init__(self, metrics: Metrics, *, tick: float = LOOP_TICK, window: float = LOOP_WINDOW) -> None:
        self._metrics = metrics
        self._tick = tick
        # The longest delay of each whole second, so a minute is sixty numbers.
        self._delays: deque[tuple[int, float]] = deque(maxlen=max(1, round(window)))
        self._window = window

    @property
    def worst(self) -> float:
        horizon = time.monotonic() - self._window
        return max((delay for second, delay in self._delays if second >= horizon), default=0.0)

    def note(self, delay: float) -> None:
        second = int(time.monotonic())
        if self._delays and self._delays[-1][0] == second:
            self._delays[-1] = (second, max(delay, self._delays[-1][1]))
        else:
            self._delays.append((second, delay))
        self._metrics.loop_lag.set(self.worst)

    async def run(self) -> None:
        """Watch until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._tick
            await asyncio.sleep(self._tick)
            self.note(max(0.0, loop.time() - due))
