"""How the user's side is judged: by what each sentence means once it is complete, and all of it together.

A prompt is there as a whole before the answer begins, so nothing has to be guessed from half a sentence:
"I want to die" scores high for a few tokens on its way to "of embarrassment". Only the tokens that end a
sentence, a line or the turn are judged, and each of them stands for itself. Of several packs each has its own
last token there; an exact token, an entity, is judged wherever it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from guardrail.core.segments import ends_sentence
from guardrail.core.verdicts import Decision, Judge, Kind, TokenScore, Verdict
from guardrail.policy.judge import weight

_LOOK_BACK = 64  # more than any sentence rule needs


def judge_turn(judge: Judge, text: str, tokens: Sequence[TokenScore]) -> list[Verdict]:
    """The verdicts on a complete turn.

    Args:
        judge: the lane's judge; a risk that would wait for a second token stands at once.
        text: the turn.
        tokens: its tokens, spans in code points of ``text``.
    """
    verdicts: list[Verdict] = []
    for number in judged_tokens(text, tokens):
        verdicts += [judge.judge(tokens[number]), judge.finish()]
    return verdicts


def judged_tokens(text: str, tokens: Sequence[TokenScore]) -> list[int]:
    """Which of a turn's tokens are judged: exact ones, and those that end a sentence, a line or the turn.

    Returns:
        Their indices, ascending.
    """
    return [number for number, token in enumerate(tokens) if token.exact or _ends(text, tokens, number)]


def _ends(text: str, tokens: Sequence[TokenScore], number: int) -> bool:
    """Whether a sentence, a line or the turn ends with a token, as far as the pack that gave it knows."""
    token = tokens[number]
    following = next((other for other in islice(tokens, number + 1, None) if _same_pack(token, other)), None)
    return following is None or _ends_here(text, token.span.end, following.span.start)


def _same_pack(token: TokenScore, other: TokenScore) -> bool:
    """Of several packs each has tokens of its own, which speak of its own categories."""
    if other.exact:
        return False
    return not token.scores or not other.scores or not other.scores.keys().isdisjoint(token.scores)


def settle(decisions: Sequence[Decision], earlier: Sequence[Decision] = ()) -> list[Decision]:
    """A prompt's decisions in the order in which an answer should carry them out, the weightiest first.

    Signs of danger to life add up: where distress calls for help and self-harm was found too, if only
    mildly or in an earlier turn, the help offered is the one for self-harm.

    Args:
        decisions: about the turns that the answer is for.
        earlier: about the user's turns before; remembered here, carried out no more.
    """
    ordered = sorted(decisions, key=weight, reverse=True)
    known = [*ordered, *sorted(earlier, key=weight, reverse=True)]
    danger = next((decision for decision in known if decision.finding.category == "self_harm"), None)
    if danger is None or (danger in ordered and danger.kind >= Kind.REDIRECT):
        return ordered
    return [
        Decision(decision.kind, danger.finding, f"{decision.rationale}; with {danger.rationale}")
        if decision.finding.category == "mental_distress" and decision.kind is Kind.REDIRECT
        else decision
        for decision in ordered
    ]


def _ends_here(text: str, end: int, following: int) -> bool:
    """Whether a sentence or a line ends between a token's end and the next token."""
    if "\n" in text[end:following]:
        return True
    return ends_sentence(text[max(0, end - _LOOK_BACK) : end], text[end : end + 4])
