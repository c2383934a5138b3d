"""What becomes of the streams when twice as many come as the engine can carry? Once under each stance.

Capacity is measured first: streams whose text comes as fast as it is taken, so that steps are as wide as they
get. Then the engine is held to ``HELD_TO`` of it, so that its capacity stays what it is while other things run on
the machine, and streams paced alike come in three waves: a quarter of what it carries then (``before``), ``LOAD``
times as many as it carries (``during``) and a quarter again (``after``). Driver, core, policy and engine are the
real ones, in one process without a network; the text is harmless, so every intervention is the overload's doing.

Delays are from the arrival of a character to its release, by stream and chunk. Compare ``during`` with
``before``, ``after`` with ``before``, and the stances with each other. ``scored / arrived`` says how
much of the answers was scored, in time or late; by the load alone it could be ``1 / LOAD`` and what the queue holds
when the wave is over.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.answer import Answer
from guardrail import observer as records
from guardrail.app.wiring import load_checked_policy
from guardrail.core.conversation import Turn
from guardrail.core.verdicts import Role
from guardrail.engine.batcher import Slice
from guardrail.engine.family import NetworkScorer
from guardrail.engine.loading import load_scorer
from guardrail.engine.runner import Runner, Step
from guardrail.interventions.composer import load_composer
from guardrail.observer import SilentObserver
from guardrail.policy.rules import Policy, StanceName, Timing
from guardrail.transports.driver import USER_LANE, StreamDriver
from guardrail.transports.outputs import Released, StreamClosed, StreamOpening
from guardrail.transports.services import Services
from guardrail.transports.tasks import spawn

LOAD = 2.0
"""Streams asked for, as a multiple of what the engine carries."""
HELD_TO = 0.4
"""The share of its capacity that the engine is held to."""
STANCES: Sequence[StanceName] = ("pass", "hold", "redirect")
TIMING = Timing(open_word_deadline_ms=0, scoring_deadline_ms=3000, abandon_ms=15_000)
"""The default policy's deadlines; nothing is scored twice."""
_WORDS_PER_CHUNK = 5
_CHUNKS_PER_S = 8.0
_OVERLOAD_S = 20.0
_CALM_S = 4.0
_CAPACITY_STREAMS, _CAPACITY_CHUNKS = 32, 48
_SENTENCE = "The river walks slowly past the old mill and the children count the boats on their way home. "
_WORDS = (_SENTENCE * 10).split()
_PROMPT = (Turn(Role.USER, "Please describe an afternoon at the river. " * 3),)


class Held:
    """A runner's step that takes as long as on a machine that feeds ``tokens_per_s``, or longer.

    Args:
        step: what computes it.
        tokens_per_s: the rate it is held to.
    """

    def __init__(self, step: Step[Any], tokens_per_s: float) -> None:
        self._step = step
        self._tokens_per_s = tokens_per_s
        self._never = threading.Event()

    def compute(self, slices: Sequence[Slice[Any]]) -> Sequence[bool]:
        """Compute it; return when it is due."""
        due = time.monotonic() + sum(each.tokens for each in slices) / self._tokens_per_s
        finished = self._step.compute(slices)
        self._never.wait(max(0.0, due - time.monotonic()))
        return finished


def hold(scorer: NetworkScorer[Any], tokens_per_s: float) -> None:
    """Hold an engine to a rate from now on."""
    runner = scorer.runner
    runner._step = Held(runner._step, tokens_per_s)  # noqa: SLF001 - nobody else has a use for it


@dataclass(slots=True)
class _Wave:
    """Streams alike, side by side, and what they came to."""

    chunks: int
    pace_s: float
    closed: list[StreamClosed] = field(default_factory=list)
    delays_s: list[float] = field(default_factory=list)


class _Ledger:
    """Counts what the streams report."""

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()
        self.scoring_s: list[float] = []
        self.scored = 0

    def record(self, record: records.Record) -> None:
        match record:
            case records.ScoringFailed():
                self.failures[f"{record.reason}/{record.stance}"] += 1
            case records.SegmentScored() if record.lane != USER_LANE:
                self.scoring_s.append(record.latency_s)
                self.scored += record.chars
            case _:
                pass


async def measure(*, full: bool) -> Answer:
    """Outcomes and delays before, during and after the overload, a stance each."""
    policy, (pack,) = load_checked_policy(None)
    scorer = load_scorer(pack, "cpu", intra_op_threads=1, max_wait_s=TIMING.engine_wait_s)
    assert isinstance(scorer, NetworkScorer)
    services = Services(scorer, policy, load_composer(), SilentObserver(), time.monotonic)
    try:
        words_per_s, tokens_per_s = await _capacity(services, scorer.runner)
        hold(scorer, HELD_TO * tokens_per_s)
        carried = max(2, round(HELD_TO * words_per_s / (_WORDS_PER_CHUNK * _CHUNKS_PER_S)))
        stances = {}
        for stance in STANCES:
            strict = replace(services, policy=under(policy, stance))
            stances[stance] = await _stance(strict, carried)
    finally:
        await asyncio.to_thread(scorer.close)
    return Answer(
        (),
        {
            "capacity_words_per_s": round(words_per_s),
            "held_to": HELD_TO,
            "streams_carried": carried,
            "stances": stances,
        },
    )


def under(policy: Policy, stance: StanceName) -> Policy:
    """``policy`` with one stance for everything."""
    return replace(policy, on_overload=stance, timing=TIMING)


async def _capacity(services: Services, runner: Runner[Any]) -> tuple[float, float]:
    """Words and tokens a second that the engine scores for streams that wait for it."""
    patient = replace(
        services,
        policy=replace(services.policy, timing=Timing(scoring_deadline_ms=300_000, abandon_ms=300_000)),
    )
    await _wave(patient, 4, 4, 0.0)  # warm
    began, before = time.perf_counter(), runner.counts.tokens
    await _wave(patient, _CAPACITY_STREAMS, _CAPACITY_CHUNKS, 0.0)
    took_s = time.perf_counter() - began
    words = _CAPACITY_STREAMS * _CAPACITY_CHUNKS * _WORDS_PER_CHUNK
    return words / took_s, (runner.counts.tokens - before) / took_s


async def _stance(services: Services, carried: int) -> dict[str, Any]:
    few, many = max(1, carried // 4), round(carried * LOAD)
    report = {}
    for phase, streams, lasts_s in (
        ("before", few, _CALM_S),
        ("during", many, _OVERLOAD_S),
        ("after", few, _CALM_S),
    ):
        ledger = _Ledger()
        wave = await _wave(
            replace(services, observer=ledger), streams, round(lasts_s * _CHUNKS_PER_S), 1 / _CHUNKS_PER_S
        )
        report[phase] = {"streams": streams, **_account(wave, ledger)}
    return report


def _account(wave: _Wave, ledger: _Ledger) -> dict[str, Any]:
    unscanned: Counter[str] = Counter()
    for closed in wave.closed:
        unscanned.update(closed.unscanned)
    arrived = sum(closed.arrived for closed in wave.closed)
    return {
        "outcomes": dict(Counter(closed.outcome for closed in wave.closed)),
        "chars": {
            "arrived": arrived,
            "released": sum(closed.released for closed in wave.closed),
            "withheld": sum(closed.withheld for closed in wave.closed),
            "inserted": sum(closed.inserted for closed in wave.closed),
            "unscanned": dict(unscanned),
        },
        "scored / arrived": round(ledger.scored / arrived, 3),
        "scoring_failures": dict(ledger.failures),
        "release_delay_ms": _percentiles(wave.delays_s),
        "scoring_ms": _percentiles(ledger.scoring_s),
    }


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds) or [0.0]
    return {
        f"p{share:g}": round(ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))] * 1000, 1)
        for share in (50, 90, 99, 100)
    }


async def _wave(services: Services, streams: int, chunks: int, pace_s: float) -> _Wave:
    """Streams side by side, each from its opening to its end."""
    wave = _Wave(chunks, pace_s)
    async with asyncio.TaskGroup() as group:
        for number in range(streams):
            # Spread over one pace, as streams of different people are.
            group.create_task(_stream(services, f"s-{number}", pace_s * number / streams, wave))
    return wave


async def _stream(services: Services, name: str, wait_s: float, wave: _Wave) -> None:
    await asyncio.sleep(wait_s)
    driver = StreamDriver(StreamOpening(name, "bench", "bench", _PROMPT), services)
    await driver.start()
    arrivals: list[tuple[int, float]] = []  # end of each chunk, and when it came
    reading = spawn(_read(driver, arrivals, wave), name=f"reading {name}")
    due = time.perf_counter()
    end = 0
    for number in range(wave.chunks):
        first = number * _WORDS_PER_CHUNK
        text = "".join(" " + _WORDS[i % len(_WORDS)] for i in range(first, first + _WORDS_PER_CHUNK))
        end += len(text)
        arrivals.append((end, time.perf_counter()))
        await driver.chunk("choice/0", text)
        if reading.done():
            break  # the stream has ended: a real upstream would have been stopped
        due += wave.pace_s
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
    await driver.end()
    await reading


async def _read(driver: StreamDriver, arrivals: Sequence[tuple[int, float]], wave: _Wave) -> None:
    waiting = 0
    async for output in driver.outputs():
        if isinstance(output, Released):
            while waiting < len(arrivals) and arrivals[waiting][0] <= output.end:
                wave.delays_s.append(time.perf_counter() - arrivals[waiting][1])
                waiting += 1
        elif isinstance(output, StreamClosed):
            wave.closed.append(output)
