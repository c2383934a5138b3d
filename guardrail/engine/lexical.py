"""``LexicalScorer``: conversations under scoring by a pack of family ``lexical``.

A token is an entity with its exact span; words that are none have no token. Everything runs on the caller's
event loop, a long text piece by piece; there is no thread and nothing to wait for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from guardrail.core.spans import Span
from guardrail.core.verdicts import Role, TokenScore
from guardrail.engine.family import PackLane, PackScorer
from guardrail.engine.lexicon import Entity, Lexicon, Reading
from guardrail.engine.manifest_lexical import LexicalPack
from guardrail.errors import ScoringError

_CODE_POINTS_AT_A_TIME = 512
"""Read, about a millisecond, before others get their turn."""


class LexicalScorer(PackScorer):
    """A pack of family ``lexical`` at work.

    Args:
        pack: the patterns.
    """

    def __init__(self, pack: LexicalPack) -> None:
        super().__init__(pack, "cpu", "patterns need no GPU")
        self._lexicon = Lexicon(pack.patterns)
        self._judged = pack.judged

    def open(self) -> LexicalLane:
        """A new, empty conversation."""
        return LexicalLane(self._lexicon, self._judged)

    def close(self) -> None:
        """Nothing to give back."""


class LexicalLane(PackLane):
    """One conversation under patterns."""

    def __init__(self, lexicon: Lexicon, judged: frozenset[Role]) -> None:
        super().__init__()
        self._lexicon = lexicon
        self._judged = judged
        self._reading = Reading()

    def _begin(self, role: Role) -> None:  # noqa: ARG002 - patterns read all roles alike
        self._reading = Reading()

    async def _extend(self, role: Role, text: str, *, tentative: bool, scored: bool) -> Sequence[TokenScore]:
        reading = self._reading
        scores: list[TokenScore] = []
        if not scored or role not in self._judged:
            reading = self._lexicon.skip(reading, text)
        else:
            reading, scores = await self._read(reading, text, ends_word=not tentative)
        if not tentative:
            self._reading = reading
        return scores

    async def _read(
        self, reading: Reading, text: str, *, ends_word: bool
    ) -> tuple[Reading, list[TokenScore]]:
        scores: list[TokenScore] = []
        for first in range(0, max(1, len(text)), _CODE_POINTS_AT_A_TIME):
            if first:
                await asyncio.sleep(0)
                self._check_open()
            piece = text[first : first + _CODE_POINTS_AT_A_TIME]
            last = first + len(piece) == len(text)
            try:
                found = self._lexicon.read(reading, piece, ends_word=ends_word and last)
            except TimeoutError as error:
                raise ScoringError("a pattern took too long on this text") from error
            reading = found.reading
            scores += [_score(entity) for entity in found.entities]
        return reading, [*scores, *_pending(found.standing, found.growing)]

    def _copy(self) -> LexicalLane:
        copy = LexicalLane(self._lexicon, self._judged)
        copy._role, copy._reading = self._role, self._reading  # never changed, only replaced
        return copy

    def _clear(self) -> None:
        self._reading = Reading()


def _score(entity: Entity, *, pending: bool = False) -> TokenScore:
    return TokenScore(entity.span, {entity.pattern.category: entity.pattern.score}, pending, exact=True)


def _pending(standing: Sequence[Entity], growing: Sequence[tuple[str, Span]]) -> list[TokenScore]:
    """What the text may yet hold: with its score if it stands as it is, and with a score of 0 if it does not."""
    places = {(entity.pattern.category, entity.span.start) for entity in standing}
    scores = [_score(entity, pending=True) for entity in standing]
    scores += [
        TokenScore(span, {category: 0.0}, pending=True, exact=True)
        for category, span in growing
        if (category, span.start) not in places
    ]
    return sorted(scores, key=lambda score: (score.span.end, score.span.start))
