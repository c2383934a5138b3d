"""What single words say, written into the embedding table before training.

A logistic regression on single tokens ranks some sets better than a trained network does, and adding the two up ranks
nearly all of them better than either: a gradient step moves a rare token's embedding hardly at all, while the
regression uses every row it stands in. So the regression's weights become part of the embeddings: one direction a
head, among those in which the embeddings vary least, so that what was there before keeps its meaning. Nothing
else changes: the network is the same size, and training may keep, bend or forget what it was given.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags
from sklearn.linear_model import LogisticRegression

Floats = NDArray[np.float32]

FEWEST_POSITIVES = 150
"""Spans; a head with fewer gets no direction."""
STRENGTH = 1.0
"""Of a direction: its standard deviation over running text, next to that of an average direction."""
LARGEST = 4.0
"""Standard deviations; a word says no more than this."""


def bags(
    ids: NDArray[np.int32], offsets: NDArray[np.int64], spans: NDArray[np.int32], vocabulary: int
) -> csr_matrix:
    """Token counts of the scored turns, [spans, vocabulary], from a pool's arrays (`data.Pool.save`)."""
    starts = offsets[spans[:, 0]] + spans[:, 1]
    lengths = spans[:, 2] - spans[:, 1]
    ends = np.cumsum(lengths)
    rows = np.repeat(np.arange(len(spans)), lengths)
    places = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths) + np.repeat(starts, lengths)
    counts = csr_matrix((np.ones(len(places), np.float32), (rows, ids[places])), (len(spans), vocabulary))
    counts.sum_duplicates()
    return counts


def weigh(counts: csr_matrix) -> tuple[csr_matrix, Floats]:
    """1 + log(count), times the inverse document frequency, rows of length 1; and the frequencies' weights [vocabulary].

    What stands in one row only counts nothing.
    """
    seen = np.asarray((counts > 0).sum(0)).ravel()
    rarity = np.where(seen > 1, np.log((1 + counts.shape[0]) / (1 + seen)) + 1, 0).astype(np.float32)
    features = counts.copy()
    features.data = 1 + np.log(features.data)
    features = features @ diags(rarity)
    norm = np.sqrt(np.asarray(features.multiply(features).sum(1)).ravel())
    return (diags(1 / np.maximum(norm, 1e-6)) @ features).tocsr(), rarity


def odds(features: csr_matrix, target: Floats, weight: Floats) -> Floats | None:
    """Log odds a unit of each feature, [vocabulary]; None with too few positives.

    A target between 0 and 1 is that much of a positive.
    """
    known = weight > 0
    if (target[known] >= 0.5).sum() < FEWEST_POSITIVES or (target[known] < 0.5).sum() < FEWEST_POSITIVES:
        return None
    own, soft, how_sure = features[known], target[known], weight[known]
    some = np.flatnonzero(soft > 0)
    rows = np.concatenate([np.arange(len(soft)), some])
    label = np.concatenate([np.zeros(len(soft)), np.ones(len(some))])
    share = np.concatenate([how_sure * (1 - soft), how_sure[some] * soft[some]])
    counted = share > 0
    model = LogisticRegression(C=4.0, max_iter=200)
    model.fit(own[rows[counted]], label[counted], sample_weight=share[counted])
    return np.asarray(model.coef_[0], dtype=np.float32)


def directions(table: Floats, often: Floats, count: int) -> Floats:
    """The `count` directions in which `table` [vocabulary, hidden] varies least over running text, [count, hidden].

    `often` [vocabulary] is how often a token occurs.
    """
    share = often / often.sum()
    centred = table - share @ table
    _, vectors = np.linalg.eigh((centred * share[:, None]).T @ centred)
    return np.asarray(vectors[:, :count].T, dtype=np.float32)


def written_into(table: Floats, pool: dict[str, NDArray[np.generic]]) -> Floats:
    """`table` [vocabulary, hidden] with the pool's word odds in it."""
    spans, target, weight = pool["spans"], pool["target"].astype(np.float32), pool["weight"].astype(np.float32)
    counts = bags(pool["ids"], pool["offsets"], spans, len(table))
    often = np.asarray(counts.sum(0)).ravel().astype(np.float32) + 1e-3
    columns: list[Floats] = []
    for role in (0, 1):
        mine = spans[:, 3] == role
        features, rarity = weigh(counts[mine])
        for head in range(target.shape[1]):
            found = odds(features, target[mine, head], weight[mine, head])
            if found is not None:
                columns.append(found * rarity)
    said = np.stack(columns, axis=1)
    share = often / often.sum()
    said = said - share @ said
    said = np.clip(said / np.sqrt(share @ said**2), -LARGEST, LARGEST)
    centred = table - share @ table
    usual = np.sqrt((share @ centred**2).mean())
    return np.asarray(table + STRENGTH * usual * said @ directions(table, often, said.shape[1]), dtype=np.float32)
