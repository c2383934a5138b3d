"""``KeywordScorer``: a scorer without a model, for tests and for trying out policies.

Words given with scores get them, every other word scores 0; in a user's turn a score stays until its end. It obeys the ``Scorer`` protocol to the
letter: one token a word, spans in code points of the turn, tentative calls leave no trace.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence

from guardrail.core.spans import Span
from guardrail.core.verdicts import Role, TokenScore
from guardrail.engine.scorer import LaneScorer
from guardrail.errors import ScoringError

Scores = Mapping[str, float]
# Kana, Han and full-width signs are tokens by themselves: the core cuts words there, and a scorer must
# not care where (invariant 3).
_WIDE = r"\u3001-\u9fff\uf900-\ufaff\uff00-\uff0f\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_WIDE}]|(?:(?![{_WIDE}])[^\W_])+|[^\w\s]|_")


def score_words(text: str, offset: int, words: Mapping[str, Scores]) -> list[TokenScore]:
    """One token a word or punctuation mark of ``text``, which begins at code point ``offset``."""
    nothing: Scores = {}
    return [
        TokenScore(Span(*match.span()).shift(offset), dict(words.get(match[0].lower(), nothing)))
        for match in _WORD.finditer(text)
    ]


class KeywordScorer:
    """A scorer that knows some words.

    Args:
        words: lower-case word to its scores.
        delay_s: called before each answer; how long to take. None answers at once.
        fail: called with the text; true makes the call fail.
    """

    def __init__(
        self,
        words: Mapping[str, Scores],
        *,
        delay_s: Callable[[], float] | None = None,
        fail: Callable[[str], bool] | None = None,
    ) -> None:
        self._words = words
        self.delay_s = delay_s
        self.fail = fail
        self.open_lanes = 0
        """Conversations opened or forked and not yet closed."""

    @property
    def name(self) -> str:
        """What records call it."""
        return "keyword/1"

    @property
    def categories(self) -> Sequence[str]:
        """All categories any word scores in."""
        return sorted({category for scores in self._words.values() for category in scores})

    def open(self) -> LaneScorer:
        """A new, empty conversation."""
        return _KeywordLane(self)

    async def score(self, text: str, offset: int) -> list[TokenScore]:
        """Score one piece, slowly or not at all if so told."""
        if self.delay_s is not None:
            await asyncio.sleep(self.delay_s())
        if self.fail is not None and self.fail(text):
            raise ScoringError("told to fail")
        return score_words(text, offset, self._words)


class _KeywordLane:
    def __init__(self, scorer: KeywordScorer) -> None:
        self._scorer = scorer
        self._position = 0
        self._role = Role.ASSISTANT
        self._said: dict[str, float] = {}  # by the user, in this turn
        self._closed = False
        scorer.open_lanes += 1

    def begin_turn(self, role: Role) -> None:
        self._position = 0
        self._role = role
        self._said = {}

    async def extend(
        self, text: str, *, tentative: bool = False, scored: bool = True
    ) -> Sequence[TokenScore]:
        if self._closed:
            raise ScoringError("the lane is closed")
        tokens = await self._scorer.score(text, self._position)
        if not tentative:
            self._position += len(text)
        if self._role is Role.USER:
            tokens = [self._remember(token) for token in tokens]
        return tokens if scored else []

    def _remember(self, token: TokenScore) -> TokenScore:
        """A user's turn means what has been said in it so far, as it does to a causal classifier."""
        for category, score in token.scores.items():
            self._said[category] = max(score, self._said.get(category, 0.0))
        return TokenScore(token.span, dict(self._said))

    def fork(self) -> LaneScorer:
        copy = _KeywordLane(self._scorer)
        copy._position = self._position
        return copy

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._scorer.open_lanes -= 1
