"""How large activations get: what the int8 graph keeps of them is measured here.

Measured on this project's own conversations (``golden``, ``generated``, ``written``); what goes beyond is cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from classifiers.default.conversation import Encoder, held_back
from classifiers.default.generated import generate
from classifiers.default.golden import CONVERSATIONS
from classifiers.default.model import CausalClassifier
from classifiers.default.written import written

GENERATED = 400
EVERY = 12
"""One written row in so many is measured, and the generated ones: more texts, and no margin, cut off less and round
finer than fewer with a margin of a tenth."""
Floats = NDArray[np.float32]


def sequences(encoder: Encoder, count: int) -> list[list[int]]:
    """Token ids of the golden conversations and of ``count`` generated ones."""
    turns_of = [list(turns) for turns in CONVERSATIONS]
    return [_encoded(encoder, turns) for turns in [*turns_of, *_turns(islice(generate(977, 0.05), count))]]


def measured_sequences(encoder: Encoder) -> list[list[int]]:
    """Token ids of what is measured: these, and written rows of all kinds."""
    rows = islice((row for row in written() if not held_back(row)), None, None, EVERY)
    return sequences(encoder, GENERATED) + [_encoded(encoder, turns) for turns in _turns(rows)]


def _turns(rows: Iterable[dict[str, Any]]) -> Iterator[list[tuple[str, str]]]:
    for row in rows:
        asked = [("user", row["prompt"])] if row.get("prompt") else []
        yield [*asked, (row["role"], row["text"])]


def _encoded(encoder: Encoder, turns: list[tuple[str, str]]) -> list[int]:
    example = encoder.start()
    for role, text in turns:
        encoder.turn(example, role, text, 160)
    return example.ids


@dataclass(frozen=True)
class Ranges:
    """The highest absolute values over all tokens."""

    states: Floats
    """Of each channel of queries, keys and values, [layers, 3, hidden]."""
    inputs: Floats
    """Of each channel of what comes into a layer's attention and into its inner product, [layers, 2, hidden]."""


def ranges(model: CausalClassifier, texts: list[list[int]]) -> Ranges:
    """Measure them on ``texts``, token ids each."""
    arch = model.arch
    states = torch.zeros(arch.layers, 3, arch.hidden)
    inputs = torch.zeros(arch.layers, 2, arch.hidden)
    hooks = []

    def note(into: torch.Tensor, where: tuple[int, int], value: torch.Tensor) -> None:
        into[where] = torch.maximum(into[where], value.abs().flatten(0, 1).amax(0))

    for index, layer in enumerate(model.layers):
        for part, name in enumerate(("query", "key", "value")):
            hooks.append(
                getattr(layer, name).register_forward_hook(
                    lambda _module, _given, output, where=(index, part): note(states, where, output)
                )
            )
        for part, name in enumerate(("query", "inner")):
            hooks.append(
                getattr(layer, name).register_forward_pre_hook(
                    lambda _module, given, where=(index, part): note(inputs, where, given[0])
                )
            )
    try:
        with torch.no_grad():
            for ids in texts:
                model(torch.tensor([ids]))
    finally:
        for hook in hooks:
            hook.remove()
    return Ranges(*(np.asarray(found.numpy(), np.float32) for found in (states, inputs)))
