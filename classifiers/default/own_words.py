"""Our own inserts as training text: harmless answers, whatever they talk about (invariant 12).

Every wording the composer can say becomes a row, so that the network learns that help offered in a dark
place is not itself a risk.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from guardrail.interventions.composer import every_composition, load_composer

ROWS = 4000
"""At most; there are a little fewer different texts."""


def own_words(seed: int) -> Iterator[dict[str, Any]]:
    """Rows in the data format, source "generated_own_words", labelled harmless in every category."""
    rng = random.Random(seed)
    # A dictionary keeps the composer's order, which a set would not.
    chosen = list(dict.fromkeys(said.text for _, said in every_composition(load_composer())))
    rng.shuffle(chosen)
    for text in chosen[:ROWS]:
        yield {
            "src": "generated_own_words",
            "role": "assistant",
            "lang": "und",  # English, German and Spanish
            "text": text,
            "prompt": None,
            "labels": {},
            "harm": 0,
        }
