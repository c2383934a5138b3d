from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.engine.batcher import COMES_BACK_S, Batcher, BatchLimits

LIMITS = BatchLimits(
    max_batch_tokens=32, max_batch_lanes=6, live_tokens=4, slice_tokens=16, bulk_patience_s=0.5
)


@dataclass(eq=False)
class Piece:
    lane: object
    tokens_ready: int
    cancelled: bool = False
    wanted: int | None = None

    @property
    def tokens_wanted(self):
        return self.tokens_ready if self.wanted is None else self.wanted


def filled(*pieces, now=0.0):
    batcher = Batcher(LIMITS)
    for piece in pieces:
        batcher.push(piece, now)
    return batcher


def works(batch):
    return [(each.work.lane, each.tokens) for each in batch.slices]


def test_words_of_all_lanes_share_a_step():
    batcher = filled(Piece("a", 1), Piece("b", 3), Piece("c", 2))

    assert works(batcher.pop_batch(0.0)) == [("a", 1), ("b", 3), ("c", 2)]
    assert batcher.is_empty()
    assert works(batcher.pop_batch(0.0)) == []


def test_a_word_is_not_padded_to_the_length_of_a_prompt():
    batcher = filled(Piece("prompt", 100), Piece("word", 1))

    assert works(batcher.pop_batch(0.0)) == [("word", 1)]
    assert works(batcher.pop_batch(0.0)) == [("prompt", 16)]


def test_work_is_live_by_what_it_scores_and_not_by_what_it_feeds():
    batcher = filled(Piece("prompt", 10, wanted=40), Piece("word", 16, wanted=1))

    assert works(batcher.pop_batch(0.0)) == [("word", 16)]
    assert works(batcher.pop_batch(0.0)) == [("prompt", 10)]


def test_a_step_is_not_for_the_most_part_padding():
    batcher = filled(Piece("a", 4), Piece("b", 1), Piece("c", 1), Piece("d", 3))

    # 4 + 1 + 1 tokens would cost three rows of 4, which is half padding; one more 1 would be too much.
    assert works(batcher.pop_batch(0.0)) == [("a", 4), ("b", 1), ("c", 1), ("d", 3)]
    batcher = filled(Piece("a", 4), *(Piece(lane, 1) for lane in "bcd"))
    assert works(batcher.pop_batch(0.0)) == [("a", 4), ("b", 1), ("c", 1)]
    assert works(batcher.pop_batch(0.0)) == [("d", 1)]


def test_the_cost_of_a_step_counts_padding():
    batcher = filled(*(Piece(lane, 10) for lane in "abc"), Piece("d", 16))

    assert works(batcher.pop_batch(1.0)) == [("a", 10), ("b", 10), ("c", 10)]
    assert works(batcher.pop_batch(1.0)) == [("d", 16)]


def test_rows_are_bounded():
    batcher = filled(*(Piece(lane, 1) for lane in range(10)))

    assert len(batcher.pop_batch(0.0).slices) == 6
    assert len(batcher.pop_batch(0.0).slices) == 4


def test_many_lanes_fall_into_halves_that_take_turns():
    limits = BatchLimits(halved_lanes=6)
    batcher, lanes = Batcher(limits), [Piece(lane, 1) for lane in range(7)]
    for lane in lanes:
        batcher.push(lane, 0.0)
    groups = []
    for step in range(6):
        groups.append([each.work for each in batcher.pop_batch(step / 100).slices])
        # Who had the step before has read his scores, and comes back while this one is computed.
        for back in groups[-2] if step else []:
            batcher.push(back, step / 100)

    assert [lane.lane for lane in groups[0]] == [0, 1, 2, 3]
    assert [lane.lane for lane in groups[1]] == [4, 5, 6]
    assert groups[2:] == groups[:2] * 2


def test_who_has_not_come_back_for_long_is_not_awaited():
    batcher = Batcher(BatchLimits(halved_lanes=6))
    for now, rows in ((0.0, [3, 3]), (COMES_BACK_S - 0.01, [4, 1]), (3 * COMES_BACK_S, [5])):
        for lane in range(6 if now == 0 else 5):
            batcher.push(Piece((now, lane), 1), now)
        assert [len(batcher.pop_batch(now).slices) for _ in rows] == rows


def test_few_lanes_share_one_step():
    batcher = Batcher(BatchLimits(halved_lanes=6))
    for lane in range(5):
        batcher.push(Piece(lane, 1), 0.0)

    assert len(batcher.pop_batch(0.0).slices) == 5


def test_what_comes_once_is_done_in_two_steps():
    batcher = Batcher(BatchLimits(max_batch_lanes=100, halved_lanes=6))
    for lane in range(40):
        batcher.push(Piece(lane, 1), 0.0)

    assert [len(batcher.pop_batch(0.0).slices) for _ in range(3)] == [20, 20, 0]


def test_a_lane_has_one_row_and_keeps_its_order():
    batcher = filled(Piece("a", 1), Piece("a", 2), Piece("b", 1))

    assert works(batcher.pop_batch(0.0)) == [("a", 1), ("b", 1)]
    assert works(batcher.pop_batch(0.0)) == [("a", 2)]


def test_cancelled_work_is_dropped_before_the_step():
    gone = Piece("a", 1)
    batcher = filled(gone, Piece("b", 1), Piece("c", 20, cancelled=True))
    gone.cancelled = True

    batch = batcher.pop_batch(0.0)

    assert works(batch) == [("b", 1)]
    assert [piece.lane for piece in batch.dropped] == ["a", "c"]
    assert batcher.is_empty()


def test_only_cancelled_work_gives_an_empty_step():
    batch = filled(Piece("a", 1, cancelled=True)).pop_batch(0.0)

    assert batch.slices == []
    assert len(batch.dropped) == 1


def test_bulk_work_stands_back_until_its_patience_ends():
    batcher = filled(Piece("prompt", 100))
    batcher.push(Piece("word", 1), 0.1)
    assert works(batcher.pop_batch(0.1)) == [("word", 1)]
    batcher.push(Piece("word", 1), 0.4)
    assert works(batcher.pop_batch(0.4)) == [("word", 1)]
    batcher.push(Piece("word", 1), 0.6)
    batch = batcher.pop_batch(0.6)
    assert works(batch) == [("prompt", 16)]
    assert batch.waited_s == pytest.approx(0.6)


def test_bulk_steps_do_not_follow_each_other_while_a_word_waits():
    batcher = filled(*(Piece(lane, 100) for lane in "abcdef"))
    order = []
    for step in range(6):
        batcher.push(Piece(f"word {step}", 1), 10.0)
        order.append("bulk" if batcher.pop_batch(10.0).slices[0].tokens > 4 else "live")

    assert "bulk" in order
    assert all(pair != ("bulk", "bulk") for pair in pairwise(order))


def test_limits_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="live_tokens <= slice_tokens"):
        BatchLimits(live_tokens=100, slice_tokens=10)
    with pytest.raises(ValueError, match="max_batch_lanes"):
        BatchLimits(max_batch_lanes=0)
    with pytest.raises(ValueError, match="halved_lanes"):
        BatchLimits(halved_lanes=1)


SCRIPTS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 5), st.integers(1, 60)),
        st.tuples(st.just("pop"), st.just(0), st.just(0)),
        st.tuples(st.just("cancel"), st.integers(0, 30), st.just(0)),
    ),
    max_size=60,
)


@given(SCRIPTS)
def test_every_piece_is_fed_whole_in_order_or_dropped(script):
    batcher, pieces, fed, dropped = Batcher(LIMITS), [], {}, set()
    now = 0.0

    def pop():
        batch = batcher.pop_batch(now)
        assert all(piece.cancelled for piece in batch.dropped)
        dropped.update(map(id, batch.dropped))
        lanes = [each.work.lane for each in batch.slices]
        assert len(set(lanes)) == len(lanes)
        if batch.slices:
            sizes = [each.tokens for each in batch.slices]
            assert len(sizes) * max(sizes) <= LIMITS.max_batch_tokens
            assert 2 * sum(sizes) >= len(sizes) * max(sizes)
            assert len(sizes) <= LIMITS.max_batch_lanes
        for each in batch.slices:
            assert not each.work.cancelled
            assert 1 <= each.tokens <= min(each.work.tokens_ready, LIMITS.slice_tokens)
            fed[id(each.work)] += each.tokens
            each.work.tokens_ready -= each.tokens
            if each.work.tokens_ready:
                batcher.push(each.work, now)
        return batch

    for what, number, tokens in script:
        now += 0.3
        if what == "push":
            # The engine has one piece a lane under way, so lanes are numbered by piece.
            pieces.append((Piece(len(pieces), tokens), tokens))
            fed[id(pieces[-1][0])] = 0
            batcher.push(pieces[-1][0], now)
        elif what == "pop":
            pop()
        elif number < len(pieces):
            pieces[number][0].cancelled = True
    for _ in range(1000):
        if batcher.is_empty():
            break
        now += 0.3
        pop()

    assert batcher.is_empty()
    for piece, tokens in pieces:
        assert fed[id(piece)] == tokens or id(piece) in dropped


@given(st.integers(1, 40))
def test_a_word_waits_for_at_most_one_bulk_step(prompts):
    batcher = filled(*(Piece(("prompt", number), 50) for number in range(prompts)))
    batcher.pop_batch(5.0)
    batcher.push(Piece("word", 2), 5.0)

    steps = [works(batcher.pop_batch(9.0)) for _ in range(2)]

    assert ("word", 2) in steps[0] + steps[1]
