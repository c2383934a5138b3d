"""The driver over a scripted scorer: what it does when, in which order, and what is left when it is over."""

from __future__ import annotations

import asyncio
import time

import pytest

from guardrail import observer as records
from guardrail.core.conversation import Turn
from guardrail.core.verdicts import Role
from guardrail.errors import InputError, OverloadedError, ScoringError
from guardrail.policy.rules import CategoryRules, Timing
from guardrail.testing.composers import PlainComposer
from guardrail.testing.scorers import KeywordScorer
from guardrail.transports import context, tasks
from guardrail.transports import driver as driver_module
from guardrail.transports.driver import StreamDriver
from guardrail.transports.outputs import (
    FindingNoted,
    Inserted,
    LaneClosed,
    Released,
    StreamClosed,
    StreamOpening,
    UpstreamStopped,
)
from guardrail.transports.services import Services, mode_in_force
from tests.conformance.scenarios import REDIRECT, REPLACE, WORDS, policy

FAILED = "[replace failure]"
NEVER_MS = 60_000.0
PATIENT = Timing(scoring_deadline_ms=NEVER_MS, abandon_ms=NEVER_MS)


def user(text):
    return Turn(Role.USER, text)


def assistant(text):
    return Turn(Role.ASSISTANT, text)


class Scripted(KeywordScorer):
    """Scores when a gate is open; raises what it is told to, as often as it is told to."""

    def __init__(self):
        super().__init__(WORDS)
        self.gates: dict[str, asyncio.Event] = {}
        """A text that contains the key is scored once the gate is open."""
        self.raises: list[Exception] = []
        self.asked: list[str] = []

    def close_gate(self, word):
        return self.gates.setdefault(word, asyncio.Event())

    async def score(self, text, offset):
        self.asked.append(text)
        for word, gate in self.gates.items():
            if word in text:
                await gate.wait()
        if self.raises:
            raise self.raises.pop(0)
        return await super().score(text, offset)


class Ledger:
    def __init__(self):
        self.records = []

    def record(self, record):
        self.records.append(record)

    def all(self, kind):
        return [record for record in self.records if isinstance(record, kind)]

    def one(self, kind):
        (record,) = self.all(kind)
        return record


class Play:
    """One stream and what came of it."""

    def __init__(self, scorer, under, opening, composer=None):
        self.ledger = Ledger()
        self.scorer = scorer
        services = Services(scorer, under, composer or PlainComposer(), self.ledger, time.monotonic)
        self.driver = StreamDriver(opening, services)
        self.outputs = []
        self._listening = None

    async def __aenter__(self):
        await self.driver.start()
        self._listening = tasks.spawn(self._listen(), name="listening")
        return self

    async def __aexit__(self, *_):
        await self.driver.cancel("cancelled")
        await self.over()

    async def _listen(self):
        async for output in self.driver.outputs():
            self.outputs.append(output)

    async def over(self):
        """Wait for the end; its account."""
        async with asyncio.timeout(30):
            await asyncio.wait([self._listening])
        return self.outputs[-1]

    async def until(self, condition):
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.002)

    def shown(self, lane="0"):
        parts = [o for o in self.outputs if isinstance(o, Released | Inserted) and o.lane == lane]
        return "".join(o.text if isinstance(o, Released) else o.intervention.text for o in parts)

    def of(self, kind):
        return [output for output in self.outputs if isinstance(output, kind)]

    async def say(self, *chunks, lane="0"):
        for chunk in chunks:
            await self.driver.chunk(lane, chunk)

    async def finish(self):
        await self.driver.end()
        return await self.over()


@pytest.fixture
async def scorer():
    scorer = Scripted()
    yield scorer
    # Invariant 10, after every test: whatever happened, nothing is kept.
    await settle()
    assert scorer.open_lanes == 0
    assert not [task for task in tasks._running if task.get_name().startswith(("lane", "prompt"))]


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


def opening(*conversation, **fields):
    return StreamOpening("s-1", "test", "test", conversation, **fields)


def play(scorer, *conversation, under=None, composer=None, **fields):
    return Play(scorer, under or policy(timing=PATIENT), opening(*conversation, **fields), composer)


# -- the prompt ----------------------------------------------------------------------------------------


async def test_nothing_leaves_before_the_prompt_is_judged(scorer):
    gate = scorer.close_gate("question")
    async with play(scorer, user("A question.")) as stream:
        await stream.say("All is well. ", "Really well. ")
        await stream.until(lambda: scorer.asked)
        await settle()
        assert stream.outputs == []
        assert scorer.asked == ["A question."]  # the answer waits even for its scoring
        gate.set()
        closed = await stream.finish()
        assert stream.shown() == "All is well. Really well. "
        assert closed.outcome == "completed"


async def test_the_gravest_of_what_the_prompt_says_is_done(scorer):
    async with play(scorer, user("I am sad and will stab him.")) as stream:
        await stream.say("Fine. Go on then.")
        await stream.finish()
        assert stream.shown() == REPLACE
        kinds = [record.category for record in stream.ledger.all(records.FindingReported)]
        assert sorted(kinds) == ["mental_distress", "violence"]


async def test_findings_in_the_prompt_are_noted_as_the_users(scorer):
    async with play(scorer, user("An odd question.")) as stream:
        await stream.say("Fine.")
        await stream.finish()
        (noted,) = stream.of(FindingNoted)
        assert (noted.lane, noted.finding.role) == ("user", Role.USER)


async def test_only_turns_since_the_last_answer_are_judged(scorer):
    """What was said before was answered before."""
    turns = [user("I am sad."), assistant("Here is help."), user("Thanks."), user("A poem?")]
    async with play(scorer, *turns) as stream:
        await stream.say("A poem. Roses are red.")
        await stream.finish()
        assert stream.shown() == "A poem. Roses are red."
    assert scorer.asked[:4] == ["I am sad.", "Here is help.", "Thanks.", "A poem?"]


async def test_all_user_turns_since_the_last_answer_are_judged(scorer):
    turns = [assistant("Hello."), user("I am sad."), Turn(Role.SYSTEM, "Be kind."), user("A poem?")]
    async with play(scorer, *turns) as stream:
        await stream.say("A poem. Roses are red.")
        await stream.finish()
        assert stream.shown().split() == f"A poem. {REDIRECT} Roses are red.".split()


async def test_system_and_assistant_turns_are_not_judged(scorer):
    turns = [Turn(Role.SYSTEM, "Never stab."), user("Hi."), assistant("stab")]
    async with play(scorer, *turns) as stream:
        await stream.say("Fine.")
        await stream.finish()
        assert stream.shown() == "Fine."


async def test_earlier_answers_are_context_and_nobody_pays_for_their_scores(scorer):
    conversation = [user("one two"), assistant("three four"), user("five")]
    async with play(scorer, *conversation) as stream:
        await stream.say("Fine.")
        await stream.finish()
    scored = stream.ledger.all(records.SegmentScored)
    assert scorer.asked[:3] == ["one two", "three four", "five"]
    assert [record.tokens for record in scored][:3] == [2, 0, 1]


async def test_earlier_turns_beyond_the_budget_are_counted_as_unscanned(scorer, monkeypatch):
    monkeypatch.setattr(context, "MAX_CONTEXT_CHARS", 30)
    turns = [user("x" * 25), assistant("y" * 10), user("z" * 15), assistant("w" * 10), user("fresh " * 20)]
    async with play(scorer, *turns) as stream:
        await stream.say("Fine.")
        closed = await stream.finish()
    # Newest first: 10 and 15 fit into 30, the 10 before them do not, nor what comes before those. What is
    # to be answered now is kept whole, whatever its length.
    assert [len(text) for text in scorer.asked[:3]] == [15, 10, 120]
    assert closed.unscanned == {"earlier_turns": 35}


@pytest.mark.parametrize(("stance", "shown"), [("pass", "Fine."), ("hold", FAILED), ("redirect", FAILED)])
async def test_a_prompt_that_cannot_be_scored_is_met_as_the_policy_says(scorer, stance, shown):
    scorer.raises = [ScoringError("told to")]
    async with play(scorer, user("A question."), under=policy(on_failure=stance)) as stream:
        await stream.say("Fine.")
        closed = await stream.finish()
        assert stream.shown() == shown
        assert closed.unscanned == {"prompt": 11}
        failed = stream.ledger.one(records.ScoringFailed)
        assert (failed.lane, failed.reason, failed.stance, failed.chars) == ("user", "error", stance, 11)


async def test_a_late_prompt_passes_at_its_deadline(scorer):
    scorer.close_gate("question")
    under = policy(on_failure="pass", timing=Timing(scoring_deadline_ms=30, abandon_ms=NEVER_MS))
    async with play(scorer, user("A question."), under=under) as stream:
        await stream.say("Fine.")
        await stream.finish()
        assert stream.shown() == "Fine."
        assert stream.ledger.one(records.ScoringFailed).reason == "late"


@pytest.mark.parametrize("stance", ["hold", "redirect"])
async def test_a_late_prompt_is_waited_for_until_it_is_abandoned(scorer, stance):
    gate = scorer.close_gate("question")
    under = policy(on_failure=stance, timing=Timing(scoring_deadline_ms=20, abandon_ms=NEVER_MS))
    async with play(scorer, user("A question."), under=under) as stream:
        await stream.say("Fine.")
        await asyncio.sleep(0.1)  # well past the deadline
        assert stream.outputs == []
        gate.set()
        await stream.finish()
        assert stream.shown() == "Fine."
    scorer.gates = {"question": asyncio.Event()}
    under = policy(on_failure=stance, timing=Timing(scoring_deadline_ms=20, abandon_ms=60))
    async with play(scorer, user("A question."), under=under) as stream:
        await stream.say("Fine.")
        await stream.finish()
        assert stream.shown() == FAILED
        assert stream.ledger.one(records.ScoringFailed).reason == "late"


# -- late, failed, overloaded --------------------------------------------------------------------------


async def test_late_text_passes_unscored_where_the_policy_says_pass(scorer):
    gate = scorer.close_gate("slow")
    under = policy(on_failure="pass", timing=Timing(scoring_deadline_ms=30, abandon_ms=NEVER_MS))
    async with play(scorer, under=under) as stream:
        await stream.say("So slow it is. ")
        await stream.until(lambda: "slow" in stream.shown())
        failed = stream.ledger.one(records.ScoringFailed)
        assert (failed.reason, failed.stance) == ("late", "pass")
        gate.set()
        await stream.finish()
        assert stream.shown() == "So slow it is. "


@pytest.mark.parametrize("stance", ["hold", "redirect"])
async def test_late_text_is_kept_and_released_when_its_scores_come(scorer, stance):
    gate = scorer.close_gate("slow")
    under = policy(on_failure=stance, timing=Timing(scoring_deadline_ms=20, abandon_ms=NEVER_MS))
    async with play(scorer, under=under) as stream:
        await stream.say("So slow it is. ")
        await stream.until(lambda: stream.ledger.all(records.ScoringFailed))
        assert stream.shown() == ""
        gate.set()
        closed = await stream.finish()
        assert stream.shown() == "So slow it is. "
        assert (closed.outcome, closed.unscanned) == ("completed", {})


async def test_abandoned_text_ends_the_answer_where_the_policy_says_redirect(scorer):
    scorer.close_gate("slow")
    under = policy(timing=Timing(scoring_deadline_ms=20, abandon_ms=500))
    async with play(scorer, under=under) as stream:
        await stream.say("Well said. ")
        await stream.until(lambda: "Well said." in stream.shown())
        await stream.say("So slow it is. ")
        closed = await stream.over()  # the upstream is stopped, it need not end
        assert stream.shown() == f"Well said.\n\n{FAILED}"
        assert stream.of(UpstreamStopped)
        assert closed.withheld == closed.arrived - closed.released > 0


async def test_abandoned_text_is_held_to_the_end_where_the_policy_says_hold(scorer):
    scorer.close_gate("slow")
    under = policy(on_failure="hold", timing=Timing(scoring_deadline_ms=20, abandon_ms=500))
    async with play(scorer, under=under) as stream:
        await stream.say("So slow it is. ")
        await stream.until(lambda: len(stream.ledger.all(records.ScoringFailed)) == 2)
        await stream.say("More of it. ")
        await settle()
        assert stream.outputs == []
        await stream.finish()
        assert stream.shown() == FAILED


async def test_a_scorer_that_is_full_for_a_moment_is_asked_again(scorer):
    scorer.raises = [OverloadedError("full"), OverloadedError("full")]
    async with play(scorer) as stream:
        await stream.say("Well said. ")
        closed = await stream.finish()
        assert stream.shown() == "Well said. "
        assert (closed.outcome, stream.ledger.all(records.ScoringFailed)) == ("completed", [])
    assert len(scorer.asked) >= 3


async def test_a_scorer_that_stays_full_counts_as_failed(scorer):
    scorer.raises = [OverloadedError("full")] * 1000
    under = policy(on_failure="pass", timing=Timing(scoring_deadline_ms=120, abandon_ms=NEVER_MS))
    async with play(scorer, under=under) as stream:
        await stream.say("Well said.")
        closed = await stream.finish()
        assert stream.shown() == "Well said."
        assert "overload" in {record.reason for record in stream.ledger.all(records.ScoringFailed)}
        assert closed.unscanned == {"overload": 10}


async def test_a_stream_that_passed_under_overload_is_scored_on_when_there_is_room(scorer):
    scorer.raises = [OverloadedError("full")] * 1000
    under = policy(on_overload="pass", timing=Timing(scoring_deadline_ms=20, abandon_ms=NEVER_MS))
    async with play(scorer, under=under) as stream:
        await stream.say("Then stab him. ")
        await stream.until(lambda: "stab him." in stream.shown())
        scorer.raises = []
        said = 0
        while not any("stab" not in asked and "word" in asked for asked in scorer.asked):
            await stream.say("word ")  # it stays away for a while, then asks again
            said += 1
            await settle()
            await asyncio.sleep(0.002)
        await stream.say("Then stab him. And on.")
        closed = await stream.finish()
        shown = "Then stab him. " + "word " * said + "Then"
        assert stream.shown().startswith(shown)
        assert stream.shown().endswith(REPLACE)
        found = stream.ledger.one(records.FindingReported)  # at its place, whatever was left out before it
        assert found.start == len(shown) + 1
        assert closed.unscanned["overload"] >= len("Then stab him.")
        assert {failure.stance for failure in stream.ledger.all(records.ScoringFailed)} == {"pass"}


async def test_a_stream_goes_on_behind_text_whose_scoring_failed(scorer):
    scorer.fail = lambda text: "boom" in text
    async with play(scorer, under=policy(on_failure="pass", timing=PATIENT)) as stream:
        await stream.say("A boom. ")
        await stream.until(lambda: "boom." in stream.shown())
        scorer.fail = None
        await stream.say("Then stab him. ")
        closed = await stream.finish()
        assert stream.shown().startswith("A boom. Then")
        assert stream.shown().endswith(REPLACE)
        assert closed.unscanned == {"failure": len("A boom.")}


async def test_hold_waits_for_a_full_engine_as_long_as_for_a_slow_one(scorer, monkeypatch):
    monkeypatch.setattr(context, "_RETRY_S", 0.01)
    scorer.raises = [OverloadedError("full")] * 8  # well past the deadline
    under = policy(on_overload="hold", timing=Timing(scoring_deadline_ms=20, abandon_ms=NEVER_MS))
    async with play(scorer, user("A question."), under=under) as stream:
        await stream.say("Well said. ")
        await stream.until(lambda: "Well said." in stream.shown())
        scorer.raises = [OverloadedError("full")] * 8
        await stream.say("Well said. ")
        closed = await stream.finish()
        assert stream.shown() == "Well said. Well said. "
        assert (closed.outcome, closed.unscanned) == ("completed", {})


async def test_redirect_ends_the_answer_when_a_full_engine_stays_full(scorer):
    under = policy(on_overload="redirect", timing=Timing(scoring_deadline_ms=20, abandon_ms=NEVER_MS))
    async with play(scorer, under=under) as stream:
        await stream.say("Well said. ")
        await stream.until(lambda: "Well said." in stream.shown())
        scorer.raises = [OverloadedError("full")] * 1000
        await stream.say("More of it. ")
        closed = await stream.over()
        assert stream.shown() == f"Well said.\n\n{FAILED}"
        assert stream.of(UpstreamStopped)
        assert (closed.outcome, closed.unscanned) == ("intervened", {})


@pytest.mark.parametrize(("stance", "shown"), [("pass", "Fine."), ("hold", FAILED), ("redirect", FAILED)])
async def test_a_prompt_that_a_full_engine_has_no_time_for(scorer, stance, shown):
    scorer.raises = [OverloadedError("full")] * 1000
    under = policy(on_overload=stance, timing=Timing(scoring_deadline_ms=20, abandon_ms=60))
    async with play(scorer, user("A question."), under=under) as stream:
        await stream.say("Fine.")
        closed = await stream.finish()
        assert stream.shown() == shown
        assert closed.unscanned["prompt"] == 11


async def test_an_engine_that_is_too_slow_and_one_that_fails_may_be_met_differently(scorer):
    under = policy(
        on_overload="pass", on_failure="redirect", timing=Timing(scoring_deadline_ms=20, abandon_ms=NEVER_MS)
    )
    scorer.raises = [OverloadedError("full")] * 1000
    async with play(scorer, under=under) as stream:
        await stream.say("Well said.")
        await stream.finish()
        assert stream.shown() == "Well said."
    scorer.raises = [ScoringError("told to")]
    async with play(scorer, under=under) as stream:
        await stream.say("Well said.")
        await stream.finish()
        assert stream.shown() == FAILED


async def test_the_strictest_category_decides(scorer):
    strict = policy().categories | {
        "violence": CategoryRules(assistant=policy().categories["violence"].assistant, on_failure="redirect")
    }
    scorer.fail = lambda text: "boom" in text
    async with play(scorer, under=policy(on_failure="pass", categories=strict)) as stream:
        await stream.say("boom ")
        await stream.finish()
        assert stream.shown() == FAILED


@pytest.mark.parametrize("text", ["question", "answer"])
async def test_a_scorer_with_a_defect_counts_as_failed(scorer, text):
    def fail(said):
        if text in said:
            raise ZeroDivisionError
        return False

    scorer.fail = fail
    async with play(scorer, user("A question.")) as stream:
        await stream.say("An answer.")
        closed = await stream.finish()
        assert stream.shown().endswith(FAILED)
        assert closed.outcome == "intervened"
        assert stream.ledger.one(records.ScoringFailed).reason == "error"


async def test_a_composer_with_a_defect_ends_the_stream_as_an_error(scorer):
    class Broken:
        def compose(self, request):
            raise ZeroDivisionError

    async with play(scorer, composer=Broken()) as stream:
        await stream.say("Then stab him.")
        closed = await stream.over()
        assert closed.outcome == "error"
        assert "stab" not in stream.shown()
        assert stream.ledger.one(records.StreamEnded).outcome == "error"
        await stream.say("More.")  # nobody listens; nothing happens
        await stream.driver.end()


# -- ends and departures -------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["at once", "prompt", "scoring", "open word", "held", "ended"])
async def test_a_departure_frees_everything_whatever_is_under_way(scorer, when):
    if when == "prompt":
        scorer.close_gate("question")
    if when == "scoring":
        scorer.close_gate("slow")
    async with play(scorer, user("A question.")) as stream:
        if when != "at once":
            await stream.until(lambda: scorer.asked)
        if when not in ("at once", "prompt"):
            text = {"scoring": "So slow it ", "open word": "Wor", "held": "A murky murky "}.get(when, "Fine.")
            await stream.say(text, lane="0")
            await stream.say(text, lane="1")
            await settle()
        if when == "ended":
            await stream.finish()
        await stream.driver.cancel("cancelled")
        await stream.driver.cancel("error")  # the first word counts
        closed = await stream.over()
        assert closed.outcome == ("completed" if when == "ended" else "cancelled")
        await settle()
        assert scorer.open_lanes == 0
        handles = [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]
        assert not [h for h in handles if getattr(h._callback, "__self__", None) is stream.driver]
        heard = len(stream.outputs)
        await stream.say("More. ")
        await stream.driver.end()
        await settle()
        assert len(stream.outputs) == heard
        assert len(stream.ledger.all(records.StreamEnded)) == 1


async def test_a_stream_without_a_lane_ends_properly(scorer):
    async with play(scorer, user("Hi.")) as stream:
        closed = await stream.finish()
        assert closed == StreamClosed("completed", 0, 0, 0, 0, {})


async def test_an_end_before_the_prompt_is_judged(scorer):
    gate = scorer.close_gate("question")
    async with play(scorer, user("A question.")) as stream:
        await stream.say("Fine.")
        await stream.driver.end()
        await settle()
        assert stream.outputs == []
        gate.set()
        closed = await stream.over()
        assert (stream.shown(), closed.outcome) == ("Fine.", "completed")


async def test_text_that_nobody_scores_is_counted_in_the_account(scorer):
    async with play(scorer, unscanned={"image": 2, "nothing": 0}) as stream:
        stream.driver.note_unscanned("tool_calls", 7)
        stream.driver.note_unscanned("tool_calls", 3)
        stream.driver.note_unscanned("reasoning", 0)
        closed = await stream.finish()
        stream.driver.note_unscanned("late", 9)
        assert closed.unscanned == {"image": 2, "tool_calls": 10}
        noted = [(record.what, record.chars) for record in stream.ledger.all(records.TextUnscanned)]
        assert noted == [("image", 2), ("tool_calls", 7), ("tool_calls", 3)]


# -- lanes ---------------------------------------------------------------------------------------------


async def test_lanes_keep_their_own_positions_and_fates(scorer):
    async with play(scorer, lanes=2) as stream:
        await stream.say("Boil it. ", lane="a")
        await stream.say("Then stab him. ", lane="b")
        await stream.until(lambda: stream.of(LaneClosed))
        await stream.say("Serve it.", lane="a")
        await stream.say("Dropped.", lane="b")
        await stream.driver.end_lane("a")
        closed = await stream.finish()
        assert stream.shown("a") == "Boil it. Serve it."
        assert stream.shown("b") == f"Then…\n\n{REPLACE}"
        assert not stream.of(UpstreamStopped)
        assert closed.outcome == "intervened"
        spans = [(o.end, o.text) for o in stream.of(Released) if o.lane == "a"]
        assert spans[-1][0] == len("Boil it. Serve it.")


async def test_the_upstream_is_stopped_when_the_last_lane_was_ended(scorer):
    async with play(scorer, lanes=2) as stream:
        await stream.say("Then stab him. ", lane="a")
        await stream.until(lambda: stream.of(LaneClosed))
        assert not stream.of(UpstreamStopped)  # the second lane may still come
        await stream.say("Then stab her. ", lane="b")
        closed = await stream.over()
        assert isinstance(stream.outputs[-2], UpstreamStopped)
        assert closed.outcome == "intervened"


async def test_a_lane_that_finished_by_itself_is_not_waited_for(scorer):
    async with play(scorer, lanes=2) as stream:
        await stream.say("Boil it.", lane="a")
        await stream.driver.end_lane("a")
        await stream.say("Then stab him. ", lane="b")
        await stream.over()
        assert stream.of(UpstreamStopped)
        assert stream.shown("a") == "Boil it."


async def test_the_policys_finish_reason_goes_with_an_end_of_ours(scorer):
    async with play(scorer, under=policy(finish_reason="content_filter")) as stream:
        await stream.say("Then stab him. ")
        await stream.over()
        assert stream.of(LaneClosed)[0].finish_reason == "content_filter"
    async with play(scorer, under=policy(finish_reason="content_filter")) as stream:
        await stream.say("Boil it.")
        await stream.finish()
        assert stream.of(LaneClosed)[0].finish_reason == ""


# -- pressure and time ---------------------------------------------------------------------------------


async def test_text_is_not_taken_while_nobody_collects(scorer, monkeypatch):
    monkeypatch.setattr(driver_module, "MAX_WAITING_OUTPUTS", 4)
    services = Services(scorer, policy(timing=PATIENT), PlainComposer(), Ledger(), time.monotonic)
    stream = StreamDriver(opening(), services)
    await stream.start()
    said = 0

    async def talk():
        nonlocal said
        for n in range(50):
            await stream.chunk("0", f" word{n}")
            said = n + 1
            await settle()
        await stream.end()

    talking = tasks.spawn(talk(), name="talking")
    for _ in range(200):
        await settle()
    assert 0 < said <= 6
    async with asyncio.timeout(30):
        collected = [output async for output in stream.outputs()]
        await talking
    text = "".join(output.text for output in collected if isinstance(output, Released))
    assert text == "".join(f" word{n}" for n in range(50))


async def test_a_departure_frees_who_waits_for_room(scorer, monkeypatch):
    monkeypatch.setattr(driver_module, "MAX_WAITING_OUTPUTS", 1)
    services = Services(scorer, policy(timing=PATIENT), PlainComposer(), Ledger(), time.monotonic)
    stream = StreamDriver(opening(), services)
    await stream.start()
    await stream.chunk("0", "One two three ")
    await settle()
    waiting = tasks.spawn(stream.chunk("0", "four "), name="waiting")
    await settle()
    assert not waiting.done()
    await stream.cancel("cancelled")
    async with asyncio.timeout(30):
        await waiting


async def test_an_open_word_is_not_kept_from_a_reader_who_waits(scorer):
    under = policy(timing=Timing(open_word_deadline_ms=20, scoring_deadline_ms=NEVER_MS, abandon_ms=NEVER_MS))
    async with play(scorer, under=under) as stream:
        await stream.say("Half a wor")
        await stream.until(lambda: stream.shown() == "Half a wor")
        await stream.say("d. ")
        await stream.finish()
        assert stream.shown() == "Half a word. "


async def test_an_open_word_that_might_be_risky_is_kept(scorer):
    under = policy(timing=Timing(open_word_deadline_ms=20, scoring_deadline_ms=NEVER_MS, abandon_ms=NEVER_MS))
    async with play(scorer, under=under) as stream:
        await stream.say("Then stab")
        await stream.until(lambda: " stab" in scorer.asked)
        await settle()
        assert stream.shown() == "Then"
        await stream.say("ilise it. ")
        await stream.finish()
        assert stream.shown() == "Then stabilise it. "


async def test_without_a_deadline_an_open_word_waits_for_its_end(scorer):
    under = policy(timing=Timing(open_word_deadline_ms=0, scoring_deadline_ms=NEVER_MS, abandon_ms=NEVER_MS))
    async with play(scorer, under=under) as stream:
        await stream.say("Half a wor")
        await asyncio.sleep(0.05)
        assert stream.shown() == "Half a"
        await stream.finish()
        assert stream.shown() == "Half a wor"


# -- modes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by_policy", "asked", "in_force"),
    [
        ("enforce", "", "enforce"),
        ("enforce", "enforce", "enforce"),
        ("enforce", "observe", "enforce"),
        ("observe", "", "observe"),
        ("observe", "observe", "observe"),
        ("observe", "enforce", "enforce"),
    ],
)
def test_the_stricter_mode_is_in_force(by_policy, asked, in_force):
    assert mode_in_force(by_policy, asked) == in_force


def test_an_unknown_mode_is_refused(scorer):
    with pytest.raises(InputError, match="'off'"):
        mode_in_force("enforce", "off")


async def test_observe_reports_what_enforce_would_have_done_and_what_was_exposed(scorer):
    async with play(scorer, user("I am sad."), under=policy(mode="observe")) as stream:
        await stream.say("Then stab him. ", "All done.")
        closed = await stream.finish()
        assert stream.shown() == "Then stab him. All done."
        applied = [(o.intervention.kind, o.intervention.enforced) for o in stream.of(Inserted)]
        assert applied == [("redirect", False), ("replace", False)]
        assert (closed.outcome, closed.inserted, closed.withheld) == ("completed", 0, 0)
        assert stream.ledger.one(records.StreamEnded).exposure_chars == len("stab")


async def test_observe_does_not_wait_for_scores(scorer):
    gate = scorer.close_gate("slow")
    async with play(scorer, under=policy(mode="observe", timing=PATIENT)) as stream:
        await stream.say("So slow it is. ")
        await stream.until(lambda: stream.shown() == "So slow it is. ")
        gate.set()
        await stream.finish()


# -- words ---------------------------------------------------------------------------------------------


async def test_the_composer_is_told_what_it_needs(scorer):
    class Noting(PlainComposer):
        def __init__(self):
            self.requests = []

        def compose(self, request):
            self.requests.append(request)
            return super().compose(request)

    composer = Noting()
    turns = [user("First."), assistant("Call 116 123."), user("I am sad.")]
    for locale, answer in (("de-AT", "Sure. On."), ("", "stab")):
        under = policy(default_locale="fr-CH", timing=PATIENT)
        async with play(scorer, *turns, under=under, composer=composer, locale=locale) as stream:
            await stream.say(answer)
            await stream.finish()
    redirect, replace, *_ = composer.requests
    assert (redirect.locale, replace.locale) == ("de-AT", "fr-CH")
    assert redirect.earlier_texts == ("Call 116 123.",)
    assert redirect.conversation_id == replace.conversation_id != ""
    assert (redirect.at_start, replace.at_start) == (False, True)
    assert redirect.decision.finding.category == "mental_distress"


async def test_an_intervention_says_how_long_it_waited_for_its_place(scorer):
    async with play(scorer, user("I am sad.")) as stream:
        await stream.say("A poem.")
        await asyncio.sleep(0.05)
        await stream.say(" Roses are red.")
        await stream.finish()
    applied = next(r for r in stream.ledger.all(records.InterventionApplied) if r.text)
    assert applied.time_held_s >= 0.05


async def test_an_answer_that_must_be_json_is_not_helped_into_pieces(scorer):
    stream = Play(scorer, policy(), opening(user("I am sad."), structured=True))
    async with stream:
        await stream.say('{"a": "Roses. Red."}')
        await stream.finish()
    assert stream.shown() == '{"a": "Roses. Red."}'
    assert [i.intervention.enforced for i in stream.of(Inserted)] == [False]


async def test_an_upstream_that_has_finished_every_lane_is_left_to_end_by_itself(scorer):
    gate = scorer.close_gate("stab")
    async with play(scorer, user("Hm."), lanes=2) as stream:
        await stream.say("First stab him. ", lane="0")
        await stream.say("Boil the water.", lane="1")
        await stream.driver.end_lane("0")
        await stream.driver.end_lane("1")
        await stream.until(lambda: any(closed.lane == "1" for closed in stream.of(LaneClosed)))
        gate.set()  # the first lane is ended only now, by an intervention
        await stream.until(lambda: len(stream.of(LaneClosed)) == 2)
        assert stream.of(UpstreamStopped) == []
        await stream.finish()
    assert stream.of(LaneClosed)[-1].intervened
