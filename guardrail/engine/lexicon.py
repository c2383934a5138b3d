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


@dataclass(frozen=True, slots=True)
class _Reader:
    """A pattern, compiled."""

    pattern: Pattern
    whole: regex.Pattern[str]
    growing: regex.Pattern[str]

    def stirs(self, text: str, at: int) -> bool:
        """Whether it matches anywhere from ``at`` on, or could if more came: for most words none does."""
        hit = self.whole.search(text, at, partial=True, timeout=TIMEOUT_S)
        return hit is not None and hit.start() < len(text)

    def began(self, text: str, at: int) -> int:
        """Where the first match begins from ``at`` on; the text's end if there is none."""
        hit = self.whole.search(text, at, timeout=TIMEOUT_S)
        return len(text) if hit is None else hit.start()

    def undecided(self, text: str, at: int) -> int:
        """The first place from ``at`` on that more text could change; the text's end if there is none."""
        at = max(at, len(text) - self.pattern.longest - AFTER + 1)
        hit = self.growing.search(text, at, partial=True, timeout=TIMEOUT_S)
        return len(text) if hit is None else hit.start()

    def entity(self, text: str, at: int) -> int | None:
        """Where the entity that begins at ``at`` ends, if there is one."""
        low = max(0, at - BEFORE)
        piece = text[low : at + self.pattern.longest + AFTER]
        while (hit := self.whole.match(piece, at - low, timeout=TIMEOUT_S)) is not None:
            found = hit[0].rstrip()
            check = self.pattern.check
            if 0 < len(found) <= self.pattern.longest and (check is None or check(found)):
                return at + len(found)
            if " " not in found:
                break
            # A word too much: "+1 415 555 2671 2 tickets" is a telephone number and two.
            piece = piece[: at - low + found.rindex(" ")]
        return None


class Lexicon:
    """Patterns, ready to read.

    Args:
        patterns: in order of precedence.
    """

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self._readers = [
            _Reader(pattern, compiled(pattern), compiled_growing(pattern)) for pattern in patterns
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
        stirring = [reader for reader in self._readers if reader.stirs(known, at)]
        entities: list[Entity] = []
        while True:
            edge = min((reader.undecided(known, at) for reader in stirring), default=len(view))
            entity = _first(stirring, known, at, edge, before.start)
            if entity is None:
                break
            entities.append(entity)
            at = entity.span.end - before.start
        edge = max(at, min(edge, len(view)))
        drop = max(0, edge - BEFORE)
        return Found(
            Reading(view[drop:], before.start + drop, before.start + edge),
            entities,
            _standing(stirring, view, edge, before.start),
            _growing(stirring, known, edge, before.start, len(view)),
        )

    def skip(self, before: Reading, text: str) -> Reading:
        """Let ``text`` pass unread; it can be looked back at."""
        end = before.start + len(before.kept) + len(text)
        kept = (before.kept + blanked(text[-BEFORE:]))[-BEFORE:]
        return Reading(kept, end - len(kept), end)


def _first(readers: Sequence[_Reader], text: str, at: int, edge: int, start: int) -> Entity | None:
    """The first entity that begins in ``[at, edge)``; the text begins at ``start`` of the turn."""
    while at < edge:
        at = min((reader.began(text, at) for reader in readers), default=edge)
        if at >= edge:
            break
        for reader in readers:
            end = reader.entity(text, at)
            if end is not None:
                return Entity(reader.pattern, Span(at + start, end + start))
        at += 1
    return None


def _standing(readers: Sequence[_Reader], text: str, at: int, start: int) -> list[Entity]:
    """The entities from ``at`` on, if the text ends here."""
    standing: list[Entity] = []
    while (entity := _first(readers, text, at, len(text), start)) is not None:
        standing.append(entity)
        at = entity.span.end - start
    return standing


def _growing(readers: Sequence[_Reader], text: str, at: int, start: int, end: int) -> list[tuple[str, Span]]:
    """Each category's first undecided place in ``[at, end)``."""
    places: dict[str, int] = {}
    for reader in readers:
        place, category = reader.undecided(text, at), reader.pattern.category
        if place < end:
            places[category] = min(place, places.get(category, end))
    return [(category, Span(start + place, start + end)) for category, place in places.items()]


def blanked(text: str) -> str:
    """``text`` as patterns see it, sign by sign."""
    if text.isascii():
        return text.translate(_ASCII_BLANKS)
    return "".join(" " if char.isspace() or is_wide(char) else char for char in text)


def _at_word_end(view: str) -> bool:
    """Whether a word ends where the text does: behind a sign, and not because the word was too long."""
    return not view.endswith(" ") and len(view) - view.rfind(" ") - 1 < MAX_WORD_CHARS
