from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from guardrail.core.composition import Resource
from guardrail.observer import (
    EngineLost,
    EngineReached,
    FindingReported,
    InterventionApplied,
    ScoringFailed,
    SegmentScored,
    StreamEnded,
    StreamOpened,
    TextUnscanned,
)

DEFAULTS: dict[type, dict[str, Any]] = {
    StreamOpened: {
        "stream_id": "s1",
        "transport": "ext_proc",
        "dialect": "chat_completions",
        "tenant": "acme",
        "policy": "default@3",
        "mode": "enforce",
        "locale": "de-AT",
    },
    FindingReported: {
        "stream_id": "s1",
        "lane": "0/content",
        "role": "assistant",
        "category": "self_harm",
        "severity": 3,
        "score": 0.93,
        "start": 40,
        "end": 52,
    },
    InterventionApplied: {
        "stream_id": "s1",
        "lane": "0/content",
        "kind": "redirect",
        "category": "self_harm",
        "severity": 3,
        "score": 0.93,
        "at": 38,
        "text": "You do not have to carry this alone.",
        "wording": "self_harm/redirect#2",
        "resources": (Resource("at-142", "TelefonSeelsorge", "AT", "142"),),
        "rationale": "floor of self_harm at severity 3",
        "enforced": True,
        "time_held_s": 0.02,
    },
    ScoringFailed: {
        "stream_id": "s1",
        "lane": "0/content",
        "reason": "late",
        "stance": "hold",
        "chars": 11,
    },
    SegmentScored: {"stream_id": "s1", "lane": "0/content", "tokens": 5, "chars": 20, "latency_s": 0.004},
    TextUnscanned: {"stream_id": "s1", "what": "image", "chars": 7},
    EngineReached: {"scorer": "default/2026.1", "provider": "cpu", "away_s": 0.0},
    EngineLost: {"scorer": "default/2026.1", "provider": "cpu", "reason": "unavailable"},
    StreamEnded: {
        "stream_id": "s1",
        "outcome": "intervened",
        "lanes": 1,
        "arrived_chars": 100,
        "released_chars": 90,
        "withheld_chars": 10,
        "inserted_chars": 36,
        "interventions": 1,
        "unscanned": {"image": 7},
        "duration_s": 2.5,
        "exposure_chars": 0,
    },
}


@pytest.fixture
def make() -> Callable[..., Any]:
    """A record of the given type: sensible values, but for those that are named."""

    def make_record(kind: type, /, **changes: Any) -> Any:
        return kind(**(DEFAULTS[kind] | changes))

    return make_record


@pytest.fixture
def whole_stream(make) -> list[Any]:
    """One record of each type, in the order of a stream's life."""
    return [make(kind) for kind in DEFAULTS]


class Engine:
    """An engine as telemetry sees it."""

    def __init__(self, name: str = "default/2026.11.2", provider: str = "cuda") -> None:
        self.name, self.provider = name, provider
        self.runner = SimpleNamespace(
            on_step=None,
            counts=SimpleNamespace(jobs_refused=3),
            queued_tokens=700,
            wait_s=0.25,
            overloaded=True,
        )


@pytest.fixture
def engine() -> Engine:
    return Engine()


class Metrics:
    """A meter provider and what it has collected, by Prometheus-like keys."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)

    def instruments(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, name: str) -> dict[frozenset[tuple[str, Any]], Any]:
        """Labels to value, or to (count, sum) of a histogram."""
        metric = self.instruments().get(name)
        return {
            frozenset(point.attributes.items()): (
                point.value if hasattr(point, "value") else (point.count, point.sum)
            )
            for point in (metric.data.data_points if metric else ())
        }

    def total(self, name: str, **labels: Any) -> Any:
        return sum(
            value
            for attributes, value in self.points(name).items()
            if labels.items() <= dict(attributes).items()
        )


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    collected = Metrics()
    yield collected
    collected.provider.shutdown()


@pytest.fixture
def trace_spans() -> Iterator[tuple[TracerProvider, InMemorySpanExporter]]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider, exporter
    provider.shutdown()


@pytest.fixture
def clock() -> Callable[[], datetime]:
    """A day in Vienna that advances by a second at each look."""
    moments = (
        datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=timezone(timedelta(hours=1))) + timedelta(seconds=n)
        for n in range(10_000)
    )
    return lambda: next(moments)


@pytest.fixture
def log_output() -> Iterator[io.StringIO]:
    """A stream for ``configure_logging``; the process's logging is put back afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("guardrail")
    before = root.handlers[:], root.level, ours.level
    root.handlers[:] = []
    yield io.StringIO()
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level, ours.level = before
    for logger in (root, ours):
        logger.manager._clear_cache()
