"""Interventions in line: places ascend, none overlap, and the last one leaves no part of a mask behind."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.inserts import Insert, InsertQueue
from guardrail.core.json_view import Fit
from guardrail.core.spans import Span
from guardrail.core.splice import ClientView
from guardrail.core.verdicts import Decision, Finding, Kind, Role


def decision(kind: Kind) -> Decision:
    return Decision(kind, Finding("violence", 3, 0.9, Span(0, 4), Role.ASSISTANT), "test")


def mask(at: int, until: int) -> Insert:
    return Insert(decision(Kind.MASK), at, until=until)


def drained(queue: InsertQueue) -> list[Insert]:
    inserts = []
    while queue:
        inserts.append(queue.take())
    return inserts


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9), st.booleans()), max_size=6), st.integers(0, 99)
)
def test_a_terminal_insert_stands_in_no_mask_and_behind_what_was_asked_for(gaps, place):
    queue, masks = InsertQueue(), []
    for gap, size, _ in gaps:
        masks.append(mask(queue.end + gap, queue.end + gap + size))
        queue.append(masks[-1])
    for insert, (_, _, asked) in zip(masks, gaps, strict=True):
        if not asked:
            break
        insert.asked = True
    queue.append_terminal(decision(Kind.REPLACE), place)

    *kept, last = drained(queue)
    assert last.terminal
    assert kept == masks[: len(kept)]
    assert all(first.until <= second.at for first, second in pairwise([*kept, last]))
    dropped = masks[len(kept) :]
    assert not any(insert.asked for insert in dropped)
    assert all(last.at <= insert.at for insert in dropped), "text of a dropped mask would leave"
    assert last.at <= max([place, *(insert.until for insert in kept)])


def test_only_a_mask_at_the_end_that_was_not_asked_for_may_grow():
    queue = InsertQueue()
    assert queue.mask_beyond(0) is None
    grows = mask(3, 9)
    queue.append(grows)
    assert queue.mask_beyond(8) is grows
    assert queue.mask_beyond(9) is None
    grows.asked = True
    assert queue.mask_beyond(8) is None
    queue.append(Insert(decision(Kind.REDIRECT), 9))
    assert (queue.mask_beyond(3), queue.placed, queue.end) == (None, 9, 9)


def test_words_are_joined_to_the_text_around_them_unless_they_stand_for_a_piece_of_it():
    view = ClientView()
    view.read("It begins")
    redirect = Insert(decision(Kind.REDIRECT), 9, following=" and goes on")
    assert redirect.joined("Help.", view) == "…\n\nHelp.\n\n"
    assert Insert(decision(Kind.REPLACE), 9, terminal=True).joined("Help.", view) == "…\n\nHelp."
    assert mask(3, 9).joined("[mask]", view) == "[mask]"
    number = Insert(decision(Kind.MASK), 3, until=9, fit=Fit(0, 6, quoted=True))
    assert number.joined("[mask]", view) == '"[mask]"'
