"""``Lexicon``: which entities stand in a text, found while it grows. Pure: no clock of its own, no task, no lane.

Theory of operation
-------------------
An entity that begins at ``s`` is what the first pattern, in the file's order, matches there within its
``longest``, and its check accepts. Entities do not overlap: the first one from the left counts, and the search
goes on behind it. A pattern sees ``BEFORE`` code points before ``s`` and ``AFTER`` behind its longest form. So
whether and what begins at ``s`` depends on a bounded piece of text, never on how it was cut (invariant 3).

While text is still to come, a place is *undecided* if a pattern that began there ran into the end of the text.
The first such place is the edge: what is before it is final; from it on the text may still become an entity. No
place is undecided once the longest form of its pattern has passed, so the edge trails the end by a bounded
distance, and so does the text that is kept.

White space of every kind and wide characters (``segments.is_wide``) read as a space. So a text that ends where a
word ends goes on with a space, whatever that will be, and a word is no half of an e-mail address.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import regex

from guardrail.core.segments import MAX_WORD_CHARS, is_wide
from guardrail.core.spans import Span
from guardrail.engine.patterns import Pattern, compiled, compiled_growing

BEFORE = MAX_WORD_CHARS
"""Code points before an entity that its pattern can look at; as many as tell whether a word was cut."""
AFTER = 8
"""Code points behind its longest form."""
TIMEOUT_S = 1.0
"""What one search may take; a pattern that needs more is broken."""
_ASCII_BLANKS = {code: " " for code in range(128) if chr(code).isspace()}


@dataclass(frozen=True, slots=True)
class Entity:
    """A match that counts."""

    pattern: Pattern
    span: Span
    """Code points of the turn."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a turn was read; never changed, only replaced."""

    kept: str = ""
    """The end of the text, as patterns see it."""
    start: int = 0
    """Where in the turn ``kept`` begins."""
    edge: int = 0
    """What begins before this place of the turn is known."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a piece of text brought."""

    reading: Reading
    entities: Sequence[Entity]
    """Those that are final, in order."""
    standing: Sequence[Entity]
    """Those from the edge on, if the text ended here."""
    growing: Sequence[tuple[str, Span]]
    """Categories of which an entity may be under way, and from where on."""


class Lexicon:
    """Patterns, ready to read.

    Args:
        patterns: in order of precedence.
    """

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        sources = [pattern.source for pattern in patterns]
        words = {name: words for pattern in patterns for name, words in pattern.words.items()}
        self._any = compiled(sources, words)
        self._any_growing = compiled_growing(sources, words)
        self._each = [
            (pattern, pattern.compiled(), compiled_growing([pattern.source], pattern.words))
            for pattern in patterns
        ]

    def read(self, before: Reading, text: str, *, ends_word: bool) -> Found:
        """Read on.

        Args:
            before: how far the turn was read.
            text: what follows.
            ends_word: whether ``text`` ends where a word ends, so that white space follows or nothing.

        Raises:
            TimeoutError: a pattern took too long.
        """
        view = before.kept + blanked(text)
        known = view + " " if ends_word and _at_word_end(view) else view
        at = before.edge - before.start
        entities: list[Entity] = []
        while True:
            edge = min(self._edge(known, at), len(view))
            entity = self._next(known, at, edge, before.start)
            if entity is None:
                break
            entities.append(entity)
            at = entity.span.end - before.start
        edge = max(edge, at)
        standing = self._standing(view, edge, before.start)
        drop = max(0, edge - BEFORE)
        reading = Reading(view[drop:], before.start + drop, before.start + edge)
        return Found(reading, entities, standing, self._growing(known, edge, before.start, len(view)))

    def skip(self, before: Reading, text: str) -> Reading:
        """Let ``text`` pass unread; it can be looked back at."""
        end = before.start + len(before.kept) + len(text)
        kept = (before.kept + blanked(text[-BEFORE:]))[-BEFORE:]
        return Reading(kept, end - len(kept), end)

    def _next(self, known: str, at: int, edge: int, start: int) -> Entity | None:
        """The first entity in ``[at, edge)``."""
        while (hit := self._any.search(known, at, timeout=TIMEOUT_S)) is not None and hit.start() < edge:
            entity = self._entity(known, hit.start(), start)
            if entity is not None:
                return entity
            at = hit.start() + 1
        return None

    def _standing(self, view: str, at: int, start: int) -> list[Entity]:
        standing: list[Entity] = []
        while at < len(view) and (entity := self._next(view, at, len(view), start)) is not None:
            standing.append(entity)
            at = entity.span.end - start
        return standing

    def _entity(self, known: str, at: int, start: int) -> Entity | None:
        """The entity that begins at ``at``."""
        low = max(0, at - BEFORE)
        for pattern, alone, _ in self._each:
            piece = known[low : at + pattern.longest + AFTER]
            while (hit := alone.match(piece, at - low, timeout=TIMEOUT_S)) is not None:
                text = hit[0].rstrip()
                if 0 < len(text) <= pattern.longest and (pattern.check is None or pattern.check(text)):
                    return Entity(pattern, Span(at + start, at + start + len(text)))
                if " " not in text:
                    break
                # A word too much: "+1 415 555 2671 2 tickets" is a telephone number and two.
                piece = piece[: at - low + text.rindex(" ")]
        return None

    def _edge(self, known: str, at: int) -> int:
        """The first place at or behind ``at`` that is undecided."""
        while True:
            at = _began(self._any_growing, known, at)
            if at == len(known) or any(
                self._may_grow(pattern, growing, known, at) for pattern, _, growing in self._each
            ):
                return at
            at += 1

    def _growing(self, known: str, edge: int, start: int, end: int) -> list[tuple[str, Span]]:
        """Each category's first undecided place."""
        places: dict[str, int] = {}
        if edge < end:
            for pattern, _, growing in self._each:
                at = max(edge, len(known) - pattern.longest - AFTER + 1)
                place = _began(growing, known, at)
                if place < end:
                    places[pattern.category] = min(place, places.get(pattern.category, end))
        return [(category, Span(start + place, start + end)) for category, place in places.items()]

    @staticmethod
    def _may_grow(pattern: Pattern, growing: regex.Pattern[str], known: str, at: int) -> bool:
        if len(known) - at >= pattern.longest + AFTER:
            return False
        return growing.match(known, at, partial=True, timeout=TIMEOUT_S) is not None


def blanked(text: str) -> str:
    """``text`` as patterns see it, sign by sign."""
    if text.isascii():
        return text.translate(_ASCII_BLANKS)
    return "".join(" " if char.isspace() or is_wide(char) else char for char in text)


def _began(growing: regex.Pattern[str], known: str, at: int) -> int:
    hit = growing.search(known, at, partial=True, timeout=TIMEOUT_S)
    return len(known) if hit is None else hit.start()


def _at_word_end(view: str) -> bool:
    """Whether a word ends where the text does: behind a sign, and not because the word was too long."""
    return not view.endswith(" ") and len(view) - view.rfind(" ") - 1 < MAX_WORD_CHARS
