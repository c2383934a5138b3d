"""``spawn``: the one way to start a background task.

The event loop keeps only weak references to tasks, and a task's exception is shown only when somebody
asks for it; a bare ``create_task`` can vanish in mid-flight and hide why. This keeps a strong reference
until the task is done and logs where it went wrong.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
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
        log_defect(f"task {task.get_name()}", error)


def log_defect(what: str, error: BaseException) -> None:
    """Say where it happened, not the error's words: they may quote what it choked on (invariant 8)."""
    where = "".join(traceback.format_tb(error.__traceback__))
    _log.error("%s failed: %s\n%s", what, type(error).__qualname__, where)
