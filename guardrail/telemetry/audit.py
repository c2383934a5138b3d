"""The audit log: one JSON line for every intervention, and one for every stream that ended.

It answers, long after the fact, what was done, under which policy, why, and with which reviewed words. It
holds no user or model text: an insert is named by its wording's id, its length and its SHA-256, which proves
that a given wording is what was sent without repeating it.

``AuditLog`` appends, one write a line and nothing kept back in a buffer, so that a line is in the operating
system's hands when ``record`` returns and lines of several processes do not mix. It is opened at start, where
a path that cannot be written is a ``ConfigError``; later faults are counted and logged once, and never reach a
stream. It does not rotate: move the file and call ``reopen``.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import FileIO
from threading import Lock
from typing import Any, Final

from guardrail.errors import ConfigError
from guardrail.observer import (
    FindingReported,
    InterventionApplied,
    Record,
    ScoringFailed,
    StreamEnded,
    StreamOpened,
)
from guardrail.telemetry.attributes import SCHEMA_VERSION
from guardrail.telemetry.bounds import OpenStreams
from guardrail.telemetry.redaction import identifier, sha256, word

STANDARD_OUTPUT: Final = "-"

_log = logging.getLogger(__name__)


def utc_now() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)


@dataclass(slots=True)
class _Stream:
    """What the lines of an open stream repeat, and what its last line sums up."""

    context: dict[str, Any]
    findings: Counter[str] = field(default_factory=Counter)
    scoring_failures: Counter[str] = field(default_factory=Counter)


class AuditLog:
    """Appends the audit lines to a file, or to standard output.

    Args:
        path: the file, created readable by its owner only; "-" is standard output.
        clock: tells the time of day, with its zone.
        source: what a ``ConfigError`` names as the place where ``path`` was written.
    """

    def __init__(
        self, path: str, *, clock: Callable[[], datetime] = utc_now, source: str = "audit log"
    ) -> None:
        self._path, self._clock = path, clock
        self._lock = Lock()
        self._open: OpenStreams[_Stream] = OpenStreams()
        self._torn = False
        self._logged = False
        self.errors = 0
        """How many lines, or attempts to reopen, failed."""
        try:
            self._file = _append_to(path)
        except (OSError, ValueError) as error:
            raise ConfigError(source, "", f"cannot append to {path!r}: {_reason(error)}") from error

    def record(self, record: Record) -> None:
        """Take note of one record; interventions and ends of streams are written at once."""
        match record:
            case StreamOpened():
                self._open.open(record.stream_id, _Stream(_context(record)))
            case FindingReported():
                if stream := self._open.get(record.stream_id):
                    stream.findings[word(record.category)] += 1
            case ScoringFailed():
                if stream := self._open.get(record.stream_id):
                    stream.scoring_failures[word(record.reason)] += 1
            case InterventionApplied():
                stream = self._open.get(record.stream_id)
                self._append(self._head("intervention", record.stream_id, stream) | _intervention(record))
            case StreamEnded():
                stream = self._open.close(record.stream_id)
                self._append(self._head("stream", record.stream_id, stream) | _summary(record, stream))
            case _:
                pass  # the summary carries what was unscanned; timings are a metric's business

    def reopen(self) -> None:
        """Open the path anew, after a rotation moved the file; if that fails, the old file stays in use."""
        try:
            fresh = _append_to(self._path)
        except OSError as error:
            self._fail(error)
            return
        with self._lock:
            self._file.close()
            self._file, self._torn, self._logged = fresh, False, False

    def close(self) -> None:
        """Close the file. Records that come later are counted as errors."""
        with self._lock:
            self._file.close()

    def _head(self, event: str, stream_id: str, stream: _Stream | None) -> dict[str, Any]:
        moment = self._clock().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = {"time": moment, "event": event, "schema": SCHEMA_VERSION, "stream_id": identifier(stream_id)}
        return head | (stream.context if stream else {})

    def _append(self, line: dict[str, Any]) -> None:
        # ensure_ascii: every reader splits on the same newlines, and lone surrogates cannot stop the write.
        data = json.dumps(line, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"
        try:
            with self._lock:
                self._write(data)
        except (OSError, ValueError) as error:  # ValueError: the file is closed
            self._fail(error)

    def _write(self, data: bytes) -> None:
        # What a full disk cut off stays as one broken line and must not swallow this one.
        data = b"\n" + data if self._torn else data
        written = self._file.write(data) or 0
        if written < len(data):
            self._torn = self._torn or written > 0
            raise OSError(errno.EIO, "the line was cut short")
        self._torn = False

    def _fail(self, error: Exception) -> None:
        self.errors += 1
        if not self._logged:
            self._logged = True
            _log.error("audit log %s: %s; further errors are only counted", self._path, _reason(error))


def _append_to(path: str) -> FileIO:
    if path == STANDARD_OUTPUT:
        return FileIO(os.dup(1), "a")
    # Not Path.open: what is wanted here is no buffer, and a mode narrower than the umask's.
    return FileIO(path, "a", opener=lambda name, flags: os.open(name, flags, 0o600))


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _context(record: StreamOpened) -> dict[str, Any]:
    return {
        "tenant": identifier(record.tenant),
        "policy": identifier(record.policy),
        "mode": word(record.mode),
        "transport": word(record.transport),
        "dialect": word(record.dialect),
        "locale": identifier(record.locale),
    }


def _intervention(record: InterventionApplied) -> dict[str, Any]:
    return {
        "lane": word(record.lane),
        "kind": word(record.kind),
        "category": word(record.category),
        "severity": record.severity,
        "score": round(record.score, 4),
        "at": record.at,
        "enforced": record.enforced,
        "withheld_chars": record.withheld_chars,
        "wording": identifier(record.wording),
        "resources": [identifier(resource.id) for resource in record.resources],
        "inserted_chars": len(record.text),
        "inserted_sha256": sha256(record.text) if record.text else None,
        "time_held_s": round(record.time_held_s, 6),
        "rationale": record.rationale,
    }


def _summary(record: StreamEnded, stream: _Stream | None) -> dict[str, Any]:
    unscanned: Counter[str] = Counter()
    for what, chars in record.unscanned.items():
        unscanned[word(what)] += chars
    return {
        "outcome": word(record.outcome),
        "lanes": record.lanes,
        "arrived_chars": record.arrived_chars,
        "released_chars": record.released_chars,
        "withheld_chars": record.withheld_chars,
        "inserted_chars": record.inserted_chars,
        "exposure_chars": record.exposure_chars,
        "unscanned_chars": dict(unscanned),
        "findings": dict(stream.findings) if stream else {},
        "scoring_failures": dict(stream.scoring_failures) if stream else {},
        "interventions": record.interventions,
        "duration_s": round(record.duration_s, 6),
    }
