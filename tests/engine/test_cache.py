from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.engine.cache import Geometry, KeyValueCache, PastAssembler

SIZES = Geometry(layers=2, heads=3, head_dim=2, max_positions=100)


def some(tokens, seed=0):
    keys = np.random.default_rng(seed).normal(size=(2, 3, tokens, 2)).astype(np.float32)
    return keys, -keys


def content(cache):
    if cache.length == 0:
        return np.zeros((2, 3, 0, 2), np.float32)
    keys, values = cache.whole()
    assert (keys == -values).all()
    return keys[:, 0, :, : cache.length]


def test_a_new_cache_holds_nothing():
    assert KeyValueCache(SIZES).length == 0
    assert KeyValueCache(SIZES).whole() is None


def test_room_doubles_up_to_the_positions():
    cache, capacities = KeyValueCache(SIZES), []
    for _ in range(100):
        cache.append(*some(1))
        capacities.append(cache.whole()[0].shape[3])

    assert sorted(set(capacities)) == [32, 64, 100]
    with pytest.raises(AssertionError):
        cache.append(*some(1))


def test_the_first_fork_to_go_on_does_so_in_place_and_the_second_copies():
    cache = KeyValueCache(SIZES)
    cache.append(*some(5))
    first, second = cache.fork(), cache.fork()
    first.append(*some(1, seed=1))
    second.append(*some(1, seed=2))

    assert first.whole()[0] is cache.whole()[0]
    assert second.whole()[0] is not cache.whole()[0]


@given(st.lists(st.tuples(st.sampled_from(["append", "fork", "drop"]), st.integers(0, 5), st.integers(1, 9))))
def test_forks_are_independent(steps):
    caches = [KeyValueCache(SIZES)]
    expected = [np.zeros((2, 3, 0, 2), np.float32)]
    for number, (what, any_number, tokens) in enumerate(steps):
        which = any_number % len(caches)
        if what == "fork" and len(caches) < 6:
            caches.append(caches[which].fork())
            expected.append(expected[which])
        elif what == "drop":
            # As a cancelled piece of work: appended to a fork that is then left behind.
            if caches[which].length + tokens <= 100:
                caches[which].fork().append(*some(tokens, seed=number))
        elif caches[which].length + tokens <= 100:
            keys, values = some(tokens, seed=number)
            caches[which].append(keys, values)
            expected[which] = np.concatenate([expected[which], keys], axis=2)

        for cache, wanted in zip(caches, expected, strict=True):
            np.testing.assert_array_equal(content(cache), wanted)


def test_an_emptied_cache_leaves_the_old_one_alone():
    cache = KeyValueCache(SIZES)
    cache.append(*some(5))

    assert cache.emptied().length == 0
    assert cache.length == 5


def test_a_step_of_new_lanes_has_no_past():
    keys, values = PastAssembler(SIZES).assemble([KeyValueCache(SIZES), KeyValueCache(SIZES)])

    assert keys.shape == values.shape == (2, 2, 3, 0, 2)


def test_one_row_is_not_copied():
    cache = KeyValueCache(SIZES)
    cache.append(*some(5))

    assert PastAssembler(SIZES).assemble([cache])[0] is cache.whole()[0]


def test_rows_of_different_lengths_stand_side_by_side():
    assembler = PastAssembler(SIZES)
    for lengths in ((5, 0, 40), (3, 9), (1, 1, 1, 50)):
        caches = [KeyValueCache(SIZES) for _ in lengths]
        for seed, (cache, length) in enumerate(zip(caches, lengths, strict=True)):
            if length:
                cache.append(*some(length, seed))

        keys, values = assembler.assemble(caches)

        assert keys.shape == (2, len(lengths), 3, max(lengths), 2)
        assert keys.flags.c_contiguous
        for row, cache in enumerate(caches):
            np.testing.assert_array_equal(keys[:, row, :, : cache.length], content(cache))
            np.testing.assert_array_equal(values[:, row, :, : cache.length], -content(cache))
        assert np.isfinite(keys).all()
