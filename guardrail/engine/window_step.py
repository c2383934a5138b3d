"""What a step of a window network computes: windows of any lanes, side by side.

A window is fed whole and leaves nothing behind. This file knows token ids and arrays, no text and no roles.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from guardrail.engine.batcher import Slice
from guardrail.engine.framing import Framed
from guardrail.engine.job import Job
from guardrail.engine.window_session import Network

LabelLogits = NDArray[np.float32]


class WindowJob(Job[LabelLogits]):
    """One window on its way through the network; gives [labels].

    Args:
        window: what is to be fed.
        wanted: tokens that the call it belongs to waits for; a prompt's windows are bulk, a word's is live.
    """

    def __init__(self, window: Framed, wanted: int) -> None:
        # Windows keep nothing, so those of one lane may share a step: each counts as a lane of its own.
        super().__init__(object(), len(window.ids))
        self.window = window
        self._wanted = wanted
        self._logits: LabelLogits | None = None

    @property
    def tokens_ready(self) -> int:
        """All of the window."""
        return len(self.window.ids)

    @property
    def tokens_wanted(self) -> int:
        """Tokens that its call waits for."""
        return self._wanted

    def result(self) -> LabelLogits:
        """The logits of the labels."""
        assert self._logits is not None
        return self._logits

    def take(self, logits: LabelLogits) -> None:
        """What a step gave for it; called on the runner's thread."""
        self._logits = logits
        self.tokens_left = 0


class WindowStep:
    """Computes steps; the runner's ``Step``.

    Args:
        network: used by the runner's thread alone.
    """

    def __init__(self, network: Network) -> None:
        self._network = network

    def compute(self, slices: Sequence[Slice[WindowJob]]) -> list[bool]:
        """Feed the windows, one row each; all of them are complete then. Blocks."""
        logits = self._network.run([each.work.window for each in slices])
        for each, row in zip(slices, logits, strict=True):
            each.work.take(row)
        return [True] * len(slices)
