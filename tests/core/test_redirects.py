"""Help that waits: for a sentence end outside of every block, the gravest of it, once a category."""

from __future__ import annotations

import pytest

from guardrail.core.holdback import HoldBack
from guardrail.core.redirects import Redirects
from guardrail.core.spans import Span
from guardrail.core.verdicts import Decision, Finding, Kind, Role


def help_for(category: str, severity: int) -> Decision:
    return Decision(Kind.REDIRECT, Finding(category, severity, 0.9, Span(0, 4), Role.ASSISTANT), "test")


def redirects(read: str = "", word: str = "") -> Redirects:
    text = HoldBack()
    text.append(read + word)
    waiting = Redirects(text)
    waiting.read(read)
    return waiting


def test_the_gravest_waits():
    waiting = redirects()
    for severity in (1, 3, 2):
        waiting.add(help_for(f"category {severity}", severity))
    assert waiting.waiting == help_for("category 3", 3)


def test_help_for_a_category_is_offered_once():
    waiting = redirects()
    waiting.add(help_for("self_harm", 1))
    waiting.clear()
    waiting.add(help_for("self_harm", 3))
    assert waiting.waiting is None


@pytest.mark.parametrize(
    ("read", "word", "place"),
    [
        ("It ends.", " Then", 9),  # the space stays with the text before it
        ("It ends.", "\n\nThen", 8),  # a line is broken by ours
        ("It goes", " on", None),
        ("- It ends.", " Then", None),
        ("```\nIt ends.", " Then", None),
        ("```\nIt ends.\n```\n", "\nThen", None),
    ],
)
def test_help_stands_where_a_sentence_ends_outside_of_a_block(read, word, place):
    assert redirects(read, word).place(len(read), word) == place
