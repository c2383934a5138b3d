"""Rows to scores and findings: the same scorer and the same judge as a stream's.

What is kept of a row is what the measures need, not its tokens: a large set fits into memory. Nothing
here knows what is measured.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluate.judging import Judging
from classifiers.evaluate.rows import LabelledRow
from classifiers.evaluate.truth import ANY_HARM
from guardrail.app import offline
from guardrail.core.segments import ends_sentence
from guardrail.core.verdicts import Finding, Role, TokenScore
from guardrail.errors import OverloadedError, ScoringError
from guardrail.policy import prompt
from guardrail.policy.judge import LaneJudge
from guardrail.transports.assessment import Assessment, assess
from guardrail.transports.services import Services

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]
"""Told how many rows of how many are done."""

_LOOK_BACK = 64  # more than any sentence rule needs
_RETRY_S = 0.05  # pause before knocking again at a scorer that said it is full
_PATIENCE_S = 600.0  # by then it is not full of our other rows: this one alone is too long


@dataclass(frozen=True, slots=True)
class Found:
    """A finding, placed among the row's tokens."""

    category: str
    severity: int
    token: int
    """Index of the token that confirmed it."""
    flags: bool
    """Whether `guardrail score` flags a text for it."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What only a row with a known onset keeps."""

    onset: int
    """Index of the first harmful token."""
    aggregate: Floats
    """The aggregate score of each token; 0 where a token is not judged."""
    sentence_ends: Sequence[int]
    """Indices of the tokens that end a sentence."""


@dataclass(frozen=True, slots=True)
class JudgedRow:
    """A row, scored and judged."""

    row: LabelledRow
    tokens: int
    last: Floats
    """Each category's score at the end of the text; zeros where nothing was scored."""
    highest: Floats
    """Each category's highest score at a judged token: the most that a stream saw."""
    findings: Sequence[Found] = ()
    findings_at_end: Sequence[Found] = ()
    """What would be found if the last token alone were judged: the text as a whole."""
    trace: Trace | None = None

    @property
    def flagged(self) -> bool:
        """What `guardrail score` says."""
        return any(found.flags for found in self.findings)


async def judge(
    judging: Judging, rows: Sequence[LabelledRow], concurrency: int, progress: Progress
) -> list[JudgedRow]:
    """Score and judge all rows, `concurrency` at a time; keeps their order.

    Raises:
        ScoringError: a row could not be scored.
    """
    done: dict[int, JudgedRow] = {}
    waiting = iter(enumerate(rows))

    async def work() -> None:
        for place, row in waiting:
            done[place] = await judged(judging, row)
            progress(len(done), len(rows))

    started = time.monotonic()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    judging.timing.seconds += time.monotonic() - started
    return [done[place] for place in range(len(rows))]


async def judged(judging: Judging, row: LabelledRow) -> JudgedRow:
    """Score and judge one row."""
    services, categories = judging.services, judging.categories
    assessment = await _assessed(services, row)
    tokens = assessment.tokens
    if not tokens:
        nothing = np.zeros(len(categories), np.float32)
        return JudgedRow(row, 0, nothing, nothing)
    ends = [token.span.end for token in tokens]
    table = score_table(tokens, categories)
    seen = judged_tokens(row, tokens)
    at_end = LaneJudge(services.policy, row.role)
    all_read = TokenScore(tokens[-1].span, dict(zip(categories, table[-1].tolist(), strict=True)))
    verdicts = (at_end.judge(all_read), at_end.finish())
    return JudgedRow(
        row,
        len(tokens),
        table[-1].copy(),
        table[seen].max(axis=0),
        [_placed(services, finding, ends) for finding in assessment.findings],
        [_placed(services, finding, ends) for verdict in verdicts for finding in verdict.findings],
        None if row.onset is None else _trace(row.text, row.onset, ends, table, seen, categories),
    )


async def _assessed(services: Services, row: LabelledRow) -> Assessment:
    give_up_at = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return await assess(services, row.text, row.role, row.conversation)
        except OverloadedError as error:
            if time.monotonic() > give_up_at:
                raise ScoringError(f"{row.where}: {error}") from error
            await asyncio.sleep(_RETRY_S)
        except ScoringError as error:
            raise ScoringError(f"{row.where}: {error}") from error


def judged_tokens(row: LabelledRow, tokens: Sequence[TokenScore]) -> list[int]:
    """Indices of the tokens a stream's judge is shown: all of an answer, of a prompt its sentences' ends."""
    if row.role is not Role.USER:
        return list(range(len(tokens)))
    return prompt.judged_tokens(row.text, tokens)


def score_table(tokens: Sequence[TokenScore], categories: Sequence[str]) -> Floats:
    """Each category's score at each token, [tokens, categories]: the last one said, and 0 before the first."""
    rows: list[list[float]] = []
    said = dict.fromkeys(categories, 0.0)
    for token in tokens:
        said |= token.scores or dict.fromkeys(categories, 0.0)
        rows.append([said[category] for category in categories])
    return np.array(rows, np.float32)


def aggregate(scores: Floats, categories: Sequence[str]) -> Floats:
    """One score of many, over the last axis: `any_harm` where the pack has it, else the highest."""
    if ANY_HARM in categories:
        return np.asarray(scores[..., list(categories).index(ANY_HARM)])
    return np.asarray(scores.max(axis=-1))


def highest_category(scores: Floats, categories: Sequence[str]) -> Floats:
    """The highest score of a named category, over the last axis: `any_harm` counts only where it is alone."""
    named = [place for place, name in enumerate(categories) if name != ANY_HARM]
    return np.asarray(scores[..., named or [0]].max(axis=-1))


def _placed(services: Services, finding: Finding, ends: Sequence[int]) -> Found:
    # A finding's span ends with the token that confirmed it.
    token = bisect_left(ends, finding.span.end)
    flags = finding.severity >= offline.CLEAR or offline.acts(services, finding)
    return Found(finding.category, finding.severity, token, flags)


def _trace(  # noqa: PLR0917
    text: str,
    onset: int,
    ends: Sequence[int],
    table: Floats,
    seen: Sequence[int],
    categories: Sequence[str],
) -> Trace:
    shown = np.zeros(len(ends), np.float32)
    shown[seen] = aggregate(table[seen], categories)
    # Text behind the last token is white space; an onset there is the last token's.
    first = min(bisect_left(ends, onset + 1), len(ends) - 1)
    sentence_ends = [
        place
        for place, end in enumerate(ends)
        if ends_sentence(text[max(0, end - _LOOK_BACK) : end], text[end : end + 4])
    ]
    return Trace(first, shown, sentence_ends)
