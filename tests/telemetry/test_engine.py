from __future__ import annotations

import pytest

from guardrail.telemetry.engine import EngineMetrics
from guardrail.telemetry.setup import Telemetry


@pytest.fixture
def told(metrics, engine):
    told = EngineMetrics(metrics.provider)
    told.watch(engine)
    return told


def labels(**pairs):
    return frozenset(pairs.items())


def test_how_far_an_engine_is_behind_is_read_when_it_is_asked_for(metrics, told, engine):
    def seen():
        return [
            metrics.points(f"guardrail.engine.{name}")[labels(pack="default")]
            for name in ("queue.tokens", "wait", "overloaded", "refusals")
        ]

    assert seen() == [700, 0.25, 1, 3]
    engine.runner.queued_tokens, engine.runner.wait_s, engine.runner.overloaded = 0, 0.0, False
    assert seen() == [0, 0.0, 0, 3]


def test_each_step_is_a_duration_and_a_width(metrics, told, engine):
    engine.runner.on_step(0.25, 64)
    engine.runner.on_step(0.5, 8)
    assert metrics.points("guardrail.engine.step.duration") == {labels(pack="default"): (2, 0.75)}
    assert metrics.points("guardrail.engine.step.tokens") == {labels(pack="default"): (2, 72)}


def test_engines_of_several_packs_are_told_apart(metrics, told, engine):
    other = type(engine)("secrets/1", "cpu")
    other.runner.queued_tokens = 5
    told.watch(other)
    assert metrics.points("guardrail.engine.queue.tokens") == {
        labels(pack="default"): 700,
        labels(pack="secrets"): 5,
    }


def test_where_nothing_is_exported_an_engine_is_left_alone(engine):
    Telemetry().watch(engine)
    assert engine.runner.on_step is None
