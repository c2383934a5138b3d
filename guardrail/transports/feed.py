"""``LaneFeed``: a lane's text on its way to its scorer, with gaps where the scorer had no time for it.

Rule 1: positions are the lane's, whatever was left out.
Rule 2: what went by unscored is left out, but for its end, which is read as context before the next text is
scored. Feeding all of it would keep an engine at its limit there; feeding none would leave the classifier to
judge the second half of a sentence.
Rule 3: a scorer that is full is asked again for a while. Where text then leaves unscored (stance ``pass``,
observe mode), the lane stays away for a while and then asks once, until its text is taken again. So those that
are taken are scored in long runs, where all would be scored in snatches; and text that will leave unscored
does not wait first, over and over.
Rule 4: a scorer that failed is replaced by a new one, which knows that end alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from guardrail.core.verdicts import FailureStance, Role, TokenScore
from guardrail.engine.scorer import LaneScorer
from guardrail.errors import OverloadedError
from guardrail.policy.rules import Timing
from guardrail.transports.context import extend

MAX_GAP_CONTEXT_CHARS = 160
"""What is read of text that was left out: about a sentence, 35 tokens of the default pack."""

_SPACE = re.compile(r"\s")


class LaneFeed:
    """Feeds one lane's answer to a scorer.

    Args:
        scorer: with the conversation before the answer and the answer's turn begun; owned from here on.
        reopen: an empty conversation, for when a scorer failed.
        timing: the policy's.
        stance: what becomes of text that is refused for good.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        scorer: LaneScorer,
        reopen: Callable[[], LaneScorer],
        timing: Timing,
        stance: FailureStance,
        clock: Callable[[], float],
    ) -> None:
        self._scorer: LaneScorer | None = scorer
        self._reopen = reopen
        self._patience_s = patience_s(timing, stance)
        self._rest_s = timing.scoring_deadline_ms / 1000 if stance is FailureStance.PASS else 0.0
        self._clock = clock
        self._rests_until: float | None = None  # None: the last text was taken
        self._at = 0  # of the next text, in the lane
        self._fed = 0  # what this scorer has read of the answer
        self._gap = ""  # the end of what was left out since

    async def score(self, text: str, *, tentative: bool = False) -> Sequence[TokenScore]:
        """Scores of ``text``, which begins where the last scored or skipped text ended.

        Raises:
            OverloadedError: the scorer had no time for it. Ask again, or ``skip`` it.
            ScoringError: it could not be scored; ``skip`` it.
        """
        try:
            tokens = await self._score(text, tentative=tentative)
        except OverloadedError:
            if self._rest_s and not tentative and not self._rests:
                self._rests_until = self._clock() + self._rest_s
            raise
        except Exception:
            self.close()
            raise
        self._rests_until = None
        return tokens

    def skip(self, text: str) -> None:
        """``text`` went by unscored."""
        self._at += len(text)
        self._gap = _end(self._gap + text)

    def close(self) -> None:
        """Give the scorer back; idempotent."""
        if self._scorer is not None:
            self._scorer.close()
            self._scorer = None

    async def _score(self, text: str, *, tentative: bool) -> Sequence[TokenScore]:
        if self._rests:
            raise OverloadedError("the scorer was full a moment ago")
        scorer = self._open()
        # An open word is asked for once: it will be asked for again when it is whole.
        waits = self._rests_until is None and not tentative
        patience_s = self._patience_s if waits else 0.0
        if self._gap:
            await extend(scorer, self._gap, patience_s=patience_s, scored=False)
            self._fed += len(self._gap)
            self._gap = ""
        tokens = await extend(scorer, text, patience_s=patience_s, tentative=tentative)
        ahead = self._at - self._fed
        if not tentative:
            self._at += len(text)
            self._fed += len(text)
        return [replace(token, span=token.span.shift(ahead)) for token in tokens] if ahead else tokens

    @property
    def _rests(self) -> bool:
        return self._rests_until is not None and self._clock() < self._rests_until

    def _open(self) -> LaneScorer:
        if self._scorer is None:
            self._scorer = self._reopen()
            self._scorer.begin_turn(Role.ASSISTANT)
            self._fed = 0
        return self._scorer


def patience_s(timing: Timing, stance: FailureStance) -> float:
    """How long a scorer that is full is asked again: as long as the text may wait for it."""
    match stance:
        case FailureStance.PASS:
            return timing.engine_wait_s
        case FailureStance.REDIRECT:
            return timing.scoring_deadline_ms / 1000
        case FailureStance.HOLD:
            return timing.abandon_ms / 1000


def _end(text: str) -> str:
    """The last words of ``text``."""
    if len(text) <= MAX_GAP_CONTEXT_CHARS:
        return text
    end = text[-MAX_GAP_CONTEXT_CHARS:]
    space = _SPACE.search(end)
    return end[space.start() :] if space else end
