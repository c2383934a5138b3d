"""What stands around the text of a window: the special tokens of the pack's own post-processor.

Learnt once, from what the post-processor makes of one and of two segments; so ``[CLS] a [SEP] b [SEP]``
and ``<s> a </s></s> b </s>`` need no names here, and no manifest has to repeat them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from guardrail.engine.tokenizer import TextTokenizer

Ids = tuple[int, ...]

_PROBE = "a"


@dataclass(frozen=True, slots=True)
class Framed:
    """The tokens of a window as the network takes them: two sequences of equal length."""

    ids: Ids
    type_ids: Ids


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands before, between and after a fixed number of segments."""

    around: tuple[Framed, ...]
    """One more than there are segments."""
    types: Ids
    """The type id of each segment's tokens."""

    @property
    def size(self) -> int:
        """How many special tokens there are."""
        return sum(len(each.ids) for each in self.around)

    def wrap(self, *segments: Sequence[int]) -> Framed:
        """The segments with everything around them."""
        first, *others = self.around
        ids, type_ids = list(first.ids), list(first.type_ids)
        for segment, type_id, after in zip(segments, self.types, others, strict=True):
            ids += [*segment, *after.ids]
            type_ids += [*([type_id] * len(segment)), *after.type_ids]
        return Framed(tuple(ids), tuple(type_ids))


def frame(tokenizer: TextTokenizer, segments: int) -> Frame:
    """What ``tokenizer``'s post-processor puts around so many segments, 1 or 2."""
    around: list[list[tuple[int, int]]] = [[]]
    types: list[int] = []
    for token, type_id, segment in tokenizer.framed(_PROBE, _PROBE if segments == 2 else None):
        if segment is None:
            around[-1].append((token, type_id))
        elif segment == len(types):
            types.append(type_id)
            around.append([])
    return Frame(
        tuple(Framed(tuple(i for i, _ in each), tuple(t for _, t in each)) for each in around), tuple(types)
    )
