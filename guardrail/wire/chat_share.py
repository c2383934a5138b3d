"""Lanes of a streamed chat answer, and the share an event has in one: cut, trimmed, asked if it may leave.

A share never changes; what is done to it makes another. Bytes and order are the queue's business
(``chat_completions``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(slots=True, eq=False)
class Lane:
    """One choice of the answer. Always released <= arrived, in code points."""

    name: str
    index: int
    arrived: int = 0
    released: int = 0
    finish_seen: bool = False
    """The upstream's finish reason came."""
    finished: bool = False
    """Reported finished: its finish reason came, or the stream ended without one."""
    closed: bool = False
    """Nothing more will be released on it."""
    intervened: bool = False
    """An intervention closed it: what the upstream still sends on it is dropped."""
    opened: bool = False
    """An event of it has left."""
    role_is_ours: bool = False
    """A chunk of ours opened it and named the role, which clients would join with a second one."""


class Share(NamedTuple):
    """What one choice of an event carries: the lane's text [start, end), perhaps its finish."""

    lane: Lane
    start: int
    end: int
    finishes: bool
    """The choice carries the lane's finish reason."""
    choice: dict[str, Any]
    """The choice itself; where end > start its delta has the text."""

    @property
    def passable(self) -> bool:
        """Whether the lane lets it go."""
        return self.lane.released >= self.end and (self.lane.closed or not self.finishes)

    def before(self, at: int) -> Share:
        """Its text up to ``at`` and nothing else it carries: that comes after, or never."""
        delta = self.choice["delta"]
        kept = {key: delta[key] for key in ("role",) if key in delta}
        index = {key: self.choice[key] for key in ("index",) if key in self.choice}
        text = delta["content"][: at - self.start]
        choice = {**index, "delta": {**kept, "content": text}, "logprobs": None, "finish_reason": None}
        return Share(self.lane, self.start, at, finishes=False, choice=choice)

    def after(self, at: int) -> Share:
        """Its text from ``at`` and all else it carries, but the role, which has been said."""
        delta = {key: value for key, value in self.choice["delta"].items() if key not in ("role", "content")}
        if at < self.end:
            delta["content"] = self.choice["delta"]["content"][at - self.start :]
        return self._replace(start=at, choice={**self.choice, "delta": delta, "logprobs": None})

    def masked(self, end: int) -> Share:
        """The same without its text up to ``end``, if that was not released: words of ours stand for it."""
        at = min(self.end, end)
        if not self.lane.released <= self.start < at:
            return self
        rest = self.after(at)
        # vLLM can send the tokens beside the text that they make (``return_token_ids``).
        return rest._replace(choice={key: value for key, value in rest.choice.items() if key != "token_ids"})

    def withheld(self) -> Share:
        """The same without the text that was not released."""
        end = min(self.end, self.lane.released)
        start = min(self.start, end)
        if end == self.end:
            return self
        if self.start == self.end:  # no text of its own; it only stood behind some
            return self._replace(start=start, end=end)
        delta = {**self.choice["delta"], "content": self.choice["delta"]["content"][: end - start]}
        return self._replace(start=start, end=end, choice={**self.choice, "delta": delta, "logprobs": None})

    def without_role(self) -> Share:
        """The same without the role, where the lane's first chunk was ours and said it."""
        delta = self.choice.get("delta")
        if not isinstance(delta, dict) or "role" not in delta:
            return self
        rest = {key: value for key, value in delta.items() if key != "role"}
        return self._replace(choice={**self.choice, "delta": rest})
