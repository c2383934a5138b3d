"""Lanes over a small real network, its windows compared with ONNX Runtime's own answers."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers, processors

from guardrail.core.segments import word_ends
from guardrail.core.spans import Span
from guardrail.core.verdicts import Role
from guardrail.engine.batcher import BatchLimits
from guardrail.engine.loading import load_scorer
from guardrail.engine.pack import load_pack
from guardrail.engine.window import QUEUED_WINDOWS, WAITING_WINDOWS, WindowScorer, window_limits
from guardrail.engine.window_session import WindowSession
from guardrail.errors import OverloadedError, PackError, ScoringError
from tests.engine.lanes import entered, score
from tests.engine.window_packs import byte_level_tokenizer, toy_tokenizer, unigram_tokenizer, window_tokenizer

# Floats summed in another order.
TOLERANCE = 1e-5
# More tokens than a window has, several times over.
LONG = "the cat sat, abc.  The sitting cat!\n" * 12
PROMPT = "is the cat fine? say so"


class GatedNetwork:
    """The real network behind a gate; ``batches`` are the rows of every step."""

    def __init__(self, pack):
        self._session = WindowSession(pack, provider="cpu", intra_op_threads=1)
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.broken = False
        self.batches = []

    def run(self, windows):
        self.entered.release()
        assert self.gate.wait(10)
        if self.broken:
            raise RuntimeError("toy network is broken")
        self.batches.append(windows)
        return self._session.run(windows)


@pytest.fixture
def network(window_pack):
    return GatedNetwork(window_pack)


@pytest.fixture
def make_scorer(window_pack, network):
    made = []

    def make(**options):
        made.append(WindowScorer(window_pack, network, **options))
        return made[-1]

    yield make
    network.gate.set()
    for scorer in made:
        scorer.close()


@pytest.fixture(scope="module")
def shared(window_pack):
    scorer = load_scorer(window_pack, "cpu", intra_op_threads=1)
    yield scorer
    scorer.close()


def spans(scores):
    return [(token.span.start, token.span.end) for token in scores]


def assert_close(got, expected):
    assert spans(got) == spans(expected)
    for one, other in zip(got, expected, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=TOLERANCE)


def cut(text, ends):
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


# -- what a score is ---------------------------------------------------------------------------------------


async def test_every_token_comes_back_scored_with_its_span(shared):
    lane = shared.open()
    lane.begin_turn(Role.ASSISTANT)
    first = await lane.extend("The  cat")
    second = await lane.extend(" sat!")

    assert [token.span for token in [*first, *second]] == [Span(0, 3), Span(5, 8), Span(9, 12), Span(12, 13)]
    assert all(set(token.scores) == {"hate_harassment", "violence"} for token in [*first, *second])


async def test_scores_are_what_the_network_says_of_that_window(shared, window_pack):
    """Parity with ONNX Runtime run by hand on ids written by hand."""
    got = await score(shared, (Role.USER, ["you fool!"]), (Role.ASSISTANT, ["the doom sat"]))
    tokenizer = toy_tokenizer()
    tokenizer.add_tokens(["doom", "fool"])
    *context, the, doom, sat = (
        tokenizer.token_to_id(token) for token in ("y", "##o", "##u", "fool", "!", "the", "doom", "sat")
    )
    own = ort.InferenceSession(str(window_pack.model_path), providers=["CPUExecutionProvider"])
    for token, window in zip(got, ([the], [the, doom], [the, doom, sat]), strict=True):
        ids = np.array([[2, *context, 3, *window, 3]], np.int64)
        types = np.array([[0] * 7 + [1] * (len(window) + 1)], np.int64)
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": types}
        ((_, insult, threat),) = own.run(["logits"], feeds)[0]
        assert token.scores == pytest.approx(
            {
                "hate_harassment": 1 / (1 + np.exp(-insult)),
                "violence": 1 / (1 + np.exp(-max(insult, threat))),
            },
            abs=TOLERANCE,
        )
    assert got[0].scores["hate_harassment"] > 0.9


async def test_calibration_and_activation_are_the_manifests(write_window_pack, tmp_path, window_pack, shared):
    lines = {
        role: {"hate_harassment": {"scale": 2.0, "offset": 1.0}, "violence": {"scale": 0.0, "offset": 0.0}}
        for role in ("user", "assistant")
    }
    scorer = load_scorer(write_window_pack(tmp_path / "toy", calibration=lines), "cpu", intra_op_threads=1)
    (plain,), (got,) = [await score(each, (Role.USER, ["fool"])) for each in (shared, scorer)]
    scorer.close()

    odds = np.log(plain.scores["hate_harassment"] / (1 - plain.scores["hate_harassment"]))
    expected = 1 / (1 + np.exp(-2 * odds - 1))
    assert got.scores == pytest.approx({"hate_harassment": expected, "violence": 0.5}, abs=1e-4)


async def test_a_word_weighs_until_its_window_is_over(shared):
    scores = await score(shared, (Role.ASSISTANT, ["doom " + "cat " * 40]))
    risky = [token.scores["violence"] > 0.5 for token in scores]

    assert risky[0]
    # 24 tokens less [CLS] and [SEP]: the word leaves with the first stride that is given up.
    assert risky == [True] * 22 + [False] * 19


async def test_a_users_turn_is_judged_by_sentence(shared):
    scores = await score(shared, (Role.USER, ["the fool! the cat\nsat."]))
    values = [token.scores["violence"] for token in scores]

    assert len(values) == 7
    assert len(set(values[:3])) == len(set(values[3:5])) == len(set(values[5:])) == 1
    assert len(set(values)) == 3


async def test_white_space_moves_positions_and_gives_nothing(shared):
    lane = shared.open()
    lane.begin_turn(Role.ASSISTANT)

    assert list(await lane.extend("")) == []
    assert list(await lane.extend(" \n")) == []
    assert list(await lane.extend("\u200b")) == []  # the toy's normalizer drops it: no tokens
    assert spans(await lane.extend("cat")) == [(3, 6)]


async def test_a_role_that_is_not_judged_gives_nothing(shared):
    lane = shared.open()
    lane.begin_turn(Role.SYSTEM)

    assert list(await lane.extend("the doom")) == []
    assert list(await lane.extend(" sat", tentative=True)) == []


async def test_context_is_read_and_not_computed(make_scorer, network):
    lane = make_scorer().open()
    lane.begin_turn(Role.ASSISTANT)
    assert list(await lane.extend("the doom", scored=False)) == []
    assert list(await lane.extend(" sat", scored=False, tentative=True)) == []
    assert network.batches == []

    assert_close(
        await lane.extend(" cat"), (await score(make_scorer(), (Role.ASSISTANT, ["the doom cat"])))[2:]
    )


async def test_words_need_a_speaker(shared):
    with pytest.raises(RuntimeError, match="before begin_turn"):
        await shared.open().extend("the cat")


# -- the turn before ---------------------------------------------------------------------------------------


async def test_the_last_user_turn_is_context_and_the_others_are_not(shared):
    answer = (Role.ASSISTANT, ["the cat"])
    alone = await score(shared, answer)
    asked = await score(shared, (Role.USER, ["fool"]), answer)

    assert asked != alone
    assert asked == await score(
        shared,
        (Role.USER, ["doom"]),
        (Role.ASSISTANT, ["sat"]),
        (Role.USER, ["fool"]),
        (Role.SYSTEM, ["x"]),
        answer,
    )
    assert alone == await score(shared, (Role.USER, ["fool"]), (Role.USER, []), answer)
    assert alone == await score(shared, (Role.SYSTEM, ["fool"]), (Role.ASSISTANT, ["fool"]), answer)


async def test_only_the_end_of_a_long_user_turn_is_context(shared):
    answer = (Role.ASSISTANT, [LONG])
    short = await score(shared, (Role.USER, ["a b c d e f"]), answer)

    assert await score(shared, (Role.USER, ["fool doom a b", " c d e f"]), answer) == short
    assert await score(shared, (Role.USER, ["a b c d e g"]), answer) != short


async def test_each_role_has_its_own_length_of_context(write_window_pack, tmp_path):
    roles = {
        "user": {"judged_at": "words", "context": "user_turn", "context_tokens": 1},
        "assistant": {"judged_at": "words", "context": "user_turn", "context_tokens": 6},
        "system": {"judged_at": "never"},
    }
    scorer = load_scorer(write_window_pack(tmp_path / "toy", roles=roles), "cpu", intra_op_threads=1)
    for role, expected in ((Role.USER, [False, True]), (Role.ASSISTANT, [True, True])):
        got = [await score(scorer, (Role.USER, [said]), (role, ["cat"])) for said in ("fool sat", "sat fool")]
        assert [token.scores["hate_harassment"] > 0.9 for (token,) in got] == expected
    scorer.close()


async def test_context_does_not_need_a_judged_user(write_window_pack, tmp_path):
    roles = {
        "user": {"judged_at": "never"},
        "assistant": {"judged_at": "words", "context": "user_turn", "context_tokens": 6},
        "system": {"judged_at": "never"},
    }
    scorer = load_scorer(write_window_pack(tmp_path / "toy", roles=roles), "cpu", intra_op_threads=1)
    asked = await score(scorer, (Role.USER, ["you ", "fool"]), (Role.ASSISTANT, ["cat"]))
    alone = await score(scorer, (Role.ASSISTANT, ["cat"]))
    scorer.close()

    assert asked[0].scores["hate_harassment"] > 0.9 > alone[0].scores["hate_harassment"]


# -- cuts and company --------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.data())
def test_scores_do_not_depend_on_the_cuts(shared, data):  # invariant 3
    text = data.draw(
        st.sampled_from([LONG, "漢字漢字 the cat。" * 9, "x" * 300 + " doom\u200b\n\n" + "日本" * 90])
    )
    ends = sorted(data.draw(st.sets(st.sampled_from(word_ends(text)), max_size=40)))

    async def both():
        return [
            await score(shared, (Role.USER, [PROMPT]), (Role.ASSISTANT, pieces))
            for pieces in (cut(text, ends), [text])
        ]

    pieces, whole = asyncio.run(both())
    assert_close(pieces, whole)


@pytest.mark.parametrize("kind", [byte_level_tokenizer, unigram_tokenizer])
async def test_other_tokenizers_are_cut_anywhere_too(kind, write_window_pack, tmp_path):
    graph, inputs = {"types": False}, ["input_ids", "attention_mask"]
    directory = write_window_pack(tmp_path / "toy", kind(), graph, inputs=inputs)
    scorer = load_scorer(directory, "cpu", intra_op_threads=1)
    text = "the cat isn't  naïve,\n\n漢字日本 😀 it's </s> a <mask> mat https://example.org/" + "漢" * 30
    whole = await score(scorer, (Role.ASSISTANT, [text]))
    pieces = await score(scorer, (Role.ASSISTANT, cut(text, word_ends(text))))
    scorer.close()

    assert_close(pieces, whole)
    covered = {place for start, end in spans(whole) for place in range(start, end)}
    assert covered == {place for place, char in enumerate(text) if not char.isspace()}
    assert len(spans(whole)) == len(set(spans(whole)))


async def test_scores_do_not_depend_on_the_neighbours(make_scorer):
    """invariant 11: alone is the same as in a batch, within 1e-5."""
    texts = [LONG[start : start + 50 + 40 * start] for start in range(0, 18, 2)]
    alone = make_scorer()
    expected = [await score(alone, (Role.ASSISTANT, text.split(","))) for text in texts]
    together = make_scorer()
    got = await asyncio.gather(*(score(together, (Role.ASSISTANT, text.split(","))) for text in texts))

    for one, other in zip(got, expected, strict=True):
        assert_close(one, other)
    assert together.runner.counts.steps < alone.runner.counts.steps


async def test_words_of_many_streams_share_a_step(make_scorer, network):
    scorer = make_scorer()
    network.gate.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(score(scorer, (Role.ASSISTANT, ["cat"])))
        await entered(network)
        for text in ("the", "the cat", "sat"):
            group.create_task(score(scorer, (Role.ASSISTANT, [text])))
        await asyncio.sleep(0)
        network.gate.set()

    assert [len(windows) for windows in network.batches] == [1, 4]


@pytest.mark.parametrize("before", [0, 3, 21, 22, 23, 60])
@pytest.mark.parametrize("tentatively", ["cat", "cat sat " * 9])
async def test_a_tentative_call_leaves_no_trace(before, tentatively, shared):
    text = "a " * before
    lane = shared.open()
    lane.begin_turn(Role.ASSISTANT)
    await lane.extend(text)
    first = await lane.extend(tentatively, tentative=True)
    again = await lane.extend(tentatively, tentative=True)
    after = await lane.extend("abc " + tentatively)

    assert_close(first, again)
    assert_close(first, (await score(shared, (Role.ASSISTANT, [text + tentatively])))[before:])
    assert_close(after, (await score(shared, (Role.ASSISTANT, [text + "abc " + tentatively])))[before:])


@pytest.mark.parametrize("before", [0, 3, 40])
async def test_a_fork_is_like_a_conversation_of_its_own(before, shared):
    prompt, begun = "a " * before, "the "
    lane = shared.open()
    lane.begin_turn(Role.USER)
    await lane.extend(prompt)
    lane.begin_turn(Role.ASSISTANT)
    await lane.extend(begun)
    forks = [lane.fork() for _ in range(3)]
    answers = ["the cat sat.", "doom", LONG]
    got = await asyncio.gather(*(fork.extend(answer) for fork, answer in zip(forks, answers, strict=True)))
    got.append(await lane.extend("sat"))
    lane.close()

    for answer, scores in zip([*answers, "sat"], got, strict=True):
        whole = await score(shared, (Role.USER, [prompt]), (Role.ASSISTANT, [begun + answer]))
        assert_close(scores, whole[1:])
    assert await forks[0].extend(" cat")


# -- calls that do not go well -----------------------------------------------------------------------------


async def test_concurrent_calls_are_carried_out_in_their_order(shared):
    lane = shared.open()
    lane.begin_turn(Role.ASSISTANT)
    parts = await asyncio.gather(
        lane.extend("the"), lane.extend(" cat", tentative=True), lane.extend(" sat"), lane.extend(" abc")
    )

    assert_close([*parts[0], *parts[2], *parts[3]], await score(shared, (Role.ASSISTANT, ["the sat abc"])))


async def test_a_cancelled_call_leaves_the_lane_as_it_was(make_scorer, network):
    scorer = make_scorer()
    lane = scorer.open()
    lane.begin_turn(Role.ASSISTANT)
    await lane.extend("the")
    await entered(network)
    network.gate.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await lane.extend(" doom" * 40)
    network.gate.set()

    assert_close(await lane.extend(" cat"), (await score(scorer, (Role.ASSISTANT, ["the cat"])))[1:])
    # The step that was under way was not stopped; the windows that waited were not fed.
    assert scorer.runner.counts.jobs_dropped > 0
    assert scorer.runner.queued_tokens == 0


async def test_an_overloaded_call_may_be_repeated(make_scorer, network):
    scorer = make_scorer(max_queued_tokens=40)
    busy, lane = scorer.open(), scorer.open()
    busy.begin_turn(Role.ASSISTANT)
    lane.begin_turn(Role.ASSISTANT)
    network.gate.clear()
    async with asyncio.TaskGroup() as group:
        long = group.create_task(busy.extend("a " * 60))
        await entered(network)
        with pytest.raises(OverloadedError):
            await lane.extend("the cat")
        network.gate.set()

    # Let in once, a call is not turned away halfway.
    assert len(long.result()) == 60
    assert_close(await lane.extend("the cat"), await score(scorer, (Role.ASSISTANT, ["the cat"])))


async def test_a_call_that_was_let_in_goes_on(make_scorer, monkeypatch):
    scorer = make_scorer()
    submit, admissions = scorer.runner.submit, []

    def record(*jobs, admitted, **options):
        admissions.append((len(jobs), admitted))
        submit(*jobs, admitted=admitted, **options)

    monkeypatch.setattr(scorer.runner, "submit", record)
    for _ in range(2):
        admissions.clear()
        await score(scorer, (Role.ASSISTANT, ["cat " * (2 * WAITING_WINDOWS + 1)]))
        assert admissions == [(WAITING_WINDOWS, False), (WAITING_WINDOWS, True), (1, True)]


async def test_a_failed_step_is_a_scoring_error_of_its_lanes(make_scorer, network):
    scorer = make_scorer()
    network.broken = True
    with pytest.raises(ScoringError, match="toy network is broken"):
        await score(scorer, (Role.ASSISTANT, [LONG]))
    network.broken = False

    assert len(await score(scorer, (Role.ASSISTANT, ["the cat"]))) == 2
    assert scorer.runner.queued_tokens == 0


async def test_closing_a_lane_ends_its_calls_and_frees_its_work(make_scorer, network):
    scorer = make_scorer()
    busy, lane = scorer.open(), scorer.open()
    busy.begin_turn(Role.ASSISTANT)
    lane.begin_turn(Role.ASSISTANT)
    network.gate.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(busy.extend("the"))
        await entered(network)
        waiting = [group.create_task(refused(lane.extend("cat " * 40))) for _ in range(2)]
        await asyncio.sleep(0)
        lane.close()
        lane.close()
        await asyncio.gather(*waiting)
        network.gate.set()
    await score(scorer, (Role.ASSISTANT, ["abc"]))

    assert scorer.runner.counts.jobs_dropped == WAITING_WINDOWS
    assert scorer.runner.queued_tokens == 0
    for call in (lambda: lane.begin_turn(Role.USER), lane.fork):
        with pytest.raises(ScoringError, match="the lane is closed"):
            call()


async def refused(call):
    with pytest.raises(ScoringError, match="closed"):
        await call


async def test_a_closed_scorer_refuses(make_scorer):
    scorer = make_scorer()
    lane = scorer.open()
    lane.begin_turn(Role.ASSISTANT)
    scorer.close()

    with pytest.raises(ScoringError, match="the engine is closed"):
        await lane.extend("the")


# -- bounds ------------------------------------------------------------------------------------------------


async def test_a_long_text_lets_others_have_their_turn(make_scorer):
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    lane = make_scorer().open()
    lane.begin_turn(Role.SYSTEM)
    lane.begin_turn(Role.USER)
    counting = asyncio.ensure_future(count())  # noqa: TID251 - cancelled below
    await lane.extend("cat " * 640)
    counting.cancel()

    assert turns >= 10


async def test_a_word_overtakes_a_long_text(make_scorer, network):
    scorer = make_scorer(limits=BatchLimits(max_batch_tokens=24, slice_tokens=24, bulk_patience_s=60))
    prompt, live = scorer.open(), scorer.open()
    prompt.begin_turn(Role.ASSISTANT)
    live.begin_turn(Role.ASSISTANT)
    network.gate.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(prompt.extend("cat " * 60))
        await entered(network)
        group.create_task(live.extend("doom"))
        await asyncio.sleep(0)  # it submits
        await asyncio.sleep(0)  # what was submitted in that turn is let in
        network.gate.set()

    doom = scorer._parts.tokenizer.encode_run("doom").ids[0]
    assert [index for index, windows in enumerate(network.batches) if doom in windows[0].ids] == [1]


def test_a_step_takes_the_longest_window_whole():
    assert window_limits(None, 512, "cpu").slice_tokens == 512
    assert window_limits(None, 512, "cpu").max_batch_tokens == 512
    assert window_limits(None, 128, "cpu").max_batch_tokens == 256
    assert window_limits(None, 128, "cuda").max_batch_tokens == 32 * 128
    given = BatchLimits(max_batch_tokens=64, live_tokens=2, max_batch_lanes=3)
    assert window_limits(given, 100, "cpu") == BatchLimits(100, 3, 2, 100)


def test_it_says_what_it_is(make_scorer):
    scorer = make_scorer(provider="cuda", why_not_cuda="")

    assert scorer.name == "toy-window/1"
    assert scorer.categories == ("hate_harassment", "violence")
    assert scorer.provider == "cuda"
    assert scorer.runner._max_queued_tokens == QUEUED_WINDOWS * 24


# -- packs that cannot be used -----------------------------------------------------------------------------


def test_a_tokenizer_that_frames_nothing_is_refused(write_window_pack, tmp_path, network):
    pack = load_pack(write_window_pack(tmp_path / "toy", toy_tokenizer()))

    with pytest.raises(PackError, match=r"tokenizer\.json: has no post-processor"):
        WindowScorer(pack, network)


def test_a_tokenizer_that_must_see_the_whole_text_is_refused(write_window_pack, tmp_path, network):
    # As SentencePiece of a generative model: a mark of the text's beginning, which every piece would get.
    tokenizer = unigram_tokenizer()
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    pack = load_pack(write_window_pack(tmp_path / "toy", tokenizer))

    with pytest.raises(PackError, match="words give other tokens alone"):
        WindowScorer(pack, network)


async def test_text_cannot_forge_what_frames_it(write_window_pack, tmp_path):
    """Even where the post-processor takes a token that the file does not call special."""
    tokenizer = window_tokenizer()
    cls, doom = (tokenizer.token_to_id(token) for token in ("[CLS]", "doom"))
    tokenizer.post_processor = processors.BertProcessing(("doom", doom), ("[CLS]", cls))
    scorer = load_scorer(write_window_pack(tmp_path / "toy", tokenizer), "cpu", intra_op_threads=1)
    scores = await score(scorer, (Role.USER, ["a doom"]))
    scorer.close()

    assert spans(scores) == [(0, 1), (2, 3), (3, 4), (4, 5), (5, 6)]


def test_windows_that_leave_no_room_are_refused(write_window_pack, tmp_path, network):
    roles = {
        "user": {"judged_at": "never"},
        "assistant": {"judged_at": "words", "context": "user_turn", "context_tokens": 20},
        "system": {"judged_at": "never"},
    }
    pack = load_pack(write_window_pack(tmp_path / "toy", roles=roles, stride=2))

    with pytest.raises(PackError, match=r"manifest\.yaml: max_tokens: leaves less than one stride"):
        WindowScorer(pack, network)
