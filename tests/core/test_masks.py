"""Masks: exact spans withheld in the middle of an answer, whatever stands around them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.core import commands as do
from guardrail.core import events as on
from guardrail.core.composition import Composition
from guardrail.core.spans import Span
from guardrail.core.stream import GuardedStream, LaneRules
from guardrail.core.verdicts import FailureStance, Kind, Role, TokenScore
from guardrail.policy.judge import LaneJudge
from guardrail.policy.rules import CategoryRules, RoleRules
from guardrail.testing.chunking import by_character, three_ways
from guardrail.testing.playbook import LanePlayer
from tests.core.properties import PHRASES, WORDS, masked, policy, user_redirect

MASK = "[mask privacy_pii]"
CARD = "4111 1111 1111"
LONG_CARD = "4111 1111 1111 2222"


def player_of(decisions=(), *, prose: bool = True, enforce: bool = True, phrases=PHRASES, **changes):
    rules = LaneRules(enforce=enforce, prose=prose, max_held_chars=80)
    player = LanePlayer(GuardedStream(LaneJudge(policy(**changes), Role.ASSISTANT), rules), WORDS, phrases)
    player.begin(decisions)
    return player


def shown(text: str, **options) -> str:
    """What a client gets of ``text``, however it was cut."""
    players = [player_of(**options).play(chunks) for chunks in three_ways(text)]
    assert len({player.client for player in players}) == 1
    assert len({len(player.released) for player in players}) == 1
    return players[0].client


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"Pay with {CARD} today.", f"Pay with {MASK} today."),
        (f"{CARD} is it.", f"{MASK} is it."),
        (f"It is {CARD}", f"It is {MASK}"),
        (CARD, MASK),
        (f"{CARD}{CARD}", f"{MASK}{MASK}"),
        (f"{CARD} {CARD}, me@sea.org", f"{MASK} {MASK}, {MASK}…\n\n[redirect mental_distress]"),
        (f"{LONG_CARD} is longer.", f"{MASK} is longer."),
        ("4111 1111 1111 2222 3333 end. More.", f"{MASK} More."),
        (f"- one\n- {CARD}\n- two\n", f"- one\n- {MASK}\n- two\n"),
        (f"```\npay('{CARD}')\n```\n", f"```\npay('{MASK}')\n```\n"),
        (f"| a | {CARD} |\n", f"| a | {MASK} |\n"),
        ("call me@sea tomorrow", "call me@sea tomorrow"),
        ("4111 1111 and 1111 more", "4111 1111 and 1111 more"),
        ("key=abc\n  de", f"{MASK}\n  de"),
        ("key=abc\n  def", MASK),
    ],
)
def test_a_span_is_withheld_and_the_text_around_it_goes_on(text, expected):
    assert shown(text) == expected


def test_the_beginning_of_a_span_waits_and_the_rest_of_it_takes_its_place():
    player = player_of()
    player.chunk("Pay with 4111 ")
    player.score_all()
    assert player.client == "Pay with"
    player.chunk("1111 11")
    player.score_all()
    player.wake()
    player.score_all()
    assert player.client == "Pay with"
    player.chunk("11, now ")
    player.score_all()
    assert player.client == f"Pay with {MASK}, now"
    (insert,) = player.inserts
    assert (insert.at, insert.withheld) == (9, len(CARD))
    assert insert.decision.kind is Kind.MASK
    assert player.stream.masked == len(CARD)


def test_a_beginning_that_comes_to_nothing_leaves_as_it_came():
    player = player_of()
    player.chunk("A key=")
    player.wake()
    player.score_all()
    assert player.client == "A"  # the word is open, and may become one to mask
    player.chunk("board, they said ")
    player.score_all()
    assert player.client == "A key=board, they said"


def test_a_span_that_could_still_grow_is_not_called_by_half_of_it():
    player = player_of()
    player.chunk(f"{CARD} 22")
    player.score_all()
    assert player.client == ""
    player.chunk("22 is ")
    player.score_all()
    assert player.client == f"{MASK} is"
    assert player.inserts[0].withheld == len(LONG_CARD)


def test_at_the_end_nothing_is_pending():
    player = player_of()
    player.play([f"{CARD} 2222 33"])
    assert player.client == f"{MASK} 33"
    assert player.ended == do.EndLane(intervened=False)


def test_help_waits_until_the_sentence_is_over_that_a_span_ends():
    text = "So sad. 1111 2222 3333 end. More of it. On."
    assert shown(text) == f"So sad. {MASK} More of it. On."
    assert shown("So tears. " + text).count("[redirect mental_distress]") == 1


def test_help_does_not_stand_in_the_middle_of_a_span():
    phrase = "one end. two"
    text = f"tears {phrase} is here. And on."
    client = shown(text, phrases={phrase: {"privacy_pii": 0.9}})
    assert client == f"tears {MASK} is here. \n\n[redirect mental_distress]\n\nAnd on."


def test_a_replacement_takes_the_place_of_masks_that_are_held_with_what_it_replaces():
    text = "Calm. A murk zzz murk and then doom doom. More."
    assert shown(text, phrases={"zzz": {"privacy_pii": 0.9}}) == "Calm. A…\n\n[replace violence]"


def test_a_mask_stays_that_a_replacement_stands_behind():
    text = f"Mine is {CARD}. Then doom doom."
    assert shown(text) == f"Mine is {MASK}. Then…\n\n[replace violence]"


def test_a_replacement_inside_of_a_span_leaves_nothing_of_it():
    phrase = "one doom doom two"
    client = shown(f"It is {phrase}.", phrases={phrase: {"privacy_pii": 0.9}})
    assert client == "It is …\n\n[replace violence]"


def test_a_span_may_ask_for_more_than_a_mask():
    text = "Write to me@sea.org soon. Go on."
    assert shown(text) == f"Write to {MASK} soon. \n\n[redirect mental_distress]\n\nGo on."
    assert shown("Now rm -rf the river. Go on.") == "Now…\n\n[replace cyber]"


def test_the_prompt_and_a_span_are_both_answered():
    client = shown(f"It is {CARD}. Go on.", decisions=[user_redirect()])
    assert client == f"It is {MASK}. \n\n[redirect self_harm]\n\nGo on."


def test_observing_only_says_what_would_have_been_masked():
    text = f"Pay with {CARD} and {CARD}."
    for chunks in three_ways(text):
        player = player_of(enforce=False).play(chunks)
        assert player.client == text
        notes = [note for note in player.notes if isinstance(note, do.NoteDecision)]
        assert [(note.decision.kind, note.at, note.enforced) for note in notes] == [
            (Kind.MASK, text.index(CARD), False),
            (Kind.MASK, text.rindex(CARD), False),
        ]


def test_a_category_that_only_annotates_holds_nothing_back():
    rules = CategoryRules(assistant=RoleRules(thresholds={1: 0.8}, interventions={1: "annotate"}))
    player = player_of(categories={"privacy_pii": rules}, debounce_tokens=1)
    player.chunk("Pay with 4111 1111 ")
    player.score_all()
    assert player.client == "Pay with 4111 1111"
    player.play(["1111."])
    assert player.client == "Pay with 4111 1111 1111."
    (note,) = [note for note in player.notes if isinstance(note, do.NoteDecision)]
    assert note.decision.kind is Kind.ANNOTATE


# -- bounds ------------------------------------------------------------------------------------------------

ENDLESS = {"A" + 400 * "x" + "Z": {"privacy_pii": 0.9}}
"""What never stands before its end is here."""
GROWING = {"B" + n * "x": {"privacy_pii": 0.9} for n in range(10, 401)}
"""What stands as soon as it is ten characters long, and goes on."""


@pytest.mark.parametrize("stance", list(FailureStance))
def test_text_that_stays_pending_for_too_long_meets_the_stance(stance):
    player = player_of(phrases=ENDLESS, on_failure=stance.value)
    player.play(by_character("Calm. A" + 300 * "x" + " more. "))
    failures = [note for note in player.notes if isinstance(note, do.NoteFailure)]
    assert [(note.reason, note.stance) for note in failures] == [("pending", stance)]
    if stance is FailureStance.PASS:
        assert player.client == "Calm. A" + 300 * "x" + " more. "
        assert sum(note.chars for note in player.notes if isinstance(note, do.NoteUnscanned)) > 0
    else:
        assert player.client == "Calm.\n\n[replace failure]"
    assert player.ended is not None


def test_what_is_found_and_goes_on_for_too_long_is_masked_as_it_comes():
    text = "Calm. B" + 300 * "x" + " more."
    expected = f"Calm. {MASK} more."
    assert shown(text, phrases=GROWING) == expected
    player = player_of(phrases=GROWING)
    for chunk in by_character(text):
        player.chunk(chunk)
        player.score_all()
        player.wake()
        player.score_all()
        assert player.stream.held <= 80 + 2 * 64
        assert expected.startswith(player.client)
    assert player.play([]).client == expected
    assert len(player.inserts) == 1


def test_white_space_within_a_long_span_does_not_leave_between_its_parts():
    lines = "".join("\n" + letter * 40 for letter in "abcdefgh")
    phrases = {"KEY" + lines[:end]: {"privacy_pii": 0.9} for end in range(41, len(lines) + 1, 41)}
    text = f"It is KEY{lines}\nor so."
    expected = f"It is {MASK}\nor so."
    assert shown(text, phrases=phrases) == expected
    player = player_of(phrases=phrases)
    for chunk in by_character(text):
        player.chunk(chunk)
        player.score_all()
        player.wake()
        player.score_all()
        assert expected.startswith(player.client)
    assert player.play([]).client == expected


def test_scores_that_fail_while_text_is_pending_do_not_release_it():
    player = player_of(on_failure="redirect")
    player.chunk("Pay with 4111 1111 ")
    player.score_all()
    player.chunk("1111 ")
    player.fail()
    assert player.client == "Pay with…\n\n[replace failure]"


def test_scores_that_fail_under_pass_count_the_pending_text_as_unscanned():
    player = player_of(on_failure="pass")
    player.chunk("Pay with 4111 1111 ")
    player.score_all()
    player.chunk("1111 ")
    player.fail()
    assert player.client == "Pay with 4111 1111 1111"
    assert do.NoteUnscanned(len(" 4111 1111 1111"), "error") in player.notes


def test_a_span_of_which_part_has_left_loses_the_rest():
    # A scorer that did not say pending in time: what has left cannot be called back.
    player = player_of(phrases={})
    player.chunk("ab cd ")
    player.score_all()
    player.chunk("ef gh ")
    token = TokenScore(Span(3, 8), {"privacy_pii": 0.9})
    player.tell(on.ScoresReceived((token,)))
    assert player.client == f"ab cd{MASK} gh"


def test_white_space_between_words_reaches_the_scorer():
    # Its positions would be another's otherwise.
    text = "a" + " " * 200 + f"pay {CARD} b"
    assert shown(text) == "a" + " " * 200 + f"pay {MASK} b"


# -- JSON --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'{{"card": "{CARD}", "n": 1}}', f'{{"card": "{MASK}", "n": 1}}'),
        (f'["a\\"{CARD}\\n"]', f'["a\\"{MASK}\\n"]'),
        ('{"pin": 4111}', '{"pin": "[mask privacy_pii]"}'),
        ("[4111, 4111 ]", '["[mask privacy_pii]", "[mask privacy_pii]" ]'),
        ("4111", '"[mask privacy_pii]"'),
        ('{"pin": 41110}', '{"pin": 41110}'),  # part of a number: no words could take its place
        ('["one","two"]', '["one","two"]'),  # from one string into another
        ('["a\\node"]', '["a\\n[mask privacy_pii]"]'),  # its first letter ends an escape sequence
        ('["\\u0041ode"]', '["\\u0041[mask privacy_pii]"]'),
        ('["x\\\\node"]', '["x\\\\[mask privacy_pii]"]'),  # here it is a letter
    ],
)
def test_json_stays_json(text, expected):
    phrases = {CARD: {"privacy_pii": 1.0}, "4111": {"privacy_pii": 0.9}, 'e","t': {"privacy_pii": 0.9}}
    phrases |= {"node": {"privacy_pii": 0.9}, "0041ode": {"privacy_pii": 0.9}}
    client = shown(text, prose=False, phrases=phrases)
    assert client == expected
    json.loads(client)


def test_words_with_quotation_marks_are_written_as_json():
    class Quoting:
        def compose(self, request):
            return Composition('"x\\"', "quoting")

    player = player_of(prose=False)
    player.composer = Quoting()
    player.play([f'["{CARD}"]'])
    assert json.loads(player.client) == ['"x\\"']


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.lists(st.sampled_from([*PHRASES, 'a"b', "\\", "\n", "é", "x "]), max_size=4).map("".join),
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", CARD, "k"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES, st.booleans(), st.integers(0, 2))
@settings(max_examples=200, deadline=None)
def test_whatever_is_masked_in_it_json_stays_json(value, ascii_only, way):
    text = json.dumps(value, ensure_ascii=ascii_only)
    phrases = {phrase: {"privacy_pii": 0.9} for phrase in (*PHRASES, "n4111", "1111 1111 1111")}
    client = player_of(prose=False, phrases=phrases).play(three_ways(text)[way]).client
    assert len(json.dumps(json.loads(client))) > 0
    assert CARD not in client


@given(st.lists(st.sampled_from([*PHRASES, "x", " ", "\n"]), max_size=12).map("".join), st.integers(0, 999))
@settings(max_examples=200, deadline=None)
def test_what_is_shown_is_the_text_with_its_spans_taken_out(text, seed):
    text = text.replace("river", "lake").replace("me@sea.org", "me@sea.com")
    client = player_of().play(three_ways(text, seed)[2]).client
    assert client == masked(text)
