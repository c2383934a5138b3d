"""The thread: whose result goes where, and what happens when things go wrong."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from guardrail.core.verdicts import Role
from guardrail.engine import runner as runner_module
from guardrail.engine.anchoring import Pass
from guardrail.engine.batcher import BatchLimits
from guardrail.engine.cache import KeyValueCache
from guardrail.engine.causal_step import CausalJob, CausalStep
from guardrail.engine.job import Job, results
from guardrail.engine.runner import Runner
from guardrail.errors import OverloadedError, ScoringError


@pytest.fixture
def runner(toy_network, geometry):
    runner = Runner(CausalStep(toy_network, geometry), max_queued_tokens=20)
    yield runner
    toy_network.gate.set()
    runner.close()


@pytest.fixture
def make_job(geometry):
    def make(*ids, tentative=False):
        passes = [Pass(ids, scored_from=0, fresh=True)]
        return CausalJob(object(), passes, KeyValueCache(geometry), tentative=tentative)

    return make


async def run(runner, *jobs):
    """What comes of jobs of one call; of one job, that alone."""
    runner.submit(*jobs)
    found = await results(jobs)
    return found if len(jobs) > 1 else found[0]


async def entered(network):
    """Wait until the thread is inside a step."""
    assert await asyncio.to_thread(network.entered.acquire, timeout=10)


async def test_logits_come_back_and_the_cache_has_grown(runner, make_job):
    job = make_job(11, 12, 13)

    logits = await run(runner, job)

    assert logits.shape == (3, 2, 2)
    assert job.cache.length == 3
    assert runner.counts.tokens == 3
    assert runner.queued_tokens == 0


async def test_what_one_turn_of_the_loop_submits_shares_a_step(runner, make_job, toy_network):
    jobs = [make_job(11, number) for number in range(3)]
    for job in jobs:
        runner.submit(job)
    await results(jobs)

    assert toy_network.shapes == [(3, 2)]


async def test_streams_in_lockstep_stay_so(make_scorer, toy_network):
    scorer = make_scorer(toy_network)

    async def stream():
        lane = scorer.open()
        lane.begin_turn(Role.USER)
        for _ in range(12):
            assert len(await lane.extend(" the")) == 1

    await asyncio.gather(*(stream() for _ in range(5)))

    assert [rows for rows, _ in toy_network.shapes] == [5] * 12


async def test_what_waits_at_the_door_of_a_closing_engine_is_done(runner, make_job):
    job = make_job(11, 12)
    runner.submit(job)
    runner.close()  # before the loop has had a turn

    assert (await job.future).shape == (2, 2, 2)


async def test_a_loop_that_is_gone_is_not_waited_for(runner, make_job, toy_network):
    toy_network.gate.clear()

    async def submit():
        runner.submit(make_job(11))
        await asyncio.sleep(0)
        await asyncio.to_thread(toy_network.entered.acquire, timeout=10)

    await asyncio.to_thread(asyncio.run, submit())
    toy_network.gate.set()

    assert (await run(runner, make_job(12))).shape == (1, 2, 2)


async def test_what_a_loop_left_at_the_door_does_not_stay_in_the_queue(runner, make_job):
    def left_behind():
        loop = asyncio.new_event_loop()
        loop.call_soon(lambda: (runner.submit(make_job(11)), loop.stop()))
        loop.run_forever()
        loop.close()

    await asyncio.to_thread(left_behind)
    assert runner.queued_tokens == 1

    await run(runner, make_job(12))
    assert runner.queued_tokens == 0


async def test_a_tentative_job_need_not_be_remembered(runner, make_job):
    job = make_job(11, 12, tentative=True)

    await run(runner, job)

    assert job.cache.length == 0


async def test_a_full_queue_refuses_and_recovers(runner, make_job, toy_network):
    toy_network.gate.clear()
    first, second = make_job(*range(12)), make_job(*range(8))
    runner.submit(first)
    runner.submit(second)

    with pytest.raises(OverloadedError, match="20 tokens are queued, 1 more would pass 20"):
        await run(runner, make_job(1))

    toy_network.gate.set()
    await asyncio.gather(first.future, second.future)
    assert len(await run(runner, make_job(1))) == 1
    assert runner.counts.jobs_refused == 1


async def test_an_idle_engine_takes_a_job_longer_than_the_queue(runner, make_job):
    assert len(await run(runner, make_job(*range(50)))) == 50


async def test_a_failed_step_fails_its_own_work_only(runner, make_job, toy_network):
    toy_network.broken = True
    with pytest.raises(ScoringError, match="the network failed: RuntimeError: toy network is broken"):
        await run(runner, make_job(1, 2))
    toy_network.broken = False

    assert len(await run(runner, make_job(1, 2))) == 2
    assert runner.queued_tokens == 0
    assert runner.counts.failed_steps == 1


async def test_cancelled_work_is_dropped_before_its_step(runner, make_job, toy_network):
    toy_network.gate.clear()
    under_way = make_job(1)
    runner.submit(under_way)
    await entered(toy_network)
    waiting = asyncio.ensure_future(run(runner, make_job(*range(9))))  # noqa: TID251 - cancelled below
    await asyncio.sleep(0)
    assert runner.queued_tokens == 10
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    toy_network.gate.set()
    await under_way.future
    await run(runner, make_job(2))

    assert runner.counts.jobs_dropped == 1
    assert runner.counts.tokens == 2
    assert runner.queued_tokens == 0


async def test_jobs_of_one_call_are_taken_all_or_none(runner, make_job, toy_network):
    toy_network.gate.clear()
    first = make_job(*range(12))
    runner.submit(first)
    with pytest.raises(OverloadedError, match="12 tokens are queued, 10 more would pass 20"):
        await run(runner, *(make_job(number, number) for number in range(5)))
    assert runner.queued_tokens == 12

    admitted = [make_job(number, number) for number in range(5)]
    runner.submit(*admitted, admitted=True)
    toy_network.gate.set()

    assert [len(logits) for logits in await results([first, *admitted])] == [12, 2, 2, 2, 2, 2]
    assert runner.counts.jobs_refused == 5


async def test_a_call_of_several_jobs_ends_with_the_first_that_fails(runner, make_job, toy_network):
    toy_network.gate.clear()
    jobs = [make_job(*range(9)), make_job(1)]
    runner.submit(*jobs)
    await entered(toy_network)
    jobs[0].fail(ScoringError("told to fail"))
    with pytest.raises(ScoringError, match="told to fail"):
        await results(jobs)
    toy_network.gate.set()

    assert all(job.cancelled for job in jobs)
    await run(runner, make_job(2))
    assert runner.queued_tokens == 0


async def test_an_abandoned_job_ends_at_once_for_who_waits(runner, make_job, toy_network):
    toy_network.gate.clear()
    job = make_job(1)
    runner.submit(job)
    job.abandon("the lane was closed")

    with pytest.raises(ScoringError, match="the lane was closed"):
        await job.future


async def test_closing_finishes_what_is_queued_and_refuses_the_rest(runner, make_job, toy_network):
    toy_network.gate.clear()
    jobs = [make_job(1), make_job(2), make_job(*range(10))]
    for job in jobs:
        runner.submit(job)
    closing = threading.Thread(target=runner.close)
    closing.start()
    toy_network.gate.set()

    assert [len(logits) for logits in await asyncio.gather(*(job.future for job in jobs))] == [1, 1, 10]
    await asyncio.to_thread(closing.join)
    with pytest.raises(ScoringError, match="closed"):
        await run(runner, make_job(1))
    runner.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_nobody_waits_for_a_thread_that_died_of_a_bug(runner, make_job, monkeypatch):
    monkeypatch.setattr(runner._batcher, "pop_batch", None)

    with pytest.raises(ScoringError, match="ended unexpectedly"):
        await run(runner, make_job(1))
    with pytest.raises(ScoringError, match="closed"):
        await run(runner, make_job(1))


async def test_many_lanes_share_steps(runner, make_job, toy_network):
    toy_network.gate.clear()
    runner.submit(make_job(0))
    await entered(toy_network)
    jobs = [make_job(number) for number in range(1, 9)]
    for job in jobs:
        runner.submit(job)
    toy_network.gate.set()
    results = await asyncio.gather(*(job.future for job in jobs))

    assert toy_network.shapes == [(1, 1), (8, 1)]
    for number, logits in enumerate(results, start=1):
        assert logits[0, 0, 0] == (number + 7) * 3 % 101
    assert runner.counts.steps == len(runner.recent_step_s) == 2
    assert runner.counts.padded_tokens == 9


def test_several_event_loops_are_served(runner, make_job):
    results = {}

    def one_loop(name):
        async def score():
            return [float((await run(runner, make_job(name + step)))[0, 0, 0]) for step in range(20)]

        results[name] = asyncio.run(score())

    threads = [threading.Thread(target=one_loop, args=(name,)) for name in (10, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for name in (10, 50):
        assert results[name] == [(name + step + 7) * 3 % 101 for step in range(20)]


def test_a_closed_loop_harms_nobody_else(runner, make_job, toy_network):
    toy_network.gate.clear()

    async def leave():
        runner.submit(make_job(1))

    asyncio.run(leave())
    toy_network.gate.set()

    async def stay():
        return await run(runner, make_job(2))

    assert np.isfinite(asyncio.run(stay())).all()


# -- too slow -----------------------------------------------------------------------------------------------


class Paced:
    """A network that feeds 100 tokens a second of a clock of its own, once the gate is open."""

    def __init__(self):
        self.now = 0.0
        self.gate = threading.Event()
        self.order: list[object] = []

    def monotonic(self):
        return self.now

    def compute(self, slices):
        self.gate.wait(timeout=30)
        for each in slices:
            self.now += each.tokens / 100
            self.order.append(each.work.lane)
            each.work.tokens_left -= each.tokens
        return [each.work.tokens_left == 0 for each in slices]


class PacedJob(Job[int]):
    @property
    def tokens_ready(self):
        return self.tokens_left

    @property
    def tokens_wanted(self):
        return self.tokens_left

    def result(self):
        return 1


@pytest.fixture
async def paced(monkeypatch):
    """A runner whose rate was measured, whose thread stands in a step, and that refuses from 1 s on."""
    step = Paced()
    monkeypatch.setattr(runner_module, "time", step)
    limits = BatchLimits(max_batch_tokens=16, live_tokens=4, slice_tokens=8)
    runner = Runner(step, limits=limits, max_queued_tokens=1600, max_wait_s=1.0)
    runner.paced = step
    step.gate.set()
    await run(runner, PacedJob("warm", 16))
    step.gate.clear()
    yield runner
    step.gate.set()
    runner.close()


async def test_work_is_refused_while_the_wait_is_too_long_and_taken_again(paced, caplog):
    jobs = [PacedJob(lane, 8) for lane in range(7)]
    for job in jobs:
        paced.submit(job)
    assert paced.wait_s == pytest.approx(0.56)
    for _ in range(3):
        with pytest.raises(OverloadedError, match=r"what is queued takes 0\.56 s, which is too long"):
            paced.submit(PacedJob("more", 1))
    assert paced.overloaded

    paced.paced.gate.set()
    await results(jobs)
    assert await run(paced, PacedJob("more", 1)) == 1
    assert paced.counts.jobs_refused == 3
    assert paced.overloaded  # a short while ago it was

    paced.paced.now += 60
    assert not paced.overloaded
    assert await run(paced, PacedJob("later", 1)) == 1
    assert [record.getMessage().split(":")[0].split(",")[0] for record in caplog.records] == [
        "the engine is overloaded",
        "the engine has caught up",
    ]


async def test_who_waited_longest_comes_in_first_and_who_begins_last(paced):
    waiting = [PacedJob(lane, 8) for lane in range(4)]
    for job in waiting:
        paced.submit(job)
    with pytest.raises(OverloadedError):  # 0.32 s is too long for a new conversation
        paced.submit(PacedJob("prompt", 1), begins=True)
    paced.submit(runs := PacedJob("runs", 24))
    paced.submit(first := PacedJob("first", 8))
    with pytest.raises(OverloadedError):  # and 0.56 s for text that comes for the first time
        paced.submit(PacedJob("second", 8))
    paced.submit(waited := PacedJob("waited", 8), waited_s=1.0)
    paced.paced.gate.set()
    await results([*waiting, runs, first, waited])


async def test_one_lanes_flood_neither_closes_the_door_nor_goes_first(paced):
    flood = PacedJob("flood", 1500)
    paced.submit(flood)
    assert (paced.queued_tokens, paced.wait_s) == (1500, pytest.approx(0.16))
    others = [PacedJob(lane, tokens) for lane, tokens in enumerate((8, 3, 100))]
    for job in others:
        paced.submit(job)
    paced.paced.gate.set()
    await results(others)
    first = paced.paced.order[: paced.paced.order.index(0) + 1]
    assert first.count("flood") <= 3  # the step under way, and its turn
    await results([flood])


async def test_each_step_is_told(paced):
    told = []
    paced.on_step = lambda step_s, tokens: told.append((round(step_s, 3), tokens))
    paced.paced.gate.set()
    await run(paced, PacedJob("a", 20))
    assert told == [(0.08, 8), (0.08, 8), (0.04, 4)]
