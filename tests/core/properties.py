"""The invariants of a lane as functions of the class under test, so that mutants can be put to them.

Each draws its own random streams from a seed and raises AssertionError where the invariant breaks.
"""

from __future__ import annotations

import random

from guardrail.core.spans import Span
from guardrail.core.stream import GuardedStream, LaneRules
from guardrail.core.verdicts import Decision, Finding, Kind, Role
from guardrail.policy.judge import LaneJudge
from guardrail.policy.rules import CategoryRules, HoldBackRules, Policy, RoleRules
from guardrail.testing.chunking import by_character, randomly, whole
from guardrail.testing.playbook import LanePlayer
from guardrail.testing.scorers import score_phrases, score_words

WORDS = {
    "murk": {"violence": 0.5},  # watched, never acted on
    "grim": {"violence": 0.75},  # acted on when it comes twice
    "doom": {"violence": 0.95},  # over the severity 3 threshold
    "tears": {"mental_distress": 0.9},  # redirects
    "odd": {"sexual": 0.9},  # annotated
}
PHRASES = {  # found whole: of each the beginning is pending
    "4111 1111 1111": {"privacy_pii": 1.0},  # masked
    "4111 1111 1111 2222": {"privacy_pii": 0.9},  # more of the same
    "1111 2222 3333 end.": {"privacy_pii": 0.9},  # overlaps both, and ends a sentence
    "key=abc": {"privacy_pii": 0.9},
    "key=abc\n  def": {"privacy_pii": 0.9},
    "me@sea.org": {"privacy_pii": 0.9, "mental_distress": 0.9},  # masked, and help is offered
    "me@sea": {"privacy_pii": 0.1},  # harmless
    "rm -rf the river": {"cyber": 0.9},  # ends the answer
}
FRAGMENTS = [
    "4111 ",
    "4111 1111 ",
    "1111 ",
    " 2222",
    "3333 end.",
    "key=",
    "key=abc\n",
    "me@",
    "rm -rf ",
    "rm -rf the ",
]
VOCABULARY = [
    "the", "a", "river", "walks", "slowly", "and", "then", "Dr.", "3.5", "naïve", "日本", "语", "。", "e.g.",
    "end.", "stop!", "why?", "- item", "1. first", "\n", "\n\n", "```\ncode\n```\n", "| a | b |", "🙂", "(so)",
    "x" * 70, "…", "murk", "murk", "grim", "odd", "tears",
]  # fmt: skip


def policy(**changes) -> Policy:
    rules = {
        "violence": CategoryRules(
            assistant=RoleRules(
                thresholds={2: 0.7, 3: 0.9},
                interventions={2: "replace", 3: "replace"},
                watch=0.4,
            ),
        ),
        "mental_distress": CategoryRules(
            assistant=RoleRules(thresholds={1: 0.8}, interventions={1: "redirect"}, debounce_tokens=1),
        ),
        "privacy_pii": CategoryRules(
            assistant=RoleRules(thresholds={1: 0.8}, interventions={1: "mask"}),
        ),
        "cyber": CategoryRules(
            assistant=RoleRules(thresholds={1: 0.8}, interventions={1: "replace"}, debounce_tokens=1),
        ),
        "sexual": CategoryRules(
            assistant=RoleRules(thresholds={1: 0.8}, interventions={1: "annotate"}, debounce_tokens=1),
        ),
    }
    values = {
        "version": 1,
        "name": "test",
        "categories": rules,
        "hold_back": HoldBackRules(max_held_chars=80, settle_tokens=3),
    }
    return Policy(**(values | changes))


def make(
    stream_class: type[GuardedStream] = GuardedStream, *, enforce: bool = True, **changes
) -> GuardedStream:
    return stream_class(
        LaneJudge(policy(**changes), Role.ASSISTANT),
        LaneRules(enforce=enforce, max_held_chars=80),
    )


def random_text(lots: random.Random, *, risky: bool) -> str:
    words = VOCABULARY + (["doom", "grim grim", "doom doom", "doom doom doom"] if risky else [])
    text = ""
    for _ in range(lots.randint(0, 60)):
        text += lots.choice(words) + lots.choice(["", " ", " ", " ", ", ", "\n", "  "])
    return text


def random_entities(lots: random.Random, *, risky: bool) -> str:
    """Text with phrases whole, half, side by side and inside each other."""
    phrases = [phrase for phrase, scores in PHRASES.items() if risky or "privacy_pii" in scores]
    words = VOCABULARY[:-1] + 6 * [*phrases, *FRAGMENTS] + (["doom", "tears"] if risky else [])
    text = ""
    for _ in range(lots.randint(0, 25)):
        text += lots.choice(words) + lots.choice(["", "", " ", " ", "\n"])
    return text


def masked(text: str) -> str:
    """What a client must get of ``text``, in which nothing but spans to mask is found."""
    shown, begin = "", 0
    for span in masked_spans(text):
        shown += text[begin : span.start] + "[mask privacy_pii]"
        begin = span.end
    return shown + text[begin:]


def masked_spans(text: str) -> list[Span]:
    """Where text must be masked; what overlaps is one."""
    spans: list[Span] = []
    for token in score_phrases("", text, PHRASES):
        if token.scores.get("privacy_pii", 0) < 0.8:
            continue
        if spans and token.span.start < spans[-1].end:
            spans[-1] = Span(spans[-1].start, max(spans[-1].end, token.span.end))
        else:
            spans.append(token.span)
    return spans


def user_redirect() -> Decision:
    return Decision(Kind.REDIRECT, Finding("self_harm", 2, 0.9, Span(0, 3), Role.USER), "test")


def play(stream: GuardedStream, text: str, cut: str, lots: random.Random, decisions=()) -> LanePlayer:
    """Play ``text``, cut and scored in one of many ways, the prompt judged sooner or later."""
    player = LanePlayer(stream, WORDS, PHRASES)
    chunks = {"whole": whole, "characters": by_character}.get(
        cut, lambda t: randomly(t, lots.randint(0, 9999))
    )(text)
    begin_at = 0 if cut != "random" else lots.randint(0, len(chunks))
    for number, chunk in enumerate(chunks):
        if number == begin_at:
            player.begin(decisions)
        player.chunk(chunk)
        watermarks(player)
        while player.waiting and lots.random() < 0.6:
            player.score()
            watermarks(player)
    if begin_at >= len(chunks):
        player.begin(decisions)
    player.play([])
    watermarks(player)
    return player


def watermarks(player: LanePlayer) -> None:
    stream = player.stream
    assert len(player.released) == stream.released - stream.masked, (
        "invariant 1: released is what the client got"
    )
    assert stream.released <= stream.cleared <= stream.arrived, "invariant 1"


def released_was_scored(stream_class: type[GuardedStream], seed: int) -> None:
    """Invariants 1 and 2: nothing leaves before its score came and was clear."""
    lots = random.Random(seed)
    text = random_text(lots, risky=True)
    debounce = 2 + seed % 2
    player = LanePlayer(make(stream_class, debounce_tokens=debounce), WORDS)
    player.begin()
    scored = 0
    for chunk in randomly(text, seed, mean_chars=5):
        player.chunk(chunk)
        assert len(player.released) <= scored or player.released[scored:].isspace(), "invariant 2: not scored"
        while player.waiting and lots.random() < 0.7:
            end = player.waiting.span.end
            player.score()
            scored = max(scored, end)
        watermarks(player)
    player.play([])
    adverse = [token.scores.get("violence", 0) >= 0.7 for token in score_words(player.released, 0, WORDS)]
    runs = zip(*(adverse[shift:] for shift in range(debounce)), strict=False)
    assert not any(all(run) for run in runs), "invariant 2: judged adverse and released"
    for insert in player.inserts:
        if insert.decision.kind is Kind.REPLACE:
            assert insert.at <= insert.decision.finding.span.start, (
                "invariant 2: part of a finding was released"
            )


def chunking_is_not_meaning(stream_class: type[GuardedStream], seed: int) -> None:
    """Invariant 3: same client view however the text was cut and whenever its scores came."""
    lots = random.Random(seed)
    text = (random_text if seed % 5 < 3 else random_entities)(lots, risky=bool(seed % 2))
    decisions = [user_redirect()] if seed % 3 == 0 else []
    views = []
    for cut in ("whole", "characters", "random", "random"):
        player = play(make(stream_class), text, cut, lots, decisions)
        views.append((player.client, [(i.at, i.text) for i in player.inserts], player.ended))
    assert all(view == views[0] for view in views), f"invariant 3: {views}"


def nothing_is_lost(stream_class: type[GuardedStream], seed: int) -> None:
    """Invariant 4: without a terminal intervention the client gets the upstream's text, whole."""
    lots = random.Random(seed)
    text = random_text(lots, risky=False).replace("grim", "calm")
    decisions = [user_redirect()] if seed % 2 else []
    player = play(make(stream_class), text, "random", lots, decisions)
    assert player.released == text, "invariant 4: text was lost"
    assert player.ended is not None
    assert not player.ended.intervened
    if not player.inserts:
        assert player.client == text, "invariant 4: bytes were added"


def no_half_leaves(stream_class: type[GuardedStream], seed: int) -> None:
    """Invariants 2 and 4: a masked span leaves nothing behind and takes nothing with it, at no moment."""
    lots = random.Random(seed)
    text = random_entities(lots, risky=False)
    for risk, calm in {"grim": "calm", "river": "lake", "me@sea.org": "me@sea.com"}.items():
        text = text.replace(risk, calm)
    expected = masked(text)
    player = LanePlayer(make(stream_class), WORDS, PHRASES)
    player.begin()
    for chunk in randomly(text, seed, mean_chars=1 + seed % 9):
        player.chunk(chunk)
        for move in lots.choices((player.score, player.wake), k=lots.randint(0, 3)):
            move()
            assert expected.startswith(player.client), "invariant 2: part of a masked span was released"
        watermarks(player)
    player.play([])
    watermarks(player)
    assert player.client == expected, "invariant 4: text was lost"
    assert player.ended is not None
    assert not player.ended.intervened


def nothing_masked_leaves(stream_class: type[GuardedStream], seed: int) -> None:
    """Invariant 2: whatever else is done in a stream, no character of a span to be masked leaves."""
    lots = random.Random(seed)
    text = random_entities(lots, risky=True)
    player = play(make(stream_class), text, "random", lots, [user_redirect()] if seed % 2 else [])
    hidden = {at for span in masked_spans(text) for at in range(span.start, span.end)}
    withheld = {at for span in player.withheld for at in range(span.start, span.end)}
    left = set(range(player.position)) - withheld
    assert not hidden & left, "invariant 2: part of a masked span was released"
    assert withheld <= hidden, "invariant 4: text was masked that nobody found"
    assert player.released == "".join(text[at] for at in sorted(left))


def ends_once(stream_class: type[GuardedStream], seed: int) -> None:
    """Invariant 5: exactly one end; an intervened lane ends with words of ours; help is not forgotten."""
    lots = random.Random(seed)
    text = random_text(lots, risky=True)
    decisions = [user_redirect()] if seed % 2 else []
    player = play(make(stream_class), text, "random", lots, decisions)
    assert player.ended is not None, "invariant 5: never ended"
    if player.ended.intervened:
        assert player.inserts, "invariant 5: ended without a word"
        assert player.client.endswith(player.inserts[-1].text)
    else:
        assert player.released == text
        assert len(player.inserts) >= len(decisions), "the redirect was forgotten"
    before = player.client
    player.chunk("more ")
    player.score_all()
    assert player.client == before, "invariant 5: text after the end"


def pending_risk_stays_held(stream_class: type[GuardedStream], seed: int) -> None:
    """Invariant 2: when the hold limit moves the hold point, a risk not yet confirmed stays behind it."""
    # White space has no token: it says nothing about the risk before it, however much of it there is.
    text = "murk " * (8 + seed % 40) + "doom" + " " * (1 + seed % 3 * 60) + "doom doom"
    player = play(make(stream_class, debounce_tokens=3), text, "random", random.Random(seed))
    assert player.inserts[-1].at <= text.index("doom"), "invariant 2: part of a finding was released"


ALL = (
    pending_risk_stays_held,
    released_was_scored,
    chunking_is_not_meaning,
    nothing_is_lost,
    no_half_leaves,
    nothing_masked_leaves,
    ends_once,
)
