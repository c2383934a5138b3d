"""How the sidecar process logs: one line a message, on standard error, as JSON or as text.

Standard output belongs to the ``ready`` line and, if asked for, the audit log. Called once, by the process
that owns logging; a library never calls it.

Invariant 8 is kept where text would slip in unseen: **an exception's message is not logged**, for a foreign
library may quote its input there; its type and the places it passed through are, and the whole message for
errors of this package and of the operating system, which name keys, files and reasons only. ``capture`` lifts
this while debugging. What nobody can check afterwards is a message that was handed text on purpose, so
there is no filter here that pretends to: code that must refer to text logs its ``redaction.digest``.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, Final, TextIO

from guardrail.errors import ConfigError, GuardrailError

LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("json", "text")

_OURS: Final = "guardrail"

_MAX_CHAIN: Final = 8
"""How many causes and group members of one exception are described."""


def configure_logging(
    level: str = "info", form: str = "json", *, stream: TextIO | None = None, capture: bool = False
) -> None:
    """Set up this process's logging.

    Loggers of libraries stay at "warning", whatever ``level`` says: several of them print requests and
    responses at the levels below. Existing log outputs are replaced.

    Args:
        level: least severe level of this package's messages, one of ``LEVELS``.
        form: "json", one object a line, or "text" for people.
        stream: where to write; standard error if None.
        capture: log the messages of foreign exceptions too, which may hold user or model text.

    Raises:
        ConfigError: unknown level or form.
    """
    if level not in LEVELS:
        raise ConfigError("logging", "level", f"{level!r} is not one of {', '.join(LEVELS)}")
    if form not in FORMATS:
        raise ConfigError("logging", "format", f"{form!r} is not one of {', '.join(FORMATS)}")
    output = logging.StreamHandler(stream or sys.stderr)
    output.setFormatter(JsonLines(capture=capture) if form == "json" else TextLines(capture=capture))
    logging.basicConfig(level=logging.WARNING, handlers=[output], force=True)
    logging.getLogger(_OURS).setLevel(level.upper())
    logging.captureWarnings(capture=True)


class JsonLines(logging.Formatter):
    """One JSON object a message.

    Args:
        capture: include the messages of foreign exceptions.
    """

    def __init__(self, *, capture: bool = False) -> None:
        super().__init__()
        self._capture = capture

    def format(self, record: logging.LogRecord) -> str:
        """The message as a line."""
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = list(describe(record.exc_info[1], capture=self._capture))
        return json.dumps(line, ensure_ascii=True)


class TextLines(logging.Formatter):
    """One line of text a message.

    Args:
        capture: include the messages of foreign exceptions.
    """

    def __init__(self, *, capture: bool = False) -> None:
        super().__init__()
        self._capture = capture

    def format(self, record: logging.LogRecord) -> str:
        """The message as a line; line breaks in it are escaped, so that nobody forges a line."""
        line = f"{_time(record)} {record.levelname:<7} {record.name}: {record.getMessage()}"
        if record.exc_info and record.exc_info[1] is not None:
            described = describe(record.exc_info[1], capture=self._capture)
            line += "".join(
                f" | {part['type']}{': ' + part['message'] if 'message' in part else ''}"
                f" at {' > '.join(part['frames'])}"
                for part in described
            )
        return "\\n".join(line.splitlines())


def describe(error: BaseException, *, capture: bool = False) -> Iterator[dict[str, Any]]:
    """``error``, its causes and the members of its groups, outermost first, without quoted data.

    Args:
        error: what was raised.
        capture: include every message.
    """
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting and len(seen) < _MAX_CHAIN:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        part: dict[str, Any] = {"type": type(current).__qualname__}
        if capture or isinstance(current, GuardrailError):
            part["message"] = str(current)
        elif isinstance(current, OSError) and current.strerror:
            part["message"] = current.strerror
        frames = traceback.extract_tb(current.__traceback__)
        part["frames"] = [f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        yield part
        if isinstance(current, BaseExceptionGroup):
            waiting.extend(current.exceptions)
        cause = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
        if cause is not None:
            waiting.append(cause)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return moment.replace("+00:00", "Z")
