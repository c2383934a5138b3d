"""Invariants 1 to 5 on random streams, and proof that each property can fail: a mutant it kills."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import guardrail.core.stream as stream_module
from guardrail.core.stream import GuardedStream
from tests.core import properties

CORE = Path(stream_module.__file__).parent
PARTS = ("scoring", "pending", "holdpoint", "redirects", "inserts", "masks", "downstream", "stream")
"""What a lane consists of, each part behind those it imports."""


@pytest.mark.parametrize("holds", properties.ALL, ids=lambda f: f.__name__)
@given(seed=st.integers(0, 10**9))
@settings(max_examples=150, deadline=None)
def test_invariant(holds, seed):
    holds(GuardedStream, seed)


MUTANTS = {
    "invariant 3: text is passed as a whole while something is held": (
        "self._hold.at is not None or self._redirects",
        "self._redirects",
        properties.chunking_is_not_meaning,
    ),
    "invariant 3: text is passed as a whole while help waits for its place in it": (
        " or self._redirects.waiting is not None or",
        " or",
        properties.chunking_is_not_meaning,
    ),
    "invariant 2: text is passed while text before it is pending": (
        " or not self._tokens.empty\n",
        "\n",
        properties.no_half_leaves,
    ),
    "invariant 2: text that is pending is passed": (
        "not any(token.pending for token in tokens) and ",
        "",
        properties.no_half_leaves,
    ),
    "invariant 2: text is passed that the judge was not asked about": (
        " and self._judge.passes(tokens)\n",
        "\n",
        properties.released_was_scored,
    ),
    "invariant 2: clears what arrived, not what was judged": (
        "late or not self._rules.enforce",
        "True",
        properties.released_was_scored,
    ),
    "invariant 2: a watched word does not hold": (
        "            self.at = max(word.start, self._text.released, placed)",
        "            pass",
        properties.released_was_scored,
    ),
    "invariant 3: the hold point is where the chunk began": (
        "self.at = max(word.start, self._text.released, placed)",
        "self.at = self._text.released",
        properties.chunking_is_not_meaning,
    ),
    "invariant 3: words are cut where the chunk ends": (
        "size = scorable(self._text.text(self.scored), final=final)",
        "size = scorable(self._text.text(self.scored), final=True)",
        properties.chunking_is_not_meaning,
    ),
    "invariant 3: a redirect goes where scoring has got to": (
        "Insert(redirect, place, following=word)",
        "Insert(redirect, self._text.released, following=word)",
        properties.chunking_is_not_meaning,
    ),
    "invariant 4: held text is not released at the end": (
        "        self._hold.lift()\n",
        "",
        properties.nothing_is_lost,
    ),
    "invariant 5: a waiting redirect is dropped at the end": (
        "        if redirect is not None:\n            self._inserts",
        "        if False:\n            self._inserts",
        properties.ends_once,
    ),
    "invariant 2: the hold point moves past a risk that waits to be confirmed": (
        "max(self.at, free_to))",
        "max(self.at, word.start))",
        properties.pending_risk_stays_held,
    ),
    "invariant 2: a word without a token frees a risk that waits to be confirmed": (
        "            self._place_redirect(start, word)\n",
        "            self._place_redirect(start, word)\n            self._hold.unconfirmed_at = None\n",
        properties.pending_risk_stays_held,
    ),
    "invariant 2: words are judged though what comes may make them part of something": (
        "            if waits_at is not None and waits_at < end:\n                break\n",
        "",
        properties.no_half_leaves,
    ),
    "invariant 2: the open word leaves though it is pending": (
        " and not waits",
        "",
        properties.no_half_leaves,
    ),
    "invariant 2: at the end what is pending is let go": (
        "        self._settle_pending()\n        if self._terminal:\n            return\n        self._settled",
        "        self._tokens._pending = ()\n        self._judge_words()\n        self._settled",
        properties.no_half_leaves,
    ),
    "invariant 2: a replacement stands in the middle of a mask": (
        "            place = min(place, self._line.pop().at)",
        "            self._line.pop()",
        properties.nothing_masked_leaves,
    ),
    "invariant 3: a mask does not wait for what overlaps it": (
        "            if first is None or (first.is_mask and limit < first.until):\n",
        "            self._text.clear(first.until if first else 0)\n            if first is None:\n",
        properties.no_half_leaves,
    ),
    "invariant 3: what is found late is judged as it comes": (
        "sorted((*self._found, *tokens), key=lambda t: (t.span.start, -t.span.end))",
        "[*self._found, *tokens]",
        properties.no_half_leaves,
    ),
    "invariant 4: a mask takes the text behind it along": (
        "self._text.withhold(mask.until)",
        "self._text.withhold(self._text.cleared)",
        properties.no_half_leaves,
    ),
    "invariant 5: the end is said without our words": (
        "        if insert.terminal:\n            self._close(intervened=True)",
        "        if insert.terminal:\n            self._closed = True",
        properties.ends_once,
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_killed(name, monkeypatch):
    old, new, kills = MUTANTS[name]
    sources = {part: (CORE / f"{part}.py").read_text("utf-8") for part in PARTS}
    assert "".join(sources.values()).count(old) == 1, "the mutant's place is gone: choose another"
    # All parts are made anew, so that each finds the mutant where it imports it.
    for part, source in sources.items():
        module = types.ModuleType(f"guardrail.core.{part}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(source.replace(old, new), f"mutant of {part}", "exec"), module.__dict__)

    with pytest.raises((AssertionError, ValueError)):
        put_to_the_test(kills, module.GuardedStream)


def put_to_the_test(holds, stream_class):
    for seed in range(400):
        holds(stream_class, seed)
