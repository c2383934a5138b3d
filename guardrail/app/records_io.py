"""JSON lines in, JSON lines out: bad input is refused with its line number before anything is written."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from guardrail.core.conversation import Turn
from guardrail.core.verdicts import Role
from guardrail.errors import InputError

_NOT_SPOKEN = frozenset({"tool", "function"})  # results of tools are nobody's words, as in a live request
_ROLES = {role.value: role for role in Role} | {"developer": Role.SYSTEM}


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row with its place ("FILE:LINE"), blank lines left out; a file named ``.gz`` is unpacked.

    Raises:
        InputError: the file cannot be read, or a line is not a JSON object with an ``id``.
    """
    try:
        lines = _opened(path)
    except OSError as error:
        raise InputError(str(path), error.strerror or str(error)) from error
    with lines:
        for number, line in enumerate(_decoded(lines, path), 1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(where, f"is not JSON: {error.msg} at column {error.colno}") from error
            except (ValueError, RecursionError) as error:  # a number or a nesting beyond Python's limits
                raise InputError(where, "is JSON beyond what can be read") from error
            # Only an escape can smuggle in half a surrogate pair: such a string is not text and cannot be
            # written to a file again.
            if "\\ud" in line.lower() and _holds_half_a_pair(row):
                raise InputError(where, "holds half a surrogate pair, which is no Unicode text")
            if not isinstance(row, dict):
                raise InputError(where, "must be a JSON object")
            if "id" not in row:
                raise InputError(where, "id is missing")
            yield where, row


def _opened(path: Path) -> TextIO:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


def _holds_half_a_pair(row: object) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _decoded(lines: Iterator[str], path: Path) -> Iterator[str]:
    try:
        yield from lines
    except UnicodeDecodeError as error:
        raise InputError(str(path), f"is not UTF-8: {error.reason}") from error
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(str(path), f"is not whole gzip: {error}") from error


def text(where: str, row: dict[str, Any], key: str, default: str | None = None) -> str:
    """A string of a row."""
    value = row.get(key, default)
    if value is None and default is not None:
        value = default
    if not isinstance(value, str):
        raise InputError(where, f"{key} must be a string" if key in row else f"{key} is missing")
    return value


def role(where: str, name: object) -> Role:
    """A role by its name."""
    found = _ROLES.get(name) if isinstance(name, str) else None
    if found is None:
        raise InputError(where, f"role must be one of {', '.join(_ROLES)}, got {name!r}")
    return found


def messages(where: str, row: dict[str, Any]) -> Sequence[Turn]:
    """The conversation of a row; absent or null is an empty one."""
    value = row.get("messages")
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InputError(where, "messages must be a list")
    turns = []
    for number, message in enumerate(value):
        if not isinstance(message, dict):
            raise InputError(where, f"messages[{number}] must be an object with role and content")
        place = f"{where}: messages[{number}]"
        if message.get("role") in _NOT_SPOKEN:
            continue
        turns.append(Turn(role(place, message.get("role")), _content(place, message.get("content"))))
    return turns


def _content(where: str, content: object) -> str:
    """The text of a message: a string, nothing, or the text parts of a list of parts."""
    if content is None:
        return ""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    if not isinstance(content, str):
        raise InputError(where, "content must be a string, a list of parts or null")
    return content
