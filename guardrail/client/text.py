"""Pipe a model's text through a guarded stream: what ``guard_text`` of the asyncio client does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable

from guardrail.client.events import Event, Intervention, Released
from guardrail.client.stream import GuardStream

# A message on its way when the stream ends is taken by the sidecar at once, or fails with the call.
_LAST_WRITE_S = 1.0

Notice = Callable[[Event], object]


def shown(event: Event) -> str:
    """What the user sees of ``event``; often ""."""
    match event:
        case Released(text=text):
            return text
        case Intervention(text=text, enforced=True):
            return text
        case _:
            return ""


async def guarded(
    source: AsyncIterable[str], stream: GuardStream, *, lane: str, on_event: Notice | None
) -> AsyncGenerator[str, None]:
    """Yield what the user may see of ``source``, and close it as soon as nobody needs the rest."""
    feed = _Feed(source, stream, lane)
    try:
        async with stream:
            if on_event is not None:
                on_event(stream.opened)
            # A task group must not be open across a yield, so the task is kept and ended by hand.
            feeding = asyncio.get_running_loop().create_task(feed.run(), name="guardrail feed")
            try:
                async for event in stream:
                    if on_event is not None:
                        on_event(event)
                    if stream.stopped:
                        feed.stop(feeding)
                    if text := shown(event):
                        yield text
                feed.stop(feeding)
                await asyncio.wait([feeding], timeout=_LAST_WRITE_S)
            finally:
                feeding.cancel()
                await asyncio.wait([feeding])
    finally:
        await feed.close()
    if feed.error is not None:
        raise feed.error


class _Feed:
    """Takes text from the source and sends it, until either side is done."""

    def __init__(self, source: AsyncIterable[str], stream: GuardStream, lane: str) -> None:
        self._source, self._stream, self._lane = aiter(source), stream, lane
        self._waiting_for_source = self._closed = False
        self.error: Exception | None = None
        """What the source raised; to be raised again after what it said before has been shown."""

    async def run(self) -> None:
        try:
            while (text := await self._next()) is not None:
                if not await self._stream.send(text, lane=self._lane):
                    return
            await self._stream.end()
        finally:
            await self.close()

    async def close(self) -> None:
        """Free the source, if it can be freed and has not been."""
        if (aclose := getattr(self._source, "aclose", None)) is not None and not self._closed:
            self._closed = True
            await aclose()

    def stop(self, task: asyncio.Task[None]) -> None:
        """Take nothing more. A cancelled write would cancel the whole call, so a write is let finish."""
        if self._waiting_for_source:
            task.cancel()

    async def _next(self) -> str | None:
        if self._stream.stopped:
            return None
        self._waiting_for_source = True
        try:
            return await anext(self._source, None)
        except Exception as error:  # noqa: BLE001 - whatever the application's source raises is handed back
            self.error = error
            return None
        finally:
            self._waiting_for_source = False
