from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.engine.cache import KeyValueCache
from tests.engine.caches import SIZES, content, some


def test_a_new_cache_holds_nothing():
    assert KeyValueCache(SIZES).length == 0
    assert KeyValueCache(SIZES).slab is None


def test_room_doubles_up_to_the_positions():
    cache, capacities = KeyValueCache(SIZES), []
    for _ in range(100):
        cache.append(*some(1))
        capacities.append(cache.slab.capacity)

    assert sorted(set(capacities)) == [32, 64, 100]
    with pytest.raises(AssertionError):
        cache.append(*some(1))


def test_a_position_takes_what_the_networks_numbers_take():
    cache = KeyValueCache(SIZES)
    cache.append(*some(1))

    numbers = SIZES.layers * SIZES.heads * SIZES.head_dim * cache.slab.capacity
    assert [state.base.nbytes for state in cache.slab.read(0, 1)] == [numbers, numbers]


def test_the_first_fork_to_go_on_does_so_in_place_and_the_second_copies():
    cache = KeyValueCache(SIZES)
    cache.append(*some(5))
    first, second = cache.fork(), cache.fork()
    first.append(*some(1, seed=1))
    second.append(*some(1, seed=2))

    assert first.slab is cache.slab
    assert second.slab is not cache.slab


def test_who_remembers_only_the_beginning_does_not_keep_the_rest():
    prompt = KeyValueCache(SIZES)
    prompt.append(*some(5))
    answer = prompt.fork()
    for seed in range(80):
        answer.append(*some(1, seed))

    assert prompt.slab.capacity == 32
    np.testing.assert_array_equal(content(answer)[:, :5], content(prompt))


@given(st.lists(st.tuples(st.sampled_from(["append", "fork", "drop"]), st.integers(0, 5), st.integers(1, 9))))
def test_forks_are_independent(steps):
    caches = [KeyValueCache(SIZES)]
    expected = [some(0)[0]]
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
            expected[which] = np.concatenate([expected[which], keys], axis=1)

        for cache, wanted in zip(caches, expected, strict=True):
            np.testing.assert_array_equal(content(cache), wanted)


def test_an_emptied_cache_leaves_the_old_one_alone():
    cache = KeyValueCache(SIZES)
    cache.append(*some(5))

    assert cache.emptied().length == 0
    assert cache.length == 5
