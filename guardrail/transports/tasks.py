"""``spawn``: the one way to start a background task.

The event loop keeps only weak references to tasks, and a task's exception is shown only when somebody
asks for it; a bare ``create_task`` can vanish in mid-flight and hide why. This keeps a strong reference
until the task is done and logs what went wrong, without the text that may be in the exception's locals.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
_running: set[asyncio.Task[Any]] = set()


def spawn(coro: Coroutine[Any, Any, _T], *, name: str, awaited: bool = False) -> asyncio.Task[_T]:
    """Start ``coro`` as a task that is kept alive and whose failure is logged.

    Args:
        coro: what to run.
        name: what the log calls it.
        awaited: the caller awaits the task and so gets its failure itself; it is not logged as well.
    """
    task = asyncio.create_task(coro, name=name)  # noqa: TID251 - this is where the ban leads
    _running.add(task)
    task.add_done_callback(_running.discard if awaited else _finish)
    return task


def _finish(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("task %s failed: %s", task.get_name(), type(error).__name__, exc_info=error)
