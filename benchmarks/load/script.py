"""The answer every stub gives and every client expects, as text, tokens, events and bytes."""

from __future__ import annotations

import re

from guardrail.testing.upstream import chat_stream

_PROSE = (
    "The river runs slowly past the old mill, and the children count the boats on their way home. "
    "Most of the bridges were built by hand; some of them are still in daily use, although nobody "
    "remembers who paid for the stones. In spring the meadows are flooded for a week or two.\n\n"
    "1. Walk along the northern bank until you reach the second lock.\n"
    "2. Cross there, and follow the path to the lighthouse keeper's garden.\n\n"
    "What surprises visitors is how quiet everything becomes after sunset: the ferries stop, the "
    "restaurants close early, and only the observatory keeps its windows open. "
)
_TOKEN = re.compile(r"\s?\w{1,7}|\s?[^\w\s]|\s+")
# About as an LLM's vocabulary cuts English: a space belongs to what follows it, long words come in pieces.


def tokens(count: int) -> list[str]:
    """The first ``count`` tokens of an English text that goes on for ever."""
    once = _TOKEN.findall(_PROSE)
    return (once * (count // len(once) + 1))[:count]


def events(count: int) -> list[bytes]:
    """A streamed chat answer of ``count`` tokens, one event a piece; its first and last two carry no text."""
    return list(chat_stream(tokens(count)))


def request(host: str, stream: int) -> bytes:
    """A streaming chat request, as bytes of HTTP/1.1; it names its stream, so that the server knows it again."""
    body = (
        b'{"model":"m","stream":true,"messages":[{"role":"user","content":"Tell me about river %d."}]}'
        % stream
    )
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer none\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
