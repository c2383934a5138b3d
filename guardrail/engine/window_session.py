"""A sequence classifier in ONNX Runtime: windows in, one row of label logits a window out.

This file knows arrays, not lanes and not text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from guardrail.engine.framing import Framed
from guardrail.engine.manifest_window import WindowPack
from guardrail.engine.session import OnnxSession, ProviderChoice

Logits = NDArray[np.float32]

_OUTPUT = "logits"
_ANY_IDS = 64
"""Ids below this are in every vocabulary; what they stand for does not matter to a warm-up."""
_NEIGHBOUR_TOLERANCE = 0.01
"""How far a window's logits may move in company: a quarter of a hundredth of a score, room for half precision."""


class Network(Protocol):
    """Whatever can compute windows."""

    def run(self, windows: Sequence[Framed]) -> Logits:
        """The logits of ``windows``, [windows, labels]; blocks."""
        ...


class WindowSession(OnnxSession):
    """A window pack's network; arguments as of ``OnnxSession``.

    Raises:
        ProviderError: CUDA was asked for and cannot be had; says what to install.
        PackError: the network cannot be loaded or does not take or give what the manifest says.
    """

    def __init__(
        self, pack: WindowPack, *, provider: ProviderChoice = "auto", intra_op_threads: int = 0
    ) -> None:
        super().__init__(pack, provider=provider, intra_op_threads=intra_op_threads)
        self._inputs = pack.inputs
        self.check_names(pack.inputs, [_OUTPUT])
        for entry in self._session.get_inputs():
            if entry.type != "tensor(int64)":
                raise self.refusal(f"input {entry.name!r} is a {entry.type}, not a tensor(int64)")
        self.check_axis(_OUTPUT, 1, len(pack.labels))
        self._labels, self._max_tokens = len(pack.labels), pack.max_tokens

    def run(self, windows: Sequence[Framed]) -> Logits:
        """The logits of ``windows``, [windows, labels]; blocks.

        Shorter ones are padded on the right. The mask takes the padding out, so its ids do not matter: 0 is in
        every vocabulary.
        """
        shape = (len(windows), max(len(window.ids) for window in windows))
        arrays = {
            name: np.zeros(shape, np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")
        }
        for row, window in enumerate(windows):
            length = len(window.ids)
            arrays["input_ids"][row, :length] = window.ids
            arrays["attention_mask"][row, :length] = 1
            arrays["token_type_ids"][row, :length] = window.type_ids
        logits: Logits = self._session.run([_OUTPUT], {name: arrays[name] for name in self._inputs})[0]
        return logits.astype(np.float32, copy=False)

    def warm_up(self) -> None:
        """Compute the longest window there can be and shorter ones, alone and together.

        Raises:
            PackError: the network cannot compute them, or what it says of a window depends on the windows beside
                it. Quantisation whose scale is taken over the whole batch does that, and scores could not be
                repeated (invariant 11).
        """
        longest = self._max_tokens
        sizes = (longest, longest // 2, 8, 3)
        windows = [
            Framed(tuple((place + size) % _ANY_IDS for place in range(size)), (0,) * size) for size in sizes
        ]
        try:
            alone = np.concatenate([self.run([window]) for window in windows])
            together = self.run(windows)
        except Exception as error:  # the runtime has an exception type a status code, with no common root
            raise self.refusal(f"cannot compute a window of {longest} tokens: {error}") from error
        if alone.shape != (len(windows), self._labels):
            raise self.refusal(
                f"gives {alone.shape[1:]} logits a window, the manifest has {self._labels} labels"
            )
        apart = float(np.abs(alone - together).max())
        if not apart <= _NEIGHBOUR_TOLERANCE:
            raise self.refusal(
                f"a window's logits move by {apart:.3g} with the windows beside it: export it without dynamic "
                "quantisation"
            )
