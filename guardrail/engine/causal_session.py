"""The causal network in ONNX Runtime: one incremental step over many lanes.

This file knows arrays, not lanes and not text. The contract of a causal pack's graph is ``StepInput`` and
``StepOutput``: inputs and outputs have the names of their fields, a layer's past that of the field, a dot and
the layer's number (``past_keys.0``). Keys and values may be of any type of number; they go round as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from guardrail.engine.cache import Geometry, NewState, State
from guardrail.engine.layout import layout
from guardrail.engine.manifest_causal import CausalPack
from guardrail.engine.session import OnnxSession, ProviderChoice

_OUTPUTS = ("logits", "new_keys", "new_values")
_FLAT = ("input_ids", "position_ids", "slots", "places", "past_length")
_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int8)": np.int8}


@dataclass(frozen=True, slots=True)
class StepInput:
    """One step of N new tokens in B rows, at most T of one row, with P past positions each."""

    input_ids: NDArray[np.int64]
    """[N]; one row's tokens after the other's, rows in any order (``layout``)."""
    position_ids: NDArray[np.int64]
    """[N]."""
    slots: NDArray[np.int64]
    """[B, T]; which of the N tokens stands there. Rows with fewer than T are padded on the right with any of them,
    harmless because nothing looks right."""
    places: NDArray[np.int64]
    """[N]; where in ``slots``, flattened, each token stands."""
    past_length: NDArray[np.int64]
    """[B]; how many of the P past positions of a row are valid."""
    past_keys: Sequence[State]
    """[B, heads, head_dim, P] for each layer; P is at least 1."""
    past_values: Sequence[State]
    """[B, heads, P, head_dim] for each layer."""


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What a step gives."""

    logits: NDArray[np.float32]
    """[N, network heads, categories], raw."""
    new_keys: NewState
    """[layers, N, heads, head_dim]."""
    new_values: NewState
    """[layers, N, heads, head_dim]."""


class Network(Protocol):
    """Whatever can compute a step."""

    @property
    def geometry(self) -> Geometry:
        """Sizes and type of keys and values."""
        ...

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
        self._keys = [f"past_keys.{layer}" for layer in range(pack.layers)]
        self._values = [f"past_values.{layer}" for layer in range(pack.layers)]
        self.check_names((*_FLAT, *self._keys, *self._values), _OUTPUTS)
        heads = 1 + max(entry.head for entry in pack.roles.values() if entry.head is not None)
        for entry, axis, size in (
            *(
                (name, axis, size)
                for name in self._keys
                for axis, size in ((1, pack.heads), (2, pack.head_dim))
            ),
            *(
                (name, axis, size)
                for name in self._values
                for axis, size in ((1, pack.heads), (3, pack.head_dim))
            ),
            ("new_keys", 0, pack.layers),
            ("logits", 1, heads),
            ("logits", 2, len(pack.categories)),
        ):
            self.check_axis(entry, axis, size)
        self.geometry = Geometry(pack.layers, pack.heads, pack.head_dim, pack.max_positions, self._dtype())
        """Sizes and type of keys and values."""

    def _dtype(self) -> np.dtype[Any]:
        kinds = {
            each.type for each in self._session.get_inputs() if each.name in {*self._keys, *self._values}
        }
        if len(kinds) > 1 or not kinds <= _DTYPES.keys():
            raise self.refusal(
                f"keys and values are {', '.join(sorted(kinds))}, must be one of {', '.join(_DTYPES)}"
            )
        return np.dtype(_DTYPES[kinds.pop()])

    def run(self, step: StepInput) -> StepOutput:
        """Compute ``step``; blocks."""
        logits, keys, values = self._session.run(
            _OUTPUTS,
            {
                **{name: getattr(step, name) for name in _FLAT},
                **dict(zip(self._keys, step.past_keys, strict=True)),
                **dict(zip(self._values, step.past_values, strict=True)),
            },
        )
        return StepOutput(logits, keys, values)

    def warm_up(self) -> None:
        """Compute the shapes that will come first, so that the first stream does not pay for them."""
        for rows, tokens, past in ((1, 1, 1), (1, 2, 64), (4, 8, 64), (1, 64, 1)):
            laid = layout([tokens] * rows, range(rows))
            keys, values = self.geometry.keys(past, rows), self.geometry.values(past, rows)
            self.run(
                StepInput(
                    np.zeros_like(laid.places),
                    laid.columns,
                    laid.slots,
                    laid.places,
                    np.full(rows, past),
                    list(keys),
                    list(values),
                )
            )
