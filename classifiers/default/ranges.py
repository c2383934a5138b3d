"""How large keys and values get, channel by channel: what the int8 graph keeps of them is measured here.

Measured on this project's own conversations (``golden``, ``generated``), with a margin; what goes beyond is cut off.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from classifiers.default.conversation import Encoder
from classifiers.default.generated import generate
from classifiers.default.golden import CONVERSATIONS
from classifiers.default.model import CausalClassifier

MARGIN = 1.1


def sequences(encoder: Encoder, count: int) -> list[list[int]]:
    """Token ids of the golden conversations and of ``count`` generated ones."""
    turns_of = [list(turns) for turns in CONVERSATIONS]
    for row in list(generate(977, 0.05))[:count]:
        asked = [("user", row["prompt"])] if row["prompt"] else []
        turns_of.append([*asked, (row["role"], row["text"])])
    found = []
    for turns in turns_of:
        example = encoder.start()
        for role, text in turns:
            encoder.turn(example, role, text, 160)
        found.append(example.ids)
    return found


def ranges(model: CausalClassifier, texts: list[list[int]]) -> NDArray[np.float32]:
    """The highest absolute value of each channel over all tokens, with a margin: [layers, 2 (keys, values), hidden]."""
    highest = torch.zeros(model.arch.layers, 2, model.arch.hidden)
    hooks = []
    for index, layer in enumerate(model.layers):
        for part, name in enumerate(("key", "value")):

            def note(
                _module: object, _input: object, output: torch.Tensor, where: tuple[int, int] = (index, part)
            ) -> None:
                highest[where] = torch.maximum(highest[where], output.abs().flatten(0, 1).amax(0))

            hooks.append(getattr(layer, name).register_forward_hook(note))
    try:
        with torch.no_grad():
            for ids in texts:
                model(torch.tensor([ids]))
    finally:
        for hook in hooks:
            hook.remove()
    return np.asarray(highest.numpy() * MARGIN, np.float32)
