"""How the user's side is judged: by what each sentence means once it is complete, and all of it together.

A prompt is there as a whole before the answer begins, so nothing has to be guessed from half a sentence:
"I want to die" scores high for a few tokens on its way to "of embarrassment". Only the tokens that end a
sentence, a line or the turn are judged, and each of them stands for itself.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    """Which of a turn's tokens are judged: the indices of those that end a sentence, a line or the turn."""
    last = len(tokens) - 1
    return [
        number
        for number, token in enumerate(tokens)
        if number == last or _ends_here(text, token.span.end, tokens[number + 1].span.start)
    ]


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
