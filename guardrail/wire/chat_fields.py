"""What the objects of the chat-completions dialect carry: lanes, envelopes, text nobody scores.

Pure functions over parsed JSON, shared by the stream and the body of an answer and by the request. They
tolerate anything: a field of the wrong type is a field whose text cannot be scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from guardrail.wire import jsontext
from guardrail.wire.dialect import Unscanned

ENVELOPE = ("id", "object", "created", "model", "system_fingerprint", "service_tier")
"""Fields all chunks of a stream share; a chunk of our own repeats them."""

_LANE_PREFIX = "choice/"
_CARRIERS = ("delta", "message", "text")
_SILENT = frozenset({"role", "content", "id", "type", "name", "index", "tool_call_id"})
"""Fields of a message or delta that are scored, or are no text of the model."""
_UNSCANNED = {
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "reasoning_content": "reasoning",
    "reasoning": "reasoning",
    "reasoning_details": "reasoning",
    "refusal": "refusal",
    "audio": "audio",
}


def lane_name(choice: Mapping[str, Any]) -> str:
    """The lane a choice belongs to. A missing or odd index is the first lane: it is scored, not skipped."""
    index = choice.get("index")
    return f"{_LANE_PREFIX}{index if type(index) is int else 0}"


def lane_index(lane: str) -> int:
    """The choice a lane stands for; "choice/0.3" is an answer at place 3 that says it is choice 0."""
    if not lane.startswith(_LANE_PREFIX):
        msg = f"not a lane of this dialect: {lane!r}"
        raise ValueError(msg)
    return int(lane.removeprefix(_LANE_PREFIX).partition(".")[0])


def text_of(carrier: Any) -> str:
    """The text of a message or delta that is offered for scoring; "" where there is none."""
    content = carrier.get("content") if isinstance(carrier, dict) else None
    return content if isinstance(content, str) else ""


def unscanned_in(carrier: Any) -> Iterator[Unscanned]:
    """The text of a message or delta that is not offered for scoring, by where it stands."""
    if not isinstance(carrier, dict):
        yield from _counted("other", carrier)
        return
    if _SILENT.issuperset(carrier) and isinstance(carrier.get("content"), str | None):
        return
    for key, value in carrier.items():
        if key in ("tool_calls", "function_call"):
            yield from _counted("tool_calls", list(_arguments(value)))
        elif key in _UNSCANNED:
            yield from _counted(_UNSCANNED[key], value)
        elif key not in _SILENT:
            yield from _counted("other", value)
        elif key == "content" and not isinstance(value, str):
            yield from _counted("content_parts", value)


def unscanned_beside(choice: Mapping[str, Any], carrier_key: str) -> Iterator[Unscanned]:
    """Answer text in places of a choice where this dialect does not put it."""
    for key in _CARRIERS:
        if key != carrier_key and key in choice:
            yield from _counted("other", choice[key])


def count_unknown(payload: Any) -> int:
    """Code points of text in an object of no known shape, its envelope left out."""
    if isinstance(payload, dict):
        payload = {key: value for key, value in payload.items() if key not in (*ENVELOPE, "type")}
    return jsontext.count_text(payload)


def _arguments(calls: Any) -> Iterator[Any]:
    """What the model wrote into calls: arguments of functions, input of custom tools."""
    for call in calls if isinstance(calls, list) else [calls]:
        if isinstance(call, dict):
            for part in (call, call.get("function"), call.get("custom")):
                if isinstance(part, dict):
                    yield part.get("arguments")
                    yield part.get("input")


def _counted(what: str, value: Any) -> Iterator[Unscanned]:
    if chars := jsontext.count_text(value):
        yield Unscanned(what, chars)
