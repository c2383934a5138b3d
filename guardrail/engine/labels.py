"""What a classifier's labels say about our categories.

Every category gets one logit. With ``sigmoid``, labels stand for themselves and a category is as risky as
the riskiest of its labels. With ``softmax``, labels exclude each other and their probabilities add up: the
logit is the logarithm of the odds of the category's labels against all the others. Either way an uncalibrated
score (``sigmoid(logit)``) is the probability that the classifier itself would give.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from guardrail.engine.manifest_window import WindowPack

Logits = NDArray[np.float32]


class LabelOdds:
    """A pack's map from labels to categories.

    Args:
        pack: where it stands.
    """

    def __init__(self, pack: WindowPack) -> None:
        self._exclusive = pack.activation == "softmax"
        self._columns = [
            np.array([label in pack.feeds[category] for label in pack.labels]) for category in pack.categories
        ]

    def logits(self, labels: Logits) -> Logits:
        """The logits of categories, [windows, categories], from those of labels, [windows, labels]."""
        columns = [
            _log_sum(labels[:, feeding]) - _log_sum(labels[:, ~feeding])
            if self._exclusive
            else labels[:, feeding].max(axis=1)
            for feeding in self._columns
        ]
        return np.stack(columns, axis=1)


def _log_sum(logits: Logits) -> Logits:
    """The logarithm of the sum of exponentials, without overflow."""
    highest = logits.max(axis=1)
    total: Logits = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
    return total
