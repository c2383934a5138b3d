"""What single words say: learnt from a pool, and written where the embeddings had little to say."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed: make test-train")

from classifiers.default.word_odds import (
    FEWEST_POSITIVES,
    LARGEST,
    bags,
    directions,
    odds,
    weigh,
    written_into,
)

VOCABULARY, HIDDEN = 40, 16
BAD, GOOD, PLAIN = 7, 8, range(10, VOCABULARY)


@pytest.fixture
def pool():
    """Conversations of a user's and an assistant's turn; the token BAD makes a turn harmful, whose ever it is."""
    rng = np.random.default_rng(3)
    ids, offsets, spans, target = [], [0], [], []
    for number in range(2 * FEWEST_POSITIVES + 200):
        start = len(ids)
        ids.append(1)
        for role in (0, 1):
            begin = len(ids) - start
            harmful = bool(rng.integers(2)) if role else number % 2 == 0
            ids += [*rng.choice(PLAIN, rng.integers(3, 9)), BAD if harmful else GOOD]
            spans.append((number, begin, len(ids) - start, role, -1))
            target.append([float(harmful), 0.0])
        offsets.append(len(ids))
    return {
        "ids": np.array(ids, np.int32),
        "offsets": np.array(offsets, np.int64),
        "spans": np.array(spans, np.int32),
        "target": np.array(target, np.float16),
        "weight": np.ones((len(target), 2), np.float16),
    }


@pytest.fixture
def table():
    return np.random.default_rng(4).normal(size=(VOCABULARY, HIDDEN)).astype(np.float32)


def test_a_turn_is_counted_without_what_stands_around_it():
    ids = np.array([1, 5, 5, 6, 2, 7, 1, 9], np.int32)
    spans = np.array([(0, 1, 4, 0, -1), (0, 5, 6, 1, -1), (1, 1, 2, 0, -1)], np.int32)
    counts = bags(ids, np.array([0, 6, 8]), spans, 10).toarray()

    assert [dict(zip(np.flatnonzero(row).tolist(), row[row > 0].tolist(), strict=True)) for row in counts] == [
        {5: 2.0, 6: 1.0},
        {7: 1.0},
        {9: 1.0},
    ]


def test_rare_words_weigh_more_than_common_ones_and_single_ones_nothing(pool):
    pool["ids"][pool["spans"][0, 1]] = 3  # stands in this turn only
    features, rarity = weigh(bags(pool["ids"], pool["offsets"], pool["spans"], VOCABULARY))

    np.testing.assert_allclose(np.linalg.norm(features.toarray(), axis=1), 1, rtol=1e-5)
    assert rarity[3] == 0
    assert rarity[PLAIN[0]] > rarity[BAD] > 0  # each plain token stands in fewer turns


def test_the_word_that_tells_is_found_and_masked_rows_are_not_asked(pool):
    features, _ = weigh(bags(pool["ids"], pool["offsets"], pool["spans"], VOCABULARY))
    target = pool["target"][:, 0].astype(np.float32)
    weight = np.ones(len(target), np.float32)
    found = odds(features, target, weight)

    assert found.argmax() == BAD
    assert found.argmin() == GOOD
    half = np.arange(len(target)) % 2 == 0
    lied = np.where(half, target, 1 - target)  # the other half lies, and has no weight
    np.testing.assert_allclose(odds(features, lied, half.astype(np.float32)).argmax(), BAD)


def test_a_head_with_few_positives_says_nothing(pool):
    features, _ = weigh(bags(pool["ids"], pool["offsets"], pool["spans"], VOCABULARY))
    few = np.zeros(features.shape[0], np.float32)
    few[: FEWEST_POSITIVES - 1] = 1

    assert odds(features, few, np.ones_like(few)) is None


def test_half_a_positive_pulls_half_as_hard(pool):
    features, _ = weigh(bags(pool["ids"], pool["offsets"], pool["spans"], VOCABULARY))
    target, sure = pool["target"][:, 0].astype(np.float32), np.ones(features.shape[0], np.float32)
    soft = odds(features, np.where(target > 0, 0.6, 0).astype(np.float32), sure)

    assert 0 < soft[BAD] < odds(features, target, sure)[BAD]


def test_directions_are_those_in_which_little_varies(table):
    table[:, 0] = 0.5  # the same for every token: nothing would be lost there
    found = directions(table, np.ones(VOCABULARY, np.float32), 3)

    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-5)
    assert abs(found[0, 0]) > 0.999


def test_what_words_say_can_be_read_from_the_table_and_the_rest_is_as_before(pool, table):
    new = written_into(table, pool)
    change = new - table

    # One direction a role: the other category has no positives.
    assert np.linalg.matrix_rank(change, tol=1e-3) == 2
    counts = bags(pool["ids"], pool["offsets"], pool["spans"], VOCABULARY)
    often = np.asarray(counts.sum(0)).ravel() + 1e-3
    taken = directions(table, often.astype(np.float32), 2)
    said = change @ taken.T
    assert np.allclose(change, said @ taken, atol=1e-4)
    assert {int(said[:, k].argmax()) for k in range(2)} == {BAD}
    usual = np.sqrt((table.std(axis=0) ** 2).mean())
    assert np.abs(said).max() < 1.2 * LARGEST * usual
