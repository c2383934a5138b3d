"""Key/value state of a lane, and its assembly into the input of a step.

A cache is a view (a length) on a slab that only ever grows at its end, so a fork costs nothing until
both sides write: the first to append goes on in place, the other finds the slab's end taken and copies
what it sees. Views that were left behind (a failed or cancelled piece of work) need no clean-up.

Appends happen on the runner's thread alone; forks on any. Sizes are float32, 2 * layers * heads *
head_dim numbers a position: 18 KiB for a network of 6 layers and 384 hidden units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_FIRST_POSITIONS = 32
"""Room of a new slab: a short user turn; doubled from there."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes of the network that caches and steps are made of."""

    layers: int
    heads: int
    head_dim: int
    max_positions: int


class _Slab:
    """Room for keys and values, [layers, 1, heads, capacity, head_dim] each."""

    __slots__ = ("capacity", "keys", "used", "values")

    def __init__(self, geometry: Geometry, capacity: int) -> None:
        shape = (geometry.layers, 1, geometry.heads, capacity, geometry.head_dim)
        # Zeros, not garbage: what lies beyond the length is masked by a weight of zero, and zero times
        # not-a-number is not a number.
        self.keys: Array = np.zeros(shape, np.float32)
        self.values: Array = np.zeros(shape, np.float32)
        self.capacity = capacity
        self.used = 0


class KeyValueCache:
    """What the network remembers of a lane's tokens.

    Args:
        geometry: sizes of the network.
    """

    __slots__ = ("_geometry", "_slab", "length")

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self._slab: _Slab | None = None
        self.length = 0
        """Tokens remembered."""

    def fork(self) -> KeyValueCache:
        """An independent cache of the same content; copied only when both are appended to."""
        copy = KeyValueCache(self._geometry)
        copy._slab, copy.length = self._slab, self.length
        return copy

    def emptied(self) -> KeyValueCache:
        """A new cache of the same sizes that remembers nothing."""
        return KeyValueCache(self._geometry)

    def append(self, keys: Array, values: Array) -> None:
        """Remember more tokens.

        Args:
            keys: [layers, heads, tokens, head_dim].
            values: the same shape.
        """
        end = self.length + keys.shape[2]
        assert end <= self._geometry.max_positions
        slab = self._slab
        if slab is None or slab.used != self.length or slab.capacity < end:
            slab = self._move(end)
        slab.keys[:, 0, :, self.length : end] = keys
        slab.values[:, 0, :, self.length : end] = values
        slab.used = self.length = end

    def _move(self, end: int) -> _Slab:
        capacity = _FIRST_POSITIONS
        while capacity < end:
            capacity *= 2
        slab = _Slab(self._geometry, min(capacity, self._geometry.max_positions))
        if self._slab is not None:
            slab.keys[:, 0, :, : self.length] = self._slab.keys[:, 0, :, : self.length]
            slab.values[:, 0, :, : self.length] = self._slab.values[:, 0, :, : self.length]
        self._slab = slab
        return slab

    def whole(self) -> tuple[Array, Array] | None:
        """Keys and values with their unused room, [layers, 1, heads, capacity, head_dim]; None if new.

        Not a copy: valid until the next append.
        """
        return None if self._slab is None else (self._slab.keys, self._slab.values)


class PastAssembler:
    """Puts the caches of a step's rows into two arrays, and keeps the memory for the next step.

    Args:
        geometry: sizes of the network.
    """

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self._room = (np.zeros(0, np.float32), np.zeros(0, np.float32))

    def assemble(self, caches: Sequence[KeyValueCache]) -> tuple[Array, Array]:
        """Keys and values of all rows, [layers, rows, heads, positions, head_dim].

        ``positions`` is at least the greatest length; what is beyond a row's length is finite and
        otherwise meaningless. Valid until the next call.
        """
        sizes = self._geometry
        positions = max(cache.length for cache in caches)
        shape = (sizes.layers, len(caches), sizes.heads, positions, sizes.head_dim)
        if positions == 0:
            return np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        if len(caches) == 1 and (whole := caches[0].whole()) is not None:
            return whole  # one row needs no copy: its slab already has the shape of an input
        count = int(np.prod(shape))
        if self._room[0].size < count:
            self._room = (np.zeros(count, np.float32), np.zeros(count, np.float32))
        keys, values = (room[:count].reshape(shape) for room in self._room)
        for row, cache in enumerate(caches):
            whole = cache.whole()
            if whole is not None:
                keys[:, row, :, : cache.length] = whole[0][:, 0, :, : cache.length]
                values[:, row, :, : cache.length] = whole[1][:, 0, :, : cache.length]
        return keys, values
