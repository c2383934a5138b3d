"""Puts the caches of a step's rows side by side, as the network wants them, copying as little as it can.

The arrays of a step are kept for the next: a lane that was in the last step finds all but its newest tokens
already there. A *seat* is a row of these arrays. Who takes part keeps the seat it has if it is among the
first ``n``; the others get what is free. Streams that run side by side thus keep their seats, and a step
copies one token a lane, not the whole past.

The positions are rounded up, so that the arrays change their shape, and everybody is seated anew, once in 64
tokens. What stands beyond a row's length is finite and otherwise meaningless.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass

from guardrail.engine.cache import Geometry, KeyValueCache, Slab, State

_POSITIONS = 64
"""Positions are rounded up to a multiple of this."""


@dataclass(frozen=True, slots=True)
class Past:
    """The past of n rows; the arrays are valid until the next step is seated."""

    seats: list[int]
    """Which row each cache stands in: 0 to n - 1 in some order."""
    keys: list[State]
    """A layer's keys, [n, heads, head_dim, positions], for each layer."""
    values: list[State]
    """A layer's values, [n, heads, positions, head_dim]."""


class Seating:
    """Seats the caches of one step after the other; used by one thread.

    Args:
        geometry: sizes of the network.
    """

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self._rows = self._positions = 0
        self._keys = geometry.keys(0, 0)
        self._values = geometry.values(0, 0)
        self._slabs: list[weakref.ref[Slab] | None] = []
        self._filled: list[int] = []

    def seat(self, caches: Sequence[KeyValueCache]) -> Past:
        """The past of ``caches``, side by side."""
        self._make_room(len(caches), max(cache.length for cache in caches))
        seats = self._assign(caches)
        for seat, cache in zip(seats, caches, strict=True):
            self._fill(seat, cache)
        rows, layers = slice(len(caches)), range(self._geometry.layers)
        return Past(
            seats,
            [self._keys[layer, rows] for layer in layers],
            [self._values[layer, rows] for layer in layers],
        )

    def _make_room(self, rows: int, positions: int) -> None:
        # At least one position: an empty axis is no sum of nothing to every kernel of the runtime.
        positions = min(-(-max(positions, 1) // _POSITIONS) * _POSITIONS, self._geometry.max_positions)
        if rows <= self._rows and positions == self._positions:
            return
        self._rows, self._positions = max(rows, self._rows), positions
        self._keys = self._geometry.keys(positions, self._rows)
        self._values = self._geometry.values(positions, self._rows)
        self._slabs, self._filled = [None] * self._rows, [0] * self._rows

    def _assign(self, caches: Sequence[KeyValueCache]) -> list[int]:
        """A seat for each, the one it has if that will do."""
        taken_by = {
            id(slab): seat for seat, ref in enumerate(self._slabs[: len(caches)]) if ref and (slab := ref())
        }
        found: list[int | None] = [taken_by.pop(id(cache.slab), None) for cache in caches]
        free = iter(sorted(set(range(len(caches))).difference(seat for seat in found if seat is not None)))
        return [next(free) if seat is None else seat for seat in found]

    def _fill(self, seat: int, cache: KeyValueCache) -> None:
        slab, end = cache.slab, cache.length
        if slab is None:
            return
        held = self._slabs[seat]
        if held is None or held() is not slab:
            self._slabs[seat], self._filled[seat] = weakref.ref(slab), 0
        start = self._filled[seat]
        if start < end:
            self._keys[:, seat, ..., start:end] = slab.keys[..., start:end]
            self._values[:, seat, :, start:end] = slab.values[..., start:end, :]
            self._filled[seat] = end
