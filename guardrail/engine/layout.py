"""Where the tokens of a step stand: one after the other, and row by row.

What a network does token by token it does to the N tokens there are; where they attend to each other and to a
past, they stand in rows as long as the longest, [B, T], and the rest is padding. Pure arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of N tokens in B rows of T."""

    begins: Ints
    """[lanes]; where each lane's tokens begin among the N."""
    ends: Ints
    """[lanes]; where they end."""
    columns: Ints
    """[N]; how many of its lane's stand before each token."""
    slots: Ints
    """[B, T]; which token stands there; any of them where none does."""
    places: Ints
    """[N]; where in ``slots``, flattened, each token stands."""


def layout(sizes: Sequence[int], rows: Sequence[int]) -> Layout:
    """Lay out as many tokens of each lane as ``sizes`` says, at least one; ``rows`` are 0 to B - 1 in any order."""
    counts = np.array(sizes, np.int64)
    ends = counts.cumsum()
    begins = ends - counts
    everyone = np.arange(ends[-1])
    columns = everyone - np.repeat(begins, counts)
    longest = int(counts.max())
    places = np.repeat(np.array(rows, np.int64) * longest, counts) + columns
    slots = np.zeros(len(counts) * longest, np.int64)
    slots[places] = everyone
    return Layout(begins, ends, columns, slots.reshape(-1, longest), places)
