"""``KeywordScorer``: a scorer without a model, for tests and for trying out policies.

Words given with scores get them, every other word scores 0; in a user's turn a score stays until its end.
Phrases are found whole, as a pack finds card numbers: pending until nothing that comes could make more of
them. It obeys the ``Scorer`` protocol to the letter: one token a word and one a phrase, spans in code
points of the turn, tentative calls leave no trace.
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
        TokenScore(
            Span(offset + match.start(), offset + match.end()), dict(words.get(match[0].lower(), nothing))
        )
        for match in _WORD.finditer(text)
    ]


def score_phrases(before: str, text: str, phrases: Mapping[str, Scores]) -> list[TokenScore]:
    """The phrases in a turn of which ``before`` was scored and ``text`` follows.

    Returns:
        One token for each place where a phrase begins, the longest one there: known since ``text`` came,
        or pending. What may yet become a phrase is pending, too, with scores of 0.
    """
    if not phrases:
        return []
    whole, known = before + text, len(before)
    longest = max(map(len, phrases), default=0)
    tokens: list[TokenScore] = []
    for start in range(max(0, known - longest), len(whole)):
        found = max((phrase for phrase in phrases if whole.startswith(phrase, start)), key=len, default="")
        hoped = _growing(whole[start:], phrases)
        if hoped or (found and (start >= known or _growing(before[start:], phrases))):
            end = start + len(found) if found else len(whole)
            scores = phrases[found] if found else {name: 0.0 for phrase in hoped for name in phrases[phrase]}
            tokens.append(TokenScore(Span(start, end), dict(scores), pending=bool(hoped)))
    return tokens


def _growing(text: str, phrases: Mapping[str, Scores]) -> list[str]:
    """The phrases that begin with ``text`` and go on."""
    return [phrase for phrase in phrases if len(phrase) > len(text) and phrase.startswith(text)]


class KeywordScorer:
    """A scorer that knows some words, and some phrases; also as a ``LoadedScorer``.

    Args:
        words: lower-case word to its scores.
        phrases: phrase, as it is written, to its scores.
        delay_s: called before each answer; how long to take. None answers at once.
        fail: called with the text; true makes the call fail.
    """

    provider = "cpu"
    why_not_cuda = "words need no GPU"

    def __init__(
        self,
        words: Mapping[str, Scores],
        *,
        phrases: Mapping[str, Scores] | None = None,
        delay_s: Callable[[], float] | None = None,
        fail: Callable[[str], bool] | None = None,
    ) -> None:
        self._words = words
        self.phrases = phrases or {}
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
        """All categories any word or phrase scores in."""
        known = (*self._words.values(), *self.phrases.values())
        return sorted({category for scores in known for category in scores})

    def open(self) -> LaneScorer:
        """A new, empty conversation."""
        return _KeywordLane(self)

    def close(self) -> None:
        """Nothing to give back."""

    async def score(self, text: str, offset: int) -> list[TokenScore]:
        """Score the words of one piece, slowly or not at all if so told."""
        if self.delay_s is not None:
            await asyncio.sleep(self.delay_s())
        if self.fail is not None and self.fail(text):
            raise ScoringError("told to fail")
        return score_words(text, offset, self._words)


class _KeywordLane:
    def __init__(self, scorer: KeywordScorer) -> None:
        self._scorer = scorer
        self._heard = ""  # of this turn
        self._role = Role.ASSISTANT
        self._said: dict[str, float] = {}  # by the user, in this turn
        self._closed = False
        scorer.open_lanes += 1

    def begin_turn(self, role: Role) -> None:
        self._heard = ""
        self._role = role
        self._said = {}

    async def extend(
        self, text: str, *, tentative: bool = False, scored: bool = True
    ) -> Sequence[TokenScore]:
        if self._closed:
            raise ScoringError("the lane is closed")
        tokens = await self._scorer.score(text, len(self._heard))
        tokens += score_phrases(self._heard, text, self._scorer.phrases)
        if not tentative:
            self._heard += text
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
        copy._heard = self._heard
        return copy

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._scorer.open_lanes -= 1
