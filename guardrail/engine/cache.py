"""Key/value state of a lane.

A cache is a view (a length) on a slab that only ever grows at its end, so a fork costs nothing until
both sides write: the first to append goes on in place, the other finds the slab's end taken and begins a slab
of its own. Views that were left behind (a failed or cancelled piece of work) need no clean-up.

A slab's newest positions may stand in a row of a step's arrays alone (``seating``), where the next step needs
them; it brings them home when that row is wanted for somebody else.

Everything but forks happens on the runner's thread; forks on any. A position takes 2 * layers * heads * head_dim
numbers: 4.6 kB in int8 for a network of 6 layers and 384 hidden units, four times that in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

State = NDArray[Any]
"""Keys, [.., head_dim, positions], or values, [.., positions, head_dim]; of the network's own type of number."""
NewState = NDArray[Any]
"""Keys or values as a step gives them, [layers, tokens, heads, head_dim]."""

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

    def key_shape(self, positions: int, *rows: int) -> tuple[int, ...]:
        """[layers, *rows, heads, head_dim, positions]."""
        return self.layers, *rows, self.heads, self.head_dim, positions

    def value_shape(self, positions: int, *rows: int) -> tuple[int, ...]:
        """[layers, *rows, heads, positions, head_dim]."""
        return self.layers, *rows, self.heads, positions, self.head_dim

    def keys(self, positions: int, *rows: int) -> State:
        """Zeros for keys, of ``key_shape``."""
        return np.zeros(self.key_shape(positions, *rows), self.dtype)

    def values(self, positions: int, *rows: int) -> State:
        """Zeros for values, of ``value_shape``."""
        return np.zeros(self.value_shape(positions, *rows), self.dtype)


class Holder(Protocol):
    """What has positions of a slab that the slab itself has not."""

    keys: State
    """[layers, heads, head_dim, positions]; the slab's from position 0 on, as far as it goes."""
    values: State
    """[layers, heads, positions, head_dim]."""


class Slab:
    """Room for keys and values; what stands before ``used`` never changes.

    Args:
        geometry: sizes of the network.
        capacity: positions it has room for. It never grows, so that whoever remembers only its beginning does not
            keep the rest in memory.
    """

    __slots__ = ("__weakref__", "_geometry", "_keys", "_stored", "_values", "capacity", "holder", "used")

    def __init__(self, geometry: Geometry, capacity: int) -> None:
        self._geometry = geometry
        self._keys: State | None = None  # until something is to be kept here
        self._values: State | None = None
        self._stored = 0
        self.capacity = capacity
        self.used = 0
        """Positions taken, wherever they stand."""
        self.holder: Holder | None = None
        """Who has all of them, if the slab has not."""

    def read(self, start: int, end: int) -> tuple[State, State]:
        """Keys [layers, heads, head_dim, tokens] and values [layers, heads, tokens, head_dim] of some positions."""
        if end > self._stored:
            assert self.holder is not None
            return self.holder.keys[..., start:end], self.holder.values[..., start:end, :]
        assert self._keys is not None
        assert self._values is not None
        return self._keys[..., start:end], self._values[..., start:end, :]

    def settle(self) -> None:
        """Bring home what the holder has alone, and let go of it."""
        if self.holder is not None and self._stored < self.used:
            some = slice(self._stored, self.used)
            self._store(self.holder.keys[..., some], self.holder.values[..., some, :])
        self.holder = None

    def append(self, keys: State, values: State) -> None:
        """Take in keys [layers, heads, head_dim, tokens] and values [layers, heads, tokens, head_dim], and keep them here."""
        self.settle()
        self._store(keys, values)
        self.used = self._stored

    def _store(self, keys: State, values: State) -> None:
        if self._keys is None or self._values is None:
            # Nobody reads what was not stored.
            self._keys = np.empty(self._geometry.key_shape(self.capacity), self._geometry.dtype)
            self._values = np.empty(self._geometry.value_shape(self.capacity), self._geometry.dtype)
        start, end = self._stored, self._stored + keys.shape[-1]
        self._keys[..., start:end] = keys
        self._values[..., start:end, :] = values
        self._stored = end


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

    def claim(self, tokens: int) -> Slab:
        """Lengthen by ``tokens``; the slab at whose end these are, for the caller to take them in.

        It is a new one, with nothing in it yet, if the last one's end is taken or its room is.
        """
        end = self.length + tokens
        assert end <= self._geometry.max_positions
        if self.slab is None or self.slab.used != self.length or self.slab.capacity < end:
            capacity = _FIRST_POSITIONS
            while capacity < end:
                capacity *= 2
            self.slab = Slab(self._geometry, min(capacity, self._geometry.max_positions))
        self.length = end
        return self.slab

    def append(self, keys: NewState, values: NewState) -> None:
        """Remember more tokens, at home."""
        before, length = self.slab, self.length
        slab = self.claim(keys.shape[1])
        if before is not None and slab is not before and length:
            slab.append(*before.read(0, length))
        slab.append(keys.transpose(0, 2, 3, 1), values.transpose(0, 2, 1, 3))
