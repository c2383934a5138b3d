"""Puts the caches of a step's rows side by side, as the network wants them, copying as little as it can.

The arrays of a step are kept for the next: a lane that was in the last step finds all but its newest tokens
already there. A *seat* is a row of these arrays. Who takes part keeps the seat it has if it is among the
first ``n``; the others get what is free. Streams that run side by side thus keep their seats, and a step
copies one token a lane, not the whole past.

The positions are rounded up, so that the arrays change their shape, and everybody is seated anew, once in 64
tokens. Arrays of the last few shapes are kept: a prompt's step between two steps of long lanes must not unseat
these. What stands beyond a row's length is finite and otherwise meaningless.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass

from guardrail.engine.cache import Geometry, KeyValueCache, Slab, State

_POSITIONS = 64
"""Positions are rounded up to a multiple of this."""
_ROOMS = 3
"""Shapes kept: of long lanes, of prompts, and of the one that long lanes grow into."""


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
        self._rooms: dict[int, _Room] = {}  # by positions, the one used last at the end

    def seat(self, caches: Sequence[KeyValueCache]) -> Past:
        """The past of ``caches``, side by side."""
        room = self._room(len(caches), max(cache.length for cache in caches))
        seats = room.assign(caches)
        for seat, cache in zip(seats, caches, strict=True):
            room.fill(seat, cache)
        rows, layers = slice(len(caches)), range(self._geometry.layers)
        return Past(
            seats,
            [room.keys[layer, rows] for layer in layers],
            [room.values[layer, rows] for layer in layers],
        )

    def _room(self, rows: int, positions: int) -> _Room:
        # At least one position: an empty axis is no sum of nothing to every kernel of the runtime.
        positions = min(-(-max(positions, 1) // _POSITIONS) * _POSITIONS, self._geometry.max_positions)
        room = self._rooms.pop(positions, None)
        if room is None or room.rows < rows:
            room = _Room(self._geometry, rows, positions)
        self._rooms[positions] = room
        if len(self._rooms) > _ROOMS:
            del self._rooms[next(iter(self._rooms))]
        return room


class _Room:
    """Arrays of one shape, and whose past stands in each of their rows."""

    def __init__(self, geometry: Geometry, rows: int, positions: int) -> None:
        self.rows = rows
        self.keys = geometry.keys(positions, rows)
        self.values = geometry.values(positions, rows)
        self._slabs: list[weakref.ref[Slab] | None] = [None] * rows
        self._filled = [0] * rows

    def assign(self, caches: Sequence[KeyValueCache]) -> list[int]:
        """A seat for each, the one it has if that will do."""
        taken_by = {
            id(slab): seat for seat, ref in enumerate(self._slabs[: len(caches)]) if ref and (slab := ref())
        }
        found: list[int | None] = [taken_by.pop(id(cache.slab), None) for cache in caches]
        free = iter(sorted(set(range(len(caches))).difference(seat for seat in found if seat is not None)))
        return [next(free) if seat is None else seat for seat in found]

    def fill(self, seat: int, cache: KeyValueCache) -> None:
        """Bring what ``cache`` remembers into its row, as far as it does not stand there."""
        slab, end = cache.slab, cache.length
        if slab is None:
            return
        held = self._slabs[seat]
        if held is None or held() is not slab:
            self._slabs[seat], self._filled[seat] = weakref.ref(slab), 0
        start = self._filled[seat]
        if start < end:
            self.keys[:, seat, ..., start:end] = slab.keys[..., start:end]
            self.values[:, seat, :, start:end] = slab.values[..., start:end, :]
            self._filled[seat] = end
