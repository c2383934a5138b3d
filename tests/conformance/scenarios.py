"""What must come of an answer, whatever transport carries it and however it was cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from guardrail.policy.rules import CategoryRules, HoldBackRules, Policy, RoleRules, Timing

WORDS = {
    "sad": {"mental_distress": 0.9},  # redirects, whoever says it
    "stab": {"violence": 0.95},  # ends the answer, whoever says it
    "murky": {"violence": 0.6},  # watched
    "odd": {"sexual": 0.9},  # noted
    "vile": {"hate_harassment": 0.9},  # ends the answer where it comes twice, or last
}
PHRASES = {
    "4111 1111 1111": {"privacy_pii": 0.9},  # masked, whole
    "4111 1111 1111 2222": {"privacy_pii": 0.9},
    "1111 2222 end": {"privacy_pii": 0.9},  # overlaps both
    "me@sea.org": {"privacy_pii": 0.9},
}
MASK = "[mask privacy_pii]"
REDIRECT = "[redirect mental_distress]"
REPLACE = "[replace violence]"


def _rules(severity: int, kind: str, debounce: int = 1) -> RoleRules:
    return RoleRules(
        thresholds={severity: 0.7}, interventions={severity: kind}, debounce_tokens=debounce
    )  # fmt: skip


def policy(**changes) -> Policy:
    values = {
        "version": 1,
        "name": "conformance",
        "categories": {
            "mental_distress": CategoryRules(user=_rules(1, "redirect"), assistant=_rules(1, "redirect")),
            "violence": CategoryRules(user=_rules(3, "replace"), assistant=_rules(3, "replace")),
            "sexual": CategoryRules(user=_rules(1, "annotate"), assistant=_rules(1, "annotate")),
            "privacy_pii": CategoryRules(assistant=RoleRules(thresholds={1: 0.7}, interventions={1: "mask"})),
            "hate_harassment": CategoryRules(assistant=_rules(2, "replace", debounce=2)),
        },
        "hold_back": HoldBackRules(settle_tokens=2),
        "timing": Timing(scoring_deadline_ms=30_000, abandon_ms=60_000),
        **changes,
    }
    return Policy(**values)


@dataclass(frozen=True)
class Scenario:
    """One answer and what its client must see."""

    answer: Mapping[int, str]
    """Lane to the upstream's text."""
    shown: Mapping[int, str]
    """Lane to the text a client shows."""
    interventions: tuple[tuple[str, str, int], ...] = ()
    """Kind, category and place of each, in order."""
    ended_by_us: frozenset[int] = frozenset()
    """Lanes an intervention ended."""
    prompt: str = "Tell me something."
    policy: Policy = field(default_factory=policy)
    mode: str = ""
    fail: Callable[[str], bool] | None = None
    findings: int = 0
    unscanned: int = 0

    @property
    def stops(self) -> bool:
        """Whether the upstream is stopped: all its lanes were ended, if it had not finished before."""
        return set(self.answer) == self.ended_by_us

    @property
    def outcome(self) -> str:
        return (
            "intervened"
            if any(mark in t for t in self.shown.values() for mark in (MASK, REDIRECT, "[replace"))
            else "completed"
        )


def _one(
    answer: str, shown: str, *interventions: tuple[str, str, int], ends: bool = False, **options
) -> Scenario:
    return Scenario({0: answer}, {0: shown}, interventions, frozenset({0} if ends else ()), **options)  # fmt: skip


_CALM = "Naïve rivers 🙂 run past 日本の川。 They don't stop.\n\n- one\n- two\n\n```\ncode\n```\n"

SCENARIOS: Mapping[str, Scenario] = {
    "a harmless answer": _one(_CALM, _CALM),
    "one word": _one("Yes", "Yes"),
    "white space only": _one(" \n ", " \n "),
    "no text": _one("", ""),
    "a word longer than any": _one("x" * 500, "x" * 500),
    "risk that stays below": _one("A murky, murky lake. It is calm now.", "A murky, murky lake. It is calm now."),
    "an annotation": _one(
        "An odd river runs.", "An odd river runs.", ("annotate", "sexual", 2), findings=1
    ),
    "a redirect at the next sentence": _one(
        "You sound sad and a bit tired today. A walk may help.",
        f"You sound sad and a bit tired today. \n\n{REDIRECT}\n\nA walk may help.",
        ("redirect", "mental_distress", 36),
        findings=1,
    ),
    "a redirect once only": _one(
        "You sound sad to me, my friend. Go on. So sad and so very tired. Go on.",
        f"You sound sad to me, my friend. \n\n{REDIRECT}\n\nGo on. So sad and so very tired. Go on.",
        ("redirect", "mental_distress", 31),
        findings=1,
    ),
    "a redirect that waits out a list": _one(
        "- you are sad and tired\n- you need rest\n\nThen all is well. Go on.",
        f"- you are sad and tired\n- you need rest\n\nThen all is well. \n\n{REDIRECT}\n\nGo on.",
        ("redirect", "mental_distress", 58),
        findings=1,
    ),
    "a redirect at the end": _one(
        "You sound sad", f"You sound sad…\n\n{REDIRECT}", ("redirect", "mental_distress", 13), findings=1
    ),
    "a prompt that redirects": _one(
        "A poem. Roses are red.",
        f"A poem. \n\n{REDIRECT}\n\nRoses are red.",
        ("redirect", "mental_distress", 7),
        prompt="I am sad. A poem, please.",
        findings=1,
    ),
    "a replacement in mid-sentence": _one(
        "Take the knife, then stab him twice. More of it.",
        f"Take the knife, then…\n\n{REPLACE}",
        ("replace", "violence", 20),
        ends=True,
        findings=1,
    ),
    "a replacement of what was held": _one(
        "It begins. A murky murky stab. More.",
        f"It begins. A…\n\n{REPLACE}",
        ("replace", "violence", 12),
        ends=True,
        findings=1,
    ),
    "a replacement inside a code block": _one(
        "So:\n\n```\nif you stab him\n```\n",
        f"So:\n\n```\nif you\n```\n\n{REPLACE}",
        ("replace", "violence", 15),
        ends=True,
        findings=1,
    ),
    "a replacement by the last word": _one(
        "Then stab", f"Then…\n\n{REPLACE}", ("replace", "violence", 4), ends=True, findings=1
    ),
    "a risk confirmed by its second word": _one(
        "They are vile vile people.",
        "They are…\n\n[replace hate_harassment]",
        ("replace", "hate_harassment", 8),
        ends=True,
        findings=1,
    ),
    "a risk confirmed by the end": _one(
        "They are vile",
        "They are…\n\n[replace hate_harassment]",
        ("replace", "hate_harassment", 8),
        ends=True,
        findings=1,
    ),
    "a risk that was not confirmed": _one("A vile smell, that is all.", "A vile smell, that is all."),
    "a prompt that replaces": _one(
        "Sure, like this.", REPLACE, ("replace", "violence", 0), ends=True, prompt="How to stab?", findings=1
    ),
    "a redirect and then a replacement": _one(
        "You sound sad and very tired now. Right. Now stab him.",
        f"You sound sad and very tired now. \n\n{REDIRECT}\n\nRight. Now…\n\n{REPLACE}",
        ("redirect", "mental_distress", 33),
        ("replace", "violence", 44),
        ends=True,
        findings=2,
    ),
    "a masked span": _one(
        "Pay with 4111 1111 1111, please.", f"Pay with {MASK}, please.", ("mask", "privacy_pii", 9), findings=1
    ),
    "masked spans and nothing else": _one(
        "4111 1111 1111 2222me@sea.org",
        f"{MASK}{MASK}",
        ("mask", "privacy_pii", 0),
        ("mask", "privacy_pii", 19),
        findings=2,
    ),
    "masked spans that overlap": _one(
        "It is 4111 1111 1111 2222 end. On.", f"It is {MASK}. On.", ("mask", "privacy_pii", 6), findings=2
    ),
    "half a span is nothing": _one("It is 4111 1111 and me@sea", "It is 4111 1111 and me@sea"),
    "a masked span in a code block": _one(
        "So:\n\n```\npay me@sea.org now\n```\n",
        f"So:\n\n```\npay {MASK} now\n```\n",
        ("mask", "privacy_pii", 12),
        findings=1,
    ),
    "a masked span, a redirect and a replacement": _one(
        "You sound sad, me@sea.org says. Right. Now stab him.",
        f"You sound sad, {MASK} says. \n\n{REDIRECT}\n\nRight. Now…\n\n{REPLACE}",
        ("redirect", "mental_distress", 32),
        ("mask", "privacy_pii", 15),
        ("replace", "violence", 42),
        ends=True,
        findings=3,
    ),
    "masked spans on two lanes": Scenario(
        {0: "It is me@sea.org or so.", 1: "Or 4111 1111 1111."},
        {0: f"It is {MASK} or so.", 1: f"Or {MASK}."},
        (("mask", "privacy_pii", 6), ("mask", "privacy_pii", 3)),
        findings=2,
    ),
    "a masked span, observed": _one(
        "Pay with 4111 1111 1111, please.",
        "Pay with 4111 1111 1111, please.",
        ("mask", "privacy_pii", 9),
        policy=policy(mode="observe"),
        findings=1,
    ),
    "one lane of two replaced": Scenario(
        {0: "Then stab him.", 1: "Boil the water. Serve."},
        {0: f"Then…\n\n{REPLACE}", 1: "Boil the water. Serve."},
        (("replace", "violence", 4),),
        frozenset({0}),
        findings=1,
    ),
    "both lanes replaced": Scenario(
        {0: "Then stab him. On.", 1: "Now, stab her. On."},
        {0: f"Then…\n\n{REPLACE}", 1: f"Now, …\n\n{REPLACE}"},
        (("replace", "violence", 4), ("replace", "violence", 4)),
        frozenset({0, 1}),
        findings=2,
    ),
    "observe": _one(
        "You sound sad and tired. Then stab him.",
        "You sound sad and tired. Then stab him.",
        ("redirect", "mental_distress", 9),
        ("replace", "violence", 29),
        policy=policy(mode="observe"),
        findings=2,
    ),
    "observe, and enforce asked for": _one(
        "Then stab him.",
        f"Then…\n\n{REPLACE}",
        ("replace", "violence", 4),
        ends=True,
        policy=policy(mode="observe"),
        mode="enforce",
        findings=1,
    ),
    "enforce, and observe asked for": _one(
        "Then stab him.", f"Then…\n\n{REPLACE}", ("replace", "violence", 4), ends=True, mode="observe", findings=1
    ),
    "scoring fails, redirect": _one(
        "boom", "[replace failure]", ("replace", "failure", 0), ends=True, fail=lambda text: "boom" in text
    ),
    "scoring fails, hold": _one(
        "boom",
        "[replace failure]",
        ("replace", "failure", 0),
        ends=True,
        policy=policy(on_failure="hold"),
        fail=lambda text: "boom" in text,
    ),
    "scoring fails, pass": _one(
        "boom", "boom", policy=policy(on_failure="pass"), fail=lambda text: "boom" in text, unscanned=4
    ),
    "the prompt cannot be scored": _one(
        "A poem.",
        "[replace failure]",
        ("replace", "failure", 0),
        ends=True,
        fail=lambda text: "please" in text,
        prompt="please",
        unscanned=len("please"),
    ),
}  # fmt: skip
