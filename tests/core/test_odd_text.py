"""Invariants 1 to 5 on text nobody would write: odd Unicode, endless lines, many redirects, restless watching."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from guardrail.core import commands as do
from guardrail.core import events as on
from guardrail.core.splice import ClientView
from guardrail.core.verdicts import Kind
from guardrail.policy.rules import CategoryRules, RoleRules
from guardrail.testing.chunking import at, by_character, whole
from guardrail.testing.playbook import LanePlayer
from guardrail.testing.scorers import score_words
from tests.core.properties import WORDS, make, user_redirect

PIECES = [
    "murk", "grim", "doom", "tears", "odd", "calm", "river", "Dr", "e.g.", "3", "1.", "-", "*", "|", "a | b",
    "```", "~~~", "````", "   ```py", "    code", "`", "**", ".", "!", "?", "…", "。", "！", "」", "”", ")", ":",
    " ", " ", " ", "  ", "\t", "\n", "\n", "\n\n", "\r\n", "\r\n\r\n", "\r", "\x0b", "\x1c", "\x85", "\u2028",
    "\u3000", "\u00a0", "\u200b", "\u200d", "\ufeff", "\u0301", "\u0e33", "สวัสดีครับ", "日本", "語", "〇", "𠀀",
    "ﷺ", "한국어", "かな", "👩‍👩‍👧", "🇦🇹", "ａ", "＋", "e\u0301" * 3, "x" * 63, "x" * 64, "y" * 65, " " * 70,
    "\U0010ffff", "\x00", "ß", "İ",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)
CUTS = st.lists(st.integers(1, 400), max_size=20)


def play(text, chunks, *, decisions=(), eager=(True,), begin_after=0, **changes):
    """Play chunks; ``eager`` says, over and over, whether scores come before the next chunk."""
    player = LanePlayer(make(**changes), WORDS)
    for number, chunk in enumerate(chunks):
        if number == begin_after:
            player.begin(decisions)
        player.chunk(chunk)
        if eager[number % len(eager)]:
            player.score_all()
        stream = player.stream
        assert len(player.released) == stream.released <= stream.cleared <= stream.arrived, "invariant 1"
    if begin_after >= len(chunks):
        player.begin(decisions)
    player.play([])
    assert text.startswith(player.released)
    return player


def seen(player):
    return player.client, [(insert.at, insert.text) for insert in player.inserts], player.ended


@given(TEXTS, CUTS, st.lists(st.booleans(), min_size=1, max_size=5), st.integers(0, 9), st.booleans())
@settings(max_examples=500, deadline=None)
def test_invariant_3_odd_text_looks_the_same_however_cut(text, cuts, eager, begin_after, helped):
    decisions = [user_redirect()] if helped else []
    first = play(text, whole(text), decisions=decisions)
    for chunks in (by_character(text), at(text, cuts)):
        other = play(text, chunks, decisions=decisions, eager=eager, begin_after=begin_after)
        assert seen(other) == seen(first), "invariant 3"


@given(TEXTS, CUTS, st.integers(1, 4))
@settings(max_examples=400, deadline=None)
@example("murk doom" + " " * 600 + "doom", [], 2)  # white space has no token and must not free a pending risk
@example("murk doom" + "\n" * 600 + "doom doom", [20, 200], 3)
def test_invariant_2_no_part_of_a_finding_leaves_odd_text(text, cuts, debounce):
    player = play(text, at(text, cuts), debounce_tokens=debounce)
    # An adverse run as long as the debounce is a finding (70: the replacing threshold), wherever it stands.
    adverse = [token.scores.get("violence", 0) >= 0.7 for token in score_words(player.released, 0, WORDS)]
    assert not any(all(run) for run in zip(*(adverse[n:] for n in range(debounce)), strict=False))
    for insert in player.inserts:
        if insert.decision.kind is Kind.REPLACE:
            assert insert.at <= insert.decision.finding.span.start, "invariant 2"


@given(TEXTS.map(lambda text: text.replace("doom", "").replace("grim", "")), CUTS)
@settings(max_examples=300, deadline=None)
def test_invariant_4_harmless_odd_text_arrives_whole(text, cuts):
    player = play(text, at(text, cuts))
    assert player.released == text
    assert player.ended == do.EndLane(intervened=False)
    if "tears" not in text:
        assert player.client == text


@given(TEXTS, CUTS, st.lists(st.integers(0, 5), max_size=40))
@settings(max_examples=400, deadline=None)
def test_invariant_5_any_order_of_events_ends_a_lane_exactly_once(text, cuts, moves):
    # Timers, failures and delays in any order: what is asked for here is an end, order and watermarks
    # (LanePlayer refuses a command after the end and text released out of order).
    player = LanePlayer(make(on_failure="pass"), WORDS)
    chunks = at(text, cuts)
    player.begin([user_redirect()])
    for move in moves:
        if move == 0 and chunks:
            player.chunk(chunks.pop(0))
        elif move == 1:
            player.score()
        elif move == 2:
            player.wake()
        elif move == 3:
            player.tell(on.ScoringDelayed())
        elif move == 4 and player.waiting:
            player.fail()
        elif move == 5:
            player.tell(on.PromptJudged())
        assert player.stream.released <= player.stream.cleared <= player.stream.arrived, "invariant 1"
    player.play(chunks)
    assert player.ended is not None, "invariant 5"
    assert text.startswith(player.released)
    if not player.ended.intervened:
        assert player.released == text


@given(st.lists(st.sampled_from(["calm ", "murk ", "calm. ", "murk. "]), min_size=40, max_size=200))
@settings(max_examples=100, deadline=None)
def test_invariant_4_restless_watching_loses_nothing_and_holds_a_bounded_amount(words):
    text = "".join(words)
    player = LanePlayer(make(), WORDS)
    player.begin()
    for chunk in by_character(text):
        player.chunk(chunk)
        player.score_all()
        # 80 characters of hold-back, the word that passed the limit and the open word.
        assert player.stream.arrived - player.stream.released <= 80 + 2 * len("murk. ")
    player.play([])
    assert player.client == text


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join), CUTS)
@settings(max_examples=500, deadline=None)
@example("x" * 1900 + "`" + "y" * 3000, [1950])  # a line longer than what is kept of it
@example("*" * 7 + "x", [1, 2, 3])
def test_invariant_3_the_client_view_depends_on_text_not_on_pieces(text, cuts):
    views = [ClientView() for _ in range(3)]
    for view, pieces in zip(views, (whole(text), by_character(text), at(text, cuts)), strict=True):
        for piece in pieces:
            view.read(piece)
    assert len({(view.empty, view.in_block, view.before_insert()) for view in views}) == 1


def test_many_redirects_each_find_a_place_and_none_is_said_twice():
    categories = ["self_harm", "mental_distress", "violence", "sexual"]
    words = {f"word{number}": {category: 0.9} for number, category in enumerate(categories)}
    rules = CategoryRules(
        assistant=RoleRules(thresholds={1: 0.8}, interventions={1: "redirect"}, debounce_tokens=1)
    )
    text = " ".join(f"Now word{n % 4} is said by somebody here at last. And so on and on." for n in range(12))
    player = LanePlayer(make(categories=dict.fromkeys(categories, rules)), words)
    player.begin()
    player.play(by_character(text))
    assert player.released == text
    assert [insert.decision.finding.category for insert in player.inserts] == categories
    assert [text[: insert.at][-6:] for insert in player.inserts] == ["last. "] * 4
    assert player.ended == do.EndLane(intervened=False)


def test_a_line_of_a_million_characters_costs_no_more_than_its_length():
    # Read in small pieces: quadratic work would take minutes here, not a second.
    view = ClientView()
    for _ in range(200_000):
        view.read("abcde")
    assert view.before_insert() == "…\n\n"
