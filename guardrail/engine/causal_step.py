"""What a step of a causal network computes: the next tokens of each lane, onto what it remembers.

A lane's tokens may take several steps (a long prompt is sliced) and several passes (a lane that
re-anchors begins anew). This file knows token ids and arrays, no text and no roles.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from guardrail.engine.anchoring import Pass
from guardrail.engine.batcher import Slice
from guardrail.engine.cache import Geometry, KeyValueCache, NewState
from guardrail.engine.causal_session import Network, StepInput
from guardrail.engine.job import Job
from guardrail.engine.layout import layout
from guardrail.engine.seating import Row, Seating

Logits = NDArray[np.float32]


class CausalJob(Job[Logits]):
    """A lane's tokens on their way through the network; gives [wanted ids, network heads, categories].

    Args:
        lane: whose they are; identity only.
        passes: what is to be fed, at least one.
        cache: the lane's state before; left as it is.
        tentative: the last tokens need not be remembered.
    """

    def __init__(
        self, lane: Hashable, passes: Sequence[Pass], cache: KeyValueCache, *, tentative: bool
    ) -> None:
        super().__init__(lane, sum(len(each.ids) for each in passes))
        self.cache = cache.fork()
        """The lane's state after what was fed so far."""
        self._passes = deque(passes)
        self._fed = 0
        self._tentative = tentative
        self._logits: list[Logits] = []

    @property
    def tokens_ready(self) -> int:
        """Tokens left of the pass that is being fed."""
        return len(self._passes[0].ids) - self._fed

    @property
    def tokens_wanted(self) -> int:
        """All that is left of the pass: what is fed beside the wanted is as long to wait for."""
        return self.tokens_ready

    def result(self) -> Logits:
        """Logits of the wanted ids."""
        return self._logits[0] if len(self._logits) == 1 else np.concatenate(self._logits)

    # What follows is called on the runner's thread.

    def next_ids(self, tokens: int) -> tuple[int, ...]:
        """The next ``tokens`` ids; the start of a fresh pass forgets the cache."""
        if self._passes[0].fresh and self._fed == 0:
            self.cache = self.cache.emptied()
        return self._passes[0].ids[self._fed : self._fed + tokens]

    def advance(self, logits: Logits, row: Row, keys: NewState, values: NewState) -> bool:
        """Take in what a step gave for the ids handed out last; True when that was the last of it.

        Args:
            logits: [tokens, network heads, categories].
            row: where the lane's past stood in that step.
            keys: [layers, tokens, heads, head_dim].
            values: of the same shape.
        """
        tokens = logits.shape[0]
        current = self._passes[0]
        unwanted = max(0, current.scored_from - self._fed)
        if unwanted < tokens:
            self._logits.append(logits[unwanted:])
        self._fed += tokens
        self.tokens_left -= tokens
        if not (self._tentative and self.tokens_left == 0):
            row.keep(self.cache, keys, values)
        if self._fed == len(current.ids):
            self._passes.popleft()
            self._fed = 0
        return not self._passes


class CausalStep:
    """Computes steps; the runner's ``Step``.

    Args:
        network: used by the runner's thread alone.
        geometry: its sizes.
    """

    def __init__(self, network: Network, geometry: Geometry) -> None:
        self._network = network
        self._seating = Seating(geometry)

    def compute(self, slices: Sequence[Slice[CausalJob]]) -> list[bool]:
        """Feed the slices, one row each; which of their jobs are complete now. Blocks.

        Their tokens stand one after the other, so that nothing is computed for a row that has fewer than another.
        """
        sizes = [each.tokens for each in slices]
        ids = [token for each in slices for token in each.work.next_ids(each.tokens)]
        lengths = np.array([each.work.cache.length for each in slices], np.int64)
        past = self._seating.seat([each.work.cache for each in slices], max(sizes))
        laid = layout(sizes, past.seats)
        past_length = np.empty_like(lengths)
        past_length[past.seats] = lengths
        output = self._network.run(
            StepInput(
                np.array(ids, np.int64),
                np.repeat(lengths, sizes) + laid.columns,
                laid.slots,
                laid.places,
                past_length,
                past.keys,
                past.values,
            )
        )
        begins, ends = laid.begins.tolist(), laid.ends.tolist()
        return [
            each.work.advance(
                output.logits[begin:end],
                row,
                output.new_keys[:, begin:end],
                output.new_values[:, begin:end],
            )
            for each, row, begin, end in zip(slices, past.rows, begins, ends, strict=True)
        ]
