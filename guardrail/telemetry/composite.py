"""One observer made of several, which no observer can break.

``CompositeObserver`` fans every record out. An observer must not raise; when one does all the same, the
record is lost to that observer alone, the fault is counted, and it is logged once with its place and type but
without its message, which may quote data (invariant 8). The stream never notices.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable
from pathlib import PurePath

from guardrail.observer import Observer, Record

_log = logging.getLogger(__name__)


class CompositeObserver:
    """Hands each record to every observer, in the order given.

    Args:
        observers: who gets the records.
    """

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = tuple(observers)
        self._logged: set[int] = set()
        self.errors = 0
        """How many records were lost to an observer that raised."""

    def record(self, record: Record) -> None:
        """Hand ``record`` to every observer."""
        for place, observer in enumerate(self._observers):
            try:
                observer.record(record)
            except Exception as error:  # noqa: BLE001 - whatever it is, the stream goes on
                self.errors += 1
                if place not in self._logged:
                    self._logged.add(place)
                    _log.error(
                        "%s lost a %s record: %s at %s; further losses are only counted",
                        type(observer).__name__,
                        type(record).__name__,
                        type(error).__name__,
                        _place(error),
                    )


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"
