"""Scoring by an engine behind a connection: the same scores, in shared steps, and what happens when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.verdicts import Role
from guardrail.engine.causal import CausalScorer
from guardrail.engine.identity import PackIdentity, identity
from guardrail.engine.pack import load_pack
from guardrail.errors import ConfigError, GuardrailError, OverloadedError, ScoringError
from guardrail.observer import EngineLost, EngineReached
from guardrail.testing.scorers import KeywordScorer
from guardrail.transports.context import extend
from guardrail.transports.engine_remote import Backoff
from guardrail.transports.engine_service import EngineLimits
from guardrail.transports.tasks import spawn
from tests.engine.conftest import ToyNetwork, write_toy_pack
from tests.engine.lanes import entered, score
from tests.transports.engine_stage import PACK, Ledger, attached, remote, serving

WORDS = {"doom": {"violence": 0.5}}
CONVERSATION = [
    (Role.SYSTEM, ["be kind"]),
    (Role.USER, ["how do rivers run", " and why"]),
    (Role.ASSISTANT, ["they", " run", " down", " to the", " sea", " and rest"]),
]


@pytest.fixture
def address():
    # Short: a Unix socket's path may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="engine-") as directory:
        yield f"unix:{Path(directory) / 'engine.sock'}"


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return load_pack(write_toy_pack(tmp_path_factory.mktemp("packs") / "toy"))


@pytest.fixture
def toy(pack):
    """A causal scorer over a network that can be held up, and that network."""
    network = ToyNetwork()
    scorer = CausalScorer(pack, network)
    yield scorer, network
    network.gate.set()
    scorer.close()


async def eventually(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


def started(call):
    return spawn(call, name="a call", awaited=True)


def opened(scorer, role=Role.USER):
    lane = scorer.open()
    lane.begin_turn(role)
    return lane


# -- scores ----------------------------------------------------------------------------------------------


async def test_scores_are_those_of_the_same_scorer_in_this_process(toy, address):
    """Bit for bit: the calibrated scores are float32 on both sides."""
    scorer, _ = toy
    async with serving(scorer, address), attached(address) as client:
        assert (client.name, tuple(client.categories)) == (scorer.name, tuple(scorer.categories))
        assert await score(client, *CONVERSATION) == await score(scorer, *CONVERSATION)


async def test_tentative_unscored_and_forked_calls_are_as_in_this_process(toy, address):
    scorer, _ = toy
    async with serving(scorer, address), attached(address) as client:
        found = []
        for each in (scorer, client):
            lane = opened(each)
            first = [await lane.extend("how do", tentative=True), await lane.extend("how do rivers run")]
            first.append(await lane.extend(" and why", scored=False))
            copies = [lane.fork(), lane.fork()]
            lane.close()
            for number, copy in enumerate(copies):
                copy.begin_turn(Role.ASSISTANT)
                first.append(await copy.extend(f"they run {number}"))
                copy.close()
            found.append([list(tokens) for tokens in first])
        assert found[0] == found[1]
        assert found[0][2] == []


async def test_lanes_of_two_clients_share_the_steps_of_the_network(toy, address):
    """What waited while a step ran goes into the next one together, whichever client it came from."""
    scorer, network = toy
    async with serving(scorer, address), attached(address) as one, attached(address) as two:
        await opened(one).extend("word")
        await entered(network)
        each = scorer.runner.counts.tokens
        lanes = [opened(client) for client in (one, two) for _ in range(7)]
        network.gate.clear()
        calls = [started(lanes[0].extend("word"))]
        await entered(network)  # the first step of these is under way and waits
        calls += [started(lane.extend("word")) for lane in lanes[1:]]
        await eventually(lambda: scorer.runner.queued_tokens == each * len(lanes))
        network.gate.set()
        await asyncio.gather(*calls)
        assert max(rows for rows, _ in network.shapes) == len(lanes) - 1
        assert scorer.runner.counts.steps == 3


async def test_many_lanes_share_a_message(address):
    async with serving(KeywordScorer(WORDS), address) as servicer, attached(address) as client:
        lanes = [opened(client) for _ in range(64)]
        await asyncio.gather(*(lane.extend("doom") for lane in lanes))
        counts, sent = servicer.counts, client.session.counts
        assert sent.operations == counts.operations == 3 * 64
        assert sent.requests == counts.requests <= 2
        assert counts.results == 64
        assert counts.responses < 8


async def test_a_text_longer_than_a_message_of_scores_comes_whole(address):
    text = "doom " * 40_000
    async with serving(KeywordScorer(WORDS), address) as servicer, attached(address) as client:
        tokens = await opened(client).extend(text)
        assert len(tokens) == 40_000
        assert tokens[-1].span.end == len(text) - 1
        assert servicer.counts.responses > 1


async def test_text_no_encoding_has_a_name_for_is_scored(address):
    async with serving(KeywordScorer(WORDS), address), attached(address) as client:
        tokens = await opened(client).extend("\ud800 doom 𠀀")
        assert [(token.span.start, token.span.end) for token in tokens][-1] == (7, 8)


# -- the contract of a lane ------------------------------------------------------------------------------


async def test_a_call_that_is_cancelled_frees_its_work_and_leaves_the_lane_as_it_was(toy, address):
    """Invariant 10, across the connection."""
    scorer, network = toy
    async with serving(scorer, address) as servicer, attached(address) as client:
        held, lane = opened(client), opened(client)
        network.gate.clear()
        first = started(held.extend("hold"))
        await entered(network)
        call = started(lane.extend("gone"))
        await eventually(lambda: servicer.counts.operations == 6)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        again = started(lane.extend("here"))
        await eventually(lambda: servicer.counts.operations == 8)
        network.gate.set()
        await first
        alone = opened(scorer)
        assert list(await again) == list(await alone.extend("here"))
        assert scorer.runner.counts.jobs_dropped == 1


async def test_closing_ends_what_is_under_way_and_frees_it_there(toy, address):
    scorer, network = toy
    async with serving(scorer, address) as servicer, attached(address) as client:
        held, lane = opened(client), opened(client)
        network.gate.clear()
        first = started(held.extend("hold"))
        await entered(network)
        call = started(lane.extend("gone"))
        await eventually(lambda: servicer.counts.operations == 6)
        lane.close()
        lane.close()
        with pytest.raises(ScoringError, match="closed"):
            await call
        with pytest.raises(ScoringError, match="closed"):
            await lane.extend("more")
        await eventually(lambda: servicer.counts.operations == 7)
        network.gate.set()
        await first
        await eventually(lambda: scorer.runner.counts.jobs_dropped == 1)


@pytest.mark.parametrize("tentative", [False, True])
async def test_whoever_cancels_and_closes_in_one_breath_harms_nobody_else(address, tentative):
    """As the driver does when a client leaves: the cancelled call notices after the lane is closed."""
    scorer = KeywordScorer(WORDS, delay_s=lambda: 30.0)
    async with serving(scorer, address) as servicer, attached(address) as client:
        lane, other = opened(client), opened(client)
        call = started(lane.extend("doom", tentative=tentative))
        await eventually(lambda: servicer.counts.operations == 5)
        call.cancel()
        lane.close()
        with pytest.raises(asyncio.CancelledError):
            await call
        scorer.delay_s = None
        assert len(await other.extend("doom")) == 1
        assert servicer.counts.clients == 1
        await eventually(lambda: scorer.open_lanes == 1)


async def test_calls_that_would_be_a_guess_are_refused_as_in_this_process(toy, address):
    scorer, network = toy
    async with serving(scorer, address), attached(address) as client:
        with pytest.raises(RuntimeError, match="before begin_turn"):
            await client.open().extend("whose")
        lane = opened(client)
        network.gate.clear()
        call = started(lane.extend("hold"))
        await entered(network)
        for guess in (lane.fork, lambda: lane.begin_turn(Role.USER)):
            with pytest.raises(RuntimeError, match="under way"):
                guess()
        network.gate.set()
        await call


async def test_too_many_lanes_and_calls_are_overload(address):  # invariant 10
    limits = EngineLimits(max_lanes=2, max_calls=1)
    scorer = KeywordScorer(WORDS, delay_s=lambda: 30.0)
    async with serving(scorer, address, limits=limits), attached(address) as client:
        lanes = [opened(client) for _ in range(3)]
        with pytest.raises(OverloadedError, match="2 lanes"):
            await lanes[2].extend("one")
        call = started(lanes[0].extend("one"))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match="1 calls"):
            await lanes[1].extend("one")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        lanes[0].close()
        scorer.delay_s = None
        # The engine may still be busy with giving the other call up; who asks again is served.
        assert len(await extend(opened(client), "one", patience_s=30)) == 1


@pytest.mark.parametrize("seed", range(4))
async def test_a_storm_of_calls_cancellations_and_departures_leaves_right_scores_and_nothing_else(
    toy, address, seed
):
    """Invariants 10 and 11: whoever stays gets the scores it would get alone, and whoever leaves is forgotten."""
    scorer, _ = toy
    lots = random.Random(seed)
    async with serving(scorer, address) as servicer, attached(address) as client:
        histories = await asyncio.gather(*(stormy(client, random.Random(lots.random())) for _ in range(40)))
        assert servicer.counts.clients == 1
        assert client.session.counts.requests < client.session.counts.operations / 2
        await eventually(lambda: scorer.runner.queued_tokens == 0)
        # The connection is the same one, and every place on it is free again.
        assert len(await opened(client).extend("calm")) > 0
    for history in histories:
        lane = opened(scorer)
        for text, tentative, found in history:
            assert list(await lane.extend(text, tentative=tentative)) == found
        lane.close()


async def stormy(client, lots):
    """What one lane was asked and answered, its cancelled calls left out."""
    lane, history = opened(client), []
    for number in range(12):
        text = f" word{lots.randrange(9)} of {number}"
        tentative = lots.random() < 0.3
        call = started(lane.extend(text, tentative=tentative))
        for _ in range(lots.randrange(4)):
            await asyncio.sleep(0)
        chance = lots.random()
        if chance < 0.1:  # leaves, as the driver does
            call.cancel()
            break
        if chance < 0.3:
            call.cancel()
        elif chance < 0.5 and call.done() is False:
            await asyncio.wait([call], timeout=lots.random() / 100)
            call.cancel()
        try:
            history.append((text, tentative, list(await call)))
        except asyncio.CancelledError:
            continue
        except ScoringError:  # the cancellation before came too late to be undone: the lane says so
            break
        if lots.random() < 0.2:
            copy = lane.fork()
            lane.close()
            lane = copy
    lane.close()
    return history


# -- losing it -------------------------------------------------------------------------------------------


async def test_an_engine_that_is_lost_fails_its_lanes_and_serves_new_ones_when_it_is_back(address):
    ledger = Ledger()
    first = contextlib.AsyncExitStack()
    slow = KeywordScorer(WORDS, delay_s=lambda: 30.0)
    servicer = await first.enter_async_context(serving(slow, address))
    async with attached(address, observer=ledger) as client:
        changes = []
        client.on_change = lambda: changes.append(client.session is not None)
        under_way, idle = opened(client), opened(client)
        call = started(under_way.extend("doom"))
        await eventually(lambda: servicer.counts.operations == 5)
        await first.aclose()
        with pytest.raises(ScoringError):
            await call
        await eventually(lambda: client.session is None)
        meanwhile = opened(client)
        for lane in (under_way, idle, idle.fork(), meanwhile, meanwhile.fork()):
            with pytest.raises(ScoringError):
                await lane.extend("doom")
        async with serving(KeywordScorer(WORDS), address):
            await eventually(lambda: client.session is not None)
            assert len(await opened(client).extend("doom")) == 1
            # Its state was there: to go on would be to judge without what went before.
            with pytest.raises(ScoringError):
                await idle.extend("doom")
            for lane in (under_way, idle, meanwhile):
                lane.close()
        assert changes[:2] == [False, True]
    reached, lost, back, *_ = ledger.records
    assert reached == EngineReached("keyword/1", "cpu")
    assert isinstance(lost, EngineLost)
    assert lost.reason in {"unavailable", "cancelled"}
    assert isinstance(back, EngineReached)
    assert back.away_s > 0


async def test_a_client_that_leaves_frees_its_lanes_and_work_on_the_engine(toy, address):
    """Invariant 10: also what waits in the queue."""
    scorer, network = toy
    async with serving(scorer, address) as servicer, attached(address) as stays:
        held = opened(stays)
        network.gate.clear()
        first = started(held.extend("hold"))
        await entered(network)
        async with attached(address) as leaves:
            lost = [started(opened(leaves).extend("gone")) for _ in range(4)]
            await eventually(lambda: servicer.counts.operations == 3 + 3 * 4)
        for call in lost:
            with pytest.raises(ScoringError, match="stopping"):
                await call
        await eventually(lambda: servicer.counts.clients == 1)
        network.gate.set()
        await first
        await eventually(lambda: scorer.runner.queued_tokens == 0)
        assert scorer.runner.counts.jobs_dropped == 4


async def test_an_engine_with_another_pack_stops_the_start(address):  # invariant 9
    other = PackIdentity("toy", "2", "f" * 64)
    async with serving(KeywordScorer(WORDS), address, other):
        with pytest.raises(ConfigError) as caught:
            await remote(address).start(10)
    message = str(caught.value)
    assert address in message
    assert "runs toy 2 (ffffffffffff)" in message
    assert "checked against toy 1 (000000000000)" in message


async def test_an_engine_that_comes_back_with_another_pack_is_not_used(address, caplog):
    first = contextlib.AsyncExitStack()
    await first.enter_async_context(serving(KeywordScorer(WORDS), address))
    async with attached(address) as client:
        await first.aclose()
        await eventually(lambda: client.session is None)
        async with serving(KeywordScorer(WORDS), address, PackIdentity("toy", "2", "f" * 64)) as other:
            await eventually(lambda: "cannot be used" in caplog.text)
            with pytest.raises(ScoringError):
                await opened(client).extend("doom")
            assert "runs toy 2" in caplog.text
            assert other.counts.operations == 0
        assert caplog.text.count("was lost") == 1  # said once, however many attempts there were
        async with serving(KeywordScorer(WORDS), address):
            await eventually(lambda: client.session is not None)
            assert len(await opened(client).extend("doom")) == 1


async def test_several_packs_are_compared_as_a_whole(address):
    second = PackIdentity("lexical", "1", "a" * 64)
    async with serving(KeywordScorer(WORDS), address, PACK, second):
        client = remote(address, packs=(second, PACK))
        await client.start(10)
        await client.stop()
        with pytest.raises(ConfigError, match="lexical"):
            await remote(address).start(10)


async def test_nobody_there_stops_the_start_after_a_while(address):  # invariant 9
    with pytest.raises(GuardrailError, match="no engine answered at unix:") as caught:
        await remote(address).start(0.2)
    assert not isinstance(caught.value, ConfigError)


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=40))
def test_delays_grow_to_their_bound_and_are_spread(lots):
    backoff = Backoff(first_s=0.1, most_s=5.0)
    drawn = iter(lots)
    for attempt, delay in zip(range(len(lots)), backoff.delays(lambda: next(drawn)), strict=False):
        whole = min(5.0, 0.1 * 2**attempt)
        assert whole / 2 <= delay <= whole


def test_a_pack_is_known_by_its_manifest(pack, tmp_path):
    same = load_pack(write_toy_pack(tmp_path / "toy"))
    assert identity(same).checksum == identity(pack).checksum
    changed = load_pack(write_toy_pack(tmp_path / "other" / "toy", languages=["de"]))
    assert (identity(changed).name, identity(changed).version) == (
        identity(pack).name,
        identity(pack).version,
    )
    assert identity(changed).checksum != identity(pack).checksum
