"""Puts the caches of a step's rows side by side, as the network wants them, copying as little as it can.

The arrays of a step are kept for the next: a lane that was in the last step finds its past there, and what the
step gave is written where the next will look for it. A *seat* is a row of these arrays. Who takes part keeps the
seat it has if it is among the first ``n``; the others get what is free. Streams that run side by side thus keep
their seats, and a step writes one token a lane, once.

A *room* is the arrays of one step and the next like it. Positions are rounded up, with room for the word that is
computed, so that a lane moves to another room once in 64 tokens, with all it has in the old one. Of a shape there may be
two: lanes that are more than a step takes fall into groups, and a step goes where most of its lanes sit. Rooms of the
last few shapes are kept: a prompt's step between two steps of long lanes must not unseat these. What stands beyond a
row's length is finite and otherwise meaningless.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from guardrail.engine.cache import Geometry, KeyValueCache, NewState, Slab, State

_POSITIONS = 64
"""Positions are rounded up to a multiple of this."""
_ROOMS_OF_A_SHAPE = 2
"""More lanes than a step takes fall into groups that take turns, each in a room of its own."""
_ROOMS = 6
"""Kept of all shapes: of long lanes, of prompts, and of the shape that long lanes grow into, two each."""
_FEW_TOKENS = 8
"""What a word has at most. More of them, a slice of a prompt, would be computed with much that is not there yet."""
_SPARE = 4
"""Arrays kept for the next room: keys and values of two."""
_IDLE_STEPS = 32
"""A shape that so many steps had no use for is given up: lanes have grown out of it."""


class Row:
    """A seat: what a slab's first positions are, as the network reads them.

    Args:
        keys: [layers, heads, head_dim, positions], a view.
        values: [layers, heads, positions, head_dim], a view.
    """

    def __init__(self, keys: State, values: State) -> None:
        self.keys = keys
        self.values = values
        self._held: list[weakref.ref[Slab]] = []
        self._filled = 0

    @property
    def slab(self) -> Slab | None:
        """Whose past stands here; None once that is gone."""
        return self._held[-1]() if self._held else None

    def fill(self, cache: KeyValueCache) -> None:
        """Bring in what ``cache`` remembers, as far as it does not stand here."""
        slab, end = cache.slab, cache.length
        if slab is None:
            return
        if self.slab is not slab:
            self._hold(slab, 0)
        start = self._filled
        if start < end:
            self.keys[..., start:end], self.values[..., start:end, :] = slab.read(start, end)
            self._filled = end
            if slab.holder is not None and end == slab.used:
                slab.holder = self  # whoever had it before is left, most likely for good

    def keep(self, cache: KeyValueCache, keys: NewState, values: NewState) -> None:
        """Let ``cache``, whose past stands here, remember what a step gave for it."""
        start, end = cache.length, cache.length + keys.shape[1]
        if end > self.keys.shape[-1]:
            cache.append(keys, values)
            return
        slab = cache.claim(end - start)
        if self.slab is not slab:
            self._hold(slab, start)
        self.keys[..., start:end] = keys.transpose(0, 2, 3, 1)
        self.values[..., start:end, :] = values.transpose(0, 2, 1, 3)
        self._filled = slab.used = end
        slab.holder = self

    def leave(self) -> None:
        """All who have something here take home what stands nowhere else."""
        self._make_room(0)

    def _hold(self, slab: Slab, filled: int) -> None:
        self._make_room(filled)
        self._held.append(weakref.ref(slab))
        self._filled = filled

    def _make_room(self, start: int) -> None:
        """What stands from position ``start`` on will be written over.

        A slab that ends there or before may stay: it was full, and the one that follows it grows on behind it. It is
        most likely forgotten before it has to move.
        """
        held = []
        for each in self._held:
            slab = each()
            if slab is None or slab.holder is not self:
                continue
            if start and slab.used <= start:
                held.append(each)
            else:
                slab.settle()
        self._held = held


@dataclass(frozen=True, slots=True)
class Past:
    """The past of n rows; the arrays are valid until the next step is seated."""

    seats: list[int]
    """Which row each cache stands in: 0 to n - 1 in some order."""
    rows: list[Row]
    """Each cache's row."""
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
        self._rooms: list[_Room] = []  # the one used last at the end
        self._buffers = _Buffers(geometry.dtype)
        self._steps = 0

    def seat(self, caches: Sequence[KeyValueCache], tokens: int = 0) -> Past:
        """The past of ``caches``, side by side.

        Args:
            caches: at least one.
            tokens: how many the step has for one of them at most. For a few there is room behind what they remember.
        """
        room = self._room(caches, tokens if tokens <= _FEW_TOKENS else 0)
        seats = room.assign(caches)
        rows = [room.rows[seat] for seat in seats]
        for row, cache in zip(rows, caches, strict=True):
            row.fill(cache)
        count, layers = slice(len(caches)), range(self._geometry.layers)
        return Past(
            seats,
            rows,
            [room.keys[layer, count] for layer in layers],
            [room.values[layer, count] for layer in layers],
        )

    def _room(self, caches: Sequence[KeyValueCache], tokens: int) -> _Room:
        longest = max(cache.length for cache in caches) + tokens
        # At least one position: an empty axis is no sum of nothing to every kernel of the runtime.
        positions = min(-(-max(longest, 1) // _POSITIONS) * _POSITIONS, self._geometry.max_positions)
        rooms = [room for room in self._rooms if room.positions == positions]
        known = {id(cache.slab) for cache in caches if cache.slab is not None}
        at_home = [room.seated(known) for room in rooms]
        if rooms and (2 * max(at_home) >= len(known) or len(rooms) == _ROOMS_OF_A_SHAPE):
            # Of those who may be anywhere, the room that was not used last: who sits there may be back next.
            room = rooms[at_home.index(max(at_home))]
            self._rooms.remove(room)
            if len(room.rows) < len(caches):
                room.give_up()
                room = _Room(self._geometry, self._buffers, len(caches), positions)
        else:
            room = _Room(self._geometry, self._buffers, len(caches), positions)
        self._rooms.append(room)
        self._steps += 1
        room.used_at = self._steps
        oldest = self._rooms[0]
        if len(self._rooms) > _ROOMS or self._steps - oldest.used_at > _IDLE_STEPS:
            self._rooms.pop(0).give_up()
        return room


class _Room:
    """Arrays of one shape, row by row."""

    def __init__(self, geometry: Geometry, buffers: _Buffers, rows: int, positions: int) -> None:
        self._buffers = buffers
        self.keys = buffers.take(geometry.key_shape(positions, rows))
        self.values = buffers.take(geometry.value_shape(positions, rows))
        self.positions = positions
        self.rows = [Row(self.keys[:, seat], self.values[:, seat]) for seat in range(rows)]
        self.used_at = 0
        """The step that used it last."""

    def seated(self, slabs: AbstractSet[int]) -> int:
        """How many of ``slabs``, by identity, sit here."""
        return sum(id(slab) in slabs for row in self.rows if (slab := row.slab) is not None)

    def assign(self, caches: Sequence[KeyValueCache]) -> list[int]:
        """A seat for each, the one it has if that will do."""
        taken_by = {id(slab): seat for seat, row in enumerate(self.rows[: len(caches)]) if (slab := row.slab)}
        found: list[int | None] = [taken_by.pop(id(cache.slab), None) for cache in caches]
        free = iter(sorted(set(range(len(caches))).difference(seat for seat in found if seat is not None)))
        return [next(free) if seat is None else seat for seat in found]

    def give_up(self) -> None:
        """Send everybody home; the arrays are nobody's from now on."""
        for row in self.rows:
            row.leave()
        self._buffers.give_back(self.keys, self.values)


class _Buffers:
    """Memory of arrays that were given up, for the next ones: fresh memory costs as much as what is written to it."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._spare: list[State] = []  # flat

    def take(self, shape: tuple[int, ...]) -> State:
        """An array; what is in it means nothing, and is finite."""
        size = prod(shape)
        fitting = [spare for spare in self._spare if spare.size >= size]
        if fitting:
            flat = min(fitting, key=lambda spare: spare.size)
            self._spare = [spare for spare in self._spare if spare is not flat]
        else:
            # With room to be used again when lanes have grown; what is never written to takes no memory.
            flat = np.zeros(1 << (size - 1).bit_length(), self._dtype)
        return flat[:size].reshape(shape)

    def give_back(self, *arrays: State) -> None:
        """Nobody uses ``arrays`` any more."""
        for array in arrays:
            flat = array
            while flat.base is not None:
                flat = flat.base
            self._spare.append(flat)
        self._spare = self._spare[-_SPARE:]
