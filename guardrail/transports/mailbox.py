"""``Mailbox``: what one task has for another, taken all at once.

An ``asyncio.Queue`` wakes its reader once an item and has many of them compete. Here one reader takes all
that waits, so that under load one waking carries many items: what is said while it sleeps gathers.
"""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Items in order, for one reader. Unbounded: who puts has to look at ``waiting``."""

    def __init__(self) -> None:
        self._items: list[T] = []
        self._reader: asyncio.Future[None] | None = None

    @property
    def waiting(self) -> list[T]:
        """What was put and not yet taken; its last item may be replaced."""
        return self._items

    def put(self, item: T) -> None:
        """Add an item."""
        self._items.append(item)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def take_waiting(self) -> list[T]:
        """All that waits, perhaps nothing."""
        items, self._items = self._items, []
        return items

    async def take(self) -> list[T]:
        """All that waits, at least one item."""
        while not self._items:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return self.take_waiting()
