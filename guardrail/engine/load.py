"""How far behind an engine is, and when it says no.

Rule 1: *wait* is what goes before a newcomer, in tokens, over the rate at which tokens were fed lately. Lanes
take turns slice by slice, so a lane stands before a newcomer with a few slices, a step's worth, however much
it has queued.
Rule 2: work is refused while the wait is over a limit: half of ``max_wait_s`` for who comes for the first time,
rising to all of it for who was turned away that long ago. So those who wait outside come in by age, about;
by chance some would be passed over until their time is up. The door opens for as much as the next step makes
room for: shutting it until the queue has drained would turn everybody away at once, and then nobody.
Rule 3: for a conversation of which nothing was taken yet (a prompt) the limit is half of that: what runs already
goes before what begins.
Rule 4: less than a full step's work is never too much, however slow the last steps were.
Rule 5: an engine is *overloaded* while the last refusal for its wait is less than ``CALM_S`` ago: what is
reported does not flicker.
Rule 6: the queue is bounded in tokens as well, for long work. A lane counts there for a share at most, so
that no single prompt closes the door to the others.

Pure: the time is an argument, no thread. All counts are tokens, all times seconds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from math import exp

CALM_S = 5.0
"""How long nobody must have been refused until an engine counts as having caught up."""
_MEMORY_S = 2.0  # of computing: how fast the measured rate follows what steps take
_LANE_SHARE = 16  # lanes that can fill the queue's bound between them


class Backlog:
    """Tokens that are queued, lane by lane.

    Args:
        step_tokens: what a full step feeds.
        max_tokens: bound of the queue.
    """

    def __init__(self, step_tokens: int, max_tokens: int) -> None:
        self._step_tokens = step_tokens
        self._lane_tokens = max(step_tokens, max_tokens // _LANE_SHARE)
        self._lanes: defaultdict[Hashable, int] = defaultdict(int)
        self.tokens = 0
        """All that is queued."""
        self.ahead = 0
        """What is fed before a newcomer's work: of each lane no more than a step's worth."""
        self.counted = 0
        """What is held against ``max_tokens``: of each lane no more than its share."""

    def add(self, lane: Hashable, tokens: int) -> None:
        """``tokens`` more of a lane are queued; negative where they were fed or given up."""
        before = self._lanes[lane]
        after = before + tokens
        self.tokens += tokens
        self.ahead += min(after, self._step_tokens) - min(before, self._step_tokens)
        self.counted += min(after, self._lane_tokens) - min(before, self._lane_tokens)
        if after:
            self._lanes[lane] = after
        else:
            del self._lanes[lane]


class LoadMeter:
    """Whether an engine keeps up.

    Args:
        max_wait_s: the longest wait that is still all right; infinite for an engine that never says no
            because of it.
        step_tokens: what a full step feeds.
    """

    def __init__(self, max_wait_s: float, step_tokens: int) -> None:
        self._max_wait_s = max_wait_s
        self._step_tokens = step_tokens
        self._rate = 0.0
        self._refused_at: float | None = None

    @property
    def tokens_per_s(self) -> float:
        """The rate at which tokens are fed while there are any; 0 before the first step."""
        return self._rate

    def stepped(self, tokens: int, step_s: float) -> None:
        """A step fed ``tokens`` and took ``step_s``. Steps count by the time they took."""
        if step_s > 0:
            keep = exp(-step_s / _MEMORY_S) if self._rate else 0.0
            self._rate = keep * self._rate + (1 - keep) * tokens / step_s

    def wait_s(self, ahead: int) -> float:
        """How long a newcomer waits behind ``ahead`` tokens; 0 while nothing was measured."""
        return ahead / self._rate if self._rate else 0.0

    def overloaded(self, now: float) -> bool:
        """Whether it refused work for its wait a short while ago."""
        return self._refused_at is not None and now - self._refused_at < CALM_S

    def refuses(self, ahead: int, now: float, *, begins: bool, waited_s: float = 0.0) -> bool:
        """Whether work is refused while ``ahead`` tokens are queued; remembers it.

        Args:
            ahead: as ``Backlog`` has it.
            now: seconds, of the clock of ``overloaded``.
            begins: nothing of its conversation was taken yet.
            waited_s: how long ago it was refused first.
        """
        limit_s = (self._max_wait_s + min(waited_s, self._max_wait_s)) / 2
        refused = ahead > self._step_tokens and self.wait_s(ahead) > (limit_s / 2 if begins else limit_s)
        if refused:
            self._refused_at = now
        return refused
