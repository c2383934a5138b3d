"""Logits of categories to calibrated risk scores.

One straight line a role and category, then a sigmoid: ``score = sigmoid(scale * logit + offset)``. The
lines were fitted where the pack was made; nothing is fitted here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from guardrail.core.verdicts import Role
from guardrail.engine.manifest import NetworkPack


class Calibration:
    """The pack's calibration as arrays.

    Args:
        pack: where the lines stand.
    """

    def __init__(self, pack: NetworkPack) -> None:
        self._categories = pack.categories
        self._scales: dict[Role, NDArray[np.float32]] = {}
        self._offsets: dict[Role, NDArray[np.float32]] = {}
        for role in pack.judged:
            lines = [pack.calibration[role][category] for category in pack.categories]
            # Halved, as the tangent below wants them; halving a float is exact.
            self._scales[role] = np.array([line.scale / 2 for line in lines], np.float32)
            self._offsets[role] = np.array([line.offset / 2 for line in lines], np.float32)

    def scores(self, role: Role, logits: NDArray[np.float32]) -> Sequence[Mapping[str, float]]:
        """Risk scores of consecutive tokens or windows.

        Args:
            role: whose turn they are in; one that is judged.
            logits: [tokens, categories].

        Returns:
            One mapping a row, every category to its score in [0, 1].
        """
        # The hyperbolic tangent's form of the sigmoid does not overflow. In place: this is done a word at a time.
        scores = self._scales[role] * logits
        scores += self._offsets[role]
        np.tanh(scores, out=scores)
        scores *= 0.5
        scores += 0.5
        return [dict(zip(self._categories, row, strict=True)) for row in scores.tolist()]
