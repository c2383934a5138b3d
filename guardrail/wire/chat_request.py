"""What ``POST /v1/chat/completions`` asks for: the conversation so far, and the shape of the answer.

Reads; never changes a request. It is as lenient as the most lenient server behind it: what a server would
refuse is the server's to refuse, and what cannot be scored is counted, not skipped in silence.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from guardrail.core.conversation import Turn
from guardrail.core.verdicts import Role
from guardrail.errors import InputError
from guardrail.wire import jsontext
from guardrail.wire.chat_fields import unscanned_in
from guardrail.wire.dialect import GuardedRequest

MAX_REQUEST_BYTES = 16 << 20
"""Conversations with inline images run to several MiB."""

_WHERE = "request body"
_ROLES = {"system": Role.SYSTEM, "developer": Role.SYSTEM, "assistant": Role.ASSISTANT}
_TOOL_ROLES = ("tool", "function")
_STRUCTURED = ("json_object", "json_schema")
_TEXT_PARTS = ("text", "input_text", "output_text")
_OTHER_PARTS = {"image_url": "image", "input_image": "image", "input_audio": "audio", "file": "file"}


def parse_chat_request(body: bytes, max_request_bytes: int = MAX_REQUEST_BYTES) -> GuardedRequest:
    """What the request says of the stream to come.

    Args:
        body: the whole request body.
        max_request_bytes: a longer one is not read.

    Raises:
        InputError: the body is too long, no JSON, or no object; nothing can be guarded by it.
    """
    if len(body) > max_request_bytes:
        raise InputError(_WHERE, f"has {len(body)} bytes, more than the {max_request_bytes} that are read")
    try:
        payload = jsontext.read(body)
    except ValueError as error:
        # The parser's message has a position, never the text itself.
        raise InputError(_WHERE, f"not JSON: {error}") from error
    if not isinstance(payload, dict):
        raise InputError(_WHERE, "not a JSON object")
    turns: list[Turn] = []
    unscanned: Counter[str] = Counter()
    messages = payload.get("messages")
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, dict):
            turns += _turns(message, unscanned)
        else:
            unscanned["malformed"] += 1
    options = payload.get("stream_options")
    wanted = payload.get("response_format")
    model, choices = payload.get("model"), payload.get("n")
    return GuardedRequest(
        conversation=tuple(turns),
        stream=payload.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        unscanned=dict(unscanned),
        structured=isinstance(wanted, dict) and wanted.get("type") in _STRUCTURED,
        model=jsontext.scorable(model) if isinstance(model, str) else "",
        choices=max(1, choices) if type(choices) is int else 1,
    )


def _turns(message: dict[str, Any], unscanned: Counter[str]) -> list[Turn]:
    """The message as a turn, if it has text to score."""
    role, content = message.get("role"), message.get("content")
    if role in _TOOL_ROLES:
        # What a tool said is data, often whole documents: not the user's words, and not judged as such.
        unscanned["tool_result"] += jsontext.count_text(content)
        return []
    for said in unscanned_in({**message, "content": None}):
        unscanned[said.what] += said.chars
    text = jsontext.scorable(_text(content, unscanned))
    # An unknown role is the client's own invention, so its words are the client's.
    return [Turn(_ROLES.get(role, Role.USER) if isinstance(role, str) else Role.USER, text)] if text else []


def _text(content: Any, unscanned: Counter[str]) -> str:
    """The text of a message: a string, or the text parts of a list, one a line."""
    if isinstance(content, str):
        return content
    texts: list[str] = []
    for part in content if isinstance(content, list) else [content]:
        kind = part.get("type") if isinstance(part, dict) else None
        text = part if isinstance(part, str) else part.get("text") if isinstance(part, dict) else None
        if isinstance(text, str) and (kind is None or kind in _TEXT_PARTS):
            texts.append(text)
        elif part is not None:
            name = _OTHER_PARTS.get(kind, "other") if isinstance(kind, str) else "other"
            unscanned[name] += 1
    return "\n".join(texts)
