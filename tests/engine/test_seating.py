"""Seats: the past of a step's rows, side by side, whoever sat there before."""

from __future__ import annotations

import gc
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.engine.cache import Geometry, KeyValueCache
from guardrail.engine.seating import Seating
from tests.engine.caches import SIZES, content, some


def filled(*lengths, seed=0):
    caches = []
    for number, length in enumerate(lengths):
        cache = KeyValueCache(SIZES)
        if length:
            cache.append(*some(length, seed + number))
        caches.append(cache)
    return caches


def assert_seated(past, caches):
    """Every cache has a row of its own, with all it remembers and nothing that is no number."""
    assert sorted(past.seats) == list(range(len(caches)))
    assert len(past.keys) == len(past.values) == SIZES.layers
    for layer, (keys, values) in enumerate(zip(past.keys, past.values, strict=True)):
        positions = keys.shape[-1]
        assert keys.shape == (len(caches), SIZES.heads, SIZES.head_dim, positions)
        assert values.shape == (len(caches), SIZES.heads, positions, SIZES.head_dim)
        assert keys.flags.c_contiguous
        assert values.flags.c_contiguous
        for seat, cache in zip(past.seats, caches, strict=True):
            assert cache.length <= positions
            expected = content(cache)[layer].transpose(1, 2, 0)
            np.testing.assert_array_equal(keys[seat, ..., : cache.length], expected)
            np.testing.assert_array_equal(values[seat, :, : cache.length], -expected.swapaxes(-1, -2))


def test_a_step_of_new_lanes_has_one_position_at_least():
    past = Seating(SIZES).seat(filled(0, 0))

    assert past.keys[0].shape[-1] >= 1


def test_positions_are_rounded_up_but_not_over_what_the_network_has():
    seating = Seating(SIZES)

    assert [seating.seat(filled(length)).keys[0].shape[-1] for length in (1, 64, 65, 100)] == [
        64,
        64,
        100,
        100,
    ]


def test_rows_of_different_lengths_stand_side_by_side():
    seating = Seating(SIZES)
    for seed, lengths in enumerate(((5, 0, 40), (3, 9), (1, 1, 1, 50))):
        caches = filled(*lengths, seed=10 * seed)
        assert_seated(seating.seat(caches), caches)


def test_who_goes_on_keeps_the_seat_and_is_not_copied_again():
    seating = Seating(SIZES)
    caches = filled(5, 6, 7)
    first = seating.seat(caches)
    # What was there before is not written again: spoilt on purpose, it stays spoilt.
    first.keys[0][first.seats[1], ..., 0] = 77
    for seed, cache in enumerate(caches):
        cache.append(*some(2, seed))
    again = seating.seat(caches[::-1])

    assert again.seats == first.seats[::-1]
    assert (again.keys[0][again.seats[1], ..., 0] == 77).all()


def test_a_step_of_another_length_in_between_unseats_nobody():
    seating = Seating(SIZES)
    long, short = filled(90), filled(3, 4, 5, seed=9)
    first = seating.seat(long)
    first.keys[0][0, ..., 0] = 77  # spoilt on purpose: written again, it would be right again
    assert_seated(seating.seat(short), short)

    assert (seating.seat(long).keys[0][0, ..., 0] == 77).all()


def test_groups_that_take_turns_keep_a_room_each():
    seating = Seating(SIZES)
    groups = [filled(5, 6, 7), filled(8, 9, 10, seed=9)]
    first = [seating.seat(group) for group in groups]
    for past in first:
        past.keys[0][..., 0] = 77  # spoilt on purpose: written again, it would be right again
    for group in groups * 2:
        assert (seating.seat(group).keys[0][..., 0] == 77).all()
    # One of them and a newcomer still find the room in which more of them sit.
    newcomer = filled(4, seed=40)
    again = seating.seat([*groups[1][:2], *newcomer])
    assert (again.keys[0][again.seats[:2], ..., 0] == 77).all()


def test_a_third_group_moves_in_where_nobody_sat_last():
    seating = Seating(SIZES)
    groups = [filled(5, 6, seed=seed) for seed in (0, 9, 18)]
    rooms = [seating.seat(group).keys[0].base for group in groups]

    assert rooms[0] is rooms[2]
    assert rooms[0] is not rooms[1]
    assert_seated(seating.seat(groups[0]), groups[0])


def test_arrays_of_few_shapes_are_kept():
    seating = Seating(Geometry(layers=1, heads=1, head_dim=1, max_positions=6400, dtype=np.dtype(np.int8)))
    for length in range(64, 6400, 64):
        cache = KeyValueCache(seating._geometry)
        cache.append(*[np.ones((1, length, 1, 1), np.int8)] * 2)
        seating.seat([cache])
    assert len(seating._rooms) < 8


def test_arrays_that_lanes_have_grown_out_of_are_given_up():
    seating = Seating(SIZES)
    (short,) = filled(3)
    row = seating.seat([short]).rows[0]
    row.keep(short, *some(2))
    long = filled(90, seed=1)
    for _ in range(40):
        seating.seat(long)

    assert len(seating._rooms) == 1
    assert short.slab.holder is None
    np.testing.assert_array_equal(content(short)[:, 3:], some(2)[0])


def test_a_lane_that_sits_too_far_back_is_moved():
    seating = Seating(SIZES)
    caches = filled(5, 6, 7)
    last = caches[seating.seat(caches).seats.index(2)]

    assert_seated(seating.seat([last]), [last])


def test_two_forks_of_one_slab_have_a_seat_each():
    (cache,) = filled(5)
    caches = [cache.fork(), cache.fork(), cache]

    assert_seated(Seating(SIZES).seat(caches), caches)


def test_who_remembers_nothing_of_a_slab_starts_anew():
    seating = Seating(SIZES)
    (cache,) = filled(0)
    seating.seat([cache]).rows[0].keep(cache, *some(2))
    beginner = cache.fork()
    beginner.length = 0
    beginner.append(*some(3, seed=1))

    np.testing.assert_array_equal(content(beginner), some(3, seed=1)[0])
    np.testing.assert_array_equal(content(cache), some(2)[0])


def test_arrays_are_used_again_and_by_one_room_at_a_time():
    seating = Seating(Geometry(layers=1, heads=1, head_dim=1, max_positions=6400, dtype=np.dtype(np.float32)))
    seen = set()
    for length in (64, 700, 800, 900, 1000, 100, 1010, 740):
        for lanes in (1, 2):
            caches = [KeyValueCache(seating._geometry) for _ in range(lanes)]
            for cache in caches:
                cache.append(*[np.ones((1, length, 1, 1), np.float32)] * 2)
            past = seating.seat(caches)
            assert np.isfinite(past.keys[0]).all()
            assert np.isfinite(past.values[0]).all()
            seen |= {id(past.keys[0].base), id(past.values[0].base)}
        bases = [array.base for room in seating._rooms for array in (room.keys, room.values)]
        assert len({id(base) for base in (*bases, *seating._buffers._spare)}) == len(bases) + len(
            seating._buffers._spare
        )
    assert len(seen) < 2 * 16


def test_what_cannot_be_taken_home_stays_where_it_is(monkeypatch):
    seating = Seating(SIZES)
    (cache,) = filled(0)
    row = seating.seat([cache]).rows[0]
    row.keep(cache, *some(3))
    with monkeypatch.context() as broken:
        broken.setattr(np, "empty", Mock(side_effect=MemoryError))
        with pytest.raises(MemoryError):
            row.leave()

    assert cache.slab.holder is row
    row.leave()
    assert cache.slab.holder is None
    np.testing.assert_array_equal(content(cache), some(3)[0])


def test_a_departed_lane_is_not_taken_for_a_new_one():
    seating = Seating(SIZES)
    for seed in range(50):
        caches = filled(3, seed=seed)  # likely to stand in memory where the last one stood
        assert_seated(seating.seat(caches), caches)
        del caches
        gc.collect()


def test_what_a_step_gave_is_written_once_and_brought_home_when_the_seat_is_wanted():
    seating = Seating(SIZES)
    (first,) = filled(5)
    past = seating.seat([first])
    past.rows[0].keep(first, *some(3, seed=1))
    slab = first.slab

    assert (slab.used, slab.holder) == (8, past.rows[0])
    for seed in (1, 2):  # the first gets a room of its own
        others = filled(2, seed=seed)
        assert_seated(seating.seat(others), others)
    assert slab.holder is None
    np.testing.assert_array_equal(content(first)[:, 5:], some(3, seed=1)[0])


def test_there_is_room_for_a_word_that_comes_but_not_for_a_slice_of_a_prompt():
    seating = Seating(SIZES)

    def room(length, tokens):
        return seating.seat(filled(length), tokens).keys[0].shape[-1]

    assert [room(56, 8), room(57, 8), room(57, 30), room(98, 8)] == [64, 100, 64, 100]


def test_who_moves_to_another_room_takes_along_what_stands_nowhere_else():
    seating = Seating(SIZES)
    (cache,) = filled(0)
    row = seating.seat([cache], 4).rows[0]
    row.keep(cache, *some(60))
    (again,) = seating.seat([cache], 8).rows

    assert cache.slab.holder is again is not row
    row.leave()  # it holds nothing any more
    again.keep(cache, *some(8, seed=1))
    again.leave()
    assert cache.slab.holder is None
    np.testing.assert_array_equal(content(cache), np.concatenate([some(60)[0], some(8, seed=1)[0]], 1))


def test_what_a_row_is_too_short_for_is_kept_at_home():
    seating = Seating(SIZES)
    (cache,) = filled(62)
    past = seating.seat([cache])
    past.rows[0].keep(cache, *some(2, seed=1))
    past.rows[0].keep(cache, *some(3, seed=2))

    assert (cache.length, cache.slab.holder) == (67, None)
    np.testing.assert_array_equal(content(cache)[:, 62:64], some(2, seed=1)[0])
    np.testing.assert_array_equal(content(cache)[:, 64:], some(3, seed=2)[0])


def test_a_fork_that_takes_over_a_row_leaves_the_other_what_stood_there():
    seating = Seating(SIZES)
    (cache,) = filled(0)
    row = seating.seat([cache]).rows[0]
    row.keep(cache, *some(4))
    shorter = cache.fork()
    shorter.length = 2
    row = seating.seat([shorter]).rows[0]
    row.keep(shorter, *some(3, seed=7))

    np.testing.assert_array_equal(content(cache), some(4)[0])
    np.testing.assert_array_equal(
        content(shorter), np.concatenate([some(4)[0][:, :2], some(3, seed=7)[0]], 1)
    )


def test_a_room_that_is_given_up_sends_everybody_home():
    seating = Seating(SIZES)
    caches = filled(5, 6)
    for row, cache in zip(seating.seat(caches).rows, caches, strict=True):
        row.keep(cache, *some(1))
    for seed in (1, 5):  # of the same shape, but more rows than there are
        more = filled(1, 2, 3, seed=seed)
        assert_seated(seating.seat(more), more)

    assert [cache.slab.holder for cache in caches] == [None, None]
    assert [cache.length for cache in caches] == [6, 7]
    for cache in caches:
        np.testing.assert_array_equal(content(cache)[:, -1:], some(1)[0])


@given(st.data())
def test_any_order_of_steps_shows_everyone_their_own_past(data):
    seating = Seating(SIZES)
    caches = filled(0, 3, 30)
    expected = [content(cache) for cache in caches]
    for number in range(data.draw(st.integers(1, 8))):
        chosen = data.draw(st.lists(st.sampled_from(range(len(caches))), min_size=1, unique=True))
        taken = [caches[which] for which in chosen]
        past = seating.seat(taken)
        for which, seat in zip(chosen, past.seats, strict=True):
            length = caches[which].length
            assert len(expected[which][0]) == length
            keys = past.keys[1][seat, ..., :length].transpose(2, 0, 1)
            np.testing.assert_array_equal(keys, expected[which][1])
            np.testing.assert_array_equal(past.values[1][seat, :, :length].swapaxes(0, 1), -keys)
        for which, row in zip(chosen, past.rows, strict=True):
            new = some(data.draw(st.integers(1, 20)), number)
            match data.draw(st.sampled_from(["keep", "keep", "append", "fork", "cut", "replace", "rest"])):
                case "keep" if caches[which].length <= 80:
                    row.keep(caches[which], *new)
                    expected[which] = np.concatenate([expected[which], new[0]], axis=1)
                case "append" if caches[which].length <= 80:
                    caches[which].append(*new)
                    expected[which] = np.concatenate([expected[which], new[0]], axis=1)
                case "fork" if len(caches) < 7:
                    caches.append(caches[which].fork())
                    expected.append(expected[which])
                case "cut":
                    caches[which] = caches[which].fork()
                    caches[which].length //= 2
                    expected[which] = expected[which][:, : caches[which].length]
                case "replace":
                    caches[which], expected[which] = caches[which].emptied(), some(0)[0]
    for cache, wanted in zip(caches, expected, strict=True):
        np.testing.assert_array_equal(content(cache), wanted)
