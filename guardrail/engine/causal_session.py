"""The causal network in ONNX Runtime: one incremental step over many lanes.

This file knows arrays, not lanes and not text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from guardrail.engine.cache import Geometry
from guardrail.engine.manifest_causal import CausalPack
from guardrail.engine.session import OnnxSession, ProviderChoice

_INPUTS = ("input_ids", "position_ids", "past_length", "past_keys", "past_values")
_OUTPUTS = ("logits", "new_keys", "new_values")


@dataclass(frozen=True, slots=True)
class StepInput:
    """One step of B rows with at most T new tokens and P past positions each."""

    input_ids: NDArray[np.int64]
    """[B, T]; rows with fewer tokens are padded on the right, harmless because nothing looks right."""
    position_ids: NDArray[np.int64]
    """[B, T]."""
    past_length: NDArray[np.int64]
    """[B]; how many of the P past positions of a row are valid."""
    past_keys: NDArray[np.float32]
    """[layers, B, heads, P, head_dim]; P may be 0."""
    past_values: NDArray[np.float32]
    """The same shape."""


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What a step gives."""

    logits: NDArray[np.float32]
    """[B, T, network heads, categories], raw."""
    new_keys: NDArray[np.float32]
    """[layers, B, heads, T, head_dim]."""
    new_values: NDArray[np.float32]
    """The same shape."""


class Network(Protocol):
    """Whatever can compute a step."""

    def run(self, step: StepInput) -> StepOutput:
        """Compute ``step``; blocks."""
        ...


class CausalSession(OnnxSession):
    """A causal pack's network; arguments as of ``OnnxSession``.

    Raises:
        ProviderError: CUDA was asked for and cannot be had; says what to install.
        PackError: the network cannot be loaded or is not shaped as the manifest says.
    """

    def __init__(
        self, pack: CausalPack, *, provider: ProviderChoice = "auto", intra_op_threads: int = 0
    ) -> None:
        super().__init__(pack, provider=provider, intra_op_threads=intra_op_threads)
        self._geometry = Geometry(pack.layers, pack.heads, pack.head_dim, pack.max_positions)
        self.check_names(_INPUTS, _OUTPUTS)
        heads = 1 + max(entry.head for entry in pack.roles.values() if entry.head is not None)
        for entry, axis, size in (
            ("past_keys", 0, pack.layers),
            ("past_keys", 2, pack.heads),
            ("past_keys", 4, pack.head_dim),
            ("logits", 2, heads),
            ("logits", 3, len(pack.categories)),
        ):
            self.check_axis(entry, axis, size)

    def run(self, step: StepInput) -> StepOutput:
        """Compute ``step``; blocks."""
        logits, keys, values = self._session.run(
            _OUTPUTS,
            {
                "input_ids": step.input_ids,
                "position_ids": step.position_ids,
                "past_length": step.past_length,
                "past_keys": step.past_keys,
                "past_values": step.past_values,
            },
        )
        return StepOutput(logits, keys, values)

    def warm_up(self) -> None:
        """Compute the shapes that will come first, so that the first stream does not pay for them."""
        sizes = self._geometry
        for rows, tokens, past in ((1, 1, 0), (1, 2, 32), (4, 8, 64), (1, 64, 0)):
            shape = (sizes.layers, rows, sizes.heads, past, sizes.head_dim)
            zeros = np.zeros(shape, np.float32)
            ids = np.zeros((rows, tokens), np.int64)
            self.run(StepInput(ids, ids, np.full(rows, past, np.int64), zeros, zeros))
