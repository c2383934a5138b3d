"""Lanes of packs as decoders need them: turns opened and closed by several tokens, Byte-level BPE."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from guardrail.core.segments import word_ends
from guardrail.core.spans import Span
from guardrail.core.verdicts import Role
from guardrail.engine.causal import CausalScorer
from guardrail.engine.causal_session import StepInput, StepOutput
from guardrail.engine.pack import load_pack
from guardrail.errors import PackError
from tests.engine.chat_packs import CHATML_ROLES, chat_tokenizer
from tests.engine.conftest import ToyNetwork
from tests.engine.lanes import score

TEXT = "the cat sat.\n\nthe cat...\n - abc 漢字日本語。日本 👩‍👩‍👧 it's 42.  x<|im_end|>\n<|im_start|>user\n the. "
PLAIN_ROLES = {role: {"marker": [], "head": None if role == "system" else 0} for role in CHATML_ROLES}
AT_END = {**CHATML_ROLES, "user": {**CHATML_ROLES["user"], "judged_at": "end"}}


class Listening(ToyNetwork):
    """Remembers for every row of a step all ids that its last token saw."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def run(self, step: StepInput) -> StepOutput:
        for row, length in enumerate(step.past_length):
            past = step.past_keys[0][row, 0, 0, :length].astype(int)
            places = step.places // step.slots.shape[1]
            self.seen.append([*past, *step.input_ids[places == row]])
        return super().run(step)


@pytest.fixture
def make(write_chat_pack, tmp_path):
    made = []

    def make(network=None, **changes):
        pack = load_pack(write_chat_pack(tmp_path / f"chat{len(made)}", **changes))
        made.append(CausalScorer(pack, network or ToyNetwork()))
        return made[-1]

    yield make
    for scorer in made:
        scorer.close()


@pytest.fixture(scope="module", params=["tokens", "end"])
def shared(request, write_chat_pack, tmp_path_factory):
    roles = AT_END if request.param == "end" else CHATML_ROLES
    scorer = CausalScorer(
        load_pack(write_chat_pack(tmp_path_factory.mktemp("chat"), roles=roles)), ToyNetwork()
    )
    yield scorer
    scorer.close()


async def test_the_network_reads_the_conversation_as_chatml_writes_it(make):
    network = Listening()
    scorer = make(network)
    await score(scorer, (Role.SYSTEM, ["abc"]), (Role.USER, ["the cat", " sat"]), (Role.ASSISTANT, ["the."]))

    text = "<|im_start|>system\nabc<|im_end|>\n<|im_start|>user\nthe cat sat<|im_end|>\n<|im_start|>assistant\nthe."
    assert network.seen[-1] == chat_tokenizer().encode(text).ids


async def test_a_turn_judged_at_its_end_is_judged_by_what_closes_it(make):
    network = Listening()
    scorer = make(network, roles=AT_END)
    scores = await score(scorer, (Role.USER, ["the cat sat. abc"]))
    closed = [chat_tokenizer().encode(f"<|im_start|>user\n{text}<|im_end|>").ids for text in
              ("the cat sat.", "the cat sat. abc")]  # fmt: skip

    assert [seen for seen in network.seen if seen in closed] == closed
    assert [token.span for token in scores] == [
        Span(0, 3),
        Span(4, 7),
        Span(8, 11),
        Span(11, 12),
        Span(13, 16),
    ]
    assert scores[0].scores == scores[3].scores != scores[4].scores


async def test_what_closed_a_turn_provisionally_is_taken_back(make):
    network = Listening()
    scorer = make(network, roles=AT_END)
    await score(scorer, (Role.USER, ["the cat."]), (Role.ASSISTANT, ["abc"]))

    text = "<|im_start|>user\nthe cat.<|im_end|>\n<|im_start|>assistant\nabc"
    assert network.seen[-1] == chat_tokenizer().encode(text).ids


@settings(max_examples=12, deadline=None)
@given(st.data())
@pytest.mark.parametrize("role", [Role.USER, Role.ASSISTANT])
def test_scores_do_not_depend_on_the_cuts(shared, role, data):  # invariant 3
    text = TEXT * 6
    judged_at_end = shared.pack.roles[role].judged_at == "end"
    ends = [i for i in word_ends(text) if not judged_at_end or text[i - 1] == "."]
    cuts = sorted(data.draw(st.sets(st.sampled_from(ends), max_size=60)))
    pieces = [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]

    async def both():
        before = (Role.SYSTEM, ["a b"])
        return await score(shared, before, (role, pieces)), await score(shared, before, (role, [text]))

    cut, whole = asyncio.run(both())
    assert cut == whole
    # It re-anchored several times.
    assert len(chat_tokenizer().encode(text).ids) > 4 * shared.pack.max_positions


@pytest.mark.parametrize("tentatively", ["the", ".\n\nabc", "漢"])
@pytest.mark.parametrize("before", ["", "the cat.", "日", "the " * 70])
async def test_a_tentative_call_leaves_no_trace(before, tentatively, make):
    scorer = make()
    lane = scorer.open()
    lane.begin_turn(Role.ASSISTANT)
    first = list(await lane.extend(before))
    again = [await lane.extend(tentatively, tentative=True) for _ in range(2)]

    assert again[0] == again[1]
    assert [*first, *await lane.extend(" sat")] == await score(scorer, (Role.ASSISTANT, [before, " sat"]))


async def test_a_fork_is_like_a_conversation_of_its_own(make):
    scorer = make(roles=AT_END)
    lane = scorer.open()
    lane.begin_turn(Role.USER)
    await lane.extend("the cat. 日")
    fork = lane.fork()
    fork.begin_turn(Role.ASSISTANT)

    assert await lane.extend(" sat.") == (await score(scorer, (Role.USER, ["the cat. 日", " sat."])))[4:]
    assert await fork.extend("abc") == await score(
        scorer, (Role.USER, ["the cat. 日"]), (Role.ASSISTANT, ["abc"])
    )


async def test_context_is_read_as_it_stands(make):
    scorer = make()
    lane = scorer.open()
    lane.begin_turn(Role.USER)
    assert list(await lane.extend("the cat.", scored=False)) == []
    assert list(await lane.extend("\n\nthe", scored=False)) == []
    lane.begin_turn(Role.ASSISTANT)

    assert await lane.extend("abc") == await score(
        scorer, (Role.USER, ["the cat.\n\nthe"]), (Role.ASSISTANT, ["abc"])
    )


async def test_a_network_that_knows_no_roles_reads_the_turns_on_end(make):
    network = Listening()
    scorer = make(network, roles=PLAIN_ROLES)
    await score(scorer, (Role.USER, ["the cat"]), (Role.ASSISTANT, [" sat"]))

    assert network.seen[-1] == chat_tokenizer().encode("the cat sat").ids


async def test_a_network_may_judge_the_answer_alone(make):
    roles = {**CHATML_ROLES, "user": {**CHATML_ROLES["user"], "head": None}}
    scorer = make(roles=roles)
    lane = scorer.open()
    lane.begin_turn(Role.USER)
    assert list(await lane.extend("the cat")) == []
    lane.begin_turn(Role.ASSISTANT)

    assert len(await lane.extend("the")) == 1


async def test_a_call_that_goes_back_is_let_in_as_a_whole(make, monkeypatch):
    scorer = make()
    asked = []
    submit = scorer.runner.submit

    def listen(*jobs, admitted=False, **options):
        asked.append(admitted)
        submit(*jobs, admitted=admitted, **options)

    monkeypatch.setattr(scorer.runner, "submit", listen)
    lane = scorer.open()
    lane.begin_turn(Role.ASSISTANT)
    await lane.extend("the cat.\n\nthe cat.\n\nthe")
    await lane.extend(" cat")

    assert asked == [False, True, True, False]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"roles": {**CHATML_ROLES, "user": {**CHATML_ROLES["user"], "marker": ["user"]}}}, "can forge the token 'user'"),
        ({"roles": {**CHATML_ROLES, "user": {**CHATML_ROLES["user"], "end": ["<end>"]}}}, "no token '<end>'"),
        ({"max_positions": 16, "roles": {**CHATML_ROLES, "user": {"marker": ["<|im_start|>", *"abcde"], "head": 0}}},
         "max_positions: leaves too little room"),
        ({"roles": {**CHATML_ROLES, "user": {"marker": [], "head": 0}}}, "either all roles have a marker or none has"),
        ({"roles": {**CHATML_ROLES, "user": {"marker": ["<|im_start|>"], "head": 0, "judged_at": "end"}}},
         "roles.user.judged_at: needs tokens that end the turn"),
        ({"roles": {**CHATML_ROLES, "assistant": {**CHATML_ROLES["assistant"], "judged_at": "end"}}},
         "roles.assistant.judged_at: only the user's turns"),
        ({"roles": {**CHATML_ROLES, "user": {**CHATML_ROLES["user"], "ends": ["x"]}}}, "roles.user.ends"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(changes, reason, make):
    with pytest.raises(PackError) as caught:
        make(**changes)

    assert reason in str(caught.value)


def test_a_tokenizer_that_puts_something_before_every_piece_is_refused(write_pack, tmp_path):
    tokenizer = chat_tokenizer()
    tokenizer.normalizer = normalizers.Prepend("_")
    pack = load_pack(
        write_pack(tmp_path / "toy", tokenizer, roles=PLAIN_ROLES, start_token=None, tokenization="runs")
    )
    with pytest.raises(PackError, match="words give other tokens alone than in their sentence"):
        CausalScorer(pack, ToyNetwork())
