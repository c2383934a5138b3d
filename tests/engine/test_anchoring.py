from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.engine.anchoring import Anchoring, Pass

START, USER, ASSISTANT = 100, 101, 102
RULES = Anchoring((START,), ((USER,), (ASSISTANT,)), max_positions=16)
CONVERSATIONS = st.lists(st.integers(0, 9) | st.sampled_from([USER, ASSISTANT]), min_size=1, max_size=80).map(
    lambda ids: [USER, *ids]
)


def contexts(pieces, rules=RULES):
    """For every id, in order: the id with all that it is fed after."""
    window, cache, seen = (), [], []
    for piece in pieces:
        passes, window = rules.plan(window, piece)
        for each in passes:
            if each.fresh:
                cache = []
            for index, token in enumerate(each.ids):
                cache.append(token)
                if index >= each.scored_from:
                    seen.append(tuple(cache))
        assert tuple(cache) == window
    return seen


def test_a_new_lane_begins_with_the_start_token():
    assert RULES.plan((), [USER, 1, 2]) == ([Pass((START, USER, 1, 2), 1, fresh=True)], (START, USER, 1, 2))


def test_a_lane_goes_on_where_it_was():
    assert RULES.plan((START, USER, 1), [2, 3]) == ([Pass((2, 3), 0, fresh=False)], (START, USER, 1, 2, 3))


def test_a_full_window_is_kept_until_another_token_comes():
    window = (START, USER, *range(13))

    passes, full = RULES.plan(window, [13])

    assert passes == [Pass((13,), 0, fresh=False)]
    assert len(full) == 16
    passes, window = RULES.plan(full, [14])
    assert passes == [Pass((START, USER, 12, 13, 14), 4, fresh=True)]
    assert window == (START, USER, 12, 13, 14)


def test_the_kept_part_has_the_marker_of_the_turn_it_begins_in():
    full = (START, USER, 1, 2, 3, ASSISTANT, *range(9), USER)

    (anchored,), _ = RULES.plan(full, [7])

    assert anchored.ids == (START, ASSISTANT, 8, USER, 7)


def test_a_kept_part_that_begins_with_a_marker_needs_no_other():
    full = (START, USER, *range(12), ASSISTANT, 5)

    (anchored,), _ = RULES.plan(full, [6])

    assert anchored.ids == (START, ASSISTANT, 5, 6)


@given(CONVERSATIONS)
def test_every_id_is_scored_once_within_the_positions_and_after_a_start_and_a_marker(ids):
    seen = contexts([ids])

    assert [context[-1] for context in seen] == ids
    for context in seen:
        assert len(context) <= 16
        assert context[0] == START
        assert context[1] in {USER, ASSISTANT}


@given(CONVERSATIONS, st.data())
def test_what_a_token_sees_does_not_depend_on_the_cuts(ids, data):
    cuts = sorted(data.draw(st.sets(st.integers(1, len(ids) - 1))))
    pieces = [ids[start:end] for start, end in zip([0, *cuts], [*cuts, len(ids)], strict=True)]

    assert contexts(pieces) == contexts([ids])


@given(CONVERSATIONS)
def test_a_token_sees_the_tokens_just_before_it(ids):
    for end, context in enumerate(contexts([ids]), start=1):
        kept = context[2:]
        assert tuple(ids[end - len(kept) : end]) == kept


# -- markers of several tokens, and none -------------------------------------------------------------------

OPEN = 200
CHAT = Anchoring((), ((OPEN, 1, 2), (OPEN, 3, 2), (OPEN, 4, 5, 6, 2)), max_positions=24)
CHATS = st.lists(st.integers(0, 9).map(lambda token: (token,)) | st.sampled_from(CHAT.markers), max_size=60)


@given(CHATS, st.data())
def test_a_window_begins_with_a_whole_marker_that_was_in_force(turns, data):
    ids = [token for part in [CHAT.markers[0], *turns] for token in part]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(ids)))))
    pieces = [ids[start:end] for start, end in zip([0, *cuts], [*cuts, len(ids)], strict=True) if start < end]
    seen = contexts(pieces, CHAT)

    assert seen == contexts([ids], CHAT)
    assert [context[-1] for context in seen] == ids
    for end, context in enumerate(seen, start=1):
        assert len(context) <= 24
        if end < 3:
            continue
        opening = next(marker for marker in CHAT.markers if context[: len(marker)] == marker)
        kept = context[len(opening) :]
        begin = end - len(kept)
        assert tuple(ids[begin:end]) == kept
        before = max(place for place in range(begin) if ids[place] == OPEN)
        assert tuple(ids[before : before + len(opening)]) == opening


@given(st.lists(st.integers(0, 9), min_size=1, max_size=80))
@pytest.mark.parametrize("start", [(), (START,)])
def test_without_markers_a_window_is_the_start_and_what_was_last(start, ids):
    rules = Anchoring(start, (), max_positions=16)
    for end, context in enumerate(contexts([ids], rules), start=1):
        assert len(context) <= 16
        assert context[: len(start)] == start
        kept = context[len(start) :]
        assert tuple(ids[end - len(kept) : end]) == kept
