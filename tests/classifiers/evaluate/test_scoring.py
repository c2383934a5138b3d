"""Rows through scorer and judge: what is kept of them, and that it is what a stream would have seen."""

from __future__ import annotations

import numpy as np
import pytest

from classifiers.evaluate import scoring
from classifiers.evaluate.scoring import Found, aggregate, highest_category, judge, judged
from guardrail.core.conversation import Turn
from guardrail.core.verdicts import Role
from guardrail.errors import OverloadedError, ScoringError
from tests.classifiers.evaluate.keyword_rows import CATEGORIES, judging, row


def nothing(_done, _total):
    pass


async def test_last_and_highest_scores_are_kept():
    kept = await judged(judging(), row("So grim doom it is"))
    assert kept.tokens == 5
    assert kept.last.tolist() == [0, 0, 0]
    assert kept.highest.tolist() == pytest.approx([0.9, 0, 0.95])


async def test_a_finding_stands_at_the_token_that_confirmed_it():
    kept = await judged(judging(), row("So grim grim it doom doom is"))
    assert kept.findings == [
        Found("violence", 2, 2, flags=True),
        Found("violence", 3, 5, flags=True),
    ]
    assert kept.flagged


async def test_a_mild_finding_does_not_flag():
    kept = await judged(judging(), row("How odd odd"))
    assert (kept.findings, kept.flagged) == ([Found("violence", 1, 2, flags=False)], False)


async def test_one_token_over_the_threshold_is_a_finding_only_at_the_end():
    within, at_end = (
        await judged(judging(), row("So doom it is")),
        await judged(judging(), row("So it is doom")),
    )
    assert (within.findings, within.findings_at_end) == ([], [])
    assert at_end.findings == at_end.findings_at_end == [Found("violence", 3, 3, flags=True)]


async def test_what_only_a_stream_sees_is_not_found_at_the_end():
    kept = await judged(judging(), row("doom doom, all is well"))
    assert kept.flagged
    assert kept.findings_at_end == []


async def test_a_prompt_is_judged_where_its_sentences_end():
    # "doom" stays in the user's scores until the turn ends; it is judged at the full stop, not before.
    kept = await judged(judging(), row("All is doom here. Well", role=Role.USER))
    assert kept.findings[0] == Found("violence", 3, 4, flags=True)
    lines = await judged(judging(), row("All is\ndoom\nhere", role=Role.USER))
    assert [found.token for found in lines.findings] == [2]


async def test_the_highest_score_of_a_prompt_is_that_of_a_judged_token():
    class Fading:
        """Scores a word high and takes it back at the end of the sentence."""

        name, categories = "fading/1", CATEGORIES

        def open(self):
            return self

        def begin_turn(self, role):
            pass

        def close(self):
            pass

        async def extend(self, text, *, tentative=False, scored=True):
            lane = judging().services.scorer.open()
            lane.begin_turn(Role.ASSISTANT)
            return await lane.extend(text, tentative=tentative)

    from classifiers.evaluate.judging import prepare

    fading = prepare(Fading(), judging().services.policy)
    prompt = await judged(fading, row("I could doom of shame.", role=Role.USER))
    answer = await judged(fading, row("I could doom of shame."))
    assert prompt.highest.tolist() == [0, 0, 0]
    assert answer.highest.tolist() == pytest.approx([0.9, 0, 0.95])


async def test_the_turns_before_are_context_neither_judged_nor_counted():
    ready = judging()
    kept = await judged(ready, row("All is well", conversation=(Turn(Role.USER, "doom doom"),)))
    assert (kept.tokens, kept.findings) == (3, [])
    assert ready.timing.tokens == 3


async def test_a_text_without_tokens_is_kept_and_says_nothing():
    kept = await judged(judging(), row("  ", 1))
    assert (kept.tokens, kept.flagged, kept.highest.tolist()) == (0, False, [0, 0, 0])


async def test_an_onset_is_placed_among_the_tokens():
    text = "All is well. Then doom doom. The end"
    trace = (await judged(judging(), row(text, 1, onset=text.index("doom")))).trace
    assert trace.onset == 5
    assert trace.aggregate.tolist() == pytest.approx([0, 0, 0, 0, 0, 0.9, 0.9, 0, 0, 0])
    assert trace.sentence_ends == [3, 7]
    # In the middle of a token, and in the white space before one: that token.
    for onset in (text.index("doom") + 2, text.index("doom") - 1):
        assert (await judged(judging(), row(text, 1, onset=onset))).trace.onset == 5


async def test_rows_keep_their_order_whatever_is_done_first():
    delays = iter([0.03, 0.0, 0.02, 0.0, 0.01])
    texts = ["a", "b b", "c c c", "d", "e"]
    told = []
    kept = await judge(
        judging(delay_s=lambda: next(delays)), [row(t) for t in texts], 3, lambda *done: told.append(done)
    )
    assert [each.row.text for each in kept] == texts
    assert told == [(n, 5) for n in range(1, 6)]


async def test_a_full_scorer_is_asked_again(monkeypatch):
    monkeypatch.setattr(scoring, "_RETRY_S", 0)
    ready = judging()
    answers = iter([OverloadedError("full"), OverloadedError("full")])
    real = scoring.assess

    async def busy(*arguments):
        for error in answers:
            raise error
        return await real(*arguments)

    monkeypatch.setattr(scoring, "assess", busy)
    assert (await judged(ready, row("doom doom"))).flagged
    monkeypatch.setattr(scoring, "_PATIENCE_S", -1)
    answers = iter([OverloadedError("full")])
    with pytest.raises(ScoringError, match="f:1: full"):
        await judged(ready, row("doom doom"))


async def test_a_row_that_cannot_be_scored_is_named():
    with pytest.raises(ScoringError, match="f:1: told to fail"):
        await judge(judging(fail=lambda text: True), [row("x")], 2, nothing)


def test_the_aggregate_is_any_harm_or_the_highest():
    scores = np.array([[0.1, 0.8, 0.3], [0.9, 0.2, 0.4]], np.float32)
    assert aggregate(scores, CATEGORIES).tolist() == pytest.approx([0.1, 0.9])
    assert highest_category(scores, CATEGORIES).tolist() == pytest.approx([0.8, 0.4])
    assert aggregate(scores, ["a", "b", "c"]).tolist() == pytest.approx([0.8, 0.9])
    assert highest_category(scores[:, :1], ["any_harm"]).tolist() == pytest.approx([0.1, 0.9])
