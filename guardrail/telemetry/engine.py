"""What the engines of a process tell: how far behind they are, what their steps cost.

``EngineMetrics`` reads an engine when metrics are collected, and is called after each of its steps, on the
engine's thread. It sees an engine through ``WatchedEngine`` alone: numbers, no text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from guardrail.telemetry import attributes as names

# From a token on a GPU to a step that holds everybody up.
STEP_BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
STEP_BUCKETS_TOKENS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0)


class WatchedCounts(Protocol):
    """What an engine did since it started."""

    @property
    def jobs_refused(self) -> int:
        """Calls' jobs turned away."""
        ...


class WatchedRunner(Protocol):
    """The thread and the queue of an engine."""

    on_step: Callable[[float, int], None] | None

    @property
    def counts(self) -> WatchedCounts:
        """What it did so far."""
        ...

    @property
    def queued_tokens(self) -> int:
        """Tokens that wait."""
        ...

    @property
    def wait_s(self) -> float:
        """How long a newcomer would wait."""
        ...

    @property
    def overloaded(self) -> bool:
        """Whether it turns work away because of that."""
        ...


class WatchedEngine(Protocol):
    """A classifier at work."""

    @property
    def name(self) -> str:
        """Pack and version, "NAME/VERSION"."""
        ...

    @property
    def runner(self) -> WatchedRunner:
        """What computes it."""
        ...


class EngineMetrics:
    """Turns what engines tell into metrics.

    Args:
        meter_provider: where the instruments are created.
    """

    def __init__(self, meter_provider: MeterProvider) -> None:
        meter = meter_provider.get_meter(names.SCOPE_NAME, attributes=names.SCOPE_ATTRIBUTES)
        self._engines: list[WatchedEngine] = []
        self._step_duration = meter.create_histogram(
            names.ENGINE_STEP_DURATION,
            "s",
            "How long a step of the network took",
            explicit_bucket_boundaries_advisory=STEP_BUCKETS_S,
        )
        self._step_tokens = meter.create_histogram(
            names.ENGINE_STEP_TOKENS,
            "{token}",
            "Tokens that a step of the network fed",
            explicit_bucket_boundaries_advisory=STEP_BUCKETS_TOKENS,
        )
        for name, unit, text, read in (
            (
                names.ENGINE_QUEUE,
                "{token}",
                "Tokens that wait for the network",
                lambda e: e.runner.queued_tokens,
            ),
            (
                names.ENGINE_WAIT,
                "s",
                "How long new text waits, by the measured rate",
                lambda e: e.runner.wait_s,
            ),
            (
                names.ENGINE_OVERLOADED,
                "{engine}",
                "1 from the first text refused for its wait until the engine has caught up, else 0",
                lambda e: int(e.runner.overloaded),
            ),
        ):
            meter.create_observable_gauge(name, [self._each(read)], unit, text)
        meter.create_observable_counter(
            names.ENGINE_REFUSALS,
            [self._each(lambda e: e.runner.counts.jobs_refused)],
            "{job}",
            "Work turned away because the queue was full or its wait too long",
        )

    def watch(self, engine: WatchedEngine) -> None:
        """Tell of ``engine`` from now on."""
        self._engines.append(engine)
        labels = _labels(engine)

        def stepped(step_s: float, tokens: int) -> None:
            self._step_duration.record(step_s, labels)
            self._step_tokens.record(tokens, labels)

        engine.runner.on_step = stepped

    def _each(
        self, read: Callable[[WatchedEngine], float]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> list[Observation]:
            return [Observation(read(engine), _labels(engine)) for engine in self._engines]

        return observe


def _labels(engine: WatchedEngine) -> dict[str, str]:
    return {names.PACK: engine.name.partition("/")[0]}
