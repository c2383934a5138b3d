"""Key/value state of a lane.

A cache is a view (a length) on a slab that only ever grows at its end, so a fork costs nothing until
both sides write: the first to append goes on in place, the other finds the slab's end taken and copies
what it sees. Views that were left behind (a failed or cancelled piece of work) need no clean-up.

Appends happen on the runner's thread alone; forks on any. A position takes 2 * layers * heads * head_dim
numbers: 4.6 kB in int8 for a network of 6 layers and 384 hidden units, four times that in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

State = NDArray[Any]
"""Keys, [.., head_dim, positions], or values, [.., positions, head_dim]; of the network's own type of number."""

_FIRST_POSITIONS = 32
"""Room of a new slab: a short user turn; doubled from there."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes of the network that caches and steps are made of."""

    layers: int
    heads: int
    """Of keys and values; there may be more of queries."""
    head_dim: int
    max_positions: int
    dtype: np.dtype[Any]
    """Of keys and values."""

    def keys(self, positions: int, *rows: int) -> State:
        """Zeros for keys, [layers, *rows, heads, head_dim, positions]."""
        return np.zeros((self.layers, *rows, self.heads, self.head_dim, positions), self.dtype)

    def values(self, positions: int, *rows: int) -> State:
        """Zeros for values, [layers, *rows, heads, positions, head_dim]."""
        return np.zeros((self.layers, *rows, self.heads, positions, self.head_dim), self.dtype)


class Slab:
    """Room for keys, [layers, heads, head_dim, capacity], and values, [layers, heads, capacity, head_dim].

    What stands before ``used`` never changes.
    """

    __slots__ = ("__weakref__", "capacity", "keys", "used", "values")

    def __init__(self, geometry: Geometry, capacity: int) -> None:
        self.keys = geometry.keys(capacity)
        self.values = geometry.values(capacity)
        self.capacity = capacity
        self.used = 0


class KeyValueCache:
    """What the network remembers of a lane's tokens.

    Args:
        geometry: sizes of the network.
    """

    __slots__ = ("_geometry", "length", "slab")

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self.slab: Slab | None = None
        """Where it stands, before position ``length``; None if there is nothing."""
        self.length = 0
        """Tokens remembered."""

    def fork(self) -> KeyValueCache:
        """An independent cache of the same content; copied only when both are appended to."""
        copy = KeyValueCache(self._geometry)
        copy.slab, copy.length = self.slab, self.length
        return copy

    def emptied(self) -> KeyValueCache:
        """A new cache of the same sizes that remembers nothing."""
        return KeyValueCache(self._geometry)

    def append(self, keys: State, values: State) -> None:
        """Remember more tokens.

        Args:
            keys: [layers, heads, head_dim, tokens].
            values: [layers, heads, tokens, head_dim].
        """
        end = self.length + keys.shape[3]
        assert end <= self._geometry.max_positions
        slab = self.slab
        if slab is None or slab.used != self.length or slab.capacity < end:
            slab = self._move(end)
        slab.keys[..., self.length : end] = keys
        slab.values[..., self.length : end, :] = values
        slab.used = self.length = end

    def _move(self, end: int) -> Slab:
        capacity = _FIRST_POSITIONS
        while capacity < end:
            capacity *= 2
        slab = Slab(self._geometry, min(capacity, self._geometry.max_positions))
        if self.slab is not None:
            slab.keys[..., : self.length] = self.slab.keys[..., : self.length]
            slab.values[..., : self.length, :] = self.slab.values[..., : self.length, :]
        self.slab = slab
        return slab
