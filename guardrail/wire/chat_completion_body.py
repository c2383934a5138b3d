"""The whole answer of ``POST /v1/chat/completions`` without ``stream``: one JSON object, guarded as a stream.

Nothing of it can leave before all of it is decided, so every byte comes out of ``finish``, and an answer
nobody intervened in comes out as it came. A changed answer has another length: the transport must not
promise the old one.

An intervention the prompt called for may come, and end the answer, before the body does. Then the body
is written here, and whatever came of the upstream's is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from guardrail.wire import jsontext
from guardrail.wire.chat_fields import (
    count_unknown,
    lane_index,
    lane_name,
    text_of,
    unscanned_beside,
    unscanned_in,
)
from guardrail.wire.dialect import LaneFinished, LaneText, Unscanned, WireEvent

MAX_BODY_BYTES = 4 << 20
"""Room for some 40,000 tokens at 100 bytes a token, which is what a log probability each takes."""

_KEPT = ("index", "message", "finish_reason", "logprobs")
"""What stays of a choice whose answer an intervention ended."""


@dataclass(slots=True, eq=False)
class _Answer:
    """One choice of the body."""

    choice: dict[str, Any]
    """As it came; before it came, no more than its index."""
    text: str = ""
    released: int = 0
    closed: bool = False
    finish_reason: str = ""
    """Set where an intervention ended it."""
    pieces: list[str] = field(default_factory=list)
    """What leaves of the answer, up to ``told``, words of ours included."""
    told: int = 0
    """Up to which code point the upstream's text is told, or withheld."""

    def tell(self, end: int) -> None:
        """What was released is told; from there to ``end`` nothing ever will be."""
        self.pieces.append(self.text[self.told : self.released])
        self.told = self.released = max(self.released, end)

    @property
    def changed(self) -> bool:
        return bool(self.pieces or self.finish_reason) or self.released < len(self.text)

    def rewritten(self) -> dict[str, Any]:
        """The choice as the client gets it."""
        if not self.changed:
            return self.choice
        message, choice = self.choice.get("message"), dict(self.choice)
        message = dict(message) if isinstance(message, dict) else {"role": "assistant"}
        if self.finish_reason:
            # An ended answer goes on by no other means: calls, reasoning, whatever nobody scored.
            message = {
                key: value
                for key, value in message.items()
                if key == "role" or not jsontext.count_text(value)
            }
            choice = {key: value for key, value in choice.items() if key in _KEPT}
            choice["finish_reason"] = self.finish_reason
        message["content"] = "".join((*self.pieces, self.text[self.told : self.released]))
        choice.pop("token_ids", None)  # vLLM's, of the text as it was
        return {"finish_reason": "stop", **choice, "message": message, "logprobs": None}


class ChatCompletionBody:
    """One whole answer under guard; implements ``dialect.ResponseStream``.

    Args:
        stream_id: names the answer where it must be written before the upstream wrote one.
        created: Unix time for such an answer.
        model: the model for such an answer.
        prompt_tokens: an estimate of the prompt's length, for the usage of such an answer.
        max_body_bytes: a longer body is passed on unread, from its first byte, and reported.
    """

    def __init__(
        self,
        *,
        stream_id: str = "",
        created: int = 0,
        model: str = "",
        prompt_tokens: int = 0,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._max_body_bytes = max_body_bytes
        self._body = bytearray()
        self._too_large = False
        self._payload: dict[str, Any] | None = None
        self._answers: dict[str, _Answer] = {}
        self._notes: list[dict[str, object]] = []
        self._own_payload: dict[str, Any] = {
            "id": f"chatcmpl-guardrail-{stream_id}",
            "object": "chat.completion",
            "created": created,
            "model": model,
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": 0,
                "total_tokens": prompt_tokens,
            },
        }

    def feed(self, data: bytes) -> list[WireEvent]:
        """Take upstream bytes; they say nothing before the body is whole."""
        self._body += data
        if self._too_large:
            return self._pass_unread(len(data))
        if len(self._body) > self._max_body_bytes:
            self._too_large = True
            return self._pass_unread(len(self._body))
        return []

    def _pass_unread(self, size: int) -> list[WireEvent]:
        if self._intervened:
            self._body.clear()
            return []
        return [Unscanned("body_too_large", size)] if size else []

    def end(self) -> list[WireEvent]:
        """The body is whole: what its choices say."""
        if self._too_large or not self._body:
            return []
        try:
            payload = jsontext.read(bytes(self._body))
        except ValueError:
            return [Unscanned("malformed", len(self._body))]
        choices = payload.get("choices") if isinstance(payload, dict) else None
        if not isinstance(choices, list):
            what = "error_body" if isinstance(payload, dict) and payload.get("error") else "unknown_body"
            chars = count_unknown(payload)
            return [Unscanned(what, chars)] if chars else []
        self._payload = payload
        said: list[WireEvent] = []
        taken: set[str] = set()
        for position, choice in enumerate(choices):
            if isinstance(choice, dict):
                lane = lane_name(choice)
                if lane in taken:  # an index twice; each is an answer of its own all the same
                    lane = f"{lane}.{position}"
                taken.add(lane)
                said += self._take(lane, choice)
            elif chars := jsontext.count_text(choice):
                said.append(Unscanned("other", chars))
        return said

    def _take(self, lane: str, choice: dict[str, Any]) -> list[WireEvent]:
        message = choice.get("message")
        answer = self._answer(lane)
        answer.choice, answer.text = choice, text_of(message)
        if answer.closed:
            return []
        said: list[WireEvent] = [LaneText(lane, jsontext.scorable(answer.text))] if answer.text else []
        if message is not None:
            said += unscanned_in(message)
        said += unscanned_beside(choice, "message")
        return [*said, LaneFinished(lane)]

    def drain(self) -> bytes:
        """Nothing, unless the body was too large to be guarded."""
        return self._take_body() if self._too_large else b""

    def release(self, lane: str, end: int) -> bytes:
        """The answer's text may go out up to ``end``, with all the rest."""
        answer = self._answer(lane)
        if not answer.closed:
            answer.released = max(answer.released, min(end, len(answer.text)))
        return self.drain()

    def insert(self, lane: str, text: str, metadata: Mapping[str, object]) -> bytes:
        """Our own text, after what the answer has released; nothing on a closed lane."""
        answer = self._answer(lane)
        if not answer.closed:
            answer.tell(answer.released)
            answer.pieces.append(text)
            self._notes.append(dict(metadata))
        return self.drain()

    def withhold(self, lane: str, end: int) -> bytes:
        """The answer's text up to ``end`` that was not released is left out; nothing on a closed lane."""
        answer = self._answer(lane)
        if not answer.closed:
            answer.tell(min(end, len(answer.text)))
        return self.drain()

    def close(self, lane: str, *, intervened: bool, finish_reason: str) -> bytes:
        """Nothing more will be released of the answer; an intervention names its end ("" means "stop")."""
        answer = self._answer(lane)
        if not answer.closed:
            answer.closed = True
            answer.finish_reason = (finish_reason or "stop") if intervened else ""
        return self.drain()

    def finish(self) -> bytes:
        """The body: as it came, or with the answers that were changed."""
        if not any(answer.changed for answer in self._answers.values()):
            return self._take_body()
        if self._payload is None and not self._intervened:
            return self._take_body()  # an error, or unreadable: words of ours have no place in it
        payload = self._own_payload if self._payload is None else self._payload
        noted: dict[str, object] = {"interventions": self._notes} if self._notes else {}
        if self._payload is None:
            noted["usage_estimated"] = True
        choices = [answer.rewritten() for answer in self._answers.values()]
        self._take_body()
        self._answers.clear()
        return jsontext.write({**payload, "choices": choices, **({"guardrail": noted} if noted else {})})

    @property
    def _intervened(self) -> bool:
        return any(answer.finish_reason for answer in self._answers.values())

    def _answer(self, lane: str) -> _Answer:
        if lane not in self._answers:
            self._answers[lane] = _Answer({"index": lane_index(lane)})
        return self._answers[lane]

    def _take_body(self) -> bytes:
        body = bytes(self._body)
        self._body.clear()
        return body
