"""JSON as it travels: read without surprises, written without loss. Knows no dialect.

Upstream JSON is somebody else's: it may be nested too deep, carry numbers too long, or hold half a
surrogate pair. Everything that cannot be read is one error, ``ValueError``.
"""

from __future__ import annotations

import json
import re
from typing import Any

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def read(text: str | bytes) -> Any:
    """The value ``text`` stands for.

    Raises:
        ValueError: it is not JSON, or JSON beyond what can be read.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def write(value: Any) -> bytes:
    """``value`` on one line, as upstreams write it; escaped to ASCII only where UTF-8 cannot carry it."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def scorable(text: str) -> str:
    """``text`` as scorers can take it: the same number of code points, all of them encodable.

    An upstream that cuts its tokens inside a surrogate pair sends each half in an event of its own.
    """
    return text if text.isascii() else _LONE_SURROGATE.sub("\ufffd", text)


def count_text(value: Any) -> int:
    """Code points of all strings in ``value``, keys excepted."""
    total, todo = 0, [value]
    while todo:
        match todo.pop():
            case str() as text:
                total += len(text)
            case list() as items:
                todo.extend(items)
            case dict() as fields:
                todo.extend(fields.values())
    return total
